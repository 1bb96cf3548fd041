package desk

import (
	"sync/atomic"
	"time"
)

// How long a reading of the clock serves, how long one may take to serve at all, and by how much the time of day may have gone otherwise meanwhile.
const (
	readingServes = 100 * time.Millisecond
	readingTakes  = time.Millisecond
	wallMayDiffer = time.Millisecond
)

// A quickClock tells the time of bootTime, a millisecond too early at most, mostly without a system call, which costs more than all else
// that a use does: as a reading of a moment ago and what Go's monotonic clock has gone since. That one stands still while the machine
// sleeps, but then the time of day has gone further: by as much as CLOCK_BOOTTIME, for the kernel adds the same to both.
type quickClock struct{ last atomic.Pointer[reading] }

// A reading is a time of bootTime, and when that was read by Go's clock and by the time of day.
type reading struct {
	boot     time.Duration
	at, wall time.Time
}

func (c *quickClock) now() (time.Duration, error) {
	t := time.Now()
	if r := c.last.Load(); r != nil {
		since, wall := t.Sub(r.at), t.Round(0).Sub(r.wall)
		if since >= 0 && since < readingServes && (wall-since).Abs() < wallMayDiffer {
			return r.boot + since, nil
		}
	}
	boot, err := bootTime()
	if err != nil {
		return 0, err
	}
	if at := time.Now(); at.Sub(t) < readingTakes {
		c.last.Store(&reading{boot, at, at.Round(0)})
	}
	return boot, nil
}
