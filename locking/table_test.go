package locking

import (
	"fmt"
	"testing"
	"time"
)

func TestOneHolderOfWhatOverlaps(t *testing.T) {
	for _, row := range []struct {
		name       string
		held, asks Scope
		free       bool
	}{
		{"the same path", onePath("a/b"), onePath("a/b"), false},
		{"another path", onePath("a/b"), onePath("a/c"), true},
		{"a path and its parent", onePath("a/b"), onePath("a"), true},
		{"below a tree", tree("a"), onePath("a/b/c"), false},
		{"the root of a tree", tree("a"), onePath("a"), false},
		{"a tree around a path", onePath("a/b/c"), tree("a"), false},
		{"a tree in a tree", tree("a"), tree("a/b"), false},
		{"a tree around a tree", tree("a/b"), tree(""), false},
		{"a name that begins alike", tree("a"), onePath("ab"), true},
		{"the same name", named("a"), named("a"), false},
		{"a name, and a path that is called so", named("a"), onePath("a"), true},
	} {
		t.Run(row.name, func(t *testing.T) {
			g := newRig(t)
			a, b := g.session(1), g.session(2)
			g.want(lock(1, a, row.held), Granted, NoReason)
			if row.free {
				g.want(lock(2, b, row.asks), Granted, NoReason)
				return
			}
			r := g.want(try(2, b, row.asks), Denied, Taken)
			if r.Blocker == nil || r.Blocker.Session != a || r.Blocker.Host != "b" || r.Blocker.Scopes[0] != row.held {
				t.Errorf("told that %+v stands in the way", r.Blocker)
			}
			g.want(lock(3, b, row.asks), Queued, NoReason)
			g.want(release(1), Done, NoReason)
			if !g.holds(3) || g.holds(1) {
				t.Error("the one who waits does not get what is released")
			}
		})
	}
}

func TestWhoAskedFirstIsServedFirst(t *testing.T) {
	g := newRig(t)
	a, b, c := g.session(1), g.session(2), g.session(3)
	g.want(share(1, a, onePath("p")), Granted, NoReason)
	g.want(lock(2, b, tree("")), Queued, NoReason)
	// Compatible with the holder, and yet behind the one that waits: or who wants all of it would starve.
	if r := g.want(share(3, c, onePath("p")), Queued, NoReason); r.Position != 1 {
		t.Errorf("got position %d, want 1", r.Position)
	}
	g.want(share(4, a, onePath("elsewhere")), Queued, NoReason)
	g.want(share(5, c, named("other")), Granted, NoReason)
	g.want(release(1), Done, NoReason)
	if !g.holds(2) || g.holds(3) || g.holds(4) {
		t.Error("not the first of those who wait got it")
	}
	g.want(release(2), Done, NoReason)
	if !g.holds(3) || !g.holds(4) {
		t.Error("those who share did not get it together")
	}
}

func TestPermits(t *testing.T) {
	g := newRig(t)
	a, b := g.session(1), g.session(2)
	for n, s := range []Session{a, a, b} {
		g.want(permit(n, s, 3, named("n")), Granted, NoReason)
	}
	g.want(permit(3, b, 3, named("n")), Queued, NoReason)
	g.want(permit(4, a, 9, named("n")), Queued, NoReason)
	g.want(release(1), Done, NoReason)
	if !g.holds(3) || g.holds(4) {
		t.Error("the freed permit did not go to the first who waits")
	}
	g.want(release(0), Done, NoReason)
	g.want(release(2), Done, NoReason)
	if !g.holds(4) {
		t.Error("the second did not get a permit")
	}
	g.want(permit(5, a, 2, named("n")), Queued, NoReason) // two hold one, and the smaller number counts
	g.want(share(6, a, named("n")), Queued, NoReason)
}

func TestABatchIsAllOrNothing(t *testing.T) {
	g := newRig(t)
	a, b, c := g.session(1), g.session(2), g.session(3)
	g.want(lock(1, a, onePath("q")), Granted, NoReason)
	g.want(lock(2, b, onePath("p"), onePath("q")), Queued, NoReason)
	g.want(lock(3, c, onePath("p"), onePath("r")), Queued, NoReason) // no deadlock: it waits for b, who waits for a
	g.want(lock(4, a, onePath("r")), Queued, NoReason)
	g.want(release(1), Done, NoReason)
	if !g.holds(2) || g.holds(3) {
		t.Error("got more or less than the whole batch of b")
	}
	g.want(release(2), Done, NoReason)
	if !g.holds(3) || g.holds(4) {
		t.Error("got more or less than the whole batch of c")
	}
	g.want(release(3), Done, NoReason)
	if !g.holds(4) {
		t.Error("the last one did not get it")
	}
}

// RaftLock let every replica's own clock end locks. Here only commands do: no command, no end.
func TestRaftLockL1ExpiryIsInTheLog(t *testing.T) {
	g := newRig(t)
	a, b := g.session(1), g.session(2)
	k := lock(1, a, named("n"))
	k.TTL = MinTTL
	g.want(k, Granted, NoReason)
	g.want(lock(2, b, named("n")), Queued, NoReason)
	if !g.holds(1) {
		t.Fatal("the lock ended by itself")
	}
	g.want(&End{Endings: []Ending{{Request: id(1), Token: g.token(1)}}, Cause: Expired}, Done, NoReason)
	if g.holds(1) || !g.holds(2) {
		t.Error("the lock did not go on when the log said so")
	}
}

// RaftLock gave two that were promoted by one event the same fencing token.
func TestRaftLockL2NoTwoGrantsShareAToken(t *testing.T) {
	g := newRig(t)
	a, b := g.session(1), g.session(2)
	g.want(lock(1, a, tree("")), Granted, NoReason)
	first := g.token(1)
	for n := 2; n < 12; n++ {
		g.want(lock(n, b, onePath(fmt.Sprintf("p%02d", n))), Queued, NoReason)
	}
	g.want(release(1), Done, NoReason)
	last := first
	for n := 2; n < 12; n++ {
		if got := g.token(n); got.Compare(last) <= 0 {
			t.Errorf("request %d: token %v after %v", n, got, last)
		} else {
			last = got
		}
	}
	g.want(release(2), Done, NoReason)
	if r := g.want(lock(20, a, onePath("p02")), Granted, NoReason); r.Grant.Token.Compare(last) <= 0 {
		t.Errorf("token %v after %v", r.Grant.Token, last)
	}
	g.want(&Raise{Generation: 7}, Done, NoReason)
	g.want(&Raise{Generation: 3}, Done, NoReason)
	g.want(lock(22, a, onePath("x")), Denied, NoSession)
	a = g.session(1)
	if r := g.want(lock(21, a, onePath("x")), Granted, NoReason); r.Grant.Token.Generation != 7 {
		t.Errorf("token %v, want one of generation 7", r.Grant.Token)
	}
}

// RaftLock let a client lock again what it had: two processes with one ID both held it.
func TestRaftLockL3TheSameNodeDoesNotHoldTwice(t *testing.T) {
	g := newRig(t)
	a := g.session(1)
	first := g.want(lock(1, a, onePath("p")), Granted, NoReason).Grant.Token
	g.want(lock(2, a, onePath("p")), Queued, NoReason)
	g.want(try(3, a, tree("")), Denied, Taken)
	// The same request is no second one.
	if r := g.want(lock(1, a, onePath("p")), Granted, NoReason); r.Grant.Token != first {
		t.Errorf("asked again: token %v, want %v", r.Grant.Token, first)
	}
	if r := g.want(lock(2, a, onePath("p")), Queued, NoReason); r.Position != 0 {
		t.Errorf("asked again: position %d, want 0", r.Position)
	}
	g.want(release(1), Done, NoReason)
	g.want(lock(2, a, onePath("p")), Granted, NoReason)
	// Late duplicates hold nothing, whatever they got in their time.
	g.want(lock(1, a, onePath("p")), Denied, Freed)
	g.want(release(2), Done, NoReason)
	g.want(try(3, a, tree("")), Denied, Taken)
	if got := len(g.table.Claims(tree(""))); got != 0 {
		t.Errorf("%d claims are left, want none", got)
	}
}

// RaftLock began all TTLs anew when it read a snapshot. Here the table has durations alone, and those that age are logged.
func TestRaftLockL4DurationsDoNotShift(t *testing.T) {
	g := newRig(t)
	a := g.session(1)
	k := lock(1, a, onePath("p"))
	k.TTL, k.Free = 7*24*time.Hour, true
	g.want(k, Granted, NoReason)
	g.want(&Age{[]Remaining{{id(1), time.Hour}, {id(99), time.Hour}}}, Done, NoReason)
	g.want(lock(2, g.session(2), onePath("q")), Granted, NoReason) // has no TTL to age
	g.want(&Age{[]Remaining{{id(2), time.Hour}}}, Done, NoReason)
	for range 3 {
		if err := g.table.Restore(g.table.Snapshot()); err != nil {
			t.Fatal(err)
		}
		if c, _ := g.table.Claim(id(1)); c.Remaining != time.Hour || c.TTL != k.TTL {
			t.Fatalf("TTL %v, %v left, want 1h left", c.TTL, c.Remaining)
		}
	}
}

// RaftLock did not take note of the index of commands that failed.
func TestRaftLockL5FailedCommandsAdvanceTheIndex(t *testing.T) {
	g := newRig(t)
	a := g.session(1)
	before := g.table.Index()
	g.want(lock(1, Session{nodeID(9), 3}, onePath("p")), Denied, NoSession)
	g.want(&Narrow{Request: id(5), Session: a, Except: []Scope{tree("")}}, Denied, NotHeld)
	for _, b := range [][]byte{nil, {1}, []byte("nonsense"), {0x3a, 0x01, 0xff}} {
		if r := g.applyBytes(b); r.Status != Denied || r.Reason != Invalid {
			t.Errorf("%x: got %+v, want it to be called malformed", b, r)
		}
	}
	if got := g.table.Index() - before; got != 6 {
		t.Errorf("the index went up by %d, want 6", got)
	}
	if r, _ := DecodeResult(g.table.Apply(before, nil)); r.Reason != OutOfOrder || g.table.Index() != before+6 {
		t.Errorf("an old index: got %+v, and index %d", r, g.table.Index())
	}
}

// id-lock's loser was told that its transaction does not exist: it had to ask again, and whoever asked at the right moment won.
func TestIDLockLosersAreQueued(t *testing.T) {
	g := newRig(t)
	a, b, c := g.session(1), g.session(2), g.session(3)
	g.want(lock(1, a, named("n")), Granted, NoReason)
	for n, s := range []Session{b, c, b, c} {
		if r := g.want(lock(10+n, s, named("n")), Queued, NoReason); r.Position != n {
			t.Errorf("got position %d, want %d", r.Position, n)
		}
	}
	for n := range 4 {
		holder := 1
		if n > 0 {
			holder = 9 + n
		}
		g.want(release(holder), Done, NoReason)
		if !g.holds(10 + n) {
			t.Errorf("%d did not get it in its turn", n)
		}
	}
}

func TestASessionThatIsOverHoldsNothing(t *testing.T) {
	g := newRig(t)
	a, b := g.session(1), g.session(2)
	g.want(lock(1, a, onePath("p")), Granted, NoReason)
	g.want(lock(2, b, onePath("p")), Queued, NoReason)
	g.want(lock(3, a, onePath("p")), Queued, NoReason)
	free := lock(4, a, named("free"))
	free.Free, free.TTL = true, time.Hour
	g.want(free, Granted, NoReason)
	g.want(&Close{a, Expired}, Done, NoReason)
	g.want(&Close{a, Expired}, Denied, NoSession)
	if g.holds(1) || !g.holds(2) || !g.holds(4) {
		t.Error("the locks of the session are not just those that went")
	}
	if r := g.want(lock(2, b, onePath("p")), Granted, NoReason); !r.Grant.Unknown {
		t.Error("nobody knows what the lost node has left, and the grant does not say so")
	}
	g.want(lock(5, a, onePath("x")), Denied, NoSession)
	again := g.session(1)
	if again.Epoch == a.Epoch {
		t.Error("who comes back has the old epoch")
	}
	g.want(lock(1, again, onePath("p")), Denied, Over)
	g.want(try(6, again, onePath("p")), Denied, Taken)
	// A node that begins another session has lost the first one, without a Close.
	g.want(lock(7, again, onePath("q")), Granted, NoReason)
	third := g.session(1)
	g.want(try(8, third, onePath("q")), Granted, NoReason)
	if got := len(g.table.Sessions()); got != 2 {
		t.Errorf("%d sessions, want 2", got)
	}
}

// A request is one, whichever node it is made through: another one than the first is told neither that it has the lock, nor that it waits.
func TestARequestIsOneForAllNodes(t *testing.T) {
	g := newRig(t)
	a, b := g.session(1), g.session(2)
	free := func(s Session) *Acquire {
		c := lock(1, s, named("n"))
		c.Free, c.TTL = true, time.Hour
		return c
	}
	g.want(lock(2, b, named("n")), Granted, NoReason)
	g.want(free(a), Queued, NoReason)
	g.want(free(b), Denied, Elsewhere)
	// The node goes while it waits: then it is asked for through the other one, and what the first has asked comes late.
	g.want(&Close{a, Expired}, Done, NoReason)
	if got := g.table.Fate(id(1)); got != NoReason {
		t.Errorf("what waited is over: %v", got)
	}
	g.want(free(a), Denied, NoSession)
	g.want(free(b), Queued, NoReason)
	g.want(free(g.session(1)), Denied, Elsewhere)
	g.want(release(2), Done, NoReason)
	if !g.holds(1) {
		t.Error("it did not get its turn")
	}
	g.want(&Close{b, Expired}, Done, NoReason)
	if !g.holds(1) {
		t.Error("it went with the node that asked for it")
	}
	g.want(release(1), Done, NoReason)
	g.want(free(g.session(3)), Denied, Freed)
}

func TestOpeningASessionTwiceIsOnce(t *testing.T) {
	g := newRig(t)
	o := &Open{Request: id(7), Node: nodeID(1), Length: time.Second}
	first := Session{nodeID(1), g.want(o, Done, NoReason).Epoch}
	g.want(lock(1, first, onePath("p")), Granted, NoReason)
	if got := g.want(o, Done, NoReason).Epoch; got != first.Epoch || !g.holds(1) {
		t.Errorf("asked again: epoch %d, want %d, and what it holds", got, first.Epoch)
	}
	g.session(1)
	g.want(o, Denied, Over) // late: it must not end the session that came after it
}

func TestForceFencesTheHolder(t *testing.T) {
	g := newRig(t)
	a, b := g.session(1), g.session(2)
	g.want(lock(1, a, onePath("p")), Granted, NoReason)
	old := g.token(1)
	g.want(lock(2, b, onePath("p")), Queued, NoReason)
	force := &End{Endings: []Ending{{Request: id(1), Token: old}}, Cause: Forced, By: "carol"}
	g.want(force, Done, NoReason)
	if !g.holds(2) || g.token(2).Compare(old) <= 0 {
		t.Error("the next holder has no greater token")
	}
	if len(g.changes) != 2 || g.changes[0].Cause != Forced || g.changes[0].By != "carol" || g.changes[1].What != ClaimGranted {
		t.Errorf("told %+v", g.changes)
	}
	// The holder's own release comes too late, and takes nothing from the next one.
	g.want(&End{Endings: []Ending{{Request: id(1), Token: old, Left: []Left{leftAt(onePath("p"), "v")}}}}, Done, Over)
	// Nor does a second force that meant the first holder.
	g.want(&End{Endings: []Ending{{Request: id(2), Token: old}}, Cause: Forced}, Denied, NotHeld)
	if r := g.want(lock(2, b, onePath("p")), Granted, NoReason); !r.Grant.Unknown || len(r.Grant.Left) != 0 {
		t.Errorf("got %+v, want that nobody knows what was left", r.Grant)
	}
}

func TestACancelThatComesFirstHolds(t *testing.T) {
	g := newRig(t)
	a := g.session(1)
	g.want(release(1), Done, NoReason)
	g.want(lock(1, a, onePath("p")), Denied, Over)
	g.want(lock(2, a, onePath("p")), Granted, NoReason)
	g.want(lock(3, a, onePath("p")), Queued, NoReason)
	g.want(lock(4, a, onePath("p")), Queued, NoReason)
	g.want(release(3), Done, NoReason)
	g.want(release(2), Done, NoReason)
	if !g.holds(4) || g.holds(3) {
		t.Error("who gave up waiting stands in the way")
	}
}

func TestLimits(t *testing.T) {
	g := newRig(t)
	a, b := g.session(1), g.session(2)
	g.want(lock(1, a, onePath("p")), Granted, NoReason)
	for n := range MaxWaiters {
		g.want(lock(10+n, b, onePath("p")), Queued, NoReason)
	}
	g.want(lock(2, b, onePath("p")), Denied, QueueFull)
	g.want(lock(3, b, onePath("q")), Granted, NoReason)
	for name, c := range map[string]Command{
		"TTL too long":         &Acquire{Request: id(4), Session: a, Scopes: []Scope{onePath("x")}, TTL: MaxTTL + time.Second},
		"TTL too short":        &Acquire{Request: id(4), Session: a, Scopes: []Scope{onePath("x")}, TTL: MinTTL / 2},
		"free for ever":        &Acquire{Request: id(4), Session: a, Scopes: []Scope{onePath("x")}, Free: true},
		"wait too long":        &Acquire{Request: id(4), Session: a, Scopes: []Scope{onePath("x")}, Wait: MaxWait + time.Second},
		"scopes out of order":  lock(4, a, onePath("b"), onePath("a")),
		"a scope twice":        lock(4, a, onePath("b"), onePath("b")),
		"no scope":             lock(4, a),
		"no session":           lock(4, Session{}, onePath("a")),
		"permits on a tree":    permit(4, a, 3, tree("a")),
		"no permits":           permit(4, a, 0, named("a")),
		"desired elsewhere":    &Acquire{Request: id(4), Session: a, Scopes: []Scope{onePath("x")}, Delegation: true, Desired: tree("y")},
		"a shared delegation":  &Acquire{Request: id(4), Session: a, Scopes: []Scope{onePath("x")}, Delegation: true, Mode: Shared},
		"session too short":    &Open{Request: id(4), Node: nodeID(1), Length: time.Millisecond},
		"version too long":     release(4, leftAt(onePath("x"), string(make([]byte, MaxVersion+1)))),
		"a close for no cause": &Close{a, Forced},
	} {
		if _, err := Encode(c); err == nil {
			t.Errorf("%s: passes", name)
		}
	}
}

func TestTooManyClaimsOfOneNode(t *testing.T) {
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
	a := Session{nodeID(1), apply(&Open{Request: id(1), Node: nodeID(1), Length: time.Second}).Epoch}
	b := Session{nodeID(2), apply(&Open{Request: id(2), Node: nodeID(2), Length: time.Second}).Epoch}
	for n := range maxNodeClaims {
		if r := apply(try(10+n, a, named(fmt.Sprint(n)))); r.Status != Granted {
			t.Fatalf("%d: %+v", n, r)
		}
	}
	if r := apply(try(3, a, named("one more"))); r.Reason != TableFull {
		t.Errorf("one more: got %+v, want that there are too many", r)
	}
	if r := apply(try(4, b, named("one more"))); r.Status != Granted {
		t.Errorf("another node: got %+v, want a grant", r)
	}
}
