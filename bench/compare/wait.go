package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"time"
)

const (
	lookOften  = 300 * time.Microsecond // how often a folder is looked at for a single edit
	lookSeldom = 3 * time.Millisecond   // and for much at once, where looking costs the tool CPU time

	editTime = time.Minute // bounds the wait for a single edit
)

// A condition is something that is waited for; it need not hold for ever.
type condition func() bool

// await waits until all conditions have held, one after the other. It fails when the time is over or the tool has ended.
func (p *pair) await(ctx context.Context, limit, each time.Duration, want ...condition) error {
	deadline := time.Now().Add(limit)
	pause := time.NewTicker(each)
	defer pause.Stop()
	for i, holds := range want {
		for !holds() {
			if err := p.crew.alive(); err != nil {
				return err
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("not there after %v: %d of %d parts; %s", limit, len(want)-i, len(want), p.crew.lastWords())
			}
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-pause.C:
			}
		}
	}
	return nil
}

// calm waits until the tool has used less than 3 % of a CPU for a second, a minute at most: what an earlier step has left to
// do is not the next one's.
func (p *pair) calm(ctx context.Context) error {
	const piece = 250 * time.Millisecond
	if len(p.crew.running) == 0 {
		return nil
	}
	before, quiet := p.crew.cpu(), 0
	for end := time.Now().Add(time.Minute); quiet < 4 && time.Now().Before(end); {
		if err := pauseFor(ctx, piece); err != nil {
			return err
		}
		now := p.crew.cpu()
		if quiet++; now-before > piece*3/100 {
			quiet = 0
		}
		before = now
	}
	return nil
}

func pauseFor(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// exists holds when path is there, with so many bytes; -1: any number.
func exists(path string, size int64) condition {
	return func() bool {
		info, err := os.Lstat(path)
		return err == nil && (size < 0 || info.Size() == size)
	}
}

// absent holds when nothing is at path.
func absent(path string) condition {
	return func() bool {
		_, err := os.Lstat(path)
		return os.IsNotExist(err)
	}
}

// reads holds when path has these bytes at offset.
func reads(path string, offset int64, want []byte) condition {
	got := make([]byte, len(want))
	return func() bool {
		f, err := os.Open(path)
		if err != nil {
			return false
		}
		defer f.Close()
		_, err = f.ReadAt(got, offset)
		return err == nil && bytes.Equal(got, want)
	}
}

// A result is how long something took, and what it sent.
type result struct {
	took  time.Duration
	sent  int64
	wired bool // sent is known
}

// timed runs act, has a tool push that needs it, and waits until all that is wanted was seen. Then it compares the folders;
// while they differ it has not been all, and the time goes on.
func (s *series) timed(ctx context.Context, p *pair, limit time.Duration, act func() error, want ...condition) (result, error) {
	before, wired := s.traffic()
	begin := time.Now()
	if err := act(); err != nil {
		return result{}, err
	}
	each := lookSeldom
	if len(want) == 1 {
		each = lookOften
	}
	if err := p.await(ctx, limit, each, want...); err != nil {
		return result{}, err
	}
	seen := time.Now()
	for late := false; ; late = true {
		looked := time.Now()
		difference, err := compare(p.a, p.b)
		if err != nil {
			return result{}, err
		}
		if difference == "" {
			if late {
				seen = looked
			}
			break
		}
		if time.Since(begin) > limit {
			return result{}, fmt.Errorf("all was seen, but the folders differ: %s; %s", difference, p.crew.lastWords())
		}
		if err := pauseFor(ctx, 100*time.Millisecond); err != nil {
			return result{}, err
		}
	}
	after, _ := s.traffic()
	return result{seen.Sub(begin), after - before, wired}, nil
}
