package quorum

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// copyTree copies files over those that are there, which therefore stay the same files; it is what a restored backup may do.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		at := filepath.Join(to, strings.TrimPrefix(path, from))
		if d.IsDir() {
			return os.MkdirAll(at, 0o700)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(at, b, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// role waits until a node has a role.
func (n *testNet) role(name NodeID, want Role) {
	n.t.Helper()
	wait(n.t, func() error {
		if s := n.nodes[name].Status(); s.Role != want {
			return fmt.Errorf("%s is %s, want %s: %+v", name, s.Role, want, s)
		}
		return nil
	})
}

// settled waits until the leader has these voters.
func (n *testNet) settled(leader *testNode, names ...NodeID) {
	n.t.Helper()
	wait(n.t, func() error {
		if got := leader.Status().Voters; !slices.Equal(got, names) {
			return fmt.Errorf("%v vote, want %v", got, names)
		}
		return nil
	})
}

// A voter whose log is gone, or lies elsewhere, does not vote with what it has forgotten, and is taken in anew.
func TestALostOrCopiedLogHasNoVote(t *testing.T) {
	t.Parallel()
	for _, copied := range []bool{false, true} {
		n := newNet(t, "a", "b", "c")
		a := n.cluster("a", "b", "c")
		propose(t, a, "one")
		n.agree([]string{"1:one"}, "a", "b", "c")
		n.kill("c")
		dir := logDir(n.nodes["c"].dir, n.nodes["c"].recorded(t).log)
		if copied {
			copyTree(t, dir, dir+"-elsewhere")
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if copied {
			if err := os.Rename(dir+"-elsewhere", dir); err != nil {
				t.Fatal(err)
			}
		}
		n.part([]NodeID{"a", "b"}, []NodeID{"c"})
		c := n.open("c")
		n.role("c", Client)
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the log that is not what it was is still there: %v", err)
		}

		// Its new log follows, and has no vote: with b down, and a gone, nobody leads.
		n.kill("b")
		n.part()
		n.talk("a", "c", 6)
		n.kill("a")
		n.open("b")
		n.talk("b", "c", 6)
		wait(t, func() error {
			for _, name := range []NodeID{"b", "c"} {
				if s := n.nodes[name].Status(); s.Leader != "" { // a may not be missed yet
					return fmt.Errorf("copied %v: %s leads, by the vote of a log that began anew", copied, s.Leader)
				}
			}
			return nil
		})
		n.open("a")
		l := n.leader("a", "b", "c")
		n.vote(l, "a", "b", "c")
		propose(t, l, "two")
		n.agree([]string{"1:one", "1:two"}, "a", "b", "c")
		for _, s := range l.current.Load().configuration().Servers {
			if s.ID == "c" && string(s.Address) != c.recorded(t).log.String() {
				t.Errorf("the old log of c has the vote")
			}
		}
	}
}

func (n *testNode) recorded(t *testing.T) *record {
	t.Helper()
	r, err := loadRecord(n.dir, n.id)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A log that was restored in place, which the file system does not tell: the others have seen more of it.
func TestAnOldCopyIsFoundOutByTheOthers(t *testing.T) {
	t.Parallel()
	n := newNet(t, "a", "b", "c")
	a := n.cluster("a", "b", "c")
	propose(t, a, "one")
	n.agree([]string{"1:one"}, "a", "b", "c")
	n.kill("c")
	old := filepath.Join(t.TempDir(), "c")
	copyTree(t, n.nodes["c"].dir, old)
	n.open("c")
	propose(t, n.leader("a", "b", "c"), "two")
	n.agree([]string{"1:one", "1:two"}, "a", "b", "c")
	n.kill("c")
	copyTree(t, old, n.nodes["c"].dir)
	was := n.nodes["c"].recorded(t).log
	n.open("c")
	wait(t, func() error {
		if n.nodes["c"].recorded(t).log == was {
			return errors.New("c still uses its old log")
		}
		return nil
	})
	l := n.leader("a", "b")
	n.vote(l, "a", "b", "c")
	propose(t, l, "three")
	n.agree([]string{"1:one", "1:two", "1:three"}, "a", "b", "c")
}

// An only voter that lost its log founds a table above the one it had, which its client then follows.
func TestAnOnlyVoterThatLostItsLogBeginsAbove(t *testing.T) {
	t.Parallel()
	n := newNet(t, "a", "b")
	a, b := n.cluster("a"), n.nodes["b"]
	if err := a.Share(); err != nil {
		t.Fatal(err)
	}
	if err := b.Follow(a.Status().Table, 1); err != nil {
		t.Fatal(err)
	}
	propose(t, a, "one")
	n.kill("a")
	if err := os.RemoveAll(logDir(a.dir, a.recorded(t).log)); err != nil {
		t.Fatal(err)
	}
	a = n.open("a")
	n.role("a", NoTable)
	if v := Meet(a.Standing(), b.Standing()); v.Do != Found {
		t.Fatalf("a does %v, want found", v.Do)
	}
	if err := a.Found(); err != nil {
		t.Fatal(err)
	}
	n.leader("a")
	s := a.Standing()
	if v := Meet(b.Standing(), s); v.Do != Follow || v.Raise != 0 {
		t.Fatalf("b does %+v, want follow at once", v)
	}
	if err := b.Follow(s.Table, s.Generation); err != nil {
		t.Fatal(err)
	}
	propose(t, a, "two")
	n.agree([]string{"2:two"}, "a")
}

func TestTakeOverByAVoter(t *testing.T) {
	t.Parallel()
	n := newNet(t, "a", "b", "c")
	a := n.cluster("a", "b", "c")
	propose(t, a, "one")
	n.agree([]string{"1:one"}, "a", "b", "c")
	table := a.Status().Table
	n.kill("a")
	n.kill("b")
	c := n.nodes["c"]
	if err := c.TakeOver(); err != nil {
		t.Fatal(err)
	}
	n.leader("c")
	if s := c.Status(); s.Table == table || s.Generation != 2 || !s.Shared {
		t.Errorf("status is %+v, want another table of generation 2", s)
	}
	propose(t, c, "two")
	n.agree([]string{"1:one", "2:two"}, "c")

	a, b := n.open("a"), n.open("b") // the others lead themselves, until they meet who took over
	n.leader("a", "b")
	for _, old := range []*testNode{a, b} {
		mine, theirs := old.Standing(), c.Standing()
		if v := Meet(theirs, mine); v.Do != Stay || v.Raise != 0 {
			t.Errorf("c does %+v, want to stay", v)
		}
		if v := Meet(mine, theirs); v.Do != Follow {
			t.Fatalf("%s does %v, want follow", old.id, v.Do)
		}
		if err := old.Follow(theirs.Table, theirs.Generation); err != nil {
			t.Fatal(err)
		}
	}
	n.vote(c, "a", "b", "c")
	n.agree([]string{"1:one", "2:two"}, "a", "b", "c")
	n.kill("c")
	n.open("c")
	propose(t, n.leader("a", "b", "c"), "three")
	n.agree([]string{"1:one", "2:two", "2:three"}, "a", "b", "c")
}

func TestTakeOverByAClient(t *testing.T) {
	t.Parallel()
	n := newNet(t, "a", "b")
	a, b := n.cluster("a"), n.nodes["b"]
	if err := b.Follow(a.Status().Table, 1); err != nil {
		t.Fatal(err)
	}
	n.kill("a")
	if err := b.TakeOver(); err != nil {
		t.Fatal(err)
	}
	n.leader("b")
	if s := b.Status(); s.Generation != 2 || !s.Shared {
		t.Errorf("status is %+v, want generation 2, shared", s)
	}
	propose(t, b, "one")
	n.agree([]string{"2:one"}, "b")
}

func TestATableDissolves(t *testing.T) {
	t.Parallel()
	n := newNet(t, "a", "b")
	a := n.cluster("a")
	propose(t, a, "one")
	b := n.nodes["b"]
	if err := b.Found(); err != nil {
		t.Fatal(err)
	}
	propose(t, n.leader("b"), "other")
	log := logDir(b.dir, b.recorded(t).log)
	term := n.leader("b").Status().Term
	if err := b.Follow(a.Status().Table, 1); !errors.Is(err, ErrRaise) {
		t.Errorf("following a table of no higher generation: got %v, want ErrRaise", err)
	}
	if s := b.Status(); !s.Leading || s.Term != term {
		t.Errorf("meanwhile: got %+v, want that it leads on in term %d: others may wait for it to raise its own", s, term)
	}
	propose(t, n.leader("b"), "goes on")

	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := a.Raise(ctx, 2); err != nil {
		t.Fatal(err)
	}
	if err := b.Follow(a.Status().Table, 2); err != nil {
		t.Fatal(err)
	}
	if s := b.Status(); s.Role != Client || s.Table != a.Status().Table {
		t.Errorf("status is %+v, want a client of a's table", s)
	}
	if _, err := os.Stat(log); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the log of the table that dissolved is still there: %v", err)
	}
	propose(t, a, "two")
	n.agree([]string{"1:one", "2:two"}, "a")
	if err := a.Raise(ctx, 2); err != nil {
		t.Errorf("raising to what it is: %v", err)
	}
	if s := a.Status(); s.Generation != 2 {
		t.Errorf("a's generation is %d, want 2", s.Generation)
	}

	// What a client has seen is not forgotten.
	if err := b.Note(Standing{Table: newID(), Generation: 7}); err != nil {
		t.Fatal(err)
	}
	n.kill("b")
	b = n.open("b")
	if err := b.Found(); err != nil {
		t.Fatal(err)
	}
	if s := b.Status(); s.Generation != 8 {
		t.Errorf("b founds generation %d, want 8", s.Generation)
	}
}

func TestVotersComeAndGo(t *testing.T) {
	t.Parallel()
	n := newNet(t, "a", "b", "c", "d")
	a := n.cluster("a", "b", "c")
	propose(t, a, "one")
	if err := n.nodes["d"].Follow(a.Status().Table, 1); err != nil {
		t.Fatal(err)
	}
	n.vote(a, "a", "b", "d") // c goes
	n.settled(a, "a", "b", "d")
	n.role("c", Client)
	propose(t, a, "two")
	n.agree([]string{"1:one", "1:two"}, "a", "b", "d")

	n.kill("b") // who is away stays a voter
	n.vote(a, "a", "b", "d")
	n.settled(a, "a", "b", "d")
	n.open("b")

	n.vote(a, "d") // the leader goes, too
	d := n.leader("d")
	n.settled(d, "d")
	n.role("a", Client)
	n.role("b", Client)
	propose(t, d, "three")
	n.agree([]string{"1:one", "1:two", "1:three"}, "d")

	n.vote(d, "a", "c", "d")
	n.agree([]string{"1:one", "1:two", "1:three"}, "a", "c", "d")
}

// A log is begun for whoever opens a stream. Where that is none who leads, the node is a client again.
func TestALogThatNobodyFillsIsGivenUp(t *testing.T) {
	t.Parallel()
	n := newNet(t, "a", "b")
	a, b := n.cluster("a"), n.nodes["b"]
	if err := b.Follow(a.Status().Table, 1); err != nil {
		t.Fatal(err)
	}
	near, far := net.Pipe()
	if err := b.Accept("c", far); err != nil {
		t.Fatal(err)
	}
	if got := b.Status().Role; got != Voter {
		t.Errorf("b is %s, want %s", got, Voter)
	}
	near.Close()
	n.role("b", Client)
	n.vote(a, "a", "b")
	n.settled(a, "a", "b")
}

// A voter that comes late is given a snapshot.
func TestASnapshotIsTakenAndSent(t *testing.T) {
	t.Parallel()
	n := newNet(t, "a", "b")
	a := n.cluster("a")
	filler := strings.Repeat("x", maxGrown/120)
	for range 2 * trailing {
		if _, _, err := a.Propose(context.Background(), []byte(filler)); err != nil {
			t.Fatal(err)
		}
	}
	propose(t, a, "last")
	wait(t, func() error {
		first, err := a.current.Load().store.FirstIndex()
		if err != nil || first == 1 {
			return fmt.Errorf("the log still begins at %d, %v", first, err)
		}
		return nil
	})
	if err := n.nodes["b"].Follow(a.Status().Table, 1); err != nil {
		t.Fatal(err)
	}
	n.vote(a, "a", "b")
	all := a.machine.all()
	n.agree(all, "b")
	n.kill("b")
	n.open("b")
	n.agree(all, "b")
}
