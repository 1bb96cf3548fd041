package quorum

import (
	"context"
	"sync"
	"testing"
)

// TestManyAskAtOnceWhoLeads has more ask at once than there may be streams between two nodes.
func TestManyAskAtOnceWhoLeads(t *testing.T) {
	t.Parallel()
	n := newNet(t, "a", "b", "c")
	a := n.cluster("a", "b", "c")
	held := make(chan struct{})
	n.mu.Lock()
	n.most, n.held = 6, held
	n.mu.Unlock()
	var askers sync.WaitGroup
	begun := make(chan struct{}, 64)
	for range cap(begun) {
		askers.Go(func() {
			begun <- struct{}{}
			if err := a.Verify(context.Background()); err != nil {
				t.Errorf("verify: %v", err)
			}
		})
	}
	for range cap(begun) {
		<-begun
	}
	close(held)
	askers.Wait()
}

func TestWhoComesWhileARoundRunsSharesTheNext(t *testing.T) {
	var c rounds
	first, run := c.join(3)
	if !run {
		t.Error("the first has nobody else to see to the round, and is not told to")
	}
	if got := c.take(); got != first || got.term != 3 {
		t.Errorf("began %+v, want %+v of term 3", got, first)
	}
	second, run := c.join(4)
	third, runs := c.join(3)
	if second == first || third != second || run || runs {
		t.Errorf("who come later have %p and %p (to run: %v, %v), want one other than %p that others run", second, third, run, runs, first)
	}
	if got := c.take(); got != second || got.term != 4 {
		t.Errorf("then began %+v, want that of term 4", got)
	}
	if got := c.take(); got != nil {
		t.Errorf("began %+v, for nobody", got)
	}
	if _, run := c.join(5); !run {
		t.Error("after the last round nobody is told to see to the next")
	}
}
