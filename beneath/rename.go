package beneath

import (
	"crypto/rand"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// holdPrefix begins the name that something bears for an instant while an exchange is emulated. After a crash it may still bear it.
const holdPrefix = ".resonate-hold-"

// unsupported tells whether a rename failed because it was asked for in a way that the kernel or the file system does not have.
// EINVAL also means that a directory would get below itself; the emulations then fail alike.
func unsupported(err error) bool {
	return err == unix.EINVAL || err == unix.ENOSYS || err == unix.EOPNOTSUPP || err == unix.ENOTSUP
}

func moveNoReplace(from, to place) error {
	if err := renameNoReplace(from, to); !unsupported(err) {
		return err
	}
	return moveByLink(from, to)
}

func exchange(a, b place) error {
	if err := renameExchange(a, b); !unsupported(err) {
		return err
	}
	return exchangeByMoves(a, b)
}

// moveByLink is a move that replaces nothing, for kernels and file systems without such a rename.
//
// A second link claims the new name, which fails if it is taken. The old name is then moved aside rather than removed, so that, if
// somebody has put another file there in that instant, it is seen and put back. A directory, and any file where there are no hard
// links, is moved by moveChecked.
func moveByLink(from, to place) error {
	info, err := from.lstat()
	if err != nil {
		return err
	}
	if info.Kind == Dir {
		return moveChecked(from, to)
	}
	switch err := unix.Linkat(from.fd, from.name, to.fd, to.name, 0); err {
	case nil:
	case unix.EPERM, unix.EOPNOTSUPP, unix.ENOSYS, unix.EMLINK:
		return moveChecked(from, to)
	default:
		return err
	}
	moved, err := to.lstat()
	if err != nil {
		return err
	}
	hold := place{fd: from.fd, name: holdPrefix + rand.Text()}
	switch err := unix.Renameat(from.fd, from.name, hold.fd, hold.name); err {
	case nil:
	case unix.ENOENT: // whoever removed the old name in this instant meant what is at the new one by now
		return nil
	default:
		return err
	}
	held, err := hold.lstat()
	if err != nil {
		return err
	}
	if held.Inode != moved.Inode || held.Device != moved.Device {
		if err := unix.Linkat(hold.fd, hold.name, from.fd, from.name, 0); err != nil {
			return fmt.Errorf("put back %q, which is now named %q: %w", from.name, hold.name, err)
		}
	}
	return unix.Unlinkat(hold.fd, hold.name, 0)
}

// moveChecked renames after a look at whether the new name is free. For a directory that is safe: rename(2) puts it in the place of
// an empty directory at most. A file that gets the name between the look and the rename is lost.
func moveChecked(from, to place) error {
	switch _, err := to.lstat(); err {
	case nil:
		return unix.EEXIST
	case unix.ENOENT:
		return unix.Renameat(from.fd, from.name, to.fd, to.name)
	default:
		return err
	}
}

// exchangeByMoves swaps a and b in three moves, none of which replaces anything. For an instant b is absent, and what stood there has
// another name beside a; after a crash it may keep it, and a's content may be at b already.
func exchangeByMoves(a, b place) error {
	if _, err := a.lstat(); err != nil {
		return err
	}
	hold := place{fd: a.fd, name: holdPrefix + rand.Text()}
	if err := unix.Renameat(b.fd, b.name, hold.fd, hold.name); err != nil {
		return err
	}
	if err := moveNoReplace(a, b); err != nil {
		return errors.Join(err, release(hold, b))
	}
	return release(hold, a)
}

// release gives what is held the name that it should have.
func release(hold, to place) error {
	if err := moveNoReplace(hold, to); err != nil {
		return fmt.Errorf("name %q, which is now named %q: %w", to.name, hold.name, err)
	}
	return nil
}
