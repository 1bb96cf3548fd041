package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"resonate/control"
	"resonate/control/locktest"
)

// renewals is a Locker that answers renewals, and tells nothing of a lock's end.
type renewals struct {
	control.Locker
	answer func(ctx context.Context) error
	times  []time.Duration // since the start
	start  time.Time
}

func (r *renewals) Renew(ctx context.Context, _ string, _ time.Duration) (control.Lock, error) {
	r.times = append(r.times, time.Since(r.start))
	return control.Lock{}, r.answer(ctx)
}

func (r *renewals) Watch(ctx context.Context, _ string) error {
	<-ctx.Done()
	return ctx.Err()
}

// keep keeps a lock of 30 s against r for a time, and returns when it ended, and how.
func keep(t *testing.T, r *renewals, until time.Duration) (after time.Duration, end error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), until)
	defer cancel()
	r.start = time.Now()
	end = keepLock(ctx, r, holding{ttl: 30 * time.Second, asked: r.start})
	return time.Since(r.start), end
}

// A lock is renewed each third of its time. What fails is tried again, and given up while there is still time for the command to end.
func TestLockIsKept(t *testing.T) {
	t.Run("renewed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := &renewals{answer: func(context.Context) error { return nil }}
			if after, end := keep(t, r, time.Hour); end != nil || after != time.Hour {
				t.Errorf("got %v after %v, want nil after an hour", end, after)
			}
			if n := len(r.times); n < 350 || n > 361 || r.times[0] != 10*time.Second {
				t.Errorf("renewed %d times, first after %v; want each 10 s", n, r.times[0])
			}
		})
	})
	t.Run("no answer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := &renewals{answer: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
			if after, end := keep(t, r, time.Hour); !errors.Is(end, errUnheard) || !isLost(end) || after != 20*time.Second {
				t.Errorf("got %v after %v, want %v after 20 s", end, after, errUnheard)
			}
		})
	})
	t.Run("a while without a leader", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := &renewals{}
			r.answer = func(context.Context) error {
				if since := time.Since(r.start); since > 8*time.Second && since < 18*time.Second {
					return control.ErrNoMajority
				}
				return nil
			}
			if _, end := keep(t, r, time.Minute); end != nil {
				t.Errorf("got %v, want nil", end)
			}
			if n := len(r.times); n < 7 || n > 12 {
				t.Errorf("tried %d times in a minute, want 2 s apart while it failed, and else 10 s: %v", n, r.times)
			}
		})
	})
	t.Run("lost", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := &renewals{answer: func(context.Context) error { return control.ErrNotHeld }}
			if after, end := keep(t, r, time.Hour); !errors.Is(end, control.ErrNotHeld) || after != 10*time.Second {
				t.Errorf("got %v after %v, want %v after 10 s", end, after, control.ErrNotHeld)
			}
		})
	})
}

// A lock that somebody ends is lost at once, not at the next renewal.
func TestLockIsWatched(t *testing.T) {
	table := locktest.New("nas")
	l, err := table.Lock(t.Context(), control.LockRequest{Resource: control.Resource{Name: "x"}, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	end := make(chan error, 1)
	go func() { end <- keepLock(t.Context(), table, holding{Lock: l, ttl: time.Hour, asked: time.Now()}) }()
	if _, err := table.Force(t.Context(), l.Resource, "a test"); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-end:
		if !errors.Is(err, control.ErrNotHeld) {
			t.Errorf("got %v, want %v", err, control.ErrNotHeld)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it is kept, though it is over")
	}
}

// Of several locks each is told once; who waits stands below, and what a node only keeps ready is counted.
func TestRenderLocks(t *testing.T) {
	now := time.Date(2026, 11, 2, 10, 20, 0, 0, time.UTC)
	until := now.Add(time.Hour)
	held := control.Lock{
		Resource: control.Resource{Path: "docs", Below: true}, Mode: "exclusive", Host: "nas", Owner: "anna", Why: "figures\x1b[2J", Since: now.Add(-time.Minute),
		Expires: &until, State: "held",
	}
	waits := control.Lock{Resource: control.Resource{Path: "docs/a"}, Host: "desk", Mine: true, Since: now.Add(-3 * time.Second), State: "waiting", Position: 1}
	permit := control.Lock{Resource: control.Resource{Name: "pool"}, Mode: "permit", Permits: 3, Host: "nas", Owner: "bert", Since: now, State: "held"}
	kept := control.Lock{Resource: control.Resource{Path: "src", Below: true}, Node: "n", State: "held", Delegated: true}
	got := renderLocks([]control.Lock{held, waits, permit, kept}, now, time.UTC)
	want := `docs/                             anna on nas, since 2026-11-02 10:19:00 (1 min 0 s) until 2026-11-02 11:20:00: figures [2J
    this machine waits for docs/a, since 2026-11-02 10:19:57 (3 s)
name pool                         bert on nas (one of 3), since 2026-11-02 10:20:00 (0 ms)
1 node keeps 1 scope ready, given up when somebody asks
`
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if got := renderLocks(nil, now, time.UTC); !strings.Contains(got, "nothing is locked") {
		t.Errorf("got %q", got)
	}
}
