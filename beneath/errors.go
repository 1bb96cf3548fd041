package beneath

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// What callers test for with errors.Is, beside fs.ErrNotExist, fs.ErrExist, fs.ErrPermission and fs.ErrClosed. An element of a
// path that is neither a directory nor a link gives ENOTDIR.
var (
	// ErrOutside: a symbolic link stands in the path, or where something is to be opened at its end; or the path leads out of the root.
	ErrOutside = errors.New("the path leads through a symbolic link")
	// ErrNotRegular: what is to be opened is a directory, a pipe, a socket or a device.
	ErrNotRegular = errors.New("not a regular file")
	// ErrReplaced: the path of the root leads elsewhere or nowhere by now.
	ErrReplaced = errors.New("the directory has been moved, removed or replaced")
)

// again repeats a call that may be repeated without harm as long as it is interrupted by a signal.
func again(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

// openAgain is again for calls that return a number: a descriptor, a count.
func openAgain(call func() (int, error)) (int, error) {
	for {
		if n, err := call(); err != unix.EINTR {
			return n, err
		}
	}
}

func pathError(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: clip(path), Err: err}
}

func linkError(op, from, to string, err error) error {
	if err == nil {
		return nil
	}
	return &os.LinkError{Op: op, Old: clip(from), New: clip(to), Err: err}
}

// clip keeps what a peer invented from filling the log.
func clip(path string) string {
	if len(path) <= MaxPath {
		return path
	}
	return path[:256] + "..."
}
