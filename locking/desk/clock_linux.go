package desk

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// bootTime returns the time since the machine was started, sleep included (CLOCK_BOOTTIME, clock_gettime(2)): Go's own monotonic clock stands
// still while the machine sleeps, and a lease would be counted on that others have long seen end.
func bootTime() (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return 0, fmt.Errorf("read the clock: %w", err)
	}
	return time.Duration(t.Nano()), nil
}
