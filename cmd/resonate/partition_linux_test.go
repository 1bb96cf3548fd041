package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"resonate/control"
)

// A parted is three machines of which one is to be cut off from the two others. It is not the one that leads, so that these go on at once.
type parted struct {
	*cluster
	net *network
	off *daemon   // is cut off
	two []*daemon // a majority
}

// newParted starts the daemons, which have the given texts in sync.
func newParted(t *testing.T, texts map[string]string, args ...string) *parted {
	t.Helper()
	needsMachines(t)
	t.Parallel()
	c, w := newMachines(t, 3)
	p := &parted{cluster: c, net: w}
	for _, d := range c.daemons {
		d.args = append(append(d.args, "-session", lockSession.String()), args...)
		d.start(envLocks + "=" + clusterLocks)
	}
	c.until(60*time.Second, c.together)
	for name, text := range texts {
		p.write(c.daemons[0], name, text)
	}
	c.mustAgree()
	for _, d := range c.daemons {
		q, err := d.client.Quorum(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		leads := slices.ContainsFunc(q.Voters, func(v control.Voter) bool { return v.Self && v.Leader })
		if p.off == nil && !leads {
			p.off = d
		} else {
			p.two = append(p.two, d)
		}
	}
	return p
}

// part cuts the one off from the two, without a word to anybody, and waits until its status says in one line that there are no locks, and what
// follows.
func (p *parted) part(follows string) (mend func()) {
	p.t.Helper()
	off, a, b := slices.Index(p.daemons, p.off), slices.Index(p.daemons, p.two[0]), slices.Index(p.daemons, p.two[1])
	mends := []func(){p.net.cut(off, a, b), p.net.cut(a, off), p.net.cut(b, off)}
	want := "none is granted: no majority of those who vote on them can be reached; " + follows + "\n"
	p.until(time.Minute, func() error {
		out, err := p.off.command("status", "-dir", p.off.dir).CombinedOutput()
		if strings.Count(string(out), want) != 1 {
			return fmt.Errorf("status of what is cut off: %v, %s\nwant a line that ends with %s", err, out, want)
		}
		return nil
	})
	return func() {
		for _, m := range mends {
			m()
		}
	}
}

func (p *parted) write(d *daemon, name, text string) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// has returns nil when a daemon's file has a content.
func (p *parted) has(d *daemon, name, text string) error {
	if got, err := os.ReadFile(filepath.Join(d.dir, name)); err != nil || string(got) != text {
		return fmt.Errorf("%s of %s: got %q, %v; want %q", name, d.name, got, err, text)
	}
	return nil
}

// gets waits until a daemon's file has a content.
func (p *parted) gets(d *daemon, name, text string) {
	p.t.Helper()
	p.until(time.Minute, func() error { return p.has(d, name, text) })
}

// explained asks a daemon about a path.
func (p *parted) explained(d *daemon, path string) control.Why {
	p.t.Helper()
	why, err := d.client.Why(p.t.Context(), path)
	if err != nil || why.Agreed == nil {
		p.t.Fatalf("why %s of %s: %+v, %v", path, d.name, why, err)
	}
	return why
}

// contents are the files of a folder.
func (p *parted) contents(d *daemon) map[string]string {
	p.t.Helper()
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		p.t.Fatal(err)
	}
	files := map[string]string{}
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		text, err := os.ReadFile(filepath.Join(d.dir, e.Name()))
		if err != nil {
			p.t.Fatal(err)
		}
		files[e.Name()] = string(text)
	}
	return files
}

// With -partition readonly, what is edited on a machine that is cut off waits there, for locks; the others go on. Afterwards all have both.
func TestPartitionReadOnly(t *testing.T) {
	p := newParted(t, map[string]string{"its": "base\n", "theirs": "base\n"}, "-partition", "readonly")
	before := p.explained(p.off, "its").Agreed.Entry
	mend := p.part("what is changed here waits")

	p.write(p.off, "its", "edited by the one\n")
	p.write(p.two[0], "theirs", "edited by the two\n")
	p.gets(p.two[1], "theirs", "edited by the two\n")
	p.until(time.Minute, func() error {
		if why := p.explained(p.off, "its"); !strings.HasPrefix(why.Cause, "changed here") {
			return fmt.Errorf("the edit was not noticed: %+v", why)
		}
		return nil
	})
	pause(3500 * time.Millisecond) // where changes go out without locks, they do after 3
	if why := p.explained(p.off, "its"); why.State != "changed" || why.Agreed.Entry != before {
		t.Errorf("the edit while there are no locks: got %+v, want it not let out", why)
	}
	if err := p.has(p.off, "its", "edited by the one\n"); err != nil {
		t.Error(err)
	}
	if err := p.has(p.two[0], "its", "base\n"); err != nil {
		t.Error(err)
	}

	mend()
	for _, d := range p.daemons {
		p.gets(d, "its", "edited by the one\n")
		p.gets(d, "theirs", "edited by the two\n")
	}
	p.mustAgree()
	agreed := p.explained(p.off, "its").Agreed
	if s, err := p.off.status(); err != nil || agreed.Token == "0" || agreed.Author.Node != s.NodeID {
		t.Errorf("the edit afterwards: got %+v, want it to be by %s, under a token (%v)", agreed, s.NodeID, err)
	}
	if files := p.contents(p.off); len(files) != 2 {
		t.Errorf("afterwards there are %v, want the two files", files)
	}
}

// numbered is a text of 30 lines, some of which are others than usual.
func numbered(others map[int]string) string {
	var b strings.Builder
	for i := range 30 {
		if line := others[i+1]; line != "" {
			fmt.Fprintln(&b, line)
			continue
		}
		fmt.Fprintf(&b, "This is line %d.\n", i+1)
	}
	return b.String()
}

// By default what is edited on a machine that is cut off goes out without a lock, and is merged with what the others have made meanwhile; where both
// have changed the same line, both versions are kept.
func TestPartitionWritable(t *testing.T) {
	p := newParted(t, map[string]string{"apart.txt": numbered(nil), "same.txt": numbered(nil)})
	mend := p.part("what is changed goes out without")

	byTwo, byOne := map[int]string{5: "by the two"}, map[int]string{5: "by the one"}
	p.write(p.two[0], "apart.txt", numbered(map[int]string{3: "by the two"}))
	p.write(p.two[0], "same.txt", numbered(byTwo))
	p.write(p.off, "apart.txt", numbered(map[int]string{27: "by the one"}))
	p.write(p.off, "same.txt", numbered(byOne))
	p.gets(p.two[1], "apart.txt", numbered(map[int]string{3: "by the two"}))
	p.gets(p.two[1], "same.txt", numbered(byTwo))
	s, err := p.off.status()
	if err != nil {
		t.Fatal(err)
	}
	p.until(time.Minute, func() error {
		for _, name := range []string{"apart.txt", "same.txt"} {
			if why := p.explained(p.off, name); why.State != "agreed" || why.Agreed.Token != "0" || why.Agreed.Author.Node != s.NodeID {
				return fmt.Errorf("%s: %+v, want it let out without a lock", name, why)
			}
		}
		return nil
	})

	mend()
	for _, d := range p.daemons {
		p.gets(d, "apart.txt", numbered(map[int]string{3: "by the two", 27: "by the one"}))
	}
	p.until(30*time.Second, func() error {
		for _, d := range p.daemons {
			if files := p.contents(d); len(files) != 3 {
				return fmt.Errorf("%s has %q, want the two files and a conflict copy of one", d.name, slices.Sorted(maps.Keys(files)))
			}
		}
		return nil
	})
	p.mustAgree()
	var both []string
	files := p.contents(p.off)
	for name, text := range files {
		if name == "same.txt" || strings.HasPrefix(name, "same.conflict-") && strings.HasSuffix(name, ".txt") {
			both = append(both, text)
		}
	}
	slices.Sort(both)
	if want := []string{numbered(byOne), numbered(byTwo)}; len(files) != 3 || !slices.Equal(both, want) {
		t.Errorf("afterwards: got %q, want apart.txt merged, and of same.txt both versions", files)
	}
	for _, d := range p.daemons {
		list, err := d.client.Conflicts(t.Context(), "")
		if err != nil || len(list) != 1 || list[0].Path != "same.txt" || len(list[0].Copies) != 1 {
			t.Errorf("conflicts of %s: got %+v, %v; want one, of same.txt", d.name, list, err)
		}
	}
}
