package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"resonate/control"
	"resonate/locking"
	"resonate/locking/desk"
)

// elsewherePause is how long is waited at most until it is looked again what became of a request that was made through another node.
const elsewherePause = 100 * time.Millisecond

// elsewhere is the answer to a request that was made through another node before: it waits for what becomes of it there. over is true when
// that is over, and so whoever asks again learns how.
func (l *Locker) elsewhere(ctx context.Context, id locking.RequestID, q control.LockRequest, asked time.Time) (lock control.Lock, over bool, err error) {
	for pause := time.Millisecond; ; pause = min(2*pause, elsewherePause) {
		c, _, err := l.desk.Claim(ctx, id)
		switch {
		case errors.Is(err, desk.ErrEnded), err != nil && time.Since(asked) > q.Wait:
			return lock, false, l.explain(ctx, q, err)
		case err != nil: // a leader may be there soon
		case c == nil:
			return lock, true, nil
		case len(c.Scopes) != 1 || c.Scopes[0] != scopeOf(q.Resource):
			return lock, false, fmt.Errorf("request ID %q was not for %s: %w", q.RequestID, q.Resource, control.ErrBadArgument)
		case c.Held:
			return l.lockOf(*c), false, nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return lock, false, context.Cause(ctx)
		}
	}
}

// stillHeld returns a lock of this node that was held when it was last heard of: it may have been let go through another node, or be over while
// this one was cut off.
func (l *Locker) stillHeld(ctx context.Context, id locking.RequestID) (control.Lock, error) {
	switch c, fate, err := l.desk.Claim(ctx, id); {
	case err != nil:
		return control.Lock{}, control.ErrNoMajority
	case c == nil:
		return control.Lock{}, fmt.Errorf("%v: %w", fate, control.ErrNotHeld)
	default:
		return l.lockOf(*c), nil
	}
}

// foreign returns a lock that was asked for through another node, and is bound to none. ErrNotHeld: it is over. notFound is the error where
// nothing is known of it.
func (l *Locker) foreign(ctx context.Context, key locking.RequestID, notFound error) (c *locking.Claim, freed bool, err error) {
	c, fate, err := l.desk.Claim(ctx, key)
	switch {
	case err != nil:
		return nil, false, control.ErrNoMajority
	case fate == locking.Freed || fate == locking.Over:
		return nil, fate == locking.Freed, fmt.Errorf("%v: %w", fate, control.ErrNotHeld)
	case c == nil || c.Session.Epoch != 0:
		return nil, false, notFound
	}
	return c, false, nil
}

func (l *Locker) unlockForeign(ctx context.Context, key locking.RequestID, notFound error) error {
	switch _, freed, err := l.foreign(ctx, key, notFound); {
	case freed:
		return nil
	case err != nil:
		return err
	}
	return l.free(ctx, key, nil)
}

func (l *Locker) renewForeign(ctx context.Context, key locking.RequestID, ttl time.Duration, notFound error) (control.Lock, error) {
	c, _, err := l.foreign(ctx, key, notFound)
	switch {
	case err != nil:
		return control.Lock{}, err
	case !c.Held:
		return control.Lock{}, notFound
	}
	begun := time.Now()
	switch err := l.desk.Renew(ctx, key, ttl); {
	case errors.Is(err, desk.ErrLost):
		return control.Lock{}, fmt.Errorf("%s: %w", locking.Expired, control.ErrNotHeld)
	case err != nil:
		return control.Lock{}, control.ErrNoMajority
	}
	expires := begun.Add(ttl)
	lock := l.lockOf(*c)
	lock.Expires = &expires
	return lock, nil
}
