package quorum

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"
)

func TestALoneVoterTakesInCommandsAndKeepsThem(t *testing.T) {
	t.Parallel()
	n := newNet(t, "a")
	a := n.nodes["a"]
	if _, _, err := a.Propose(context.Background(), []byte("x")); !errors.Is(err, ErrNoTable) {
		t.Errorf("without a table: got %v, want ErrNoTable", err)
	}
	a = n.cluster("a")
	if s := a.Status(); s.Role != Voter || s.Generation != 1 || s.Shared || s.Leader != "a" || !slices.Equal(s.Voters, []NodeID{"a"}) {
		t.Errorf("status is %+v", s)
	}
	if _, reply := propose(t, a, "one"); reply != "line 1" {
		t.Errorf("got reply %q, want line 1", reply)
	}
	first, _ := propose(t, a, "two")
	if err := a.Verify(context.Background()); err != nil {
		t.Error(err)
	}
	table := a.Status().Table

	n.kill("a")
	a = n.open("a")
	n.leader("a")
	n.agree([]string{"1:one", "1:two"}, "a")
	if s := a.Status(); s.Table != table || s.Generation != 1 {
		t.Errorf("after a restart, the table is %s of generation %d, want %s of 1", s.Table, s.Generation, table)
	}
	if second, _ := propose(t, a, "three"); second <= first {
		t.Errorf("index %d after %d", second, first)
	}
}

func TestThreeVotersSurviveOne(t *testing.T) {
	t.Parallel()
	n := newNet(t, "a", "b", "c")
	a := n.cluster("a", "b", "c")
	propose(t, a, "one")
	n.agree([]string{"1:one"}, "a", "b", "c")
	if _, _, err := n.nodes["b"].Propose(context.Background(), []byte("x")); err == nil || err.Error() != "node a leads the lock table" {
		t.Errorf("proposing at a follower: got %v", err)
	}

	n.kill("a")
	began := time.Now()
	l := n.leader("b", "c")
	t.Logf("the new leader was there after %v", time.Since(began))
	propose(t, l, "two")
	n.agree([]string{"1:one", "1:two"}, "b", "c")

	n.open("a")
	n.agree([]string{"1:one", "1:two"}, "a", "b", "c")
}
