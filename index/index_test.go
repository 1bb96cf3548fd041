package index

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"resonate/merkle"
)

func open(t testing.TB, path string) *Index {
	t.Helper()
	x, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	})
	return x
}

func commitAll(t testing.TB, x *Index, changes ...Change) {
	t.Helper()
	if err := x.Commit(changes, nil); err != nil {
		t.Fatal(err)
	}
}

// put is the change that records an entry of kind k at path.
func put(path string, k merkle.Kind, list merkle.BlockList) Change {
	return Change{Path: path, Record: &Record{Entry: entry(k, 7)}, Blocks: list}
}

// load returns all records, and holds that Load names each path once, a directory before what lies in it.
func load(t testing.TB, x *Index) map[string]Record {
	t.Helper()
	got := make(map[string]Record)
	err := x.Load(func(path string, r Record) error {
		if _, twice := got[path]; twice {
			t.Errorf("Load gave %q twice", path)
		}
		for known := range got {
			if strings.HasPrefix(known, path+"/") {
				t.Errorf("Load gave %q before its directory %q", known, path)
			}
		}
		got[path] = r
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func wantPaths(t *testing.T, x *Index, want ...string) {
	t.Helper()
	if got := slices.Sorted(maps.Keys(load(t, x))); !slices.Equal(got, want) {
		t.Errorf("recorded paths %q, want %q", got, want)
	}
}

func wantBlocks(t *testing.T, x *Index, path string, want merkle.BlockList) {
	t.Helper()
	if got, err := x.Blocks(path); err != nil || !slices.Equal(got, want) {
		t.Errorf("Blocks(%q) = %d blocks, %v, want %d", path, len(got), err, len(want))
	}
}

// stored counts the records and the block lists apart, of whatever kind.
func stored(t *testing.T, x *Index) (records, lists int) {
	t.Helper()
	err := x.db.View(func(tx *bbolt.Tx) error {
		records = tx.Bucket(recordsBucket).Stats().KeyN
		lists = tx.Bucket(blocksBucket).Stats().KeyN
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return records, lists
}

func wantStored(t *testing.T, x *Index, records, lists int) {
	t.Helper()
	if r, l := stored(t, x); r != records || l != lists {
		t.Errorf("%d records and %d block lists stored, want %d and %d", r, l, records, lists)
	}
}

func TestOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index")
	x := open(t, path)
	if got, want := x.Meta(), (Meta{Format: format}); !reflect.DeepEqual(got, want) {
		t.Errorf("Meta of a new index = %+v, want %+v", got, want)
	}
	wantPaths(t, x)
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode of the file %v, %v, want 0600", info.Mode(), err)
	}
	if _, err := Open(path); !errors.Is(err, ErrInUse) {
		t.Errorf("second Open: error %v, want %v", err, ErrInUse)
	}
	commitAll(t, x, put("a", merkle.File, nil))
	wantPaths(t, x, "a")
	if _, err := Open(filepath.Join(path, "index")); !errors.Is(err, errNotDir) {
		t.Errorf("Open below a file: error %v, want %v", err, errNotDir)
	}
}

func TestMetaIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index")
	x := open(t, path)
	want := fullMeta()
	given := want
	given.Format = 0
	if err := x.Commit(nil, &given); err != nil {
		t.Fatal(err)
	}
	commitAll(t, x, put("a", merkle.File, nil))
	if got := x.Meta(); !reflect.DeepEqual(got, want) {
		t.Errorf("Meta = %+v, want %+v", got, want)
	}
	x.Meta().Members[0].Node = node(9)
	if got := x.Meta(); !reflect.DeepEqual(got, want) {
		t.Error("Meta shares its members with the index")
	}
	if err := x.Commit(nil, &Meta{Members: []Known{{}}}); !errors.Is(err, merkle.ErrFormat) {
		t.Errorf("commit of a member without ID: error %v, want %v", err, merkle.ErrFormat)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	if got := open(t, path).Meta(); !reflect.DeepEqual(got, want) {
		t.Errorf("Meta when opened again = %+v, want %+v", got, want)
	}
	if err := x.Commit(nil, &want); err == nil {
		t.Error("commit to a closed index succeeded")
	}
}

func TestBlocks(t *testing.T) {
	x := open(t, filepath.Join(t.TempDir(), "index"))
	commitAll(t, x, put("d/none", merkle.File, nil), put("d/one", merkle.File, blocks(1)), put("d/many", merkle.File, blocks(5000)))
	wantStored(t, x, 4, 1)
	wantBlocks(t, x, "d/none", nil)
	wantBlocks(t, x, "d/one", blocks(1))
	wantBlocks(t, x, "d/many", blocks(5000))
	wantBlocks(t, x, "d", nil)
	wantBlocks(t, x, "d/absent", nil)
	wantBlocks(t, x, "absent/absent", nil)

	keep := func(path string) Change {
		return Change{Path: path, Record: &Record{Hint: 1}, KeepBlocks: true, Blocks: blocks(9)}
	}
	commitAll(t, x, keep("d/none"), keep("d/one"), keep("d/many"))
	wantBlocks(t, x, "d/none", nil)
	wantBlocks(t, x, "d/one", blocks(1))
	wantBlocks(t, x, "d/many", blocks(5000))

	commitAll(t, x, put("d/one", merkle.File, blocks(2)), put("d/many", merkle.File, blocks(1)))
	wantStored(t, x, 4, 1)
	wantBlocks(t, x, "d/one", blocks(2))
	wantBlocks(t, x, "d/many", blocks(1))

	commitAll(t, x, put("d/one", merkle.File, nil), Change{Path: "d/many"})
	wantStored(t, x, 3, 0)
	wantBlocks(t, x, "d/one", nil)
	wantBlocks(t, x, "d/many", nil)
}

func TestRemove(t *testing.T) {
	x := open(t, filepath.Join(t.TempDir(), "index"))
	commitAll(t, x, put("a", merkle.Dir, nil), put("a/b/c", merkle.File, blocks(2)), put("a/b/d", merkle.File, nil))
	wantPaths(t, x, "a", "a/b/c", "a/b/d")
	wantStored(t, x, 4, 1)

	commitAll(t, x, Change{Path: "a"}, Change{Path: "a/b"}, Change{Path: "a/x"}, Change{Path: "x/y"})
	wantPaths(t, x, "a/b/c", "a/b/d")
	wantStored(t, x, 4, 1)

	commitAll(t, x, put("a", merkle.Tombstone, nil)) // is the same directory as before
	wantPaths(t, x, "a", "a/b/c", "a/b/d")
	commitAll(t, x, Change{Path: "a", Record: &Record{}})

	commitAll(t, x, Change{Path: "a/b/c"})
	wantPaths(t, x, "a/b/d")
	wantStored(t, x, 3, 0)
	commitAll(t, x, Change{Path: "a/b/d"})
	wantStored(t, x, 0, 0)

	// Within one transaction what was dropped can come back.
	commitAll(t, x, put("a/b/c", merkle.File, nil), Change{Path: "a/b/c"}, put("a/b/e", merkle.File, nil), Change{Path: "a"})
	wantPaths(t, x, "a/b/e")
	wantStored(t, x, 3, 0)
}

func TestCommitIsAtomic(t *testing.T) {
	x := open(t, filepath.Join(t.TempDir(), "index"))
	commitAll(t, x, put("a", merkle.File, nil))
	malformed := &merkle.Entry{Attributes: merkle.Attributes{Kind: merkle.File}}
	rows := []struct {
		name string
		bad  Change
	}{
		{"empty path", put("", merkle.File, nil)},
		{"empty name", put("a//b", merkle.File, nil)},
		{"slash before", put("/b", merkle.File, nil)},
		{"slash behind", put("b/", merkle.File, nil)},
		{"name too long", put(strings.Repeat("x", 1<<16), merkle.File, nil)},
		{"entry that could not be read again", Change{Path: "b", Record: &Record{Entry: malformed}}},
	}
	for _, row := range rows {
		err := x.Commit([]Change{put("new", merkle.File, nil), {Path: "a"}, row.bad}, &Meta{Boot: "changed"})
		if err == nil || errors.Is(err, ErrDamaged) {
			t.Errorf("%s: error %v, want one that is no damage", row.name, err)
		}
		wantPaths(t, x, "a")
		if x.Meta().Boot != "" {
			t.Errorf("%s: meta record was changed", row.name)
		}
	}
}

func TestLoadOrderAfterRename(t *testing.T) {
	x := open(t, filepath.Join(t.TempDir(), "index"))
	commitAll(t, x, put("a", merkle.Dir, nil), put("a/b", merkle.Dir, nil), put("a/b/c", merkle.File, nil), put("z", merkle.Dir, nil),
		put("z/y", merkle.File, nil))
	// The rename of a to z/a, as the layout allows it: the record of a under another key, its ID kept.
	err := x.db.Update(func(tx *bbolt.Tx) error {
		tab, err := begin(tx)
		if err != nil {
			return err
		}
		from, err := tab.find("a")
		if err != nil {
			return err
		}
		to, err := tab.find("z/a")
		if err != nil {
			return err
		}
		message, _, err := tab.get(from)
		if err != nil {
			return err
		}
		return errors.Join(tab.records.Put(to, seal(to, append(unsealed(0), message...))), tab.records.Delete(from))
	})
	if err != nil {
		t.Fatal(err)
	}
	wantPaths(t, x, "z", "z/a", "z/a/b", "z/a/b/c", "z/y")
}

func TestLoadHandsOnErrorsAndPanics(t *testing.T) {
	x := open(t, filepath.Join(t.TempDir(), "index"))
	commitAll(t, x, put("a", merkle.File, nil))
	want := errors.New("enough")
	if err := x.Load(func(string, Record) error { return want }); err != want {
		t.Errorf("Load: error %v, want %v", err, want)
	}
	func() {
		defer func() {
			if p := recover(); p != "a bug" {
				t.Errorf("Load panicked with %v, want that of the function it called", p)
			}
		}()
		_ = x.Load(func(string, Record) error { panic("a bug") })
	}()
	commitAll(t, x, put("b", merkle.File, nil)) // no lock was left behind
	wantPaths(t, x, "a", "b")
}

// TestRandomCommits compares the index with a map through random commits, and opens it again now and then.
func TestRandomCommits(t *testing.T) {
	seed := uint64(1)
	r := rand.New(rand.NewPCG(seed, 2))
	file := filepath.Join(t.TempDir(), "index")
	x := open(t, file)
	records, lists := map[string]Record{}, map[string]merkle.BlockList{}
	randomPath := func() string {
		names := make([]string, 1+r.IntN(4))
		for i := range names {
			names[i] = fmt.Sprint(r.IntN(4))
		}
		return strings.Join(names, "/")
	}
	for round := range 120 {
		var changes []Change
		for range r.IntN(12) {
			c := Change{Path: randomPath()}
			if r.IntN(3) > 0 {
				c.Record = &Record{Entry: entry(merkle.Kind(1+r.IntN(4)), merkle.Stamp(1+r.IntN(1000))), Hint: r.Int64()}
				c.KeepBlocks = r.IntN(3) == 0
				c.Blocks = blocks(r.IntN(4))
			}
			changes = append(changes, c)
			switch {
			case c.Record == nil:
				delete(records, c.Path)
				delete(lists, c.Path)
			case c.KeepBlocks:
				records[c.Path] = *c.Record
			default:
				records[c.Path], lists[c.Path] = *c.Record, c.Blocks
			}
		}
		commitAll(t, x, changes...)
		if round%20 == 19 {
			if err := x.Close(); err != nil {
				t.Fatal(err)
			}
			x = open(t, file)
		}
		if got := load(t, x); !reflect.DeepEqual(got, records) {
			t.Fatalf("seed %d, round %d: records %v, want %v", seed, round, got, records)
		}
		for range 10 {
			path := randomPath()
			wantBlocks(t, x, path, lists[path])
		}
	}
	for path := range records {
		commitAll(t, x, Change{Path: path})
	}
	wantStored(t, x, 0, 0)
}

// fill records n files in directories of a hundred.
func fill(tb testing.TB, x *Index, n int) {
	tb.Helper()
	var changes []Change
	for i := range n {
		if i%100 == 0 {
			changes = append(changes, put(fmt.Sprintf("top/dir%d", i/100), merkle.Dir, nil))
		}
		c := put(fmt.Sprintf("top/dir%d/file%d", i/100, i), merkle.File, blocks(1))
		c.Record.Disk = fullDisk
		changes = append(changes, c)
	}
	commitAll(tb, x, changes...)
}

func BenchmarkLoad100k(b *testing.B) {
	x := open(b, filepath.Join(b.TempDir(), "index"))
	fill(b, x, 100_000)
	for b.Loop() {
		count := 0
		if err := x.Load(func(string, Record) error { count++; return nil }); err != nil || count < 100_000 {
			b.Fatal(count, err)
		}
	}
}

func BenchmarkFill100k(b *testing.B) {
	for b.Loop() {
		x, err := Open(filepath.Join(b.TempDir(), "index"))
		if err != nil {
			b.Fatal(err)
		}
		fill(b, x, 100_000)
		if err := x.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCommit measures group commits of several sizes into an index of 100,000 files.
func BenchmarkCommit(b *testing.B) {
	x := open(b, filepath.Join(b.TempDir(), "index"))
	fill(b, x, 100_000)
	for _, group := range []int{1, 100, 1000, 10_000} {
		b.Run(fmt.Sprint(group), func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 2))
			for b.Loop() {
				changes := make([]Change, group)
				for i := range changes {
					n := r.IntN(100_000)
					changes[i] = put(fmt.Sprintf("top/dir%d/file%d", n/100, n), merkle.File, blocks(1))
				}
				commitAll(b, x, changes...)
			}
		})
	}
}
