//go:build !linux

package beneath

import (
	"os"

	"golang.org/x/sys/unix"
)

const (
	dirFlags      = unix.O_RDONLY | unix.O_DIRECTORY
	mountReadOnly = unix.MNT_RDONLY
)

// openBeneath is the opener by a walk.
func openBeneath(root int, path string, flags int, perm uint32) (int, error) {
	return walkBeneath(root, path, flags, perm)
}

// readEntries lists an open directory, and closes it. The kinds stay unknown: os would look for them by a path.
func readEntries(fd int) ([]Entry, error) {
	d := os.NewFile(uintptr(fd), "")
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, len(names))
	for i, name := range names {
		entries[i].Name = name
	}
	return entries, nil
}

// unlink looks first: some of these systems let the superuser unlink a directory.
func (p place) unlink() error {
	info, err := p.lstat()
	if err != nil {
		return err
	}
	if info.Kind == Dir {
		return unix.EISDIR
	}
	return unix.Unlinkat(p.fd, p.name, 0)
}

func (p place) chmod(perm uint32) error {
	return again(func() error { return unix.Fchmodat(p.fd, p.name, perm, unix.AT_SYMLINK_NOFOLLOW) })
}

// BusyWriting cannot tell here: the answer is always no.
func BusyWriting(f *os.File) (bool, error) { return false, nil }

func syncFS(fd int) error {
	if err := unix.Sync(); err != nil {
		return err
	}
	return unix.Fsync(fd)
}

func freeBytes(st *unix.Statfs_t) uint64 {
	// FreeBSD counts below zero once only the superuser has room left.
	return uint64(max(int64(st.Bavail), 0)) * uint64(st.Bsize)
}
