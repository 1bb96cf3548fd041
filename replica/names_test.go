package replica

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"resonate/beneath"
	"resonate/control"
)

// TestOddNames has files, directories and links with every kind of name travel, be edited, clash, be deleted, and come back.
func TestOddNames(t *testing.T) {
	for _, row := range []struct {
		name  string
		names []string
	}{
		{"newline", []string{"two\nlines", "\n", "trailing\n"}},
		{"control characters", []string{"\x01\x1b[31m\x7f", "\t"}},
		{"not UTF-8", []string{"\xff\xfe", "caf\xe9"}},
		{"255 bytes", []string{strings.Repeat("n", 255), strings.Repeat("\u00e9", 127) + "x", strings.Repeat("\xff", 250) + ".long"}},
		{"case twins", []string{"readme", "README", "ReadMe"}},
		{"NFC and NFD twins", []string{"caf\u00e9", "cafe\u0301"}},
		{"blanks and dots", []string{" ", " leading", "trailing ", "...", ".hidden", "dot."}},
		{"of shells and other systems", []string{"-rf", "*", "a\\b", "nul", "con.txt", "a:b", "?", "\"quoted\"", "~"}},
		{"like resonate's own", []string{"f.conflict-abcdefg-20260101T000000Z.txt", "f~20260101T000000.000000Z", "x.part"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			base, edited := tree{}, tree{}
			for i, name := range row.names {
				base[name], edited[name] = fmt.Sprint(i), fmt.Sprint(i, " edited")
				base["d-"+name[:min(len(name), 250)]+"/"+name] = "in a directory"
				edited["d-"+name[:min(len(name), 250)]+"/"+name] = "in a directory"
			}
			for p, c := range base {
				full := filepath.Join(t.TempDir(), filepath.Base(p))
				if err := os.WriteFile(full, []byte(c), 0o600); err != nil {
					skip(t, "the file system has no such names: %v", err)
				}
			}
			a, b := startNode(t, "a", base), startNode(t, "b", nil)
			w := connect(a, b)
			holds(t, base, a, b)
			for i, name := range row.names {
				b.write(name, fmt.Sprint(i, " edited"))
			}
			holds(t, edited, a, b)
			w.cut()
			first := row.names[0]
			a.write(first, "by a")
			b.write(first, "by b")
			a.flushed()
			b.flushed()
			w.restore()
			tr := converged(t, a, b)
			if len(tr) != len(base)+1 || !hasContent(tr, "by a") || !hasContent(tr, "by b") {
				t.Errorf("after a conflict: %d names, want %d and both contents: %q", len(tr), len(base)+1, tr)
			}
			for p := range tr {
				if len(filepath.Base(p)) > 255 {
					t.Errorf("%q has %d bytes", p, len(filepath.Base(p)))
				}
			}
			last := row.names[len(row.names)-1]
			a.remove(last)
			delete(tr, last)
			holds(t, tr, a, b)
			list, err := b.replica().History(t.Context(), last)
			if err != nil || !slices.ContainsFunc(list, func(k control.Kept) bool { return k.Path == last }) && len(last) < 200 {
				t.Fatalf("history of %q = %v, %v, want it", last, list, err)
			}
			if len(last) < 200 {
				if _, err := b.replica().Restore(t.Context(), last, time.Time{}); err != nil {
					t.Fatal(err)
				}
				tr[last] = edited[last]
				if len(row.names) == 1 {
					tr[last] = "by a"
				}
				holds(t, tr, a, b)
			}
		})
	}
}

// TestPathsBeyondTheKernels has a path of more than PATH_MAX bytes travel, which no program can name in one call.
func TestPathsBeyondTheKernels(t *testing.T) {
	a, b := newNode(t, "a", nil), startNode(t, "b", nil)
	dir := strings.Repeat(strings.Repeat("d", 200)+"/", 24) + "end"
	root, err := beneath.Open(a.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := root.MkdirAll("test", dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := root.Create("test", dir+"/file", 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(strings.Repeat("content", 10_000)); err != nil {
		t.Fatal(err)
	}
	f.Close()
	a.start()
	connect(a, b)
	there, err := beneath.Open(b.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	eventually(t, "the file is there", func() string {
		info, err := there.Lstat(dir + "/file")
		if err != nil || info.Size != 70_000 {
			return fmt.Sprint(info, err)
		}
		return ""
	})
	eventually(t, "nothing is left to be told", func() string {
		if x, y := a.status(), b.status(); x.Roots != y.Roots || len(x.Problems)+len(y.Problems) > 0 {
			return fmt.Sprint(x.Roots, y.Roots, x.Problems, y.Problems)
		}
		return ""
	})
}

// TestRefusedNames has a receiver whose file system refuses a name: the version waits, is told, and hinders nothing else.
func TestRefusedNames(t *testing.T) {
	for _, errno := range []error{syscall.EINVAL, syscall.EILSEQ, syscall.ENAMETOOLONG} {
		t.Run(fmt.Sprint(errno), func(t *testing.T) {
			t.Parallel()
			a, b, c := newNode(t, "a", tree{"refused?": "content"}), newNode(t, "b", nil), startNode(t, "c", nil)
			refuse := func() error { return errno }
			b.on("apply.new", refuse)
			a.start()
			b.start()
			connect(a, b)
			connect(a, c)
			holds(t, tree{"refused?": "content"}, a, c)
			eventually(t, "it is told", func() string {
				for _, problem := range b.status().Problems {
					if problem.Path == "refused?" && strings.Contains(problem.Remedy, "rename it where it was made") {
						return ""
					}
				}
				return fmt.Sprint(b.status().Problems)
			})
			b.on("apply.new", nil)
			a.write("fine", "content")
			until(t, "the rest is there", func() bool { return b.tree()["fine"] == "content" })
			if e := a.entry("refused?"); !e.Live() {
				t.Error("what one receiver cannot have was deleted")
			}
		})
	}
}
