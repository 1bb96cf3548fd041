package watcher

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestOwn moves files in that the reader calls its own: they are reported when somebody else changes them, and not before.
func TestOwn(t *testing.T) {
	own := func(path string, _ uint64, fi fs.FileInfo) bool { return fi.Size() == 3 }
	r := newRig(t, nil, func(w *Watcher) { w.o.Own = own }).start()
	put := func(name, content string) {
		temp := filepath.Join(t.TempDir(), "x")
		writeFile(t, temp, content)
		if err := os.Rename(temp, filepath.Join(r.root, name)); err != nil {
			t.Fatal(err)
		}
	}
	put("own", "own")
	put("other", "other")
	r.flush()
	if got, want := r.reported(), []string{"other"}; !slices.Equal(got, want) {
		t.Errorf("reported: got %q, want %q", got, want)
	}
	r.reset()
	if err := os.Chmod(filepath.Join(r.root, "own"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.flush()
	if got, want := r.reported(), []string{"own"}; !slices.Equal(got, want) {
		t.Errorf("reported after chmod: got %q, want %q", got, want)
	}
}
