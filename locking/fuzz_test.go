package locking

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

// commands are commands of every kind, with next to nothing in them, and with everything.
func commands() []Command {
	s := Session{nodeID(1), math.MaxUint64}
	left := []Left{leftAt(onePath("a/b"), "v"), leftAt(tree(""), "s"), leftAt(named("n"), "x")}
	scopes := []Scope{tree(""), onePath("a"), tree("a"), onePath("a/b"), named("n"), named("o")}
	return []Command{
		&Open{Request: id(1), Node: nodeID(1), Length: MinLength},
		&Open{Request: id(1), Node: nodeID(1), Host: strings.Repeat("h", MaxText), Length: MaxLength},
		&Close{s, Closed}, &Close{s, Expired},
		lock(1, s, onePath("p")), try(2, s, tree("")), share(3, s, scopes...), permit(4, s, MaxPermits, named("n")),
		delegate(5, s, onePath("a"), tree("b")),
		&Acquire{Request: id(6), Session: s, Scopes: scopes, TTL: MaxOffline, Free: true, Why: "why", Owner: "who"},
		release(1), release(1, left...),
		&End{Endings: []Ending{{Request: id(1), Token: Token{1, 2}}, {Request: id(2)}}, Cause: Forced, By: "me", Seen: 7},
		&Narrow{Request: id(1), Session: s, Except: []Scope{onePath("a")}}, &Narrow{Request: id(1), Session: s, Except: scopes, Left: left, Seen: 9},
		&Age{}, &Age{[]Remaining{{id(1), 0}, {id(2), time.Hour}}},
		&Raise{}, &Raise{math.MaxUint64},
	}
}

func encode(t testing.TB, c Command) []byte {
	t.Helper()
	b, err := Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestCommandsAreWhatTheyWere(t *testing.T) {
	for _, c := range commands() {
		if got, err := DecodeCommand(encode(t, c)); err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("got %+v, %v; want %+v", got, err, c)
		}
	}
}

func TestUnknownFieldsAreSkipped(t *testing.T) {
	b := appendMessage(nil, 7, func(b []byte) []byte { return appendText(appendUint(b, raiseGeneration, 5), 99, "news") })
	if c, err := DecodeCommand(b); err != nil || c.(*Raise).Generation != 5 {
		t.Errorf("got %+v, %v", c, err)
	}
}

func FuzzCommand(f *testing.F) {
	for _, c := range commands() {
		f.Add(encode(f, c))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := DecodeCommand(b)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("got %v, want ErrFormat", err)
			}
			return
		}
		again, err := DecodeCommand(encode(t, c))
		if err != nil || !reflect.DeepEqual(again, c) {
			t.Errorf("got %+v, %v; want %+v", again, err, c)
		}
	})
}

// FuzzTable has a table take commands, and a copy of it beside it, which is restored in between.
func FuzzTable(f *testing.F) {
	var all []byte
	for _, c := range append([]Command{&Open{Request: id(1), Node: nodeID(1), Length: MinLength}}, commands()...) {
		b := encode(f, c)
		all = append(append(all, byte(len(b)>>8), byte(len(b))), b...)
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, b []byte) {
		table, other := NewTable(nil), NewTable(nil)
		for index := uint64(1); len(b) >= 2; index++ {
			n := min(int(b[0])<<8|int(b[1]), len(b)-2)
			command := b[2 : 2+n]
			b = b[2+n:]
			r := table.Apply(index, command)
			if _, err := DecodeResult(r); err != nil {
				t.Fatal(err)
			}
			if got := other.Apply(index, command); !bytes.Equal(got, r) {
				t.Fatalf("got %x, want %x", got, r)
			}
			if err := other.Restore(table.Snapshot()); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func FuzzRestore(f *testing.F) {
	g := newRig(f)
	a, b := g.session(1), g.session(2)
	g.apply(delegate(1, a, onePath("x")))
	g.apply(&Narrow{Request: id(1), Session: a, Except: []Scope{tree("docs")}, Left: []Left{leftAt(tree("docs"), "v")}})
	g.apply(lock(2, b, onePath("x")))
	f.Add(g.table.Snapshot())
	f.Fuzz(func(t *testing.T, b []byte) {
		table := NewTable(nil)
		if err := table.Restore(b); err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("got %v, want ErrFormat", err)
			}
			return
		}
		again := NewTable(nil)
		if err := again.Restore(table.Snapshot()); err != nil || !bytes.Equal(again.Snapshot(), table.Snapshot()) {
			t.Errorf("a restored table has a snapshot that is another's: %v", err)
		}
		table.Apply(table.Index()+1, encode(t, &Open{Request: id(1), Node: nodeID(1), Length: MinLength}))
	})
}

func FuzzResult(f *testing.F) {
	g := newRig(f)
	a, b := g.session(1), g.session(2)
	for _, c := range []Command{delegate(1, a, onePath("x")), lock(2, b, onePath("x")), try(3, b, onePath("y"))} {
		f.Add(g.table.Apply(g.index+1, encode(f, c)))
		g.index++
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeResult(b)
		if err != nil {
			return
		}
		if again, err := DecodeResult(r.encode()); err != nil || !reflect.DeepEqual(again, r) {
			t.Errorf("got %+v, %v; want %+v", again, err, r)
		}
	})
}

func TestMessagesAreWhatTheyWere(t *testing.T) {
	for _, m := range messages() {
		got, err := DecodeMessage(EncodeMessage(m))
		if s, ok := m.(*State); ok && s.Session == (Session{}) {
			continue // an empty session is written
		}
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("got %+v, %v; want %+v", got, err, m)
		}
	}
	if m, err := DecodeMessage([]byte{0xfa, 0x01, 0}); m != nil || err != nil {
		t.Errorf("an unknown kind: got %+v, %v; want it to be skipped", m, err)
	}
}

// FuzzMessage has a holder and a keeper hear it, too.
func FuzzMessage(f *testing.F) {
	for _, m := range messages() {
		f.Add(EncodeMessage(m))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeMessage(b)
		if err != nil || m == nil {
			if err != nil && !errors.Is(err, ErrFormat) {
				t.Errorf("got %v, want ErrFormat", err)
			}
			return
		}
		again, err := DecodeMessage(EncodeMessage(m))
		if err != nil || !reflect.DeepEqual(again, m) {
			t.Errorf("got %+v, %v; want %+v", again, err, m)
		}
		h := NewHolder(nodeID(1), "h", time.Second, 0, func() RequestID { return id(1) })
		h.Receive(0, m)
		h.Tick(0)
		k := NewKeeper(NewTable(nil), 0)
		k.Receive(0, nodeID(1), m)
		k.Tick(0)
	})
}
