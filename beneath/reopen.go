package beneath

import (
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Reopen opens a regular file that is there to be read and written. It never waits: anything else than a regular file is
// refused with ErrNotRegular, a link with ErrOutside. It is for files of one's own, that are to be gone on with.
func (r *Root) Reopen(l Label, path string) (*os.File, error) {
	fd, err := r.reopen(l, path)
	if err != nil {
		return nil, pathError("open", path, err)
	}
	return r.file(fd, path), nil
}

func (r *Root) reopen(l Label, path string) (int, error) {
	if err := r.risk(l, path); err != nil {
		return -1, err
	}
	return r.openRegular(path, unix.O_RDWR)
}

// openRegular opens a regular file with an access mode (O_RDONLY, O_RDWR), and nothing else.
func (r *Root) openRegular(path string, mode int) (int, error) {
	if err := Valid(path); err != nil {
		return -1, err
	}
	if r.fd < 0 {
		return -1, fs.ErrClosed
	}
	fd, err := r.open(r.fd, path, mode|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err == unix.ENXIO || err == unix.EOPNOTSUPP { // a socket
		return -1, ErrNotRegular
	}
	if mode == unix.O_RDWR && err == unix.EISDIR {
		return -1, ErrNotRegular
	}
	if err != nil {
		return -1, err
	}
	info, err := fstat(fd)
	if err == nil && info.Kind != File {
		err = ErrNotRegular
	}
	if err == nil {
		// Otherwise os.NewFile would try to have it polled.
		_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFL, 0)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
