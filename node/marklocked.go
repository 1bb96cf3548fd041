package node

import (
	"context"
	"slices"
	"time"

	"resonate/locking"
)

// Times of marking what others hold.
const (
	markInterval = 2 * time.Second  // between questions who holds what: nobody tells it unasked
	markPatience = 30 * time.Second // without an answer, after which nothing counts as held
)

// markLocked has the folder show what others hold, until ctx ends.
func (n *Node) markLocked(ctx context.Context) error {
	tick := time.NewTicker(markInterval)
	defer tick.Stop()
	var told []locking.Scope
	var heard time.Time
	for {
		held, err := n.heldElsewhere(ctx)
		switch {
		case err == nil:
			heard = time.Now()
		case time.Since(heard) < markPatience:
			held = told
		}
		if !slices.Equal(held, told) {
			n.replica.MarkLocked(held)
			told = held
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// heldElsewhere returns what other nodes hold of the folder by a lock of somebody's, in order.
func (n *Node) heldElsewhere(ctx context.Context) ([]locking.Scope, error) {
	claims, err := n.desk.Claims(ctx, locking.Scope{Kind: locking.Tree})
	if err != nil {
		return nil, err
	}
	var out []locking.Scope
	for _, c := range claims {
		if c.Held && !c.Delegation && c.Session.Node != locking.NodeID(n.replica.Node()) {
			out = append(out, c.Scopes...)
		}
	}
	slices.SortFunc(out, locking.Scope.Compare)
	return slices.Compact(out), nil
}
