package beneath

import (
	"bytes"
	"encoding/binary"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	dirFlags      = unix.O_PATH | unix.O_DIRECTORY
	utimeOmit     = unix.UTIME_OMIT
	mountReadOnly = unix.MS_RDONLY // ST_RDONLY of statfs(2) is the same bit
)

// openTries bounds how often openat2 is repeated after EAGAIN. It gives that when it lost a race with a rename, which passes, and
// for a file on which another process holds a write lease, which may last.
const openTries = 16

// pathMax is PATH_MAX: the kernel takes no path as long or longer in one call.
const pathMax = 4096

// openBeneath is the opener by openat2(2), a longer path in pieces: what was found so far is held open, and the way goes on from there.
func openBeneath(root int, path string, flags int, perm uint32) (int, error) {
	if len(path) < pathMax {
		return openat2(root, path, flags, perm)
	}
	for dir := root; ; {
		piece := len(path)
		how, mode := flags, perm
		if piece >= pathMax {
			piece = strings.LastIndexByte(path[:pathMax], '/') // there is one: no element is as long
			how, mode = dirFlags, 0
		}
		fd, err := openat2(dir, path[:piece], how, mode)
		if dir != root {
			unix.Close(dir)
		}
		if err != nil || piece == len(path) {
			return fd, err
		}
		dir, path = fd, path[piece+1:]
	}
}

func openat2(root int, path string, flags int, perm uint32) (int, error) {
	if flags&unix.O_PATH == 0 {
		flags |= unix.O_LARGEFILE
	}
	how := unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC),
		Mode:    uint64(perm),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	for try := 0; ; try++ {
		fd, err := unix.Openat2(root, path, &how)
		switch err {
		case nil:
			return fd, nil
		case unix.ELOOP, unix.EXDEV:
			return -1, ErrOutside
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			if try < openTries {
				continue
			}
		}
		return -1, err
	}
}

// dirents are buffers for getdents64(2).
var dirents = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// readEntries lists an open directory, and closes it.
func readEntries(fd int) ([]Entry, error) {
	defer unix.Close(fd)
	buf := dirents.Get().(*[32 << 10]byte)
	defer dirents.Put(buf)
	var entries []Entry
	for {
		n, err := openAgain(func() (int, error) { return unix.Getdents(fd, buf[:]) })
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return entries, nil
		}
		entries = appendEntries(entries, buf[:n])
	}
}

// appendEntries reads the struct linux_dirent64 of getdents64(2): inode 8 bytes, offset 8, length of the record 2, kind 1, name.
func appendEntries(entries []Entry, b []byte) []Entry {
	const nameAt = 19
	for len(b) > nameAt {
		record := b[:binary.NativeEndian.Uint16(b[16:])]
		b = b[len(record):]
		name := record[nameAt:]
		if i := bytes.IndexByte(name, 0); i >= 0 {
			name = name[:i]
		}
		if s := string(name); s != "." && s != ".." {
			entries = append(entries, Entry{Name: s, Kind: kindOfDirent(record[18])})
		}
	}
	return entries
}

func kindOfDirent(t byte) Kind {
	if t == unix.DT_UNKNOWN {
		return 0
	}
	return kindOf(uint32(t) << 12) // DT_ values are the S_IF values without their zeros
}

func renameNoReplace(from, to place) error {
	return unix.Renameat2(from.fd, from.name, to.fd, to.name, unix.RENAME_NOREPLACE)
}

func renameExchange(a, b place) error {
	return unix.Renameat2(a.fd, a.name, b.fd, b.name, unix.RENAME_EXCHANGE)
}

func (p place) unlink() error { return unix.Unlinkat(p.fd, p.name, 0) }

// chmod uses fchmodat2(2), of Linux 6.6. Without it (EOPNOTSUPP from x/sys, EPERM from the filters of some containers) the way is
// chmodByProc; that one gives the same error if the error was meant.
func (p place) chmod(perm uint32) error {
	err := again(func() error { return unix.Fchmodat(p.fd, p.name, perm, unix.AT_SYMLINK_NOFOLLOW) })
	if err != unix.EOPNOTSUPP && err != unix.EPERM {
		return err
	}
	if byProc := p.chmodByProc(perm); byProc != unix.ENOENT { // which it is without /proc
		return byProc
	}
	return err
}

// chmodByProc holds the very inode, sees that it is no link, and reaches it through /proc/self/fd.
func (p place) chmodByProc(perm uint32) error {
	fd, err := openAgain(func() (int, error) {
		return unix.Openat(p.fd, p.name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	info, err := fstat(fd)
	if err != nil {
		return err
	}
	if info.Kind == Symlink {
		return unix.EOPNOTSUPP
	}
	return again(func() error { return unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), perm) })
}

// futimens is utimensat(2) without a path, which x/sys does not offer.
func futimens(fd int, ns int64) error {
	times := mtimeOnly(ns)
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&times)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// BusyWriting tells whether anyone has f open for writing, the caller included: f must be open for reading only. It asks for
// a read lease (F_SETLEASE of fcntl(2)) and gives it back at once. The error says that this could not be asked: the caller does not own
// the file (EACCES) or the file system has no leases. Elsewhere than on Linux the answer is always no.
func BusyWriting(f *os.File) (bool, error) {
	defer runtime.KeepAlive(f)
	switch err := lease(f, unix.F_RDLCK); err {
	case nil:
	case unix.EAGAIN:
		return true, nil
	default:
		return false, pathError("lease", f.Name(), err)
	}
	return false, pathError("lease", f.Name(), lease(f, unix.F_UNLCK))
}

func lease(f *os.File, kind int) error {
	return again(func() error {
		_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, kind)
		return err
	})
}

func syncFS(fd int) error { return unix.Syncfs(fd) }

func freeBytes(st *unix.Statfs_t) uint64 {
	size := st.Frsize // the unit of the counts, where the file system tells one of its own
	if size == 0 {
		size = st.Bsize
	}
	return st.Bavail * uint64(size)
}
