package replica

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"resonate/merkle"
	"resonate/syncproto"
)

// offering makes a node that offers at once what it reads.
func offering(t testing.TB, name string, tr tree) *node {
	n := newNode(t, name, tr)
	n.tune = func(r *Replica) { r.offers.pause = 0 }
	n.start()
	return n
}

// move writes a file elsewhere and moves it in, as a whole.
func (n *node) move(p, content string) {
	n.t.Helper()
	outside := n.dir + ".new"
	writeFile(n.t, outside, content)
	if err := errors.Join(os.MkdirAll(filepath.Dir(n.path(p)), 0o755), os.Rename(outside, n.path(p))); err != nil {
		n.t.Fatal(err)
	}
}

// prefetchedBytes returns how much of what is offered of a path has come, and is whole.
func (n *node) prefetchedBytes(path string) (bytes int64) {
	n.t.Helper()
	n.inLoop(func(r *Replica) {
		j := r.prefetches[path]
		if j == nil {
			return
		}
		j.long.mu.Lock()
		defer j.long.mu.Unlock()
		for i, b := range j.blocks {
			if j.long.have[i] {
				bytes += int64(b.Size)
			}
		}
	})
	return bytes
}

// temporary returns the temporary files of a node.
func (n *node) temporary() []os.DirEntry {
	left, _ := os.ReadDir(n.path(tmpDir))
	return left
}

// TestPrefetch has all of a file fetched before it is announced; then only that is told.
func TestPrefetch(t *testing.T) {
	content := noise(11, 10<<20)
	a, b := offering(t, "a", nil), startNode(t, "b", nil)
	w := connect(a, b)
	holds(t, tree{}, a, b)
	read := make(chan struct{})
	a.on("offer.read", func() error { <-read; return nil })
	a.move("d/f", content)
	eventually(t, "all is prefetched", func() string {
		if got := b.prefetchedBytes("d/f"); got < int64(len(content)) {
			return "not all has come"
		}
		return ""
	})
	if b.entry("d/f") != nil || a.entry("d/f") != nil {
		t.Error("it is announced already")
	}
	before := w.blocks.Load()
	copied := b.once("fetch.create", func() {})
	close(read)
	holds(t, tree{"d/f": content}, a, b)
	if got := w.blocks.Load() - before; got > talkBytes {
		t.Errorf("%d bytes over block streams after it was announced, want none", got)
	}
	if copied() {
		t.Error("it went into another temporary file")
	}
	if left := b.temporary(); len(left) > 0 {
		t.Errorf("left in tmp: %v", left)
	}
}

// TestPrefetchGoesOn announces a file when some of it has come.
func TestPrefetchGoesOn(t *testing.T) {
	content := noise(12, 10<<20) + strings.Repeat("\x00", 3<<20) + noise(12, 1<<20) // a hole, and what occurs twice
	a, b := offering(t, "a", nil), startNode(t, "b", nil)
	w := newWire(a, b)
	read := make(chan struct{})
	var once atomic.Bool
	w.onRead = func(total int64) {
		if total > 3<<20 && once.CompareAndSwap(false, true) {
			close(read)
		}
	}
	a.on("offer.read", func() error { <-read; return nil })
	w.restore()
	holds(t, tree{}, a, b)
	a.move("f", content)
	holds(t, tree{"f": content}, a, b)
	if got, most := w.blocks.Load(), missing(t, content)+talkBytes*10; got > most {
		t.Errorf("%d bytes over block streams, want at most %d", got, most)
	}
	if left := b.temporary(); len(left) > 0 {
		t.Errorf("left in tmp: %v", left)
	}
}

// TestOfferedFileChanges writes to a file that was offered, before it is announced.
func TestOfferedFileChanges(t *testing.T) {
	content := noise(13, 10<<20)
	a, b := offering(t, "a", nil), startNode(t, "b", nil)
	w := connect(a, b)
	holds(t, tree{}, a, b)
	happened := a.once("offer.read", func() {
		until(t, "some has come", func() bool { return b.prefetchedBytes("f") > 1<<20 })
		a.write("f", changed(content))
	})
	a.move("f", content)
	holds(t, tree{"f": changed(content)}, a, b)
	if got, most := w.blocks.Load(), int64(len(content)*3/2); !happened() || got > most {
		t.Errorf("%d bytes over block streams, want at most %d: what had come is used", got, most)
	}
}

// TestOfferedFileIsRenamed renames a file that was offered, before it is announced.
func TestOfferedFileIsRenamed(t *testing.T) {
	content := noise(17, 10<<20)
	a, b := offering(t, "a", nil), startNode(t, "b", nil)
	w := connect(a, b)
	holds(t, tree{}, a, b)
	happened := a.once("offer.read", func() {
		until(t, "some has come", func() bool { return b.prefetchedBytes("f") > 1<<20 })
		a.tryRename("f", "g")
	})
	a.move("f", content)
	holds(t, tree{"g": content}, a, b)
	if got, most := w.blocks.Load(), int64(len(content)*5/4); !happened() || got > most {
		t.Errorf("%d bytes over block streams, want at most %d: what had come is used", got, most)
	}
}

// TestSessionEndsWhilePrefetching cuts the session, and announces in the next.
func TestSessionEndsWhilePrefetching(t *testing.T) {
	content := noise(14, 10<<20)
	a, b := offering(t, "a", nil), startNode(t, "b", nil)
	w := newWire(a, b)
	w.restore()
	holds(t, tree{}, a, b)
	read := make(chan struct{})
	a.on("offer.read", func() error { <-read; return nil })
	w.cutAfter(5<<20, func() { a.move("f", content) })
	until(t, "the prefetch has ended", func() (ended bool) {
		b.inLoop(func(r *Replica) { ended = len(r.prefetches) == 0 && len(r.parts) == 1 })
		return ended
	})
	close(read)
	w.restore()
	holds(t, tree{"f": content}, a, b)
	if got, most := w.blocks.Load(), int64(len(content)*120/100); got > most {
		t.Errorf("%d bytes over block streams, want at most %d", got, most)
	}
	if left := b.temporary(); len(left) > 0 {
		t.Errorf("left in tmp: %v", left)
	}
}

// TestNotOffered has nothing fetched ahead that may be there already, or is not wanted.
func TestNotOffered(t *testing.T) {
	old := noise(15, 9<<20)
	for _, row := range []struct {
		name          string
		before        tree
		path, content string
	}{
		{"edit", tree{"f": old}, "f", changed(old)},
		{"copy", tree{"f": old}, "d/g", old},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a, b := offering(t, "a", row.before), startNode(t, "b", nil)
			connect(a, b)
			holds(t, row.before, a, b)
			a.committed()
			b.committed()
			created := b.once("offer.create", func() {})
			a.on("offer.read", func() error {
				a.inLoop(func(*Replica) {}) // offers are made
				b.inLoop(func(*Replica) {})
				return nil
			})
			a.move(row.path, row.content)
			until(t, "it is agreed there", func() bool { e := b.entry(row.path); return e != nil && e.Content == blocksOf(t, row.content).Root() })
			if created() {
				t.Error("it was prefetched")
			}
		})
	}
}

// TestLyingOffers sees offers of what is none refused, or cost no more than the prefetch.
func TestLyingOffers(t *testing.T) {
	real := blocksOf(t, noise(16, 2<<20))
	short := merkle.Block{Hash: merkle.Hash{1}, Size: 1}
	for _, row := range []struct {
		name   string
		path   string
		offers []syncproto.Offer
		tries  bool // something is asked for
	}{
		{"wrong hashes", "f", []syncproto.Offer{{Size: 2 << 20, Blocks: real}}, true},
		{"more than is free", "f", []syncproto.Offer{{Size: 1 << 60, Blocks: real}}, false},
		{"more than its size", "f", []syncproto.Offer{{Size: 1 << 20, Blocks: real}}, true},
		{"short blocks", "f", []syncproto.Offer{{Size: 2 << 20, Blocks: merkle.BlockList{short, short}}}, true},
		{"a gap", "f", []syncproto.Offer{{Size: 2 << 20, Blocks: real[:2]}, {Size: 2 << 20, From: 3, Blocks: real[3:]}}, true},
		{"no beginning", "f", []syncproto.Offer{{Size: 2 << 20, From: 1, Blocks: real[1:]}}, false},
		{"of what is there", "h", []syncproto.Offer{{Size: 2 << 20, Blocks: real}}, false},
		{"of what is ignored", "f.iso", []syncproto.Offer{{Size: 2 << 20, Blocks: real}}, false},
		{"no end", "f", []syncproto.Offer{{Size: 2 << 20, Blocks: real[:2]}}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			n := startNode(t, "n", tree{rule: "*.iso\n", "h": "h"})
			n.flushed()
			created := n.once("offer.create", func() {})
			l := newLiar(n, 0x22)
			l.serveLies()
			l.meet()
			for _, o := range row.offers {
				o.Path, o.Name = row.path, merkle.Hash{7}
				l.send(&o)
			}
			l.tells(syncproto.Announcement{Path: "g", Entry: l.entry(file("g")), Data: []byte("g")})
			holds := func() bool { return n.tree().diff(tree{rule: "*.iso\n", "h": "h", "g": "g"}) == "" }
			until(t, "what is true has come", holds)
			if created() != row.tries {
				t.Errorf("tried: %v, want %v", created(), row.tries)
			}
			l.end.Close()
			until(t, "nothing is left", func() (gone bool) {
				n.inLoop(func(r *Replica) { gone = len(r.prefetches) == 0 && len(r.parts) == 0 })
				return gone && len(n.temporary()) == 0
			})
			n.wantServesOthers()
		})
	}
}
