package selftest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"resonate/control"
)

const (
	// lockTTL is how long a lock of the tester is held unless it is let go: what is left over after a kill is gone then.
	lockTTL = 30 * time.Second
	// lockPatience is how long a lock is waited for. Nobody keeps one for more than some milliseconds.
	lockPatience = 30 * time.Second
	// unlockPatience bounds how long it takes to let a lock go.
	unlockPatience = 10 * time.Second
	// afterFailure lies between a call that failed and the next one.
	afterFailure = 100 * time.Millisecond
	gonePoll     = 50 * time.Millisecond

	// cachedBatch is how often the lock of a file is taken at a time, and mostCached in all.
	cachedBatch = 1000
	mostCached  = 100_000

	// rateClients is how many take locks at once where their number is counted, each on a name of its own.
	rateClients = 64
)

// Rate is how many locks were taken and let go, by so many at once, each on a name of its own.
type Rate struct {
	Clients   int     `json:"clients"`
	Locks     int     `json:"locks"`
	PerSecond float64 `json:"per_second"`
}

// lockName is a name to be locked, which is of this run alone.
func (t *Tester) lockName(name string) control.Resource {
	return control.Resource{Name: strings.TrimPrefix(t.name, ".") + "/" + name}
}

// request asks for a name. A lock is bound to no session: nothing but its TTL may end it.
func (t *Tester) request(on control.Resource) control.LockRequest {
	return control.LockRequest{Resource: on, TTL: lockTTL, Wait: lockPatience, Owner: t.c.Owner, Why: "resonate selftest"}
}

// A taken lock is one that is held since some moment after asked.
type taken struct {
	control.Lock
	asked, got time.Time
}

// errSkipped: this call has failed, which is noted; others may succeed.
var errSkipped = errors.New("a call failed")

// lock takes a lock. The error is errSkipped, or ends the run.
func (t *Tester) lock(ctx context.Context, q control.LockRequest) (taken, error) {
	l := taken{asked: time.Now()}
	var err error
	l.Lock, err = t.c.Locker.Lock(ctx, q)
	l.got = time.Now()
	switch {
	case err == nil:
		return l, nil
	case ctx.Err() != nil:
		return l, context.Cause(ctx)
	case errors.Is(err, control.ErrNoDaemon):
		return l, err
	case errors.Is(err, control.ErrHeldElsewhere):
		t.found(Starved, "%s was not had in %v: %v", q.Resource, l.got.Sub(l.asked).Round(time.Millisecond), err)
	default:
		t.found(Hindered, "lock %s: %v", q.Resource, err)
	}
	if err := pause(ctx, afterFailure); err != nil {
		return l, err
	}
	return l, errSkipped
}

// unlock lets a lock go, whatever has become of ctx. That it was lost before is noted, and so is any other failure.
func (t *Tester) unlock(ctx context.Context, l taken) {
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), unlockPatience)
	defer cancel()
	err := t.c.Locker.Unlock(within, l.ID)
	lost := errors.Is(err, control.ErrNotHeld) || errors.Is(err, control.ErrNotFound)
	switch now := time.Now(); {
	case err == nil:
	case lost && elapsed(l.asked, now) < lockTTL:
		t.found(LockLost, "%s was lost %v after it was had: %v", l.Resource, now.Sub(l.got).Round(time.Millisecond), err)
	default:
		t.found(Hindered, "unlock %s: %v", l.Resource, err)
	}
}

// elapsed is the time from a to b by the clock that went further: the monotonic one of Go stops while the machine is suspended, and that
// of the day may be set back.
func elapsed(a, b time.Time) time.Duration { return max(b.Sub(a), b.Round(0).Sub(a.Round(0))) }

// uncached measures how long a lock takes on a name that nobody has, or ever had.
func (t *Tester) uncached(ctx context.Context, end time.Time) (Latency, error) {
	var took []time.Duration
	for i := 0; i == 0 || time.Now().Before(end); i++ {
		l, err := t.lock(ctx, t.request(t.lockName(fmt.Sprintf("uncached/%d", i))))
		switch {
		case errors.Is(err, errSkipped):
			continue
		case err != nil:
			return Latency{}, err
		}
		took = append(took, l.got.Sub(l.asked))
		t.unlock(ctx, l)
	}
	return latencyOf(took), nil
}

// cachedTries is how often a file is edited anew for its lock to be kept: somebody may have asked for it in between.
const cachedTries = 5

// cached measures how long a lock takes that this node keeps after use, in the daemon itself: nobody is asked, nothing is sent. It is that of a
// file that was just edited. There is none where changes are let out without locks.
func (t *Tester) cached(ctx context.Context, end time.Time) (Latency, error) {
	name := fileName(0)
	var took []time.Duration
	for range cachedTries {
		if _, err := t.edit(name, true); err != nil {
			return Latency{}, fmt.Errorf("edit a file to test with: %w", err)
		}
		if arrived, err := t.arrives(ctx, name); err != nil || !arrived {
			return Latency{}, err
		}
		for len(took) == 0 || time.Now().Before(end) && len(took) < mostCached {
			more, err := t.c.Locker.Cached(ctx, t.path(name), cachedBatch)
			if err != nil && ctx.Err() == nil && !errors.Is(err, control.ErrNoDaemon) {
				t.found(Hindered, "ask what is kept of locks: %v", err)
				return latencyOf(took), nil
			}
			if err != nil {
				return Latency{}, err
			}
			if took = append(took, more...); len(more) == 0 {
				break
			}
		}
		if len(took) > 0 {
			break
		}
	}
	return latencyOf(took), nil
}

// rate counts how many locks can be taken and let go.
func (t *Tester) rate(ctx context.Context, end time.Time) (Rate, error) {
	var locks atomic.Int64
	begun := time.Now()
	err := t.together(ctx, rateClients, func(ctx context.Context, client int) error {
		q := t.request(t.lockName(fmt.Sprintf("rate/%d", client)))
		for time.Now().Before(end) {
			l, err := t.lock(ctx, q)
			switch {
			case errors.Is(err, errSkipped):
				continue
			case err != nil:
				return err
			}
			t.unlock(ctx, l)
			locks.Add(1)
		}
		return nil
	})
	n := int(locks.Load())
	return Rate{Clients: rateClients, Locks: n, PerSecond: float64(n) / time.Since(begun).Seconds()}, err
}

// together has n workers work at once, from 1, and waits for all. The first error of one ends the others, and is returned.
func (t *Tester) together(ctx context.Context, n int, work func(ctx context.Context, worker int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var workers sync.WaitGroup
	for worker := range n {
		workers.Go(func() {
			if err := work(ctx, worker+1); err != nil {
				cancel(err)
			}
		})
	}
	workers.Wait()
	return context.Cause(ctx)
}

// letGo lets go of what is left of this run's locks, and waits until nobody holds or wants one. That is so where the run was interrupted: a
// request that was given up is withdrawn by the daemon, in a moment; but one may have been granted whose answer nobody was there to take.
func (t *Tester) letGo(ctx context.Context) error {
	prefix := t.lockName("").Name
	for {
		list, err := t.c.Locker.Locks(ctx, control.Resource{})
		if err != nil {
			return err
		}
		left := ""
		for _, l := range list {
			if !strings.HasPrefix(l.Resource.Name, prefix) {
				continue
			}
			left = l.Resource.Name
			if l.State == "held" {
				_ = t.c.Locker.Unlock(ctx, l.ID) // whether it is gone is looked at
			}
		}
		if left == "" {
			return nil
		}
		if err := pause(ctx, gonePoll); err != nil {
			return fmt.Errorf("%s is still there", left)
		}
	}
}
