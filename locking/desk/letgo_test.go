package desk

import (
	"context"
	"errors"
	"testing"
	"time"

	"resonate/locking"
)

// letGo has a node let go of all, and checks that it does not take long.
func (n *node) letGo() {
	n.t.Helper()
	begun := time.Now()
	n.d.LetGo()
	if took := time.Since(begun); took > 5*time.Second {
		n.t.Errorf("let go after %v, want it after about a second at most", took)
	}
}

// TestWhatIsLetGoIsFreeAtOnce ends a node that holds a lock, waits for another, and has a delegation.
func TestWhatIsLetGoIsFreeAtOnce(t *testing.T) {
	t.Parallel()
	a, b := start(t, 1, t.TempDir()), start(t, 2, t.TempDir())
	connect(a, b)
	leader := oneTable(t, a, b)
	other := a
	if leader == a {
		other = b
	}
	other.left = func(scopes []locking.Scope) (out []locking.Left) {
		for _, s := range scopes {
			out = append(out, locking.Left{Scope: s, Version: "version 7"})
		}
		return out
	}
	held := other.mustLock(name("x"), 0)
	leaders := leader.mustLock(name("y"), 0)
	other.ask(path("docs/x"))
	other.d.EndUse(path("docs/x"))
	waiting := make(chan error, 1)
	go func() {
		_, err := other.lock(name("y"), time.Minute)
		waiting <- err
	}()
	until(t, "it waits", func() bool {
		claims, err := leader.d.Claims(context.Background(), name("y"))
		return err == nil && len(claims) == 2
	})
	other.letGo()
	if err := <-waiting; !errors.Is(err, ErrEnded) {
		t.Errorf("who waits: got %v, want %v", err, ErrEnded)
	}
	select {
	case <-held.Ended.Done:
	default:
		t.Error("who holds a lock is not told that it has ended")
	}
	leader.mustLock(name("x"), 0)
	if g := leader.ask(path("docs/z")); len(g.Left) == 0 || g.Left[0].Version != "version 7" {
		t.Errorf("left behind: got %+v, want version 7", g.Left)
	}
	claims, err := leader.d.Claims(context.Background(), name("y"))
	if err != nil || len(claims) != 1 || claims[0].Request != leaders.ID {
		t.Errorf("after the end of who waits: got %+v and %v, want the leader's lock alone", claims, err)
	}
	if _, err := other.lock(name("z"), 0); !errors.Is(err, ErrEnded) {
		t.Errorf("lock after that: got %v, want %v", err, ErrEnded)
	}
	if _, ok := other.d.Use(path("docs/x")); ok {
		t.Error("a use of what was let go")
	}
}

// TestLettingGoWaitsForUses has a node let go while something is in use: that is waited for, a little.
func TestLettingGoWaitsForUses(t *testing.T) {
	t.Parallel()
	a, b := start(t, 1, t.TempDir()), start(t, 2, t.TempDir())
	connect(a, b)
	oneTable(t, a, b)
	g := a.ask(path("docs/x"))
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		a.d.LetGo()
	}()
	until(t, "nothing is asked for any more", func() bool { _, err := a.lock(name("y"), 0); return errors.Is(err, ErrEnded) })
	if !a.d.Check(path("docs/x"), g.Token) {
		t.Error("what is in use was let go")
	}
	a.d.EndUse(path("docs/x"))
	<-gone
	if a.d.Check(path("docs/x"), g.Token) {
		t.Error("it is held still")
	}
	b.ask(path("docs/x"))
}

// TestLeaderThatLetsGoIsFollowed has one of three that leads let go, and not end: another leads.
func TestLeaderThatLetsGoIsFollowed(t *testing.T) {
	t.Parallel()
	nodes := []*node{start(t, 1, t.TempDir()), start(t, 2, t.TempDir()), start(t, 3, t.TempDir())}
	for i := range nodes {
		connect(nodes[i], nodes[(i+1)%3])
	}
	oneTable(t, nodes...)
	var leader *node
	until(t, "three voters", func() bool { leader = oneTable(t, nodes...); return len(leader.d.Status().Voters) == 3 })
	leader.mustLock(name("x"), 0)
	leader.letGo()
	if s := leader.d.Status(); s.Leading {
		t.Error("it leads still")
	}
	for _, n := range nodes {
		if n != leader {
			l := n.mustLock(name("x"), 0)
			n.unlock(l, name("x"))
			until(t, "it is unlocked", func() bool {
				claims, err := n.d.Claims(context.Background(), name("x"))
				return err == nil && len(claims) == 0
			})
		}
	}
}
