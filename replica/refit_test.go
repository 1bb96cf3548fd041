package replica

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"resonate/merkle"
)

// TestWrittenUnderANameThatGoes has a file written through one of its names, which is removed before that is looked at: the kernel
// tells of no change under the others.
func TestWrittenUnderANameThatGoes(t *testing.T) {
	for _, row := range []struct {
		name string
		do   func(n *node)
		want tree
	}{
		{"removed", func(n *node) { n.remove("g") }, tree{"f": "written"}},
		{"replaced", func(n *node) { n.write("new", "other"); n.rename("new", "g") }, tree{"f": "written", "g": "other"}},
		{"moved over another", func(n *node) { n.rename("g", "h") }, tree{"f": "written", "h": "written"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a, b := newNode(t, "a", tree{"f": "base"}), startNode(t, "b", nil)
			a.hardLink("f", "g")
			a.start()
			connect(a, b)
			identical(t, "f=g", a, b)
			a.inLoop(func(*Replica) {
				a.write("g", "written")
				row.do(a)
			})
			holds(t, row.want, a, b)
		})
	}
}

// TestConflictOfLinkedFiles has a file with two names written on both sides: its copies are one file, everywhere.
func TestConflictOfLinkedFiles(t *testing.T) {
	a, b := newNode(t, "a", tree{"f": "base"}), startNode(t, "b", nil)
	a.hardLink("f", "g")
	a.start()
	w := connect(a, b)
	identical(t, "f=g", a, b)
	w.cut()
	a.write("f", "a's")
	a.age("f", time.Now().Add(-time.Hour))
	b.write("g", "b's")
	a.flushed()
	b.flushed()
	w.restore()
	eventually(t, "the copies are one file", func() string {
		converged(t, a, b)
		copies := a.tree().copies()
		for _, n := range []*node{a, b} {
			if got := n.identities(); len(copies) != 2 || !strings.Contains(got, "f=g") || strings.Count(got, "=") != 2 {
				return fmt.Sprintf("%s has %s", n.name, got)
			}
		}
		return ""
	})
}

// recordAt has what stands at paths of n recorded, as if it was agreed.
func recordAt(n *node, r *Replica, paths ...string) {
	for _, p := range paths {
		info, err := r.root.Lstat(p)
		if err != nil {
			n.t.Fatal(err)
		}
		disk := diskOf(info)
		a, err := r.attributesAt(p)
		if err != nil {
			n.t.Fatal(err)
		}
		a.on(&disk)
		r.record(p).setDisk(disk)
		r.touch(p)
	}
}

// TestWhatIsNotAsAgreedIsPutInAgain leaves at one of two nodes what is not agreed, recorded as if it was: as it happens where names
// share an inode and their versions come in one by one.
func TestWhatIsNotAsAgreedIsPutInAgain(t *testing.T) {
	old := time.Unix(1e9, 0)
	for _, row := range []struct {
		name  string
		leave func(n *node, r *Replica)
	}{
		{"mode", func(n *node, r *Replica) { n.chmod("f", 0o600); recordAt(n, r, "f") }},
		{"mode of a directory", func(n *node, r *Replica) { n.chmod("d", 0o700); recordAt(n, r, "d") }},
		{"mtime", func(n *node, r *Replica) { n.age("f", old); recordAt(n, r, "f") }},
		{"mode of a file with two names", func(n *node, r *Replica) { n.chmod("g", 0o600); recordAt(n, r, "g", "h") }},
		{"mode and mtime of one of two names, which is now a file of its own", func(n *node, r *Replica) {
			n.remove("g")
			n.write("g", "linked")
			n.age("g", old)
			n.chmod("g", 0o600)
			recordAt(n, r, "g")
		}},
		{"no link", func(n *node, r *Replica) {
			mtime := n.replica().diskAt("h").MTime
			n.remove("h")
			n.write("h", "linked")
			n.age("h", time.Unix(0, mtime))
			recordAt(n, r, "h")
		}},
	} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restart %v", row.name, restart), func(t *testing.T) {
				t.Parallel()
				a, b := newNode(t, "a", tree{"d/": "", "f": "base", "g": "linked"}), startNode(t, "b", nil)
				a.hardLink("g", "h")
				a.start()
				connect(a, b)
				identical(t, "f g=h", a, b)
				var before merkle.Hash
				a.inLoop(func(r *Replica) { before = r.tree.Root().State })
				b.inLoop(func(r *Replica) {
					row.leave(b, r)
					if restart {
						clear(r.anew)
					}
				})
				if restart {
					b.committed()
					b.end()
					b.start()
					connect(a, b)
				}
				eventually(t, "b is as a", func() string {
					for _, p := range []string{"d", "f", "g", "h"} {
						if ai, bi := lstat(t, a.path(p)), lstat(t, b.path(p)); ai.Mode() != bi.Mode() || !ai.IsDir() && !ai.ModTime().Equal(bi.ModTime()) {
							return fmt.Sprintf("%s: %v %v in a, %v %v in b", p, ai.Mode(), ai.ModTime(), bi.Mode(), bi.ModTime())
						}
					}
					return ""
				})
				identical(t, "f g=h", a, b)
				for _, n := range []*node{a, b} {
					n.inLoop(func(r *Replica) {
						if got := r.tree.Root().State; got != before {
							t.Errorf("%s: the tree is %v, was %v: nobody changed anything", n.name, got, before)
						}
					})
				}
			})
		}
	}
}

// TestStrangersPart leaves at one of two nodes an inode that names of different files share: they come apart, and the others' names stay.
func TestStrangersPart(t *testing.T) {
	for _, row := range []struct{ name, keeps, comes string }{
		{"one name of another file", "g", "i"},
		{"all names of another file", "g", "i j"},
		{"one name of each", "i", "g"},
		{"three files", "g", "i k"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a, b := newNode(t, "a", tree{"g": "same", "i": "same", "k": "same"}), startNode(t, "b", nil)
			a.hardLink("g", "h")
			a.hardLink("i", "j")
			a.hardLink("k", "l")
			for _, p := range []string{"g", "i", "k"} {
				a.age(p, time.Unix(1e9, 0))
			}
			a.start()
			connect(a, b)
			identical(t, "g=h i=j k=l", a, b)
			b.inLoop(func(r *Replica) {
				for p := range strings.FieldsSeq(row.comes) {
					b.remove(p)
					b.hardLink(row.keeps, p)
					recordAt(b, r, p)
				}
				recordAt(b, r, row.keeps)
			})
			identical(t, "g=h i=j k=l", a, b)
		})
	}
}

// TestPartsOfNothing leaves the part of a file that was being fetched when the trees became equal.
func TestPartsOfNothing(t *testing.T) {
	a, b := startNode(t, "a", tree{"f": "base"}), startNode(t, "b", nil)
	connect(a, b)
	holds(t, tree{"f": "base"}, a, b)
	until(t, "the part is dropped", func() (dropped bool) {
		b.inLoop(func(r *Replica) {
			temp := r.tempName()
			b.write(temp+partial, "some")
			r.addPart(partTag("g"), &keptPart{temp: temp, since: time.Now()})
			r.lastChange = time.Time{}
			r.dropOldParts(time.Now())
			dropped = len(r.parts) == 0
		})
		return dropped
	})
	eventually(t, "no temporary files", func() string { return leftovers(a, b) })
}

// TestPartSurvivesALostSource has a fetch begin when the session with its only source is over already: what an earlier try has left
// stays known.
func TestPartSurvivesALostSource(t *testing.T) {
	a, b := startNode(t, "a", tree{"f": "base"}), startNode(t, "b", nil)
	connect(a, b)
	holds(t, tree{"f": "base"}, a, b)
	b.inLoop(func(r *Replica) {
		kept := &keptPart{temp: r.tempName(), since: time.Now()}
		r.addPart(partTag("g"), kept)
		for _, p := range r.peers {
			p.jobs.close()
		}
		e := &merkle.Entry{Attributes: merkle.Attributes{Kind: merkle.File, Size: 1 << 20, Content: merkle.Hash{1}}}
		if err := r.fetch(&incoming{path: "g", theirs: e}); !errors.Is(err, errNoSource) {
			t.Errorf("got %v, want %v", err, errNoSource)
		}
		if r.parts[partTag("g")] != kept || len(r.underway) > 0 {
			t.Errorf("parts are %v, under way is %v: the part is nobody's", r.parts, r.underway)
		}
		delete(r.parts, partTag("g"))
	})
}
