package replica

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"resonate/beneath"
	"resonate/merkle"
	"resonate/syncproto"
)

// newDirectory is a tree of small files in one new directory and below it.
func newDirectory(files int) tree {
	tr := tree{"d/link": "-> f0", "d/empty/": ""}
	for i := range files {
		tr[fmt.Sprintf("d/f%d", i)] = strings.Repeat(fmt.Sprint(i), i%50)
		tr[fmt.Sprintf("d/sub/deep/g%d", i)] = fmt.Sprint(i)
	}
	return tr
}

// moveIn puts a tree in a node's folder by one rename.
func (n *node) moveIn(tr tree) {
	n.t.Helper()
	outside := n.t.TempDir()
	tr.write(n.t, outside)
	if err := os.Rename(outside+"/d", n.path("d")); err != nil {
		n.t.Fatal(err)
	}
}

// counts counts how often a label is passed from now on.
func (n *node) counts(l beneath.Label) *atomic.Int64 {
	var count atomic.Int64
	n.on(l, func() error {
		count.Add(1)
		return nil
	})
	return &count
}

// wantNoEcho fails the test if a node published anything.
func (n *node) wantNoEcho() {
	n.t.Helper()
	n.flushed()
	for line := range strings.Lines(n.log.String()) {
		if strings.Contains(line, "msg=published") {
			n.t.Errorf("%s published what it had received: %s", n.name, line)
		}
	}
}

// wantNothingTemporary fails the test if something is left in the directory for temporary files.
func (n *node) wantNothingTemporary() {
	n.t.Helper()
	left, err := os.ReadDir(n.path(tmpDir))
	if err != nil {
		n.t.Fatal(err)
	}
	for _, e := range left {
		n.t.Errorf("left over at %s: %s", n.name, e.Name())
	}
}

// TestDirectoryAppearsWhole looks at the receiver's folder all the time: a new directory is never seen without all that is in it.
func TestDirectoryAppearsWhole(t *testing.T) {
	t.Parallel()
	tr := newDirectory(200)
	for _, row := range []struct {
		name string
		play func(a, b *node)
	}{
		{"there before they meet", func(a, b *node) {
			a.moveIn(tr)
			until(t, "a has scanned", func() bool { return a.entry("d/f199") != nil && a.entry("d/sub/deep/g199") != nil })
			connect(a, b)
		}},
		{"new", func(a, b *node) {
			connect(a, b)
			converged(t, a, b)
			a.moveIn(tr)
		}},
		{"relayed", func(a, b *node) {
			c := startNode(t, "c", nil)
			connect(a, c)
			connect(c, b)
			converged(t, a, b, c)
			a.moveIn(tr)
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a, b := startNode(t, "a", nil), startNode(t, "b", nil)
			single := b.counts("apply.new")
			row.play(a, b)
			for entries := 0; entries == 0; {
				names, err := os.ReadDir(b.path("d"))
				if err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Fatal(err)
				}
				if entries = len(names); err == nil && entries != 203 {
					t.Errorf("d has %d entries when it is first seen, want 203", entries)
				}
			}
			deep, err := os.ReadDir(b.path("d/sub/deep"))
			if err != nil || len(deep) != 200 {
				t.Errorf("d/sub/deep has %d entries (%v) when d is first seen, want 200", len(deep), err)
			}
			holds(t, tr, a, b)
			b.wantNoEcho()
			b.wantNothingTemporary()
			if n := single.Load(); n != 0 {
				t.Errorf("files put in place one by one: got %d, want 0", n)
			}
		})
	}
}

// TestUserMakesTheDirectoryMeanwhile has a user make a directory of the same name before the peer's is put in place.
func TestUserMakesTheDirectoryMeanwhile(t *testing.T) {
	t.Parallel()
	tr := newDirectory(20)
	a, b := startNode(t, "a", nil), startNode(t, "b", nil)
	met := b.once("build.land", func() {
		b.write("d/f7", "mine")
		b.write("d/own", "own")
	})
	connect(a, b)
	a.moveIn(tr)
	until(t, "both have made it", met)
	tree := converged(t, a, b)
	if tree["d/own"] != "own" {
		t.Errorf("d/own: got %q, want own", tree["d/own"])
	}
	if copies := tree.copies(); len(copies) != 1 {
		t.Errorf("conflict copies: got %v, want one of d/f7", copies)
	}
	for p, content := range tr {
		if got, ok := tree[p]; (!ok || got != content) && p != "d/f7" {
			t.Errorf("%s: got %q, want %q", p, got, content)
		}
	}
	for _, content := range []string{"mine", tr["d/f7"]} {
		if !hasContent(tree, content) {
			t.Errorf("%q is lost", content)
		}
	}
	b.wantNothingTemporary()
}

// TestBuildWithExceptions has directories in which not everything can be put in place with them.
func TestBuildWithExceptions(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("0123456789abcdef", maxBuilt/16+1)
	fails := func(l beneath.Label) func(b *node) {
		return func(b *node) {
			var count atomic.Int64
			b.on(l, func() error {
				if count.Add(1) == 2 {
					return errors.New("input/output error")
				}
				return nil
			})
		}
	}
	for _, row := range []struct {
		name    string
		tr      tree
		prepare func(b *node)
		change  func(want tree)
		single  int64 // how many files at most are put in place by themselves
	}{
		{name: "long file", tr: tree{"d/a": "a", "d/long": long, "d/sub/z": "z"}, single: 1},
		{name: "rule file", tr: tree{"d/.resonateignore": "*.o\n", "d/a.c": "c", "d/sub/b.c": "b"}, single: 3},
		{name: "rule file below", tr: tree{"d/a.c": "c", "d/sub/.resonateignore": "*.o\n", "d/sub/b.c": "b"}, single: 3},
		{name: "ignored here", tr: tree{"d/a.c": "c", "d/a.o": "o", "d/sub/x": "x", "d/y.o/in": "y"}, prepare: func(b *node) {
			if _, err := b.replica().Ignore(t.Context(), []string{"*.o"}); err != nil {
				t.Fatal(err)
			}
		}, change: func(want tree) { delete(want, "d/a.o"); delete(want, "d/y.o/in") }},
		{name: "a file that fails", tr: newDirectory(5), prepare: fails("fetch.create"), single: 1},
		{name: "a directory that fails", tr: newDirectory(5), prepare: fails("build.mkdir"), single: 0},
		{name: "attributes that fail", tr: newDirectory(5), prepare: fails("build.mtime"), single: 6},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a, b := startNode(t, "a", nil), startNode(t, "b", nil)
			if row.prepare != nil {
				row.prepare(b)
			}
			single := b.counts("apply.new")
			a.moveIn(row.tr)
			until(t, "a has scanned", func() bool {
				seen := true
				for p := range row.tr {
					seen = seen && a.entry(strings.TrimSuffix(p, "/")) != nil
				}
				return seen
			})
			connect(a, b)
			want := make(tree)
			for p, content := range row.tr {
				want[p] = content
			}
			if row.change != nil {
				row.change(want)
			}
			eventually(t, "b has it all", func() string { return b.tree().diff(want) })
			b.wantNoEcho()
			until(t, "the roots are equal", func() bool { return a.rootHash() == b.rootHash() })
			b.wantNothingTemporary()
			if n := single.Load(); n > row.single {
				t.Errorf("files put in place by themselves: got %d, want at most %d", n, row.single)
			}
		})
	}
}

func (n *node) rootHash() (h [32]byte) {
	n.inLoop(func(r *Replica) { h = r.tree.Root().State })
	return h
}

// TestBuildDoesNotWaitForever has a peer tell of more in a directory than it then announces.
func TestBuildDoesNotWaitForever(t *testing.T) {
	t.Parallel()
	n := startNode(t, "n", nil)
	l := newLiar(n, 0x11)
	l.meet()
	dir := merkle.Attributes{Kind: merkle.Dir, Mode: 0o755}
	l.tells(syncproto.Announcement{Path: "d", Entry: l.entry(dir), Below: 7})
	l.tells(syncproto.Announcement{Path: "d/f", Entry: l.entry(file("x")), Data: []byte("x")})
	until(t, "d/f waits", func() (waits bool) {
		n.inLoop(func(r *Replica) { waits = r.within["d"] != nil && len(r.within["d"].built) == 2 })
		return waits
	})
	until(t, "d is there", func() bool { return n.tree()["d/f"] == "x" })
	l.tells(syncproto.Announcement{Path: "d/late", Entry: l.entry(file("y")), Data: []byte("y")})
	until(t, "d/late is there", func() bool { return n.tree()["d/late"] == "y" })
}

// TestKilledWhileBuilding kills the receiver before and after a new directory is put in place.
func TestKilledWhileBuilding(t *testing.T) {
	t.Parallel()
	tr := newDirectory(20)
	for _, row := range []struct {
		name string
		at   beneath.Label
	}{
		{"half written", "build.mtime"}, {"written", "build.land"}, {"in place", "commit.sync"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a, b := startNode(t, "a", nil), startNode(t, "b", nil)
			connect(a, b)
			converged(t, a, b)
			b.committed()
			var dead atomic.Bool
			l := row.at
			b.on(l, func() error {
				if l != "commit.sync" || exists(b.path("d")) {
					b.dead.Store(true)
					dead.Store(true)
					return errKilled
				}
				return nil
			})
			a.moveIn(tr)
			until(t, "b is killed", dead.Load)
			b.end()
			if got := exists(b.path("d")); got != (l == "commit.sync") {
				t.Errorf("d is there after the kill: got %v", got)
			}
			b.on(l, func() error { return nil })
			b.start()
			holds(t, tr, a, b)
			b.wantNoEcho()
			b.wantNothingTemporary()
			if h := b.history(); len(h) != 0 {
				t.Errorf("history: got %v, want nothing", h)
			}
		})
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
