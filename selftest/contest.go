package selftest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"resonate/control"
)

// 14 workers want 10 names: 1.4 times more than there are, so that some always wait.
const (
	contestWorkers = 14
	contestNames   = 10
	// contestHold is how long a worker holds a lock: long enough for another to be seen who should not have it.
	contestHold = time.Millisecond
)

// Contest is how many locks so many workers have taken of so many names.
type Contest struct {
	Workers int `json:"workers"`
	Names   int `json:"names"`
	Locks   int `json:"locks"`
}

// A prize is a name that workers contend for. Whoever holds it writes himself in.
type prize struct {
	on control.Resource

	mu     sync.Mutex
	holder int           // the worker who is in; 0: nobody
	asked  time.Time     // when he did
	last   control.Token // the highest of all who were
	left   time.Time     // when the last one began to let it go
	locks  int
	waits  []time.Duration // from there until the next one had it, who had asked before
}

// enter writes a worker in who was granted the lock, and returns what is broken, and who is in already. One who is in for longer than his lock
// lasts has been stopped meanwhile: then nothing is broken.
func (p *prize) enter(worker int, l taken) (broken Flags, other int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.holder != 0 && elapsed(p.asked, l.got) < lockTTL {
		broken |= TwoHolders
	}
	if l.Token.Compare(p.last) <= 0 {
		broken |= TokenFell
	} else {
		p.last = l.Token
	}
	if broken == 0 && !p.left.IsZero() && l.asked.Before(p.left) {
		p.waits = append(p.waits, l.got.Sub(p.left))
	}
	other, p.holder, p.asked = p.holder, worker, l.asked
	p.locks++
	return broken, other
}

// leave writes the worker out, who is about to let the lock go at that moment, unless another has come in.
func (p *prize) leave(worker int, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.holder == worker {
		p.holder, p.left = 0, now
	}
}

// contest has workers take locks at random, sees that there never are two holders, and that tokens rise; and measures how long it takes from
// when one begins to let go until the next has the lock.
func (t *Tester) contest(ctx context.Context, end time.Time) (Contest, Latency, error) {
	prizes := make([]*prize, contestNames)
	for i := range prizes {
		prizes[i] = &prize{on: t.lockName(fmt.Sprintf("contest/%d", i))}
	}
	err := t.together(ctx, contestWorkers, func(ctx context.Context, worker int) error {
		for time.Now().Before(end) {
			if err := t.compete(ctx, worker, prizes[rand.IntN(len(prizes))]); err != nil && !errors.Is(err, errSkipped) {
				return err
			}
		}
		return nil
	})
	c := Contest{Workers: contestWorkers, Names: contestNames}
	var waits []time.Duration
	for _, p := range prizes {
		c.Locks += p.locks
		waits = append(waits, p.waits...)
	}
	return c, latencyOf(waits), err
}

// compete takes a lock, holds it for a moment, and lets it go.
func (t *Tester) compete(ctx context.Context, worker int, p *prize) error {
	l, err := t.lock(ctx, t.request(p.on))
	if err != nil {
		return err
	}
	broken, other := p.enter(worker, l)
	switch {
	case broken&TwoHolders != 0:
		t.found(broken, "%s was granted to worker %d, token %v, while worker %d held it", p.on, worker, l.Token, other)
	case broken != 0:
		t.found(broken, "%s was granted with token %v, which is not above one before", p.on, l.Token)
	}
	err = pause(ctx, contestHold)
	p.leave(worker, time.Now())
	t.unlock(ctx, l)
	return err
}
