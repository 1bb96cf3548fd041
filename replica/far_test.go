package replica

import (
	"strings"
	"testing"
	"time"

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
