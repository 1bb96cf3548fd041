package replica

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"resonate/control"
	"resonate/locking"
)

// hasModes waits until files of n have these modes.
func (n *node) hasModes(what string, want map[string]fs.FileMode) {
	n.t.Helper()
	eventually(n.t, what, func() string {
		for path, mode := range want {
			if info, err := os.Lstat(n.path(path)); err != nil || info.Mode() != mode {
				return fmt.Sprintf("%s is %v, %v; want %v", path, info, err, mode)
			}
		}
		return ""
	})
}

func treeScope(path string) locking.Scope { return locking.Scope{Kind: locking.Tree, Path: path} }

// TestMarksAreBounded marks nothing under a lock on more files than the bound, and what others hold beside it all the same; also where the
// bound is passed by files that come later.
func TestMarksAreBounded(t *testing.T) {
	t.Parallel()
	const most = 2 * markPortion
	files := tree{"small/f": "f"}
	for i := range most {
		files[fmt.Sprintf("big/%d", i)] = ""
	}
	a := startNode(t, "a", files)
	a.flushed()
	a.inLoop(func(r *Replica) { r.most = most })
	a.replica().MarkLocked([]locking.Scope{treeScope("big"), treeScope("small")})
	a.hasModes("all are marked", map[string]fs.FileMode{"small/f": 0o444, "big/0": 0o444, fmt.Sprintf("big/%d", most-1): 0o444})
	a.write("big/more", "one more")
	a.hasModes("none is marked", map[string]fs.FileMode{"small/f": 0o444, "big/0": 0o644, fmt.Sprintf("big/%d", most-1): 0o644, "big/more": 0o644})
	if !strings.Contains(a.log.String(), "too many files") {
		t.Error("the log does not say so")
	}
	a.replica().MarkLocked(nil)
	a.hasModes("none is marked", map[string]fs.FileMode{"small/f": 0o644})
	a.replica().MarkLocked([]locking.Scope{treeScope("big"), treeScope("small")})
	a.hasModes("one is marked", map[string]fs.FileMode{"small/f": 0o444, "big/0": 0o644})
}

// TestMarksAfterAKill kills a node whose files are marked: a check of the folder finds nothing, and the next start undoes the marks. A clean end
// undoes them at once.
func TestMarksAfterAKill(t *testing.T) {
	t.Parallel()
	a := startNode(t, "a", tree{"f": "f", "dir/g": "g"})
	a.flushed()
	root := a.status().Roots
	marked, free := map[string]fs.FileMode{"f": 0o444, "dir/g": 0o444}, map[string]fs.FileMode{"f": 0o644, "dir/g": 0o644}
	a.replica().MarkLocked([]locking.Scope{treeScope("")})
	a.hasModes("marked", marked)
	a.committed()
	a.kill()
	a.hasModes("still marked", marked)
	err := CheckAlone(t.Context(), a.o, control.CheckOptions{Read: true}, func(rep control.CheckReport) error {
		if rep.Difference != nil {
			t.Errorf("found: %+v", rep.Difference)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	a.start()
	a.flushed()
	a.hasModes("undone", free)
	if got := a.status().Roots; got != root {
		t.Errorf("the tree is %+v, and was %+v", got, root)
	}
	a.replica().MarkLocked([]locking.Scope{treeScope("")})
	a.hasModes("marked", marked)
	if err := a.end(); err != nil {
		t.Fatal(err)
	}
	a.hasModes("undone at the end", free)
}

// TestMarksInTheFile reads what a run may have left of marks.
func TestMarksInTheFile(t *testing.T) {
	whole := "+ 12 222 \"a b\"\n+ 13 200 \"c\\nd\"\n- 12\n+ 14 20 \"e\"\n"
	for _, row := range []struct{ text, want string }{
		{"", ""},
		{whole, "13 200 c\nd|14 20 e"},
		{whole + "- 14", "13 200 c\nd|14 20 e"},
		{whole + "+ 15 200 \"f\"", "13 200 c\nd|14 20 e"},
		{"+ 1 200 \"f\"\n+ 1 20 \"g\"\n", "1 20 g"},
		{"+ 1 700 \"f\"\n+ 2 0 \"f\"\n+ 3 200 \"../f\"\n+ 4 200 f\n+ x 200 \"f\"\n?\n\n- x\n", ""},
	} {
		var got []string
		for _, m := range parseMarks([]byte(row.text)) {
			got = append(got, fmt.Sprintf("%d %o %s", m.inode, m.bits, m.path))
		}
		if s := strings.Join(got, "|"); s != row.want {
			t.Errorf("%q: got %q, want %q", row.text, s, row.want)
		}
	}
}

// FuzzMarks has whatever is read written and read again.
func FuzzMarks(f *testing.F) {
	f.Add([]byte("+ 12 222 \"a b\"\n- 12\n+ 13 200 \"c\\nd\"\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		marks := make(map[string]bool)
		var again strings.Builder
		for _, m := range parseMarks(text) {
			marks[m.line()] = true
			again.WriteString(m.line())
		}
		got := make(map[string]bool)
		for _, m := range parseMarks([]byte(again.String())) {
			got[m.line()] = true
		}
		if !maps.Equal(got, marks) {
			t.Errorf("%q: read %q, and %q when written anew", text, slices.Sorted(maps.Keys(marks)), slices.Sorted(maps.Keys(got)))
		}
	})
}
