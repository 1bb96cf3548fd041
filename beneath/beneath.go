// Package beneath is the one door to the files of a folder: no path, symbolic link or race leads outside its root.
//
// A Root holds the directory open, and every operation starts from that descriptor, never from a path of the process. A path
// is resolved without following any symbolic link: on Linux by openat2(2) with RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS and
// RESOLVE_NO_MAGICLINKS, elsewhere by a walk that opens one element at a time with O_NOFOLLOW. The operation itself is then one
// *at call on the parent directory that was found, so whoever swaps a directory for a link in between gains nothing. What stays
// possible: a directory that somebody moves out of the root while an operation is under way is still the directory that was
// found. Mounts below the root are crossed.
//
// os.Root is not used, even where openat2 is lacking: it follows links inside the root, has neither exchange nor no-replace, and
// cannot set the times of a link.
//
// Every operation that could lose data takes a Label, at which a test can make it fail or stop the process; the operation has done
// nothing then. Such an operation is not repeated after EINTR (some network and FUSE file systems give it): whether it was
// done is for the caller to look at.
//
// Paths are relative, separated by slashes, and follow the rule of Valid; "." names the root where a directory is meant. Errors
// are *fs.PathError, or *os.LinkError where two paths take part. All methods of Root may be called at the same time, except
// Close and SetFault.
package beneath

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Label names a risky operation in its context, such as "apply.swap".
type Label string

// Kind is what a name stands for. The zero Kind means that it is not known.
type Kind uint8

// The kinds of names. Other is a socket, a pipe or a device.
const (
	File Kind = iota + 1
	Dir
	Symlink
	Other
)

func (k Kind) String() string {
	switch k {
	case File:
		return "file"
	case Dir:
		return "directory"
	case Symlink:
		return "symbolic link"
	case Other:
		return "special file"
	}
	return "unknown"
}

// Info is what lstat(2) tells of a name, as far as it is of use.
type Info struct {
	Kind   Kind
	Mode   uint32 // permission bits with setuid, setgid and sticky: 07777
	Size   int64  // bytes
	MTime  int64  // nanoseconds since 1970, right from 1678 to 2262
	CTime  int64  // when content, attributes or links last changed; as MTime
	UID    uint32
	GID    uint32
	Inode  uint64
	Device uint64
	Links  uint64
}

// Entry is a name in a directory. Kind is zero where the file system or the platform does not tell.
type Entry struct {
	Name string
	Kind Kind
}

// opener opens path, which is valid, below the directory root without following a symbolic link, and returns a descriptor with
// close-on-exec. The links are ErrOutside; other errors are an errno.
type opener func(root int, path string, flags int, perm uint32) (int, error)

// Root is a directory, and the way to everything below it.
type Root struct {
	name  string // as given to Open
	abs   string // where it led then, should the process change its directory
	fd    int    // -1 once closed
	open  opener
	fault func(Label) error
	pins  pins

	spelled *spellings // nil: names are as the file system has them

	// Seen, where it is not nil, gets what was found, and returns what Lstat and StatDir tell in its place. It must be safe for concurrent use. Set
	// it before use.
	Seen func(Info) Info

	// Capabilities says whether XattrCapability is set where it is wanted, or refused with ErrPrivilege. Set it before use.
	Capabilities bool
}

// Open opens the directory dir as a root. The path to it may lead through symbolic links. On Linux it needs openat2(2), and
// fails with an error that is errors.ErrUnsupported where the kernel (before 5.6) or a container's filter does not have it.
func Open(dir string) (*Root, error) {
	return openRoot(dir, openBeneath)
}

func openRoot(dir string, open opener) (*Root, error) {
	if dir == "" {
		return nil, pathError("open", dir, unix.ENOENT)
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, pathError("open", dir, err)
	}
	// Not O_PATH: syncfs and fsync want a real descriptor.
	fd, err := openAgain(func() (int, error) {
		return unix.Open(abs, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, pathError("open", dir, err)
	}
	probe, err := open(fd, ".", dirFlags, 0)
	if err != nil {
		unix.Close(fd)
		// Container filters older than openat2 answer EPERM for calls that they do not know.
		if err == unix.ENOSYS || err == unix.EPERM {
			err = fmt.Errorf("openat2(2) is not available (it needs Linux 5.6, and a container that permits it): %w", errors.ErrUnsupported)
		}
		return nil, pathError("open", dir, err)
	}
	unix.Close(probe)
	return &Root{name: dir, abs: abs, fd: fd, open: open}, nil
}

// Close releases the directory. No other call may be under way; later ones fail with fs.ErrClosed.
func (r *Root) Close() error {
	if r.fd < 0 {
		return pathError("close", r.name, fs.ErrClosed)
	}
	fd := r.fd
	r.fd = -1
	r.pins.close()
	return pathError("close", r.name, unix.Close(fd))
}

// Name returns the path that was given to Open.
func (r *Root) Name() string { return r.name }

// Info tells of the root itself.
func (r *Root) Info() (Info, error) {
	info, err := r.info()
	return info, pathError("stat", r.name, err)
}

func (r *Root) info() (Info, error) {
	if r.fd < 0 {
		return Info{}, fs.ErrClosed
	}
	return fstat(r.fd)
}

// InPlace tells whether the path given to Open still leads to this very directory, by device and inode. Otherwise, if it leads
// elsewhere or nowhere, the error is ErrReplaced.
func (r *Root) InPlace() error {
	here, err := r.info()
	if err != nil {
		return pathError("stat", r.name, err)
	}
	var st unix.Stat_t
	err = again(func() error { return unix.Stat(r.abs, &st) })
	switch {
	case err == unix.ENOENT || err == unix.ENOTDIR:
		return pathError("stat", r.name, ErrReplaced)
	case err != nil:
		return pathError("stat", r.name, err)
	}
	if there := infoOf(&st); there.Inode != here.Inode || there.Device != here.Device {
		return pathError("stat", r.name, ErrReplaced)
	}
	return nil
}

// SetFault makes f be called before every labelled operation; an error that it returns is the operation's error, and the
// operation does nothing. nil takes it away. It is for tests, and to be set before the Root is used.
func (r *Root) SetFault(f func(Label) error) { r.fault = f }

// At is a labelled point that is no file operation of its own, such as one between two steps that must survive a crash.
func (r *Root) At(l Label) error {
	if r.fault == nil {
		return nil
	}
	return r.fault(l)
}

// risk is what every labelled operation on one path begins with.
func (r *Root) risk(l Label, path string) error {
	if err := Valid(path); err != nil {
		return err
	}
	return r.At(l)
}

// risk2 is risk for an operation on two paths.
func (r *Root) risk2(l Label, a, b string) error {
	if err := Valid(a); err != nil {
		return err
	}
	return r.risk(l, b)
}

// file wraps an open descriptor; its name, for messages, is the whole path.
func (r *Root) file(fd int, path string) *os.File {
	return os.NewFile(uintptr(fd), r.name+"/"+path)
}
