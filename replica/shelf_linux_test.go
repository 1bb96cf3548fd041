package replica

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"resonate/beneath"
	"resonate/control"
	"resonate/fusefs/foldtest"
)

// newFolding makes a node, not started, on a file system that takes FOO and foo for one, and refuses names with a colon.
func newFolding(t testing.TB, name string, tr tree) *node {
	t.Helper()
	n := newNode(t, name, nil)
	err := foldtest.Mount(t, t.TempDir(), n.dir, foldtest.Options{Refuse: ":"})
	if err != nil {
		skip(t, "no mounts here: %v", err)
	}
	t.Cleanup(func() { n.end() }) // before the mount goes
	tr.write(t, n.dir)
	return n
}

func startFolding(t testing.TB, name string, tr tree) *node {
	t.Helper()
	n := newFolding(t, name, tr)
	n.start()
	return n
}

// tells waits until a node's status has told of a path, or not any more.
func (n *node) tells(path string, want bool) {
	n.t.Helper()
	eventually(n.t, fmt.Sprintf("%s tells of %q: %v", n.name, path, want), func() string {
		problems := n.status().Problems
		if slices.ContainsFunc(problems, func(p control.Problem) bool { return p.Path == path && p.Cause != "" && p.Remedy != "" }) == want {
			return ""
		}
		return fmt.Sprint(problems)
	})
}

// compared has a node compare its whole folder with what it knows, and checks that nothing follows from it.
func (n *node) compared() {
	n.t.Helper()
	before := n.status().Roots
	n.inLoop(func(r *Replica) { r.startScan("", false) })
	until(n.t, "the folder was compared", func() (done bool) {
		n.inLoop(func(r *Replica) { done = r.scans == 0 && r.idle() })
		return done
	})
	if after := n.status().Roots; after != before {
		n.t.Errorf("%s: roots %v after a comparison of the whole folder, want %v as before", n.name, after, before)
	}
}

// silent checks that nodes whose trees are equal say nothing more.
func silent(t testing.TB, nodes ...*node) {
	t.Helper()
	for _, n := range nodes {
		if err := n.replica().Wait(t.Context(), ""); err != nil {
			t.Errorf("wait at %s: %v", n.name, err)
		}
		var entries []string
		n.inLoop(func(r *Replica) {
			for path, e := range r.tree.All("") {
				if !e.Live() {
					entries = append(entries, path)
				}
			}
		})
		if len(entries) > 0 {
			t.Errorf("%s has deletions of %q", n.name, entries)
		}
	}
}

var big = strings.Repeat("a long file, which is not sent along but fetched in blocks. ", 20_000)

// TestTwinsOnAFoldingDisk has names that are one on the disk of the node in the middle go through it: it has one of them, tells the
// other, and the third node gets both.
func TestTwinsOnAFoldingDisk(t *testing.T) {
	for _, row := range []struct {
		name string
		tree tree
		told []string // one of these
	}{
		{"case", tree{"FOO": "capital", "foo": "small"}, []string{"FOO", "foo"}},
		{"long files", tree{"FOO": big, "foo": big + "small"}, []string{"FOO", "foo"}},
		{"forms of Unicode", tree{"caf\u00e9": "one", "cafe\u0301": "two"}, []string{"caf\u00e9", "cafe\u0301"}},
		{"directories", tree{"Dir/a": "1", "Dir/sub/b": "2", "dir/a": "3", "dir/c": "4"}, []string{"Dir", "dir"}},
		{"file and directory", tree{"x/a": "1", "X": "file"}, []string{"X", "x"}},
		{"links", tree{"l": "-> one", "L": "-> two"}, []string{"l", "L"}},
		{"like our own", tree{".Resonate/tmp/x": "mine", "f": "f"}, []string{".Resonate"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a, b, c := startNode(t, "a", row.tree), startFolding(t, "b", nil), startNode(t, "c", nil)
			connect(a, b)
			connect(b, c)
			holds(t, row.tree, a, c)
			eventually(t, "equal trees", func() string {
				if x, y := a.status().Roots, b.status().Roots; x != y {
					return "roots differ"
				}
				return ""
			})
			eventually(t, "one of them is told", func() string {
				problems := b.status().Problems
				if len(problems) == 1 && slices.Contains(row.told, problems[0].Path) {
					return ""
				}
				return fmt.Sprint(problems)
			})
			for p, content := range b.tree() {
				if row.tree[p] != content {
					t.Errorf("b holds %.20q at %q, want %.20q", content, p, row.tree[p])
				}
			}
			b.compared()
			b.sound()
			silent(t, a, b, c)
			told := b.status().Problems[0].Path
			if w, err := b.replica().Why(t.Context(), told); err != nil || w.State != "not here" || w.Remedy == "" {
				t.Errorf("why %q: %+v, %v", told, w, err)
			}
		})
	}
}

// TestTwinGivesWay has the twin that is on disk go, in each way it can: the other one takes its place.
func TestTwinGivesWay(t *testing.T) {
	for _, row := range []struct {
		name string
		do   func(a, b *node, here string)
		gone func(here string) tree // what else is there then
	}{
		{"deleted elsewhere", func(a, _ *node, here string) { a.remove(here) }, func(string) tree { return tree{} }},
		{"deleted here", func(_, b *node, here string) { b.remove(here) }, func(string) tree { return tree{} }},
		{"renamed elsewhere", func(a, _ *node, here string) { a.rename(here, "other") }, func(h string) tree { return tree{"other": h} }},
		{"renamed here", func(_, b *node, here string) { b.rename(here, "other") }, func(h string) tree { return tree{"other": h} }},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			base := tree{"FOO": "of FOO", "foo": "of foo"}
			a, b := startNode(t, "a", base), startFolding(t, "b", nil)
			connect(a, b)
			until(t, "one is there", func() bool { return len(b.tree()) == 1 && len(b.status().Problems) == 1 })
			here, away := "foo", "FOO"
			if b.tree()[here] == "" {
				here, away = away, here
			}
			a.write(away, "edited while it was not here")
			until(t, "the edit is agreed", func() bool { return b.entry(away).Size > 10 })
			row.do(a, b, here)
			want := tree{away: "edited while it was not here"}
			for p := range row.gone(here) {
				want[p] = "of " + here
			}
			holds(t, want, a, b)
			until(t, "nothing is left to be told", func() bool { return len(b.status().Problems) == 0 })
			until(t, "nothing is left on the shelf", func() bool {
				left, err := os.ReadDir(b.path(shelfDir))
				return err != nil || len(left) == 0
			})
			if row.name == "deleted elsewhere" {
				if _, err := b.replica().Restore(t.Context(), here, time.Time{}); err == nil || !strings.Contains(err.Error(), "one name on this disk") {
					t.Errorf("restore over the twin: %v, want that it is refused", err)
				}
				holds(t, want, a, b)
			}
			b.sound()
		})
	}
}

// TestRespelled has a name respelled, on either side: the content stays, under the new spelling.
func TestRespelled(t *testing.T) {
	base := tree{"foo": "content", "dir/a": "1", "dir/sub/b": "2"}
	want := tree{"FOO": "content", "Dir/a": "1", "Dir/sub/b": "2"}
	for _, row := range []struct {
		name string
		away bool
		do   func(a, b *node)
	}{
		{"elsewhere", false, func(a, _ *node) { a.rename("foo", "FOO"); a.rename("dir", "Dir") }},
		{"elsewhere, while away", true, func(a, _ *node) { a.rename("foo", "FOO"); a.rename("dir", "Dir"); a.flushed() }},
		{"here", false, func(_, b *node) {
			for from, to := range map[string]string{"foo": "FOO", "dir": "Dir"} { // rename(2) does nothing where both are one
				b.rename(from, "through")
				b.rename("through", to)
			}
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a, b, c := startNode(t, "a", base), startFolding(t, "b", nil), startFolding(t, "c", nil)
			ab, bc := connect(a, b), connect(b, c)
			holds(t, base, a, b, c)
			if row.away {
				ab.cut()
				bc.cut()
			}
			row.do(a, b)
			if row.away {
				ab.restore()
				bc.restore()
			}
			holds(t, want, a, b, c)
			b.write("Dir/new", "noticed")
			want := tree{"FOO": "content", "Dir/a": "1", "Dir/sub/b": "2", "Dir/new": "noticed"}
			holds(t, want, a, b, c)
			b.write("DIR/sub/B", "written under another spelling")
			want["Dir/sub/b"] = "written under another spelling"
			holds(t, want, a, b, c)
			if n := len(b.status().Problems) + len(c.status().Problems); n > 0 {
				t.Errorf("%d problems are told, want none", n)
			}
			b.sound()
		})
	}
}

// TestRespelledAtACrash has a folding node die in the midst of a case-only rename that a peer has made.
func TestRespelledAtACrash(t *testing.T) {
	for _, label := range []beneath.Label{"apply.respell", "apply.rename", "commit.sync"} {
		t.Run(string(label), func(t *testing.T) {
			t.Parallel()
			base := tree{"foo": "content", "dir/a": "1"}
			a, b := startNode(t, "a", base), startFolding(t, "b", nil)
			w := connect(a, b)
			holds(t, base, a, b)
			b.committed()
			b.on(label, func() error {
				b.dead.Store(true)
				return errKilled
			})
			a.rename("dir", "Dir")
			until(t, "it dies there", b.dead.Load)
			w.cut()
			b.kill()
			b.on(label, nil)
			b.start()
			connect(a, b)
			holds(t, tree{"foo": "content", "Dir/a": "1"}, a, b)
		})
	}
}

// TestRefusedNamesAreShelved has names that the disk of the node in the middle refuses go through it.
func TestRefusedNamesAreShelved(t *testing.T) {
	t.Parallel()
	base := tree{"a:b": "content", "d:/x": "1", "d:/y/z": big, "fine": "fine"}
	a, b, c := startNode(t, "a", base), startFolding(t, "b", nil), startNode(t, "c", nil)
	connect(a, b)
	connect(b, c)
	holds(t, base, a, c)
	b.tells("a:b", true)
	b.tells("d:", true)
	until(t, "the rest is there", func() bool { return b.tree().diff(tree{"fine": "fine"}) == "" })
	eventually(t, "equal trees", func() string {
		if x, y := a.status().Roots, b.status().Roots; x != y {
			return "roots differ"
		}
		return ""
	})
	b.sound()
	silent(t, a, b, c)
	a.write("a:b", "edited")
	base["a:b"] = "edited"
	holds(t, base, a, c)
	a.rename("a:b", "ab")
	a.rename("d:", "d")
	holds(t, tree{"ab": "edited", "d/x": "1", "d/y/z": big, "fine": "fine"}, a, b, c)
	b.tells("a:b", false)
	b.tells("d:", false)
}

// TestShelvedOverARestart has a folding node killed and started again: nothing is deleted or overwritten, all is told as before,
// and what was on the shelf is put in place when it can be.
func TestShelvedOverARestart(t *testing.T) {
	t.Parallel()
	base := tree{"FOO": "of FOO", "foo": "of foo", "a:b": "refused", "Dir/a": "1", "dir/a": "2"}
	a, b, c := startNode(t, "a", base), startFolding(t, "b", nil), newNode(t, "c", nil)
	w := connect(a, b)
	until(t, "the trees are equal", func() bool { return a.status().Roots == b.status().Roots && len(b.status().Problems) == 3 })
	before := b.tree()
	b.committed()
	b.kill()
	w.cut()
	a.write("foo", "edited by a")
	a.write("FOO", "Edited by a")
	b.start()
	until(t, "it is told again", func() bool { return len(b.status().Problems) == 3 })
	if d := b.tree().diff(before); d != "" {
		t.Errorf("after the restart: %s", d)
	}
	c.start()
	connect(b, c) // which gets from b alone what b does not have in its folder
	holds(t, base, c)
	connect(a, b)
	base["foo"], base["FOO"] = "edited by a", "Edited by a"
	holds(t, base, a, c)
	silent(t, a, c)
	for p, content := range b.tree() {
		if base[p] != content {
			t.Errorf("b holds %q at %q, want %q", content, p, base[p])
		}
	}
	b.sound()
	b.stopNode()
	b.sound() // without a daemon
}

// TestTwinMadeHere has a user of a folding node make a name that a peer makes otherwise at the same time, and edit through the
// spelling that is not here.
func TestTwinMadeHere(t *testing.T) {
	t.Parallel()
	a, b := startNode(t, "a", nil), startFolding(t, "b", nil)
	w := connect(a, b)
	until(t, "they have met", func() bool { return a.status().State == "in sync" })
	w.cut()
	a.write("Readme", "by a")
	b.write("README", "by b")
	a.flushed()
	b.flushed()
	w.restore()
	holds(t, tree{"Readme": "by a", "README": "by b"}, a)
	b.tells("Readme", true)
	b.write("readme", "written by b under a third spelling")
	holds(t, tree{"Readme": "by a", "README": "written by b under a third spelling"}, a)
	if d := b.tree().diff(tree{"README": "written by b under a third spelling"}); d != "" {
		t.Error(d)
	}
	b.sound()
	b.remove("reaDME")
	holds(t, tree{"Readme": "by a"}, a, b)
	b.rename("README", "moved")
	holds(t, tree{"moved": "by a"}, a, b)
	b.write("Dir/x", "in a directory")
	holds(t, tree{"moved": "by a", "Dir/x": "in a directory"}, a, b)
	b.remove("DIR")
	holds(t, tree{"moved": "by a"}, a, b)
	b.sound()
}

// TestRandomTwins has names that fold written, renamed and removed at random on both sides of a folding node, and on it: the trees become
// equal, the others hold all, and the folding node, which is killed once, one of each name.
func TestRandomTwins(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 7))
			a, b, c := startNode(t, "a", nil), startFolding(t, "b", nil), startNode(t, "c", nil)
			ab, bc := connect(a, b), connect(b, c)
			until(t, "they have met", func() bool { return b.status().State == "in sync" && a.status().State == "in sync" })
			names := []string{"foo", "FOO", "Foo", "d/x", "D/x", "d/X", "D/y", "d", "n:o", "caf\u00e9", "cafe\u0301"}
			for i := range 60 {
				n, p := []*node{a, b, c}[rnd.IntN(3)], names[rnd.IntN(len(names))]
				switch rnd.IntN(6) { // any of them may fail: then nothing is done
				case 0:
					_ = os.RemoveAll(n.path(p))
				case 1:
					_ = os.Rename(n.path(p), n.path(names[rnd.IntN(len(names))]))
				default:
					_ = os.Mkdir(filepath.Dir(n.path(p)), 0o755)
					_ = os.WriteFile(n.path(p), fmt.Append(nil, "content ", i), 0o644)
				}
				switch i {
				case 20:
					ab.cut()
					bc.cut()
				case 30:
					b.kill()
					b.start()
				case 40:
					ab.restore()
					bc.restore()
				default:
					if rnd.IntN(4) == 0 {
						n.flushed()
					}
				}
			}
			var tr tree
			eventually(t, "equal trees", func() string {
				x, y, z := a.status(), b.status(), c.status()
				tr = a.tree()
				if x.State != "in sync" || y.State != "in sync" || z.State != "in sync" {
					return fmt.Sprint(x.State, ", ", y.State, ", ", z.State, x.Problems, y.Problems, z.Problems)
				}
				return c.tree().diff(tr)
			})
			here := b.tree()
			for p, content := range here {
				if tr[p] != content {
					t.Errorf("b holds %q at %q, want %q", content, p, tr[p])
				}
			}
			for p := range tr {
				first, _, _ := strings.Cut(p, "/") // below a twin of a directory there may be anything
				if _, err := os.Lstat(b.path(first)); err != nil && !strings.HasPrefix(first, "n:o") {
					t.Errorf("b holds neither %q nor a twin of it, but %q", first, here)
				}
			}
			a.sound()
			b.sound()
			c.sound()
		})
	}
}
