package desk

import (
	"context"

	"resonate/locking"
)

// Free is Unlock, and waits until the table has no claim of that request any more. It returns how it was over already: Freed, Over, or NoReason,
// if it was not. The error is ErrNoLeader where that is not known in time: it is ended when a leader is heard.
func (d *Desk) Free(ctx context.Context, id locking.RequestID, scopes []locking.Scope) (locking.Reason, error) {
	ctx, cancel := context.WithTimeout(ctx, maxProposing)
	defer cancel()
	over := make(chan locking.Reason, 1)
	d.mu.Lock()
	d.ends[id] = append(d.ends[id], over)
	d.mu.Unlock()
	if err := d.Unlock(id, scopes); err != nil {
		return locking.NoReason, err
	}
	select {
	case fate := <-over:
		return fate, nil
	case <-d.ctx.Done():
		return locking.NoReason, ErrEnded
	case <-ctx.Done():
		return locking.NoReason, ErrNoLeader
	}
}

// freed tells who waits for it that a claim is not in the table any more.
func (d *Desk) freed(e locking.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, over := range d.ends[e.Request] {
		over <- e.Result.Reason
	}
	delete(d.ends, e.Request)
}
