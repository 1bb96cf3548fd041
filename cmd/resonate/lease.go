package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"resonate/control"
)

// errUnheard: the lock could not be renewed in time, so that somebody else may have it soon.
var errUnheard = errors.New("it could not be renewed in time")

// elapsed is the time from a to b by the clock that went further: the monotonic one of Go stops while the machine is suspended, and that
// of the day may be set back.
func elapsed(a, b time.Time) time.Duration { return max(b.Sub(a), b.Round(0).Sub(a.Round(0))) }

// keepLock renews a lock until ctx ends (nil), or returns why it is lost: it is over, or could not be renewed for two thirds of its TTL. What
// is left is for the command to end in.
func keepLock(ctx context.Context, locker control.Locker, h holding) error {
	watching, stop := context.WithCancel(ctx)
	over := make(chan error, 1)
	go func() {
		defer close(over)
		over <- watchLock(watching, locker, h.ID)
	}()
	err := renewLock(ctx, locker, h, over)
	stop()
	for range over { // until it has ended
	}
	return err
}

// renewLock is keepLock with what was seen of the lock's end coming through over.
func renewLock(ctx context.Context, locker control.Locker, h holding, over <-chan error) error {
	tick := time.NewTicker(min(max(h.ttl/30, 20*time.Millisecond), time.Second))
	defer tick.Stop()
	var last error   // of a renewal
	tried := h.asked // when the last one was
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-over:
			return err
		case <-tick.C:
		}
		now := time.Now()
		age := elapsed(h.asked, now)
		switch {
		case age >= h.ttl*2/3:
			return errors.Join(errUnheard, last)
		case age < h.ttl/3 || last != nil && elapsed(tried, now) < h.ttl/15:
			continue
		}
		tried = now
		within, cancel := context.WithTimeout(ctx, h.ttl*2/3-age)
		_, err := locker.Renew(within, h.ID, h.ttl)
		cancel()
		switch {
		case err == nil:
			h.asked, last = now, nil
		case isLost(err):
			return err
		case ctx.Err() == nil:
			last = fmt.Errorf("renew: %w", err)
		}
	}
}

// watchLock returns how a lock ended, as soon as it does, or nil when ctx ends.
func watchLock(ctx context.Context, locker control.Locker, id string) error {
	for {
		err := locker.Watch(ctx, id)
		switch {
		case ctx.Err() != nil:
			return nil
		case isLost(err):
			return err
		}
		if pauseFor(ctx, time.Second) != nil { // no daemon, perhaps: renewals say when that matters
			return nil
		}
	}
}
