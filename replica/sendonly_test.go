package replica

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"resonate/control"
)

// newSender makes a node that only sends.
func newSender(t testing.TB, name string, tr tree) *node {
	t.Helper()
	n := newNode(t, name, tr)
	n.o.Mode = Send
	return n
}

// untaken returns the paths that a node tells are otherwise at its peers, in order.
func (n *node) untaken() []string {
	n.t.Helper()
	out := []string{}
	for _, u := range n.status().Untaken {
		out = append(out, u.Path)
	}
	slices.Sort(out)
	return out
}

// wantUntaken waits until a node that only sends tells of just these paths, and is in sync all the same.
func (n *node) wantUntaken(want ...string) {
	n.t.Helper()
	eventually(n.t, "what is not taken", func() string {
		if got, state := n.untaken(), n.status().State; !slices.Equal(got, want) || state != "in sync" {
			return fmt.Sprintf("%s is %s and does not take %q, want %q", n.name, state, got, want)
		}
		return ""
	})
}

// messages returns how many messages a node has sent.
func (n *node) messages() uint64 {
	n.t.Helper()
	return n.status().MessagesSent
}

// standStill waits until no message has been sent for a second by any node.
func standStill(t testing.TB, nodes ...*node) {
	t.Helper()
	since, last := time.Now(), uint64(0)
	eventually(t, "silence", func() string {
		sum := uint64(0)
		for _, n := range nodes {
			sum += n.messages()
		}
		if sum != last {
			since, last = time.Now(), sum
		}
		if time.Since(since) < time.Second {
			return fmt.Sprintf("%d messages so far", sum)
		}
		return ""
	})
}

func TestSenderTakesNothing(t *testing.T) {
	t.Parallel()
	base := tree{"edited": "e", "deleted": "d", "dir/x": "x", "both": "b", "moved/y": "y"}
	a, b := newSender(t, "a", base), startNode(t, "b", tree{"theirs": "t", "new/z": "z"})
	a.start()
	connect(a, b)
	want := tree{"edited": "e", "deleted": "d", "dir/x": "x", "both": "b", "moved/y": "y", "theirs": "t", "new/z": "z"}
	eventually(t, "all is at the peer", func() string { return b.tree().diff(want) })
	a.wantUntaken("new", "theirs")

	b.write("edited", "by b")
	b.remove("deleted")
	b.remove("moved")
	b.write("both", "by b")
	a.wantUntaken("both", "deleted", "edited", "moved", "moved/y", "new", "theirs")
	if d := a.tree().diff(base); d != "" {
		t.Errorf("at the sender: %s", d)
	}
	a.write("dir/x", "by a")
	a.write("more", "more")
	a.write("both", "by a") // later: it wins, and the other is kept beside it
	if err := a.wait("", patience); err != nil {
		t.Fatalf("wait: %v", err)
	}
	got := b.tree()
	for p, c := range map[string]string{"dir/x": "by a", "more": "more", "both": "by a", "edited": "by b"} {
		if got[p] != c {
			t.Errorf("%s at the peer: got %q, want %q", p, got[p], c)
		}
	}
	if copies := got.copies(); len(copies) != 1 || got[copies[0]] != "by b" {
		t.Errorf("conflict copies at the peer: got %q, want one with what the peer had", copies)
	}
	standStill(t, a, b)
	until(t, "the peer is in sync", func() bool { return b.status().State == "in sync" })
	if p := b.status().Peers[0]; !p.SendsOnly || !p.InSync {
		t.Errorf("the sender, as the peer tells of it: got %+v, want that it only sends, and in sync", p)
	}
	b.inLoop(func(r *Replica) {
		if p := r.peers[a.replica().Node()]; p.seq > 0 {
			t.Errorf("the peer announced %d versions to the sender, want none", p.seq)
		}
	})
	base["dir/x"], base["more"], base["both"] = "by a", "more", "by a"
	if d := a.tree().diff(base); d != "" {
		t.Errorf("at the sender: %s", d)
	}
	w, err := a.replica().Why(t.Context(), "edited")
	if err != nil || w.State != "agreed" || len(w.Peers) != 1 || w.Peers[0].Has != "no" || !strings.Contains(w.Peers[0].Cause, "only sends") {
		t.Errorf("why: got %+v, %v, want agreed here, and the peer's to be another", w, err)
	}
}

// What is told with an edit is the edit, however much else differs.
func TestSenderTellsNoMoreThanItsChange(t *testing.T) {
	t.Parallel()
	a, b := newSender(t, "a", files(200, "content")), newNode(t, "b", nil)
	b.o.Burst.Files = 1000
	a.start()
	b.start()
	connect(a, b)
	eventually(t, "all is at the peer", func() string { return b.tree().diff(files(200, "content")) })
	files(200, "by b").write(t, b.dir)
	b.flushed()
	until(t, "the sender knows", func() bool { return len(a.untaken()) == 200 })
	standStill(t, a, b)
	announced := func() (n uint64) {
		a.inLoop(func(r *Replica) { n = r.peers[b.replica().Node()].seq })
		return n
	}
	edit := func(content string) {
		a.write("d0/f000", content)
		if err := a.wait("", patience); err != nil {
			t.Fatal(err)
		}
		standStill(t, a, b)
	}
	edit("by a") // with it the peer asks, once, for what it has changed since the trees were equal
	before := announced()
	edit("by a again")
	if got := announced() - before; got != 1 {
		t.Errorf("announced with an edit of one of 200 files that differ: got %d, want it alone", got)
	}
	if got := a.status().Files; got != 200 {
		t.Errorf("files agreed at the sender: got %d, want 200", got)
	}
}

func TestPeersOfASenderDoNotWaitForIt(t *testing.T) {
	t.Parallel()
	a, b, c := newSender(t, "a", tree{"f": "f"}), startNode(t, "b", tree{"g": "g"}), startNode(t, "c", nil)
	a.start()
	connect(a, b)
	eventually(t, "b has it", func() string { return b.tree().diff(tree{"f": "f", "g": "g"}) })
	err := b.wait("", time.Second)
	if !errors.Is(err, control.ErrTimeout) || !strings.Contains(err.Error(), "they only send") {
		t.Errorf("wait where nobody takes anything: got %v, want ErrTimeout and the cause", err)
	}
	connect(b, c)
	until(t, "b and c are connected", func() bool { return len(c.status().Peers) == 1 })
	if err := b.wait("", patience); err != nil {
		t.Errorf("wait with another peer: %v", err)
	}
	if d := c.tree().diff(tree{"f": "f", "g": "g"}); d != "" {
		t.Errorf("at the other peer: %s", d)
	}
	if d := a.tree().diff(tree{"f": "f"}); d != "" {
		t.Errorf("at the sender: %s", d)
	}
}

// The peers of a node that only sends never have an equal tree, and drop the tombstones that everybody has seen all the same.
func TestTombstonesOfASenderAreDropped(t *testing.T) {
	t.Parallel()
	a, b := newSender(t, "a", files(20, "content")), startNode(t, "b", tree{"own": "o"})
	a.start()
	connect(a, b)
	until(t, "all is at the peer", func() bool { return len(b.tree()) == 21 })
	for i := range 5 {
		a.remove(fmt.Sprintf("d%d", i))
	}
	eventually(t, "nothing is left at the peer", func() string { return b.tree().diff(tree{"own": "o"}) })
	eventually(t, "nothing is remembered of what was deleted", func() string {
		for _, n := range []*node{a, b} {
			tombstones := 0
			n.inLoop(func(r *Replica) { tombstones = r.tree.Root().Tombstones })
			if tombstones > 0 {
				return fmt.Sprintf("%s has %d tombstones", n.name, tombstones)
			}
		}
		return ""
	})
}

// After some time of sending alone, a node that takes part again is merged with the others like any node after a time apart.
func TestSenderTakesAllWithoutTheMode(t *testing.T) {
	t.Parallel()
	a, b := newSender(t, "a", tree{"f": "f", "g": "g"}), startNode(t, "b", nil)
	a.start()
	w := connect(a, b)
	eventually(t, "all is at the peer", func() string { return b.tree().diff(tree{"f": "f", "g": "g"}) })
	b.write("f", "by b")
	b.remove("g")
	b.write("h", "h")
	a.wantUntaken("f", "g", "h")
	w.cut()
	if err := a.end(); err != nil {
		t.Fatal(err)
	}
	a.o.Mode = Both
	a.start()
	w.restore()
	holds(t, tree{"f": "by b", "h": "h"}, a, b)
	if got := a.untaken(); len(got) > 0 {
		t.Errorf("not taken: got %q, want nothing", got)
	}
}

// A sender between two others passes on nothing that it does not have.
func TestSenderPassesNothingOn(t *testing.T) {
	t.Parallel()
	a, b, c := newSender(t, "a", tree{"f": "f"}), startNode(t, "b", nil), startReceiver(t, "c", nil)
	a.start()
	connect(a, b)
	connect(a, c)
	b.write("g", "by b")
	a.wantUntaken("g")
	a.write("f", "again")
	if err := a.wait("", patience); err != nil {
		t.Fatal(err)
	}
	if d := c.tree().diff(tree{"f": "again"}); d != "" {
		t.Errorf("at the receiver: %s", d)
	}
	until(t, "the receiver is in sync", func() bool { return c.status().State == "in sync" })
	if p := c.status().Problems; len(p) > 0 {
		t.Errorf("problems of the receiver: got %+v, want none", p)
	}
}

// Two nodes edit and meet, while a third one edits and only sends: nobody but its own user changes anything there, the talk comes to an
// end, and once it takes part again all are equal, and what it had last is not lost.
func TestRandomEditsAtASender(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	a, b, s := startNode(t, "a", nil), startNode(t, "b", nil), newSender(t, "s", nil)
	s.start()
	wires := []*wire{connect(a, b), connect(b, s), connect(s, a)}
	alone := t.TempDir() // where the same is done as at the sender
	for i := range 200 {
		n := []*node{a, b, s, s}[rng.IntN(4)]
		act := drawAct(rng, fmt.Sprintf("%s %d", n.name, i))
		act(n.dir)
		if n == s {
			act(alone)
		}
		switch rng.IntN(25) {
		case 0:
			wires[rng.IntN(3)].cut()
		case 1:
			for _, w := range wires {
				w.cut()
				w.restore()
			}
		case 2, 3:
			for _, n := range []*node{a, b, s} {
				n.flushed()
			}
		}
	}
	for _, w := range wires {
		w.cut()
		w.restore()
	}
	for _, n := range []*node{a, b, s} {
		n.flushed()
	}
	agreed(t, a, b)
	standStill(t, a, b, s)
	for _, n := range []*node{a, b, s} {
		until(t, n.name+" is in sync", func() bool { return n.status().State == "in sync" })
	}
	last := readTree(t, alone)
	if d := s.tree().diff(last); d != "" {
		t.Errorf("at the sender: %s", d)
	}
	if err := s.wait("", patience); err != nil {
		t.Errorf("wait at the sender: %v", err)
	}
	if err := s.end(); err != nil {
		t.Fatal(err)
	}
	s.o.Mode = Both
	s.start()
	converged(t, a, b, s)
	for p, c := range last {
		if strings.HasPrefix(c, "s ") && !s.keeps(c) && !a.keeps(c) && !b.keeps(c) {
			t.Errorf("%q, which the sender had at %s, is lost", c, p)
		}
	}
}
