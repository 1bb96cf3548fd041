package quorum

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestALeaderThatIsCutOffTakesInNothing(t *testing.T) {
	t.Parallel()
	n := newNet(t, "a", "b", "c")
	a := n.cluster("a", "b", "c")
	propose(t, a, "one")
	n.part([]NodeID{"a"}, []NodeID{"b", "c"})

	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := a.Verify(ctx); err == nil {
		t.Error("a leader that is cut off was confirmed")
	}
	if _, _, err := a.Propose(ctx, []byte("lost")); err == nil {
		t.Error("a leader that is cut off took a command in")
	} else if none := new(NotLeader); !errors.Is(err, ErrUnknown) && !errors.Is(err, ErrNoMajority) && !errors.As(err, &none) {
		t.Errorf("proposing there: got %v", err)
	}
	l := n.leader("b", "c")
	propose(t, l, "two")
	wait(t, func() error {
		if s := a.Status(); s.Leading || s.Leader != "" {
			return fmt.Errorf("a still has the leader %q", s.Leader)
		}
		return nil
	})
	wait(t, func() error {
		if _, _, err := a.Propose(ctx, []byte("lost")); !errors.Is(err, ErrNoMajority) {
			return fmt.Errorf("proposing without a majority: got %w, want ErrNoMajority", err)
		}
		return nil
	})

	n.part()
	n.agree([]string{"1:one", "1:two"}, "a", "b", "c")
	wait(t, func() error {
		_, _, err := a.Propose(ctx, []byte("x"))
		if leads := new(NotLeader); !errors.As(err, &leads) || leads.Leader != l.id {
			return fmt.Errorf("at a follower: got %v, want that %s leads", err, l.id)
		}
		return nil
	})
	if err := l.Verify(ctx); err != nil {
		t.Error(err)
	}
}

// Who cannot reach the leader, while the others can, gets no vote.
func TestALeaderStaysThatTheMajorityHears(t *testing.T) {
	t.Parallel()
	n := newNet(t, "a", "b", "c")
	n.pace.raft = 2 * time.Second // for a busy machine
	n.setIdle(time.Hour)
	a := n.cluster("a", "b", "c")
	propose(t, a, "one")
	n.agree([]string{"1:one"}, "a", "b", "c")
	term := a.Status().Term
	n.mu.Lock()
	n.cut[key("a", "b")] = true
	n.mu.Unlock()
	n.hangUp(func(ends [2]NodeID) bool { return ends == key("a", "b") })
	wait(t, func() error { // so b has tried
		if s := n.nodes["b"].Status(); s.Leader != "" {
			return fmt.Errorf("b still has leader %s", s.Leader)
		}
		return nil
	})
	n.talk("b", "c", 4) // b tries to be elected, and again
	if s := a.Status(); !s.Leading || s.Term != term {
		t.Errorf("the leader was deposed: %+v", s)
	}
}

// A leader that falls silent, with its streams open.
func TestASilentLeaderIsReplaced(t *testing.T) {
	t.Parallel()
	for _, suspected := range []bool{false, true} {
		n := newNet(t, "a", "b", "c")
		if suspected {
			n.setIdle(time.Hour) // nobody would notice by himself
		}
		names := []NodeID{"a", "b", "c"}
		a := n.cluster(names...)
		propose(t, a, "one")
		var others []NodeID
		wait(t, func() error {
			a = n.leader(names...)
			others = slices.DeleteFunc(slices.Clone(names), func(name NodeID) bool { return name == a.id })
			for _, name := range names {
				t := n.nodes[name].current.Load().transport
				if t.interval() != n.pace.idle || name != a.id && !t.credit.trusts() {
					return fmt.Errorf("%s is not idle, or not on credit", name)
				}
			}
			return nil
		})
		n.mu.Lock()
		for _, name := range others {
			n.mute[key(a.id, name)] = true
		}
		n.mu.Unlock()
		began := time.Now()
		if suspected {
			n.nodes[others[0]].Suspect() // the other learns it from this one, who wants to be elected
		}
		l := n.leader(others...)
		t.Logf("suspected %v: the new leader was there after %v", suspected, time.Since(began))
		propose(t, l, "two")
		n.mu.Lock()
		clear(n.mute)
		n.mu.Unlock()
		n.agree([]string{"1:one", "1:two"}, "a", "b", "c")
	}
}

// A live leader that somebody suspects stays.
func TestASuspectedLeaderThatLivesStays(t *testing.T) {
	t.Parallel()
	n := newNet(t, "a", "b", "c")
	n.pace.raft = 2 * time.Second // for a busy machine
	n.setIdle(2 * time.Second)
	a := n.cluster("a", "b", "c")
	propose(t, a, "one")
	term := a.Status().Term
	for range 10 {
		n.nodes["b"].Suspect()
		n.nodes["c"].Suspect()
		n.talk("a", "b", 1)
	}
	propose(t, a, "two")
	if s := a.Status(); s.Term != term {
		t.Errorf("a suspicion cost an election: term %d, was %d", s.Term, term)
	}
}

// setIdle sets the pace of nodes that are not in a table yet.
func (n *testNet) setIdle(d time.Duration) {
	n.pace.idle = d
	for name := range n.nodes {
		n.kill(name)
		n.open(name)
	}
}

// Nodes are cut off from each other, die and return, as it happens, while commands are proposed everywhere. Whoever was told
// that a command was taken in, was told the truth: all nodes have it, once, in the order of the indices told.
func TestWhatWasTakenInStays(t *testing.T) {
	t.Parallel()
	rounds, seed := 10, rand.Uint64()
	if testing.Short() {
		rounds = 3
	}
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	names := []NodeID{"a", "b", "c"}
	n := newNet(t, names...)
	n.cluster(names...)

	var mu sync.Mutex
	told := make(map[uint64]string)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, name := range names {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				n.mu.Lock()
				q := n.nodes[name].Quorum
				n.mu.Unlock()
				if q == nil {
					pause(time.Millisecond)
					continue
				}
				command := fmt.Sprint(name, i)
				index, _, err := q.Propose(ctx, []byte(command))
				if err != nil {
					pause(time.Millisecond)
					continue
				}
				mu.Lock()
				if was, ok := told[index]; ok {
					t.Errorf("index %d was told of %s and of %s", index, was, command)
				}
				told[index] = command
				mu.Unlock()
			}
		})
	}
	for range rounds {
		shuffled := slices.Clone(names)
		random.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		switch random.IntN(3) {
		case 0:
			n.part(shuffled[:1], shuffled[1:])
		case 1:
			n.kill(shuffled[0])
		case 2:
			n.kill(shuffled[0])
			n.part(shuffled[:2], shuffled[2:])
		}
		pause(time.Duration(random.IntN(int(3 * quick.raft))))
		for _, name := range names {
			n.mu.Lock()
			down := n.nodes[name].Quorum == nil
			n.mu.Unlock()
			if down {
				n.open(name)
			}
		}
		n.part()
	}
	cancel()
	wg.Wait()

	l := n.leader(names...)
	propose(t, l, "end")
	all := l.machine.all()
	n.agree(all, names...)
	var order []string
	for _, index := range slices.Sorted(maps.Keys(told)) {
		order = append(order, told[index])
	}
	for i, line := range all {
		all[i] = strings.TrimPrefix(line, "1:")
	}
	at := 0
	for _, command := range order {
		found := slices.Index(all[at:], command)
		if found < 0 {
			t.Fatalf("%s was told to be taken in, and is not there, or not in its place", command)
		}
		at += found + 1
	}
	sorted := slices.Sorted(slices.Values(all))
	if len(slices.Compact(sorted)) != len(all) {
		t.Error("a command was applied twice")
	}
	t.Logf("%d commands were told to be taken in, %d were", len(order), len(all))
}
