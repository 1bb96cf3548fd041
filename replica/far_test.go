package replica

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"resonate/merkle"
	"resonate/syncproto"
)

// farApart connects two nodes between which an answer takes long, as they are told.
func farApart(a, b *node) *wire {
	w := newWire(a, b)
	w.rtt = 100 * time.Millisecond
	w.restore()
	return w
}

// TestSmallEditNeedsNoAnswer has new and changed small files, and a small new directory, come in at a far peer without it
// asking for anything: half a round trip is all that they take.
func TestSmallEditNeedsNoAnswer(t *testing.T) {
	t.Parallel()
	tr := tree{"f": "before", "d/g": "g"}
	a, b := startNode(t, "a", tr), startNode(t, "b", nil)
	w := farApart(a, b)
	holds(t, tr, a, b)
	before := w.blocks.Load()
	edits := tree{
		"f": "after", "d/g": strings.Repeat("long, for a small one ", syncproto.MaxInline/30), "new": "new", "dir/x": "x", "dir/y": "y", "dir/sub/z": "z",
	}
	for path, content := range edits {
		tr[path] = content
		a.write(path, content)
	}
	holds(t, tr, a, b)
	if got := w.blocks.Load() - before; got != 0 {
		t.Errorf("bytes over block streams: got %d, want 0", got)
	}
}

// TestFarPeersAreAskedOverMoreStreams has all streams to a far peer opened before there is work for them, and much fetched over them.
func TestFarPeersAreAskedOverMoreStreams(t *testing.T) {
	t.Parallel()
	tr := tree{"long": noise(1, 4<<20)}
	for i := range 200 {
		tr["dir/"+strings.Repeat("f", i+1)] = noise(byte(i), 5000)
	}
	a, b := startNode(t, "a", nil), startNode(t, "b", nil)
	atA, atB := newPipes(a.replica().Members().Key(), b.replica().Members().Key(), nil)
	atA.rtt, atB.rtt = 100*time.Millisecond, 100*time.Millisecond
	ended := make(chan struct{}, 2)
	for n, l := range map[*node]*pipe{a: atA, b: atB} {
		go func() {
			defer func() { ended <- struct{}{} }()
			n.replica().Serve(t.Context(), l)
			l.Close()
		}()
	}
	t.Cleanup(func() { atA.Close(); <-ended; <-ended })
	until(t, "all streams are open", func() bool {
		atB.mu.Lock()
		defer atB.mu.Unlock()
		return len(atB.streams) == 2*farStreams
	})
	tr.write(t, a.dir)
	holds(t, tr, a, b)
}

// versions serves contents by their hashes, and counts how often a block list is asked for.
type versions struct {
	contents map[merkle.Hash]string
	lists    atomic.Int32
}

func (v *versions) OpenContent(_ string, content merkle.Hash) (syncproto.Content, error) {
	text, ok := v.contents[content]
	if !ok {
		return nil, syncproto.ErrGone
	}
	return textFile{strings.NewReader(text)}, nil
}

func (v *versions) List(_ string, content merkle.Hash) (merkle.BlockList, error) {
	v.lists.Add(1)
	list, _, err := merkle.Split(strings.NewReader(v.contents[content]), nil)
	return list, err
}

// TestEditOfLongFileComesWithItsDifference has a long file changed. The block list, told as the difference to that of the version that the
// node has, is not asked for; told as the difference to another one, or wrongly, it is.
func TestEditOfLongFileComesWithItsDifference(t *testing.T) {
	t.Parallel()
	first := noise(1, 14<<20)
	second := changed(first)
	third := changed(second[:len(second)-1]) + "!"
	fourth := changed(third) + "?"
	src := &versions{contents: make(map[merkle.Hash]string)}
	for _, text := range []string{first, second, third, fourth} {
		src.contents[file(text).Content] = text
	}
	n := startNode(t, "n", nil)
	l := newLiar(n, 0x11)
	l.serve(src)
	l.meet()
	tell := func(text string, base string, from, to merkle.BlockList) {
		a := syncproto.Announcement{Path: "f", Entry: l.entry(file(text))}
		a.SetBlocks(blocksOf(t, text))
		if base != "" {
			a.SetDifference(file(base).Content, from, to)
			if a.Difference == nil {
				t.Fatal("the difference is too long to be told")
			}
		}
		l.tells(a)
		until(t, "f is there", func() bool { return n.tree()["f"] == text })
	}
	for _, step := range []struct {
		what, text, base string
		to               string // of which the difference is told
		lists            int32  // asked for by then; two at a time, the base's for the difference being one
	}{
		{"a new file", first, "", "", 1},
		{"the difference to what it has", second, first, second, 1},
		{"a wrong difference", third, second, first, 3},
		{"the difference to what it has not", fourth, first, fourth, 5},
	} {
		var from, to merkle.BlockList
		if step.base != "" {
			from, to = blocksOf(t, step.base), blocksOf(t, step.to)
		}
		tell(step.text, step.base, from, to)
		if got := src.lists.Load(); got != step.lists {
			t.Errorf("%s: lists looked up: got %d, want %d", step.what, got, step.lists)
		}
	}
}

// TestDifferenceIsTold has a node tell an edit of a long file as the difference to what it was.
func TestDifferenceIsTold(t *testing.T) {
	t.Parallel()
	before := noise(1, 14<<20)
	n := startNode(t, "n", tree{"f": before})
	until(t, "f is agreed", func() bool { return n.entry("f").Live() })
	l := newLiar(n, 0x11)
	l.meet()
	next[*syncproto.Root](l)
	after := changed(before)
	beside := filepath.Join(t.TempDir(), "f") // a file of this length that is written in place may be told of half written
	writeFile(t, beside, after)
	if err := os.Rename(beside, n.path("f")); err != nil {
		t.Fatal(err)
	}
	a := next[*syncproto.Announcements](l).List[0]
	if a.Difference == nil || a.Difference.Base != file(before).Content {
		t.Fatalf("got %.200v, want the difference to what was there", a.Difference)
	}
	list, err := a.Difference.List(blocksOf(t, before), a.BlockCount, int64(len(after)))
	if err != nil || list.Root() != file(after).Content {
		t.Errorf("made of the difference: got a list of %d blocks, %v; want that of the file", len(list), err)
	}
}
