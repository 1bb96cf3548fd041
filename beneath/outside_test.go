package beneath

import (
	"maps"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// onPath is every operation that takes a path.
func onPath(r *Root, path string) map[string]func() error {
	return map[string]func() error{
		"Lstat":     func() error { _, err := r.Lstat(path); return err },
		"ReadDir":   func() error { _, err := r.ReadDir(path); return err },
		"Readlink":  func() error { _, err := r.Readlink(path); return err },
		"OpenFile":  func() error { _, err := r.OpenFile(path); return err },
		"Create":    func() error { _, err := r.Create("t", path, 0o644); return err },
		"Xattrs":    func() error { _, _, err := r.Xattrs(path); return err },
		"SetXattrs": func() error { _, err := r.SetXattrs("t", path, nil); return err },
		"Chown":     func() error { return r.Chown("t", path, 1, 1) },
		"Link":      func() error { return r.Link("t", path, "linked") },
		"Mkdir":     func() error { return r.Mkdir("t", path, 0o755) },
		"MkdirAll":  func() error { return r.MkdirAll("t", path, 0o755) },
		"Symlink":   func() error { return r.Symlink("t", "target", path) },
		"Move from": func() error { return r.Move("t", path, "moved") },
		"Move to":   func() error { return r.Move("t", "mine", path) },
		"Exchange":  func() error { return r.Exchange("t", "mine", path) },
		"Swap":      func() error { return r.Exchange("t", path, "mine") },
		"Remove":    func() error { return r.Remove("t", path) },
		"RemoveDir": func() error { return r.RemoveDir("t", path) },
		"Chmod":     func() error { return r.Chmod("t", path, 0o600) },
		"SetMTime":  func() error { return r.SetMTime("t", path, 1) },
	}
}

func TestInvalidPathsRefused(t *testing.T) {
	eachOpener(t, func(t *testing.T, r *Root, dir string) {
		write(t, dir+"/mine", "mine")
		before := snapshot(t, dir)
		for _, path := range []string{"", "/etc", "..", "../x", "a/../mine", "./mine", "mine/", "a//b", "mine\x00", strings.Repeat("n", 256)} {
			for name, op := range onPath(r, path) {
				wantError(t, name+" of "+clip(path), op(), ErrInvalidPath)
			}
		}
		for name, op := range onPath(r, ".") {
			switch name {
			case "Lstat", "ReadDir", "MkdirAll", "Chmod", "SetMTime", "Xattrs", "SetXattrs", "Chown":
			default:
				wantError(t, name+" of the root", op(), ErrInvalidPath)
			}
		}
		if after := snapshot(t, dir); !maps.Equal(after, before) {
			t.Errorf("a refused operation acted: %v, was %v", after, before)
		}
	})
}

func TestSymlinkRefused(t *testing.T) {
	eachOpener(t, func(t *testing.T, r *Root, dir string) {
		outside := t.TempDir()
		write(t, outside+"/sub/file", "secret")
		write(t, dir+"/mine", "mine")
		write(t, dir+"/real/sub/file", "inside")
		must(t, os.Symlink(outside, dir+"/out"))
		must(t, os.Symlink("../../../../../../../..", dir+"/up"))
		must(t, os.Symlink("real", dir+"/in"))
		must(t, os.Symlink("sub", dir+"/real/deep"))
		must(t, os.Symlink("loop", dir+"/loop"))
		before, beforeOut := snapshot(t, dir), snapshot(t, outside)

		for _, path := range []string{"out/sub", "out/sub/file", "out/new", "up/etc", "in/sub", "in/sub/file", "real/deep/file", "loop/x"} {
			for name, op := range onPath(r, path) {
				wantError(t, name+" of "+path, op(), ErrOutside)
			}
		}
		for _, path := range []string{"out", "in", "real/deep", "loop"} {
			_, err := r.OpenFile(path)
			wantError(t, "OpenFile of "+path, err, ErrOutside)
			_, err = r.ReadDir(path)
			wantError(t, "ReadDir of "+path, err, ErrOutside)
			_, err = r.Create("t", path, 0o644)
			wantError(t, "Create of "+path, err, unix.EEXIST)
		}
		if after := snapshot(t, dir); !maps.Equal(after, before) {
			t.Errorf("a refused operation acted inside: %v, was %v", after, before)
		}
		if after := snapshot(t, outside); !maps.Equal(after, beforeOut) {
			t.Errorf("a refused operation acted outside: %v, was %v", after, beforeOut)
		}
	})
}
