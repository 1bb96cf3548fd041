package control

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// reach returns a name for path that fits into a socket address; it is good until release is called. A long
// path is reached through the opened directory: /proc/self/fd/N/NAME (proc_pid_fd(5)).
func reach(path string) (near string, release func(), err error) {
	if len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	dir, name := filepath.Split(path)
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, fmt.Errorf("open %s: %w", dir, err)
	}
	near = fmt.Sprintf("/proc/self/fd/%d/%s", fd, name)
	if len(near) > maxSocketPath {
		unix.Close(fd)
		return "", nil, fmt.Errorf("%w: %s", errTooLong, name)
	}
	return near, func() { unix.Close(fd) }, nil
}
