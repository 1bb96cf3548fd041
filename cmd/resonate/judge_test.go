//go:build linux

package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// A content is what a file holds, or a symlink.
type content [sha256.Size]byte

func contentOf(data []byte) content       { return sha256.Sum256(data) }
func contentOfLink(target string) content { return sha256.Sum256([]byte("link to " + target)) }

// A judge knows every content that a user wrote, by looking over the users' shoulders alone, and at the end demands to
// see each: in somebody's folder or history. Only what the user who wrote it knowingly replaced may be gone.
type judge struct {
	mu      sync.Mutex
	written map[testimony]string // how
	excused map[testimony]bool
}

// A testimony is that a user wrote a content.
type testimony struct {
	user string
	content
}

func newJudge() *judge {
	return &judge{written: make(map[testimony]string), excused: make(map[testimony]bool)}
}

// wrote notes a content as a finished operation of a user has left it.
func (j *judge) wrote(user string, c content, how string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.written[testimony{user, c}] = how
	delete(j.excused, testimony{user, c})
}

// replaced notes that a user did away with a content, having seen it.
func (j *judge) replaced(user string, c content) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.excused[testimony{user, c}] = true
}

// lost returns how each content was written that is nowhere in the folders or their histories.
func (j *judge) lost(t testing.TB, dirs []string) (lost []string) {
	t.Helper()
	there := make(map[content]bool)
	for _, dir := range dirs {
		if err := contentsIn(dir, there); err != nil {
			t.Fatal(err)
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for w, how := range j.written {
		if !there[w.content] && !j.excused[w] {
			lost = append(lost, fmt.Sprintf("%s: %s (sha256 %x)", w.user, how, w.content[:6]))
		}
	}
	slices.Sort(lost)
	return lost
}

// contentsIn collects what lies in a folder, its history included. Temporary files of the program are no place to find
// anything.
func contentsIn(dir string, there map[content]bool) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && strings.HasSuffix(path, "/.resonate/tmp"):
			return fs.SkipDir
		case e.Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			there[contentOfLink(target)] = true
			return err
		case e.Type().IsRegular():
			data, err := os.ReadFile(path)
			there[contentOf(data)] = true
			return err
		}
		return nil
	})
}

// A witness holds what stands at a path open, so that it can be told afterwards whether an operation did away with
// exactly that.
type witness struct {
	fd      int
	content content
}

// see opens what stands at a path and reads it. A nil witness: there is nothing to lose.
func see(path string) (*witness, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		return nil, nil
	case errors.Is(err, unix.ELOOP):
		return seeLink(path)
	case err != nil:
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT == unix.S_IFDIR {
		unix.Close(fd)
		return nil, err
	}
	data, err := io.ReadAll(io.NewSectionReader(fdReader(fd), 0, 1<<40))
	return &witness{fd: fd, content: contentOf(data)}, err
}

// fdReader reads from a descriptor that belongs to somebody else.
type fdReader int

func (f fdReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := unix.Pread(int(f), p, off)
	if n == 0 && err == nil {
		err = io.EOF
	}
	return max(n, 0), err
}

func seeLink(path string) (*witness, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	buf := make([]byte, 4096)
	n, err := unix.Readlinkat(fd, "", buf)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &witness{fd: fd, content: contentOfLink(string(buf[:n]))}, nil
}

// gone tells whether what the witness saw has no name any more, and lets go of it. If it has one, something else stood
// at the path when the operation took place, which the user did not see: that is not excused.
func (w *witness) gone() bool {
	if w == nil {
		return false
	}
	defer unix.Close(w.fd)
	var st unix.Stat_t
	return unix.Fstat(w.fd, &st) == nil && st.Nlink == 0
}
