package beneath

import (
	"io/fs"

	"golang.org/x/sys/unix"
)

// SyncFS returns when all that was written to the root's file system before is on disk: syncfs(2). Elsewhere than on Linux there is no such
// call: sync(2) starts the writing and the root directory is synced; only a file's own Sync waits for its content.
func (r *Root) SyncFS() error {
	if r.fd < 0 {
		return pathError("syncfs", r.name, fs.ErrClosed)
	}
	return pathError("syncfs", r.name, again(func() error { return syncFS(r.fd) }))
}

// Free returns how many bytes an unprivileged user may still write to the root's file system.
func (r *Root) Free() (bytes uint64, err error) {
	st, err := r.statfs()
	if err != nil {
		return 0, pathError("statfs", r.name, err)
	}
	return freeBytes(&st), nil
}

// ReadOnly tells whether the root's file system, or its mount, is read-only.
func (r *Root) ReadOnly() (bool, error) {
	st, err := r.statfs()
	if err != nil {
		return false, pathError("statfs", r.name, err)
	}
	return uint64(st.Flags)&mountReadOnly != 0, nil
}

func (r *Root) statfs() (unix.Statfs_t, error) {
	var st unix.Statfs_t
	if r.fd < 0 {
		return st, fs.ErrClosed
	}
	err := again(func() error { return unix.Fstatfs(r.fd, &st) })
	return st, err
}
