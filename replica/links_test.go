package replica

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"resonate/beneath"
	"resonate/locking"
)

// hardLink makes another name for a file, as a user does.
func (n *node) hardLink(p, q string) {
	n.t.Helper()
	if err := os.Link(n.path(p), n.path(q)); err != nil {
		skip(n.t, "no hard links: %v", err)
	}
}

// identities tells which paths of a folder are one file: "a=b c".
func (n *node) identities() string {
	names := map[uint64][]string{}
	for p := range n.tree() {
		if info, err := os.Lstat(n.path(p)); err == nil && info.Mode().IsRegular() {
			inode := uint64(info.Sys().(*syscall.Stat_t).Ino)
			names[inode] = append(names[inode], p)
		}
	}
	var out []string
	for _, list := range names {
		slices.Sort(list)
		out = append(out, strings.Join(list, "="))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// identical waits until all folders have the wanted identities and hold the same.
func identical(t testing.TB, want string, nodes ...*node) {
	t.Helper()
	for _, n := range nodes {
		n.flushed()
	}
	converged(t, nodes...)
	eventually(t, "the wanted links", func() string {
		for _, n := range nodes {
			if got := n.identities(); got != want {
				return fmt.Sprintf("%s has %s, want %s", n.name, got, want)
			}
		}
		return ""
	})
	converged(t, nodes...)
}

func TestHardLinks(t *testing.T) {
	long := strings.Repeat("some lines of text\n", 40_000)
	for _, row := range []struct {
		name   string
		before func(a *node) // before a starts
		do     func(a, b *node)
		want   string
		tree   tree
	}{
		{"linked before the meeting", func(a *node) { a.hardLink("f", "g"); a.hardLink("f", "e") }, nil, "e=f=g", tree{"e": "base", "f": "base", "g": "base"}},
		{"a long file", func(a *node) { a.write("f", long); a.hardLink("f", "g") }, nil, "f=g", tree{"f": long, "g": long}},
		{"empty", func(a *node) { a.write("f", ""); a.hardLink("f", "g") }, nil, "f=g", tree{"f": "", "g": ""}},
		{"a name before", nil, func(a, _ *node) { a.hardLink("f", "e") }, "e=f", tree{"e": "base", "f": "base"}},
		{"a name after", nil, func(a, _ *node) { a.hardLink("f", "g") }, "f=g", tree{"f": "base", "g": "base"}},
		{"from the other side", nil, func(_, b *node) { b.hardLink("f", "g") }, "f=g", tree{"f": "base", "g": "base"}},
		{"written in place", func(a *node) { a.hardLink("f", "g") }, func(a, _ *node) { a.write("f", "in place") }, "f=g", tree{"f": "in place", "g": "in place"}},
		{"written in place at the other side", func(a *node) { a.hardLink("f", "g") }, func(_, b *node) { b.write("g", "in place") }, "f=g", tree{"f": "in place", "g": "in place"}},
		{"another mode", func(a *node) { a.hardLink("f", "g") }, func(_, b *node) {
			if err := os.Chmod(b.path("f"), 0o600); err != nil {
				b.t.Fatal(err)
			}
		}, "f=g", tree{"f": "base", "g": "base"}},
		{"another time", func(a *node) { a.hardLink("f", "g") }, func(a, _ *node) {
			if err := os.Chtimes(a.path("g"), time.Time{}, time.Unix(1e9, 5)); err != nil {
				a.t.Fatal(err)
			}
		}, "f=g", tree{"f": "base", "g": "base"}},
		{"a copy made a link", func(a *node) { a.write("g", "base") }, func(a, _ *node) { a.remove("g"); a.hardLink("f", "g") }, "f=g", tree{"f": "base", "g": "base"}},
		{"one replaced", func(a *node) { a.hardLink("f", "g") }, func(a, _ *node) { a.write("new", "other"); a.rename("new", "f") }, "f g", tree{"f": "other", "g": "base"}},
		{"one replaced by its copy", func(a *node) { a.hardLink("f", "g") }, func(a, _ *node) { a.write("new", "base"); a.rename("new", "f") }, "f g", tree{"f": "base", "g": "base"}},
		{"one removed", func(a *node) { a.hardLink("f", "g") }, func(a, _ *node) { a.remove("f") }, "g", tree{"g": "base"}},
		{"one renamed", func(a *node) { a.hardLink("f", "g") }, func(a, _ *node) { a.rename("f", "h") }, "g=h", tree{"g": "base", "h": "base"}},
		{"one more", func(a *node) { a.hardLink("f", "g") }, func(_, b *node) { b.hardLink("g", "h") }, "f=g=h", tree{"f": "base", "g": "base", "h": "base"}},
		{"into another directory", nil, func(a, _ *node) { a.write("d/x", "x"); a.hardLink("d/x", "y") }, "d/x=y f", tree{"d/x": "x", "f": "base", "y": "x"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a, b := newNode(t, "a", tree{"f": "base"}), startNode(t, "b", nil)
			if row.before != nil {
				row.before(a)
			}
			a.start()
			connect(a, b)
			a.flushed()
			converged(t, a, b)
			if row.do != nil {
				row.do(a, b)
			}
			identical(t, row.want, a, b)
			holds(t, row.tree, a, b)
			if f, g := b.entry("f"), b.entry("g"); strings.HasPrefix(row.name, "another") && f.Version.Stamp != g.Version.Stamp {
				t.Errorf("f has version %v, g %v: want one operation, and nothing published by who applies it", f.Version, g.Version)
			}
			before := []string{fmt.Sprint(a.entry("g")), fmt.Sprint(b.entry("g"))}
			for p := range row.tree {
				for _, n := range []*node{a, b} {
					n.stays(p)
					if ai, bi := a.stat(p), b.stat(p); ai != bi {
						t.Errorf("%s: a has %s, b has %s", p, ai, bi)
					}
				}
			}
			if after := []string{fmt.Sprint(a.entry("g")), fmt.Sprint(b.entry("g"))}; !slices.Equal(before, after) {
				t.Errorf("looks were changes: %v, was %v", after, before)
			}
			for p, c := range row.tree { // and after a restart
				n := b
				n.committed()
				n.end()
				n.start()
				n.flushed()
				writeFile(t, n.path(p), c+"!")
				identical(t, row.want, a, b)
				if got := a.tree()[p]; got != c+"!" {
					t.Errorf("a has %.20q at %s, want what was written", got, p)
				}
				break
			}
		})
	}
}

func (n *node) stat(p string) string {
	info, err := os.Lstat(n.path(p))
	if err != nil {
		return "absent"
	}
	return fmt.Sprint(info.Mode(), info.Size(), info.ModTime().UnixNano())
}

// TestLinkedContentIsFetchedOnce sees that names of one file come over the wire once.
func TestLinkedContentIsFetchedOnce(t *testing.T) {
	a, b := newNode(t, "a", nil), startNode(t, "b", nil)
	a.write("f", strings.Repeat("0123456789abcdef", 1<<16))
	for i := range 5 {
		a.hardLink("f", fmt.Sprintf("g%d", i))
	}
	a.start()
	a.flushed()
	connect(a, b)
	identical(t, "f=g0=g1=g2=g3=g4", a, b)
	if got, want := b.replica().receivedBytes.Load(), int64(1<<20+1<<17); got > want {
		t.Errorf("%d bytes came in, want at most %d", got, want)
	}
}

// TestLinksAreRefused has a receiver that cannot make links: it has copies of its own, and the ID stays.
func TestLinksAreRefused(t *testing.T) {
	for _, errno := range []error{syscall.EPERM, syscall.EMLINK, syscall.EXDEV} {
		t.Run(fmt.Sprint(errno), func(t *testing.T) {
			t.Parallel()
			a, b, c := newNode(t, "a", tree{"f": "base"}), newNode(t, "b", nil), startNode(t, "c", nil)
			a.hardLink("f", "g")
			b.on("apply.link", func() error { return errno })
			a.start()
			b.start()
			connect(a, b)
			connect(b, c)
			base := tree{"f": "base", "g": "base"}
			holds(t, base, a, b, c)
			if got := b.identities(); got != "f g" {
				t.Errorf("b has %s, want two files", got)
			}
			if got := c.identities(); got != "f=g" {
				t.Errorf("c, told by b alone, has %s, want f=g", got)
			}
			if err := os.Chmod(b.path("f"), 0o600); err != nil {
				t.Fatal(err)
			}
			until(t, "the mode is published", func() bool { return b.entry("f").Mode == 0o600 })
			holds(t, base, a, b, c)
			if b.entry("f").Link.IsZero() || b.entry("f").Link != b.entry("g").Link {
				t.Error("the ID is lost by a change of mode where there are no links")
			}
		})
	}
}

// TestLinksAfterACrash kills the receiver while it makes links.
func TestLinksAfterACrash(t *testing.T) {
	for _, label := range []beneath.Label{"apply.link", "apply.intent", "apply.new", "apply.swap", "commit.sync"} {
		t.Run(string(label), func(t *testing.T) {
			t.Parallel()
			a, b := startNode(t, "a", tree{"f": "base", "g": "other"}), startNode(t, "b", nil)
			w := connect(a, b)
			holds(t, tree{"f": "base", "g": "other"}, a, b)
			b.committed()
			dead := make(chan struct{})
			var count int
			b.on(label, func() error {
				if count++; count == 1 {
					b.dead.Store(true)
					close(dead)
				}
				return errKilled
			})
			a.hardLink("f", "h")
			a.hardLink("f", "new")
			a.rename("new", "g")
			<-dead
			w.cut()
			b.kill()
			b.on(label, nil)
			b.start()
			w.restore()
			identical(t, "f=g=h", a, b)
			holds(t, tree{"f": "base", "g": "base", "h": "base"}, a, b)
			eventually(t, "no temporary files", func() string { return leftovers(a, b) })
		})
	}
}

// TestLinksAfterARestart has another name come to a file whose names are known from before a restart.
func TestLinksAfterARestart(t *testing.T) {
	a, b := newNode(t, "a", tree{"f": "base"}), startNode(t, "b", nil)
	a.hardLink("f", "g")
	a.start()
	w := connect(a, b)
	identical(t, "f=g", a, b)
	for _, n := range []*node{a, b} {
		n.committed()
		w.cut()
		n.end()
		n.start()
		w.restore()
	}
	a.hardLink("g", "h")
	identical(t, "f=g=h", a, b)
}

// stays checks that an event at p, and a scan, are no change.
func (n *node) stays(p string) {
	n.t.Helper()
	before := n.entry(p)
	n.inLoop(func(r *Replica) {
		r.look(p, false)
		r.look(p, true)
	})
	n.flushed()
	if after := n.entry(p); after.Hash() != before.Hash() {
		n.t.Errorf("%s: a look at %s was a change: %+v became %+v", n.name, p, before, after)
	}
}

// TestLastNameIsKept has a user take away all names of a file of which another was just made here, and is not needed: nobody but that
// name has the content any more.
func TestLastNameIsKept(t *testing.T) {
	for _, gone := range []bool{false, true} {
		n := newNode(t, "a", tree{"f": "linked"})
		n.hardLink("f", "g")
		n.start()
		n.flushed()
		n.inLoop(func(r *Replica) {
			in := &incoming{path: "h", theirs: r.tree.Get("f")}
			if linked, err := r.linkWith(in, in.theirs, "f"); !linked || err != nil {
				t.Fatalf("linked %v, %v", linked, err)
			}
			if gone {
				n.remove("f")
				n.remove("g")
			}
			r.unneeded(in)
		})
		if got := len(n.history()["h"]) > 0; got != gone {
			t.Errorf("names gone: %v; in the history: %v", gone, got)
		}
		eventually(t, "no temporary files", func() string { return leftovers(n) })
	}
}

// TestNameThatWaitsIsLookedBeyond has a user change a file through its first name, and take that away, while it waits for a lock to become one
// of two names.
func TestNameThatWaitsIsLookedBeyond(t *testing.T) {
	n := startNode(t, "a", tree{"f": "base"})
	until(t, "f is agreed", func() bool { return n.entry("f") != nil })
	id := locking.RequestID{1}
	n.replica().HoldBatch(id, locking.Scope{Kind: locking.OnePath, Path: "f"})
	n.hardLink("f", "g")
	until(t, "g is agreed", func() bool { e := n.entry("g"); return e != nil && !e.Link.IsZero() })
	if !n.entry("f").Link.IsZero() {
		t.Fatal("f does not wait")
	}
	n.write("f", "changed through f")
	n.remove("f")
	until(t, "g has changed", func() bool { return n.entry("g").Size == int64(len("changed through f")) })
}
