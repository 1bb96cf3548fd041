package replica

import (
	"errors"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"resonate/members"
	"resonate/merkle"
)

// forgotten waits until no node has a tombstone any more, and their roots are equal.
func forgotten(t testing.TB, p string, nodes ...*node) {
	t.Helper()
	eventually(t, "the tombstone is dropped everywhere", func() string {
		for _, n := range nodes {
			if n.entry(p) != nil {
				return n.name + " still has it"
			}
		}
		return ""
	})
	converged(t, nodes...)
}

func TestTombstonesAreDropped(t *testing.T) {
	t.Parallel()
	a, b := startNode(t, "a", tree{"f": "f", "d/g": "g", "h": "h"}), startNode(t, "b", nil)
	w := connect(a, b)
	holds(t, a.tree(), a, b)
	a.remove("f")
	b.remove("d")
	holds(t, tree{"h": "h"}, a, b)
	forgotten(t, "f", a, b)
	forgotten(t, "d/g", a, b)
	forgotten(t, "d", a, b)
	w.cut()
	if err := errors.Join(a.end(), b.end()); err != nil {
		t.Fatal(err)
	}
	a.start()
	b.start()
	w.restore()
	holds(t, tree{"h": "h"}, a, b)
	a.write("f", "born again")
	holds(t, tree{"h": "h", "f": "born again"}, a, b)
}

func TestMemberThatIsAwayKeepsTombstones(t *testing.T) {
	t.Parallel()
	base := tree{"f": "f", "stays": "s"}
	a, b, c := startNode(t, "a", base), startNode(t, "b", nil), startNode(t, "c", nil)
	connect(a, b)
	away := connect(b, c)
	holds(t, base, a, b, c)
	until(t, "a knows c", func() (knows bool) {
		a.inLoop(func(r *Replica) { knows = len(r.members) == 2 })
		return knows
	})
	away.cut()
	a.remove("f")
	holds(t, tree{"stays": "s"}, a, b)
	stamp := a.entry("f").Version.Stamp
	self := a.replica().Node()
	until(t, "a and b know that the other has seen it", func() bool {
		know := 0
		for _, x := range [][2]*node{{a, b}, {b, a}} {
			x[0].inLoop(func(r *Replica) {
				if r.members[x[1].replica().Node()].Of(self) >= stamp {
					know++
				}
			})
		}
		return know == 2
	})
	for _, n := range []*node{a, b} {
		if e := n.entry("f"); e == nil || e.Kind != merkle.Tombstone {
			t.Fatalf("while c is away, %s has %v of f, want the tombstone", n.name, e)
		}
	}
	if got := c.tree()["f"]; got != "f" {
		t.Fatalf("c: got %q, want the old file", got)
	}
	away.restore()
	holds(t, tree{"stays": "s"}, a, b, c)
	forgotten(t, "f", a, b, c)
}

// TestWitnessKeepsNoTombstones has a deletion forgotten while a witness is away, and a witness with its empty tree delete nothing.
func TestWitnessKeepsNoTombstones(t *testing.T) {
	t.Parallel()
	a, b := startNode(t, "a", tree{"f": "f", "h": "h"}), startNode(t, "b", nil)
	connect(a, b)
	holds(t, a.tree(), a, b)
	w := newNode(t, "w", nil)
	w.o.Witness = true
	w.start()
	err := w.replica().ChangeMembers(t.Context(), func(set *members.Set) error {
		_, err := set.Profile("w", nil, true, time.Now())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	wires := []*wire{connect(a, w), connect(b, w)}
	told := func() string {
		for _, n := range []*node{a, b} {
			if m, _ := n.replica().Members().Member(members.ID(w.replica().Node())); !m.Witness {
				return n.name + " does not know the witness"
			}
		}
		return ""
	}
	eventually(t, "the witness is known", told)
	for _, w := range wires {
		w.cut()
	}
	a.remove("f")
	holds(t, tree{"h": "h"}, a, b)
	forgotten(t, "f", a, b)
	for _, w := range wires {
		w.restore()
	}
	b.write("g", "g")
	holds(t, tree{"h": "h", "g": "g"}, a, b)
	if err := a.replica().Wait(t.Context(), ""); err != nil {
		t.Error(err)
	}
	if got := w.tree(); len(got) > 0 {
		t.Errorf("the witness has %v, want nothing", got)
	}
}

// TestRestoredIndexResurrectsNothing takes a node back to before a deletion whose tombstone is forgotten.
func TestRestoredIndexResurrectsNothing(t *testing.T) {
	for _, row := range []struct {
		name   string
		folder bool // the folder is restored, too
	}{{"index alone", false}, {"index and folder", true}} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			base := tree{"f": "f", "d/g": "g", "stays": "s"}
			a, b := startNode(t, "a", base), startNode(t, "b", nil)
			w := connect(a, b)
			holds(t, base, a, b)
			until(t, "both know what the other has seen", func() (know bool) {
				a.inLoop(func(r *Replica) { know = r.members[b.replica().Node()].Covers(r.seen) })
				return know
			})
			w.cut()
			if err := a.end(); err != nil {
				t.Fatal(err)
			}
			backup := filepath.Join(t.TempDir(), "backup")
			copyState(t, a.o.StateHome, backup)
			saved := filepath.Join(t.TempDir(), "saved")
			if out, err := exec.Command("cp", "-a", a.dir, saved).CombinedOutput(); err != nil {
				skip(t, "cp -a: %v %s", err, out)
			}
			a.start()
			w.restore()
			a.remove("f")
			b.remove("d")
			holds(t, tree{"stays": "s"}, a, b)
			forgotten(t, "f", a, b)
			forgotten(t, "d/g", a, b)
			w.cut()
			if err := a.end(); err != nil {
				t.Fatal(err)
			}
			copyState(t, backup, a.o.StateHome)
			if row.folder {
				if out, err := exec.Command("cp", "-a", saved+"/f", saved+"/d", a.dir).CombinedOutput(); err != nil {
					t.Fatalf("cp -a: %v %s", err, out)
				}
			}
			a.start()
			w.restore()
			holds(t, tree{"stays": "s"}, a, b)
			forgotten(t, "f", a, b)
		})
	}
}

// A newcomer lacks everything that the others have long agreed on: nothing of it may be taken for deleted.
func TestNewcomerLosesNobodyAnything(t *testing.T) {
	t.Parallel()
	base := tree{"f": "f", "d/g": "g", "h": "h"}
	a, b := startNode(t, "a", base), startNode(t, "b", nil)
	connect(a, b)
	holds(t, base, a, b)
	a.remove("h")
	forgotten(t, "h", a, b)
	c := startNode(t, "c", tree{"own": "o", "d/k": "k"})
	connect(a, c)
	union := tree{"f": "f", "d/g": "g", "own": "o", "d/k": "k"}
	holds(t, union, a, b, c)
	d := startNode(t, "d", nil)
	connect(d, c)
	connect(d, b)
	holds(t, union, a, b, c, d)
}

// What a peer is known to have seen may be newer than the root that it last told: only what it told with that root says
// what its tree holds.
func TestSeenGoesWithTheRootItWasToldWith(t *testing.T) {
	t.Parallel()
	a, b := startNode(t, "a", tree{"f": "f"}), startNode(t, "b", nil)
	connect(a, b)
	holds(t, tree{"f": "f"}, a, b)
	newer := merkle.NodeID{7}
	until(t, "b has told the root that a has, too", func() (told bool) {
		a.inLoop(func(r *Replica) {
			p := r.peers[b.replica().Node()]
			if told = r.tree.Root().State == p.root; !told {
				return
			}
			r.members[p.id] = r.members[p.id].With(newer, 1) // as a third node may tell
			r.compareRoots(p)
			if got := r.seen.Of(newer); got != 0 {
				t.Errorf("a takes itself to have seen stamp %d of a node that it knows nothing of", got)
			}
		})
		return told
	})
}
