package sshconn

import (
	"context"
	"io"
	"math"
	"testing"
	"testing/synctest"
	"time"
)

// bulk has n bytes wait for their turn, and tells how long that took.
func bulk(t *testing.T, r *throttle, n int) time.Duration {
	t.Helper()
	began := time.Now()
	for n > 0 {
		k, err := r.wait(t.Context(), n)
		if err != nil || k <= 0 {
			t.Fatalf("wait: got %d, %v", k, err)
		}
		n -= k
	}
	return time.Since(began)
}

func wantAbout(t *testing.T, what string, got, want time.Duration) {
	t.Helper()
	if diff := got - want; diff < -want/10-time.Second/atOnce || diff > want/10+time.Second/atOnce {
		t.Errorf("%s: took %v, want about %v", what, got, want)
	}
}

func TestThrottle(t *testing.T) {
	const limit = 1 << 20
	synctest.Test(t, func(t *testing.T) {
		var r throttle
		r.set(0)
		wantAbout(t, "no limit", bulk(t, &r, 1<<40), 0)
		if got := r.room(); got != math.MaxInt {
			t.Errorf("room without a limit: got %d", got)
		}
		r.set(limit)
		wantAbout(t, "10 s worth", bulk(t, &r, 10*limit), 10*time.Second)
		time.Sleep(time.Second)
		if got, want := r.room(), limit/atOnce; got != want {
			t.Errorf("room when all is quiet: got %d, want %d", got, want)
		}
		r.count(2 * limit)
		if got := r.room(); got != 0 {
			t.Errorf("room behind messages: got %d, want none", got)
		}
		wantAbout(t, "behind 2 s of messages", bulk(t, &r, limit), 3*time.Second)
		began := time.Now()
		r.count(100 * limit)
		if took := time.Since(began); took != 0 {
			t.Errorf("messages waited for %v", took)
		}
		wantAbout(t, "behind far too many messages", bulk(t, &r, limit), (1+maxDebt)*time.Second)
		r.set(1)
		wantAbout(t, "the least limit", bulk(t, &r, 10*leastRate), 10*time.Second)

		r.set(limit)
		both := make(chan time.Duration)
		for range 2 {
			go func() { both <- bulk(t, &r, 5*limit) }()
		}
		<-both
		wantAbout(t, "two at once", <-both, 10*time.Second)

		go func() { both <- bulk(t, &r, 10*limit) }()
		time.Sleep(2 * time.Second)
		r.set(limit / 2)
		wantAbout(t, "lowered on the way", <-both, 18*time.Second)
		r.set(leastRate)
		go func() { both <- bulk(t, &r, 10*limit) }()
		time.Sleep(2 * time.Second)
		r.set(0)
		wantAbout(t, "lifted on the way", <-both, 2*time.Second)

		r.set(leastRate)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		var err error
		for err == nil {
			_, err = r.wait(ctx, leastRate)
		}
	})
}

// TestRatesOfSessions: what is sent, and what is received, keeps to the limit of
// either end; messages pass it by; and a limit that is lifted is felt at once.
func TestRatesOfSessions(t *testing.T) {
	const limit, size, all = 512 << 10, 256 << 10, 8 << 20
	lift := func(n *node) { n.SetRates(0, 0) }
	for name, set := range map[string]func(a, b *node){
		"sent":     func(a, _ *node) { a.SetRates(limit, 0) },
		"received": func(_, b *node) { b.SetRates(0, limit) },
	} {
		t.Run(name, func(t *testing.T) {
			a, b, sa, sb := connected(t)
			set(a, b)
			from, to := blockStream(t, sa, sb)
			began := time.Now()
			written := make(chan error, 1)
			go func() {
				_, err := from.Write(make([]byte, all))
				written <- err
			}()
			if _, err := io.CopyN(io.Discard, to, size/2); err != nil {
				t.Fatal(err)
			}
			exchange(t, sa.Control(), sb.Control(), "a message")
			if sa.control.wire.bulk.Load() || sb.control.wire.bulk.Load() {
				t.Error("messages wait for the limit")
			}
			if _, err := io.CopyN(io.Discard, to, size/2); err != nil {
				t.Fatal(err)
			}
			if took, want := time.Since(began), size*time.Second/limit*8/10; took < want {
				t.Errorf("%d bytes took %v, want at least %v", size, took, want)
			}
			lift(a)
			lift(b)
			if _, err := io.CopyN(io.Discard, to, all-size); err != nil {
				t.Fatal(err)
			}
			if took, limited := time.Since(began), all*time.Second/limit; took > limited/2 {
				t.Errorf("without the limit, all took %v, with it %v", took, limited)
			}
			if err := <-written; err != nil {
				t.Error(err)
			}
		})
	}
}

func blockStream(t *testing.T, from, to *Session) (Stream, Stream) {
	t.Helper()
	near, err := from.OpenBlocks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	far, err := to.AcceptBlocks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return near, far
}

// TestLimitedSessionEndsAtOnce: stop fails where Run does not return in a second.
func TestLimitedSessionEndsAtOnce(t *testing.T) {
	a, b, sa, sb := connected(t)
	a.SetRates(1, 0)
	b.SetRates(0, 1)
	from, _ := blockStream(t, sa, sb)
	written := make(chan error, 1)
	go func() {
		_, err := from.Write(make([]byte, 10<<20))
		written <- err
	}()
	eventually(t, "bulk to be under way", func() bool { return sb.blocks[0].wire.heard() > leastRate })
	a.stop()
	b.stop()
	if err := <-written; err == nil {
		t.Error("a write outlived its session")
	}
}
