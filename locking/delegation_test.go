package locking

import (
	"fmt"
	"slices"
	"testing"
)

func (g *rig) scopes(n int) []Scope {
	g.t.Helper()
	c, ok := g.table.Claim(id(n))
	if !ok {
		g.t.Fatalf("request %d claims nothing", n)
	}
	return c.Scopes
}

func TestADelegationIsAsWideAsNobodyElseNeeds(t *testing.T) {
	for _, row := range []struct {
		name   string
		others []Scope // held by another node
		needed []Scope
		want   Scope
	}{
		{"alone", nil, []Scope{onePath("a/b/c")}, tree("")},
		{"one elsewhere", []Scope{onePath("x")}, []Scope{onePath("a/b/c")}, tree("a")},
		{"one beside", []Scope{onePath("a/x")}, []Scope{onePath("a/b/c")}, tree("a/b")},
		{"one in the same directory", []Scope{onePath("a/b/x")}, []Scope{onePath("a/b/c")}, onePath("a/b/c")},
		{"a batch", []Scope{onePath("x")}, []Scope{onePath("a/b/c"), onePath("a/d")}, tree("a")},
		{"a tree", []Scope{onePath("a/x")}, []Scope{tree("a/b")}, tree("a/b")},
		{"names are no paths", []Scope{named("a")}, []Scope{onePath("a/b")}, tree("")},
	} {
		t.Run(row.name, func(t *testing.T) {
			g := newRig(t)
			a, b := g.session(1), g.session(2)
			for n, s := range row.others {
				g.want(lock(100+n, b, s), Granted, NoReason)
			}
			g.want(delegate(1, a, row.needed...), Granted, NoReason)
			if got := g.scopes(1); len(got) != 1 || got[0] != row.want {
				t.Errorf("got %v, want %v", got, row.want)
			}
		})
	}
}

func TestADelegationIsNoWiderThanOthersWaitFor(t *testing.T) {
	g := newRig(t)
	a, b, c := g.session(1), g.session(2), g.session(3)
	g.want(lock(1, c, onePath("d/x")), Granted, NoReason)
	g.want(lock(2, b, onePath("d/x"), onePath("e/y")), Queued, NoReason)
	g.want(delegate(3, a, onePath("e/z")), Granted, NoReason)
	if got := g.scopes(3)[0]; got != onePath("e/z") {
		t.Errorf("got %v, want no more than was needed", got)
	}
}

func TestADelegationIsNarrowedForWhoAsks(t *testing.T) {
	g := newRig(t)
	a, b := g.session(1), g.session(2)
	r := g.want(delegate(1, a, onePath("x")), Granted, NoReason)
	if r.Grant.Scopes[0] != tree("") {
		t.Fatalf("got %v, want all", r.Grant.Scopes)
	}
	if r := g.want(delegate(2, b, onePath("docs/y")), Queued, NoReason); !r.Blocker.Delegation {
		t.Errorf("blocked by %+v, want a delegation", r.Blocker)
	}
	g.want(&Narrow{Request: id(1), Session: b, Except: []Scope{tree("docs")}}, Denied, NotHeld)
	narrow := &Narrow{Request: id(1), Session: a, Except: []Scope{tree("docs")}, Left: []Left{leftAt(tree("docs"), "v1")}, Seen: 1 << 40}
	g.want(narrow, Done, NoReason)
	g.want(narrow, Done, NoReason) // once more, because the answer was lost
	if got := g.scopes(2); !slices.Equal(got, []Scope{tree("docs")}) {
		t.Errorf("b got %v, want docs/", got)
	}
	r = g.want(delegate(2, b, onePath("docs/y")), Granted, NoReason)
	if r.Grant.Unknown || len(r.Grant.Left) != 1 || r.Grant.Left[0].Version != "v1" {
		t.Errorf("b is told %+v, want what a has left", r.Grant)
	}
	// a holds the rest still; what b has is not a's any more.
	g.want(try(3, b, onePath("x")), Denied, Taken)
	g.want(try(4, a, onePath("docs/z")), Denied, Taken)
	g.want(try(5, b, onePath("docs/z")), Granted, NoReason)
}

func TestADelegationLeavesOutSoMuchAndNoMore(t *testing.T) {
	g := newRig(t)
	a := g.session(1)
	g.want(delegate(1, a, onePath("x")), Granted, NoReason)
	narrow := func(s Scope) *Narrow { return &Narrow{Request: id(1), Session: a, Except: []Scope{s}} }
	for n := range MaxExcept {
		g.want(narrow(onePath(fmt.Sprintf("d/%02d", n))), Done, NoReason)
	}
	g.want(narrow(onePath("e")), Denied, NoRoom)
	g.want(narrow(onePath("d/03")), Done, NoReason) // left out already
	g.want(narrow(tree("d")), Done, NoReason)       // in the place of all of them
	g.want(narrow(onePath("e")), Done, NoReason)
	if c, _ := g.table.Claim(id(1)); len(c.Except) != 2 {
		t.Errorf("leaves out %v, want two", c.Except)
	}
	g.want(narrow(tree("")), Done, NoReason)
	if g.holds(1) {
		t.Error("nothing is left of it, and it is held")
	}
}

func TestANarrowDelegationOfManyPathsLosesOne(t *testing.T) {
	g := newRig(t)
	a, b := g.session(1), g.session(2)
	g.want(lock(9, b, onePath("z")), Granted, NoReason)
	k := delegate(1, a, onePath("x"), onePath("y"))
	k.Desired = Scope{}
	g.want(k, Granted, NoReason)
	g.want(lock(2, b, onePath("x")), Queued, NoReason)
	g.want(&Narrow{Request: id(1), Session: a, Except: []Scope{onePath("x")}}, Done, NoReason)
	if !g.holds(2) || !slices.Equal(g.scopes(1), []Scope{onePath("y")}) {
		t.Errorf("a holds %v, and b %v", g.scopes(1), g.holds(2))
	}
}

func TestANodesDelegationIsNotInTheWayOfItsLocks(t *testing.T) {
	g := newRig(t)
	a, b := g.session(1), g.session(2)
	g.want(delegate(1, a, onePath("x")), Granted, NoReason)
	g.want(lock(2, a, onePath("docs/y")), Granted, NoReason)
	g.want(lock(3, a, onePath("docs/y")), Queued, NoReason)
	g.want(lock(4, b, onePath("docs/y")), Queued, NoReason)
	g.want(&Narrow{Request: id(1), Session: a, Except: []Scope{onePath("docs/y")}}, Done, NoReason)
	if g.holds(4) {
		t.Error("b got what a has locked")
	}
	g.want(release(2), Done, NoReason)
	g.want(release(3), Done, NoReason)
	if !g.holds(4) {
		t.Error("b did not get it")
	}
}

func TestWhatIsLeftBehindComesWithTheGrant(t *testing.T) {
	for _, row := range []struct {
		name    string
		before  func(g *rig, a, b Session)
		asks    Scope
		want    []string
		unknown bool
	}{
		{"never locked", func(*rig, Session, Session) {}, onePath("p"), nil, true},
		{"released", func(g *rig, a, b Session) {
			g.apply(lock(1, a, onePath("p")))
			g.apply(release(1, leftAt(onePath("p"), "v1")))
		}, onePath("p"), []string{"v1"}, false},
		{"released unchanged", func(g *rig, a, b Session) {
			g.apply(lock(1, a, onePath("p")))
			g.apply(release(1, leftAt(onePath("p"), "v1")))
			g.apply(lock(2, b, onePath("p")))
			g.apply(release(2))
		}, onePath("p"), []string{"v1"}, false},
		{"the newer one counts", func(g *rig, a, b Session) {
			g.apply(lock(1, a, onePath("p")))
			g.apply(release(1, leftAt(onePath("p"), "v1")))
			g.apply(lock(2, b, onePath("p")))
			g.apply(release(2, leftAt(onePath("p"), "v2")))
		}, onePath("p"), []string{"v2"}, false},
		{"a tree tells of all in it", func(g *rig, a, b Session) {
			g.apply(lock(1, a, onePath("d/p")))
			g.apply(release(1, leftAt(onePath("d/p"), "v1")))
			g.apply(lock(2, b, tree("d")))
			g.apply(release(2, leftAt(tree("d"), "s2")))
		}, onePath("d/p"), []string{"s2"}, false},
		{"a path in a tree is newer than the tree", func(g *rig, a, b Session) {
			g.apply(lock(2, b, tree("d")))
			g.apply(release(2, leftAt(tree("d"), "s2")))
			g.apply(lock(1, a, onePath("d/p")))
			g.apply(release(1, leftAt(onePath("d/p"), "v1")))
		}, onePath("d/p"), []string{"v1"}, false},
		{"a tree is told of both", func(g *rig, a, b Session) {
			g.apply(lock(2, b, tree("d")))
			g.apply(release(2, leftAt(tree("d"), "s2")))
			g.apply(lock(1, a, onePath("d/p")))
			g.apply(release(1, leftAt(onePath("d/p"), "v1")))
		}, tree("d"), []string{"s2", "v1"}, false},
		{"a tree of which parts are known", func(g *rig, a, b Session) {
			g.apply(lock(1, a, onePath("d/p")))
			g.apply(release(1, leftAt(onePath("d/p"), "v1")))
		}, tree("d"), []string{"v1"}, true},
		{"a part of the tree was lost", func(g *rig, a, b Session) {
			g.apply(lock(2, b, tree("d")))
			g.apply(release(2, leftAt(tree("d"), "s2")))
			g.apply(lock(1, a, onePath("d/p")))
			g.apply(&Close{a, Expired})
		}, tree("d"), []string{"s2"}, true},
		{"another part of the tree was lost", func(g *rig, a, b Session) {
			g.apply(lock(2, b, tree("d")))
			g.apply(release(2, leftAt(tree("d"), "s2")))
			g.apply(lock(1, a, onePath("d/p")))
			g.apply(&Close{a, Expired})
		}, onePath("d/q"), []string{"s2"}, false},
		{"a delegation let go leaves out what it had left out", func(g *rig, a, b Session) {
			g.apply(delegate(1, a, onePath("x")))
			g.apply(&Narrow{Request: id(1), Session: a, Except: []Scope{tree("d")}, Left: []Left{leftAt(tree("d"), "s1")}, Seen: 1 << 40})
			g.apply(lock(2, b, onePath("d/p")))
			g.apply(release(2, leftAt(onePath("d/p"), "v2")))
			g.apply(release(1, leftAt(tree(""), "s3")))
		}, onePath("d/p"), []string{"v2"}, false},
		{"and is told with it", func(g *rig, a, b Session) {
			g.apply(delegate(1, a, onePath("x")))
			g.apply(&Narrow{Request: id(1), Session: a, Except: []Scope{tree("d")}, Left: []Left{leftAt(tree("d"), "s1")}, Seen: 1 << 40})
			g.apply(lock(2, b, onePath("d/p")))
			g.apply(release(2, leftAt(onePath("d/p"), "v2")))
			g.apply(release(1, leftAt(tree(""), "s3")))
		}, tree(""), []string{"s3", "s1", "v2"}, false},
		{"a delegation that expires", func(g *rig, a, b Session) {
			g.apply(delegate(1, a, onePath("x")))
			g.apply(&Narrow{Request: id(1), Session: a, Except: []Scope{tree("d")}, Left: []Left{leftAt(tree("d"), "s1")}, Seen: 1 << 40})
			g.apply(&Close{a, Expired})
		}, onePath("y"), nil, true},
		{"beside a delegation that expires", func(g *rig, a, b Session) {
			g.apply(delegate(1, a, onePath("x")))
			g.apply(&Narrow{Request: id(1), Session: a, Except: []Scope{tree("d")}, Left: []Left{leftAt(tree("d"), "s1")}, Seen: 1 << 40})
			g.apply(&Close{a, Expired})
		}, onePath("d/y"), []string{"s1"}, false},
		{"not what somebody else holds", func(g *rig, a, b Session) {
			g.apply(lock(1, a, onePath("p")))
			g.apply(release(1, leftAt(onePath("q"), "v1")))
		}, onePath("q"), nil, true},
		{"a name", func(g *rig, a, b Session) {
			g.apply(lock(1, a, named("n")))
			g.apply(release(1, leftAt(named("n"), "v1")))
		}, named("n"), []string{"v1"}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			g := newRig(t)
			a, b, c := g.session(1), g.session(2), g.session(3)
			row.before(g, a, b)
			grant := g.want(lock(50, c, row.asks), Granted, NoReason).Grant
			var got []string
			for _, l := range grant.Left {
				got = append(got, l.Version)
			}
			if !slices.Equal(got, row.want) || grant.Unknown != row.unknown {
				t.Errorf("got %q, unknown %v; want %q, %v", got, grant.Unknown, row.want, row.unknown)
			}
		})
	}
}

// What is forgotten for want of room makes a grant say that nobody knows, never that an older version is the newest.
func TestForgettingIsToldAsNotKnowing(t *testing.T) {
	table := NewTable(nil)
	index := uint64(0)
	apply := func(c Command) *Result {
		b, err := Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		index++
		r, err := DecodeResult(table.Apply(index, b))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	a := Session{nodeID(1), apply(&Open{Request: id(1), Node: nodeID(1), Length: MinLength}).Epoch}
	apply(lock(2, a, tree("")))
	apply(release(2, leftAt(tree(""), "all")))
	for n := range maxLefts {
		apply(lock(10+n, a, onePath(fmt.Sprintf("d/%d", n))))
		apply(release(10+n, leftAt(onePath(fmt.Sprintf("d/%d", n)), "v")))
	}
	for path, unknown := range map[string]bool{"elsewhere": true, "d/0": false, fmt.Sprintf("d/%d", maxLefts-1): false} {
		if r := apply(try(100000+len(path), a, onePath(path))); r.Grant.Unknown != unknown {
			t.Errorf("%s: got %+v, want unknown %v", path, r.Grant, unknown)
		}
	}
	if n := table.lefts.order.Len(); n != maxLefts {
		t.Errorf("%d versions are remembered, want %d", n, maxLefts)
	}
}
