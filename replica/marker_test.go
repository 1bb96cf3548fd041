package replica

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// wantStopped waits until Run has ended by itself, because the folder must not be touched.
func (n *node) wantStopped() {
	n.t.Helper()
	select {
	case <-n.ended:
	case <-time.After(patience):
		n.t.Fatalf("%s still runs", n.name)
	}
	if !errors.Is(n.err, ErrStopped) || !strings.Contains(n.err.Error(), n.dir) {
		n.t.Errorf("run: got %v, want ErrStopped that names the folder", n.err)
	}
}

func TestFolderIsTakenAway(t *testing.T) {
	var many = tree{}
	for i := range 40 {
		many["d/"+string(rune('A'+i))] = "many"
	}
	few := tree{"f": "f", "d/g": "g"}
	for _, row := range []struct {
		name string
		base tree
		do   func(n *node) error
	}{
		{"marker removed", few, func(n *node) error { return os.Remove(n.path(markerPath)) }},
		{"state directory removed", few, func(n *node) error { return os.RemoveAll(n.path(StateDir)) }},
		{"root replaced", few, func(n *node) error { return errors.Join(os.Rename(n.dir, n.dir+".away"), os.Mkdir(n.dir, 0o755)) }},
		{"root replaced by a link", few, func(n *node) error {
			return errors.Join(os.Rename(n.dir, n.dir+".away"), os.Symlink(n.t.TempDir(), n.dir))
		}},
		{"root removed", few, func(n *node) error { return os.RemoveAll(n.dir) }},
		{"emptied, few files", few, emptied},
		{"emptied, many files", many, emptied},
		{"emptied, marker first", many, func(n *node) error { return errors.Join(os.RemoveAll(n.path(StateDir)), emptied(n)) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a, b := startNode(t, "a", row.base), startNode(t, "b", nil)
			connect(a, b)
			holds(t, row.base, a, b)
			if err := row.do(a); err != nil {
				t.Fatal(err)
			}
			a.wantStopped()
			until(t, "b has noticed", func() bool { return len(b.status().Peers) == 0 })
			if d := b.tree().diff(row.base); d != "" {
				t.Errorf("at the peer: %s", d)
			}
		})
	}
}

// emptied does rm -rf DIR/* DIR/.resonate.
func emptied(n *node) error {
	names, err := filepath.Glob(n.path("*"))
	if err != nil {
		return err
	}
	return exec.Command("rm", append([]string{"-rf"}, append(names, n.path(StateDir))...)...).Run()
}

func TestStartWithoutMarker(t *testing.T) {
	t.Parallel()
	base := tree{"f": "f", "d/g": "g"}
	a, b := startNode(t, "a", base), startNode(t, "b", nil)
	w := connect(a, b)
	holds(t, base, a, b)
	w.cut()
	was := a.replica().Node()
	if err := errors.Join(a.end(), emptied(a)); err != nil {
		t.Fatal(err)
	}
	err := a.tryStart()
	if err == nil || !strings.Contains(err.Error(), a.dir) || !strings.Contains(err.Error(), "-fresh") {
		t.Fatalf("start without marker: got %v, want a refusal that names folder and remedy", err)
	}
	if got := a.tree(); len(got) != 0 {
		t.Errorf("the refusal left %v", got)
	}
	if _, err := os.Lstat(a.path(StateDir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the refusal left %s: %v", StateDir, err)
	}
	a.o.Fresh = true
	a.write("new", "made meanwhile")
	a.write("f", "f")
	a.start()
	if a.replica().Node() == was {
		t.Error("-fresh kept the node")
	}
	w.restore()
	holds(t, tree{"f": "f", "d/g": "g", "new": "made meanwhile"}, a, b)
}

func TestCopiedFolderIsANewNode(t *testing.T) {
	t.Parallel()
	a := startNode(t, "a", tree{"f": "f", "g": "g"})
	a.flushed()
	if err := a.end(); err != nil {
		t.Fatal(err)
	}
	c := newNode(t, "c", nil)
	if out, err := exec.Command("cp", "-a", a.dir+"/.", c.dir).CombinedOutput(); err != nil {
		skip(t, "cp -a: %v %s", err, out)
	}
	c.o.StateHome = a.o.StateHome
	a.start()
	c.start()
	if a.replica().Node() == c.replica().Node() {
		t.Fatal("the copy has the node ID of the original")
	}
	connect(a, c)
	holds(t, tree{"f": "f", "g": "g"}, a, c)
	a.remove("f")
	holds(t, tree{"g": "g"}, a, c)
}

func TestLostStateIsANewNode(t *testing.T) {
	t.Parallel()
	a, b := startNode(t, "a", tree{"f": "f", "gone": "x"}), startNode(t, "b", nil)
	w := connect(a, b)
	holds(t, tree{"f": "f", "gone": "x"}, a, b)
	w.cut()
	was := a.replica().Node()
	if err := errors.Join(a.end(), os.RemoveAll(a.o.StateHome)); err != nil {
		t.Fatal(err)
	}
	a.remove("gone")
	a.write("f", "edited while nobody looked")
	a.start()
	if a.replica().Node() == was {
		t.Error("a node without its key kept its ID")
	}
	w.restore()
	eventually(t, "both contents of f", func() string { return wantCopies(1, a, b) })
	tr := converged(t, a, b)
	for _, content := range []string{"f", "x", "edited while nobody looked"} {
		if !hasContent(tr, content) {
			t.Errorf("%q is not there: %v", content, tr)
		}
	}
}

func TestRefusedFolders(t *testing.T) {
	t.Parallel()
	a := startNode(t, "a", tree{"sub/deep/x": "x"})
	a.flushed()
	for _, row := range []struct {
		name, dir string
		want      []string
	}{
		{"in use", a.dir, []string{a.dir, "in use by another resonate", "end that one first"}},
		{"inside a synced folder", a.path("sub/deep"), []string{a.path("sub/deep"), "inside the synced folder " + a.dir, "move it out"}},
		{"the state of a synced folder", a.path(StateDir), []string{"inside the synced folder"}},
	} {
		o := a.o
		o.Dir = row.dir
		o.StateHome = t.TempDir()
		r, err := Open(o)
		if err == nil {
			r.Close()
			t.Errorf("%s: opened, want a refusal", row.name)
			continue
		}
		for _, w := range row.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: got %q, want %q in it", row.name, err, w)
			}
		}
		if left, _ := os.ReadDir(o.StateHome); len(left) != 0 {
			t.Errorf("%s: the refusal made a state directory", row.name)
		}
	}
	if _, err := os.Lstat(a.path("sub/deep/" + StateDir)); err == nil {
		t.Error("the refused folder got a marker")
	}
	if d := a.tree().diff(tree{"sub/deep/x": "x"}); d != "" {
		t.Error(d)
	}
}

func TestParseMarkerRefuses(t *testing.T) {
	good := marker{device: 1, inode: 2}
	good.folder.ID[0], good.node[0] = 1, 1
	if m, err := parseMarker(good.String()); err != nil || m.String() != good.String() {
		t.Fatalf("round trip: got %v, %v, want %v", m, err, good)
	}
	for _, row := range []struct{ name, text string }{
		{"empty", ""},
		{"of another format", strings.Replace(good.String(), "resonate 1", "resonate 2", 1)},
		{"no node", "resonate 1\nfolder 01000000000000000000000000000000\n"},
		{"short folder", "folder 0100\n"},
		{"odd root", "root 1\n"},
		{"a line of one word", "resonate\n"},
		{"binary", "\x00\xff\n"},
	} {
		if m, err := parseMarker(row.text); err == nil {
			t.Errorf("%s: got %v, want an error", row.name, m)
		}
	}
}

func FuzzParseMarker(f *testing.F) {
	f.Add("resonate 1\nfolder 01000000000000000000000000000000\nshared 1\nnode aeaaaaaaaaaaaaaaaaaaaaaaaa\nroot 1 2\n")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := parseMarker(text)
		if err != nil {
			return
		}
		if again, err := parseMarker(m.String()); err != nil || again.String() != m.String() {
			t.Errorf("%q: got %v, %v after a round trip", text, again, err)
		}
	})
}
