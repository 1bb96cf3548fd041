package replica

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"resonate/merkle"
	"resonate/syncproto"
)

// noise returns n bytes that do not repeat.
func noise(seed byte, n int) string {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(b) // never fails
	return string(b)
}

// changed returns content with one byte in the middle changed.
func changed(content string) string {
	i := len(content) / 2
	return content[:i] + string(content[i]^1) + content[i+1:]
}

// missing tells how many bytes of blocks are in a content and not in those that are had.
func missing(t testing.TB, content string, had ...string) (n int64) {
	t.Helper()
	have := make(map[merkle.Hash]bool)
	for _, h := range had {
		for _, b := range blocksOf(t, h) {
			have[b.Hash] = true
		}
	}
	for _, b := range blocksOf(t, content) {
		if !have[b.Hash] {
			n += int64(b.Size)
			have[b.Hash] = true
		}
	}
	return n
}

func blocksOf(t testing.TB, content string) merkle.BlockList {
	t.Helper()
	list, _, err := merkle.Split(strings.NewReader(content), nil)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// talkBytes is what may go over block streams, in bytes, beside the blocks: requests, the difference of two lists.
const talkBytes = 2 << 10

var longAgo = time.Now().Add(-48 * time.Hour)

// TestOnlyWhatIsNewIsSent has a change arrive that shares blocks with what is on the receiver's disk.
func TestOnlyWhatIsNewIsSent(t *testing.T) {
	old, large := noise(1, 3<<20), noise(2, 12<<20) // the list of the second is not announced
	for _, row := range []struct {
		name   string
		before tree
		change tree
	}{
		{"one byte", tree{"f": old}, tree{"f": changed(old)}},
		{"insertion at the start", tree{"f": old}, tree{"f": "ten bytes " + old}},
		{"cut off", tree{"f": old}, tree{"f": old[:2<<20]}},
		{"one byte of a long list", tree{"f": large}, tree{"f": changed(large)}},
		{"copy", tree{"d/f": old}, tree{"e/f": old}},
		{"copy of one block", tree{"f": old[:70<<10]}, tree{"g": old[:70<<10]}},
		{"repeated, new", tree{"f": old[:1<<20]}, tree{"g": strings.Repeat(large[:2<<20], 3)}},
		{"repeated", tree{"f": old[:1<<20]}, tree{"f": strings.Repeat(old[:1<<20], 3)}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a, b := startNode(t, "a", row.before), startNode(t, "b", nil)
			w := connect(a, b)
			holds(t, row.before, a, b)
			a.committed()
			b.committed()
			before := w.blocks.Load()
			want, most := tree{}, int64(talkBytes)
			var had []string
			for p, c := range row.before {
				want[p] = c
				had = append(had, c)
			}
			for p, c := range row.change {
				want[p] = c
				most += missing(t, c, had...)
				outside := a.dir + ".new" // in the folder, it would be published if the rename takes its time
				writeFile(t, outside, c)
				if err := errors.Join(os.MkdirAll(filepath.Dir(a.path(p)), 0o755), os.Rename(outside, a.path(p))); err != nil {
					t.Fatal(err)
				}
			}
			holds(t, want, a, b)
			if got := w.blocks.Load() - before; got > most {
				t.Errorf("%d bytes over block streams, want at most %d", got, most)
			}
			if left, _ := os.ReadDir(b.path(tmpDir)); len(left) > 0 {
				t.Errorf("left in tmp: %v", left)
			}
		})
	}
}

// TestBlocksFromHistory has content come back that stood there before.
func TestBlocksFromHistory(t *testing.T) {
	old, other := noise(21, 4<<20), noise(22, 4<<20)
	for _, row := range []struct {
		name    string
		between func(a *node)
		content string
	}{
		{"replaced", func(a *node) { a.move("d/f", other) }, old},
		{"deleted", func(a *node) { a.remove("d/f") }, old},
		{"deleted with its directory", func(a *node) { a.remove("d") }, old},
		{"replaced, and changed", func(a *node) { a.move("d/f", other) }, "ten bytes " + old},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a, b := offering(t, "a", tree{"g": "g", "d/f": old}), startNode(t, "b", nil)
			w := connect(a, b)
			holds(t, tree{"g": "g", "d/f": old}, a, b)
			row.between(a)
			until(t, "it is in the history", func() bool { return slices.Contains(b.history()["d/f"], old) })
			converged(t, a, b)
			before := w.blocks.Load()
			a.move("d/f", row.content)
			holds(t, tree{"g": "g", "d/f": row.content}, a, b)
			if got, most := w.blocks.Load()-before, missing(t, row.content, old)+talkBytes; got > most {
				t.Errorf("%d bytes over block streams, want at most %d", got, most)
			}
		})
	}
}

// TestResume cuts a session when half of a long file is through.
func TestResume(t *testing.T) {
	content := noise(3, 10<<20) // at the cut, each of four streams loses up to a block
	for _, row := range []struct {
		name    string
		between func(a, b *node)
		want    string
		extra   int // bytes that may be sent twice, in percent
	}{
		{"another session", func(_, b *node) {}, content, 20},
		{"another run", func(_, b *node) { b.end(); b.start() }, content, 20},
		{"after a kill", func(_, b *node) { b.kill(); b.start() }, content, 20},
		{"a later version", func(a, _ *node) { a.write("f", changed(content)) }, changed(content), 20},
		{ // what is there is cut into blocks anew, which loses some around each hole
			"a later version after a kill", func(a, b *node) { b.kill(); b.start(); a.write("f", "x"+content) }, "x" + content, 33,
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a, b := startNode(t, "a", nil), startNode(t, "b", nil)
			w := newWire(a, b)
			w.restore()
			w.cutAfter(5<<20, func() { a.write("f", content) })
			row.between(a, b)
			a.flushed()
			if got := b.tree()["f"]; got == content || got == row.want { // a busy machine may see it half written before, and let that out
				t.Fatal("f is through already")
			}
			w.restore()
			holds(t, tree{"f": row.want}, a, b)
			if got, most := w.blocks.Load(), int64(len(content)*(100+row.extra)/100); got > most {
				t.Errorf("%d bytes over block streams in all, want at most %d", got, most)
			}
			if left, _ := os.ReadDir(b.path(tmpDir)); len(left) > 0 {
				t.Errorf("left in tmp: %v", left)
			}
		})
	}
}

// TestFetchFromTwo has two peers announce a file before any of it is fetched.
func TestFetchFromTwo(t *testing.T) {
	want := tree{"f": noise(4, 12<<20)}
	a, b, c := startNode(t, "a", want), startNode(t, "b", nil), startNode(t, "c", nil)
	ac := connect(a, c)
	holds(t, want, a, c)
	ac.cut()
	told := make(chan struct{})

	b.on("fetch.create", func() error { <-told; return nil })
	ab, cb := newWire(a, b), newWire(c, b)
	ab.onRead, cb.onRead = waitsFor(cb), waitsFor(ab)
	ab.restore()
	cb.restore()
	b.bothTold("f")
	close(told)
	holds(t, want, a, b, c)
	if x, y := ab.blocks.Load(), cb.blocks.Load(); x < 1<<20 || y < 1<<20 || x+y > 13<<20 {
		t.Errorf("%d bytes from one, %d from the other; want some from both, and no more than all", x, y)
	}
}

// waitsFor stops what comes over one wire after some of it, until as much came over the other: how the two share the work is else a
// matter of who runs first.
func waitsFor(other *wire) func(int64) {
	return func(total int64) {
		for end := time.Now().Add(10 * time.Second); total > 2<<20 && other.blocks.Load() < 1<<20 && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
	}
}

// TestLiarAmongSources has a peer that serves wrong blocks announce what an honest one has, too.
func TestLiarAmongSources(t *testing.T) {
	want := tree{"f": noise(5, 4<<20)}
	a, b := startNode(t, "a", want), startNode(t, "b", nil)
	a.flushed()
	until(t, "f is agreed", func() bool { return a.entry("f") != nil })
	told := make(chan struct{})
	b.on("fetch.create", func() error { <-told; return nil })
	l := newLiar(b, 0x11)
	l.serveLies()
	l.meet()
	l.tells(syncproto.Announcement{Path: "f", Entry: a.entry("f"), Blocks: blocksOf(t, want["f"])})
	connect(a, b)
	b.bothTold("f")
	close(told)
	holds(t, want, a, b)
}

// bothTold waits until two connected peers have announced the version of a path that is being fetched.
func (n *node) bothTold(path string) {
	n.t.Helper()
	until(n.t, "both have announced it", func() (both bool) {
		n.inLoop(func(r *Replica) {
			queue := r.incoming[path]
			both = len(queue) == 1 && len(r.sources(queue[0])) == 2
		})
		return both
	})
}

// TestSourceChangesWhileSent has a file change when some of it is through.
func TestSourceChangesWhileSent(t *testing.T) {
	first, second := noise(6, 4<<20), noise(7, 4<<20)
	a, b := startNode(t, "a", nil), startNode(t, "b", nil)
	w := newWire(a, b)
	var once atomic.Bool
	w.onRead = func(total int64) {
		if total > 1<<20 && once.CompareAndSwap(false, true) {
			a.write("f", second)
		}
	}
	w.restore()
	a.write("f", first)
	holds(t, tree{"f": second}, a, b)
	if !once.Load() {
		t.Error("it never changed")
	}
}

// TestLongFilesTakeTurns sees a small file served between the parts of a long one.
func TestLongFilesTakeTurns(t *testing.T) {
	q := newJobQueue()
	long := &fetchJob{long: &longFetch{sources: []*jobQueue{q}}}
	q.put(long)
	if w := q.take(true); w.long != long || w.blocks != nil {
		t.Fatalf("got %+v, want the long file to be prepared", w)
	}
	for i := range 1000 {
		long.long.todo = append(long.long.todo, i)
	}
	long.long.have = make([]bool, 1000)
	q.put(long)
	q.put(long)
	seen, small := 0, 0
	for n := 0; seen < 1000 || small < 3; n++ {
		w := q.take(true)
		switch {
		case w.long == long && len(w.blocks) > 0 && len(w.blocks) <= maxPiece:
			seen += len(w.blocks)
		case len(w.batch) > 0:
			small += len(w.batch)
		default:
			t.Fatalf("got %+v", w)
		}
		if n < 3 {
			q.put(&fetchJob{entry: &merkle.Entry{}})
		}
		if n == 8 && small < 3 {
			t.Errorf("%d small files among 8 pieces of work, want 3", small)
		}
	}
	short, last := &fetchJob{entry: &merkle.Entry{}}, &fetchJob{long: &longFetch{sources: []*jobQueue{q}}}
	q.put(short)
	q.put(last)
	if left := q.close(); !slices.Equal(left, []*fetchJob{short}) || q.take(true) != nil || q.put(last) {
		t.Errorf("closed: got %v, want the small file alone, and nothing more", left)
	}
	if left := q.drain(); !slices.Equal(left, []*fetchJob{last}) || q.drain() != nil {
		t.Errorf("drained: got %v, want the long file, once", left)
	}
}

// TestFullDiskDropsParts has no room for a file while parts of others are kept.
func TestFullDiskDropsParts(t *testing.T) {
	n, b := startNode(t, "n", nil), newNode(t, "b", nil)
	b.start()
	b.end()
	other := tmpDir + "/0000-1-" + partTag("other") + partial
	writeFile(t, b.path(other), "some")
	b.on("fetch.create", func() error {
		if _, err := os.Stat(b.path(other)); err == nil {
			return syscall.ENOSPC
		}
		return nil
	})
	b.start()
	connect(n, b)
	want := tree{"f": noise(8, 1<<20)}
	n.write("f", want["f"])
	holds(t, want, n, b)
}

// TestKeptPartsAreBounded leaves more than are kept, and an old one.
func TestKeptPartsAreBounded(t *testing.T) {
	n := newNode(t, "n", nil)
	n.start()
	n.end()
	for i := range maxParts + 5 {
		name := fmt.Sprintf("%s/0000-%d-%s%s", tmpDir, i, partTag(fmt.Sprint("f", i)), partial)
		writeFile(t, n.path(name), "some")
	}
	writeFile(t, n.path(tmpDir+"/0000-x-"+partTag("f3")+partial), "another of one path")
	writeFile(t, n.path(tmpDir+"/0000-y"+partial), "of a small file")
	old := n.path(tmpDir + "/0000-z-" + partTag("old") + partial)
	writeFile(t, old, "old")

	if err := os.Chtimes(old, longAgo, longAgo); err != nil {
		t.Fatal(err)
	}
	n.start()
	n.flushed()
	left, err := os.ReadDir(n.path(tmpDir))
	if err != nil || len(left) != maxParts {
		t.Errorf("%d files left, %v; want %d", len(left), err, maxParts)
	}
	if _, err := os.Stat(old); err == nil {
		t.Error("what is older than a day is kept")
	}
}

// TestOldLists sees lists remembered for a while, and within their bounds.
func TestOldLists(t *testing.T) {
	var o oldLists
	list := func(n int) merkle.BlockList { return make(merkle.BlockList, n) }
	now := longAgo
	o.add("f", merkle.Hash{1}, list(minOldList-1), now)
	o.add("f", merkle.Hash{2}, list(minOldList), now)
	if o.get(merkle.Hash{1}) != nil || o.get(merkle.Hash{2}) == nil {
		t.Error("want the long one alone to be remembered")
	}
	o.add("f", merkle.Hash{3}, list(minOldList), now.Add(2*oldListAge))
	if o.get(merkle.Hash{2}) != nil || o.get(merkle.Hash{3}) == nil {
		t.Error("want the old one to be forgotten")
	}
	for i := range 10 {
		o.add("f", merkle.Hash{4, byte(i)}, list(100_000), now.Add(2*oldListAge))
	}
	if o.bytes > maxOldLists || o.get(merkle.Hash{4, 9}) == nil || o.get(merkle.Hash{4, 0}) != nil {
		t.Errorf("%d bytes remembered, want at most %d: the newest", o.bytes, maxOldLists)
	}
}
