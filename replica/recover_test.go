package replica

import (
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"resonate/beneath"
	"resonate/merkle"
)

// TestKilledBeforeCommit kills a node that has put a peer's change in place and not yet written down that it has: when
// it starts again, it knows that no user of its own did this.
func TestKilledBeforeCommit(t *testing.T) {
	base := tree{"f": "content", "d/in": "inside", "kind": "a file", "away/in": "inside"}
	for _, row := range []struct {
		name string
		peer func(b *node)
		disk func(a *node) // what a user of a does while it is down; nil: nothing
		want tree
		says bool // a has something to publish
	}{
		{
			name: "mode of a file", peer: func(b *node) { b.chmod("f", 0o600) }, want: base,
		},
		{
			name: "mode of a directory", peer: func(b *node) { b.chmod("d", 0o700) }, want: base,
		},
		{
			name: "directory deleted", peer: func(b *node) { b.removeAll("away") },
			want: tree{"f": "content", "d/in": "inside", "kind": "a file"},
		},
		{
			name: "file made a directory", peer: func(b *node) { b.remove("kind"); b.write("kind/in", "new") },
			want: tree{"f": "content", "d/in": "inside", "kind/in": "new", "away/in": "inside"},
		},
		{
			name: "directory made a file", peer: func(b *node) { b.removeAll("away"); b.write("away", "a file") },
			want: tree{"f": "content", "d/in": "inside", "kind": "a file", "away": "a file"},
		},
		{
			name: "file in what is no directory any more", peer: func(b *node) { b.write("d/new", "new") },
			disk: func(a *node) { a.removeAll("d"); a.write("d", "of the user") }, says: true,
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a, b := startNode(t, "a", nil), startNode(t, "b", base)
			w := connect(a, b)
			holds(t, base, a, b)
			a.committed()
			killed := a.killBeforeCommit()
			row.peer(b)
			until(t, "a is killed", killed)
			w.cut()
			a.kill()
			a.on("commit.sync", nil)
			if row.disk != nil {
				row.disk(a)
			}
			a.start()
			w.restore()
			if row.want != nil {
				holds(t, row.want, a, b)
			}
			converged(t, a, b)
			for _, p := range []string{"f", "d"} {
				got, want := lstat(t, a.path(p)), lstat(t, b.path(p))
				if got.Mode() != want.Mode() {
					t.Errorf("mode of %s: got %v, want %v", p, got.Mode(), want.Mode())
				}
			}
			if log := a.log.String(); strings.Contains(log, "msg=published") != row.says {
				t.Errorf("a published something: got %v, want %v", !row.says, row.says)
			}
		})
	}
}

// killBeforeCommit kills the node before it next writes down something that it has put in place, and returns a function
// that tells whether that has happened.
func (n *node) killBeforeCommit() (happened func() bool) {
	put := n.once("apply.intent", func() {})
	n.on("commit.sync", func() error {
		if !put() {
			return nil
		}
		n.dead.Store(true)
		return errKilled
	})
	return n.dead.Load
}

func (n *node) removeAll(p string) {
	n.t.Helper()
	if err := os.RemoveAll(n.path(p)); err != nil {
		n.t.Fatal(err)
	}
}

// TestHistoryThatFails has the history refuse a displaced file once: the change is in place all the same, the user is
// told, and the file gets there later.
func TestHistoryThatFails(t *testing.T) {
	for _, label := range []string{"history.mkdir", "history.move"} {
		t.Run(label, func(t *testing.T) {
			t.Parallel()
			a, b := startNode(t, "a", nil), startNode(t, "b", tree{"d/f": "old"})
			connect(a, b)
			holds(t, tree{"d/f": "old"}, a, b)
			var failed atomic.Bool
			a.on(beneath.Label(label), func() error {
				if failed.CompareAndSwap(false, true) {
					return syscall.EIO
				}
				return nil
			})
			b.write("d/f", "new")
			holds(t, tree{"d/f": "new"}, a, b)
			until(t, label+" was reached", failed.Load)
			if !strings.Contains(a.log.String(), "history cannot be written") {
				t.Error("nobody was told that the history cannot be written")
			}
			until(t, "the history has the old file", func() bool { return a.keeps("old") })
			until(t, "no temporary file is left", func() bool { return leftovers(a) == "" })
		})
	}
}

// TestBygoneTombstoneStaysDropped brings back a tombstone that all have seen and dropped, as a crash between two commits
// can: it is dropped again, or the trees would differ for ever.
func TestBygoneTombstoneStaysDropped(t *testing.T) {
	base := tree{"f": "content", "g": "content"}
	a, b := startNode(t, "a", base), startNode(t, "b", nil)
	connect(a, b)
	holds(t, base, a, b)
	live := a.entry("f")
	b.remove("f")
	holds(t, tree{"g": "content"}, a, b)
	forgotten(t, "f", a, b)
	dead := &merkle.Entry{Attributes: merkle.Attributes{Kind: merkle.Tombstone}, Version: live.Version}
	a.inLoop(func(r *Replica) { r.agree("f", dead, nil) })
	if got := a.entry("f"); got != nil {
		t.Errorf("got %v again, want nothing", got.Kind)
	}
	a.inLoop(func(r *Replica) { r.tree.Put("f", dead); r.touch("f") })
	a.committed()
	a.end()
	a.start()
	if got := a.entry("f"); got != nil {
		t.Errorf("after a restart: got %v again, want nothing", got.Kind)
	}
}

// TestKilledBeforeADirectoryIsMade ends a node when a file was taken away for a directory that is not there yet: that is nobody's deletion.
func TestKilledBeforeADirectoryIsMade(t *testing.T) {
	for _, at := range []beneath.Label{"apply.mkdir", "apply.intent"} {
		t.Run(string(at), func(t *testing.T) {
			t.Parallel()
			tr := tree{"k": "content", "rest": "rest"}
			a, b := startNode(t, "a", tr), startNode(t, "b", nil)
			w := connect(a, b)
			holds(t, tr, a, b)
			a.committed()
			b.committed()
			var armed atomic.Bool
			stop := errors.New("no further")
			b.on(at, func() error {
				if _, err := os.Lstat(b.path("k")); err == nil {
					return nil
				}
				armed.Store(true)
				return stop
			})
			b.on("commit.sync", func() error { return stop })
			w.cut() // so that it comes as one change
			a.remove("k")
			a.write("k/in", "in")
			a.flushed()
			w.restore()
			until(t, "the file was taken away at b", armed.Load)
			w.cut()
			b.kill()
			b.on(at, nil)
			b.on("commit.sync", nil)
			b.start()
			b.flushed()
			if e := b.entry("k"); !e.Live() {
				t.Errorf("k at b after the kill: got %+v, want what a has made of it", e)
			}
			w.restore()
			holds(t, tree{"k/in": "in", "rest": "rest"}, a, b)
			if !b.keeps("content") {
				t.Error("what k held is lost")
			}
		})
	}
}
