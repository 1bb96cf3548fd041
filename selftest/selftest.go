// Package selftest tests a cluster that runs, beside its daemons, through the control API of one of them: how long an edit takes until
// the peers have it, how long locks take, whether they exclude each other when more workers want them than there are, and whether all
// nodes hold the same in the end. What it finds broken it tells in a word of flags, of which each byte is about something else.
//
// It works in a directory of its own in the folder and on lock names of its own, both with a random part, so that any number of runs may
// go on at once, on one node or on several. All of it is removed in the end, however that comes about, short of a kill.
package selftest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"resonate/control"
)

// DirPrefix is what the name of a run's directory, which lies at the top of the folder, begins with.
const DirPrefix = ".resonate-selftest-"

const (
	// cleanupTime bounds each part of cleaning up.
	cleanupTime = 10 * time.Second
	// mostAlike is how many findings with the same flags are told in words.
	mostAlike = 3
)

// ErrNoPeer: no peer that takes changes is connected, so that there is nothing to test.
var ErrNoPeer = errors.New("no peer that takes changes is connected")

// A Config says what is tested, and for how long. All must be set.
type Config struct {
	Folder string // its path
	Daemon control.Daemon
	Locker control.Locker
	Owner  string // who asks for the locks, for those who look at them meanwhile
	Length time.Duration
}

// A Tester is one run. Make it with Open.
type Tester struct {
	c    Config
	name string          // of the directory
	deaf map[string]bool // the peers that take nothing, by ID
	// Peers is how many peers are connected and take changes.
	Peers int
	made  map[string]int // how many edits each file has had

	mu       sync.Mutex
	flags    Flags
	alike    map[Flags]int // findings
	findings []string
}

// A Report is what a run has found.
type Report struct {
	Peers    int           `json:"peers"` // that were connected when it began
	Edit     Latency       `json:"edit_to_visible"`
	Cached   Latency       `json:"lock_cached"`
	Uncached Latency       `json:"lock_uncached"`
	HandOver Latency       `json:"lock_contended"`
	Contest  Contest       `json:"exclusion"`
	Rate     Rate          `json:"throughput"`
	Folders  FolderOutcome `json:"folders"`
	Flags    Flags         `json:"error_flags"`
	Findings []string      `json:"errors"` // what the flags stand for, in words; a few of each kind
}

// Open sees whether there is something to test. It changes nothing. The error is ErrNoPeer, control.ErrPaused, control.ErrNoMajority or
// control.ErrNoLocks, among others.
func Open(ctx context.Context, c Config) (*Tester, error) {
	t := &Tester{c: c, name: DirPrefix + strings.ToLower(rand.Text()[:10]), deaf: make(map[string]bool), made: make(map[string]int), alike: make(map[Flags]int)}
	st, err := c.Daemon.Status(ctx)
	if err != nil {
		return nil, err
	}
	switch {
	case st.Paused != nil:
		return nil, control.ErrPaused
	case st.Mode == "receive":
		return nil, errors.New("this node only receives: what is changed here goes nowhere")
	}
	for _, p := range st.Peers {
		switch {
		case p.SendsOnly:
			t.deaf[p.ID] = true
		case p.State == "connected":
			t.Peers++
		}
	}
	if t.Peers == 0 {
		return nil, ErrNoPeer
	}
	q, err := c.Locker.Quorum(ctx)
	if err == nil && !q.Majority {
		err = fmt.Errorf("%w: %s", control.ErrNoMajority, q.Line)
	}
	return t, err
}

// The parts of a run, each with its share of the time.
const (
	editShare     = 0.4
	cachedShare   = 0.05
	uncachedShare = 0.1
	contestShare  = 0.3
	rateShare     = 0.15
)

// Run tests, once, and cleans up, also when ctx ends before its time, which is an error. Errors are what keeps the test from being made; what
// it finds wrong is in the report, until then.
func (t *Tester) Run(ctx context.Context) (r Report, err error) {
	err = t.measure(ctx, &r)
	t.cleanUp(context.WithoutCancel(ctx))
	r.Peers, r.Flags, r.Findings = t.Peers, t.flags, append([]string{}, t.findings...)
	if ctx.Err() != nil {
		err = fmt.Errorf("interrupted before its end: %w", ctx.Err())
	}
	return r, err
}

// measure goes through the parts.
func (t *Tester) measure(ctx context.Context, r *Report) error {
	if err := t.makeFiles(ctx); err != nil {
		return err
	}
	for _, part := range []struct {
		share float64
		run   func(context.Context, time.Time) error
	}{
		{editShare, func(ctx context.Context, end time.Time) (err error) {
			r.Edit, err = t.edits(ctx, end)
			return err
		}},
		{cachedShare, func(ctx context.Context, end time.Time) (err error) {
			r.Cached, err = t.cached(ctx, end)
			return err
		}},
		{uncachedShare, func(ctx context.Context, end time.Time) (err error) {
			r.Uncached, err = t.uncached(ctx, end)
			return err
		}},
		{contestShare, func(ctx context.Context, end time.Time) (err error) {
			r.Contest, r.HandOver, err = t.contest(ctx, end)
			return err
		}},
		{rateShare, func(ctx context.Context, end time.Time) (err error) {
			r.Rate, err = t.rate(ctx, end)
			return err
		}},
	} {
		if err := part.run(ctx, time.Now().Add(time.Duration(part.share*float64(t.c.Length)))); err != nil {
			return err
		}
	}
	var err error
	r.Folders, err = t.compare(ctx)
	return err
}

// found notes what is wrong.
func (t *Tester) found(f Flags, format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.flags |= f
	if t.alike[f]++; t.alike[f] <= mostAlike {
		t.findings = append(t.findings, f.String()+" "+fmt.Sprintf(format, args...))
	}
}

// cleanUp removes what the run has made.
func (t *Tester) cleanUp(ctx context.Context) {
	dir := filepath.Join(t.c.Folder, t.name)
	_, err := os.Lstat(dir)
	made := err == nil
	if err := os.RemoveAll(dir); err != nil {
		t.found(LeftOver, "the directory is left over: %v", err)
	} else if made {
		within, cancel := context.WithTimeout(ctx, cleanupTime)
		defer cancel()
		if err := t.c.Daemon.Wait(within, t.name); err != nil {
			t.found(LeftOver, "%s may be left over elsewhere: %v", t.name, err)
		}
	}
	within, cancel := context.WithTimeout(ctx, cleanupTime)
	defer cancel()
	if err := t.letGo(within); err != nil {
		t.found(LeftOver, "locks are left over for %v at most: %v", lockTTL, err)
	}
}

// pause returns after a time, or when ctx ends, with why.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
