package ignore

import (
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"time"
)

// matcherOf returns a Matcher over rule files by directory; those of "own" are the machine's own.
func matcherOf(files map[string]string) *Matcher {
	return New(Parse("own", []byte(files["own"])), func(dir string) *File {
		text, ok := files["/"+dir]
		if !ok {
			return nil
		}
		return Parse(path.Join(dir, Name), []byte(text))
	})
}

func TestMatch(t *testing.T) {
	type files = map[string]string
	rows := []struct {
		name    string
		files   files
		path    string // with a slash at its end: a directory
		ignored bool
		by      string // source:line:pattern
	}{
		{"no rules", files{}, "a", false, "::"},
		{"a name, at any depth", files{"/": "x"}, "a/b/x", true, ".resonateignore:1:x"},
		{"anchored", files{"/": "/x"}, "a/x", false, "::"},
		{"a slash within anchors", files{"/": "a/x"}, "b/a/x", false, "::"},
		{"a directory alone", files{"/": "build/"}, "build/", true, ".resonateignore:1:build/"},
		{"a directory alone, and a file", files{"/": "build/"}, "build", false, "::"},
		{"below an ignored directory", files{"/": "build/"}, "a/build/b/c", true, ".resonateignore:1:build/"},
		{"nothing is taken in again below", files{"/": "build/\n!build/keep"}, "build/keep", true, ".resonateignore:1:build/"},
		{"taken in again", files{"/": "*.log\n!keep.log"}, "keep.log", false, ".resonateignore:2:!keep.log"},
		{"the last line counts", files{"/": "!x\nx"}, "x", true, ".resonateignore:2:x"},
		{"the deeper file counts", files{"/": "*.log", "/a": "!*.log"}, "a/x.log", false, "a/.resonateignore:1:!*.log"},
		{"the deeper file has its own anchor", files{"/a": "/x"}, "a/x", true, "a/.resonateignore:1:/x"},
		{"own rules count least", files{"own": "*.log", "/": "!a.log"}, "a.log", false, ".resonateignore:1:!a.log"},
		{"own rules count", files{"own": "*.log", "/": "!a.log"}, "b.log", true, "own:1:*.log"},
		{"rules in an ignored directory do not", files{"/": "a/", "/a": "!x"}, "a/x", true, ".resonateignore:1:a/"},
		{"a rule file may be ignored", files{"/": ".*"}, ".resonateignore", true, ".resonateignore:1:.*"},
		{"comments, blank lines and ends of lines", files{"/": "\xef\xbb\xbf# x\r\n\r\n\\#x\r\nz  "}, "z", true, ".resonateignore:4:z"},
		{"an escaped space", files{"/": "x\\ "}, "x ", true, ".resonateignore:1:x\\ "},
	}
	for _, row := range rows {
		name, isDir := strings.CutSuffix(row.path, "/")
		m := matcherOf(row.files)
		r, ignored := m.Match(name, isDir)
		by := "::"
		if r.Line > 0 {
			by = fmt.Sprintf("%s:%d:%s", r.Source, r.Line, r.Pattern)
		}
		if ignored != row.ignored || by != row.by {
			t.Errorf("%s: %s: got %v by %q, want %v by %q", row.name, row.path, ignored, by, row.ignored, row.by)
		}
		if got := m.Ignored(name, isDir); got != row.ignored {
			t.Errorf("%s: Ignored says %v, Match %v", row.name, got, row.ignored)
		}
	}
}

// Rules are loaded once for each directory that is asked about, never for one that is ignored, and again once forgotten.
func TestLoad(t *testing.T) {
	text := map[string]string{"": "skip/", "a": "x"}
	var loaded []string
	m := New(nil, func(dir string) *File {
		loaded = append(loaded, dir)
		return Parse(dir, []byte(text[dir]))
	})
	want := func(wantLoaded ...string) {
		t.Helper()
		if !slices.Equal(loaded, wantLoaded) {
			t.Errorf("loaded %q, want %q", loaded, wantLoaded)
		}
		loaded = nil
	}
	m.Ignored("skip/b/c", false)
	m.Ignored("a/b/x", false)
	m.Ignored("a/b/y", false)
	want("", "a", "a/b")
	text["a"] = ""
	m.Forget("a")
	if m.Ignored("a/b/x", false) {
		t.Error("a/b/x is ignored by a rule that is gone")
	}
	want("a", "a/b")
	m.SetOwn(Parse("own", []byte("y")))
	if !m.Ignored("a/b/y", false) {
		t.Error("a/b/y is not ignored by the new own rule")
	}
	want("", "a", "a/b")
}

func TestEqual(t *testing.T) {
	for _, row := range []struct {
		a, b string
		want bool
	}{{"x\n", "x  \n# c", true}, {"x", "\nx", false}, {"x", "!x", false}, {"x\ny", "y\nx", false}, {"", "#", true}, {"x", "", false}} {
		if got := Parse("f", []byte(row.a)).Equal(Parse("f", []byte(row.b))); got != row.want {
			t.Errorf("%q and %q: got %v, want %v", row.a, row.b, got, row.want)
		}
	}
	if !(*File)(nil).Equal(Parse("", nil)) {
		t.Error("no file and an empty one differ")
	}
}

// hard are patterns and texts that take a matcher which tries everything for ever.
func hard(n int) [][2]string {
	return [][2]string{
		{strings.Repeat("*a", n/4) + "b", strings.Repeat("a", n)},
		{strings.Repeat("a*", n/4) + "[b]", strings.Repeat("a", n)},
		{"x/" + strings.Repeat("**/a*/", n/12) + "b", "x/" + strings.Repeat("aa/", n/3)},
		{"x/" + strings.Repeat("**/*a*?", n/12) + "b", "x/" + strings.Repeat("a/", n/2)},
		{"/" + strings.Repeat("**/", n/4) + "b", strings.Repeat("a/", n/2)},
		{"/" + strings.Repeat(`**\/a/`, n/16) + "b", strings.Repeat("a/", n/2)},
	}
}

// TestWorkIsBounded lets a path of the greatest length meet the worst patterns: trying everything would outlast the universe.
func TestWorkIsBounded(t *testing.T) {
	const n = 4096
	begun := time.Now()
	for _, h := range hard(n) {
		f := Parse("", []byte(h[0]))
		if f.find(h[1], path.Base(h[1]), false) != nil {
			t.Errorf("pattern %.20q... matches what it must not", h[0])
		}
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("took %v, want well below a second", took)
	}
}

// TestAgreesWithTryingEverything compares the matcher, which tries little, with one that tries everything, on short texts.
func TestAgreesWithTryingEverything(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	pick := func(alphabet string, most int) string {
		b := make([]byte, rnd.IntN(most)+1)
		for i := range b {
			b[i] = alphabet[rnd.IntN(len(alphabet))]
		}
		return string(b)
	}
	matched := 0
	for range 200_000 {
		pattern, text := pick("ab/**?", 9), pick("ab/", 8)
		g, ok := compile(pattern, true)
		if !ok {
			t.Fatalf("%q is not compiled", pattern)
		}
		want := everything(g.steps, text)
		if want {
			matched++
		}
		if got := g.match(text); got != want {
			t.Fatalf("%q and %q: got %v, want %v", pattern, text, got, want)
		}
	}
	if matched < 1000 {
		t.Errorf("only %d matched: this shows nothing", matched)
	}
}

// everything matches by the meaning of the steps, and takes its time.
func everything(steps []step, s string) bool {
	if len(steps) == 0 {
		return s == ""
	}
	t, rest := &steps[0], steps[1:]
	switch t.kind {
	case star, deep:
		for n := 0; n <= len(s); n++ {
			if t.kind == star && strings.Contains(s[:n], "/") {
				break
			}
			if everything(rest, s[n:]) {
				return true
			}
		}
		return false
	case dirs:
		for n := 0; n <= len(s); n++ {
			if (n == 0 || s[n-1] == '/') && everything(rest, s[n:]) {
				return true
			}
		}
		return false
	}
	n := t.length(s)
	return n > 0 && everything(rest, s[n:])
}

func FuzzMatch(f *testing.F) {
	f.Add([]byte("*.log\n!a/**/b\n[[:alpha:]-z]x/"), "a/b/c.log", true)
	f.Add([]byte("\xef\xbb\xbf[!a]\r\n\\ \n**\\/x"), "x", false)
	f.Fuzz(func(t *testing.T, rules []byte, p string, isDir bool) {
		if len(rules) > 1<<12 || len(p) > 1<<10 {
			return
		}
		file := Parse("f", rules)
		m := New(file, func(string) *File { return file })
		r, ignored := m.Match(p, isDir)
		if ignored != m.Ignored(p, isDir) {
			t.Errorf("Match and Ignored differ over %q", p)
		}
		if ignored && r.Negated {
			t.Errorf("%q is ignored by the negated rule %q", p, r.Pattern)
		}
	})
}

var typical = `# build
/bin/
/dist/
node_modules/
*.o
*.log
!important.log
*~
.cache
docs/**/*.pdf
[Tt]humbs.db
`

func BenchmarkMatch(b *testing.B) {
	m := matcherOf(map[string]string{"/": typical, "/src/app": "*.tmp\n/generated/\n", "own": ".DS_Store\n*.swp\n"})
	paths := []string{"src/app/web/server.go", "README.md", "src/app/x.tmp", "docs/a/b/c.pdf", "src/lib/deep/er/still/file.c"}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		m.Ignored(paths[i%len(paths)], false)
	}
}

func BenchmarkHardest(b *testing.B) {
	for i, h := range hard(4096) {
		f := Parse("", []byte(h[0]))
		b.Run(fmt.Sprint(i), func(b *testing.B) {
			for b.Loop() {
				f.find(h[1], path.Base(h[1]), false)
			}
		})
	}
}
