package desk

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"

	"resonate/locking"
	"resonate/locking/quorum"
)

// TestLeadsWhateverTheOrder has many goroutines look at how the table stands while its leader is elected: what was read before that
// must not be taken in after it, for nothing would change any more.
func TestLeadsWhateverTheOrder(t *testing.T) {
	t.Parallel()
	for range 8 {
		n := start(t, 1, t.TempDir())
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for !n.d.quorum.Status().Leading && n.d.ctx.Err() == nil {
					n.d.standsOtherwise()
				}
			})
		}
		wg.Wait()
		until(t, "the node has locks", func() bool { s := n.d.Status(); return s.Leads == n.id && s.Sure })
		n.kill()
	}
}

// TestATableThatIsGivenUpGrantsNothing has a node meet two others, of which the table of one comes before its own.
func TestATableThatIsGivenUpGrantsNothing(t *testing.T) {
	t.Parallel()
	n := start(t, 1, t.TempDir())
	until(t, "the node has locks", func() bool { return n.d.Sure() })
	own := n.d.quorum.Standing()
	for _, row := range []struct {
		name   string
		theirs quorum.Standing
		sure   bool
	}{
		{"later", quorum.Standing{Node: "x", Table: quorum.TableID{0xff}, Generation: own.Generation - 1}, true},
		{"before", quorum.Standing{Node: "x", Table: quorum.TableID{0xff}, Generation: own.Generation + 1}, false},
		{"the same", quorum.Standing{Node: "x", Table: own.Table, Generation: own.Generation + 1}, true},
	} {
		id := locking.NodeID{2}
		n.d.mu.Lock()
		n.d.lines[id] = &line{id: id, out: make(chan []byte, 16), place: standing{Standing: row.theirs}}
		n.d.mu.Unlock()
		if got := n.d.Sure(); got != row.sure {
			t.Errorf("the other's table comes %s: sure is %v, want %v", row.name, got, row.sure)
		}
		n.d.mu.Lock()
		delete(n.d.lines, id)
		n.d.mu.Unlock()
	}
}

// TestAStandingThatComesEarlyCounts has a member tell how it stands before there is a line to it.
func TestAStandingThatComesEarlyCounts(t *testing.T) {
	t.Parallel()
	n := start(t, 1, t.TempDir())
	until(t, "the node has locks", func() bool { return n.d.Sure() })
	theirs := n.d.quorum.Standing()
	id := locking.NodeID{2}
	theirs.Node, theirs.Table, theirs.Shared = nameOf(id), quorum.TableID{0xff}, true
	if err := n.d.standingOf(id, append([]byte{0}, theirs.Encode()...)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		n.d.Meet(ctx, id, func(context.Context, Kind) (io.ReadWriteCloser, error) { return nil, errors.New("not now") })
	})
	until(t, "the line to it knows", func() bool {
		n.d.mu.Lock()
		defer n.d.mu.Unlock()
		l := n.d.lines[id]
		return l != nil && l.place.Table == theirs.Table
	})
}
