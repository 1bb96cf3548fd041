package beneath

import (
	"io/fs"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// eachMove runs a test with the kernel's renames and with their emulations.
func eachMove(t *testing.T, test func(t *testing.T, dir string, move, swap func(a, b string) error)) {
	eachOpener(t, func(t *testing.T, r *Root, dir string) {
		test(t, dir,
			func(a, b string) error { return r.Move("t", a, b) },
			func(a, b string) error { return r.Exchange("t", a, b) })
	})
	t.Run("emulated", func(t *testing.T) {
		dir := t.TempDir()
		r := openTest(t, dir, openBeneath)
		test(t, dir,
			func(a, b string) error { return r.on2("t", a, b, moveByLink) },
			func(a, b string) error { return r.on2("t", a, b, exchangeByMoves) })
	})
	t.Run("without links", func(t *testing.T) {
		dir := t.TempDir()
		r := openTest(t, dir, openBeneath)
		test(t, dir,
			func(a, b string) error { return r.on2("t", a, b, moveChecked) },
			func(a, b string) error { return r.on2("t", a, b, exchangeByMoves) })
	})
}

func TestMove(t *testing.T) {
	eachMove(t, func(t *testing.T, dir string, move, _ func(a, b string) error) {
		write(t, dir+"/a/file", "one")
		write(t, dir+"/b/other", "two")
		must(t, os.Mkdir(dir+"/empty", 0o755))
		must(t, os.Symlink("/nowhere", dir+"/link"))

		must(t, move("a/file", "b/file"))
		wantContent(t, dir+"/b/file", "one")
		must(t, move("link", "b/link"))
		if target, err := os.Readlink(dir + "/b/link"); target != "/nowhere" {
			t.Errorf("moved link = %q, %v, want /nowhere", target, err)
		}
		must(t, move("b", "c"))
		wantContent(t, dir+"/c/other", "two")

		for _, c := range []struct{ from, to string }{
			{"c/file", "c/other"}, {"c/file", "c/link"}, {"c/file", "c/file"}, {"c/file", "empty"}, {"c", "empty"}, {"c/link", "c/other"},
		} {
			wantError(t, "onto what exists: "+c.from+" to "+c.to, move(c.from, c.to), fs.ErrExist)
		}
		wantError(t, "absent", move("absent", "new"), fs.ErrNotExist)
		wantError(t, "to an absent directory", move("c/file", "absent/x"), fs.ErrNotExist)
		wantError(t, "below itself", move("c", "c/sub"), unix.EINVAL)
		wantContent(t, dir+"/c/file", "one")
		wantContent(t, dir+"/c/other", "two")
		wantNoHold(t, dir)
	})
}

func TestExchange(t *testing.T) {
	eachMove(t, func(t *testing.T, dir string, _, swap func(a, b string) error) {
		write(t, dir+"/a/file", "one")
		write(t, dir+"/file", "two")
		write(t, dir+"/d/sub/file", "three")

		must(t, swap("a/file", "file"))
		wantContent(t, dir+"/a/file", "two")
		wantContent(t, dir+"/file", "one")
		must(t, swap("file", "d/sub"))
		wantContent(t, dir+"/d/sub", "one")
		wantContent(t, dir+"/file/file", "three")

		wantError(t, "second absent", swap("a/file", "absent"), fs.ErrNotExist)
		wantError(t, "first absent", swap("absent", "a/file"), fs.ErrNotExist)
		wantError(t, "with its own parent", swap("a", "a/file"), unix.EINVAL)
		wantContent(t, dir+"/a/file", "two")
		wantNoHold(t, dir)
	})
}

func wantNoHold(t *testing.T, dir string) {
	t.Helper()
	for path := range snapshot(t, dir) {
		if strings.Contains(path, holdPrefix) {
			t.Errorf("left behind: %s", path)
		}
	}
}
