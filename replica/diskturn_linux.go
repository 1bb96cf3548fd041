package replica

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// From linux/ioprio.h; see ioprio_set(2).
const (
	ioprioWhoProcess = 1 // in truth a thread; 0 is the calling one
	ioprioIdle       = 3 << 13
)

// A diskTurn is the priority at the disk that this process was started with. Where its scheduler knows no priorities, they change
// nothing.
//
// The processor's priority is left alone: a thread that gets none of a busy processor holds up the whole program whenever the garbage
// collector has to stop it. (Tried, on a busy machine with two processors: a collection took 0.5 s at the 95th percentile instead
// of 0.05.)
type diskTurn struct {
	usual uintptr
	fixed bool // it is the least already, or cannot be changed
}

func usualTurn() diskTurn {
	usual, _, errno := unix.Syscall(unix.SYS_IOPRIO_GET, ioprioWhoProcess, 0, 0)
	return diskTurn{usual: usual, fixed: errno != 0 || usual == ioprioIdle}
}

// last has what the calling goroutine asks of the disk wait for what anybody else does, until it calls end. It must not take a lock
// meanwhile that others wait for.
func (d diskTurn) last() (end func()) {
	if d.fixed {
		return func() {}
	}
	runtime.LockOSThread()
	if _, _, errno := unix.Syscall(unix.SYS_IOPRIO_SET, ioprioWhoProcess, 0, ioprioIdle); errno != 0 {
		runtime.UnlockOSThread()
		return func() {}
	}
	return func() {
		// Where it cannot be set back, the thread stays with this goroutine.
		if _, _, errno := unix.Syscall(unix.SYS_IOPRIO_SET, ioprioWhoProcess, 0, d.usual); errno == 0 {
			runtime.UnlockOSThread()
		}
	}
}
