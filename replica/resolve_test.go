package replica

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"resonate/control"
)

// conflicted returns two nodes on which a file p has a conflict copy: what b wrote has the name, what a wrote is the copy.
func conflicted(t *testing.T, p, of, bs string) (a, b *node, copied string) {
	t.Helper()
	a, b, w := apart(t, tree{p: "base\n", "other": "o"})
	a.write(p, of)
	a.age(p, time.Now().Add(-time.Hour))
	b.write(p, bs)
	a.flushed()
	b.flushed()
	w.restore()
	eventually(t, "a conflict copy", func() string { return wantCopies(1, a, b) })
	return a, b, converged(t, a, b).copies()[0]
}

func TestConflicts(t *testing.T) {
	t.Parallel()
	long := "d/" + strings.Repeat("n", 240) + ".txt"
	a, b, copied := conflicted(t, long, "a's\n", "b's\n")
	a.write("other.conflict-mine", "no conflict copy")
	a.write("else/f", "f")
	holds(t, a.tree(), a, b)
	for _, n := range []*node{a, b} {
		for _, path := range []string{"", "d", long, copied} {
			list, err := n.replica().Conflicts(t.Context(), path)
			if err != nil || len(list) != 1 {
				t.Fatalf("%s: conflicts of %.20q: got %+v, %v, want one", n.name, path, list, err)
			}
			c := list[0]
			if c.Path != long || c.Mine == nil || len(c.Copies) != 1 || c.Copies[0].Path != copied {
				t.Fatalf("%s: got %+v, want %q with the copy %q", n.name, c, long, copied)
			}
			aID, bID := a.replica().Node(), b.replica().Node()
			if mine, theirs := c.Mine, c.Copies[0]; mine.Node != bID.Short() || theirs.Node != aID.Short() || mine.Size != 4 || theirs.Name == "" ||
				time.Since(theirs.Time) > time.Minute || theirs.Hash == "" || theirs.Hash == mine.Hash || theirs.MTime.After(*mine.MTime) {
				t.Errorf("%s: got mine %+v\nand the copy %+v", n.name, mine, theirs)
			}
		}
		if list, err := n.replica().Conflicts(t.Context(), "else"); err != nil || len(list) > 0 {
			t.Errorf("conflicts elsewhere: got %+v, %v, want none", list, err)
		}
	}
	c, err := a.replica().Conflict(t.Context(), copied)
	if err != nil || c.Path != long || c.Mine.Text != "yes" || c.Copies[0].Text != "yes" {
		t.Errorf("conflict: got %+v, %v", c, err)
	}
	var out bytes.Buffer
	if err := a.replica().ConflictDiff(t.Context(), long, &out); err != nil || out.String() != "--- "+long+"\n+++ "+copied+"\n@@ -1 +1 @@\n-b's\n+a's\n" {
		t.Errorf("diff: got %s%v", &out, err)
	}
	out.Reset()
	if err := a.replica().ConflictText(t.Context(), copied, &out); err != nil || out.String() != "a's\n" {
		t.Errorf("text: got %q, %v", &out, err)
	}
	for _, path := range []string{"other", "other.conflict-mine", "none"} {
		if _, err := a.replica().Conflict(t.Context(), path); !errors.Is(err, control.ErrNotFound) {
			t.Errorf("conflict of %s: got %v, want ErrNotFound", path, err)
		}
		if err := a.replica().ConflictText(t.Context(), path, &out); !errors.Is(err, control.ErrNotFound) {
			t.Errorf("text of %s: got %v, want ErrNotFound", path, err)
		}
	}
}

func TestResolve(t *testing.T) {
	for _, row := range []struct {
		name   string
		keep   control.Keep
		change func(t *testing.T, a, b *node) // before it is resolved
		byCopy bool
		want   string // what f holds then; "": nothing
		plain  string // what a file beside it holds
		kept   string // in the history
	}{
		{name: "mine", keep: control.KeepMine, want: "b's", kept: "a's"},
		{name: "mine, by the copy", keep: control.KeepMine, byCopy: true, want: "b's", kept: "a's"},
		{name: "theirs", keep: control.KeepTheirs, want: "a's", kept: "b's"},
		{name: "theirs, by the copy", keep: control.KeepTheirs, byCopy: true, want: "a's", kept: "b's"},
		{name: "both", keep: control.KeepBoth, want: "b's", plain: "a's"},
		{name: "theirs, where mine is deleted", keep: control.KeepTheirs, change: deleteF, want: "a's"},
		{name: "mine, where that is deleted", keep: control.KeepMine, change: deleteF, kept: "a's"},
		{name: "both, where mine is deleted", keep: control.KeepBoth, change: deleteF, plain: "a's"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a, b, copied := conflicted(t, "f", "a's", "b's")
			if row.change != nil {
				row.change(t, a, b)
			}
			path := "f"
			if row.byCopy {
				path = copied
			}
			done, err := b.replica().Resolve(t.Context(), path, row.keep)
			if err != nil || done.Path != "f" || len(done.Copies) != 1 || done.Copies[0].Path != copied {
				t.Fatalf("got %+v, %v", done, err)
			}
			want := tree{"other": "o"}
			if row.want != "" {
				want["f"] = row.want
			}
			if row.plain != "" {
				want[done.Copies[0].Now] = row.plain
			}
			holds(t, want, a, b)
			if row.kept != "" && !hasKept(b, row.kept) {
				t.Errorf("%q is not in the history: %v", row.kept, b.history())
			}
			if list, err := a.replica().Conflicts(t.Context(), ""); err != nil || len(list) > 0 {
				t.Errorf("conflicts that are left: %+v, %v", list, err)
			}
		})
	}
}

func deleteF(_ *testing.T, a, b *node) {
	a.remove("f")
	until(a.t, "f is gone", func() bool { return b.tree()["f"] == "" })
}

func hasKept(n *node, content string) bool {
	for _, list := range n.history() {
		for _, c := range list {
			if c == content {
				return true
			}
		}
	}
	return false
}

// Of several copies, theirs has to be said which; mine and both are of all of them.
func TestResolveSeveralCopies(t *testing.T) {
	t.Parallel()
	a, b, first := conflicted(t, "f.txt", "a's", "b's")
	tag := strings.TrimSuffix(strings.TrimPrefix(first, "f"), ".txt")
	second := "f" + tag[:len(tag)-6] + "999999.txt"
	a.write(second, "a third")
	holds(t, tree{"other": "o", "f.txt": "b's", first: "a's", second: "a third"}, a, b)
	if _, err := b.replica().Resolve(t.Context(), "f.txt", control.KeepTheirs); !errors.Is(err, control.ErrBadArgument) || !strings.Contains(err.Error(), second) {
		t.Errorf("theirs of two: got %v, want ErrBadArgument that names them", err)
	}
	done, err := b.replica().Resolve(t.Context(), "f.txt", control.KeepBoth)
	if err != nil || len(done.Copies) != 2 || done.Copies[0].Path != first || !strings.HasPrefix(done.Copies[1].Now, "f-") || !strings.HasSuffix(done.Copies[1].Now, "-2.txt") {
		t.Fatalf("both of two: got %+v, %v", done, err)
	}
	holds(t, tree{"other": "o", "f.txt": "b's", done.Copies[0].Now: "a's", done.Copies[1].Now: "a third"}, a, b)
}

func TestResolveMerged(t *testing.T) {
	t.Parallel()
	a, b, copied := conflicted(t, "f", "a's", "b's")
	b.chmod("f", 0o755)
	until(t, "mode at a", func() bool { return lstat(t, a.path("f")).Mode().Perm() == 0o755 })
	c, err := b.replica().Conflict(t.Context(), "f")
	if err != nil {
		t.Fatal(err)
	}
	old := c
	old.Mine = &control.ConflictVersion{Path: "f", Hash: c.Copies[0].Hash}
	if _, err := b.replica().ResolveMerged(t.Context(), old, strings.NewReader("merged")); err == nil || !strings.Contains(err.Error(), "changed meanwhile") {
		t.Errorf("made of something else: got %v, want that it has changed", err)
	}
	holds(t, tree{"other": "o", "f": "b's", copied: "a's"}, a, b)
	if _, err := b.replica().ResolveMerged(t.Context(), c, strings.NewReader("merged")); err != nil {
		t.Fatal(err)
	}
	holds(t, tree{"other": "o", "f": "merged"}, a, b)
	if !hasKept(b, "a's") || !hasKept(b, "b's") {
		t.Errorf("history: got %v, want both versions", b.history())
	}
	if mode := lstat(t, a.path("f")).Mode().Perm(); mode != 0o755 {
		t.Errorf("mode: got %v, want that of the file", mode)
	}
	for _, n := range []*node{a, b} {
		n.wantNothingTemporary()
	}
}

// What fails half-way is taken back; a crash half-way leaves both.
func TestResolveHalfWay(t *testing.T) {
	t.Parallel()
	a, b, copied := conflicted(t, "f", "a's", "b's")
	want := tree{"other": "o", "f": "b's", copied: "a's"}
	b.on("history.move", func() error { return syscall.ENOSPC })
	if _, err := b.replica().Resolve(t.Context(), "f", control.KeepTheirs); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("with a full history: got %v, want ENOSPC", err)
	}
	holds(t, want, a, b)
	b.committed() // else the copy itself is as good as new after the crash
	b.on("history.move", func() error {
		b.dead.Store(true)
		return errKilled
	})
	if _, err := b.replica().Resolve(t.Context(), "f", control.KeepTheirs); err == nil {
		t.Error("killed half-way: got no error")
	}
	b.kill()
	b.on("history.move", func() error { return nil })
	b.start()
	connect(a, b)
	holds(t, tree{"other": "o", "f": "a's", copied: "b's"}, a, b)
	if _, err := os.Stat(b.path(copied)); err != nil {
		t.Error(err)
	}
	if _, err := b.replica().Resolve(t.Context(), "f", control.KeepMine); err != nil {
		t.Error(err)
	}
	holds(t, tree{"other": "o", "f": "a's"}, a, b)
}
