package reconcile

import (
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"resonate/merkle"
)

// loser returns a version of node A that was made on 2026-03-04 at 05:06:07.000089 UTC.
func loser(t *testing.T) *merkle.Entry {
	e := entry(t, "b A1")
	e.Version.Stamp = merkle.Stamp(time.Date(2026, 3, 4, 5, 6, 7, 89_000, time.UTC).UnixMicro())
	return e
}

const loserTag = ".conflict-ifaucqk-20260304-050607-000089"

func TestConflictPath(t *testing.T) {
	for _, tt := range []struct{ name, path, want string }{
		{"with an extension", "docs/report.txt", "docs/report" + loserTag + ".txt"},
		{"at the root", "a.c", "a" + loserTag + ".c"},
		{"without an extension", "src/Makefile", "src/Makefile" + loserTag},
		{"two extensions", "x.tar.gz", "x.tar" + loserTag + ".gz"},
		{"a dotfile", "home/.bashrc", "home/.bashrc" + loserTag},
		{"a dotfile with an extension", ".config.toml", ".config" + loserTag + ".toml"},
		{"ends with a dot", "what.", "what" + loserTag + "."},
		{"dots in the directory alone", "v1.2/notes", "v1.2/notes" + loserTag},
		{"a long extension that fits", "a." + strings.Repeat("e", 100), "a" + loserTag + "." + strings.Repeat("e", 100)},
		{"as long as can be", strings.Repeat("n", 211) + ".txt", strings.Repeat("n", 211) + loserTag + ".txt"},
		{"one byte longer", strings.Repeat("n", 212) + ".txt", strings.Repeat("n", 202) + "~9f4f74bc" + loserTag + ".txt"},
		{"no valid UTF-8", "caf\xe9.txt", "caf\xe9" + loserTag + ".txt"},
		{"a conflict copy's own conflict", "r" + loserTag + ".txt", "r" + loserTag + loserTag + ".txt"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := ConflictPath(tt.path, loser(t)); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func TestConflictPathCut(t *testing.T) {
	for _, tt := range []struct{ name, long, ext string }{
		{"two-byte characters", strings.Repeat("é", 120) + ".txt", ".txt"},
		{"four-byte characters, shifted by one", "x" + strings.Repeat("😀", 63), ""},
		{"a long extension counts as part of the name", "a." + strings.Repeat("e", 240), ""},
		{"continuation bytes alone", strings.Repeat("\xbf", 250), ""},
		{"a long dotfile", "." + strings.Repeat("d", 250), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, got := merkle.SplitPath(ConflictPath("d/"+tt.long, loser(t)))
			if len(got) > maxName {
				t.Errorf("%d bytes long, want at most %d: %q", len(got), maxName, got)
			}
			if utf8.ValidString(tt.long) && !utf8.ValidString(got) {
				t.Errorf("a character is split: %q", got)
			}
			if !strings.HasSuffix(got, loserTag+tt.ext) {
				t.Errorf("got %q, want it to end with %q", got, loserTag+tt.ext)
			}
			last := len(tt.long) - len(tt.ext) - 1
			other := tt.long[:last] + "?" + tt.ext
			if _, name := merkle.SplitPath(ConflictPath("d/"+other, loser(t))); name == got {
				t.Errorf("%q and %q have the same conflict copy %q", tt.long, other, got)
			}
		})
	}
}

// The name depends on who made the version and when, and on nothing that differs between nodes.
func TestConflictPathIsTheSameEverywhere(t *testing.T) {
	first := loser(t)
	settled := first.WithVersion(first.Version)
	settled.Version.Vector = settled.Version.Vector.With(node('C'), 7)
	other := loser(t)
	other.Version.Author = node('B')
	later := loser(t)
	later.Version.Stamp++

	zone := time.Local
	time.Local = time.FixedZone("elsewhere", 5*3600)
	defer func() { time.Local = zone }()
	want := "docs/report" + loserTag + ".txt"
	if got := ConflictPath(path, settled); got != want {
		t.Errorf("in another time zone, joined with a third version: got %q, want %q", got, want)
	}
	for name, e := range map[string]*merkle.Entry{"another author": other, "another stamp": later} {
		if got := ConflictPath(path, e); got == want {
			t.Errorf("%s: got %q as well", name, got)
		}
	}
}

func TestIsCopy(t *testing.T) {
	e := loser(t)
	long := strings.Repeat("n", 250) + ".txt"
	edited := Publish(e, attributes(t, "c"), Author{Node: node('B'), Stamp: 99})
	for _, tt := range []struct {
		name, path string
		e          *merkle.Entry
		want       bool
	}{
		{"a conflict copy", ConflictPath(path, e), e, true},
		{"with a name that was cut", ConflictPath(long, e), e, true},
		{"the path itself", path, e, false},
		{"edited since", ConflictPath(path, e), edited, false},
		{"below a directory of such a name", ConflictPath(path, e) + "/file", e, false},
		{"a user's own idea of a name", "report.conflict-mine.txt", e, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := IsCopy(tt.path, tt.e); got != tt.want {
				t.Errorf("IsCopy(%q): got %v, want %v", tt.path, got, tt.want)
			}
		})
	}
}

func TestParseCopy(t *testing.T) {
	cut := strings.Repeat("n", 202) + "~9f4f74bc"
	for _, row := range []struct {
		copy, want string // want "": no conflict copy
		cut        bool
	}{
		{"docs/report" + loserTag + ".txt", "docs/report.txt", false},
		{"src/Makefile" + loserTag, "src/Makefile", false},
		{".bashrc" + loserTag, ".bashrc", false},
		{"what" + loserTag + ".", "what.", false},
		{"x.tar" + loserTag + ".gz", "x.tar.gz", false},
		{"r" + loserTag + loserTag + ".txt", "r" + loserTag + ".txt", false},
		{"r" + loserTag + loserTag, "r" + loserTag, false},
		{"a" + loserTag + ".conflict-mine", "a.conflict-mine", false},
		{cut + loserTag + ".txt", cut + ".txt", true},
		{"short~9f4f74bc" + loserTag, "short~9f4f74bc", true},
		{"report.txt", "", false},
		{"report.conflict-mine.txt", "", false},
		{"x.tar" + loserTag + ".gz.old", "", false},
		{"x.tar" + loserTag, "", false}, // of x.tar it would be x.conflict-....tar
		{loserTag + ".txt", "", false},
		{"r" + loserTag[:len(loserTag)-1], "", false},
		{"r" + strings.Replace(loserTag, "20260304", "20261304", 1), "", false},
		{"r" + strings.Replace(loserTag, "20260304", "19600304", 1), "", false},
		{"r" + strings.Replace(loserTag, "ifaucqk", "ifauc1k", 1), "", false},
		{"r" + strings.Replace(loserTag, "-000089", "-+00089", 1), "", false},
		{"report" + loserTag + ".txt/inside", "", false},
	} {
		c, ok := ParseCopy(row.copy)
		if ok != (row.want != "") || c.Path != row.want || c.Cut != row.cut {
			t.Errorf("%q: got %+v, %v, want %q, cut %v", row.copy, c, ok, row.want, row.cut)
		}
		if e := loser(t); ok && (c.Node != e.Version.Author.Short() || c.Stamp != e.Version.Stamp) {
			t.Errorf("%q: got node %s and stamp %d, want %s and %d", row.copy, c.Node, c.Stamp, e.Version.Author.Short(), e.Version.Stamp)
		}
	}
	long := strings.Repeat("n", 212) + ".txt"
	c, _ := ParseCopy("d/" + cut + loserTag + ".txt")
	for path, want := range map[string]bool{"d/" + long: true, long: false, "d/x" + long[1:]: false, "d/" + cut + ".txt": true} {
		if got := c.Of(path); got != want {
			t.Errorf("of %.20q...: got %v, want %v", path, got, want)
		}
	}
}

func TestPlainPath(t *testing.T) {
	for _, row := range []struct {
		path, who string
		n         int
		want      string
	}{
		{"docs/report.txt", "laptop", 1, "docs/report-laptop.txt"},
		{"docs/report.txt", "laptop", 2, "docs/report-laptop-2.txt"},
		{"Makefile", "host:work dir", 1, "Makefile-host-work-dir"},
		{".bashrc", "ifaucqk", 1, ".bashrc-ifaucqk"},
		{"a.txt", "../\xffé", 1, "a-..-é.txt"},
		{"d/r" + loserTag + ".txt", "b", 1, "d/r-b.txt"},
		{strings.Repeat("n", 250) + ".txt", "b", 1, strings.Repeat("n", 249) + "-b.txt"},
		{"a." + strings.Repeat("e", 253), "b", 1, "a." + strings.Repeat("e", 251) + "-b"},
	} {
		if got := PlainPath(row.path, row.who, row.n); got != row.want {
			t.Errorf("%.30q: got %q, want %q", row.path, got, row.want)
		}
	}
}

func FuzzParseCopy(f *testing.F) {
	f.Add("report" + loserTag + ".txt")
	f.Add("d/r" + loserTag + loserTag)
	f.Add(strings.Repeat("n", 202) + "~9f4f74bc" + loserTag + ".txt")
	f.Fuzz(func(t *testing.T, path string) {
		if dir, name := merkle.SplitPath(path); name == "" || merkle.Join(dir, name) != path {
			t.Skip("no path of a folder")
		}
		c, ok := ParseCopy(path)
		if ok && !c.Cut && !c.Of(c.Path) {
			t.Errorf("%q: of %q, which has another conflict copy", path, c.Path)
		}
		if plain := PlainPath(path, "node", 2); len(plain) > len(path)+len("-node-2") {
			t.Errorf("%q: plainly %q", path, plain)
		} else if _, still := ParseCopy(plain); still {
			t.Errorf("%q: plainly %q, which is a conflict copy's name, too", path, plain)
		}
	})
}

func FuzzConflictPath(f *testing.F) {
	f.Add("report.txt", "report.tex", uint64(1))
	f.Add(strings.Repeat("é", 127), strings.Repeat("é", 126)+"x", uint64(math.MaxInt64))
	f.Add("a."+strings.Repeat("\xbf", 250), "."+strings.Repeat("d", 254), uint64(math.MaxUint64))
	f.Fuzz(func(t *testing.T, name, other string, stamp uint64) {
		for _, n := range []string{name, other} {
			if n == "" || n == "." || n == ".." || len(n) > maxName || strings.ContainsAny(n, "/\x00") {
				t.Skip("not a file name")
			}
		}
		e := &merkle.Entry{Version: merkle.Version{Author: node('A'), Stamp: merkle.Stamp(stamp)}}
		got := ConflictPath("dir/"+name, e)
		dir, base := merkle.SplitPath(got)
		if dir != "dir" || base == name || len(base) > maxName || strings.ContainsAny(base, "/\x00") {
			t.Errorf("ConflictPath(%q) = %q: not another file name beside it", name, got)
		}
		if utf8.ValidString(name) && !utf8.ValidString(base) {
			t.Errorf("ConflictPath(%q) = %q: a character is split", name, got)
		}
		if !IsCopy(got, e) {
			t.Errorf("IsCopy(%q): got false, want true", got)
		}
		if c, ok := ParseCopy(got); stamp < 253402300800000000 && (!ok || !c.Of("dir/"+name) || !c.Cut && c.Path != "dir/"+name || c.Stamp != e.Version.Stamp) {
			t.Errorf("ParseCopy(%q) = %+v, %v, want one of %q", got, c, ok, name)
		}
		if name != other && ConflictPath("dir/"+other, e) == got {
			t.Errorf("%q and %q have the same conflict copy %q", name, other, got)
		}
	})
}
