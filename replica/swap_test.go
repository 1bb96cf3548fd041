package replica

import (
	"errors"
	"os"
	"testing"
	"time"

	"resonate/beneath"
)

// TestUserWritesAtTheSwap has a user change the file in the very instant in which a peer's version goes in.
func TestUserWritesAtTheSwap(t *testing.T) {
	rewrite := func(n *node, p string) { n.write(p, "the user's") }
	rename := func(n *node, p string) {
		n.write("elsewhere", "the user's")
		if err := os.Rename(n.path("elsewhere"), n.path(p)); err != nil {
			n.t.Error(err)
		}
	}
	appendTo := func(n *node, p string) {
		f, err := os.OpenFile(n.path(p), os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			n.t.Error(err)
			return
		}
		defer f.Close()
		f.WriteString("+ the user's")
	}
	change := func(a *node) { a.write("f", "the peer's") }
	remove := func(a *node) { a.remove("f") }
	for _, row := range []struct {
		name  string
		base  tree
		label beneath.Label
		peer  func(a *node)
		user  func(b *node, p string)
		keep  []string // contents that must be somewhere in both folders
	}{
		{"rewritten before the swap", tree{"f": "base"}, "apply.swap", change, rewrite, []string{"the user's", "the peer's"}},
		{"replaced before the swap", tree{"f": "base"}, "apply.swap", change, rename, []string{"the user's", "the peer's"}},
		{"appended to before the swap", tree{"f": "base"}, "apply.swap", change, appendTo, []string{"base+ the user's", "the peer's"}},
		{"rewritten before the removal", tree{"f": "base"}, "apply.away", remove, rewrite, []string{"the user's"}},
		{"replaced before the removal", tree{"f": "base"}, "apply.away", remove, rename, []string{"the user's"}},
		{"made before a new file", tree{}, "apply.new", change, rewrite, []string{"the user's", "the peer's"}},
		{"made a directory before a new file", tree{}, "apply.new", change, func(n *node, p string) { n.write(p+"/in", "the user's") }, []string{"the user's", "the peer's"}},
		{"made a directory before the swap", tree{"f": "base"}, "apply.swap", change, func(n *node, p string) { n.remove(p); n.write(p+"/in", "the user's") }, []string{"the user's", "the peer's"}},
		{"removed before the swap", tree{"f": "base"}, "apply.swap", change, func(n *node, p string) { n.remove(p) }, []string{"the peer's"}},
		{"made a link before the swap", tree{"f": "base"}, "apply.swap", change, func(n *node, p string) {
			n.remove(p)
			if err := os.Symlink("the user's", n.path(p)); err != nil {
				n.t.Error(err)
			}
		}, []string{"-> the user's", "the peer's"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a, b := startNode(t, "a", row.base), startNode(t, "b", nil)
			connect(a, b)
			holds(t, row.base, a, b)
			happened := b.once(row.label, func() { row.user(b, "f") })
			row.peer(a)
			until(t, "the label was passed", happened)
			eventually(t, "all is in both folders", func() string {
				for _, c := range row.keep {
					for _, n := range []*node{a, b} {
						if !hasContent(n.tree(), c) {
							return n.name + " lacks " + c
						}
					}
				}
				return ""
			})
			converged(t, a, b)
			eventually(t, "no temporary files", func() string { return leftovers(a, b) })
		})
	}
}

// TestWriterDelaysTheSwap has a program keep the file open for writing while a peer's version waits.
func TestWriterDelaysTheSwap(t *testing.T) {
	t.Parallel()
	a, b := startNode(t, "a", tree{"f": "base"}), startNode(t, "b", nil)
	connect(a, b)
	holds(t, tree{"f": "base"}, a, b)
	f, err := os.OpenFile(b.path("f"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	a.write("f", "the peer's")
	var in *incoming
	until(t, "the version waits for the writer", func() (waits bool) {
		b.inLoop(func(r *Replica) {
			if queue := r.incoming["f"]; len(queue) > 0 && !queue[0].busy.IsZero() {
				in, waits = queue[0], true
			}
		})
		return waits
	})
	if got := b.tree()["f"]; got != "base" {
		t.Fatalf("while the writer has it open: got %q, want it untouched", got)
	}
	b.inLoop(func(*Replica) { in.busy = in.busy.Add(-maxBusy) }) // the patience is over
	until(t, "the version goes in all the same", func() bool { return b.tree()["f"] == "the peer's" })
	if _, err := f.WriteString("late"); err != nil {
		t.Fatal(err)
	}
	if !b.keeps("late") {
		t.Errorf("what the writer wrote is lost: tree %v, history %v", b.tree(), b.history())
	}
}

// TestWriterThatEndsLetsTheSwapGo closes the file instead.
func TestWriterThatEndsLetsTheSwapGo(t *testing.T) {
	t.Parallel()
	a, b := startNode(t, "a", tree{"f": "base"}), startNode(t, "b", nil)
	connect(a, b)
	holds(t, tree{"f": "base"}, a, b)
	f, err := os.OpenFile(b.path("f"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	a.write("f", "the peer's")
	a.age("f", time.Now().Add(-time.Hour))
	until(t, "the version waits for the writer", func() (waits bool) {
		b.inLoop(func(r *Replica) {
			waits = len(r.incoming["f"]) > 0 && !r.incoming["f"][0].busy.IsZero()
		})
		return waits
	})
	if _, err := f.WriteString("the writer's"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "one copy", func() string { return wantCopies(1, a, b) })
	tr := converged(t, a, b)
	if tr["f"] != "the writer's" || !hasContent(tr, "the peer's") {
		t.Errorf("got %v, want the later writer's under the name and the peer's beside it", tr)
	}
}

// TestUserWritesWhileMetadataIsSet has a user write other bytes of the same number in the instant in which a peer's mode is put in
// place: they are an edit.
func TestUserWritesWhileMetadataIsSet(t *testing.T) {
	t.Parallel()
	a, b := startOld(t, "a", tree{"f": "one"}), startNode(t, "b", nil)
	connect(a, b)
	holds(t, tree{"f": "one"}, a, b)
	wrote := b.once("apply.chmod", func() {
		past := time.Now().Add(-time.Minute) // so that the event of it does not have the file read again because it is young
		err := errors.Join(os.WriteFile(b.path("f"), []byte("two"), 0o644), os.Chtimes(b.path("f"), past, past))
		if err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(a.path("f"), 0o600); err != nil {
		t.Fatal(err)
	}
	until(t, "written", wrote)
	holds(t, tree{"f": "two"}, a, b)
}
