package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"resonate/beneath"
	"resonate/control"
)

// marks has a machine mark what others hold.
func marks(o *Options) { o.MarkLocked = true }

// modes waits until the files of m have these modes.
func (m *machine) modes(what string, want map[string]fs.FileMode) {
	m.t.Helper()
	eventually(m.t, what, func() string {
		for path, mode := range want {
			if info, err := os.Lstat(filepath.Join(m.dir, path)); err != nil || info.Mode() != mode {
				return fmt.Sprintf("%s: %s is %v, %v; want %v", m.name, path, info, err, mode)
			}
		}
		return ""
	})
}

func (m *machine) chmod(path string, mode fs.FileMode) {
	m.t.Helper()
	if err := os.Chmod(filepath.Join(m.dir, path), mode); err != nil {
		m.t.Fatal(err)
	}
}

// unlocks ends a lock of m's.
func (m *machine) unlocks(l control.Lock) {
	m.t.Helper()
	if err := m.Locks().Unlock(m.t.Context(), l.ID); err != nil {
		m.t.Fatal(err)
	}
}

// checks has m compare its folder with what is recorded.
func (m *machine) checks() {
	m.t.Helper()
	err := m.Replica().Check(m.t.Context(), control.CheckOptions{Read: true}, func(rep control.CheckReport) error {
		if d := rep.Difference; d != nil {
			m.t.Errorf("check of %s: %+v", m.name, d)
		}
		return nil
	})
	if err != nil {
		m.t.Fatal(err)
	}
}

// TestMarkLocked has a machine lock files, which are read-only on the other for as long, whatever arrives meanwhile; nothing of that is
// published, and what the holder publishes has the modes that it has there.
func TestMarkLocked(t *testing.T) {
	t.Parallel()
	a, b := newMachine(t, "a", map[string]string{"f": "base", "run": "x", "free": "free", "ro": "ro"}, tuned(marks)), newMachine(t, "b", nil, tuned(marks))
	a.chmod("run", 0o755)
	a.chmod("ro", 0o444)
	if err := os.Mkdir(filepath.Join(a.dir, "dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	a.write("dir/in", "in")
	b.joins(a)
	allKnow(t, "a b", a, b)
	settled(t, a, b)
	lockable(t, a, b)
	paths := []string{"f", "run", "ro", "dir/in"}
	before := make(map[string]control.Agreed)
	var held []control.Lock
	for _, path := range paths {
		before[path] = *b.agreed(path)
	}
	for _, path := range []string{"f", "run", "ro", "dir/"} {
		held = append(held, a.locks(path, 0))
	}
	locked := map[string]fs.FileMode{"f": 0o444, "run": 0o555, "ro": 0o444, "dir/in": 0o444, "free": 0o644, "dir": 0o755 | fs.ModeDir}
	b.modes("marked", locked)
	settled(t, a, b)
	b.checks()
	a.modes("the holder's own", map[string]fs.FileMode{"f": 0o644, "run": 0o755, "dir/in": 0o644})
	for _, path := range paths {
		if got := *b.agreed(path); got.Mode != before[path].Mode || got.Token != before[path].Token || got.Hash != before[path].Hash {
			t.Errorf("%s: agreed is %+v, and was %+v", path, got, before[path])
		}
	}
	a.write("dir/in", "anew")
	a.write("dir/new", "new")
	a.chmod("f", 0o600)
	a.chmod("run", 0o511)
	b.comes("dir/in", "anew")
	b.comes("dir/new", "new")
	b.modes("marked again", map[string]fs.FileMode{"f": 0o400, "run": 0o511, "dir/in": 0o444, "dir/new": 0o444})
	if err := os.Rename(filepath.Join(a.dir, "dir/in"), filepath.Join(a.dir, "dir/moved")); err != nil {
		t.Fatal(err)
	}
	b.comes("dir/moved", "anew")
	b.chmod("dir/new", 0o644)   // by hand: that is no change
	b.chmod("dir/moved", 0o666) // that is one, and is undone
	b.modes("undone, and marked", map[string]fs.FileMode{"dir/moved": 0o444})
	settled(t, a, b)
	b.checks()
	for _, l := range held {
		a.unlocks(l)
	}
	free := map[string]fs.FileMode{"f": 0o600, "run": 0o511, "ro": 0o444, "dir/moved": 0o644, "dir/new": 0o644}
	b.modes("free again", free)
	settled(t, a, b)
	b.checks()
	a.modes("as it was", free)
	if got := b.agreed("f").Mode; got != "0600" {
		t.Errorf("the mode of f is agreed to be %s", got)
	}
}

// TestMarksAreUndoneAtStart has a machine end while files are marked, without undoing that: the next start does, for a file that was renamed
// meanwhile, too, and nothing of it is published.
func TestMarksAreUndoneAtStart(t *testing.T) {
	t.Parallel()
	a, b := newMachine(t, "a", map[string]string{"f": "base", "g": "to be renamed", "ro": "ro"}), prepareMachine(t, "b", nil)
	a.chmod("ro", 0o444)
	var dies atomic.Bool
	b.tune = []func(*Options){marks, func(o *Options) {
		var dead atomic.Bool // for good: what is left of this run does not come back to life with the next
		o.Folder.Fault = func(beneath.Label) error {
			if dies.Load() {
				dead.Store(true)
			}
			if dead.Load() {
				return errors.New("killed")
			}
			return nil
		}
	}}
	b.start()
	b.joins(a)
	allKnow(t, "a b", a, b)
	settled(t, a, b)
	lockable(t, a, b)
	held := a.locks("/", 0)
	b.modes("marked", map[string]fs.FileMode{"f": 0o444, "g": 0o444, "ro": 0o444})
	dies.Store(true)
	a.unlocks(held)
	b.dies = true
	b.end()
	b.modes("left", map[string]fs.FileMode{"f": 0o444, "g": 0o444})
	if err := os.Rename(filepath.Join(b.dir, "g"), filepath.Join(b.dir, "h")); err != nil {
		t.Fatal(err)
	}
	dies.Store(false)
	b.tune = nil
	b.start()
	want := map[string]fs.FileMode{"f": 0o644, "h": 0o644, "ro": 0o444}
	b.modes("undone", want)
	a.comes("h", "to be renamed")
	settled(t, a, b)
	a.modes("as it was", want)
	b.checks()
	if text := b.read(".resonate/marked"); text != "" {
		t.Errorf("it is still noted as marked: %q", text)
	}
}

// TestEditUnderAMark has a user change files that are marked all the same, as an editor does, by a new file in place of the old, and in place:
// both are set aside as without a mark, a deletion is undone, and the files stay marked.
func TestEditUnderAMark(t *testing.T) {
	t.Parallel()
	a, b := newMachine(t, "a", map[string]string{"f": "base", "g": "base", "gone": "base"}), newMachine(t, "b", nil, tuned(marks))
	b.joins(a)
	allKnow(t, "a b", a, b)
	settled(t, a, b)
	lockable(t, a, b)
	held := []control.Lock{a.locks("f", 0), a.locks("g", 0), a.locks("gone", 0)}
	b.modes("marked", map[string]fs.FileMode{"f": 0o444, "g": 0o444})
	b.write(".resonate/tmp/f.new", "b's f")
	if err := os.Rename(filepath.Join(b.dir, ".resonate/tmp/f.new"), filepath.Join(b.dir, "f")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(b.dir, "gone")); err != nil {
		t.Fatal(err)
	}
	b.chmod("g", 0o644)
	b.write("g", "b's g")
	for _, path := range []string{"f", "g"} {
		eventually(t, "the edit is set aside", func() string {
			for _, m := range []*machine{a, b} {
				names := m.names()
				i := slices.IndexFunc(names, func(n string) bool { return strings.HasPrefix(n, path+".conflict-") && m.read(n) == "b's "+path })
				if m.read(path) != "base" || i < 0 {
					return fmt.Sprintf("%s has %q in %s, of %q", m.name, m.read(path), path, names)
				}
				if info, err := os.Lstat(filepath.Join(m.dir, names[i])); err != nil || info.Mode() != 0o644 {
					return fmt.Sprintf("%s has %v, %v", m.name, info, err)
				}
			}
			return ""
		})
	}
	b.modes("marked again", map[string]fs.FileMode{"f": 0o444, "g": 0o444, "gone": 0o444})
	for _, l := range held {
		a.unlocks(l)
	}
	b.modes("free again", map[string]fs.FileMode{"f": 0o644, "g": 0o644, "gone": 0o644})
	settled(t, a, b)
	a.modes("as it was", map[string]fs.FileMode{"f": 0o644, "g": 0o644})
}
