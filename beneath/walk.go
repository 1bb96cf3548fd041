package beneath

import (
	"strings"

	"golang.org/x/sys/unix"
)

// walkBeneath is the opener for kernels that have no openat2: it opens one element after the other, each without following a link. It is built everywhere, so that the
// tests prove it on Linux too.
func walkBeneath(root int, path string, flags int, perm uint32) (int, error) {
	for dir := root; ; {
		name, rest, more := strings.Cut(path, "/")
		how, mode := flags, perm
		if more {
			how, mode = dirFlags, 0
		}
		fd, err := openAgain(func() (int, error) {
			return unix.Openat(dir, name, how|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
		})
		if err != nil {
			err = walkError(dir, name, err)
		}
		if dir != root {
			unix.Close(dir)
		}
		if err != nil {
			return -1, err
		}
		if !more {
			return fd, nil
		}
		dir, path = fd, rest
	}
}

// walkError says whether an open failed because of a link. The errno alone does not: it is ELOOP, ENOTDIR or, on FreeBSD, EMLINK.
func walkError(dir int, name string, err error) error {
	switch err {
	case unix.ELOOP, unix.EMLINK:
		return ErrOutside
	case unix.ENOTDIR:
		if info, e := (place{fd: dir, name: name}).lstat(); e == nil && info.Kind == Symlink {
			return ErrOutside
		}
	}
	return err
}
