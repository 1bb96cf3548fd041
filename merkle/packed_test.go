package merkle

import (
	"reflect"
	"runtime"
	"testing"
)

// TestTreeKeepsEntries holds that a tree gives back each entry as it was put, and hashes it as it hashes itself.
func TestTreeKeepsEntries(t *testing.T) {
	newer, err := DecodeEntry(newerEntry())
	if err != nil {
		t.Fatal(err)
	}
	rows := append(samples(), sample{"of a newer resonate", newer},
		sample{"all bits of a mode", &Entry{Attributes: Attributes{Kind: Dir, Mode: 0xffff_ffff}, Version: testVersion(1)}},
		sample{"with an owner", &Entry{Attributes: Attributes{Kind: Dir, Owner: "a:b"}, Version: testVersion(1)}},
		sample{"with a link", &Entry{Attributes: Attributes{Kind: File, Link: Hash{7}}, Version: testVersion(1)}})
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			var tree Tree
			tree.Put("d/e", row.entry)
			if got := tree.Get("d/e"); !reflect.DeepEqual(got, row.entry) {
				t.Errorf("Get = %+v, want what was put, %+v", got, row.entry)
			}
			items := tree.Level(Place{Dir: "d"}).Items
			if len(items) != 1 || items[0].Entry != row.entry.Hash() {
				t.Errorf("Level = %+v, want an item with the entry's hash %v", items, row.entry.Hash())
			}
		})
	}
}

// TestVersionsAreKeptApart holds that versions are shared only where they are equal: one operation may have met different
// versions, and a join changes the vector alone.
func TestVersionsAreKeptApart(t *testing.T) {
	first := testVersion(1, 5)
	but := func(change func(v *Version)) Version {
		v := first
		change(&v)
		return v
	}
	rows := []struct {
		name    string
		version Version
	}{
		{"a", first}, {"b", first},
		{"joined", but(func(v *Version) { v.Vector = vec(2, 5) })},
		{"token", but(func(v *Version) { v.Token.Index = 1 })},
		{"content", but(func(v *Version) { v.Content = Component{testNode(1), 1} })},
		{"stamp", but(func(v *Version) { v.Vector, v.Stamp = vec(1, 6), 6 })},
	}
	var tree Tree
	for _, row := range rows {
		e := fileEntry(1, 1)
		e.Version = row.version
		tree.Put(row.name, e)
	}
	for _, row := range rows {
		if got := tree.Get(row.name).Version; !reflect.DeepEqual(got, row.version) {
			t.Errorf("version of %q = %+v, want %+v", row.name, got, row.version)
		}
	}
	if tree.at("a").version != tree.at("b").version {
		t.Error("equal versions are kept twice")
	}
}

// BenchmarkTreeMemory tells what memory an entry takes in a tree of 100,000 in 1000 directories, path not counted: where one
// operation has touched 100 of them, as with a first sync; and where each was touched by one of its own.
func BenchmarkTreeMemory(b *testing.B) {
	for _, row := range []struct {
		name    string
		touched int
	}{{"100 entries an operation", 100}, {"1 entry an operation", 1}} {
		b.Run(row.name, func(b *testing.B) {
			paths := benchmarkPaths(100)
			var before, after runtime.MemStats
			var tree *Tree
			for b.Loop() {
				tree = new(Tree)
				runtime.GC()
				runtime.ReadMemStats(&before)
				for i, path := range paths {
					tree.Put(path, fileEntry(1, Stamp(1+i/row.touched)))
				}
				tree.Root()
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(len(paths)), "B/entry")
			runtime.KeepAlive(tree)
		})
	}
}
