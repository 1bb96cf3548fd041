package beneath

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func sameTime(got, want int64) bool { return got == want }

func TestReadDirKinds(t *testing.T) {
	dir := t.TempDir()
	r := openTest(t, dir, openBeneath)
	write(t, dir+"/file", "x")
	must(t, os.Mkdir(dir+"/dir", 0o755))
	must(t, os.Symlink("x", dir+"/link"))
	must(t, unix.Mkfifo(dir+"/fifo", 0o600))
	entries, err := r.ReadDir(".")
	must(t, err)
	got := map[string]Kind{}
	for _, e := range entries {
		got[e.Name] = e.Kind
	}
	if want := map[string]Kind{"file": File, "dir": Dir, "link": Symlink, "fifo": Other}; !maps.Equal(got, want) {
		t.Errorf("ReadDir = %v, want %v", got, want)
	}
}

func TestBusyWriting(t *testing.T) {
	dir := t.TempDir()
	r := openTest(t, dir, openBeneath)
	write(t, dir+"/file", "x")
	f, err := r.OpenFile("file")
	must(t, err)
	defer f.Close()
	want := func(when string, want bool) {
		t.Helper()
		if got, err := BusyWriting(f); got != want || err != nil {
			t.Errorf("%s: BusyWriting = %v, %v, want %v", when, got, err, want)
		}
	}
	if _, err := BusyWriting(f); errors.Is(err, unix.EINVAL) {
		skip(t, "this file system has no leases")
	}
	want("at rest", false)
	w, err := os.OpenFile(dir+"/file", os.O_WRONLY, 0)
	must(t, err)
	want("open for writing", true)
	must(t, w.Close())
	want("closed again", false)
	if kind, err := unix.FcntlInt(f.Fd(), unix.F_GETLEASE, 0); err != nil || kind != unix.F_UNLCK {
		t.Errorf("lease afterwards = %d, %v, want none", kind, err)
	}
	must(t, f.Close())
	if _, err := BusyWriting(f); err == nil {
		t.Error("BusyWriting of a closed file: no error")
	}
}

func TestReadOnly(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_RDONLY, ""); err != nil {
		skip(t, "mounting needs root: "+err.Error())
	}
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	r := openTest(t, dir, openBeneath)
	if ro, err := r.ReadOnly(); err != nil || !ro {
		t.Errorf("ReadOnly = %v, %v, want true", ro, err)
	}
	wantError(t, "Mkdir", r.Mkdir("t", "d", 0o755), unix.EROFS)
}

func TestChmodByProc(t *testing.T) {
	dir := t.TempDir()
	r := openTest(t, dir, openBeneath)
	write(t, dir+"/file", "x")
	must(t, os.Symlink("file", dir+"/link"))
	must(t, r.on("t", "file", func(p place) error { return p.chmodByProc(0o4711) }))
	if info, err := r.Lstat("file"); err != nil || info.Mode != 0o4711 {
		t.Errorf("mode = %o, %v, want 4711", info.Mode, err)
	}
	for name, chmod := range map[string]func(p place) error{
		"fchmodat2": func(p place) error { return p.chmod(0o600) },
		"proc":      func(p place) error { return p.chmodByProc(0o600) },
	} {
		wantError(t, name+" of a link", r.on("t", "link", chmod), errors.ErrUnsupported)
	}
}

// TestRaceWithLink has a directory and a link to outside change places all the time while every operation goes through that name.
// What is outside has the same names, so an operation that got there would show.
func TestRaceWithLink(t *testing.T) {
	eachOpener(t, func(t *testing.T, r *Root, dir string) {
		const rounds = 300
		outside := t.TempDir()
		for _, d := range []string{outside, dir + "/d"} {
			for _, name := range []string{"file", "move", "sub/file"} {
				write(t, d+"/"+name, "inside")
			}
			for i := range rounds {
				write(t, fmt.Sprint(d, "/gone", i), "")
			}
			must(t, os.Mkdir(d+"/empty", 0o755))
		}
		write(t, outside+"/file", "secret: longer")
		write(t, outside+"/only-outside", "secret")
		must(t, os.Symlink(outside, dir+"/l"))
		before := snapshot(t, outside)

		var stop atomic.Bool
		var swapper sync.WaitGroup
		swapper.Go(func() {
			for !stop.Load() {
				if err := unix.Renameat2(r.fd, "d", r.fd, "l", unix.RENAME_EXCHANGE); err != nil {
					t.Error(err)
					return
				}
			}
		})
		var ok, refused int
		deadline := time.Now().Add(10 * time.Second)
		for i := 0; i < rounds || (ok == 0 || refused == 0) && time.Now().Before(deadline); i++ {
			for _, err := range raceRound(t, r, i) {
				if err == nil {
					ok++
				} else if errors.Is(err, ErrOutside) {
					refused++
				}
			}
		}
		stop.Store(true)
		swapper.Wait()
		if ok == 0 || refused == 0 {
			t.Errorf("%d operations done, %d refused: there was no race", ok, refused)
		}
		if after := snapshot(t, outside); !maps.Equal(after, before) {
			t.Errorf("something outside was changed: %v, was %v", after, before)
		}
	})
}

// raceRound does each operation once, and looks at what those that read have seen.
func raceRound(t *testing.T, r *Root, i int) []error {
	t.Helper()
	info, errStat := r.Lstat("d/file")
	if errStat == nil && info.Size != int64(len("inside")) {
		t.Errorf("Lstat saw the file outside: %+v", info)
	}
	f, errOpen := r.OpenFile("d/file")
	if errOpen == nil {
		if b, err := io.ReadAll(f); err != nil || string(b) != "inside" {
			t.Errorf("read %q, %v, want %q", b, err, "inside")
		}
		f.Close()
	}
	entries, errDir := r.ReadDir("d")
	for _, e := range entries {
		if e.Name == "only-outside" {
			t.Error("ReadDir listed the directory outside")
		}
	}
	f, errCreate := r.Create("t", fmt.Sprint("d/new", i), 0o644)
	if errCreate == nil {
		f.Close()
	}
	return []error{
		errStat, errOpen, errDir, errCreate,
		r.Move("t", "d/move", "moved"),
		r.Move("t", "moved", "d/move"),
		r.Exchange("t", "d/file", "d/sub/file"),
		r.Remove("t", fmt.Sprint("d/gone", i)),
		r.RemoveDir("t", "d/empty"),
		r.Mkdir("t", "d/empty", 0o700),
		r.MkdirAll("t", "d/x/y", 0o755),
		r.RemoveDir("t", "d/x/y"),
		r.Symlink("t", "x", fmt.Sprint("d/link", i)),
		r.Chmod("t", "d/file", 0o600),
		r.SetMTime("t", "d/file", int64(i)),
	}
}

// TestEmulatedMoveLosesNothing has somebody put other files in the place of the one that is being moved.
func TestEmulatedMoveLosesNothing(t *testing.T) {
	const files = 1500
	dir := t.TempDir()
	r := openTest(t, dir, openBeneath)
	write(t, dir+"/from", "first")
	for i := range files {
		write(t, fmt.Sprint(dir, "/p", i), fmt.Sprint(i))
	}
	var done atomic.Bool
	var person sync.WaitGroup
	person.Go(func() {
		defer done.Store(true)
		for i := range files {
			p := place{fd: r.fd, name: fmt.Sprint("p", i)}
			from := place{fd: r.fd, name: "from"}
			if errors.Is(renameExchange(p, from), unix.ENOENT) {
				_ = renameNoReplace(p, from) // fails if it is there again, and p stays
			}
		}
	})
	for i := 0; !done.Load(); i++ {
		err := r.on2("t", "from", fmt.Sprint("out", i), moveByLink)
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EEXIST) {
			t.Error(err)
		}
	}
	person.Wait()

	entries, err := os.ReadDir(dir)
	must(t, err)
	found := map[string]bool{}
	for _, e := range entries {
		b, err := os.ReadFile(dir + "/" + e.Name())
		must(t, err)
		found[string(b)] = true
	}
	if len(found) != files+1 {
		t.Errorf("%d contents are left of %d", len(found), files+1)
	}
}
