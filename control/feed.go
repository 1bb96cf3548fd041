package control

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of a Feed.
const (
	maxListeners = 32
	maxUnheard   = 1024 // events that wait for one listener
)

// A Feed hands events on to whoever listens. Who tells one never waits: a listener that is too slow loses events, and is told how
// many. Its zero value is ready; its methods are safe for concurrent use.
type Feed struct {
	count atomic.Int32 // of listeners

	mu        sync.Mutex
	listeners map[*listener]struct{}
}

// A listener is one call of Listen. The feed's mutex guards it.
type listener struct {
	events []Event
	lost   int
	wake   chan struct{} // holds a token when there is something
}

// Heard tells whether anybody listens: else an event need not be made.
func (f *Feed) Heard() bool { return f.count.Load() > 0 }

// Tell hands an event to all who listen.
func (f *Feed) Tell(e Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for l := range f.listeners {
		if len(l.events) >= maxUnheard {
			l.lost++
			continue
		}
		l.events = append(l.events, e)
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

// Listen calls report with each event from now on, in order, until ctx ends or report fails, and returns why. The first event is
// EventListening, at once. It is ErrBusy where too many listen already.
func (f *Feed) Listen(ctx context.Context, report func(Event) error) error {
	l, err := f.join()
	if err != nil {
		return err
	}
	defer f.leave(l)
	if err := report(Event{Kind: EventListening, Time: time.Now()}); err != nil {
		return err
	}
	for {
		select {
		case <-l.wake:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		events, lost := f.take(l)
		for _, e := range events {
			if err := report(e); err != nil {
				return err
			}
		}
		if lost > 0 {
			if err := report(Event{Kind: EventLost, Time: time.Now(), Count: uint64(lost)}); err != nil {
				return err
			}
		}
	}
}

func (f *Feed) join() (*listener, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.listeners) >= maxListeners {
		return nil, fmt.Errorf("%d listen to events already: %w", maxListeners, ErrBusy)
	}
	if f.listeners == nil {
		f.listeners = make(map[*listener]struct{})
	}
	l := &listener{wake: make(chan struct{}, 1)}
	f.listeners[l] = struct{}{}
	f.count.Store(int32(len(f.listeners)))
	return l, nil
}

func (f *Feed) leave(l *listener) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.listeners, l)
	f.count.Store(int32(len(f.listeners)))
}

// take returns what waits for a listener, and how many events were lost after that.
func (f *Feed) take(l *listener) (events []Event, lost int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	events, lost = l.events, l.lost
	l.events, l.lost = nil, 0
	return events, lost
}
