//go:build !linux

package beneath

import "golang.org/x/sys/unix"

// Extended attributes are kept on Linux only: elsewhere their names and rules are others. What comes from a peer is refused.

// errNoXattr is what getting or removing an attribute gives that is not there.
const errNoXattr = unix.ENOENT

func listXattrs(fd int) ([]string, error) { return nil, nil }

func getXattr(fd int, name string) ([]byte, error) { return nil, errNoXattr }

func setXattr(fd int, name string, value []byte) error { return unix.ENOTSUP }

func removeXattr(fd int, name string) error { return unix.ENOTSUP }
