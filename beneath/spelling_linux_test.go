package beneath

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"resonate/fusefs/foldtest"
)

// folding returns a directory on a file system that folds names, with a root that has them exact but for the directory own.
func folding(t *testing.T) (string, *Root) {
	t.Helper()
	dir := t.TempDir()
	if err := foldtest.Mount(t, t.TempDir(), dir, foldtest.Options{}); err != nil {
		if os.Getenv("RESONATE_CI") == "1" {
			t.Fatalf("no mounts here: %v", err)
		}
		t.Skipf("no mounts here: %v", err)
	}
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	if err := r.Mkdir("test", "own", 0o755); err != nil {
		t.Fatal(err)
	}
	if folds, err := r.FoldsNames("test", "own"); !folds || err != nil {
		t.Fatalf("a file system that folds names: %v, %v", folds, err)
	}
	r.ExactNames("own")
	return dir, r
}

func TestExactNames(t *testing.T) {
	dir, r := folding(t)
	for _, d := range []string{"Dir", "Dir/Sub"} {
		if err := r.Mkdir("test", d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"Dir/File", "Dir/Sub/Caf\u00e9", "own/File"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte("content"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct{ path, asked, found string }{
		{"Dir/File", "", ""},
		{"Dir/Sub/Caf\u00e9", "", ""},
		{"own/FILE", "", ""},
		{"Dir/FILE", "Dir/FILE", "Dir/File"},
		{"dir/File", "dir", "Dir"},
		{"DIR/sub/x", "DIR", "Dir"},
		{"Dir/Sub/Cafe\u0301", "Dir/Sub/Cafe\u0301", "Dir/Sub/Caf\u00e9"},
		{"OWN/File", "OWN", "own"},
	} {
		_, statErr := r.Lstat(row.path)
		f, openErr := r.OpenFile(row.path)
		if openErr == nil {
			f.Close()
		}
		for _, err := range []error{statErr, openErr} {
			var other *OtherSpelling
			switch {
			case row.asked == "":
				if err != nil {
					t.Errorf("%s: %v, want it to be there", row.path, err)
				}
			case !errors.As(err, &other) || *other != OtherSpelling{row.asked, row.found} || !errors.Is(err, fs.ErrNotExist):
				t.Errorf("%s: %v, want that %s is %s", row.path, err, row.asked, row.found)
			}
		}
	}
	_, err := r.Lstat("dir/File")
	if other := (*OtherSpelling)(nil); !errors.As(err, &other) || other.Respelled("dir/File") != "Dir/File" {
		t.Errorf("dir/File respelled: %v", err)
	}
	if _, err := r.Lstat("Dir/nothing"); !errors.Is(err, fs.ErrNotExist) || errors.As(err, new(*OtherSpelling)) {
		t.Errorf("where nothing is: %v", err)
	}
	if err := r.Move("test", "Dir/File", "Dir/FILE"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a move onto its own name spelled otherwise: %v, want that it exists", err)
	}
	for what, err := range map[string]error{
		"exchange": r.Exchange("test", "own/File", "Dir/FILE"),
		"move":     r.Move("test", "Dir/FILE", "moved"),
		"remove":   r.Remove("test", "Dir/FILE"),
		"rmdir":    r.RemoveDir("test", "dir"),
	} {
		if !errors.As(err, new(*OtherSpelling)) {
			t.Errorf("%s of a name spelled otherwise: %v, want that it is not there", what, err)
		}
	}
	if err := r.Mkdir("test", "dir/x", 0o755); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory below a name spelled otherwise: %v, want that it does not exist", err)
	}
}

// What is remembered of a directory is not believed once it has changed; and nothing is that might change again without its times
// telling.
func TestExactNamesAreFresh(t *testing.T) {
	for _, rest := range []time.Duration{0, coarse} {
		t.Run(rest.String(), func(t *testing.T) { testFresh(t, rest) })
	}
}

func testFresh(t *testing.T, rest time.Duration) {
	dir, r := folding(t)
	r.spelled.rest = rest
	in := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(in("name"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		from, to := "name", "NAME"
		if i%2 == 1 {
			from, to = to, from
		}
		if _, err := r.Lstat(from); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
		for before, now := ctime(t, r), int64(0); rest == 0 && now <= before; now = ctime(t, r) { // the clock of files has ticked
			if err := errors.Join(os.Mkdir(in("tick"), 0o755), os.Remove(in("tick"))); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(os.Rename(in(from), in("through")), os.Rename(in("through"), in(to))); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Lstat(from); err == nil {
			t.Fatalf("round %d: %s is there, want %s", i, from, to)
		}
	}
	if _, remembered := r.spelled.dirs["."]; remembered != (rest == 0) {
		t.Errorf("a directory that changed a moment ago is remembered: %v", remembered)
	}
}

// ctime returns when the root of r last changed.
func ctime(t *testing.T, r *Root) int64 {
	t.Helper()
	info, err := r.Info()
	if err != nil {
		t.Fatal(err)
	}
	return info.CTime
}

func TestFoldsNamesNot(t *testing.T) {
	dir := t.TempDir()
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if folds, err := r.FoldsNames("test", "."); folds || err != nil {
		t.Skipf("this file system folds names itself: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}
