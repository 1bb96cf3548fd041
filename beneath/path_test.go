package beneath

import (
	"errors"
	"io/fs"
	"path"
	"strings"
	"testing"
)

func TestValid(t *testing.T) {
	e255 := strings.Repeat("e", 255)
	for _, c := range []struct {
		name, path string
		want       bool
	}{
		{"plain", "a", true},
		{"deep", "a/b/c", true},
		{"dots within", "a..b/...", true},
		{"not UTF-8", "\xff/\x01\n", true},
		{"backslash", `a\..\b`, true},
		{"longest element", e255, true},
		{"longest path", strings.Repeat(e255+"/", 255) + e255 + "/", false},
		{"as long as may be", strings.Repeat(e255+"/", 255) + e255, true},
		{"empty", "", false},
		{"absolute", "/a", false},
		{"root", "/", false},
		{"dot", ".", false},
		{"dot dot", "..", false},
		{"dot first", "./a", false},
		{"dot dot last", "a/..", false},
		{"dot dot within", "a/../b", false},
		{"empty element", "a//b", false},
		{"trailing slash", "a/", false},
		{"NUL", "a\x00b", false},
		{"long element", "a/" + e255 + "e/b", false},
		{"too long", strings.Repeat("a/", MaxPath/2) + "a", false},
	} {
		err := Valid(c.path)
		if (err == nil) != c.want {
			t.Errorf("%s: Valid = %v, want valid %v", c.name, err, c.want)
		}
		if err != nil && !errors.Is(err, ErrInvalidPath) {
			t.Errorf("%s: Valid = %v, want ErrInvalidPath", c.name, err)
		}
	}
}

func FuzzValid(f *testing.F) {
	for _, s := range []string{"", ".", "..", "a", "a/b", "/a", "a//b", "a/", "a/../b", "a\x00", strings.Repeat("a", 256)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		// fs.ValidPath knows the same rule, save for the lengths, NUL, "." and that names are bytes.
		utf8 := strings.ToValidUTF8(s, "x")
		want := fs.ValidPath(utf8) && s != "." && !strings.Contains(s, "\x00") && len(s) <= MaxPath
		for e := range strings.SplitSeq(s, "/") {
			want = want && len(e) <= MaxElement
		}
		err := Valid(s)
		if (err == nil) != want {
			t.Errorf("Valid(%q) = %v, want valid %v", s, err, want)
		}
		if err == nil && (path.Clean(s) != s || path.Join("/root", s) != "/root/"+s) {
			t.Errorf("Valid(%q), but it is not in its one form", s)
		}
	})
}
