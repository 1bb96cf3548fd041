package node

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

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
func lockable(t *testing.T, ms ...*machine) {
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
	a, b := newMachine(t, "a", map[string]string{"f": "base"}), newMachine(t, "b", nil)
	b.joins(a)
	allKnow(t, "a b", a, b)
	equal(t, a, b)
	lockable(t, a, b)
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
	const count = 200
	files := make(map[string]string)
	for i := range count {
		files[fmt.Sprintf("f%03d", i)] = "base"
	}
	a, b := newMachine(t, "a", files), newMachine(t, "b", nil)
	b.joins(a)
	allKnow(t, "a b", a, b)
	equal(t, a, b)
	lockable(t, a, b)
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
		if found["a's "+path]+found["b's "+path] == 0 || found["a's "+path] > 1 || found["b's "+path] > 1 || found["base"] > 0 {
			t.Errorf("%s: kept %d times as a's, %d times as b's", path, found["a's "+path], found["b's "+path])
		}
		if a.agreed(path).Token == "0" {
			t.Errorf("%s has no token", path)
		}
	}
	t.Logf("%d files", len(a.names()))
}
