package replica

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"resonate/reconcile"
)

// files returns a tree of n files in a few directories.
func files(n int, content string) tree {
	tr := tree{}
	for i := range n {
		tr[fmt.Sprintf("d%d/f%03d", i%5, i)] = content
	}
	return tr
}

// escapes is how many of a burst of rewrites may get out before it is held. At an eighth of it, 12, reconcile.Guard
// begins to wait for more; where those are slow to come, because the machine is, it may go on to let some out until
// there were too many within ten seconds.
const escapes = 101

// atOnce has a user do something faster than the node can look.
func (n *node) atOnce(do func()) {
	n.t.Helper()
	n.inLoop(func(*Replica) { do() })
}

// wantHeld waits until a node holds n changes at least, of the given kind.
func (n *node) wantHeld(kind string, least int) {
	n.t.Helper()
	eventually(n.t, "held", func() string {
		count := 0
		for _, h := range n.status().Held {
			if h.Kind == kind {
				count++
			}
		}
		if count < least {
			return fmt.Sprintf("%s holds %d %s, want %d", n.name, count, kind, least)
		}
		return ""
	})
	if s := n.status(); s.State != "held" || s.Held[0].Cause == "" || !strings.Contains(s.Held[0].Remedy, "resonate held") {
		n.t.Errorf("status: got %s, %+v, want held with cause and remedy", s.State, s.Held[0])
	}
}

// settledApart waits until neither node has anything to do, though their trees differ.
func settledApart(t testing.TB, nodes ...*node) {
	t.Helper()
	for _, n := range nodes {
		n.flushed()
	}
	for _, n := range nodes {
		until(t, n.name+" is quiet", func() (quiet bool) {
			n.inLoop(func(r *Replica) { quiet = r.quiet() && len(r.incoming) == 0 })
			return quiet
		})
	}
}

func TestBurstOfDeletionsIsHeld(t *testing.T) {
	t.Parallel()
	base := files(200, "content")
	a, b := startNode(t, "a", base), startNode(t, "b", nil)
	connect(a, b)
	holds(t, base, a, b)
	dirs, _ := filepath.Glob(a.path("d*"))
	a.atOnce(func() {
		for _, d := range dirs {
			if err := os.RemoveAll(d); err != nil {
				t.Error(err)
			}
		}
	})
	a.wantHeld("deleted", 200)
	a.write("other", "goes on")
	until(t, "other changes go on", func() bool { return b.tree()["other"] == "goes on" })
	settledApart(t, a, b)
	want := files(200, "content")
	want["other"] = "goes on"
	if d := b.tree().diff(want); d != "" {
		t.Fatalf("at the peer while held: %s", d)
	}
	if n, err := a.replica().Revert(t.Context(), []string{"d1"}); err != nil || n != 41 {
		t.Errorf("revert of d1: got %d, %v, want 40 files and their directory", n, err)
	}
	until(t, "d1 is back", func() bool { return a.tree()["d1/f001"] == "content" })
	if n, err := a.replica().Approve(t.Context(), nil); err != nil || n != 164 {
		t.Errorf("approve of the rest: got %d, %v, want 160 files and 4 directories", n, err)
	}
	want = tree{"other": "goes on"}
	for p, c := range base {
		if strings.HasPrefix(p, "d1/") {
			want[p] = c
		}
	}
	holds(t, want, a, b)
	if got := len(b.history()); got != 160 {
		t.Errorf("history of the peer: got %d files, want the 160 deleted ones", got)
	}
}

func TestBurstOfRewritesIsHeld(t *testing.T) {
	t.Parallel()
	base := files(200, "content")
	a, b := startNode(t, "a", base), startNode(t, "b", nil)
	connect(a, b)
	holds(t, base, a, b)
	a.atOnce(func() { files(200, "encrypted").write(t, a.dir) })
	a.wantHeld("rewritten", 200-escapes)
	a.flushed()
	t.Logf("held: %d of 200", len(a.status().Held))
	settledApart(t, a, b)
	escaped := 0
	for _, c := range b.tree() {
		if c != "content" {
			escaped++
		}
	}
	if escaped > escapes {
		t.Errorf("rewritten at the peer: got %d, want at most %d", escaped, escapes)
	}
	if _, err := a.replica().Revert(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	until(t, "nothing is held", func() bool { return len(a.status().Held) == 0 })
	back := 0
	for _, c := range converged(t, a, b) {
		if c == "content" {
			back++
		}
	}
	if back < 200-escapes {
		t.Errorf("after revert: got %d files back, want %d", back, 200-escapes)
	}
	if got := len(a.history()); got < 200-escapes {
		t.Errorf("history of the reverted: got %d, want %d", got, 200-escapes)
	}
}

func TestBurstFoundAtStartIsHeld(t *testing.T) {
	t.Parallel()
	base := files(200, "content")
	a, b := startNode(t, "a", base), startNode(t, "b", nil)
	w := connect(a, b)
	holds(t, base, a, b)
	w.cut()
	if err := a.end(); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		a.remove(fmt.Sprintf("d%d", i))
	}
	a.start()
	w.restore()
	a.wantHeld("deleted", 120)
	settledApart(t, a, b)
	if d := b.tree().diff(base); d != "" {
		t.Fatalf("at the peer: %s", d)
	}
	if _, err := a.replica().Revert(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	holds(t, base, a, b)
}

func TestHeldStaysHeldOverARestart(t *testing.T) {
	t.Parallel()
	base := files(150, "content")
	a, b := startNode(t, "a", base), startNode(t, "b", nil)
	w := connect(a, b)
	holds(t, base, a, b)
	a.atOnce(func() {
		for i := range 5 {
			a.remove(fmt.Sprintf("d%d", i))
		}
	})
	a.wantHeld("deleted", 150)
	w.cut()
	if err := a.end(); err != nil {
		t.Fatal(err)
	}
	a.start()
	w.restore()
	a.wantHeld("deleted", 150)
	settledApart(t, a, b)
	if d := b.tree().diff(base); d != "" {
		t.Errorf("at the peer: %s", d)
	}
}

// under returns what lies in a directory.
func (n *node) under(d string) []os.DirEntry {
	n.t.Helper()
	entries, err := os.ReadDir(n.path(d))
	if err != nil {
		n.t.Fatal(err)
	}
	return entries
}

func TestNoBurst(t *testing.T) {
	for _, row := range []struct {
		name       string
		have, gone int
		burst      reconcile.Burst
	}{
		{"100 of 120", 120, 100, reconcile.DefaultBurst},
		{"less than half", 300, 140, reconcile.DefaultBurst},
		{"off", 150, 150, reconcile.Burst{}},
		{"adjusted", 150, 150, reconcile.Burst{Files: 200, Share: 0.5}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a, b := newNode(t, "a", files(row.have, "content")), newNode(t, "b", nil)
			a.o.Burst, b.o.Burst = row.burst, row.burst
			a.start()
			b.start()
			connect(a, b)
			holds(t, files(row.have, "content"), a, b)
			want := tree{}
			left := row.gone
			for p, c := range files(row.have, "content") {
				if left > 0 {
					a.remove(p)
					left--
				} else {
					want[p] = c
				}
			}
			for i := range 5 { // what became empty is still there
				if d := fmt.Sprintf("d%d/", i); len(a.under(d)) == 0 {
					want[d] = ""
				}
			}
			holds(t, want, a, b)
			if held := a.status().Held; len(held) > 0 {
				t.Fatalf("held: got %d, want none", len(held))
			}
		})
	}
}
