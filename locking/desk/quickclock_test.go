package desk

import (
	"testing"
	"time"
)

// TestQuickClock compares it with the clock that it stands for, and has the machine sleep: the time of day goes on, Go's clock does not.
func TestQuickClock(t *testing.T) {
	var c quickClock
	for range 1000 {
		before, err := bootTime()
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.now()
		if err != nil {
			t.Fatal(err)
		}
		after, err := bootTime()
		if err != nil {
			t.Fatal(err)
		}
		if got < before-readingTakes || got > after {
			t.Fatalf("got %v, want from %v, less a millisecond, to %v", got, before, after)
		}
	}
	for _, slept := range []time.Duration{10 * time.Millisecond, time.Hour, -time.Hour} {
		// A reading whose time of day is earlier by what was slept, and whose boot time no clock will tell again.
		now := time.Now()
		c.last.Store(&reading{boot: -2 * time.Hour, at: now, wall: now.Add(-slept).Round(0)})
		if got, err := c.now(); err != nil || got < 0 {
			t.Errorf("after %v: got %v, %v, from before the sleep", slept, got, err)
		}
	}
	now := time.Now()
	c.last.Store(&reading{boot: -2 * time.Hour, at: now, wall: now.Round(0)})
	if got, err := c.now(); err != nil || got > 0 {
		t.Errorf("a moment after a reading: got %v, %v, want what follows from that", got, err)
	}
}
