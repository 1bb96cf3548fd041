package beneath

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// eachOpener runs a test with the platform's way of resolving paths and with the walk.
func eachOpener(t *testing.T, test func(t *testing.T, r *Root, dir string)) {
	t.Helper()
	for _, way := range []struct {
		name string
		open opener
	}{{"platform", openBeneath}, {"walk", walkBeneath}} {
		t.Run(way.name, func(t *testing.T) {
			dir := t.TempDir()
			test(t, openTest(t, dir, way.open), dir)
		})
	}
}

func openTest(t testing.TB, dir string, open opener) *Root {
	t.Helper()
	r, err := openRoot(dir, open)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
			t.Error(err)
		}
	})
	return r
}

// write makes a file, and the directories above it, behind the back of the Root.
func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantContent(t testing.TB, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("content of %s = %q, %v, want %q", path, got, err, want)
	}
}

func wantError(t testing.TB, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: error = %v, want %v", what, got, want)
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/file", "x")
	must(t, os.Symlink(dir, dir+"/link"))

	for _, c := range []struct {
		name, path string
		want       error
	}{
		{"directory", dir, nil},
		{"through a link", dir + "/link", nil},
		{"file", dir + "/file", unix.ENOTDIR},
		{"absent", dir + "/absent", fs.ErrNotExist},
		{"no name", "", fs.ErrNotExist},
	} {
		r, err := Open(c.path)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: Open error = %v, want %v", c.name, err, c.want)
		}
		if err != nil {
			continue
		}
		if got := r.Name(); got != c.path {
			t.Errorf("%s: Name = %q, want %q", c.name, got, c.path)
		}
		must(t, r.Close())
	}
}

func TestOpenWithoutOpenat2(t *testing.T) {
	for _, errno := range []error{unix.ENOSYS, unix.EPERM} {
		_, err := openRoot(t.TempDir(), func(int, string, int, uint32) (int, error) { return -1, errno })
		wantError(t, errno.Error(), err, errors.ErrUnsupported)
		if err != nil && !strings.Contains(err.Error(), "openat2") {
			t.Errorf("%v: error %q does not name openat2", errno, err)
		}
	}
}

func TestClosed(t *testing.T) {
	eachOpener(t, func(t *testing.T, r *Root, dir string) {
		must(t, r.Close())
		for name, op := range operations(r) {
			wantError(t, name, op(), fs.ErrClosed)
		}
		wantError(t, "Close", r.Close(), fs.ErrClosed)
		wantError(t, "SyncFS", r.SyncFS(), fs.ErrClosed)
		wantError(t, "InPlace", r.InPlace(), fs.ErrClosed)
		_, err := r.Free()
		wantError(t, "Free", err, fs.ErrClosed)
		_, err = r.Lstat("file")
		wantError(t, "Lstat", err, fs.ErrClosed)
		_, err = r.OpenFile("file")
		wantError(t, "OpenFile", err, fs.ErrClosed)
		_, err = r.ReadDir(".")
		wantError(t, "ReadDir", err, fs.ErrClosed)
	})
}

func TestInPlace(t *testing.T) {
	dir := t.TempDir() + "/root"
	must(t, os.Mkdir(dir, 0o755))
	r := openTest(t, dir, openBeneath)
	must(t, r.InPlace())

	must(t, os.Rename(dir, dir+".moved"))
	wantError(t, "moved", r.InPlace(), ErrReplaced)
	must(t, os.Mkdir(dir, 0o755))
	wantError(t, "replaced", r.InPlace(), ErrReplaced)
	must(t, os.Remove(dir))
	must(t, os.Symlink(dir+".moved", dir))
	if err := r.InPlace(); err != nil {
		t.Errorf("reached through a link: error = %v, want nil", err)
	}
}

func TestInPlaceOfRelativePath(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Mkdir(dir+"/root", 0o755))
	t.Chdir(dir)
	r := openTest(t, "root", openBeneath)
	t.Chdir(t.TempDir())
	if err := r.InPlace(); err != nil {
		t.Errorf("after a change of directory: error = %v, want nil", err)
	}
}

func TestLstat(t *testing.T) {
	eachOpener(t, func(t *testing.T, r *Root, dir string) {
		write(t, dir+"/a/b/file", "12345")
		must(t, os.Link(dir+"/a/b/file", dir+"/hard"))
		must(t, os.Symlink("file", dir+"/a/b/link"))
		must(t, unix.Mkfifo(dir+"/fifo", 0o600))
		must(t, unix.Chmod(dir+"/a/b/file", 0o4751))

		for _, c := range []struct {
			path string
			kind Kind
		}{{".", Dir}, {"a", Dir}, {"a/b", Dir}, {"a/b/file", File}, {"a/b/link", Symlink}, {"fifo", Other}} {
			got, err := r.Lstat(c.path)
			must(t, err)
			var st unix.Stat_t
			must(t, unix.Lstat(filepath.Join(dir, c.path), &st))
			if want := infoOf(&st); got != want || got.Kind != c.kind {
				t.Errorf("Lstat(%q) = %+v, want %+v, a %v", c.path, got, want, c.kind)
			}
		}
		got, err := r.Lstat("a/b/file")
		must(t, err)
		if got.Size != 5 || got.Mode != 0o4751 || got.Links != 2 {
			t.Errorf("Lstat = size %d mode %o links %d, want 5 4751 2", got.Size, got.Mode, got.Links)
		}
		root, err := r.Info()
		must(t, err)
		if dot, _ := r.Lstat("."); dot != root {
			t.Errorf("Info = %+v, want that of \".\", %+v", root, dot)
		}
		_, err = r.Lstat("a/absent/x")
		wantError(t, "absent", err, fs.ErrNotExist)
		_, err = r.Lstat("hard/x")
		wantError(t, "below a file", err, unix.ENOTDIR)
		if err != nil && !strings.Contains(err.Error(), "hard/x") {
			t.Errorf("error %q does not name the path", err)
		}
	})
}

func TestReadDir(t *testing.T) {
	eachOpener(t, func(t *testing.T, r *Root, dir string) {
		want := []string{}
		for i := range 700 { // more than one buffer
			name := strings.Repeat("n", 60) + string(rune('a'+i%26)) + strings.Repeat("x", i/26)
			write(t, dir+"/many/"+name, "")
			want = append(want, name)
		}
		entries, err := r.ReadDir("many")
		must(t, err)
		got := []string{}
		for _, e := range entries {
			got = append(got, e.Name)
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("ReadDir gave %d names, want %d", len(got), len(want))
		}
		top, err := r.ReadDir(".")
		if err != nil || len(top) != 1 || top[0].Name != "many" {
			t.Errorf("ReadDir(.) = %v, %v, want [many]", top, err)
		}
		_, err = r.ReadDir("many/" + want[0])
		wantError(t, "a file", err, unix.ENOTDIR)
	})
}

func TestReadlink(t *testing.T) {
	eachOpener(t, func(t *testing.T, r *Root, dir string) {
		must(t, os.Mkdir(dir+"/d", 0o755))
		for _, target := range []string{"/etc/passwd", "../..", strings.Repeat("l", 256), strings.Repeat("long/", 600)} {
			must(t, r.Symlink("t", target, "d/link"))
			if got, err := r.Readlink("d/link"); err != nil || got != target {
				t.Errorf("Readlink = %q, %v, want %q", got, err, target)
			}
			wantError(t, "again", r.Symlink("t", target, "d/link"), fs.ErrExist)
			must(t, r.Remove("t", "d/link"))
		}
		_, err := r.Readlink("d")
		wantError(t, "a directory", err, unix.EINVAL)
	})
}

func TestOpenFile(t *testing.T) {
	eachOpener(t, func(t *testing.T, r *Root, dir string) {
		write(t, dir+"/a/file", "content")
		must(t, unix.Mkfifo(dir+"/fifo", 0o600))
		must(t, bindSocket(t, dir+"/socket"))

		f, err := r.OpenFile("a/file")
		must(t, err)
		defer f.Close()
		if got, err := io.ReadAll(f); err != nil || string(got) != "content" {
			t.Errorf("read %q, %v, want %q", got, err, "content")
		}
		if _, err := f.Write([]byte("x")); err == nil {
			t.Error("write to a file opened for reading: no error")
		}
		byName, err := r.Lstat("a/file")
		must(t, err)
		if got, err := Fstat(f); err != nil || got != byName {
			t.Errorf("Fstat = %+v, %v, want %+v", got, err, byName)
		}
		if flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK != 0 {
			t.Errorf("flags = %#x, %v, want blocking", flags, err)
		}
		for _, path := range []string{"fifo", "a", "socket"} {
			_, err := r.OpenFile(path)
			wantError(t, path, err, ErrNotRegular)
		}
		_, err = r.OpenFile("absent")
		wantError(t, "absent", err, fs.ErrNotExist)
	})
}

func TestReopen(t *testing.T) {
	eachOpener(t, func(t *testing.T, r *Root, dir string) {
		write(t, dir+"/a/file", "content")
		must(t, unix.Mkfifo(dir+"/fifo", 0o600))
		must(t, bindSocket(t, dir+"/socket"))
		must(t, os.Symlink("a/file", dir+"/link"))
		must(t, os.Symlink("a", dir+"/dirlink"))
		f, err := r.Reopen("t", "a/file")
		must(t, err)
		defer f.Close()
		_, err = f.WriteAt([]byte("C"), 0)
		must(t, err)
		if got, err := io.ReadAll(f); err != nil || string(got) != "Content" {
			t.Errorf("read %q, %v, want %q", got, err, "Content")
		}
		for _, path := range []string{"fifo", "a", "socket"} {
			_, err := r.Reopen("t", path)
			wantError(t, path, err, ErrNotRegular)
		}
		for _, path := range []string{"link", "dirlink/file"} {
			_, err := r.Reopen("t", path)
			wantError(t, path, err, ErrOutside)
		}
		_, err = r.Reopen("t", "absent")
		wantError(t, "absent", err, fs.ErrNotExist)
	})
}

// bindSocket leaves a socket at path. Its address is relative, for it is bounded to about 100 bytes.
func bindSocket(t *testing.T, path string) error {
	t.Helper()
	t.Chdir(filepath.Dir(path))
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	t.Cleanup(func() { unix.Close(fd) })
	return unix.Bind(fd, &unix.SockaddrUnix{Name: filepath.Base(path)})
}

func TestCreateAndMkdir(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	eachOpener(t, func(t *testing.T, r *Root, dir string) {
		must(t, r.Mkdir("t", "d", 0o755))
		for _, perm := range []uint32{0o666, 0o4711, 0o400, 0, 0o2775} {
			f, err := r.Create("t", "d/file", perm)
			must(t, err)
			info, err := Fstat(f)
			if err != nil || info.Mode != perm || info.Kind != File {
				t.Errorf("Create(%o) made %v with mode %o, %v", perm, info.Kind, info.Mode, err)
			}
			if _, err := f.WriteAt([]byte("x"), 0); err != nil {
				t.Errorf("write to a file made with mode %o: %v", perm, err)
			}
			must(t, f.Close())
			_, err = r.Create("t", "d/file", perm)
			wantError(t, "Create again", err, fs.ErrExist)
			must(t, r.Remove("t", "d/file"))
		}
		for _, perm := range []uint32{0o777, 0o3770, 0} {
			must(t, r.Mkdir("t", "d/sub", perm))
			info, err := r.Lstat("d/sub")
			if err != nil || info.Mode != perm || info.Kind != Dir {
				t.Errorf("Mkdir(%o) made %v with mode %o, %v", perm, info.Kind, info.Mode, err)
			}
			wantError(t, "Mkdir again", r.Mkdir("t", "d/sub", perm), fs.ErrExist)
			must(t, r.RemoveDir("t", "d/sub"))
		}
	})
}

func TestMkdirAll(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	eachOpener(t, func(t *testing.T, r *Root, dir string) {
		must(t, r.Mkdir("t", "a", 0o700))
		for range 2 {
			must(t, r.MkdirAll("t", "a/b/c", 0o755))
		}
		must(t, r.MkdirAll("t", ".", 0o755))
		for path, want := range map[string]uint32{"a": 0o700, "a/b": 0o755, "a/b/c": 0o755} {
			if info, err := r.Lstat(path); err != nil || info.Mode != want || info.Kind != Dir {
				t.Errorf("%s: %v with mode %o, %v, want directory with mode %o", path, info.Kind, info.Mode, err, want)
			}
		}
		write(t, dir+"/a/file", "x")
		wantError(t, "onto a file", r.MkdirAll("t", "a/file", 0o755), unix.ENOTDIR)
		wantError(t, "below a file", r.MkdirAll("t", "a/file/x/y", 0o755), unix.ENOTDIR)
		must(t, os.Symlink("b", dir+"/a/link"))
		wantError(t, "onto a link", r.MkdirAll("t", "a/link", 0o755), ErrOutside)
		wantError(t, "below a link", r.MkdirAll("t", "a/link/x", 0o755), ErrOutside)
	})
}

func TestRemove(t *testing.T) {
	eachOpener(t, func(t *testing.T, r *Root, dir string) {
		write(t, dir+"/d/file", "x")
		must(t, os.Symlink("file", dir+"/d/link"))
		if err := r.Remove("t", "d"); err == nil {
			t.Error("Remove of a directory: no error")
		}
		wantError(t, "RemoveDir of a full directory", r.RemoveDir("t", "d"), unix.ENOTEMPTY)
		wantError(t, "RemoveDir of a file", r.RemoveDir("t", "d/file"), unix.ENOTDIR)
		must(t, r.Remove("t", "d/link"))
		wantContent(t, dir+"/d/file", "x")
		must(t, r.Remove("t", "d/file"))
		wantError(t, "Remove again", r.Remove("t", "d/file"), fs.ErrNotExist)
		must(t, r.RemoveDir("t", "d"))
		if entries, err := r.ReadDir("."); err != nil || len(entries) != 0 {
			t.Errorf("left: %v, %v", entries, err)
		}
	})
}

func TestVolume(t *testing.T) {
	r := openTest(t, t.TempDir(), openBeneath)
	must(t, r.SyncFS())
	var st unix.Statfs_t
	must(t, unix.Statfs(r.Name(), &st))
	if free, err := r.Free(); err != nil || free == 0 || free > uint64(st.Blocks)*uint64(st.Bsize) {
		t.Errorf("Free = %d, %v, want more than 0 and at most %d blocks", free, err, st.Blocks)
	}
	if ro, err := r.ReadOnly(); err != nil || ro {
		t.Errorf("ReadOnly = %v, %v, want false", ro, err)
	}
}

func TestStatDir(t *testing.T) {
	eachOpener(t, func(t *testing.T, r *Root, dir string) {
		write(t, filepath.Join(dir, "d/f"), "four")
		must(t, os.Mkdir(filepath.Join(dir, "d/e"), 0o750))
		must(t, os.Symlink("f", filepath.Join(dir, "d/l")))
		stats, err := r.StatDir("d")
		must(t, err)
		got := make(map[string]Info)
		for _, s := range stats {
			if s.Err != nil {
				t.Errorf("%s: %v", s.Name, s.Err)
			}
			want, err := r.Lstat("d/" + s.Name)
			must(t, err)
			if s.Info != want {
				t.Errorf("%s: got %+v, want %+v", s.Name, s.Info, want)
			}
			got[s.Name] = s.Info
		}
		if len(got) != 3 || got["f"].Size != 4 || got["e"].Kind != Dir || got["l"].Kind != Symlink {
			t.Errorf("got %+v, want the three names in d", got)
		}
		if _, err := r.StatDir("none"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("StatDir of nothing: got %v, want fs.ErrNotExist", err)
		}
	})
}

// TestPin has another directory stand where the pinned one stood: until it is pinned again, the old one is meant.
func TestPin(t *testing.T) {
	eachOpener(t, func(t *testing.T, r *Root, dir string) {
		write(t, filepath.Join(dir, "tmp/a"), "a")
		must(t, r.Pin("tmp"))
		must(t, r.Move("", "tmp/a", "b"))
		must(t, os.Rename(filepath.Join(dir, "tmp"), filepath.Join(dir, "old")))
		write(t, filepath.Join(dir, "tmp/c"), "c")
		if _, err := r.Lstat("tmp/c"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("before it is pinned again: got %v, want fs.ErrNotExist", err)
		}
		must(t, r.Pin("tmp"))
		must(t, r.Move("", "tmp/c", "c"))
		if err := r.Pin("none"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Pin of nothing: got %v, want fs.ErrNotExist", err)
		}
	})
}

// skip says why a test cannot run here; where everything must run it fails.
func skip(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("RESONATE_CI") == "1" {
		t.Fatal(why)
	}
	t.Skip(why)
}
