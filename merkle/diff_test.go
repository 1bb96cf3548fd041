package merkle

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// A found is what a diff brought, driven to its end.
type found struct {
	asked                     []Place
	entries, subtrees, absent []string
}

// drive compares theirs with mine as two nodes do: level after level, until nothing is left to ask.
func drive(t *testing.T, mine, theirs *Tree) (f found) {
	t.Helper()
	ask := []Place{{}}
	for len(ask) > 0 {
		level := theirs.Level(ask[0])
		f.asked, ask = append(f.asked, ask[0]), ask[1:]
		if err := level.Check(); err != nil {
			t.Fatalf("level of %+v: %v", level.Place, err)
		}
		s := mine.Compare(level)
		ask = append(ask, s.Ask...)
		f.entries = append(f.entries, s.Entries...)
		f.subtrees = append(f.subtrees, s.Subtrees...)
		f.absent = append(f.absent, s.Absent...)
	}
	return f
}

// checkDiff holds a diff against what two models say: every difference once, and nothing asked in vain.
func checkDiff(t *testing.T, mine, theirs model) found {
	t.Helper()
	return checkDiffOfTrees(t, mine, theirs, mine.tree(), theirs.tree())
}

// checkDiffOfTrees is checkDiff for models whose trees, m and o, are built already.
func checkDiffOfTrees(t *testing.T, mine, theirs model, m, o *Tree) found {
	t.Helper()
	f := drive(t, m, o)
	got := slices.Clone(f.entries)
	for _, dir := range f.subtrees {
		if s := m.Below(dir).State; !s.IsZero() {
			t.Errorf("subtree %q is not unknown here", dir)
		}
		for path := range o.All(dir) {
			got = append(got, path)
		}
	}
	var entries, absent []string
	for path, e := range theirs {
		if e.Hash() != mine[path].Hash() {
			entries = append(entries, path)
		}
	}
	for path := range mine {
		if theirs[path] == nil {
			absent = append(absent, path)
		}
	}
	same(t, "entries that differ", got, entries)
	same(t, "absent", slices.Clone(f.absent), absent)
	places := make(map[Place]bool)
	for _, p := range f.asked {
		if places[p] {
			t.Errorf("%+v was asked for twice", p)
		}
		places[p] = true
		if p != (Place{}) && p.Prefix == "" && m.Below(p.Dir).State == o.Below(p.Dir).State {
			t.Errorf("%q was asked for, though it is the same on both sides", p.Dir)
		}
	}
	return f
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s: found %d, want %d\ngot  %q\nwant %q", what, len(got), len(want), got, want)
	}
}

// edit changes, adds and removes up to n paths of m.
func edit(r *rand.Rand, m model, n int) model {
	m = maps.Clone(m)
	for range r.IntN(n + 1) {
		path := randomPath(r)
		if r.IntN(3) == 0 {
			delete(m, path)
		} else {
			m[path] = randomEntry(r)
		}
	}
	return m
}

func TestDiffOfRandomTrees(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 11))
	for range 25 {
		base := randomModel(r, r.IntN(800))
		checkDiff(t, edit(r, base, 20), edit(r, base, 20))
		checkDiff(t, edit(r, base, 300), edit(r, base, 300))
		checkDiff(t, base, randomModel(r, r.IntN(800)))
	}
}

func names(dir string, from, to int) model {
	m := make(model)
	for i := from; i < to; i++ {
		m[Join(dir, fmt.Sprintf("n%d", i))] = fileEntry(1, 1)
	}
	return m
}

func union(ms ...model) model {
	out := make(model)
	for _, m := range ms {
		maps.Copy(out, m)
	}
	return out
}

// TestDiffOfShapes has one side split into a trie where the other is a list, or nothing, or a deeper trie.
func TestDiffOfShapes(t *testing.T) {
	shapes := map[string]model{
		"nothing":            {},
		"a file":             {"d": fileEntry(1, 1)},
		"a tombstone":        {"d": tombstone(1)},
		"one name":           names("d", 0, 1),
		"other list":         names("d", 1000, 1000+bucketSize),
		"list":               names("d", 0, bucketSize),
		"trie":               names("d", 0, bucketSize+1),
		"trie with entry":    union(names("d", 0, bucketSize+1), model{"d": dirEntry(1)}),
		"other trie":         names("d", 500, 600),
		"nested trie":        names("d", 0, 1200),
		"trie in a trie":     union(names("d", 0, 100), names("d/n5", 0, 100), names("d/n5/x/y", 0, 3)),
		"file in its place":  union(names("d", 0, 100), model{"d/n5": fileEntry(2, 2)}),
		"no entries, deeper": names("d/n5/x", 0, 70),
	}
	trees := make(map[string]*Tree)
	for name, m := range shapes {
		trees[name] = m.tree()
	}
	for a, mine := range shapes {
		for b, theirs := range shapes {
			t.Run(a+" and "+b, func(t *testing.T) {
				f := checkDiffOfTrees(t, mine, theirs, trees[a], trees[b])
				if a == b && (len(f.asked) != 1 || f.entries != nil || f.absent != nil || f.subtrees != nil) {
					t.Errorf("the same on both sides: %+v", f)
				}
			})
		}
	}
}

// TestDiffAsksForFewLevels counts what one edit costs.
func TestDiffAsksForFewLevels(t *testing.T) {
	base := make(model)
	for i := range 20 {
		maps.Copy(base, names(fmt.Sprintf("d%d", i), 0, 400))
	}
	edited := maps.Clone(base)
	edited["d7/n123"] = fileEntry(2, 2)
	f := checkDiff(t, base, edited)
	if !slices.Equal(f.entries, []string{"d7/n123"}) || f.subtrees != nil || f.absent != nil {
		t.Errorf("found %q, %q and %q, want one entry", f.entries, f.subtrees, f.absent)
	}
	if len(f.asked) != 3 { // the folder, d7, one branch of it
		t.Errorf("asked for %d levels, want 3: %+v", len(f.asked), f.asked)
	}
}

func TestSubtreesAreUnknownDirectories(t *testing.T) {
	f := checkDiff(t, model{"a": dirEntry(1)}, union(names("a", 0, 5), names("b/c", 0, 300), model{"a": dirEntry(1)}))
	slices.Sort(f.subtrees)
	if want := []string{"a", "b"}; !slices.Equal(f.subtrees, want) || len(f.asked) != 1 {
		t.Errorf("subtrees %q after %d levels, want %q after 1", f.subtrees, len(f.asked), want)
	}
}

// TestLevelOfWhatIsNoTrieNow lets a directory shrink to a list between two questions of a peer: what it still has must
// not look absent.
func TestLevelOfWhatIsNoTrieNow(t *testing.T) {
	m := names("", 0, bucketSize+1)
	mine, theirs := m.tree(), m.tree()
	mine.Put("n3", fileEntry(2, 2))
	s := mine.Compare(theirs.Level(Place{}))
	theirs.Remove("n0")
	var absent, entries []string
	for _, p := range s.Ask {
		level := theirs.Level(p)
		if level.Branches != nil || len(level.Items) == 0 {
			t.Errorf("level of %+v = %+v, want some of a list", p, level)
		}
		s := mine.Compare(level)
		absent, entries = append(absent, s.Absent...), append(entries, s.Entries...)
	}
	if len(absent) > 0 && !slices.Equal(absent, []string{"n0"}) {
		t.Errorf("absent: %q, want n0 at most", absent)
	}
	if !slices.Equal(entries, []string{"n3"}) {
		t.Errorf("entries: %q, want n3", entries)
	}
}

func TestLevelOfUnknownPlaces(t *testing.T) {
	tree := names("d", 0, 200).tree()
	for name, p := range map[string]Place{
		"no such directory": {Dir: "none", Prefix: "\x01"},
		"below a file":      {Dir: "d/n1"},
		"no nibble":         {Dir: "d", Prefix: "\x10"},
		"too deep":          {Dir: "d", Prefix: strings.Repeat("\x01", 2*HashSize)},
		"far too deep":      {Dir: "d", Prefix: strings.Repeat("\x01", 1000)},
		"a deep prefix":     {Dir: "d", Prefix: strings.Repeat("\x01", 2*HashSize-1)},
	} {
		if l := tree.Level(p); l.Items != nil || l.Branches != nil {
			t.Errorf("%s: Level = %+v, want an empty list", name, l)
		}
	}
}

// TestCompareHostileLevels compares levels that pass Check but that no tree here would send.
func TestCompareHostileLevels(t *testing.T) {
	deepest := strings.Repeat("\x01", 2*HashSize-1)
	for name, l := range map[string]Level{
		"branches far down":      {Place: Place{Dir: "d", Prefix: deepest}, Branches: &[16]Hash{1: {1}}},
		"empty branches":         {Place: Place{Dir: "d", Prefix: deepest}, Branches: &[16]Hash{}},
		"branches below a file":  {Place: Place{Dir: "d/n1"}, Branches: &[16]Hash{5: {1}}},
		"branches of nothing":    {Place: Place{Dir: "none"}, Branches: &[16]Hash{5: {1}}},
		"item of another bucket": {Place: Place{Dir: "d", Prefix: "\x01"}, Items: []Item{{Name: "n1"}, {Name: "n2", Below: Hash{1}}}},
	} {
		if err := l.Check(); err != nil {
			t.Errorf("%s: Check: %v", name, err)
		}
		s := names("d", 0, 200).tree().Compare(l)
		if len(s.Ask) > 16 {
			t.Errorf("%s: asks for %d levels, want at most 16", name, len(s.Ask))
		}
	}
}

func TestLevelCheckRefuses(t *testing.T) {
	many := make([]Item, MaxItems+1)
	for i := range many {
		many[i].Name = fmt.Sprintf("n%03d", i)
	}
	if err := (Level{Items: many[:MaxItems]}).Check(); err != nil {
		t.Errorf("Check of %d items: %v", MaxItems, err)
	}
	for name, l := range map[string]Level{
		"too many items":      {Items: many},
		"unsorted":            {Items: []Item{{Name: "b"}, {Name: "a"}}},
		"twice":               {Items: []Item{{Name: "a"}, {Name: "a"}}},
		"no name":             {Items: []Item{{Name: ""}}},
		"slash":               {Items: []Item{{Name: "a/b"}}},
		"NUL":                 {Items: []Item{{Name: "a\x00"}}},
		"the directory":       {Items: []Item{{Name: "."}}},
		"the parent":          {Items: []Item{{Name: ".."}}},
		"both":                {Items: []Item{{Name: "a"}}, Branches: new([16]Hash)},
		"no nibble":           {Place: Place{Prefix: "\x10"}},
		"no nibble, no UTF-8": {Place: Place{Prefix: "\xff"}},
		"prefix too long":     {Place: Place{Prefix: strings.Repeat("\x00", 2*HashSize)}},
	} {
		if err := l.Check(); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: Check = %v, want ErrFormat", name, err)
		}
	}
}
