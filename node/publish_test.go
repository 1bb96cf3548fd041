package node

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"resonate/control"
)

// agreed returns what m has agreed of a path.
func (m *machine) agreed(path string) *control.Agreed {
	m.t.Helper()
	w, err := m.Replica().Why(m.t.Context(), path)
	if err != nil {
		m.t.Fatal(err)
	}
	return w.Agreed
}

// read returns what m has at a path, "" if there is nothing.
func (m *machine) read(path string) string {
	b, _ := os.ReadFile(filepath.Join(m.dir, path))
	return string(b)
}

// names returns the paths of all files of m's folder.
func (m *machine) names() (out []string) {
	m.t.Helper()
	err := filepath.WalkDir(m.dir, func(path string, d os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.Name() == ".resonate":
			return filepath.SkipDir
		case !d.IsDir():
			out = append(out, strings.TrimPrefix(path, m.dir+"/"))
		}
		return nil
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return out
}

// lockable waits until all machines have locks of one table.
func lockable(t testing.TB, ms ...*machine) {
	t.Helper()
	eventually(t, "one lock table", func() string {
		first := ms[0].desk.Status()
		for _, m := range ms {
			s := m.desk.Status()
			if !m.desk.Sure() || s.Table != first.Table {
				return fmt.Sprintf("%s: sure %v, %+v", m.name, m.desk.Sure(), s)
			}
		}
		return ""
	})
}

// TestChangesCarryTokens has two machines change one file by turns: each change is made under a lock, with a higher token than the
// one before, without any conflict.
func TestChangesCarryTokens(t *testing.T) {
	t.Parallel()
	a, b := pairOf(t, map[string]string{"f": "base"})
	last := "0"
	for i := range 6 {
		m, other := a, b
		if i%2 == 1 {
			m, other = b, a
		}
		want := fmt.Sprintf("%d", i)
		m.write("f", want)
		eventually(t, "the other has it", func() string {
			if got := other.read("f"); got != want {
				return "it has " + got
			}
			return ""
		})
		equal(t, a, b)
		token := m.agreed("f").Token
		if token == "0" || token == last {
			t.Errorf("change %d: token %q after %q", i, token, last)
		}
		last = token
	}
	if got := a.names(); !slices.Equal(got, []string{"f"}) {
		t.Errorf("there are %q", got)
	}
}

// TestBothEditTheSameFiles has two machines edit the same files within the same moments: nothing is lost, no content is kept twice, and all is
// equal in the end.
func TestBothEditTheSameFiles(t *testing.T) {
	t.Parallel()
	const count = 1000
	files := make(map[string]string)
	for i := range count {
		files[fmt.Sprintf("f%04d", i)] = fmt.Sprint("base ", i)
	}
	a, b := pairOf(t, files)
	var wg sync.WaitGroup
	for _, m := range []*machine{a, b} {
		wg.Go(func() {
			for path := range files {
				m.write(path, m.name+"'s "+path)
			}
		})
	}
	wg.Wait()
	eventually(t, "both settle", func() string {
		for _, m := range []*machine{a, b} {
			if err := m.Replica().Wait(t.Context(), ""); err != nil {
				return err.Error()
			}
		}
		return ""
	})
	equal(t, a, b)
	found := make(map[string]int)
	for _, path := range a.names() {
		found[a.read(path)]++
	}
	for path := range files {
		if found["a's "+path]+found["b's "+path] == 0 || found["a's "+path] > 1 || found["b's "+path] > 1 {
			t.Errorf("%s: kept %d times as a's, %d times as b's", path, found["a's "+path], found["b's "+path])
		}
		if a.agreed(path).Token == "0" {
			t.Errorf("%s has no token", path)
		}
	}
	t.Logf("%d files", len(a.names()))
}

// TestACheckoutAsksSeldom has a machine make 10,000 files at once where another one had all the locks: that takes a handful of requests. What it
// makes there afterwards takes none.
func TestACheckoutAsksSeldom(t *testing.T) {
	if testing.Short() {
		t.Skip("makes 10,000 files")
	}
	t.Parallel()
	a, b := pairOf(t, map[string]string{"f": "base"})
	a.letsOut("f", "a's") // and has the delegation of all
	checkout := func(name string, files int) (requests int) {
		before := strings.Count(b.log.String(), "msg=locked ")
		for i := range files {
			if dir := fmt.Sprint("d", i%100); i < 100 {
				if err := os.MkdirAll(filepath.Join(b.dir, dir), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			b.write(fmt.Sprintf("d%d/%s%d", i%100, name, i), fmt.Sprint(name, i))
		}
		last := fmt.Sprintf("d%d/%s%d", (files-1)%100, name, files-1)
		a.comes(last, fmt.Sprint(name, files-1))
		equal(t, a, b)
		return strings.Count(b.log.String(), "msg=locked ") - before
	}
	if n := checkout("new", 10_000); n == 0 || n > 8 {
		t.Errorf("10,000 new files: got %d requests, want a handful", n)
	}
	if n := checkout("more", 1000); n > 0 {
		t.Errorf("1,000 more, under the delegation: got %d requests, want none", n)
	}
}

// locks locks a path on m; with a slash at its end, all below it, too.
func (m *machine) locks(path string, wait time.Duration) control.Lock {
	m.t.Helper()
	plain, below := strings.CutSuffix(path, "/")
	resource := control.Resource{Path: plain, Below: below}
	l, err := m.Locks().Lock(m.t.Context(), control.LockRequest{Resource: resource, TTL: time.Hour, Wait: wait, Why: "release"})
	if err != nil {
		m.t.Fatalf("lock %s on %s: %v", path, m.name, err)
	}
	return l
}

// comes waits until m has a content at a path.
func (m *machine) comes(path, want string) {
	m.t.Helper()
	eventually(m.t, fmt.Sprintf("%s has %s", m.name, path), func() string {
		if got := m.read(path); got != want {
			return fmt.Sprintf("it has %q, and not %q", got, want)
		}
		return ""
	})
}

// TestLockedElsewhere has one machine change what another has locked: an edit is set aside, a deletion and a new mode are undone, what is
// new waits. The user is told who holds what.
func TestLockedElsewhere(t *testing.T) {
	t.Parallel()
	a, b := newMachine(t, "a", map[string]string{"f": "base", "gone": "kept", "mode": "mode"}), newMachine(t, "b", nil)
	if err := os.Mkdir(filepath.Join(a.dir, "dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	a.write("dir/old", "old")
	b.joins(a)
	allKnow(t, "a b", a, b)
	equal(t, a, b)
	lockable(t, a, b)
	for _, path := range []string{"f", "gone", "mode"} {
		a.locks(path, 0)
	}
	dir := a.locks("dir/", 0)
	b.write("f", "b's")
	eventually(t, "the edit is set aside", func() string {
		for _, m := range []*machine{a, b} {
			if names := m.names(); m.read("f") != "base" || !slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, "f.conflict-") && m.read(n) == "b's" }) {
				return fmt.Sprintf("%s has %q in f, of %q", m.name, m.read("f"), names)
			}
		}
		return ""
	})
	if err := os.Remove(filepath.Join(b.dir, "gone")); err != nil {
		t.Fatal(err)
	}
	b.comes("gone", "kept")
	if err := os.Chmod(filepath.Join(b.dir, "mode"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the mode is undone", func() string {
		if info, err := os.Stat(filepath.Join(b.dir, "mode")); err != nil || info.Mode().Perm() != 0o644 {
			return fmt.Sprint(info, err)
		}
		return ""
	})
	b.write("dir/new", "new")
	eventually(t, "the user is told", func() string {
		s, err := b.Replica().Status(t.Context())
		if err != nil {
			return err.Error()
		}
		if !slices.ContainsFunc(s.Problems, func(p control.Problem) bool {
			return p.Path == "dir/new" && strings.Contains(p.Cause, "holds a lock on dir/ (release)")
		}) {
			return fmt.Sprintf("the problems are %+v", s.Problems)
		}
		return ""
	})
	if a.read("dir/new") != "" {
		t.Error("what is new went out under a lock of another")
	}
	a.write("dir/old", "a's, under its own lock")
	b.comes("dir/old", "a's, under its own lock")
	if err := a.Locks().Unlock(t.Context(), dir.ID); err != nil {
		t.Fatal(err)
	}
	a.comes("dir/new", "new")
	equal(t, a, b)
	if s, err := b.Replica().Status(t.Context()); err != nil || len(s.Problems) > 0 {
		t.Errorf("in the end: %+v, %v", s.Problems, err)
	}
	if !strings.Contains(b.log.String(), "vm:a holds a lock on f (release)") && !strings.Contains(b.log.String(), "holds a lock on f (release)") {
		t.Error("the log of b does not name the holder")
	}
}

// TestWhatWaitsMayMove has a new directory, which waits for somebody's lock, renamed meanwhile: what comes out is as things are by then.
func TestWhatWaitsMayMove(t *testing.T) {
	t.Parallel()
	a, b := newMachine(t, "a", map[string]string{"f": "base"}), newMachine(t, "b", nil)
	mkdir := func(m *machine, path string) {
		if err := os.Mkdir(filepath.Join(m.dir, path), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mkdir(a, "dir")
	b.joins(a)
	allKnow(t, "a b", a, b)
	equal(t, a, b)
	lockable(t, a, b)
	dir := a.locks("dir/", 0)
	waits := func(path string) {
		b.write(path, "new")
		eventually(t, path+" waits", func() string {
			s, err := b.Replica().Status(t.Context())
			if err != nil || !slices.ContainsFunc(s.Problems, func(p control.Problem) bool { return p.Path == path }) {
				return fmt.Sprintf("the problems are %+v, %v", s.Problems, err)
			}
			return ""
		})
	}
	mkdir(b, "dir/first")
	waits("dir/first/f")
	if err := os.Rename(filepath.Join(b.dir, "dir/first"), filepath.Join(b.dir, "dir/then")); err != nil {
		t.Fatal(err)
	}
	waits("dir/g") // by then the rename was seen
	if err := a.Locks().Unlock(t.Context(), dir.ID); err != nil {
		t.Fatal(err)
	}
	a.comes("dir/then/f", "new")
	a.comes("dir/g", "new")
	settled(t, a, b)
	for _, m := range []*machine{a, b} {
		if got := m.agreed("dir/first/f"); got != nil && got.Kind == "file" {
			t.Errorf("%s: dir/first/f, which is there no more, is agreed to be %+v", m.name, got)
		}
	}
}

// TestLockBringsTheNewest has a machine lock what another has just changed: when it has the lock, it has the change.
func TestLockBringsTheNewest(t *testing.T) {
	t.Parallel()
	a, b := pairOf(t, map[string]string{"f": "base"})
	for i := range 10 {
		from, to := a, b
		if i%2 == 1 {
			from, to = b, a
		}
		held := from.locks("f", 10*time.Second)
		want := fmt.Sprintf("%s writes %d", from.name, i)
		from.write("f", want)
		if err := from.Locks().Unlock(t.Context(), held.ID); err != nil {
			t.Fatal(err)
		}
		held = to.locks("f", 10*time.Second)
		if got := to.read("f"); got != want {
			t.Fatalf("%d: %s has the lock, and %q in place of %q", i, to.name, got, want)
		}
		if err := to.Locks().Unlock(t.Context(), held.ID); err != nil {
			t.Fatal(err)
		}
	}
	if got := a.names(); !slices.Equal(got, []string{"f"}) {
		t.Errorf("there are %q", got)
	}
}

// TestMovesAreLocked has a machine rename a directory while another edits in it: nothing is lost.
func TestMovesAreLocked(t *testing.T) {
	t.Parallel()
	a, b := newMachine(t, "a", nil), newMachine(t, "b", nil)
	for i := range 20 {
		if err := os.MkdirAll(filepath.Join(a.dir, "d"), 0o755); err != nil {
			t.Fatal(err)
		}
		a.write(fmt.Sprintf("d/f%d", i), "base")
	}
	b.joins(a)
	allKnow(t, "a b", a, b)
	equal(t, a, b)
	lockable(t, a, b)
	b.write("d/f0", "b's") // b has the delegation
	a.comes("d/f0", "b's")
	if err := os.Rename(filepath.Join(a.dir, "d"), filepath.Join(a.dir, "e")); err != nil {
		t.Fatal(err)
	}
	b.comes("e/f0", "b's")
	equal(t, a, b)
	if token := a.agreed("e/f0").Token; token == "0" {
		t.Error("the move has no token")
	}
}

// TestBatch has a machine change many files under a lock that asks for a batch: no other sees any before it is let go, and then all come as
// one operation.
func TestBatch(t *testing.T) {
	t.Parallel()
	a, b := newMachine(t, "a", map[string]string{"f": "f"}), newMachine(t, "b", nil)
	for _, dir := range []string{"d", "e"} {
		if err := os.Mkdir(filepath.Join(a.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b.joins(a)
	allKnow(t, "a b", a, b)
	equal(t, a, b)
	lockable(t, a, b)
	held, err := a.Locks().Lock(t.Context(), control.LockRequest{Resource: control.Resource{Path: "d", Below: true}, TTL: time.Hour, Batch: true})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		a.write(fmt.Sprintf("d/%d", i), "new")
	}
	a.write("e/elsewhere", "elsewhere")
	b.comes("e/elsewhere", "elsewhere") // it was written last
	if entries, err := os.ReadDir(filepath.Join(b.dir, "d")); err != nil || len(entries) > 0 {
		t.Errorf("b sees %d of the batch, %v", len(entries), err)
	}
	if err := a.Locks().Unlock(t.Context(), held.ID); err != nil {
		t.Fatal(err)
	}
	b.comes("d/49", "new")
	equal(t, a, b)
	stamp := a.agreed("d/0").Author.Stamp
	for i := range 50 {
		if got := a.agreed(fmt.Sprintf("d/%d", i)); got.Author.Stamp != stamp || got.Token == "0" {
			t.Errorf("d/%d: stamp %v, token %s; want stamp %v, and a token", i, got.Author.Stamp, got.Token, stamp)
		}
	}
}

// TestManyWritersOnThreeMachines has programs on three machines write the same files again and again: all is equal in the end, each file has
// what somebody wrote, and then nothing is said any more.
func TestManyWritersOnThreeMachines(t *testing.T) {
	t.Parallel()
	const files, writers, rounds = 10, 3, 15
	content := make(map[string]string)
	for i := range files {
		content[fmt.Sprintf("f%d", i)] = "base"
	}
	a, b, c := newMachine(t, "a", content), newMachine(t, "b", nil), newMachine(t, "c", nil)
	b.joins(a)
	c.joins(a)
	allKnow(t, "a b c", a, b, c)
	equal(t, a, b, c)
	lockable(t, a, b, c)
	var wg sync.WaitGroup
	for _, m := range []*machine{a, b, c} {
		for w := range writers {
			wg.Go(func() {
				for i := range rounds {
					for f := range files {
						m.write(fmt.Sprintf("f%d", f), fmt.Sprintf("%s %d %d", m.name, w, i))
					}
				}
			})
		}
	}
	wg.Wait()
	for _, m := range []*machine{a, b, c} {
		if err := m.Replica().Wait(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
	}
	equal(t, a, b, c)
	for _, path := range a.names() {
		var name string
		var w, i int
		content := a.read(path)
		truncated := content == "" && strings.Contains(path, ".conflict-") // as a writer has it for a moment
		if n, err := fmt.Sscanf(content, "%s %d %d", &name, &w, &i); !truncated && (n != 3 || err != nil) {
			t.Errorf("%s has %q", path, content)
		}
	}
	sent := func() (n uint64) {
		for _, m := range []*machine{a, b, c} {
			s, err := m.Replica().Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			n += s.MessagesSent
		}
		return n
	}
	before, since := sent(), time.Now()
	eventually(t, "nothing is said for a second", func() string {
		if now := sent(); now != before {
			before, since = now, time.Now()
		}
		if time.Since(since) < time.Second {
			return "something was said"
		}
		return ""
	})
	t.Logf("%d files", len(a.names()))
}
