package replica

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"resonate/control"
	"resonate/syncproto"
)

// listed returns what n lists, page by page, as "KIND PATH".
func (n *node) listed(q control.TreeQuery) (out []string) {
	n.t.Helper()
	for pages := 0; ; pages++ {
		page, err := n.replica().Tree(n.t.Context(), q)
		if err != nil {
			n.t.Fatalf("tree %+v: %v", q, err)
		}
		for _, e := range page.Entries {
			out = append(out, e.Kind+" "+e.Path)
		}
		if !page.More {
			return out
		}
		if len(page.Entries) != q.Limit && q.Limit > 0 {
			n.t.Fatalf("page of %d entries, want %d", len(page.Entries), q.Limit)
		}
		q.After = page.Entries[len(page.Entries)-1].Path
	}
}

func TestTree(t *testing.T) {
	a := startNode(t, "a", tree{"d/e/f": "x", "d/g": "yy", "d.txt": "", "l": "-> d", "gone": "z"})
	a.flushed()
	a.remove("gone")
	a.flushed()
	for _, row := range []struct {
		q    control.TreeQuery
		want []string
	}{
		{control.TreeQuery{}, []string{"directory ", "directory d", "directory d/e", "file d/e/f", "file d/g", "file d.txt", "symlink l"}},
		{control.TreeQuery{Depth: 1}, []string{"directory ", "directory d", "file d.txt", "symlink l"}},
		{control.TreeQuery{Path: "d", Depth: 1}, []string{"directory d", "directory d/e", "file d/g"}},
		{control.TreeQuery{Path: "d/g"}, []string{"file d/g"}},
		{control.TreeQuery{Depth: 1, Deleted: true}, []string{"directory ", "directory d", "file d.txt", "deleted gone", "symlink l"}},
		{control.TreeQuery{Path: "gone", Deleted: true}, []string{"deleted gone"}},
	} {
		for _, limit := range []int{0, 1, 2, 3} {
			if limit == 1 && row.q.Path == "" {
				continue // the folder itself has the path that means: from the beginning
			}
			row.q.Limit = limit
			if got := a.listed(row.q); !slices.Equal(got, row.want) {
				t.Errorf("%+v: got %q, want %q", row.q, got, row.want)
			}
		}
	}
	for _, p := range []string{"none", "gone", "d/none"} {
		if _, err := a.replica().Tree(t.Context(), control.TreeQuery{Path: p}); !errors.Is(err, control.ErrNotFound) {
			t.Errorf("tree of %s: got %v, want %v", p, err, control.ErrNotFound)
		}
	}
	if _, err := a.replica().Tree(t.Context(), control.TreeQuery{Path: "../x"}); !errors.Is(err, control.ErrBadArgument) {
		t.Errorf("tree of ../x: got %v, want %v", err, control.ErrBadArgument)
	}
	page, err := a.replica().Tree(t.Context(), control.TreeQuery{})
	if err != nil {
		t.Fatal(err)
	}
	s := a.status()
	if top := page.Entries[0]; *top.Below != s.Roots || top.Size != s.Bytes {
		t.Errorf("the folder: got %+v, want roots %+v and %d bytes", top, s.Roots, s.Bytes)
	}
}

// TestTreePagesAreBounded asks for more than a page holds.
func TestTreePagesAreBounded(t *testing.T) {
	a := startNode(t, "a", files(control.MaxTreePage+10, "x"))
	a.flushed()
	page, err := a.replica().Tree(t.Context(), control.TreeQuery{Limit: 1 << 30})
	if err != nil || len(page.Entries) != control.MaxTreePage || !page.More {
		t.Errorf("got %d entries, more %t, %v, want %d", len(page.Entries), page.More, err, control.MaxTreePage)
	}
	if got := len(a.listed(control.TreeQuery{})); got < control.MaxTreePage+10 {
		t.Errorf("got %d entries in all pages", got)
	}
}

func (n *node) why(p string) control.Why {
	n.t.Helper()
	w, err := n.replica().Why(n.t.Context(), p)
	if err != nil {
		n.t.Fatalf("why %s: %v", p, err)
	}
	return w
}

// wantWhy wants a state, and words in its cause.
func (n *node) wantWhy(p, state, cause string, known bool) control.Why {
	n.t.Helper()
	w := n.why(p)
	if w.State != state || !strings.Contains(w.Cause, cause) || w.Known != known {
		n.t.Errorf("why %s: got %q, known %t: %q; want %q, known %t: ...%q...", p, w.State, w.Known, w.Cause, state, known, cause)
	}
	return w
}

func TestWhyOfWhatIsNotSynced(t *testing.T) {
	a := startNode(t, "a", tree{"f": "x", "d/g": "y", "l": "-> d"})
	if err := syscall.Mkfifo(a.path("pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	a.flushed()
	until(t, "the pipe was noticed", func() bool { return len(a.status().Problems) > 0 })
	a.remove("d/g")
	a.flushed()
	a.wantWhy("none", "unknown", "nothing is known of that name", false)
	a.wantWhy("none/at/all", "unknown", "nothing is known", false)
	a.wantWhy("l/g", "unknown", "l on the way to it is no directory", false)
	a.wantWhy("f/g", "unknown", "f on the way to it is no directory", false)
	a.wantWhy("pipe", "not synced", "sockets, pipes and devices", false)
	a.wantWhy(markerPath, "own", "resonate's own", false)
	a.wantWhy(tmpDir+"/x", "own", "temporary", false)
	a.wantWhy("d/g", "deleted", "deleted by "+a.replica().Node().Short(), true)
	for _, p := range []string{"", "../x", "/etc"} {
		if _, err := a.replica().Why(t.Context(), p); !errors.Is(err, control.ErrBadArgument) {
			t.Errorf("why %q: got %v, want %v", p, err, control.ErrBadArgument)
		}
	}
}

func TestWhyOfWhatIsAgreed(t *testing.T) {
	a, b := startNode(t, "a", tree{"d/f": "one", "l": "-> d"}), startNode(t, "b", nil)
	w := connect(a, b)
	holds(t, tree{"d/f": "one", "l": "-> d"}, a, b)
	a.write("d/f", "two")
	holds(t, tree{"d/f": "two", "l": "-> d"}, a, b)
	until(t, "b's root is known", func() bool { return a.status().Peers[0].InSync })

	got := b.wantWhy("d/f", "agreed", "as it was agreed", true)
	self := a.replica().Node().String()
	e := b.entry("d/f")
	switch x := got.Agreed; {
	case x == nil:
		t.Fatal("nothing is agreed")
	case x.Author.Node != self || x.Author.Stamp != uint64(e.Version.Stamp) || x.Author.Name == "":
		t.Errorf("author: got %+v, want %s at %d, and its name", x.Author, self, e.Version.Stamp)
	case time.Since(x.Author.Time) > time.Minute || time.Since(x.Author.Time) < -time.Minute:
		t.Errorf("time of the stamp: got %v", x.Author.Time)
	case x.Hash != e.Content.String() || x.Entry != e.Hash().String() || x.Size != 3 || x.Mode != "0644" || x.Token != "0" || len(x.Vector) != 1:
		t.Errorf("got %+v", x)
	}
	if !sameSeen(got.Recorded, got.Found) || got.Found.Size != 3 || got.Found.Inode == 0 {
		t.Errorf("recorded %+v, found %+v", got.Recorded, got.Found)
	}
	if got.Kept != 1 {
		t.Errorf("history: got %d versions, want 1", got.Kept)
	}
	if got := b.why("d"); got.Agreed == nil || got.Agreed.Below == nil || got.State != "agreed" {
		t.Errorf("why d: got %+v", got)
	}
	if got := b.why("l"); got.Agreed == nil || got.Agreed.Target != "d" || got.Found.Target != "d" || got.State != "agreed" {
		t.Errorf("why l: got %+v", got)
	}
	if p := a.why("d/f").Peers; len(p) != 1 || p[0].Has != "yes" || !p[0].Connected || p[0].ID != b.replica().Node().String() {
		t.Errorf("peers: got %+v, want b, which has it", p)
	}
	until(t, "it is known what b has seen", func() (covers bool) {
		a.inLoop(func(r *Replica) { covers = r.members[b.replica().Node()].Covers(e.Version.Vector) })
		return covers
	})
	w.cut()
	until(t, "b is away", func() bool { return !a.why("d/f").Peers[0].Connected })
	if p := a.why("d/f").Peers; len(p) != 1 || p[0].Has != "not known" || !strings.Contains(p[0].Cause, "had seen this version") {
		t.Errorf("peers, while b is away: got %+v", p)
	}
	a.write("d/f", "three")
	a.flushed()
	if p := a.why("d/f").Peers; len(p) != 1 || p[0].Has != "not known" || !strings.Contains(p[0].Cause, "had not seen") {
		t.Errorf("peers, after a change while b is away: got %+v", p)
	}
}

// TestWhyOfWhatIsOnItsWay has a version wait for its content, and then for the peer that has it.
func TestWhyOfWhatIsOnItsWay(t *testing.T) {
	a := startNode(t, "a", tree{"f": "old"})
	a.flushed()
	l := newLiar(a, 1)
	l.meet()
	content := file(strings.Repeat("x", 40_000))
	l.tells(syncproto.Announcement{Path: "f", Entry: l.entry(content)})
	until(t, "f comes in", func() bool { return len(a.why("f").Incoming) > 0 })
	w := a.wantWhy("f", "incoming", "a peer has another version", true)
	in := w.Incoming[0]
	if in.Kind != "file" || in.Size != 40_000 || in.Hash != content.Content.String() || len(in.From) != 1 || in.Waits == "" {
		t.Errorf("incoming: got %+v", in)
	}
	if p := w.Peers; len(p) == 0 || p[0].Has != "no" || !strings.Contains(p[0].Cause, "on its way here") {
		t.Errorf("peers: got %+v", p)
	}
}

func TestWhyOfWhatIsHeld(t *testing.T) {
	a := startNode(t, "a", files(300, "x"))
	a.flushed()
	a.atOnce(func() {
		for i := range 5 {
			a.remove(fmt.Sprint("d", i))
		}
	})
	until(t, "deletions are held", func() bool { return len(a.status().Held) > 0 })
	p := a.status().Held[0].Path
	w := a.wantWhy(p, "held", "many files", true)
	if w.Held == nil || w.Held.Kind != "deleted" || w.Remedy == "" || w.Found != nil || w.Recorded == nil {
		t.Errorf("got %+v", w)
	}
}
