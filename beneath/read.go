package beneath

import (
	"io/fs"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Lstat tells of what stands at path, a symbolic link included.
func (r *Root) Lstat(path string) (Info, error) {
	info, err := r.lstat(path)
	if err != nil {
		return Info{}, pathError("lstat", path, err)
	}
	return r.seen(info), nil
}

func (r *Root) seen(info Info) Info {
	if r.Seen == nil {
		return info
	}
	return r.Seen(info)
}

func (r *Root) lstat(path string) (Info, error) {
	if err := validDir(path); err != nil {
		return Info{}, err
	}
	p, err := r.place(path)
	if err != nil {
		return Info{}, err
	}
	defer p.close()
	info, err := p.lstat()
	if err == nil {
		err = r.exact(path)
	}
	return info, err
}

// ReadDir lists a directory in no order, without "." and "..". Outside Linux the kinds are unknown.
func (r *Root) ReadDir(path string) ([]Entry, error) {
	entries, err := r.readDir(path)
	if err != nil {
		return nil, pathError("readdir", path, err)
	}
	return entries, nil
}

func (r *Root) readDir(path string) ([]Entry, error) {
	fd, err := r.openDir(path)
	if err != nil {
		return nil, err
	}
	return readEntries(fd)
}

// openDir opens a directory to be listed.
func (r *Root) openDir(path string) (int, error) {
	if err := validDir(path); err != nil {
		return -1, err
	}
	if r.fd < 0 {
		return -1, fs.ErrClosed
	}
	return r.open(r.fd, path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
}

// StatDir lists a directory in no order, with what lstat(2) tells of each name. One that vanishes meanwhile is left out; one of
// which nothing can be told has its error.
func (r *Root) StatDir(path string) ([]Stat, error) {
	stats, err := r.statDir(path)
	if err != nil {
		return nil, pathError("readdir", path, err)
	}
	return stats, nil
}

// A Stat is a name in a directory, with what stands there, or why that is not known.
type Stat struct {
	Name string
	Info Info
	Err  error
}

func (r *Root) statDir(path string) ([]Stat, error) {
	fd, err := r.openDir(path)
	if err != nil {
		return nil, err
	}
	at, err := openAgain(func() (int, error) { return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0) })
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	defer unix.Close(at)
	entries, err := readEntries(fd)
	if err != nil {
		return nil, err
	}
	stats := make([]Stat, 0, len(entries))
	for _, e := range entries {
		s := Stat{Name: e.Name}
		if s.Info, s.Err = (place{fd: at, name: e.Name}).lstat(); s.Err != unix.ENOENT {
			s.Info = r.seen(s.Info)
			stats = append(stats, s)
		}
	}
	return stats, nil
}

// Readlink returns the target of a symbolic link; for anything else the error is EINVAL.
func (r *Root) Readlink(path string) (string, error) {
	target, err := r.readlink(path)
	if err != nil {
		return "", pathError("readlink", path, err)
	}
	return target, nil
}

func (r *Root) readlink(path string) (string, error) {
	if err := Valid(path); err != nil {
		return "", err
	}
	p, err := r.place(path)
	if err != nil {
		return "", err
	}
	defer p.close()
	for size := 256; ; size *= 4 {
		b := make([]byte, size)
		n, err := openAgain(func() (int, error) { return unix.Readlinkat(p.fd, p.name, b) })
		if err != nil {
			return "", err
		}
		if n < size {
			return string(b[:n]), nil
		}
	}
}

// OpenFile opens a regular file to be read. It never waits for a pipe or another process: anything else than a regular file is
// refused with ErrNotRegular, a link with ErrOutside.
func (r *Root) OpenFile(path string) (*os.File, error) {
	fd, err := r.openRegular(path, unix.O_RDONLY)
	if err != nil {
		return nil, pathError("open", path, err)
	}
	return r.file(fd, path), nil
}

// Fstat tells of an open file.
func Fstat(f *os.File) (Info, error) {
	defer runtime.KeepAlive(f)
	info, err := fstat(int(f.Fd()))
	if err != nil {
		return Info{}, pathError("stat", f.Name(), err)
	}
	return info, nil
}
