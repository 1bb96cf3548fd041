package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"resonate/control"
)

// letGoTimeout is what a lock that has done its service gets to be let go: what was changed under it is published before.
const letGoTimeout = 30 * time.Second

// guard runs a command under a lock: it renews the lock while the command runs, and ends the command when the lock is lost.
type guard struct {
	console
	locker  control.Locker
	program program
	signals *signals
}

// holding is a lock that we hold.
type holding struct {
	control.Lock
	ttl   time.Duration
	asked time.Time // it is ours until ttl after this, whatever became of the answer
}

// newGuard finds the program, before anything is locked for it, and takes the signals that are meant for it from now on.
func newGuard(c console, locker control.Locker, argv []string) (*guard, error) {
	p, err := findProgram(argv)
	if err != nil {
		return nil, err
	}
	return &guard{console: c, locker: locker, program: p, signals: takeSignals(c.In)}, nil
}

// close gives the signals back.
func (g *guard) close() { g.signals.restore() }

// acquire locks. Where that has taken long the lock is renewed at once: its time is counted from before it was asked for.
func (g *guard) acquire(ctx context.Context, q control.LockRequest) (holding, error) {
	h := holding{ttl: q.TTL, asked: time.Now()}
	var err error
	if h.Lock, err = g.locker.Lock(ctx, q); err != nil {
		return h, err
	}
	if now := time.Now(); elapsed(h.asked, now) > h.ttl/4 {
		h.asked = now
		if _, err := g.locker.Renew(ctx, h.ID, h.ttl); err != nil {
			return h, errors.Join(err, g.letGo(h))
		}
	}
	return h, nil
}

// letGo unlocks, whatever has become of the context. It fails if the lock was lost before; what else goes wrong is told, and mends itself.
func (g *guard) letGo(h holding) error {
	return g.finish(h, func(ctx context.Context) error { return g.locker.Unlock(ctx, h.ID) })
}

// keepFor leaves the lock held for a time after we have ended.
func (g *guard) keepFor(h holding, left time.Duration) error {
	return g.finish(h, func(ctx context.Context) error {
		_, err := g.locker.Renew(ctx, h.ID, left)
		return err
	})
}

func (g *guard) finish(h holding, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), letGoTimeout)
	defer cancel()
	err := do(ctx)
	if err == nil || isLost(err) {
		return err
	}
	g.tell("could not let go of %s, which is free in %v at most: %v", resourceWords(h.Resource), h.ttl, err)
	return nil
}

// isLost tells whether an error says that a lock is over.
func isLost(err error) bool {
	return errors.Is(err, control.ErrNotHeld) || errors.Is(err, control.ErrNotFound) || errors.Is(err, errUnheard)
}

// ending is how a command under a lock has ended.
type ending struct {
	code int
	lost error // the lock was lost before that
}

// why is the error for a lock that was lost.
func (e ending) why(on control.Resource) error {
	return fmt.Errorf("lock %s: lost while the command ran, which was ended: %w", resourceWords(on), e.lost)
}

// error is how we end.
func (e ending) error(on control.Resource) error {
	switch {
	case e.lost != nil:
		return endError{exitOurs, e.why(on)}
	case e.code != exitDone:
		return endError{e.code, nil}
	}
	return nil
}

// run runs the command under the lock and returns how it ended; the lock is left as it is then. The error is that it could not be run.
// Signals to us go to the command: it decides whether to end.
func (g *guard) run(ctx context.Context, h holding) (ending, error) {
	if ctx.Err() != nil { // before it had begun
		return ending{}, fmt.Errorf("run %s: %w", shown(g.program.name), ctx.Err())
	}
	p, err := g.program.start(g.console, "RESONATE_LOCK_TOKEN="+h.Token.String(), "RESONATE_LOCK_ID="+h.ID)
	if err != nil {
		return ending{}, err
	}
	keeping, stop := context.WithCancel(context.Background())
	lost := make(chan error, 1)
	go func() { lost <- keepLock(keeping, g.locker, h) }()
	var end ending
	var kill <-chan time.Time
	for running, over := true, lost; running; {
		select {
		case end.code = <-p.ended:
			running = false
		case s := <-g.signals.ch:
			p.signal(s)
		case end.lost = <-over:
			over = nil
			p.terminate()
			grace := time.NewTimer(h.grace())
			defer grace.Stop()
			kill = grace.C
		case <-kill:
			p.kill()
		}
	}
	stop()
	if end.lost == nil {
		end.lost = <-lost // nil, unless it came in this moment
	}
	return end, nil
}

// grace is what a command gets to end by itself when its lock is lost: no longer than until somebody else can have it.
func (h holding) grace() time.Duration { return h.ttl / 3 }

// commandWords is a command line for people, not too long.
func commandWords(argv []string) string {
	words := make([]string, len(argv))
	for i, a := range argv {
		words[i] = shellWord(a)
	}
	return strings.ToValidUTF8(cut(strings.Join(words, " "), 120), "?")
}
