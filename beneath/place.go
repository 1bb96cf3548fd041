package beneath

import (
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"
)

// place is where an operation acts: a name in a directory that is held open.
type place struct {
	fd    int
	name  string
	owned bool // fd is ours to close, not the root's
}

// place finds the parent directory of path, which is valid. The caller closes it.
func (r *Root) place(path string) (place, error) {
	if r.fd < 0 {
		return place{}, fs.ErrClosed
	}
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return place{fd: r.fd, name: path}, nil
	}
	if fd, ok := r.pins.get(path[:i]); ok {
		return place{fd: fd, name: path[i+1:]}, nil
	}
	fd, err := r.open(r.fd, path[:i], dirFlags, 0)
	if err != nil {
		return place{}, err
	}
	return place{fd: fd, name: path[i+1:], owned: true}, nil
}

// places is place for an operation on two paths.
func (r *Root) places(a, b string) (pa, pb place, err error) {
	if pa, err = r.place(a); err != nil {
		return pa, pb, err
	}
	if pb, err = r.place(b); err != nil {
		pa.close()
	}
	return pa, pb, err
}

func (p place) close() {
	if p.owned {
		unix.Close(p.fd)
	}
}

// lstat tells of what stands at the place.
func (p place) lstat() (Info, error) {
	var st unix.Stat_t
	err := again(func() error { return unix.Fstatat(p.fd, p.name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	if err != nil {
		return Info{}, err
	}
	return infoOf(&st), nil
}

func fstat(fd int) (Info, error) {
	var st unix.Stat_t
	if err := again(func() error { return unix.Fstat(fd, &st) }); err != nil {
		return Info{}, err
	}
	return infoOf(&st), nil
}

func infoOf(st *unix.Stat_t) Info {
	return Info{
		Kind:   kindOf(uint32(st.Mode)),
		Mode:   uint32(st.Mode) & 0o7777,
		Size:   st.Size,
		MTime:  st.Mtim.Nano(),
		CTime:  st.Ctim.Nano(),
		UID:    st.Uid,
		GID:    st.Gid,
		Inode:  uint64(st.Ino),
		Device: uint64(st.Dev),
		Links:  uint64(st.Nlink),
	}
}

func kindOf(mode uint32) Kind {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return File
	case unix.S_IFDIR:
		return Dir
	case unix.S_IFLNK:
		return Symlink
	}
	return Other
}
