//go:build !linux

package control

import "fmt"

// reach returns a name for path that fits into a socket address; it is good until release is called.
func reach(path string) (near string, release func(), err error) {
	if len(path) > maxSocketPath {
		return "", nil, fmt.Errorf("%w: %d bytes, at most %d; set XDG_RUNTIME_DIR to a shorter directory",
			errTooLong, len(path), maxSocketPath)
	}
	return path, func() {}, nil
}
