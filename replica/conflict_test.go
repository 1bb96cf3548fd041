package replica

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// apart returns two nodes that hold the same tree, the wire between them cut.
func apart(t testing.TB, tr tree) (a, b *node, w *wire) {
	t.Helper()
	a, b = startNode(t, "a", tr), startNode(t, "b", nil)
	w = connect(a, b)
	holds(t, a.tree(), a, b)
	w.cut()
	return a, b, w
}

func TestChangesMadeApart(t *testing.T) {
	past := time.Now().Add(-time.Hour)
	for _, row := range []struct {
		name   string
		base   tree
		a, b   func(n *node)
		want   tree // but for conflict copies
		copies []string
	}{
		{
			name: "different edits", base: tree{"f": "base"},
			a:    func(n *node) { n.write("f", "a's"); n.age("f", past) },
			b:    func(n *node) { n.write("f", "b's") },
			want: tree{"f": "b's"}, copies: []string{"a's"},
		},
		{
			name: "equal edits", base: tree{"f": "base"},
			a:    func(n *node) { n.write("f", "same") },
			b:    func(n *node) { n.write("f", "same") },
			want: tree{"f": "same"},
		},
		{
			name: "mode against mode", base: tree{"f": "base"},
			a:    func(n *node) { n.chmod("f", 0o600) },
			b:    func(n *node) { n.chmod("f", 0o755) },
			want: tree{"f": "base"},
		},
		{
			name: "mode against mtime", base: tree{"f": "base"},
			a:    func(n *node) { n.chmod("f", 0o600) },
			b:    func(n *node) { n.age("f", past) },
			want: tree{"f": "base"},
		},
		{
			name: "change beats deletion", base: tree{"f": "base", "g": "stays"},
			a:    func(n *node) { n.remove("f") },
			b:    func(n *node) { n.write("f", "changed") },
			want: tree{"f": "changed", "g": "stays"},
		},
		{
			name: "deleted on both sides", base: tree{"f": "base", "g": "stays"},
			a:    func(n *node) { n.remove("f") },
			b:    func(n *node) { n.remove("f") },
			want: tree{"g": "stays"},
		},
		{
			name: "directory deleted here, new file inside there", base: tree{"d/old": "old", "d/e/x": "x", "g": "stays"},
			a:    func(n *node) { n.remove("d") },
			b:    func(n *node) { n.write("d/e/new", "new") },
			want: tree{"d/e/new": "new", "g": "stays"},
		},
		{
			name: "file against directory, both new", base: tree{"g": "stays"},
			a:    func(n *node) { n.write("p", "a file") },
			b:    func(n *node) { n.write("p/inside", "in a directory") },
			want: tree{"p/inside": "in a directory", "g": "stays"}, copies: []string{"a file"},
		},
		{
			name: "file changed here, made a directory there", base: tree{"p": "file"},
			a:    func(n *node) { n.write("p", "edited") },
			b:    func(n *node) { n.remove("p"); n.write("p/inside", "in") },
			want: tree{"p/inside": "in"}, copies: []string{"edited"},
		},
		{
			name: "directory made a file here, new file inside there", base: tree{"d/x": "x"},
			a:    func(n *node) { n.remove("d"); n.write("d", "now a file") },
			b:    func(n *node) { n.write("d/y", "y") },
			want: tree{"d/y": "y"}, copies: []string{"now a file"},
		},
		{
			name: "symlinks with different targets", base: tree{"l": "-> base"},
			a:    func(n *node) { n.link("l", "of-a", past) },
			b:    func(n *node) { n.link("l", "of-b", time.Now()) },
			want: tree{"l": "-> of-b"}, copies: []string{"-> of-a"},
		},
		{
			name: "symlink against file", base: tree{"l": "-> base"},
			a:    func(n *node) { n.link("l", "of-a", past) },
			b:    func(n *node) { n.remove("l"); n.write("l", "file of b") },
			want: tree{"l": "file of b"}, copies: []string{"-> of-a"},
		},
		{
			name: "swap of two names against an edit", base: tree{"f": "f", "g": "g"},
			a: func(n *node) {
				for _, m := range [][2]string{{"f", "tmp"}, {"g", "f"}, {"tmp", "g"}} {
					if err := os.Rename(n.path(m[0]), n.path(m[1])); err != nil {
						n.t.Fatal(err)
					}
				}
			},
			b:    func(n *node) { n.write("unrelated", "u") },
			want: tree{"f": "g", "g": "f", "unrelated": "u"},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a, b, w := apart(t, row.base)
			row.a(a)
			row.b(b)
			a.flushed()
			b.flushed()
			w.restore()
			want := tree{}
			for p, c := range row.want {
				want[p] = c
			}
			eventually(t, "conflict copies", func() string { return wantCopies(len(row.copies), a, b) })
			tr := converged(t, a, b)
			for i, p := range tr.copies() {
				want[p] = row.copies[i]
			}
			if d := tr.diff(want); d != "" {
				t.Errorf("after the meeting: %s", d)
			}
			for p := range tr {
				sa, sb := lstat(t, a.path(p)), lstat(t, b.path(p))
				if sa.Mode() != sb.Mode() || !sa.ModTime().Equal(sb.ModTime()) {
					t.Errorf("%s: got %v %v at a, %v %v at b, want the same", p, sa.Mode(), sa.ModTime(), sb.Mode(), sb.ModTime())
				}
			}
		})
	}
}

func lstat(t testing.TB, full string) os.FileInfo {
	t.Helper()
	st, err := os.Lstat(full)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func (n *node) age(p string, mtime time.Time) {
	n.t.Helper()
	if err := os.Chtimes(n.path(p), mtime, mtime); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) chmod(p string, mode os.FileMode) {
	n.t.Helper()
	if err := os.Chmod(n.path(p), mode); err != nil {
		n.t.Fatal(err)
	}
}

// link replaces what stands at p by a symlink of the given age.
func (n *node) link(p, target string, mtime time.Time) {
	n.t.Helper()
	n.remove(p)
	if err := os.Symlink(target, n.path(p)); err != nil {
		n.t.Fatal(err)
	}
	n.inLoop(func(r *Replica) {
		if err := r.root.SetMTime("test", p, mtime.UnixNano()); err != nil {
			n.t.Error(err)
		}
	})
}

// TestReadOnlyDirectories runs as another user where this one is root, for whom no mode counts.
func TestReadOnlyDirectories(t *testing.T) {
	if os.Getuid() == 0 {
		runAsNobody(t)
		return
	}
	a := newNode(t, "a", tree{"ro/f": "1", "ro/sub/g": "1"})
	for _, p := range []string{"ro/sub", "ro"} {
		a.chmod(p, 0o555)
	}
	a.start()
	b := startNode(t, "b", nil)
	for _, n := range []*node{a, b} {
		t.Cleanup(func() { // for the removal of the folder
			os.Chmod(n.path("ro"), 0o755)
			os.Chmod(n.path("ro/sub"), 0o755)
		})
	}
	connect(a, b)
	holds(t, tree{"ro/f": "1", "ro/sub/g": "1"}, a, b)
	until(t, "mode of ro at b", func() bool { return lstat(t, b.path("ro")).Mode().Perm() == 0o555 })
	a.write("ro/f", "2 in place")
	holds(t, tree{"ro/f": "2 in place", "ro/sub/g": "1"}, a, b)
	a.chmod("ro/sub", 0o755)
	a.write("ro/sub/h", "new")
	a.remove("ro/sub/g")
	a.chmod("ro/sub", 0o555)
	holds(t, tree{"ro/f": "2 in place", "ro/sub/h": "new"}, a, b)
	for _, p := range []string{"ro", "ro/sub"} {
		until(t, "mode of "+p+" at b", func() bool { return lstat(t, b.path(p)).Mode().Perm() == 0o555 })
	}
}

// runAsNobody runs the present test in a process of another user.
func runAsNobody(t testing.TB) {
	t.Helper()
	const nobody = 65534
	dir, err := os.MkdirTemp("", "resonate-nobody-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(dir, "test")
	if err := os.WriteFile(copied, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, nobody, nobody); err != nil {
		skip(t, "cannot hand a directory to another user: %v", err)
	}
	cmd := exec.Command(copied, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TMPDIR="+dir, "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("as another user: %v\n%s", err, out)
	}
}
