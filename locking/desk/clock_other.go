//go:build !linux

package desk

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// bootTime returns the time of a clock that goes on while the machine sleeps: CLOCK_MONOTONIC, clock_gettime(2), does on FreeBSD and macOS.
func bootTime() (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0, fmt.Errorf("read the clock: %w", err)
	}
	return time.Duration(t.Nano()), nil
}
