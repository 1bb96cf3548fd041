package beneath

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// MaxXattrs bounds the extended attributes of one file or directory that are read: names and values together, in bytes.
const MaxXattrs = 512 << 10

// An Xattr is one extended attribute.
type Xattr struct {
	Name  string
	Value []byte
}

// A RefusedXattr is an attribute that a file cannot have here, and why: the file system does not have such attributes or no
// room for this one, or this user may not set it.
type RefusedXattr struct {
	Name string
	Err  error
}

// The extended attributes that are no user's, and yet a property of the file: see acl(5) and capabilities(7).
const (
	XattrAccessACL  = "system.posix_acl_access"
	XattrDefaultACL = "system.posix_acl_default"
	XattrCapability = "security.capability"
)

// ErrPrivilege tells that capabilities are not given to files here: whoever runs such a file has them.
var ErrPrivilege = errors.New("it would give privileges to whoever runs the file")

// OwnXattr tells whether an extended attribute belongs to the file itself, and is read and set here. All others (trusted.*, labels of
// security modules, what a file system shows of its own state) belong to the machine: they are neither read nor touched.
func OwnXattr(name string) bool {
	switch name {
	case XattrAccessACL, XattrDefaultACL, XattrCapability:
		return true
	}
	return strings.HasPrefix(name, "user.") && len(name) > len("user.")
}

// Xattrs returns the extended attributes (see OwnXattr) of a file or directory, in ascending order of name. What goes beyond MaxXattrs
// is left out: over has the names. Where there are no such attributes, as on some file systems and outside Linux, the list is empty.
func (r *Root) Xattrs(path string) (list []Xattr, over []string, err error) {
	err = r.onOpen(path, func(fd int) (err error) {
		list, over, err = readXattrs(fd)
		return err
	})
	return list, over, pathError("read the extended attributes of", path, err)
}

// SetXattrs gives a file or directory these extended attributes and no other (see OwnXattr; what Xattrs leaves out stays). Those that cannot
// be had here are returned, and are no error. It may change the permission bits: those of an access ACL are the file's own. The
// label stands before each attribute that is set or removed.
func (r *Root) SetXattrs(l Label, path string, want []Xattr) (refused []RefusedXattr, err error) {
	err = r.onOpen(path, func(fd int) (err error) {
		refused, err = r.writeXattrs(l, fd, want)
		return err
	})
	return refused, pathError("set the extended attributes of", path, err)
}

// FXattrs is Xattrs for an open file.
func FXattrs(f *os.File) (list []Xattr, over []string, err error) {
	defer runtime.KeepAlive(f)
	list, over, err = readXattrs(int(f.Fd()))
	return list, over, pathError("read the extended attributes of", f.Name(), err)
}

// FSetXattrs is SetXattrs for an open file that is not in place yet.
func (r *Root) FSetXattrs(l Label, f *os.File, want []Xattr) (refused []RefusedXattr, err error) {
	defer runtime.KeepAlive(f)
	refused, err = r.writeXattrs(l, int(f.Fd()), want)
	return refused, pathError("set the extended attributes of", f.Name(), err)
}

// onOpen calls do with a descriptor of the file or directory at path, open for reading.
func (r *Root) onOpen(path string, do func(fd int) error) error {
	if err := validDir(path); err != nil {
		return err
	}
	if r.fd < 0 {
		return fs.ErrClosed
	}
	fd, err := r.open(r.fd, path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err == unix.ENXIO || err == unix.EOPNOTSUPP { // a socket
		return ErrNotRegular
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	info, err := fstat(fd)
	if err != nil {
		return err
	}
	if info.Kind != File && info.Kind != Dir {
		return ErrNotRegular
	}
	return do(fd)
}

func readXattrs(fd int) (list []Xattr, over []string, err error) {
	names, err := listXattrs(fd)
	if err != nil {
		return nil, nil, err
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !OwnXattr(name) })
	slices.Sort(names)
	room := MaxXattrs
	for _, name := range names {
		value, err := getXattr(fd, name)
		if err == errNoXattr { // removed in this instant
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		if size := len(name) + len(value); size <= room {
			room -= size
			list = append(list, Xattr{name, value})
		} else {
			over = append(over, name)
		}
	}
	return list, over, nil
}

// writeXattrs removes what is not wanted, and sets the rest in descending order of name: user attributes need a file that its owner may
// write, which an ACL set before them might forbid.
func (r *Root) writeXattrs(l Label, fd int, want []Xattr) (refused []RefusedXattr, err error) {
	have, _, err := readXattrs(fd)
	if err != nil {
		return nil, err
	}
	wanted := func(name string) bool {
		return slices.ContainsFunc(want, func(x Xattr) bool { return x.Name == name })
	}
	for _, x := range have {
		if wanted(x.Name) {
			continue
		}
		err := r.At(l)
		if err == nil {
			err = removeXattr(fd, x.Name)
		}
		if err != nil && err != errNoXattr && !refuses(err) {
			return nil, err
		}
	}
	for _, x := range slices.Backward(want) {
		has := func(h Xattr) bool { return h.Name == x.Name && string(h.Value) == string(x.Value) }
		if !OwnXattr(x.Name) || slices.ContainsFunc(have, has) {
			continue
		}
		err := r.At(l)
		switch {
		case err != nil:
		case x.Name == XattrCapability && !r.Capabilities:
			err = ErrPrivilege
		default:
			err = setXattr(fd, x.Name, x.Value)
		}
		switch {
		case refuses(err):
			refused = append(refused, RefusedXattr{x.Name, err})
		case err != nil:
			return refused, err
		}
	}
	slices.Reverse(refused)
	return refused, nil
}

// refuses tells whether an error means that the file cannot have the attribute here, and not that the disk or the kernel failed.
func refuses(err error) bool {
	switch err {
	case ErrPrivilege, unix.EPERM, unix.EACCES, unix.EOPNOTSUPP, unix.ENOSYS, unix.ENOSPC, unix.EDQUOT, unix.E2BIG, unix.ERANGE, unix.EINVAL:
		return true
	}
	return false
}
