package beneath

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const utimeOmit = unix.UTIME_OMIT

// FreeBSD has neither rename: both are emulated.

func renameNoReplace(from, to place) error { return unix.ENOSYS }

func renameExchange(a, b place) error { return unix.ENOSYS }

func futimens(fd int, ns int64) error {
	times := mtimeOnly(ns)
	_, _, errno := unix.Syscall(unix.SYS_FUTIMENS, uintptr(fd), uintptr(unsafe.Pointer(&times)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}
