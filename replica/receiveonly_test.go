package replica

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"resonate/control"
)

// startReceiver starts a node that only receives.
func startReceiver(t testing.TB, name string, tr tree) *node {
	t.Helper()
	n := newNode(t, name, tr)
	n.o.Mode = Receive
	n.start()
	return n
}

// locals returns the paths that a node holds because it only receives, in order.
func (n *node) locals() []string {
	n.t.Helper()
	out := []string{}
	for _, h := range n.status().Held {
		if h.Kind == "local" {
			out = append(out, h.Path)
		}
	}
	return out
}

// wantLocals waits until a node holds just these paths because it only receives.
func (n *node) wantLocals(want ...string) {
	n.t.Helper()
	eventually(n.t, "what is held", func() string {
		if got := n.locals(); !slices.Equal(got, want) {
			return fmt.Sprintf("%s holds %q, want %q", n.name, got, want)
		}
		return ""
	})
}

// aged makes files old: what was written as it was read counts as unknown.
func (n *node) aged(paths ...string) {
	n.t.Helper()
	then := time.Now().Add(-time.Hour)
	for _, p := range paths {
		if err := os.Chtimes(n.path(p), then, then); err != nil {
			n.t.Fatal(err)
		}
	}
}

// agreed waits until all nodes have agreed on one tree and are quiet, whatever their folders hold.
func agreed(t testing.TB, nodes ...*node) {
	t.Helper()
	eventually(t, "agreement", func() string {
		roots := map[string]string{}
		for _, n := range nodes {
			n.inLoop(func(r *Replica) {
				if !r.quiet() || len(r.incoming) > 0 {
					roots["busy"] = n.name
				}
				for path, queue := range r.incoming {
					roots[n.name+" "+path] = r.waitsFor(queue[0], time.Now())
				}
				roots[r.tree.Root().State.String()] += n.name
			})
		}
		if len(roots) > 1 {
			return fmt.Sprint(roots)
		}
		return ""
	})
}

func TestReceiverHoldsWhatIsDoneHere(t *testing.T) {
	t.Parallel()
	base := tree{"edited": "e", "deleted": "d", "moved": "m", "mode": "o", "dir/x": "x", "dir/y": "y", "link": "-> edited"}
	a, b := startNode(t, "a", base), startReceiver(t, "b", nil)
	connect(a, b)
	holds(t, base, a, b)

	b.write("edited", "by hand")
	b.remove("deleted")
	b.remove("dir")
	b.remove("link")
	b.write("new/deep/file", "new")
	if err := errors.Join(os.Rename(b.path("moved"), b.path("elsewhere")), os.Chmod(b.path("mode"), 0o600), os.Symlink("mode", b.path("link"))); err != nil {
		t.Fatal(err)
	}
	want := []string{"deleted", "dir", "dir/x", "dir/y", "edited", "elsewhere", "link", "mode", "moved", "new", "new/deep", "new/deep/file"}
	b.wantLocals(want...)

	// It counts for nothing: both are in sync, and nobody is waited for.
	agreed(t, a, b)
	for _, n := range []*node{a, b} {
		if err := n.wait("", patience); err != nil {
			t.Errorf("wait at %s: %v", n.name, err)
		}
		until(t, n.name+" is in sync", func() bool { return n.status().State == "in sync" })
	}
	if d := a.tree().diff(base); d != "" {
		t.Errorf("at the peer: %s", d)
	}
	h := b.status().Held[0]
	if h.Cause != "made here, and this node only receives" || !strings.Contains(h.Remedy, "resonate held revert") || !strings.Contains(h.Remedy, "-mode receive") {
		t.Errorf("held: got %+v, want cause and remedy", h)
	}
	if _, err := b.replica().Approve(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "only receives") {
		t.Errorf("approve: got %v, want that it is refused", err)
	}

	// What the peer does goes on.
	a.write("dir2/z", "z")
	base["dir2/z"] = "z"
	until(t, "the peer's file has come", func() bool { return b.tree()["dir2/z"] == "z" })

	if n, err := b.replica().Revert(t.Context(), nil); err != nil || n != len(want) {
		t.Errorf("revert: got %d, %v, want %d", n, err, len(want))
	}
	b.wantLocals()
	holds(t, base, a, b)
	kept := b.history()
	for p, c := range map[string]string{"edited": "by hand", "elsewhere": "m", "new/deep/file": "new", "link": "-> mode"} {
		if !slices.Contains(kept[p], c) {
			t.Errorf("history of %s: got %q, want %q", p, kept[p], c)
		}
	}
	if info, err := os.Stat(b.path("mode")); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("mode: got %v, %v, want 0644 again", info.Mode(), err)
	}
}

func TestReceiverHoldsNothingThatWasTakenBack(t *testing.T) {
	t.Parallel()
	a, b := startNode(t, "a", tree{"f": "f"}), startReceiver(t, "b", nil)
	connect(a, b)
	holds(t, tree{"f": "f"}, a, b)
	before, err := os.Stat(b.path("f"))
	if err != nil {
		t.Fatal(err)
	}
	b.write("f", "other")
	b.write("new", "new")
	b.wantLocals("f", "new")
	b.write("f", "f")
	if err := os.Chtimes(b.path("f"), before.ModTime(), before.ModTime()); err != nil {
		t.Fatal(err)
	}
	b.remove("new")
	b.wantLocals()
	holds(t, tree{"f": "f"}, a, b)
}

func TestPeersVersionGoesInOverWhatIsHeld(t *testing.T) {
	t.Parallel()
	base := tree{"edited": "e", "touched": "t", "dir/x": "x", "dir/y": "y", "gone/x": "x", "file": "f", "mode": "o"}
	a, b := startNode(t, "a", base), startReceiver(t, "b", nil)
	connect(a, b)
	holds(t, base, a, b)

	b.write("edited", "mine")
	b.write("touched", "mine, too")
	b.remove("gone")
	b.remove("dir")
	b.write("dir", "a file now")
	b.remove("file")
	b.write("file/inside", "a directory now")
	b.write("both", "b's")
	b.write("tree", "b's file")
	if err := os.Chmod(b.path("mode"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.wantLocals("both", "dir", "dir/x", "dir/y", "edited", "file", "file/inside", "gone", "gone/x", "mode", "touched", "tree")

	a.write("edited", "theirs")
	a.write("gone/new", "new")
	a.write("dir/new", "new")
	a.write("file", "theirs")
	a.write("both", "a's")
	a.write("tree/x", "x")
	a.remove("mode")
	if err := os.Chmod(a.path("touched"), 0o600); err != nil { // metadata alone: the content comes along all the same
		t.Fatal(err)
	}
	if err := a.wait("", patience); err != nil {
		t.Fatal(err)
	}
	b.wantLocals("dir/x", "dir/y", "gone/x") // which the peer has not touched
	want := tree{"edited": "theirs", "touched": "t", "gone/new": "new", "dir/new": "new", "file": "theirs", "both": "a's", "tree/x": "x"}
	if d := b.tree().diff(want); d != "" {
		t.Errorf("at the receiver: %s", d)
	}
	kept := b.history()
	for p, c := range map[string]string{
		"edited": "mine", "touched": "mine, too", "dir": "a file now", "file/inside": "a directory now", "both": "b's", "tree": "b's file", "mode": "o",
	} {
		if !slices.Contains(kept[p], c) {
			t.Errorf("history of %s: got %q, want %q", p, kept[p], c)
		}
	}
	if _, err := b.replica().Revert(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	maps.Copy(want, tree{"dir/x": "x", "dir/y": "y", "gone/x": "x"})
	holds(t, want, a, b)
}

// Who fills a backup by hand before it meets its peers need not fetch what is the same.
func TestReceiverTakesUpWhatIsThere(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a long file ", 100_000)
	base := tree{"same": long, "other": "a's", "d/same": "same"}
	a, b := startNode(t, "a", base), newNode(t, "b", tree{"same": long, "other": "b's", "d/same": "same", "d/extra": "extra"})
	b.aged("same", "d/same")
	b.o.Mode = Receive
	b.start()
	b.wantLocals("d", "d/extra", "d/same", "other", "same")
	w := connect(a, b)
	agreed(t, a, b)
	b.wantLocals("d/extra")
	if got := w.blocks.Load(); got > int64(len(long)/2) {
		t.Errorf("over block streams: got %d bytes, want less than a file that was there", got)
	}
	if got := b.history()["same"]; len(got) > 0 {
		t.Errorf("history: got %d versions of a file that was the same, want none", len(got))
	}
	if got := b.history()["other"]; !slices.Equal(got, []string{"b's"}) {
		t.Errorf("history of the other: got %q, want what was there", got)
	}
	b.committed()
	if found, _ := b.check(control.CheckOptions{Read: true}); len(found) > 0 {
		t.Errorf("check: %q", found)
	}
}

func TestReceiverRevertsMetadataAlone(t *testing.T) {
	t.Parallel()
	a, b := newNode(t, "a", tree{"f": "f"}), startReceiver(t, "b", nil)
	a.aged("f")
	a.start()
	w := connect(a, b)
	holds(t, tree{"f": "f"}, a, b)
	w.cut()
	if err := os.Chmod(b.path("f"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.wantLocals("f")
	if _, err := b.replica().Revert(t.Context(), []string{"f"}); err != nil {
		t.Fatal(err)
	}
	until(t, "the mode is back without any peer", func() bool {
		info, err := os.Stat(b.path("f"))
		return err == nil && info.Mode().Perm() == 0o644
	})
	b.wantLocals()
	if got := b.history(); len(got) > 0 {
		t.Errorf("history: got %v, want nothing", got)
	}
}

func TestHeldLocallyIsPublishedWithoutTheMode(t *testing.T) {
	t.Parallel()
	a, b := startNode(t, "a", tree{"f": "f", "g": "g"}), startReceiver(t, "b", nil)
	w := connect(a, b)
	holds(t, tree{"f": "f", "g": "g"}, a, b)
	b.write("f", "edited")
	b.write("new", "new")
	b.wantLocals("f", "new")
	if err := b.end(); err != nil {
		t.Fatal(err)
	}
	b.start() // and it stays so over a restart
	b.wantLocals("f", "new")
	w.cut()
	if err := b.end(); err != nil {
		t.Fatal(err)
	}
	b.o.Mode = Both
	b.start()
	w.restore()
	holds(t, tree{"f": "edited", "g": "g", "new": "new"}, a, b)
}

// drawAct draws what somebody does in a folder, with a few paths that meet again and again; content is what he writes, if he does.
func drawAct(rng *rand.Rand, content string) func(dir string) {
	p := fmt.Sprintf("d%d", rng.IntN(3))
	for rng.IntN(2) == 0 {
		p += fmt.Sprintf("/e%d", rng.IntN(2))
	}
	p += fmt.Sprintf("/f%d", rng.IntN(4))
	what, to := rng.IntN(8), fmt.Sprintf("d%d", rng.IntN(5))
	return func(dir string) {
		p, to := filepath.Join(dir, p), filepath.Join(dir, to)
		switch what { // that some of it fails is part of it
		case 0:
			os.RemoveAll(p)
		case 1:
			os.RemoveAll(filepath.Dir(p))
		case 2:
			os.Rename(filepath.Dir(p), to)
		case 3:
			os.Chmod(p, 0o600)
		case 4:
			os.RemoveAll(p)
			os.MkdirAll(p, 0o755)
		default:
			if os.MkdirAll(filepath.Dir(p), 0o755) == nil {
				os.WriteFile(p, []byte(content), 0o644)
			}
		}
	}
}

// Two nodes edit and meet, while somebody works havoc in a third, which only receives: the others never see that, all bytes of it stay
// somewhere in it, and once it is undone all are equal.
func TestRandomHavocAtAReceiver(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	a, b, r := startNode(t, "a", nil), startNode(t, "b", nil), startReceiver(t, "r", nil)
	wires := []*wire{connect(a, b), connect(b, r), connect(r, a)}
	for i := range 200 {
		n := []*node{a, b, r, r}[rng.IntN(4)]
		drawAct(rng, fmt.Sprintf("%s %d", n.name, i))(n.dir)
		switch rng.IntN(25) {
		case 0:
			wires[rng.IntN(3)].cut()
		case 1:
			for _, w := range wires {
				w.cut()
				w.restore()
			}
		case 2, 3:
			for _, n := range []*node{a, b, r} {
				n.flushed()
			}
		}
	}
	for _, w := range wires {
		w.cut()
		w.restore()
	}
	for _, n := range []*node{a, b, r} {
		n.flushed()
	}
	agreed(t, a, b, r)
	for _, n := range []*node{a, b} {
		for p, c := range n.tree() {
			if strings.HasPrefix(c, "r ") {
				t.Errorf("%s at %s holds %q, which was written at the receiver", p, n.name, c)
			}
		}
	}
	until(t, "the receiver is in sync", func() bool { return r.status().State == "in sync" })
	eventually(t, "all is undone", func() string {
		if _, err := r.replica().Revert(t.Context(), nil); err != nil {
			return err.Error()
		}
		return strings.Join(r.locals(), " ")
	})
	converged(t, a, b, r)
}

func TestHeldIsNotReadAgain(t *testing.T) {
	t.Parallel()
	n := newNode(t, "n", tree{"new": "new"})
	n.aged("new")
	n.o.Mode = Receive
	n.start()
	n.wantLocals("new")
	n.inLoop(func(r *Replica) {
		if r.look("new", true); r.hashing["new"] != nil {
			t.Error("a scan has what is held read again, though it did not change")
		}
	})
	n.write("new", "other")
	until(t, "what is held is as it is now", func() (now bool) {
		n.inLoop(func(r *Replica) { now = r.held["new"] != nil && r.held["new"].attrs.Size == 5 })
		return now
	})
}

// Two versions meet at a receiver, of which the one that loses has been overwritten there: its content is not what stands there, and so
// it is those who have it who keep it beside the other.
func TestConflictOverWhatIsHeld(t *testing.T) {
	t.Parallel()
	a, b, r := startNode(t, "a", tree{"f": "a's"}), newNode(t, "b", nil), startReceiver(t, "r", nil)
	a.aged("f")
	connect(a, r)
	holds(t, tree{"f": "a's"}, a, r)
	r.write("f", "by hand")
	r.wantLocals("f")
	b.write("f", "b's")
	b.start()
	connect(b, r)
	until(t, "the later version is there", func() bool { return r.tree()["f"] == "b's" })
	tr := converged(t, a, b, r)
	if copies := tr.copies(); tr["f"] != "b's" || len(copies) != 1 || tr[copies[0]] != "a's" {
		t.Errorf("got %q, want b's version, and a's beside it", tr)
	}
	if got := r.history()["f"]; !slices.Equal(got, []string{"by hand"}) {
		t.Errorf("history: got %q, want what stood there", got)
	}
	if found, _ := r.check(control.CheckOptions{Read: true}); len(found) > 0 {
		t.Errorf("check: %q", found)
	}
}

// A version of a peer's that says nothing new of a path leaves what is held there alone.
func TestVersionAloneLeavesWhatIsHeld(t *testing.T) {
	t.Parallel()
	a, b, r := newNode(t, "a", tree{"f": "f"}), newNode(t, "b", tree{"f": "f"}), startReceiver(t, "r", nil)
	for _, n := range []*node{a, b} {
		then := time.Unix(1e9, 0)
		if err := os.Chtimes(n.path("f"), then, then); err != nil {
			t.Fatal(err)
		}
		n.start()
	}
	connect(a, r)
	holds(t, tree{"f": "f"}, a, r)
	r.write("f", "by hand")
	r.wantLocals("f")
	connect(b, r)
	agreed(t, a, b, r)
	r.wantLocals("f")
	if got := r.tree()["f"]; got != "by hand" {
		t.Errorf("at the receiver: got %q, want what was held", got)
	}
}

func TestDeletedOnBothSides(t *testing.T) {
	t.Parallel()
	base := tree{"f": "f", "d/x": "x", "g": "g"}
	a, b := startNode(t, "a", base), startReceiver(t, "b", nil)
	connect(a, b)
	holds(t, base, a, b)
	b.remove("f")
	b.remove("d")
	b.wantLocals("d", "d/x", "f")
	a.remove("f")
	a.remove("d")
	agreed(t, a, b)
	b.wantLocals()
	holds(t, tree{"g": "g"}, a, b)
	if found, _ := b.check(control.CheckOptions{}); len(found) > 0 {
		t.Errorf("check: %q", found)
	}
}

func TestUnfitAndHeldIsNoWork(t *testing.T) {
	t.Parallel()
	n := startReceiver(t, "n", tree{"f": "f"})
	n.wantLocals("f")
	n.inLoop(func(r *Replica) { r.unfit["f"] = time.Now() }) // as where the start has found it otherwise than agreed
	until(t, "nothing is under way", func() (quiet bool) {
		n.inLoop(func(r *Replica) { quiet = r.quiet() })
		return quiet
	})
}
