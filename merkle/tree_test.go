package merkle

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// A model is what a Tree should be like: a map, and nothing that could be wrong.
type model map[string]*Entry

func (m model) tree() *Tree {
	t := new(Tree)
	for path, e := range m { // in the random order of maps
		t.Put(path, e)
	}
	return t
}

func (m model) children(dir string) map[string]*Entry {
	out := make(map[string]*Entry)
	for path := range m {
		rest, ok := strings.CutPrefix("/"+path, Join("", "/"+dir)+"/")
		if dir == "" {
			rest, ok = path, true
		}
		if ok {
			name, _ := step(rest)
			out[name] = m[Join(dir, name)]
		}
	}
	return out
}

// counts returns a Summary without the hashes.
func (m model) counts() (s Summary) {
	for _, e := range m {
		switch e.Kind {
		case File:
			s.Files++
			s.Bytes += e.Size
		case Symlink:
			s.Symlinks++
		case Tombstone:
			s.Tombstones++
		default:
			s.Dirs++
		}
	}
	return s
}

func counts(s Summary) Summary {
	s.State, s.Content = Hash{}, Hash{}
	return s
}

func fileEntry(content byte, s Stamp) *Entry {
	return &Entry{Attributes: Attributes{Kind: File, Mode: 0o644, Size: int64(content), Content: Hash{content, 1}}, Version: testVersion(s)}
}

func dirEntry(s Stamp) *Entry {
	return &Entry{Attributes: Attributes{Kind: Dir, Mode: 0o755}, Version: testVersion(s)}
}

func tombstone(s Stamp) *Entry {
	return &Entry{Attributes: Attributes{Kind: Tombstone}, Version: testVersion(s)}
}

func randomEntry(r *rand.Rand) *Entry {
	s := Stamp(1 + r.IntN(3))
	switch r.IntN(10) {
	case 0:
		return dirEntry(s)
	case 1:
		return &Entry{Attributes: Attributes{Kind: Symlink, Target: "t"}, Version: testVersion(s)}
	case 2, 3, 4:
		return tombstone(s)
	}
	return fileEntry(byte(1+r.IntN(3)), s)
}

// randomPath favours two directories, so that they pass bucketSize.
func randomPath(r *rand.Rand) string {
	switch r.IntN(4) {
	case 0:
		return fmt.Sprintf("n%d", r.IntN(100))
	case 1:
		return fmt.Sprintf("big/n%d", r.IntN(200))
	case 2:
		return fmt.Sprintf("n%d/deep/n%d", r.IntN(5), r.IntN(90))
	}
	return fmt.Sprintf("n%d/n%d/n%d", r.IntN(3), r.IntN(3), r.IntN(3))
}

func randomModel(r *rand.Rand, puts int) model {
	m := make(model)
	for range puts {
		m[randomPath(r)] = randomEntry(r)
	}
	return m
}

func checkAgainstModel(t *testing.T, tree *Tree, m model) {
	t.Helper()
	if got, want := counts(tree.Root()), m.counts(); got != want {
		t.Fatalf("Root counts %+v, want %+v", got, want)
	}
	if got, want := tree.Root(), m.tree().Root(); got != want {
		t.Fatalf("Root = %+v, want that of a fresh tree, %+v", got, want)
	}
	all := maps.Collect(tree.All(""))
	if !sameEntries(all, m) {
		t.Fatalf("All yields %d paths that differ from the %d of the model", len(all), len(m))
	}
	for _, dir := range []string{"", "big", "n1", "n1/deep", "n2/n2", "none", "big/n1"} {
		if got, want := maps.Collect(tree.Children(dir)), m.children(dir); !sameEntries(got, want) {
			t.Fatalf("Children(%q) = %v, want %v", dir, got, want)
		}
		if got, want := slices.Sorted(tree.Names(dir)), slices.Sorted(maps.Keys(m.children(dir))); !slices.Equal(got, want) {
			t.Fatalf("Names(%q) = %q, want %q", dir, got, want)
		}
		below := make(model)
		for path, e := range m {
			if strings.HasPrefix(path, dir+"/") || dir == "" {
				below[path] = e
			}
		}
		if got, want := counts(tree.Below(dir)), below.counts(); got != want {
			t.Fatalf("Below(%q) = %+v, want %+v", dir, got, want)
		}
		if got, want := maps.Collect(tree.All(dir)), below; !sameEntries(got, want) {
			t.Fatalf("All(%q) = %v, want %v", dir, got, want)
		}
		want := below.counts()
		if got, live := tree.HasLive(dir), want.Files+want.Dirs+want.Symlinks > 0; got != live {
			t.Fatalf("HasLive(%q) = %v, want %v", dir, got, live)
		}
	}
}

// sameEntries tells whether a and b hold equal entries: a tree hands out copies.
func sameEntries(a, b map[string]*Entry) bool {
	return maps.EqualFunc(a, b, func(x, y *Entry) bool { return (x == nil) == (y == nil) && x.Hash() == y.Hash() })
}

func TestTreeAgainstModel(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	tree, m := new(Tree), make(model)
	for round := range 12 {
		for range 300 {
			path := randomPath(r)
			if put := r.IntN(10); put < 7 == (round%4 < 2) { // grows for two rounds, then shrinks for two
				m[path] = randomEntry(r)
				tree.Put(path, m[path])
			} else {
				delete(m, path)
				tree.Remove(path)
			}
			if got := tree.Get(path); (got == nil) != (m[path] == nil) || got.Hash() != m[path].Hash() {
				t.Fatalf("Get(%q) = %v, want %v", path, got, m[path])
			}
			if r.IntN(20) == 0 {
				tree.Root()
			}
		}
		checkAgainstModel(t, tree, m)
	}
}

// TestNestedTries passes every size around bucketSize up and down, and sizes at which a trie has a trie below it.
func TestNestedTries(t *testing.T) {
	var rising []Summary
	tree := new(Tree)
	const most = 3000
	keep := func(n int) bool { return n < 70 || n%500 == 0 }
	for n := range most {
		if keep(n) {
			rising = append(rising, tree.Root())
		}
		tree.Put(Join("d", fmt.Sprint(n)), fileEntry(1, 1))
	}
	if levels := len(tree.at("d").below.split[3].split); levels != 16 {
		t.Fatalf("no trie below the trie of %d names", most)
	}
	for n := most - 1; n >= 0; n-- {
		tree.Remove(Join("d", fmt.Sprint(n)))
		if keep(n) {
			want := rising[len(rising)-1]
			rising = rising[:len(rising)-1]
			if got := tree.Root(); got != want {
				t.Fatalf("with %d names, after there were %d, Root = %+v; want %+v", n, most, got, want)
			}
		}
	}
	if got := tree.Root(); got != (Summary{}) {
		t.Errorf("Root of an emptied tree = %+v, want zero", got)
	}
}

func TestOrderDoesNotMatter(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	m := randomModel(r, 600)
	want := m.tree().Root()
	paths := slices.Sorted(maps.Keys(m))
	for range 3 {
		r.Shuffle(len(paths), func(i, j int) { paths[i], paths[j] = paths[j], paths[i] })
		tree := new(Tree)
		for _, path := range paths {
			tree.Put(path+"/meanwhile", fileEntry(1, 1))
			tree.Put(path, fileEntry(2, 2))
			tree.Root()
			tree.Put(path, m[path])
			tree.Remove(path + "/meanwhile")
		}
		if got := tree.Root(); got != want {
			t.Errorf("Root = %+v, want %+v", got, want)
		}
	}
}

// TestContentHash holds trees that a person would call the same against each other.
func TestContentHash(t *testing.T) {
	for _, n := range []int{1, bucketSize - 1, bucketSize, bucketSize + 1, 200, 2000} {
		plain, other := new(Tree), new(Tree)
		for i := range n {
			path := fmt.Sprintf("d/n%d", i)
			plain.Put(path, fileEntry(1, 1))
			other.Put(path, fileEntry(1, 2))
			other.Put(fmt.Sprintf("d/gone%d", i), tombstone(3))
			other.Put(fmt.Sprintf("e/gone%d/deep", i), tombstone(3))
		}
		p, o := plain.Root(), other.Root()
		if p.Content != o.Content {
			t.Errorf("%d names: content hashes %v and %v differ by versions and tombstones alone", n, p.Content, o.Content)
		}
		if p.State == o.State {
			t.Errorf("%d names: state hashes are equal, %v", n, p.State)
		}
		other.Put("d/n0", fileEntry(2, 2))
		if other.Root().Content == p.Content {
			t.Errorf("%d names: another file has the same content hash", n)
		}
		other.Put("d/n0", tombstone(3))
		if other.Root().Content == p.Content {
			t.Errorf("%d names: without a file the content hash is the same", n)
		}
	}
}

func TestContentHashOfImpliedDirectories(t *testing.T) {
	unknown, gone, there := new(Tree), new(Tree), new(Tree)
	for _, tree := range []*Tree{unknown, gone, there} {
		tree.Put("d/f", fileEntry(1, 1))
	}
	gone.Put("d", tombstone(1))
	there.Put("d", dirEntry(1))
	if u, g := unknown.Root().Content, gone.Root().Content; u != g {
		t.Errorf("a directory that is unknown and one deleted above a live file: %v and %v, want the same", u, g)
	}
	if u, d := unknown.Root().Content, there.Root().Content; u == d {
		t.Error("a directory with an entry has the content hash of one without")
	}
}

// TestStateHashSeesAll changes one thing after the other.
func TestStateHashSeesAll(t *testing.T) {
	seen := make(map[Hash]string)
	tree := new(Tree)
	for i := range 300 {
		tree.Put(fmt.Sprintf("d/n%d", i), fileEntry(1, 1))
	}
	look := func(what string) {
		t.Helper()
		h := tree.Root().State
		if before, ok := seen[h]; ok {
			t.Errorf("%s: state hash as %s", what, before)
		}
		seen[h] = what
	}
	look("at first")
	for _, row := range []struct {
		name, path string
		entry      *Entry
	}{
		{"content", "d/n7", fileEntry(2, 1)},
		{"version", "d/n7", fileEntry(2, 2)},
		{"kind", "d/n7", dirEntry(2)},
		{"tombstone", "d/n7", tombstone(2)},
		{"child", "d/n7/x", fileEntry(1, 1)},
		{"name of the child", "d/n8/x", fileEntry(1, 1)},
		{"directory", "d", dirEntry(1)},
		{"empty name elsewhere", "e", tombstone(1)},
	} {
		tree.Put(row.path, row.entry)
		look(row.name)
	}
	tree.Remove("e")
	tree.Remove("d/n7")
	look("removed")
}

func TestDropTombstones(t *testing.T) {
	tree := new(Tree)
	tree.Put("a", tombstone(5))
	tree.Put("b/c/old", tombstone(5))
	tree.Put("b/c/new", tombstone(6))
	tree.Put("live", fileEntry(1, 1))
	tree.Put("two", tombstone(1).WithVersion(testVersion(1, 9)))
	tree.Put("d", tombstone(4))
	tree.Put("d/f", fileEntry(1, 1))
	got := tree.DropTombstones(vec(5, 8))
	slices.Sort(got)
	if want := []string{"a", "b/c/old", "d"}; !slices.Equal(got, want) {
		t.Errorf("DropTombstones = %q, want %q", got, want)
	}
	left := slices.Sorted(maps.Keys(maps.Collect(tree.All(""))))
	if want := []string{"b/c/new", "d/f", "live", "two"}; !slices.Equal(left, want) {
		t.Errorf("left are %q, want %q", left, want)
	}
	if again := tree.DropTombstones(vec(5, 8)); again != nil {
		t.Errorf("dropped again: %q", again)
	}
}

func TestRemovePrunes(t *testing.T) {
	tree := new(Tree)
	tree.Put("a/b/c", fileEntry(1, 1))
	want := tree.Root()
	tree.Put("a/b/d/e/f", fileEntry(1, 1))
	tree.Put("a/b/d", dirEntry(1))
	tree.Remove("a/b/d/e/f")
	tree.Remove("a/b/d")
	if got := tree.Root(); got != want {
		t.Errorf("Root = %+v, want %+v", got, want)
	}
	tree.Put("a", dirEntry(1))
	tree.Remove("a") // what lies below stays
	if got := tree.Root(); got != want {
		t.Errorf("after removing a directory above a file: Root = %+v, want %+v", got, want)
	}
	for _, path := range []string{"", "none", "a/none", "a/b/c/none"} {
		tree.Remove(path)
		if got := tree.Root(); got != want {
			t.Errorf("Remove(%q) of what is not there: Root = %+v, want %+v", path, got, want)
		}
	}
	tree.Remove("a/b/c")
	if got := tree.Root(); got != (Summary{}) || tree.at("a") != nil {
		t.Errorf("Root of an emptied tree = %+v, want zero", got)
	}
}

func TestAllYieldsDirectoriesFirstAndStops(t *testing.T) {
	tree := randomModel(rand.New(rand.NewPCG(3, 3)), 500).tree()
	seen := make(map[string]bool)
	for path := range tree.All("") {
		seen[path] = true
		for dir, _ := SplitPath(path); dir != ""; dir, _ = SplitPath(dir) {
			if tree.Get(dir) != nil && !seen[dir] {
				t.Fatalf("%q came before %q", path, dir)
			}
		}
	}
	n := 0
	for range tree.All("") {
		if n++; n == 100 {
			break
		}
	}
	for range tree.Children("big") {
		n++
		break
	}
	if n != 101 {
		t.Errorf("ranged over %d, want 101", n)
	}
}

func TestJoinAndSplitPath(t *testing.T) {
	for _, row := range []struct{ dir, name, path string }{{"", "a", "a"}, {"a", "b", "a/b"}, {"a/b", "c", "a/b/c"}} {
		if got := Join(row.dir, row.name); got != row.path {
			t.Errorf("Join(%q, %q) = %q, want %q", row.dir, row.name, got, row.path)
		}
		if dir, name := SplitPath(row.path); dir != row.dir || name != row.name {
			t.Errorf("SplitPath(%q) = %q, %q; want %q, %q", row.path, dir, name, row.dir, row.name)
		}
	}
}

func TestTreesGolden(t *testing.T) {
	var out strings.Builder
	show := func(name string, tree *Tree) {
		s := tree.Root()
		fmt.Fprintf(&out, "%s\n  state   %v\n  content %v\n", name, s.State, s.Content)
	}
	show("empty", new(Tree))
	tree := new(Tree)
	for _, s := range samples() {
		tree.Put(s.name, s.entry)
	}
	show("samples", tree)
	tree.Put("directory/below/a", samples()[0].entry)
	show("samples and directory/below/a", tree)
	for _, n := range []int{bucketSize, bucketSize + 1, 2000} {
		tree := new(Tree)
		for i := range n {
			tree.Put(fmt.Sprintf("d/%d", i), samples()[i%len(samples())].entry)
		}
		show(fmt.Sprintf("d/0 to d/%d", n-1), tree)
	}
	golden(t, "trees.golden", out.String())
}
