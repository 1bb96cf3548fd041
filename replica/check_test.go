package replica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"resonate/control"
	"resonate/index"
	"resonate/merkle"
	"resonate/reconcile"
)

// startOld starts a node with files of an hour ago: those of just now are read at every event, whatever their stat says.
func startOld(t testing.TB, name string, tr tree) *node {
	t.Helper()
	n := newNode(t, name, tr)
	for p, content := range tr {
		if !strings.HasSuffix(p, "/") && !strings.HasPrefix(content, "-> ") {
			n.age(p, time.Now().Add(-time.Hour))
		}
	}
	n.start()
	return n
}

// check checks n, beside the daemon if one runs, and returns what differs as "PATH: WHAT".
func (n *node) check(o control.CheckOptions) (found []string, sum control.CheckSummary) {
	n.t.Helper()
	report := func(r control.CheckReport) error {
		if d := r.Difference; d != nil {
			n.t.Logf("check of %s: %+v", n.name, *d)
			found = append(found, d.Path+": "+d.What)
			if d.Mended && d.Repair == "" {
				n.t.Errorf("%s: mended, and not told how", d.Path)
			}
		}
		if r.Summary != nil {
			sum = *r.Summary
		}
		return nil
	}
	var err error
	if n.cancel != nil {
		err = n.replica().Check(n.t.Context(), o, report)
	} else {
		err = CheckAlone(n.t.Context(), n.o, o, report)
	}
	if err != nil {
		n.t.Fatalf("check of %s: %v", n.name, err)
	}
	if sum.Differences != len(found) {
		n.t.Errorf("check of %s: %d differences in the summary, %d told", n.name, sum.Differences, len(found))
	}
	slices.Sort(found)
	return found, sum
}

// wantCheck checks n, and wants exactly these differences.
func (n *node) wantCheck(o control.CheckOptions, want ...string) control.CheckSummary {
	n.t.Helper()
	got, sum := n.check(o)
	if !slices.Equal(got, want) {
		n.t.Fatalf("check of %s with %+v: got %q, want %q", n.name, o, got, want)
	}
	return sum
}

// sound wants that nothing differs, however deep one looks.
func (n *node) sound() {
	n.t.Helper()
	n.wantCheck(control.CheckOptions{Read: true})
}

// stopNode ends n for good, so that it can be checked without a daemon, or started again.
func (n *node) stopNode() {
	n.t.Helper()
	if err := n.end(); err != nil {
		n.t.Fatal(err)
	}
	n.cancel = nil
}

// rot changes a byte of a file behind everybody's back: size, mtime and inode stay. A daemon does not look meanwhile.
func (n *node) rot(p string) {
	n.t.Helper()
	info := lstat(n.t, n.path(p))
	var err error
	change := func() {
		var f *os.File
		if f, err = os.OpenFile(n.path(p), os.O_RDWR, 0); err == nil {
			_, err = f.WriteAt([]byte("R"), 0)
			err = errors.Join(err, f.Close(), os.Chtimes(n.path(p), time.Time{}, info.ModTime()))
		}
	}
	if n.cancel == nil {
		change()
	} else {
		n.inLoop(func(*Replica) { change() })
	}
	if err != nil {
		n.t.Fatal(err)
	}
}

// editIndex changes the index of a node that does not run.
func (n *node) editIndex(edit func(x *index.Index)) {
	n.t.Helper()
	x, err := index.Open(n.indexFile())
	if err != nil {
		n.t.Fatal(err)
	}
	edit(x)
	if err := x.Close(); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) indexFile() string {
	return filepath.Join(n.o.StateHome, "resonate", n.replica().Node().String(), "index.db")
}

// garble flips a byte of the values that the index has for paths: the entries' canonical bytes are sought in the file.
func (n *node) garble(paths ...string) {
	n.t.Helper()
	entries := make(map[string]string) // canonical bytes -> one path
	n.editIndex(func(x *index.Index) {
		for _, path := range paths {
			rec, _, err := x.Read(path)
			if err != nil || rec == nil {
				n.t.Fatalf("read %s: %v, %v", path, rec, err)
			}
			entries[string(rec.Entry.Append(nil))] = path
		}
	})
	b, err := os.ReadFile(n.indexFile())
	if err != nil {
		n.t.Fatal(err)
	}
	for raw, path := range entries {
		found := 0
		for at := 0; ; at++ {
			i := bytes.Index(b[at:], []byte(raw))
			if i < 0 {
				break
			}
			at += i
			b[at+len(raw)-1] ^= 0xff
			found++
		}
		if found == 0 {
			n.t.Fatalf("the entry of %s is not in the index", path)
		}
	}
	if err := os.WriteFile(n.indexFile(), b, 0o600); err != nil {
		n.t.Fatal(err)
	}
}

var checkTree = tree{"d/a": "content of a", "d/b": "content of b", "e/": "", "l": "-> d/a", "long": randomText(300_000)}

// randomText returns text that makes several blocks.
func randomText(n int) string {
	random := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = 'a' + byte(random.IntN(26))
	}
	return string(b)
}

// damages are what can be wrong with a node that does not run.
var damages = []struct {
	name   string
	damage func(n *node)
	read   bool     // needs -read
	want   []string // of a check without a daemon
	heals  bool     // a daemon that starts sees by itself
	gone   string   // deleted by the repair: the damage cannot be told from a deletion
}{
	{name: "changed bytes, same size and mtime", damage: func(n *node) { n.rot("d/a") }, read: true, want: []string{"d/a: content"}},
	{name: "changed bytes of a long file", damage: func(n *node) { n.rot("long") }, read: true, want: []string{"long: content"}},
	{
		name: "a deleted record", want: []string{"d/a: unknown"}, heals: true,
		damage: func(n *node) { n.editIndex(func(x *index.Index) { commitIndex(n.t, x, index.Change{Path: "d/a"}) }) },
	},
	{name: "a missing file", damage: func(n *node) { n.remove("d/a") }, want: []string{"d/a: missing"}, heals: true, gone: "d/a"},
	{
		name: "an entry without a record of the disk", want: []string{"d/a: record"},
		damage: func(n *node) { n.editRecord("d/a", func(r *index.Record) { r.Disk = index.Disk{} }) }, heals: true,
	},
	{
		name: "a record of another size", want: []string{"d/b: record"}, heals: true,
		damage: func(n *node) { n.editRecord("d/b", func(r *index.Record) { r.Disk.Size++ }) },
	},
	{
		name: "a record without an entry", want: []string{"d/b: record"},
		damage: func(n *node) { n.editRecord("d/b", func(r *index.Record) { r.Entry = nil }) },
	},
	{
		name: "a wrong block list", want: []string{"long: blocks"},
		damage: func(n *node) {
			n.editIndex(func(x *index.Index) {
				rec, list, err := x.Read("long")
				if err != nil || len(list) < 2 {
					n.t.Fatalf("block list of long: %d blocks, %v", len(list), err)
				}
				list = append(merkle.BlockList{list[1]}, list...)
				commitIndex(n.t, x, index.Change{Path: "long", Record: rec, Blocks: list})
			})
		},
	},
	{name: "a garbled value", damage: func(n *node) { n.garble("d/a") }, want: []string{"d/a: index", "d/a: unknown"}, heals: true},
	{
		name: "garbled directories", heals: true,
		damage: func(n *node) { n.garble("d", "e") },
		want:   []string{": index", ": index", "d/a: unknown", "d/b: unknown", "d: index", "d: unknown", "e: index", "e: unknown"},
	},
}

func commitIndex(t testing.TB, x *index.Index, c index.Change) {
	t.Helper()
	if err := x.Commit([]index.Change{c}, nil); err != nil {
		t.Fatal(err)
	}
}

func (n *node) editRecord(path string, edit func(*index.Record)) {
	n.t.Helper()
	n.editIndex(func(x *index.Index) {
		rec, list, err := x.Read(path)
		if err != nil || rec == nil {
			n.t.Fatalf("read %s: %v", path, err)
		}
		edit(rec)
		commitIndex(n.t, x, index.Change{Path: path, Record: rec, Blocks: list})
	})
}

// snapshot reads all that a check must not change: every file of the folder with its stat, resonate's own included, and of
// the state.
func (n *node) snapshot() map[string]string {
	n.t.Helper()
	out := make(map[string]string)
	for _, dir := range []string{n.dir, n.o.StateHome} {
		err := filepath.WalkDir(dir, func(full string, d os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info := lstat(n.t, full)
			out[full] = fmt.Sprint(info.Mode(), info.Size(), info.ModTime().UnixNano())
			if info.Mode().IsRegular() {
				b, err := os.ReadFile(full)
				out[full] += string(b)
				return err
			}
			return nil
		})
		if err != nil {
			n.t.Fatal(err)
		}
	}
	return out
}

// TestCheckFindsDamage plants damage in a node that does not run; checks it, which changes nothing; mends it; and has the
// daemon and its peer put right what takes them.
func TestCheckFindsDamage(t *testing.T) {
	for _, row := range damages {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a, b := startOld(t, "a", checkTree), startNode(t, "b", nil)
			w := connect(a, b)
			holds(t, checkTree, a, b)
			a.sound()
			w.cut()
			a.stopNode()
			a.sound()
			row.damage(a)
			was := a.tree()

			before := a.snapshot()
			for _, read := range []bool{false, true} {
				if want := row.want; read || !row.read {
					a.wantCheck(control.CheckOptions{Read: read}, want...)
				} else {
					a.wantCheck(control.CheckOptions{Read: read})
				}
			}
			if after := a.snapshot(); !maps.Equal(before, after) {
				t.Errorf("a check without repair has changed something")
			}

			sum := a.wantCheck(control.CheckOptions{Read: true, Repair: true}, row.want...)
			if sum.Mended != sum.Differences {
				t.Errorf("%d of %d differences mended", sum.Mended, sum.Differences)
			}
			a.start()
			w.restore()
			want := maps.Clone(checkTree)
			delete(want, row.gone)
			holds(t, want, a, b)
			until(t, "nothing is held", func() bool { return len(a.status().Held) == 0 })
			a.sound()
			b.sound()
			for p, c := range was {
				if p != "long" && !a.keeps(c) {
					t.Errorf("%s: what was there, %q, is lost", p, c)
				}
			}
		})
	}
}

// TestDaemonMendsItsIndex starts a daemon on a damaged index without any check: it mends what it cannot read, and does not
// take for deleted what it lost.
func TestDaemonMendsItsIndex(t *testing.T) {
	for _, row := range damages {
		if !row.heals {
			continue
		}
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a, b := startOld(t, "a", checkTree), startNode(t, "b", nil)
			w := connect(a, b)
			holds(t, checkTree, a, b)
			w.cut()
			a.stopNode()
			row.damage(a)
			a.start()
			w.restore()
			want := maps.Clone(checkTree)
			delete(want, row.gone)
			holds(t, want, a, b)
			a.sound()
		})
	}
}

// TestLiveCheckMends plants damage under a running daemon.
func TestLiveCheckMends(t *testing.T) {
	for _, row := range []struct {
		name   string
		damage func(n *node)
		want   []string
	}{
		{"changed bytes, same size and mtime", func(n *node) { n.rot("d/a") }, []string{"d/a: content"}},
		{"changed bytes of a long file", func(n *node) { n.rot("long") }, []string{"long: content"}},
		{"a record that was lost", func(n *node) { n.inLoop(func(r *Replica) { delete(r.records, "d/a") }) }, []string{"d/a: record"}},
		{"a wrong block list", func(n *node) {
			var x *index.Index
			n.inLoop(func(r *Replica) { x = r.index })
			rec, list, err := x.Read("long")
			if err != nil {
				n.t.Fatal(err)
			}
			commitIndex(n.t, x, index.Change{Path: "long", Record: rec, Blocks: list[1:]})
		}, []string{"long: blocks"}},
		{"an index that says otherwise", func(n *node) {
			var x *index.Index
			n.inLoop(func(r *Replica) { x = r.index })
			commitIndex(n.t, x, index.Change{Path: "d/a"})
			rec, _, err := x.Read("d/b")
			if err != nil {
				n.t.Fatal(err)
			}
			commitIndex(n.t, x, index.Change{Path: "never/heard/of", Record: rec})
		}, []string{"d/a: index", "never/heard/of: index"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a, b := startOld(t, "a", checkTree), startNode(t, "b", nil)
			connect(a, b)
			holds(t, checkTree, a, b)
			a.flushed()
			a.committed()
			stamp := a.entry("d/a").Version.Stamp
			row.damage(a)
			was := a.tree()
			a.wantCheck(control.CheckOptions{Read: true}, row.want...)
			a.wantCheck(control.CheckOptions{Read: true}, row.want...)
			sum := a.wantCheck(control.CheckOptions{Read: true, Repair: true}, row.want...)
			if sum.Mended != sum.Differences {
				t.Errorf("%d of %d differences mended", sum.Mended, sum.Differences)
			}
			holds(t, checkTree, a, b)
			until(t, "nothing is held", func() bool { return len(a.status().Held) == 0 })
			a.committed()
			a.sound()
			if got := a.entry("d/a").Version.Stamp; got != stamp {
				t.Errorf("d/a has stamp %d, want %d: something was published", got, stamp)
			}
			for p, c := range was {
				if !a.keeps(c) {
					t.Errorf("%s: what was there is lost", p)
				}
			}
		})
	}
}

// TestRotBesideAWrongList has a file damaged together with its block list: neither helps to mend the other.
func TestRotBesideAWrongList(t *testing.T) {
	a, b := startOld(t, "a", checkTree), startNode(t, "b", nil)
	connect(a, b)
	holds(t, checkTree, a, b)
	a.flushed()
	a.committed()
	a.rot("long")
	var x *index.Index
	a.inLoop(func(r *Replica) { x = r.index })
	rec, list, err := x.Read("long")
	if err != nil {
		t.Fatal(err)
	}
	commitIndex(t, x, index.Change{Path: "long", Record: rec, Blocks: list[1:]})
	a.wantCheck(control.CheckOptions{Read: true, Repair: true}, "long: blocks", "long: content")
	holds(t, checkTree, a, b)
	a.committed()
	a.sound()
}

// TestRotWithoutPeers has damaged content while nobody can be asked: it is held, over a restart too, and the user may take it
// for good.
func TestRotWithoutPeers(t *testing.T) {
	a := startOld(t, "a", tree{"f": "content"})
	a.flushed()
	entry := a.entry("f").Hash()
	a.rot("f")
	sum := a.wantCheck(control.CheckOptions{Read: true, Repair: true}, "f: content")
	if sum.Mended != 0 {
		t.Errorf("mended %d, want 0: there is no peer", sum.Mended)
	}
	if !a.isSuspect("f") {
		t.Fatal("f is not held")
	}
	a.stopNode()
	a.start()
	until(t, "f is held again", func() bool { return a.isSuspect("f") })
	a.flushed()
	if got := a.entry("f").Hash(); got != entry {
		t.Errorf("the damaged content was published")
	}
	if n, err := a.replica().Approve(t.Context(), []string{"f"}); n != 1 || err != nil {
		t.Fatalf("approve: %d, %v", n, err)
	}
	a.flushed()
	a.sound()
	if a.entry("f").Hash() == entry {
		t.Error("what was approved is not published")
	}
}

// TestCheckOfALiveFolder checks a folder, again and again, in which files and directories come, change, move and go, at both
// nodes: nothing that is only late is a difference.
func TestCheckOfALiveFolder(t *testing.T) {
	a, b := newNode(t, "a", files(40, "start")), newNode(t, "b", nil)
	for _, n := range []*node{a, b} {
		n.o.Burst = reconcile.Burst{} // what is held would never be settled
		n.start()
	}
	connect(a, b)
	converged(t, a, b)
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for _, n := range []*node{a, b} {
		writers.Go(func() { n.churn(ctx) })
	}
	for i := range 4 {
		for _, n := range []*node{a, b} {
			if found, _ := n.check(control.CheckOptions{Read: i%2 == 0}); len(found) > 0 {
				t.Errorf("check %d of %s: got %q, want nothing", i, n.name, found)
			}
		}
	}
	stop()
	writers.Wait()
	converged(t, a, b)
	a.sound()
	b.sound()
}

// churn works on the folder until ctx ends. That a step fails is no matter: the peer's changes come in between.
func (n *node) churn(ctx context.Context) {
	tick := time.NewTicker(3 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ctx.Err() == nil; i++ {
		own := fmt.Sprintf("%s-%d", n.name, i%5)
		_ = os.MkdirAll(n.path(own+"/sub"), 0o755)
		_ = os.WriteFile(n.path(own+"/sub/f"), []byte(fmt.Sprint(n.name, i)), 0o644)
		_ = os.WriteFile(n.path(own+"/g"), bytes.Repeat([]byte{byte(i)}, 1000+i), 0o644)
		_ = os.Chmod(n.path(own+"/g"), 0o600)
		_ = os.Rename(n.path(own+"/sub/f"), n.path(own+"/h"))
		switch {
		case i%13 == 0:
			_ = os.WriteFile(n.path("both"), []byte(fmt.Sprint(n.name, i)), 0o644)
		case i%3 == 0:
			_ = os.RemoveAll(n.path(own))
		case i%5 == 0:
			_ = os.RemoveAll(n.path(own + ".moved"))
			_ = os.Rename(n.path(own), n.path(own+".moved"))
		}
		<-tick.C
	}
}

// TestCheckAfterAKill checks a folder whose daemon was killed before it wrote down what it had swapped in: that is no damage.
func TestCheckAfterAKill(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(a *node)
		want   tree
	}{
		{"edits", func(a *node) { a.write("d/f", "new"); a.write("g", "another") }, tree{"d/f": "new", "d/e/h": "x", "g": "another"}},
		{"a move", func(a *node) {
			if err := os.Rename(a.path("d"), a.path("moved")); err != nil {
				t.Fatal(err)
			}
		}, tree{"moved/f": "old", "moved/e/h": "x"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			base := tree{"d/f": "old", "d/e/h": "x"}
			a, b := startNode(t, "a", base), startNode(t, "b", nil)
			connect(a, b)
			holds(t, base, a, b)
			b.committed()
			happened := b.killBeforeCommit()
			row.change(a)
			until(t, "b is killed", happened)
			b.end()
			b.cancel = nil
			b.dead.Store(false)
			b.on("commit.sync", nil)
			b.sound()
			b.start()
			holds(t, row.want, a, b)
			b.sound()
		})
	}
}

func TestCheckAloneRefuses(t *testing.T) {
	a := startNode(t, "a", tree{"f": "x"})
	a.flushed()
	none := func(control.CheckReport) error { return nil }
	if err := CheckAlone(t.Context(), a.o, control.CheckOptions{}, none); err == nil || !strings.Contains(err.Error(), "in use by another resonate") {
		t.Errorf("while the daemon runs: got %v", err)
	}
	o := a.o
	o.Dir = t.TempDir()
	if err := CheckAlone(t.Context(), o, control.CheckOptions{}, none); err == nil || !strings.Contains(err.Error(), "start the daemon on it first") {
		t.Errorf("a folder never synced: got %v", err)
	}
	a.stopNode()
	if err := os.WriteFile(a.indexFile(), []byte("no index at all"), 0o600); err != nil {
		t.Fatal(err)
	}
	a.wantCheck(control.CheckOptions{}, ": index")
	a.wantCheck(control.CheckOptions{Repair: true}, ": index")
	a.start()
	a.flushed()
	a.sound()
}
