package beneath

import (
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Create makes a file that is not there yet, open for reading and writing, with exactly the permission bits perm (07777) whatever the
// umask. Where the file system cannot hold such bits (FAT), the file has what it gives: Fstat tells. After any other error
// a new empty file may be left behind.
func (r *Root) Create(l Label, path string, perm uint32) (*os.File, error) {
	fd, err := r.create(l, path, perm)
	if err != nil {
		return nil, pathError("create", path, err)
	}
	return r.file(fd, path), nil
}

func (r *Root) create(l Label, path string, perm uint32) (int, error) {
	if err := r.risk(l, path); err != nil {
		return -1, err
	}
	if r.fd < 0 {
		return -1, fs.ErrClosed
	}
	// Narrow until the bits are what they should be.
	fd, err := r.open(r.fd, path, unix.O_CREAT|unix.O_EXCL|unix.O_RDWR|unix.O_NOFOLLOW, perm&0o600)
	if err != nil {
		return -1, err
	}
	if perm == 0o600 { // the umask may have narrowed it further, which hurts nobody
		return fd, nil
	}
	err = again(func() error { return unix.Fchmod(fd, perm) })
	// The file is ours: EPERM can only mean that its file system has no such bits.
	if err != nil && err != unix.EPERM {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// Mkdir makes a directory that is not there yet, with exactly the permission bits perm (07777), as Create does.
func (r *Root) Mkdir(l Label, path string, perm uint32) error {
	err := r.risk(l, path)
	if err == nil {
		err = r.mkdir(path, perm)
	}
	return pathError("mkdir", path, err)
}

func (r *Root) mkdir(path string, perm uint32) error {
	p, err := r.place(path)
	if err != nil {
		return err
	}
	defer p.close()
	return p.mkdir(perm)
}

func (p place) mkdir(perm uint32) error {
	if err := unix.Mkdirat(p.fd, p.name, perm&0o700); err != nil {
		return err
	}
	if err := p.chmod(perm); err != nil && err != unix.EPERM {
		return err
	}
	return nil
}

// MkdirAll makes the directory path and those above it that are missing, all with the permission bits perm. Those that are there
// stay as they are.
func (r *Root) MkdirAll(l Label, path string, perm uint32) error {
	return pathError("mkdir", path, r.mkdirAll(l, path, perm))
}

func (r *Root) mkdirAll(l Label, path string, perm uint32) error {
	if err := validDir(path); err != nil {
		return err
	}
	if err := r.At(l); err != nil {
		return err
	}
	if err := r.isDir(path); err != unix.ENOENT {
		return err
	}
	// Each from the one above it: a path may have tens of thousands of elements.
	at := place{fd: r.fd}
	for more := true; more; {
		at.name, path, more = strings.Cut(path, "/")
		if err := at.mkdir(perm); err != nil && err != unix.EEXIST {
			at.close()
			return err
		}
		fd, err := r.open(at.fd, at.name, dirFlags, 0) // what was there may be a file
		at.close()
		if err != nil {
			return err
		}
		at = place{fd: fd, owned: true}
	}
	at.close()
	return nil
}

func (r *Root) isDir(path string) error {
	if r.fd < 0 {
		return fs.ErrClosed
	}
	fd, err := r.open(r.fd, path, dirFlags, 0)
	if err != nil {
		return err
	}
	unix.Close(fd)
	return nil
}

// Symlink makes a symbolic link at path, where nothing may be yet. target may be anything: no Root ever follows it.
func (r *Root) Symlink(l Label, target, path string) error {
	return pathError("symlink", path, r.on(l, path, func(p place) error {
		return unix.Symlinkat(target, p.fd, p.name)
	}))
}

// Link makes to, where nothing may be yet, another name of the file from.
func (r *Root) Link(l Label, from, to string) error {
	return linkError("link", from, to, r.on2(l, from, to, func(a, b place) error {
		info, err := a.lstat()
		if err == nil && info.Kind != File {
			err = ErrNotRegular
		}
		if err != nil {
			return err
		}
		return unix.Linkat(a.fd, a.name, b.fd, b.name, 0)
	}))
}

// Move renames from to to, where nothing may be yet: otherwise the error is fs.ErrExist. Where the kernel or the file system
// cannot promise that in one step, see moveByLink.
func (r *Root) Move(l Label, from, to string) error {
	return linkError("move", from, to, r.onExact(l, from, to, from, moveNoReplace))
}

// Exchange swaps a and b, which must both exist and may be of any kind. Where the kernel or the file system cannot do it in
// one step, see exchangeByMoves: a should then be the one that is ours, b the user's.
func (r *Root) Exchange(l Label, a, b string) error {
	return linkError("exchange", a, b, r.onExact(l, a, b, b, exchange))
}

// Remove removes what stands at path unless that is a directory.
func (r *Root) Remove(l Label, path string) error {
	return pathError("remove", path, r.on(l, path, func(p place) error {
		if err := r.exact(path); err != nil {
			return err
		}
		return p.unlink()
	}))
}

// RemoveDir removes an empty directory.
func (r *Root) RemoveDir(l Label, path string) error {
	return pathError("rmdir", path, r.on(l, path, func(p place) error {
		if err := r.exact(path); err != nil {
			return err
		}
		return unix.Unlinkat(p.fd, p.name, unix.AT_REMOVEDIR)
	}))
}

// on does a labelled operation at the place of path.
func (r *Root) on(l Label, path string, do func(place) error) error {
	if err := r.risk(l, path); err != nil {
		return err
	}
	p, err := r.place(path)
	if err != nil {
		return err
	}
	defer p.close()
	return do(p)
}

// onExact is on2, where one of the paths must be spelled as it is on disk.
func (r *Root) onExact(l Label, a, b, exact string, do func(a, b place) error) error {
	return r.on2(l, a, b, func(a, b place) error {
		if err := r.exact(exact); err != nil {
			return err
		}
		return do(a, b)
	})
}

// on2 is on for two paths.
func (r *Root) on2(l Label, a, b string, do func(a, b place) error) error {
	if err := r.risk2(l, a, b); err != nil {
		return err
	}
	pa, pb, err := r.places(a, b)
	if err != nil {
		return err
	}
	defer pa.close()
	defer pb.close()
	return do(pa, pb)
}
