package locking

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"
)

// A rig is a table under test. Beside it runs a copy, which after each command is replaced by what the table's snapshot gives: so whatever
// is not in a snapshot is found to be missing.
type rig struct {
	t       testing.TB
	table   *Table
	copy    *Table
	index   uint64
	changes []Change // since the last command
}

func newRig(t testing.TB) *rig {
	g := &rig{t: t, copy: NewTable(nil)}
	g.table = NewTable(func(c Change) { g.changes = append(g.changes, c) })
	return g
}

// apply has the table take c, and returns its answer.
func (g *rig) apply(c Command) *Result {
	g.t.Helper()
	b, err := Encode(c)
	if err != nil {
		g.t.Fatal(err)
	}
	return g.applyBytes(b)
}

func (g *rig) applyBytes(b []byte) *Result {
	g.t.Helper()
	g.index++
	g.changes = g.changes[:0]
	got := g.table.Apply(g.index, b)
	if other := g.copy.Apply(g.index, b); !bytes.Equal(got, other) {
		g.t.Fatalf("%d: the table answers %x, one from its snapshot %x", g.index, got, other)
	}
	snapshot := g.table.Snapshot()
	if other := g.copy.Snapshot(); !bytes.Equal(snapshot, other) {
		g.t.Fatalf("%d: a table from the snapshot has come to be another", g.index)
	}
	if err := g.copy.Restore(snapshot); err != nil {
		g.t.Fatal(err)
	}
	r, err := DecodeResult(got)
	if err != nil {
		g.t.Fatal(err)
	}
	return r
}

// want has the table take c, and checks what comes of it.
func (g *rig) want(c Command, status Status, reason Reason) *Result {
	g.t.Helper()
	r := g.apply(c)
	if r.Status != status || r.Reason != reason {
		g.t.Fatalf("%+v: got status %d, %v; want %d, %v", c, r.Status, r.Reason, status, reason)
	}
	return r
}

func nodeID(n byte) NodeID { return NodeID{n, 1} }

// id makes the ID of the n-th request.
func id(n int) (r RequestID) {
	binary.BigEndian.PutUint64(r[:], uint64(n)*2)
	r[15] = 1
	return r
}

// session opens a session of node n.
func (g *rig) session(n byte) Session {
	g.t.Helper()
	o := &Open{Request: id(1000 + int(n) + 256*int(g.index)), Node: nodeID(n), Host: string('a' + rune(n)), Length: 30 * time.Second}
	r := g.want(o, Done, NoReason)
	return Session{o.Node, r.Epoch}
}

func onePath(path string) Scope { return Scope{OnePath, path} }
func tree(path string) Scope    { return Scope{Tree, path} }
func named(name string) Scope   { return Scope{Name, name} }

// lock is a request for an exclusive lock that waits.
func lock(n int, s Session, scopes ...Scope) *Acquire {
	return &Acquire{Request: id(n), Session: s, Scopes: scopes, Wait: time.Minute}
}

// try is one that does not wait.
func try(n int, s Session, scopes ...Scope) *Acquire {
	return &Acquire{Request: id(n), Session: s, Scopes: scopes}
}

func share(n int, s Session, scopes ...Scope) *Acquire {
	return &Acquire{Request: id(n), Session: s, Scopes: scopes, Wait: time.Minute, Mode: Shared}
}

func permit(n int, s Session, of uint32, scope Scope) *Acquire {
	return &Acquire{Request: id(n), Session: s, Scopes: []Scope{scope}, Wait: time.Minute, Mode: Permits, Permits: of}
}

// delegate asks for what is needed, and would like all of the folder.
func delegate(n int, s Session, needed ...Scope) *Acquire {
	return &Acquire{Request: id(n), Session: s, Scopes: needed, Wait: time.Minute, Delegation: true, Desired: tree("")}
}

func release(n int, left ...Left) *End {
	return &End{Endings: []Ending{{Request: id(n), Left: left}}, Seen: 1 << 40}
}

func leftAt(s Scope, version string) Left { return Left{Scope: s, Version: version} }

// holds tells whether the n-th request is granted.
func (g *rig) holds(n int) bool {
	c, ok := g.table.Claim(id(n))
	return ok && c.Held
}

func (g *rig) token(n int) Token {
	g.t.Helper()
	c, ok := g.table.Claim(id(n))
	if !ok || !c.Held {
		g.t.Fatalf("request %d holds nothing", n)
	}
	return c.Token
}
