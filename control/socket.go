package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// maxSocketPath is the longest path that every unix takes for a socket: sun_path has 104 bytes on the BSDs
// and macOS, 108 on Linux, with the final NUL (unix(4), unix(7)).
const maxSocketPath = 103

// errTooLong: the path does not fit into a socket address.
var errTooLong = errors.New("path is too long for a unix socket")

// staging is what Listen appends to the name while the socket is not ready.
const staging = ".new"

// Listen makes the control socket at path, with mode 0600, and its directory with mode 0700 where it is
// missing. A socket left behind by a dead daemon is replaced; one that answers gives ErrInUse. Closing the
// listener removes the socket. The caller sees to it that only one process at a time listens for a folder.
func Listen(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the control socket: %w", err)
	}
	if err := refuseLive(path); err != nil {
		return nil, err
	}
	// The socket is made beside its place and renamed into it: whoever sees it sees its final mode.
	fresh := path + staging
	if err := os.Remove(fresh); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove an old control socket: %w", err)
	}
	near, release, err := reach(fresh)
	if err != nil {
		return nil, fmt.Errorf("make control socket %s: %w", path, err)
	}
	defer release()
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: near, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("make control socket %s: %w", path, err)
	}
	ln.SetUnlinkOnClose(false) // its own idea of the name is the temporary one
	l := &socketListener{UnixListener: ln, path: path}
	if l.made, err = settle(fresh, path); err != nil {
		ln.Close()
		os.Remove(fresh)
		return nil, fmt.Errorf("make control socket %s: %w", path, err)
	}
	return l, nil
}

// refuseLive fails if somebody answers at path, or if something other than a socket is there.
func refuseLive(path string) error {
	if st, err := os.Lstat(path); err == nil && st.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("make control socket %s: something else is there; move it away", path)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	conn, err := dial(ctx, path)
	switch {
	case err == nil:
		conn.Close()
		return fmt.Errorf("make control socket %s: %w", path, ErrInUse)
	case errors.Is(err, ErrNoDaemon):
		return nil
	case errors.Is(err, context.DeadlineExceeded): // a full backlog: it lives, but does not answer
		return fmt.Errorf("make control socket %s: %w", path, ErrInUse)
	}
	return err
}

// settle gives the fresh socket its mode and its name.
func settle(fresh, path string) (os.FileInfo, error) {
	if err := os.Chmod(fresh, 0o600); err != nil {
		return nil, err
	}
	st, err := os.Lstat(fresh)
	if err != nil {
		return nil, err
	}
	return st, os.Rename(fresh, path)
}

// socketListener removes its socket when closed, unless another one stands there by then.
type socketListener struct {
	*net.UnixListener
	path string
	made os.FileInfo
	once sync.Once
}

func (l *socketListener) Close() error {
	l.once.Do(func() {
		if st, err := os.Lstat(l.path); err == nil && os.SameFile(st, l.made) {
			os.Remove(l.path)
		}
	})
	return l.UnixListener.Close()
}
