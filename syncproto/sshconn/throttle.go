package sshconn

import (
	"context"
	"math"
	"time"

	"golang.org/x/time/rate"
)

const (
	// leastRate is the lowest limit: below, a connection of many that share it
	// would look dead to its peer.
	leastRate = 16 << 10
	// atOnce is the share of a second in which a limit is kept: what may go at
	// once, and how long one piece of bulk waits for the next.
	atOnce = 20
	// maxDebt is how far small messages may get ahead of a limit that they do not
	// keep, in seconds: bulk never waits for longer on their behalf.
	maxDebt = 3
)

// throttle bounds what all connections of an endpoint send, or receive, together.
// Bulk waits; small messages are counted, so that bulk waits for longer, and never
// wait themselves. It is safe for concurrent use.
type throttle struct{ limiter rate.Limiter }

// set gives the limit, in bytes a second; 0: none.
func (t *throttle) set(limit int64) {
	if limit <= 0 {
		t.limiter.SetLimit(rate.Inf)
		return
	}
	limit = max(limit, leastRate)
	t.limiter.SetBurst(int(limit / atOnce))
	t.limiter.SetLimit(rate.Limit(limit))
}

// piece tells how much of n bytes may go at once.
func (t *throttle) piece(n int) int {
	if t.limiter.Limit() == rate.Inf {
		return n
	}
	return min(n, t.limiter.Burst())
}

// wait waits until some of n bytes may go, and tells how many; an error tells
// that ctx has ended.
func (t *throttle) wait(ctx context.Context, n int) (int, error) {
	for {
		k := t.piece(n)
		err := t.limiter.WaitN(ctx, k)
		if err == nil {
			return k, nil
		}
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		// The limit was lowered in between: less may go at once.
	}
}

// count counts n bytes that did not wait.
func (t *throttle) count(n int) {
	for now := time.Now(); n > 0; {
		if limit := t.limiter.Limit(); limit == rate.Inf || t.limiter.TokensAt(now) < -maxDebt*float64(limit) {
			return
		}
		k := t.piece(n)
		t.limiter.ReserveN(now, k)
		n -= k
	}
}

// room tells how many bytes may go now, if they go at once.
func (t *throttle) room() int {
	if t.limiter.Limit() == rate.Inf {
		return math.MaxInt
	}
	return max(0, int(t.limiter.Tokens()))
}

// SetRates changes Config.MaxSend and MaxRecv, for all sessions, at once.
func (e *Endpoint) SetRates(send, recv int64) {
	e.rates.send.set(send)
	e.rates.recv.set(recv)
}

// rates are the limits of an endpoint, in both directions.
type rates struct{ send, recv throttle }
