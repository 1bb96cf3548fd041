package replica

import (
	"fmt"
	"strings"
	"testing"
)

func TestTwoFoldersMeet(t *testing.T) {
	filled := tree{"a.txt": "alpha", "d/b.txt": "beta", "d/e/c.txt": "", "empty/": "", "link": "-> d/b.txt", "dangling": "-> nowhere"}
	for _, row := range []struct {
		name       string
		a, b, want tree
	}{
		{"both empty", tree{}, tree{}, tree{}},
		{"one filled", filled, tree{}, filled},
		{"the other filled", tree{}, filled, filled},
		{"both filled alike", filled, filled, filled},
		{"both filled, disjoint", tree{"x/1": "one"}, tree{"x/2": "two", "y": "three"}, tree{"x/1": "one", "x/2": "two", "y": "three"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a, b := startNode(t, "a", row.a), startNode(t, "b", row.b)
			connect(a, b)
			until(t, "connected", func() bool { return len(a.status().Peers) == 1 && len(b.status().Peers) == 1 })
			holds(t, row.want, a, b)
			if fa, fb := a.status().Folder, b.status().Folder; fa.ID != fb.ID || !fa.Shared || !fb.Shared {
				t.Errorf("folder IDs: got %+v and %+v, want one that is shared", fa, fb)
			}
			a.write("later", "afterwards")
			b.write("later too", "as well")
			want := tree{"later": "afterwards", "later too": "as well"}
			for p, c := range row.want {
				want[p] = c
			}
			holds(t, want, a, b)
		})
	}
}

func TestEqualFilesAreNotTransferred(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("the same on both sides ", 1<<16)
	a := startNode(t, "a", tree{"big": big, "small": "s"})
	b := startNode(t, "b", tree{"big": big, "small": "s"})
	w := connect(a, b)
	holds(t, tree{"big": big, "small": "s"}, a, b)
	eventually(t, "in sync", func() string {
		if s := a.status(); s.State != "in sync" {
			return s.State
		}
		return ""
	})
	if n := w.blocks.Load(); n != 0 {
		t.Errorf("bytes of blocks: got %d, want none", n)
	}
	if s := a.status(); s.BytesSent > 64<<10 {
		t.Errorf("bytes sent by a: got %d, want less than a file", s.BytesSent)
	}
}

func TestDifferingFilesAreKeptBoth(t *testing.T) {
	t.Parallel()
	a := startNode(t, "a", tree{"f.txt": "from a", "same": "same", "d/g": "a's"})
	b := startNode(t, "b", tree{"f.txt": "from b", "same": "same", "d/g": "b's"})
	connect(a, b)
	eventually(t, "two copies", func() string { return wantCopies(2, a, b) })
	tr := converged(t, a, b)
	if got := len(tr); got != 5 {
		t.Errorf("files: got %d, want 5: %v", got, tr)
	}
	for _, content := range []string{"from a", "from b", "a's", "b's"} {
		if !hasContent(tr, content) {
			t.Errorf("%q is lost: %v", content, tr)
		}
	}
}

func wantCopies(n int, nodes ...*node) string {
	for _, o := range nodes {
		if got := o.tree().copies(); len(got) != n {
			return fmt.Sprintf("%s has %d conflict copies, want %d: %v", o.name, len(got), n, got)
		}
	}
	return ""
}

func hasContent(tr tree, content string) bool {
	for _, c := range tr {
		if c == content {
			return true
		}
	}
	return false
}

func TestChains(t *testing.T) {
	for length := 3; length <= 4; length++ {
		t.Run(fmt.Sprint(length), func(t *testing.T) {
			t.Parallel()
			want := tree{}
			var nodes []*node
			for i := range length {
				p, c := fmt.Sprintf("from-%d", i), fmt.Sprintf("content %d", i)
				want[p] = c
				nodes = append(nodes, newNode(t, fmt.Sprintf("n%d", i), tree{p: c}))
			}
			for i, n := range nodes {
				n.start()
				if i > 0 {
					connect(nodes[i-1], n)
				}
			}
			holds(t, want, nodes...)
			for _, n := range nodes[1:] {
				if got, want := n.status().Folder.ID, nodes[0].status().Folder.ID; got != want {
					t.Errorf("folder ID of %s: got %s, want %s", n.name, got, want)
				}
			}
			nodes[0].write("from-0", "changed at one end")
			want["from-0"] = "changed at one end"
			nodes[length-1].remove(fmt.Sprintf("from-%d", length-1))
			delete(want, fmt.Sprintf("from-%d", length-1))
			holds(t, want, nodes...)
		})
	}
}

func TestCutInTheMiddleOfATransfer(t *testing.T) {
	t.Parallel()
	var big strings.Builder
	for i := range 1 << 18 {
		fmt.Fprintf(&big, "line %d of a long file\n", i)
	}
	a, b := startNode(t, "a", tree{"x": "1", "y": "1"}), startNode(t, "b", nil)
	w := newWire(a, b)
	w.restore()
	holds(t, tree{"x": "1", "y": "1"}, a, b)
	w.cutAfter(1<<20, func() { a.write("big", big.String()) })
	if _, there := b.tree()["big"]; there {
		t.Fatal("b has the file already: the cut was not in the middle")
	}
	a.write("x", "2 by a")
	b.write("y", "2 by b")
	b.write("new", "by b")
	a.flushed()
	b.flushed()
	w.restore()
	holds(t, tree{"x": "2 by a", "y": "2 by b", "new": "by b", "big": big.String()}, a, b)
	eventually(t, "no temporary files", func() string { return leftovers(a, b) })
}

// leftovers names temporary files that lie about.
func leftovers(nodes ...*node) string {
	for _, n := range nodes {
		for p := range readTree(n.t, n.path(tmpDir)) {
			return n.name + ": " + p
		}
	}
	return ""
}
