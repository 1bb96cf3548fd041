package sshconn

import (
	"math/rand/v2"
	"time"
)

// backoff gives growing pauses between attempts. The zero value is ready.
type backoff struct{ last time.Duration }

// span is the range that pauses grow through.
type span struct{ least, most time.Duration }

// next gives the pause before the next attempt: 1.6 times the last one, within
// the span, and up to a fifth shorter or longer, so that nodes that lost each
// other at the same instant do not keep in step.
func (b *backoff) next(within span) time.Duration {
	b.last = min(max(b.last*8/5, within.least), within.most)
	return b.last*4/5 + rand.N(b.last*2/5+1)
}

func (b *backoff) reset() { b.last = 0 }
