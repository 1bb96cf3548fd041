package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"resonate/beneath"
	"resonate/control"
	"resonate/replica"
)

// lines returns a text of ten lines, of which some are other ones.
func lines(others map[int]string) string {
	var b strings.Builder
	for i := range 10 {
		line := fmt.Sprintf("line %d", i)
		if other, ok := others[i]; ok {
			line = other
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

// pairOf starts two machines that share files, and waits until they have locks.
func pairOf(t *testing.T, files map[string]string, tune ...func(*Options)) (a, b *machine) {
	t.Helper()
	a, b = newMachine(t, "a", files, tuned(tune...)), newMachine(t, "b", nil, tuned(tune...))
	b.joins(a)
	allKnow(t, "a b", a, b)
	equal(t, a, b)
	lockable(t, a, b)
	return a, b
}

// keepBases waits until machines have kept what they hold.
func keepBases(t *testing.T, ms ...*machine) {
	t.Helper()
	eventually(t, "contents are kept", func() string {
		for _, m := range ms {
			if info, err := os.Stat(filepath.Join(m.Replica().State(), "bases", "texts.1")); err != nil || info.Size() < 30 {
				return m.name + " has kept none"
			}
		}
		return ""
	})
}

// settled waits until machines have nothing to do with each other any more, and are equal.
func settled(t *testing.T, ms ...*machine) {
	t.Helper()
	for range 2 {
		for _, m := range ms {
			if err := m.Replica().Wait(t.Context(), ""); err != nil {
				t.Fatal(err)
			}
		}
	}
	equal(t, ms...)
}

// kept tells whether the history of m has a content of a path.
func (m *machine) kept(path, content string) bool {
	m.t.Helper()
	list, err := m.Replica().History(m.t.Context(), path)
	if err != nil {
		m.t.Fatal(err)
	}
	return slices.ContainsFunc(list, func(k control.Kept) bool {
		b, err := os.ReadFile(filepath.Join(m.dir, k.File))
		return err == nil && string(b) == content
	})
}

// letsOut has m write a content, and waits until it has let that out.
func (m *machine) letsOut(path, content string) {
	m.t.Helper()
	before := m.agreed(path)
	m.write(path, content)
	eventually(m.t, m.name+" lets it out", func() string {
		if m.agreed(path).Entry == before.Entry {
			return "it has not yet"
		}
		return ""
	})
}

// whileOpen has m's user write a content in place, over what happens meanwhile elsewhere: the file is open.
func (m *machine) whileOpen(path, content string, meanwhile func()) {
	m.t.Helper()
	f, err := os.OpenFile(filepath.Join(m.dir, path), os.O_WRONLY, 0)
	if err != nil {
		m.t.Fatal(err)
	}
	defer f.Close()
	meanwhile()
	if err := f.Truncate(0); err != nil {
		m.t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte(content), 0); err != nil {
		m.t.Fatal(err)
	}
}

// TestChangesOfOneTextAreMerged has two machines change different lines of one file at once, connected and not: what comes of it is one
// file with both changes, no copy, and what each has written is in a history.
func TestChangesOfOneTextAreMerged(t *testing.T) {
	t.Parallel()
	base, as, bs := lines(nil), lines(map[int]string{1: "a's"}), lines(map[int]string{8: "b's"})
	both := lines(map[int]string{1: "a's", 8: "b's"})
	for _, row := range []struct {
		name string
		edit func(t *testing.T, a, b *machine)
	}{
		{"connected", func(_ *testing.T, a, b *machine) { b.whileOpen("f", bs, func() { a.letsOut("f", as) }) }},
		{"connected, the other way round", func(_ *testing.T, a, b *machine) { a.whileOpen("f", as, func() { b.letsOut("f", bs) }) }},
		{"one was stopped", func(_ *testing.T, a, b *machine) {
			b.end()
			b.write("f", bs)
			a.letsOut("f", as)
			b.start()
		}},
		{"the voter was stopped", func(_ *testing.T, a, b *machine) {
			a.end()
			a.write("f", as)
			b.letsOut("f", bs)
			a.peers = []string{b.address()} // it has another port now
			a.start()
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a, b := pairOf(t, map[string]string{"f": base})
			keepBases(t, a, b)
			row.edit(t, a, b)
			for _, m := range []*machine{a, b} {
				m.comes("f", both)
			}
			settled(t, a, b)
			for _, m := range []*machine{a, b} {
				if got := m.names(); !slices.Equal(got, []string{"f"}) {
					t.Errorf("%s has %q", m.name, got)
				}
				if m.agreed("f").Token == "0" {
					t.Errorf("%s: what was merged has no token", m.name)
				}
			}
			if !a.kept("f", as) && !b.kept("f", as) || !a.kept("f", bs) && !b.kept("f", bs) {
				t.Error("what one of them has written is in no history")
			}
		})
	}
}

// beside returns the path of the one conflict copy that m has, and fails where there is another number of them.
func (m *machine) beside() string {
	m.t.Helper()
	var copies []string
	for _, name := range m.names() {
		if strings.Contains(name, ".conflict-") {
			copies = append(copies, name)
		}
	}
	if len(copies) != 1 {
		m.t.Fatalf("%s has %q, want one conflict copy", m.name, m.names())
	}
	return copies[0]
}

// follows has tune set the policy.
func follows(p replica.Policy) func(*Options) { return func(o *Options) { o.Folder.Policy = p } }

// TestConflictsThatAreNotMerged has two machines change one file at once in ways that cannot be merged, or are not to be: what was let out
// last keeps the name, the other is kept beside it, once, or in the history.
func TestConflictsThatAreNotMerged(t *testing.T) {
	t.Parallel()
	text := lines(nil)
	for _, row := range []struct {
		name         string
		policy       replica.Policy
		base, as, bs string
		beside       bool
	}{
		{"the same line", replica.Merge, text, lines(map[int]string{4: "a's"}), lines(map[int]string{4: "b's"}), true},
		{"no text", replica.Merge, "base\x00" + text, "a's\x00" + text, "base\x00" + text + "b's\n", true},
		{"copies are wanted", replica.Copy, text, lines(map[int]string{1: "a's"}), lines(map[int]string{8: "b's"}), true},
		{"the latest is wanted", replica.Latest, text, lines(map[int]string{1: "a's"}), lines(map[int]string{8: "b's"}), false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a, b := pairOf(t, map[string]string{"f": row.base, "text": text}, follows(row.policy))
			if row.policy == replica.Merge {
				keepBases(t, a, b)
			}
			b.whileOpen("f", row.bs, func() { a.letsOut("f", row.as) })
			for _, m := range []*machine{a, b} {
				m.comes("f", row.bs)
			}
			settled(t, a, b)
			for _, m := range []*machine{a, b} {
				if row.beside {
					if row.policy == replica.Merge && row.base == text {
						var base strings.Builder
						if err := m.Replica().ConflictBase(t.Context(), m.beside(), &base); err != nil || base.String() != text {
							t.Errorf("%s: what both were made of is %q, %v", m.name, base.String(), err)
						}
					}
					if got := m.read(m.beside()); got != row.as {
						t.Errorf("%s has %q beside it, want %q", m.name, got, row.as)
					}
				} else if names := m.names(); len(names) != 2 {
					t.Errorf("%s has %q", m.name, names)
				}
				if got := m.read("f"); got != row.bs {
					t.Errorf("%s has %q", m.name, got)
				}
			}
			if !row.beside && !a.kept("f", row.as) {
				t.Error("what gave way is not in the history of who wrote it")
			}
		})
	}
}

// TestLatestOfTwoThatWereApart has two machines that were apart follow the policy latest: one of the versions keeps the name, the other is in a
// history.
func TestLatestOfTwoThatWereApart(t *testing.T) {
	t.Parallel()
	a, b := pairOf(t, map[string]string{"f": "base"}, follows(replica.Latest))
	b.end()
	b.write("f", "b's")
	a.letsOut("f", "a's")
	b.start()
	eventually(t, "both have one of the two", func() string {
		if x, y := a.read("f"), b.read("f"); x != y || x == "base" {
			return fmt.Sprintf("a has %q, b has %q", x, y)
		}
		return ""
	})
	settled(t, a, b)
	other := map[string]string{"a's": "b's", "b's": "a's"}[a.read("f")]
	if len(a.names()) != 1 || len(b.names()) != 1 {
		t.Errorf("a has %q, b has %q", a.names(), b.names())
	}
	if !a.kept("f", other) && !b.kept("f", other) {
		t.Errorf("%q is in no history", other)
	}
}

// TestMetadataAndContentAtOnce has one machine change a file's mode while the other changes what is in it: both come to be, whatever the
// file holds.
func TestMetadataAndContentAtOnce(t *testing.T) {
	t.Parallel()
	for _, base := range []string{lines(nil), "no\x00text" + strings.Repeat(lines(nil), 10_000)} {
		t.Run(fmt.Sprintf("%.2s", base), func(t *testing.T) {
			t.Parallel()
			a, b := pairOf(t, map[string]string{"f": base, "text": lines(nil)})
			keepBases(t, a, b)
			b.whileOpen("f", base+"b's", func() {
				before := a.agreed("f")
				if err := os.Chmod(filepath.Join(a.dir, "f"), 0o600); err != nil {
					t.Fatal(err)
				}
				eventually(t, "a lets it out", func() string {
					if a.agreed("f").Entry == before.Entry {
						return "it has not yet"
					}
					return ""
				})
			})
			for _, m := range []*machine{a, b} {
				m.comes("f", base+"b's")
			}
			settled(t, a, b)
			for _, m := range []*machine{a, b} {
				info, err := os.Stat(filepath.Join(m.dir, "f"))
				if err != nil || info.Mode().Perm() != 0o600 || m.read("f") != base+"b's" || len(m.names()) != 2 {
					t.Errorf("%s has %q, f %v of %d bytes, %v", m.name, m.names(), info.Mode(), len(m.read("f")), err)
				}
			}
		})
	}
}

// TestUserWritesWhileItIsMerged has a user write once more in the instant before what was merged goes in: that is merged in its turn, and
// nothing is lost.
func TestUserWritesWhileItIsMerged(t *testing.T) {
	t.Parallel()
	a := newMachine(t, "a", map[string]string{"f": lines(nil)})
	var b *machine
	var once sync.Once
	var armed atomic.Bool
	again := lines(map[int]string{5: "b's again", 8: "b's"})
	b = newMachine(t, "b", nil, tuned(func(o *Options) {
		o.Folder.Fault = func(l beneath.Label) error {
			if l == "apply.swap" && armed.Load() {
				once.Do(func() { b.write("f", again) })
			}
			return nil
		}
	}))
	b.joins(a)
	allKnow(t, "a b", a, b)
	equal(t, a, b)
	lockable(t, a, b)
	keepBases(t, a, b)
	b.whileOpen("f", lines(map[int]string{8: "b's"}), func() {
		a.letsOut("f", lines(map[int]string{1: "a's"}))
		armed.Store(true)
	})
	for _, m := range []*machine{a, b} {
		m.comes("f", lines(map[int]string{1: "a's", 5: "b's again", 8: "b's"}))
	}
	settled(t, a, b)
	if got := b.names(); !slices.Equal(got, []string{"f"}) {
		t.Errorf("b has %q", got)
	}
	if !b.kept("f", again) {
		t.Error("what the user wrote last is not in the history")
	}
}

// TestOthersSeeOnlyWhatWasMerged has a third machine look on: it never has the change that was made last without the one before.
func TestOthersSeeOnlyWhatWasMerged(t *testing.T) {
	t.Parallel()
	as, bs := lines(map[int]string{1: "a's"}), lines(map[int]string{8: "b's"})
	a, b := pairOf(t, map[string]string{"f": lines(nil)})
	c := newMachine(t, "c", nil)
	c.joins(a)
	allKnow(t, "a b c", a, b, c)
	equal(t, a, b, c)
	lockable(t, a, b, c)
	keepBases(t, a, b)
	b.whileOpen("f", bs, func() { a.letsOut("f", as) })
	for _, m := range []*machine{a, b, c} {
		m.comes("f", lines(map[int]string{1: "a's", 8: "b's"}))
	}
	settled(t, a, b, c)
	for _, m := range []*machine{a, b, c} {
		if got := m.names(); !slices.Equal(got, []string{"f"}) {
			t.Errorf("%s has %q", m.name, got)
		}
	}
	if a.kept("f", bs) || c.kept("f", bs) {
		t.Error("others have seen what had not been merged")
	}
	if !b.kept("f", bs) || !a.kept("f", as) {
		t.Error("what was written is not in the history of who wrote it")
	}
}

// TestDeathWhileMerging has the machine that merges die at each step of it, and start again: what both have written is there, in one file, or
// in two, or in the history.
func TestDeathWhileMerging(t *testing.T) {
	t.Parallel()
	as, bs := lines(map[int]string{1: "a's"}), lines(map[int]string{8: "b's"})
	both := lines(map[int]string{1: "a's", 8: "b's"})
	for _, label := range []beneath.Label{
		"fetch.create", "fetch.complete", "fetch.whole", "publish", "apply.intent", "apply.swap", "history.mkdir", "history.move", "commit.index",
	} {
		t.Run(string(label), func(t *testing.T) {
			t.Parallel()
			var armed, died atomic.Bool
			a := newMachine(t, "a", map[string]string{"f": lines(nil)})
			b := newMachine(t, "b", nil, tuned(func(o *Options) {
				var dead atomic.Bool // for good: what is left of this run does not come back to life with the next
				o.Folder.Fault = func(l beneath.Label) error {
					if l == label && armed.Load() {
						dead.Store(true)
						died.Store(true)
					}
					if dead.Load() {
						return errors.New("killed")
					}
					return nil
				}
			}))
			b.joins(a)
			allKnow(t, "a b", a, b)
			equal(t, a, b)
			lockable(t, a, b)
			keepBases(t, a, b)
			b.whileOpen("f", bs, func() {
				a.letsOut("f", as)
				armed.Store(true)
			})
			eventually(t, "it dies", func() string {
				if !died.Load() {
					return "it lives"
				}
				return ""
			})
			b.dies = true
			b.end()
			armed.Store(false)
			b.start()
			eventually(t, "what both have written is there", func() string {
				there := func(want string) bool {
					for _, m := range []*machine{a, b} {
						for _, name := range m.names() {
							if got := m.read(name); got == want || got == both {
								return true
							}
						}
					}
					return false
				}
				if !there(as) || !there(bs) {
					return fmt.Sprintf("a has %q, b has %q", a.names(), b.names())
				}
				return ""
			})
			settled(t, a, b)
			if strings.HasPrefix(string(label), "history.") && (!b.kept("f", bs) || !slices.Equal(b.names(), []string{"f"})) {
				t.Errorf("what gave way to what was merged is not in the history: b has %q", b.names())
			}
		})
	}
}
