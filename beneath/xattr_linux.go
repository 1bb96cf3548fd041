package beneath

import (
	"strings"

	"golang.org/x/sys/unix"
)

// errNoXattr is what getting or removing an attribute gives that is not there.
const errNoXattr = unix.ENODATA

// listXattrs returns the names of the extended attributes: flistxattr(2).
func listXattrs(fd int) ([]string, error) {
	var small [256]byte
	b := small[:]
	for {
		n, err := openAgain(func() (int, error) { return unix.Flistxattr(fd, b) })
		switch err {
		case nil:
			if n == 0 {
				return nil, nil
			}
			return strings.Split(strings.TrimSuffix(string(b[:n]), "\x00"), "\x00"), nil
		case unix.EOPNOTSUPP, unix.ENOSYS:
			return nil, nil
		case unix.ERANGE:
			if len(b) < 64<<10 { // XATTR_LIST_MAX
				b = make([]byte, 64<<10)
				continue
			}
		}
		return nil, err
	}
}

// getXattr returns a value, of at most 64 KiB (XATTR_SIZE_MAX): fgetxattr(2).
func getXattr(fd int, name string) ([]byte, error) {
	for size := 256; ; size = 64 << 10 {
		b := make([]byte, size)
		n, err := openAgain(func() (int, error) { return unix.Fgetxattr(fd, name, b) })
		if err == unix.ERANGE && size < 64<<10 {
			continue
		}
		if err != nil {
			return nil, err
		}
		return b[:n:n], nil
	}
}

func setXattr(fd int, name string, value []byte) error {
	return again(func() error { return unix.Fsetxattr(fd, name, value, 0) })
}

func removeXattr(fd int, name string) error {
	return again(func() error { return unix.Fremovexattr(fd, name) })
}
