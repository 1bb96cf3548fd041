package beneath

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Chmod sets the permission bits (07777) of a file or directory. It never follows a link: of one, Linux has no bits to set (the error is
// errors.ErrUnsupported), other systems set the link's own.
func (r *Root) Chmod(l Label, path string, perm uint32) error {
	return pathError("chmod", path, r.onDir(l, path, func(p place) error { return p.chmod(perm) }))
}

// SetMTime sets the time of last modification, in nanoseconds since 1970, of anything, of a link itself too. The time of last
// access stays.
func (r *Root) SetMTime(l Label, path string, ns int64) error {
	return pathError("set the time of", path, r.onDir(l, path, func(p place) error {
		times := mtimeOnly(ns)
		return again(func() error { return unix.UtimesNanoAt(p.fd, p.name, times[:], unix.AT_SYMLINK_NOFOLLOW) })
	}))
}

// Chown sets owner and group of anything, of a link itself too. It takes setuid and setgid bits and capabilities away from a file.
func (r *Root) Chown(l Label, path string, uid, gid uint32) error {
	return pathError("chown", path, r.onDir(l, path, func(p place) error {
		return again(func() error { return unix.Fchownat(p.fd, p.name, int(uid), int(gid), unix.AT_SYMLINK_NOFOLLOW) })
	}))
}

// Fchown is Chown for an open file that is not in place yet.
func Fchown(f *os.File, uid, gid uint32) error {
	defer runtime.KeepAlive(f)
	return pathError("chown", f.Name(), again(func() error { return unix.Fchown(int(f.Fd()), int(uid), int(gid)) }))
}

// onDir is on for an operation that may be on the root itself.
func (r *Root) onDir(l Label, path string, do func(place) error) error {
	if path != "." {
		return r.on(l, path, do)
	}
	if err := r.At(l); err != nil {
		return err
	}
	p, err := r.place(path)
	if err != nil {
		return err
	}
	return do(p)
}

// FchmodMTime sets the permission bits (07777) and the time of last modification (nanoseconds since 1970) of an open file, in
// this order, so that a new file has them before it is swapped in. Later writes change the time again. Darwin keeps
// microseconds only: Fstat tells.
func FchmodMTime(f *os.File, perm uint32, mtime int64) error {
	defer runtime.KeepAlive(f)
	fd := int(f.Fd())
	if err := again(func() error { return unix.Fchmod(fd, perm) }); err != nil {
		return pathError("chmod", f.Name(), err)
	}
	if err := again(func() error { return futimens(fd, mtime) }); err != nil {
		return pathError("set the time of", f.Name(), err)
	}
	return nil
}

// mtimeOnly is the argument of utimensat(2) that leaves the time of last access alone.
func mtimeOnly(ns int64) [2]unix.Timespec {
	return [2]unix.Timespec{{Nsec: utimeOmit}, unix.NsecToTimespec(ns)}
}
