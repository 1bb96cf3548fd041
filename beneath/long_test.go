package beneath

import (
	"io"
	"os"
	"strings"
	"testing"
)

// TestLongPaths goes beyond PATH_MAX, where the kernel takes no path in one call.
func TestLongPaths(t *testing.T) {
	eachOpener(t, func(t *testing.T, r *Root, dir string) {
		e255 := strings.Repeat("e", MaxElement)
		for _, elements := range []int{15, 16, 17, 40} { // 4095 bytes are 16 elements with the slashes between
			path := strings.Repeat(e255+"/", elements-1) + e255
			must(t, r.MkdirAll("t", path, 0o700))
			f, err := r.Create("t", path+"/file", 0o600)
			must(t, err)
			_, err = f.WriteString("content")
			must(t, err)
			must(t, f.Close())
			must(t, r.Move("t", path+"/file", path+"/moved"))
			must(t, r.Symlink("t", "moved", path+"/link"))
			f, err = r.OpenFile(path + "/moved")
			must(t, err)
			got, err := io.ReadAll(f)
			must(t, err)
			f.Close()
			if string(got) != "content" {
				t.Errorf("%d bytes: read %q, want what was written", len(path), got)
			}
			if list, err := r.ReadDir(path); err != nil || len(list) != 2 && elements == 40 {
				t.Errorf("%d bytes: ReadDir = %v, %v, want two names", len(path), list, err)
			}
			_, err = r.Lstat(path + "/link/below")
			wantError(t, "through a link", err, ErrOutside)
			_, err = r.Lstat(strings.Repeat(e255+"/", elements) + "none")
			wantError(t, "nothing there", err, os.ErrNotExist)
			must(t, r.Remove("t", path+"/moved"))
		}
	})
}

func TestErrorsOfHugePathsAreShort(t *testing.T) {
	r := openTest(t, t.TempDir(), openBeneath)
	huge := strings.Repeat("n/", MaxPath) + "n"
	_, err := r.Lstat(huge)
	wantError(t, "beyond MaxPath", err, ErrInvalidPath)
	if n := len(err.Error()); n > 1000 {
		t.Errorf("the error for a path of %d bytes is %d bytes long", len(huge), n)
	}
}
