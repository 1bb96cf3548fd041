package desk

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"resonate/locking"
)

// Use begins a use of a path or a tree under a delegation that this node holds already, without a message. It returns false where there is none:
// then Ask. Otherwise EndUse has to be called.
func (d *Desk) Use(s locking.Scope) (locking.Token, bool) {
	now := d.useTime()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return locking.Token{}, false
	}
	return d.holder.Use(now, s)
}

// EndUse ends a use that Use began, or that Ask was granted with.
func (d *Desk) EndUse(s locking.Scope) {
	d.mu.Lock()
	d.holder.EndUse(s)
	due := d.holder.Due()
	d.mu.Unlock()
	if due { // mostly nothing follows from it
		d.wake()
	}
}

// Check tells whether what a use of s began under a token is still covered by it.
func (d *Desk) Check(s locking.Scope, token locking.Token) bool {
	now := d.useTime()
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.holder.Check(now, s, token)
}

// Sure tells whether this node's session may be counted on: else no lock is to be had now. In a table that is about to be given up for
// that of a node that it has met, a lock would keep off nobody there.
func (d *Desk) Sure() bool {
	now := d.now()
	d.mu.Lock()
	sure, others := d.holder.Sure(now), d.apart()
	d.mu.Unlock()
	return sure && !slices.ContainsFunc(others, d.yieldsTo)
}

// Asked is what becomes of a request for a delegation.
type Asked struct {
	Grant   *locking.Grant // all scopes are in use until EndUse was called for each
	Err     error          // there is none
	Blocker *locking.Claim // neither yet: it waits for this one, nil if that is not known
}

// Over tells whether nothing more will be told.
func (a Asked) Over() bool { return a.Grant != nil || a.Err != nil }

// Ask asks for a delegation over scopes, which are sorted, and as wide as it can be. told is called with what becomes of it until that is
// Over, without any lock, and must not block.
func (d *Desk) Ask(scopes []locking.Scope, wait time.Duration, told func(Asked)) (locking.RequestID, error) {
	now := d.now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return locking.RequestID{}, ErrEnded
	}
	id, err := d.holder.Ask(now, scopes, wait)
	if err != nil {
		return id, err
	}
	d.waiters[id] = &waiter{told: told}
	d.wake()
	return id, nil
}

// Cancel takes back what Ask asked for, and nothing more is told of it. It returns false where what has become of it was told, or is being
// told now: that counts.
func (d *Desk) Cancel(id locking.RequestID) bool {
	now := d.now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiters[id] == nil {
		return false
	}
	delete(d.waiters, id)
	d.holder.Cancel(now, id)
	d.wake()
	return true
}

// A waiter waits for what becomes of a claim.
type waiter struct {
	told func(Asked)     // of Ask
	got  chan outcome    // of Lock: cap 1
	over *Ended          // of Lock
	more []chan struct{} // of Renew: to be closed when the TTL has begun anew
}

// Ended tells when and why a lock is not held any more, other than by Unlock.
type Ended struct {
	Done  chan struct{} // closed then
	Cause locking.Cause // valid when Done is closed
	By    string        // of a lock that was forced: who did it, and why
}

// An outcome is what became of a claim.
type outcome struct {
	grant *locking.Grant
	err   error
}

// end tells an outcome, once.
func (w *waiter) end(o outcome) {
	if w.told != nil {
		w.told(Asked{Grant: o.grant, Err: o.err})
		return
	}
	select {
	case w.got <- o:
	default:
	}
}

// A RefusedError tells why a lock was not had.
type RefusedError struct {
	Reason  locking.Reason
	Cause   locking.Cause  // TimedOut: it has waited long enough
	Blocker *locking.Claim // who stands in the way; nil: it is not known, or nobody
}

func (e *RefusedError) Error() string {
	if e.Blocker != nil {
		return fmt.Sprintf("lock refused: %v (%s has it)", e.Reason, e.Blocker.Host)
	}
	return fmt.Sprintf("lock refused: %v", e.Reason)
}

// ErrNoLeader: nobody who grants locks can be reached, so none are to be had.
var ErrNoLeader = errors.New("no majority of the lock table's voters can be reached: no lock is granted")

// A Lock is an explicit lock that this node holds.
type Lock struct {
	ID    locking.RequestID
	Grant *locking.Grant
	Ended *Ended
}

// patience is how long a leader is waited for before a lock that must not wait is given up.
const patience = 5 * time.Second

// Lock asks for c, of which Session is filled in, and Request where it is zero, and waits for it: as long as c says, and until ctx ends. Then it
// is taken back, unless the Request was given: whoever knows that may have asked for it through another node. Asked for
// again with the same Request while it is held, it is the same lock. The error is a *RefusedError, ErrNoLeader, that of ctx, or tells what is
// wrong with c.
func (d *Desk) Lock(ctx context.Context, c *locking.Acquire) (*Lock, error) {
	limit := time.NewTimer(c.Wait + patience)
	defer limit.Stop()
	named := c.Request != locking.RequestID{}
	for {
		id, w, err := d.begin(c)
		if err != nil {
			return nil, err
		}
		select {
		case o := <-w.got:
			var refused *RefusedError
			switch {
			case errors.As(o.err, &refused) && refused.Reason == locking.NoSession && d.pause(ctx):
				continue // the table has changed hands, and this node learns of it: there is a new session soon
			case o.err != nil:
				return nil, o.err
			}
			return &Lock{ID: id, Grant: o.grant, Ended: w.over}, nil
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-limit.C:
			err = ErrNoLeader
		}
		d.giveUp(id, named)
		return nil, err
	}
}

// pause waits a little, and tells whether it is worth going on.
func (d *Desk) pause(ctx context.Context) bool {
	select {
	case <-time.After(50 * time.Millisecond):
		return true
	case <-ctx.Done():
	case <-d.ctx.Done():
	}
	return false
}

// begin asks for a lock, or finds that it is held already.
func (d *Desk) begin(c *locking.Acquire) (locking.RequestID, *waiter, error) {
	now := d.now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return c.Request, nil, ErrEnded
	}
	id, err := d.holder.Lock(now, c)
	if err != nil {
		return id, nil, err
	}
	before := d.waiters[id]
	w := &waiter{got: make(chan outcome, 1), over: &Ended{Done: make(chan struct{})}}
	if token, held := d.holder.Valid(now, id); held {
		w.got <- outcome{grant: &locking.Grant{Token: token}}
		if before != nil {
			w.over = before.over
		}
	} else if before != nil && before.told == nil {
		before.end(outcome{err: errors.New("asked for again by somebody else with the same request ID")})
	}
	d.waiters[id] = w
	d.wake()
	return id, w, nil
}

// giveUp takes back a request that nobody waits for here any more; of one that others may know, just what this node has still to say.
func (d *Desk) giveUp(id locking.RequestID, named bool) {
	now := d.now()
	d.mu.Lock()
	delete(d.waiters, id)
	if named {
		d.holder.Withdraw(id)
	} else {
		_ = d.holder.Unlock(now, id, nil, 0) // an ID alone is always right
	}
	d.mu.Unlock()
	d.wake()
}

// Unlock ends a lock of this node, or one that is bound to no session, wherever it was made.
func (d *Desk) Unlock(id locking.RequestID, scopes []locking.Scope) error {
	d.mu.Lock()
	seen := d.holder.Heard()
	d.mu.Unlock()
	var left []locking.Left
	if d.c.Leave != nil {
		left = d.c.Leave(scopes)
	}
	d.mu.Lock()
	delete(d.waiters, id)
	d.mu.Unlock()
	return d.release(id, left, seen, locking.Released)
}

// release gives up a claim, for a cause that this node's records tell. seen is what Heard returned before left was looked up.
func (d *Desk) release(id locking.RequestID, left []locking.Left, seen uint64, cause locking.Cause) error {
	now := d.now()
	d.mu.Lock()
	h, held := d.holder.Holding(id)
	err := d.holder.Unlock(now, id, left, seen)
	d.mu.Unlock()
	if err != nil {
		return err
	}
	if held {
		d.note(Note{Holding: h, What: NoteEnded, Cause: cause})
	}
	d.wake()
	return nil
}

// Renew has the TTL of a lock of this node, or of one that is bound to no session, begin anew, or another one. The error is ErrLost where it
// is not held any more.
func (d *Desk) Renew(ctx context.Context, id locking.RequestID, ttl time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, maxProposing)
	defer cancel()
	for {
		now := d.now()
		more := make(chan struct{})
		d.mu.Lock()
		w := d.waiters[id]
		if w == nil || w.over == nil { // another node's, unless the leader says that it is nobody's
			w = &waiter{over: &Ended{Done: make(chan struct{})}}
			d.waiters[id] = w
			defer d.stopWaiting(id, w)
		}
		w.more = append(w.more, more)
		d.holder.Renew(now, id, ttl)
		d.mu.Unlock()
		d.wake()
		select {
		case <-more:
			return nil
		case <-w.over.Done:
			return ErrLost
		case <-ctx.Done():
			return ErrNoLeader
		case <-time.After(time.Second): // it may have got lost
		}
	}
}

// stopWaiting forgets a waiter, unless another has taken its place.
func (d *Desk) stopWaiting(id locking.RequestID, w *waiter) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiters[id] == w {
		delete(d.waiters, id)
	}
}

// ErrLost: the lock is not held any more.
var ErrLost = errors.New("the lock is not held any more")

// Force ends what somebody else holds under a token: its holder is fenced.
func (d *Desk) Force(c locking.Claim, by string) error {
	now := d.now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.holder.Force(now, c.Request, c.Token, by); err != nil {
		return err
	}
	d.wake()
	return nil
}

// happened takes in an event of the holder.
func (d *Desk) happened(e locking.Event) {
	switch e.What {
	case locking.Got:
		d.granted(e)
	case locking.Refusal:
		err := &RefusedError{Cause: e.Cause}
		if e.Result != nil {
			err.Reason, err.Blocker = e.Result.Reason, e.Result.Blocker
		}
		d.answered(e.Request, outcome{err: err}, false)
	case locking.Waiting:
		d.waits(e)
	case locking.Lost:
		d.lost(e)
	case locking.Ended:
		d.freed(e)
	case locking.Extended:
		d.extended(e.Request)
	case locking.Give:
		d.note(Note{Holding: e.Holding, What: NoteRecalled, Given: e.Scopes})
		d.wg.Go(func() { d.give(e) })
	}
}

// granted tells who waits for a claim that it has it. One of before this node was started anew nobody waits for, and it is known.
func (d *Desk) granted(e locking.Event) {
	d.mu.Lock()
	known := d.waiters[e.Request] != nil
	d.mu.Unlock()
	if known {
		d.note(Note{Holding: e.Holding, What: NoteGranted})
	}
	d.answered(e.Request, outcome{grant: e.Result.Grant}, true)
}

// answered tells who waits for a claim what became of it.
func (d *Desk) answered(id locking.RequestID, o outcome, stays bool) {
	d.mu.Lock()
	w := d.waiters[id]
	if w != nil && (w.told != nil || !stays) {
		delete(d.waiters, id)
	}
	d.mu.Unlock()
	if w != nil {
		w.end(o)
	}
}

// waits tells who asked for a delegation that it has to wait.
func (d *Desk) waits(e locking.Event) {
	d.mu.Lock()
	w := d.waiters[e.Request]
	d.mu.Unlock()
	if w != nil && w.told != nil {
		w.told(Asked{Blocker: e.Result.Blocker})
	}
}

func (d *Desk) lost(e locking.Event) {
	d.mu.Lock()
	w := d.waiters[e.Request]
	delete(d.waiters, e.Request)
	closed := d.closed
	d.mu.Unlock()
	if !closed { // else LetGo notes it
		n := Note{Holding: e.Holding, What: NoteEnded, Cause: e.Cause, By: e.By}
		if n.Cause == locking.Closed { // the table has begun anew
			n.Cause = locking.Expired
		}
		d.note(n)
	}
	if w != nil && w.over != nil {
		d.log.Warn("a lock is not held any more", "because", e.Cause.String(), "by", e.By)
		w.over.Cause, w.over.By = e.Cause, e.By
		close(w.over.Done)
	}
}

// extended tells who renews a lock that its TTL has begun anew.
func (d *Desk) extended(id locking.RequestID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if w := d.waiters[id]; w != nil {
		for _, c := range w.more {
			close(c)
		}
		w.more = nil
	}
}

// give gives up what was asked back, with what is left behind there.
func (d *Desk) give(e locking.Event) {
	d.mu.Lock()
	seen := d.holder.Heard()
	d.mu.Unlock()
	var left []locking.Left
	if d.c.Leave != nil {
		left = d.c.Leave(e.Scopes)
	}
	now := d.now()
	d.mu.Lock()
	err := d.holder.Give(now, e.Request, left, seen)
	d.mu.Unlock()
	if err != nil {
		d.log.Warn("a delegation that was asked back cannot be given up", "cause", err)
	}
	d.wake()
}
