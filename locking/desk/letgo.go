package desk

import (
	"context"
	"time"

	"resonate/locking"
)

const (
	maxLettingGo = time.Second            // who ends a node waits for it
	maxInUse     = 500 * time.Millisecond // of that, until what is in use is not any more
)

// LetGo ends this node's session before the node ends, so that what it holds is free at once and not when the session is over, with what
// is left behind there; and has another voter lead, if this node does. Nothing is granted to this node after it. It returns when that is
// done, as far as somebody hears it, within about a second. Run, which goes on meanwhile, can be ended then.
func (d *Desk) LetGo() {
	ctx, cancel := context.WithTimeout(d.ctx, maxLettingGo)
	defer cancel()
	d.refuse()
	d.mu.Lock()
	heard := d.keeper != nil || d.leader() != nil
	d.mu.Unlock()
	if !heard {
		return
	}
	using, done := context.WithTimeout(ctx, maxInUse)
	d.settle(using, func() bool { return !d.holder.InUse() })
	done()
	if d.c.Leave != nil {
		d.leaveAll()
		d.settle(ctx, d.holder.Settled)
	}
	d.close()
	d.settle(ctx, d.holder.Settled)
	if err := d.quorum.HandOver(ctx); err != nil {
		d.log.Info("the others have to find out that this node does not lead any more", "cause", err)
	}
}

// refuse begins nothing more, and ends who waits or holds.
func (d *Desk) refuse() {
	now := d.now()
	d.mu.Lock()
	d.closed = true
	ended := d.waiters
	d.waiters = make(map[locking.RequestID]*waiter)
	for id := range ended {
		if _, held := d.holder.Valid(now, id); !held {
			_ = d.holder.Unlock(now, id, nil, 0) // an ID alone is always right
		}
	}
	d.mu.Unlock()
	d.wake()
	for _, w := range ended {
		w.end(outcome{err: ErrEnded})
		if w.over != nil {
			w.over.Cause = locking.Closed
			close(w.over.Done)
		}
	}
}

// leaveAll gives up all that is held within the session, with what is left behind.
func (d *Desk) leaveAll() {
	d.mu.Lock()
	held, seen := d.holder.Held(), d.holder.Heard()
	d.mu.Unlock()
	for _, h := range held {
		var left []locking.Left
		if h.Mode == locking.Exclusive {
			left = d.c.Leave(h.Scopes)
		}
		if err := d.release(h.Request, left, seen, locking.Closed); err != nil {
			d.log.Warn("what is left behind under a lock cannot be told", "cause", err)
		}
	}
}

// close ends the session, and notes what ends with it.
func (d *Desk) close() {
	now := d.now()
	d.mu.Lock()
	held := d.holder.Held()
	d.holder.Close(now)
	d.mu.Unlock()
	for _, h := range held {
		d.note(Note{Holding: h, What: NoteEnded, Cause: locking.Closed})
	}
}

// A settling is a condition that somebody waits for.
type settling struct {
	is   func() bool // called with the desk's mutex held
	done chan struct{}
}

// look returns s while its condition does not hold.
func (s *settling) look() *settling {
	if s == nil || !s.is() {
		return s
	}
	close(s.done)
	return nil
}

// settle waits until a condition holds, or ctx ends. One at a time does.
func (d *Desk) settle(ctx context.Context, is func() bool) {
	s := &settling{is, make(chan struct{})}
	d.mu.Lock()
	d.settled = s
	d.mu.Unlock()
	d.wake()
	select {
	case <-s.done:
	case <-ctx.Done():
	}
}
