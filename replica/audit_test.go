package replica

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"resonate/audit"
	"resonate/control"
	"resonate/merkle"
	"resonate/syncproto"
)

// audited returns what a node's audit holds about path, and sees to it that its chain is whole. The node may have ended.
func (n *node) audited(path string) (list []control.Audited) {
	n.t.Helper()
	state := n.replica().State()
	select {
	case <-n.ended:
	default:
		place, err := n.replica().Audit(n.t.Context())
		if err != nil || place.State != state {
			n.t.Fatalf("audit of %s: got %+v, %v, want it in %s", n.name, place, err, state)
		}
	}
	v, err := ReadAudit(state, AuditQuery{Path: path}, func(a control.Audited) error { list = append(list, a); return nil })
	if err != nil || v.Broken != nil || v.Torn != 0 {
		n.t.Fatalf("audit of %s: %v, %+v, want it to be whole", n.name, err, v)
	}
	return list
}

// lines returns records as lines: kind, what, path, "<" peer, "by" author, and what else there is.
func lines(list []control.Audited, nodes map[string]string) (out []string) {
	who := func(mark string, n *control.NodeName) string {
		if n == nil {
			return ""
		}
		name, ok := nodes[n.ID]
		if !ok {
			name = n.ID
		}
		return " " + mark + " " + name
	}
	for _, a := range list {
		line := a.Kind
		for _, text := range []string{a.What, a.Path} {
			if text != "" {
				line += " " + text
			}
		}
		line += who("<", a.Peer) + who("by", a.Author)
		if a.Count > 0 {
			line += fmt.Sprintf(" x%d", a.Count)
		}
		if a.From != "" {
			line += " from " + a.From
		}
		if a.Copy != "" {
			line += " copy " + a.Copy
		}
		if a.Claim != "" {
			line += ": " + a.Claim
		}
		out = append(out, line)
	}
	return out
}

// wantAudit waits until a node's audit has just these lines about path.
func (n *node) wantAudit(path string, nodes map[string]string, want ...string) {
	n.t.Helper()
	eventually(n.t, "audit of "+n.name, func() string {
		if got := lines(n.audited(path), nodes); !slices.Equal(got, want) {
			return fmt.Sprintf("got %q\nwant %q", got, want)
		}
		return ""
	})
}

// TestAuditTellsWhoSaidIt has a member tell versions in the name of a third one, and of the node itself: the audit has them as its
// word, and knows which of its own the node never made.
func TestAuditTellsWhoSaidIt(t *testing.T) {
	t.Parallel()
	n := startNode(t, "n", tree{"mine": "1", "other": "1"})
	until(t, "published", func() bool { return n.entry("mine") != nil && n.entry("other") != nil })
	l := newLiar(n, 0x11)
	l.meet()
	third, victim := merkle.NodeID{3}, n.replica().Node()
	nodes := map[string]string{l.id.String(): "liar", third.String(): "third", victim.String(): "victim"}
	now := merkle.Stamp(time.Now().UnixMicro())
	tell := func(path, content string, author merkle.NodeID, stamp merkle.Stamp, seen merkle.Vector) {
		e := l.entry(file(content))
		v := merkle.Version{Vector: seen.Join(merkle.Vector{}.With(author, stamp)), Author: author, Stamp: stamp}
		l.tells(syncproto.Announcement{Path: path, Entry: e.WithVersion(v), Data: []byte(content)})
		until(t, path+" is in", func() bool { return n.tree()[path] == content })
	}
	mine := n.entry("mine").Version

	tell("own", "a", l.id, 1, nil)
	n.wantAudit("own", nodes, "applied file own < liar by liar")
	tell("third", "b", third, 7, nil)
	n.wantAudit("third", nodes, "applied file third < liar by third")
	tell("before", "c", victim, 5, merkle.Vector{{Node: l.id, Stamp: 8}}) // else it passes for something that was deleted long ago
	n.wantAudit("before", nodes, "applied file before < liar by victim: not known")
	tell("ahead", "d", victim, now+1_000_000, nil)
	n.wantAudit("ahead", nodes, "applied file ahead < liar by victim: never made")
	tell("elsewhere", "e", victim, mine.Stamp, merkle.Vector{{Node: l.id, Stamp: 8}}) // a stamp that this node did give, to another path
	n.wantAudit("elsewhere", nodes, "applied file elsewhere < liar by victim: never made")
	tell("mine", "f", victim, mine.Stamp, mine.Vector.Join(merkle.Vector{{Node: l.id, Stamp: 9}}))
	n.wantAudit("mine", nodes, "published file mine by victim", "applied file mine < liar by victim: never made")
	tell("other", "g", victim, now+2_000_000, n.entry("other").Version.Vector)
	n.wantAudit("other", nodes, "published file other by victim", "applied file other < liar by victim: never made")
	if !strings.Contains(n.log.String(), "never made") {
		t.Error("the log does not tell of versions that the node never made")
	}

	// Content that is said to be this node's, in a version of the liar's own.
	e := l.entry(file("h"))
	v := e.Version
	v.Vector, v.Content = v.Vector.With(victim, now+3_000_000), merkle.Component{Node: victim, Stamp: now + 3_000_000}
	l.tells(syncproto.Announcement{Path: "content", Entry: e.WithVersion(v), Data: []byte("h")})
	n.wantAudit("content", nodes, "applied file content < liar by liar: never made")

	n.write("mine", "again") // what it does itself is its own, still
	n.wantAudit("mine", nodes, "published file mine by victim", "applied file mine < liar by victim: never made", "published file mine by victim")
}

// TestHonestPeersAreNotDoubted has versions of a node's own come back to it in all the ways in which they do.
func TestHonestPeersAreNotDoubted(t *testing.T) {
	t.Parallel()
	a, b, w := apart(t, tree{"f": "base", "g": "base", "d/x": "x", "d/y": "y", "d/z": "z"})
	nodes := map[string]string{a.replica().Node().String(): "a", b.replica().Node().String(): "b"}
	past := time.Now().Add(-time.Hour)
	a.write("f", "a's") // loses
	a.age("f", past)
	b.write("f", "b's")
	a.write("g", "a's") // wins
	b.write("g", "b's")
	b.age("g", past)
	a.flushed()
	b.flushed()
	w.restore()
	eventually(t, "conflict copies", func() string { return wantCopies(2, a, b) })
	tr := converged(t, a, b)
	copies := tr.copies()

	rename(t, b, "d", "moved") // what a made, b moves
	holdsPath(t, a, "moved/z", "x", "y", "z")
	b.remove("moved")
	until(t, "removed at a", func() bool { _, there := a.tree()["moved/z"]; return !there })
	converged(t, a, b)
	for _, n := range []*node{a, b} {
		for _, line := range lines(n.audited(""), nodes) {
			if strings.Contains(line, "never made") || strings.Contains(line, "not known") {
				t.Errorf("audit of %s: %s", n.name, line)
			}
		}
	}
	for i, p := range []string{"f", "g"} {
		got := slices.Concat(lines(a.audited(copies[i]), nodes), lines(b.audited(copies[i]), nodes)) // one resolves it first, and tells
		if !slices.ContainsFunc(got, func(line string) bool {
			return strings.HasPrefix(line, "conflict file "+p+" < ") && strings.HasSuffix(line, " by "+[]string{"a", "b"}[i]+" copy "+copies[i])
		}) {
			t.Errorf("audits about %s: got %q, want the conflict", copies[i], got)
		}
	}
	for _, want := range []struct {
		n    *node
		line string
	}{
		{b, "published directory moved by b x4 from d"}, {a, "applied directory moved < b by b x4 from d"},
		{b, "published deleted moved by b x4"}, {a, "applied deleted moved < b by b x4"},
	} {
		if got := lines(want.n.audited("moved/z"), nodes); !slices.Contains(got, want.line) {
			t.Errorf("audit of %s: got %q, want %q in it", want.n.name, got, want.line)
		}
	}
}

func rename(t *testing.T, n *node, from, to string) {
	t.Helper()
	if err := syscall.Rename(n.path(from), n.path(to)); err != nil {
		t.Fatal(err)
	}
}

// holdsPath waits until a directory of a node holds files whose names are their contents.
func holdsPath(t *testing.T, n *node, last string, names ...string) {
	t.Helper()
	dir := filepath.Dir(last)
	until(t, n.name+" has "+dir, func() bool {
		tr := n.tree()
		return !slices.ContainsFunc(names, func(name string) bool { return tr[dir+"/"+name] != name })
	})
}

// TestAuditAfterAKill kills a node: what its index has is in its audit, and that its end is missing is told.
func TestAuditAfterAKill(t *testing.T) {
	t.Parallel()
	a, b := startNode(t, "a", tree{"f": "1"}), startNode(t, "b", nil)
	connect(a, b)
	holds(t, tree{"f": "1"}, a, b)
	b.committed()
	nodes := map[string]string{a.replica().Node().String(): "a", b.replica().Node().String(): "b"}
	// The next swap happens, and is written down nowhere but in the intents.
	b.on("commit.sync", func() error { return errKilled })
	b.on("commit.audit", func() error { return errKilled })
	a.write("f", "2")
	holds(t, tree{"f": "2"}, a, b)
	b.kill()
	b.on("commit.sync", nil)
	b.on("commit.audit", nil)
	b.start()
	connect(a, b)
	holds(t, tree{"f": "2"}, a, b)
	b.wantAudit("f", nodes, "applied file f < a by a", "recovered file f by a")
	if err := b.end(); err != nil {
		t.Fatal(err)
	}
	b.start()
	var frame []string
	for _, r := range b.audited("") {
		if r.Kind == "started" || r.Kind == "ended" {
			frame = append(frame, r.Kind)
		}
	}
	if want := []string{"started", "started", "ended", "started"}; !slices.Equal(frame, want) {
		t.Errorf("got %q, want %q", frame, want)
	}
}

// TestAuditAfterStateWasRestored gives a node an old state: what its peer says of its lost past is told as that.
func TestAuditAfterStateWasRestored(t *testing.T) {
	t.Parallel()
	a, b := startNode(t, "a", tree{"f": "1"}), startNode(t, "b", nil)
	w := connect(a, b)
	holds(t, tree{"f": "1"}, a, b)
	nodes := map[string]string{a.replica().Node().String(): "a", b.replica().Node().String(): "b"}
	w.cut()
	if err := a.end(); err != nil {
		t.Fatal(err)
	}
	backup := filepath.Join(t.TempDir(), "backup")
	copyState(t, a.o.StateHome, backup)
	// Stamps of a later time than what is reserved.
	a.tune = func(r *Replica) { r.stamps.clock = func() time.Time { return time.Now().Add(2 * time.Minute) } }
	a.start()
	w.restore()
	a.write("f", "2")
	holds(t, tree{"f": "2"}, a, b)
	w.cut()
	if err := a.end(); err != nil {
		t.Fatal(err)
	}
	copyState(t, backup, a.o.StateHome)
	a.write("f", "1")
	a.remove("f")                                                                              // it has never heard of the second content
	a.tune = func(r *Replica) { r.stamps.floor += merkle.Stamp(time.Hour / time.Microsecond) } // it is an hour later
	a.start()
	a.flushed()
	w.restore()
	converged(t, a, b)
	until(t, "told", func() bool {
		return slices.Contains(lines(a.audited(""), nodes), "behind < b by a")
	})
	got := lines(a.audited("f"), nodes)
	for _, line := range got {
		if strings.Contains(line, "never made") {
			t.Errorf("got %q, want nothing that was never made", got)
		}
	}
	if !slices.Contains(got, "applied file f < b by a: not known") {
		t.Errorf("got %q, want the version that came back", got)
	}
}

// TestFullDiskStopsNoSync has the audit not be written for a while.
func TestFullDiskStopsNoSync(t *testing.T) {
	t.Parallel()
	a, b := startNode(t, "a", tree{"f": "1"}), newNode(t, "b", nil)
	b.on("commit.audit", func() error { return syscall.ENOSPC })
	b.start()
	connect(a, b)
	holds(t, tree{"f": "1"}, a, b)
	until(t, "the user is told", func() bool {
		return slices.ContainsFunc(b.status().Problems, func(p control.Problem) bool {
			return p.Path == auditPath && strings.Contains(p.Cause, "no space left") && p.Remedy != ""
		})
	})
	if p, err := b.replica().Audit(t.Context()); err != nil || p.Unwritten == 0 || p.Cause == "" {
		t.Errorf("audit while it cannot be written: got %+v, %v, want why", p, err)
	}
	b.on("commit.audit", nil)
	until(t, "the problem is over", func() bool { return len(b.status().Problems) == 0 })
	b.wantAudit("f", map[string]string{a.replica().Node().String(): "a"}, "applied file f < a by a")
}

func TestEvents(t *testing.T) {
	t.Parallel()
	a, b := startNode(t, "a", nil), startNode(t, "b", nil)
	nodes := map[string]string{a.replica().Node().String(): "a", b.replica().Node().String(): "b"}
	enough := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	events, ended := make(chan control.Event, 1000), make(chan error, 1)
	go func() {
		ended <- b.replica().Events(ctx, func(e control.Event) error { events <- e; return nil })
	}()
	next := func(want string) {
		t.Helper()
		select {
		case e := <-events:
			if got := lines([]control.Audited{{Event: e}}, nodes)[0]; got != want || e.Time.IsZero() {
				t.Errorf("got %q, want %q", got, want)
			}
		case <-time.After(patience):
			t.Fatalf("no event, want %q", want)
		}
	}
	next("listening")
	connect(a, b)
	next("peer-up < a")
	a.write("f", "1")
	next("applied file f < a by a")
	b.write("g", "1")
	next("published file g by b")
	if _, err := b.replica().Pause(t.Context(), time.Hour); err != nil {
		t.Fatal(err)
	}
	next("paused")
	next("peer-down < a")
	if _, err := b.replica().Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	next("resumed")
	cancel(enough)
	if err := <-ended; !errors.Is(err, enough) {
		t.Errorf("got %v, want %v", err, enough)
	}
}

func TestHeldIsAnEvent(t *testing.T) {
	t.Parallel()
	base := tree{}
	for i := range 6 {
		base[fmt.Sprint("f", i)] = fmt.Sprint(i)
	}
	n := newNode(t, "n", base)
	n.o.Burst.Files, n.o.Burst.Share = 2, 0.1
	n.start()
	n.flushed()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events := make(chan control.Event, 1000)
	done := make(chan error, 1)
	go func() { done <- n.replica().Events(ctx, func(e control.Event) error { events <- e; return nil }) }()
	<-events
	for p := range base {
		n.remove(p)
	}
	select {
	case e := <-events:
		if e.Kind != control.EventHeld || e.Count == 0 || e.Cause == "" {
			t.Errorf("got %+v, want that they are held", e)
		}
	case <-time.After(patience):
		t.Fatal("no event")
	}
	cancel()
	<-done
}

// TestLockNotes has what became of locks in the audit, and told as events; what is delegated is only told.
func TestLockNotes(t *testing.T) {
	t.Parallel()
	n := startNode(t, "n", nil)
	self, other := n.replica().Node(), merkle.NodeID{3}
	events := make(chan control.Event, 16)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.replica().Events(ctx, func(e control.Event) error { events <- e; return nil }) }()
	if e := <-events; e.Kind != control.EventListening {
		t.Fatalf("got %+v, want that it listens", e)
	}
	token := merkle.Token{Generation: 2, Index: 7}
	n.replica().NoteLocks([]LockNote{
		{Record: audit.Record{Kind: audit.Granted, Path: "x", Mode: 1, Token: token, Cause: "anna"}},
		{Record: audit.Record{Kind: audit.Granted, Path: "d", Count: 1000, Token: token}, Delegated: true},
		{Record: audit.Record{Kind: audit.Recalled, Path: "d/f", Token: token}, Delegated: true},
		{Record: audit.Record{Kind: audit.Forced, Name: "cron", Author: other, Peer: self, Cause: "forgotten"}},
		{Record: audit.Record{Kind: audit.Expired, What: merkle.Dir}},
	})
	nodes := map[string]string{self.String(): "self", other.String(): "other"}
	n.wantAudit("x", nodes, "lock-granted x by self", "lock-expired directory by self")
	var got []string
	for range 5 {
		e := <-events
		got = append(got, strings.Join(lines([]control.Audited{{Event: e}}, nodes), "")+fmt.Sprint(" ", e.Name, e.Mode, e.Token, e.Cause, e.Delegated))
	}
	want := []string{
		"lock-granted x by self shared2.7annafalse",
		"lock-granted d by self x1000 exclusive2.7true",
		"lock-recalled d/f by self exclusive2.7true",
		"lock-forced < self by other cronexclusiveforgottenfalse",
		"lock-expired directory by self exclusivefalse",
	}
	if !slices.Equal(got, want) {
		t.Errorf("events: got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if all := n.audited(""); len(all) != 4 { // and that it was started
		t.Errorf("audit: got %q, want no delegation", lines(all, nodes))
	}
}
