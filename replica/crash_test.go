package replica

import (
	"os"
	"testing"
	"time"
)

func (n *node) isSuspect(p string) bool {
	for _, h := range n.status().Held {
		if h.Path == p && h.Kind == "suspect" {
			return true
		}
	}
	return false
}

// TestUncleanBoot has the machine of a go down, which leaves what disk says; then a starts again, alone at first.
func TestUncleanBoot(t *testing.T) {
	base := tree{"f": "agreed", "g": "stays"}
	for _, row := range []struct {
		name    string
		disk    func(a *node) // what the crash did to the folder
		peer    func(b *node) // what happened at the peer meanwhile
		suspect string
		want    tree
		history map[string]string // at a
	}{
		{
			name: "torn file", disk: func(a *node) { a.write("f", "\x00\x00\x00") }, suspect: "f",
			want: base, history: map[string]string{"f": "\x00\x00\x00"},
		},
		{
			name: "missing file", disk: func(a *node) { a.remove("f") }, suspect: "f", want: base,
		},
		{
			name: "torn file, changed at the peer", disk: func(a *node) { a.write("f", "torn") },
			peer: func(b *node) { b.write("f", "newer") }, suspect: "f",
			want: tree{"f": "newer", "g": "stays"}, history: map[string]string{"f": "torn"},
		},
		{
			name: "torn file, deleted at the peer", disk: func(a *node) { a.write("f", "torn") },
			peer: func(b *node) { b.remove("f") }, suspect: "f",
			want: tree{"g": "stays"}, history: map[string]string{"f": "torn"},
		},
		{
			name: "missing file, changed at the peer", disk: func(a *node) { a.remove("f") },
			peer: func(b *node) { b.write("f", "newer") }, suspect: "f",
			want: tree{"f": "newer", "g": "stays"},
		},
		{
			name: "missing file, deleted at the peer", disk: func(a *node) { a.remove("f") },
			peer: func(b *node) { b.remove("f") }, suspect: "f", want: tree{"g": "stays"},
		},
		{
			name: "new file", disk: func(a *node) { a.write("new", "unknown") }, suspect: "new",
			want: tree{"f": "agreed", "g": "stays", "new": "unknown"},
		},
		{
			name: "new file, another at the peer", disk: func(a *node) { a.write("new", "unknown") },
			peer: func(b *node) { b.write("new", "of the peer") }, suspect: "new",
			want:    tree{"f": "agreed", "g": "stays", "new": "of the peer"},
			history: map[string]string{"new": "unknown"},
		},
		{
			name: "file made a directory", disk: func(a *node) { a.remove("f"); a.write("f/in", "in") }, suspect: "f/in",
			want: tree{"f/in": "in", "g": "stays"},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a, b := startNode(t, "a", base), startNode(t, "b", nil)
			w := connect(a, b)
			holds(t, base, a, b)
			a.committed()
			w.cut()
			a.kill()
			row.disk(a)
			if row.peer != nil {
				row.peer(b)
				b.flushed()
			}
			before := b.tree()
			a.o.BootID = "boot-2"
			a.start()
			until(t, row.suspect+" is suspect", func() bool { return a.isSuspect(row.suspect) })
			a.flushed()
			if e := a.entry(row.suspect); e != nil && e.Hash() != b.entryOrNil(row.suspect, e.Hash()) && row.peer == nil {
				t.Errorf("%s was published: %v", row.suspect, e)
			}
			if d := b.tree().diff(before); d != "" {
				t.Errorf("at the peer before the meeting: %s", d)
			}
			w.restore()
			if row.name == "file made a directory" {
				eventually(t, "nothing is lost", func() string {
					if !hasContent(a.tree(), "agreed") && !a.keeps("in") {
						return "in is lost"
					}
					return b.tree().diff(a.tree())
				})
				converged(t, a, b)
				if !a.keeps("in") || !a.keeps("agreed") && !b.keeps("agreed") {
					t.Errorf("lost: tree %v, history %v", a.tree(), a.history())
				}
				return
			}
			holds(t, row.want, a, b)
			until(t, "nothing is held", func() bool { return len(a.status().Held) == 0 })
			history := a.history()
			for p, c := range row.history {
				if len(history[p]) != 1 || history[p][0] != c {
					t.Errorf("history of %s: got %q, want %q", p, history[p], c)
				}
			}
			for p, c := range row.history {
				if list := b.history()[p]; len(list) > 0 && list[0] == c {
					t.Errorf("%s: the suspect content reached the peer", p)
				}
			}
			a.write("g", "life goes on")
			until(t, "later edits flow", func() bool { return b.tree()["g"] == "life goes on" })
		})
	}
}

// entryOrNil returns the hash of what n has at p, or other where it has nothing.
func (n *node) entryOrNil(p string, other [32]byte) [32]byte {
	if e := n.entry(p); e != nil {
		return e.Hash()
	}
	return other
}

func TestUncleanBootWithoutSuspects(t *testing.T) {
	t.Parallel()
	t.Run("lone node", func(t *testing.T) {
		t.Parallel()
		a := startNode(t, "a", tree{"f": "1", "gone": "x"})
		a.flushed()
		a.committed()
		a.kill()
		a.write("f", "2")
		a.remove("gone")
		a.o.BootID = "boot-2"
		a.start()
		until(t, "what is there is accepted", func() bool {
			e := a.entry("f")
			return e.Live() && e.Content == file("2").Content && !a.entry("gone").Live()
		})
		if held := a.status().Held; len(held) != 0 {
			t.Errorf("held: got %+v, want none: there is nobody to ask", held)
		}
	})
	t.Run("same content, other mtime", func(t *testing.T) {
		t.Parallel()
		a, b := startNode(t, "a", tree{"f": "1"}), startNode(t, "b", nil)
		w := connect(a, b)
		holds(t, tree{"f": "1"}, a, b)
		a.committed()
		w.cut()
		a.kill()
		at := time.Now().Add(-time.Hour).Truncate(time.Second)
		a.age("f", at)
		a.o.BootID = "boot-2"
		a.start()
		w.restore()
		until(t, "the mtime is at b", func() bool { return lstat(t, b.path("f")).ModTime().Equal(at) })
		if held := a.status().Held; len(held) != 0 {
			t.Errorf("held: got %+v, want none", held)
		}
	})
	t.Run("same boot", func(t *testing.T) {
		t.Parallel()
		a, b := startNode(t, "a", tree{"f": "1", "gone": "x"}), startNode(t, "b", nil)
		w := connect(a, b)
		holds(t, tree{"f": "1", "gone": "x"}, a, b)
		a.committed()
		w.cut()
		a.kill()
		a.write("f", "2")
		a.remove("gone")
		a.start()
		w.restore()
		holds(t, tree{"f": "2"}, a, b)
	})
	t.Run("edit after the scan", func(t *testing.T) {
		t.Parallel()
		a, b := startNode(t, "a", tree{"f": "1"}), startNode(t, "b", nil)
		w := connect(a, b)
		holds(t, tree{"f": "1"}, a, b)
		a.committed()
		w.cut()
		a.kill()
		a.o.BootID = "boot-2"
		a.start()
		a.flushed()
		a.inLoop(func(r *Replica) { // as an overflow of the watcher does
			if err := os.WriteFile(a.path("f"), []byte("2"), 0o644); err != nil {
				t.Error(err)
			}
			r.startScan("", false)
		})
		w.restore()
		holds(t, tree{"f": "2"}, a, b)
	})
}

// TestKilledWhileSuspect has the process killed before the suspects of an unclean boot were dealt with.
func TestKilledWhileSuspect(t *testing.T) {
	t.Parallel()
	a, b := startNode(t, "a", tree{"f": "agreed", "g": "g"}), startNode(t, "b", nil)
	w := connect(a, b)
	holds(t, tree{"f": "agreed", "g": "g"}, a, b)
	a.committed()
	w.cut()
	a.kill()
	a.write("f", "torn")
	a.o.BootID = "boot-2"
	a.start()
	until(t, "f is suspect", func() bool { return a.isSuspect("f") })
	a.committed()
	a.kill()
	a.start()
	until(t, "f is still suspect", func() bool { return a.isSuspect("f") })
	if err := a.end(); err != nil {
		t.Fatal(err)
	}
	a.start()
	until(t, "f is suspect after a clean end", func() bool { return a.isSuspect("f") })
	w.restore()
	holds(t, tree{"f": "agreed", "g": "g"}, a, b)
	if got := a.history()["f"]; len(got) != 1 || got[0] != "torn" {
		t.Errorf("history of f: got %q, want the torn bytes", got)
	}
}
