package syncproto

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"resonate/merkle"
)

// randomTree returns a tree of n entries: some directories of hundreds, some deep ones.
func randomTree(r *rand.Rand, n int) *merkle.Tree {
	t := new(merkle.Tree)
	dirs := []string{""}
	for i := range n {
		dir := dirs[r.IntN(len(dirs))]
		if r.IntN(3) == 0 {
			dir = dirs[len(dirs)-1]
		}
		path := merkle.Join(dir, fmt.Sprintf("%c%d", 'a'+r.IntN(26), i))
		if r.IntN(40) == 0 {
			t.Put(path, dirEntry(merkle.Stamp(i+1)))
			dirs = append(dirs, path)
		} else {
			t.Put(path, fileEntry(hash(byte(i)), int64(i), merkle.Stamp(i+1)))
		}
	}
	return t
}

// clone returns a tree with the entries of t.
func clone(t *merkle.Tree) *merkle.Tree {
	c := new(merkle.Tree)
	for path, e := range t.All("") {
		c.Put(path, e)
	}
	return c
}

// mutate changes, adds and removes n entries of t, and moves a whole directory away.
func mutate(r *rand.Rand, t *merkle.Tree, n int) {
	var paths []string
	for path := range t.All("") {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	for i := range n {
		path := paths[r.IntN(len(paths))]
		switch r.IntN(3) {
		case 0:
			t.Put(path, fileEntry(hash(byte(i)), int64(i), merkle.Stamp(1e9+r.IntN(1e9))))
		case 1:
			t.Put(merkle.Join(path, fmt.Sprint("new", i)), dirEntry(merkle.Stamp(1e9+i)))
		case 2:
			t.Remove(path)
		}
	}
}

// runDiff diffs mine against theirs over encoded messages. inFlight is the most places that were ever outstanding.
func runDiff(t *testing.T, mine, theirs *merkle.Tree, r *rand.Rand) (found Found, inFlight int) {
	t.Helper()
	d := NewDiff()
	var answers []*Levels
	outstanding := 0
	ask := func(m *AskLevels) {
		if m == nil {
			return
		}
		raw := envelope(t, m)
		if len(raw) > FrameTarget+MaxPath+100 {
			t.Errorf("question of %d bytes", len(raw))
		}
		sent, err := decode(raw, newControl)
		if err != nil {
			t.Fatal(err)
		}
		outstanding += len(m.Places)
		inFlight = max(inFlight, outstanding)
		answers = append(answers, Answer(theirs, sent.(*AskLevels))...)
	}
	ask(d.Start())
	for len(answers) > 0 {
		i := r.IntN(len(answers)) // an answer may overtake another: frames are in order, but this does not rely on it
		raw := envelope(t, answers[i])
		if len(raw) > 2*FrameTarget {
			t.Errorf("answer of %d bytes", len(raw))
		}
		answers = slices.Delete(answers, i, i+1)
		got, err := decode(raw, newControl)
		if err != nil {
			t.Fatal(err)
		}
		outstanding -= len(got.(*Levels).List)
		step, err := d.Take(mine, got.(*Levels))
		if err != nil {
			t.Fatal(err)
		}
		found.Entries = append(found.Entries, step.Entries...)
		found.Subtrees = append(found.Subtrees, step.Subtrees...)
		found.Absent = append(found.Absent, step.Absent...)
		found.Done = step.Done
		ask(step.Ask)
		if step.Done != (outstanding == 0) {
			t.Fatalf("done is %v with %d places outstanding", step.Done, outstanding)
		}
	}
	return found, inFlight
}

func TestDiffFindsEverythingOnce(t *testing.T) {
	rows := []struct{ size, changes int }{{0, 0}, {1, 0}, {100, 30}, {3000, 1}, {3000, 1500}}
	for i, row := range rows {
		r := rand.New(rand.NewPCG(1, uint64(i)))
		a := randomTree(r, row.size)
		b := clone(a)
		if row.changes > 0 {
			mutate(r, a, row.changes)
			mutate(r, b, row.changes)
		}
		for _, pair := range [][2]*merkle.Tree{{a, b}, {b, a}, {a, new(merkle.Tree)}, {new(merkle.Tree), a}} {
			mine, theirs := pair[0], pair[1]
			found, inFlight := runDiff(t, mine, theirs, r)
			if inFlight > MaxPlaces {
				t.Errorf("%d places outstanding, want at most %d", inFlight, MaxPlaces)
			}
			if !found.Done {
				t.Errorf("size %d, %d changes: never done", row.size, row.changes)
			}
			follow(t, mine, theirs, found)
		}
	}
}

// follow does to a copy of mine what found says, after which it must equal theirs.
func follow(t *testing.T, mine, theirs *merkle.Tree, found Found) {
	t.Helper()
	got := clone(mine)
	seen := make(map[string]bool)
	once := func(sort, path string) {
		if seen[sort+path] {
			t.Errorf("%q reported twice", path)
		}
		seen[sort+path] = true
	}
	for _, path := range found.Absent {
		once("entry ", path)
		if theirs.Get(path) != nil {
			t.Errorf("%q reported absent", path)
		}
		got.Remove(path)
	}
	for _, path := range found.Entries {
		once("entry ", path)
		got.Put(path, theirs.Get(path))
	}
	for _, path := range found.Subtrees {
		once("subtree ", path)
		for path, e := range theirs.All(path) {
			got.Put(path, e)
		}
	}
	if got.Root().State != theirs.Root().State {
		t.Error("what was found does not cover the difference")
	}
}

// One change among many costs a few levels, not all of them.
func TestDiffIsSmall(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	a := randomTree(r, 5000)
	b := clone(a)
	b.Put("new", dirEntry(1))
	d := NewDiff()
	asked := 0
	for ask := d.Start(); ask != nil; {
		asked += len(ask.Places)
		answers := Answer(b, ask)
		ask = nil
		for _, l := range answers {
			found, err := d.Take(a, l)
			if err != nil {
				t.Fatal(err)
			}
			ask = found.Ask
		}
	}
	if asked > 5 {
		t.Errorf("%d levels asked for, want at most 5", asked)
	}
}

func TestDiffRefuses(t *testing.T) {
	rows := []struct {
		name   string
		levels []merkle.Level
	}{
		{"place never asked for", []merkle.Level{{Place: merkle.Place{Dir: "a"}}}},
		{"answer given twice", []merkle.Level{{}, {}}},
		{"malformed", []merkle.Level{{Items: []merkle.Item{{Name: "a/b"}}}}},
	}
	for _, row := range rows {
		d := NewDiff()
		d.Start()
		if _, err := d.Take(new(merkle.Tree), &Levels{row.levels}); !errors.Is(err, merkle.ErrFormat) {
			t.Errorf("%s: got %v, want ErrFormat", row.name, err)
		}
	}
	if _, err := NewDiff().Take(new(merkle.Tree), &Levels{[]merkle.Level{{}}}); !errors.Is(err, merkle.ErrFormat) {
		t.Errorf("answer before any question: got %v, want ErrFormat", err)
	}
}

// A peer that makes up an endless trie meets an end.
func TestDiffEndlessTrie(t *testing.T) {
	d := NewDiff()
	mine := new(merkle.Tree)
	var branches [16]merkle.Hash
	branches[5] = hash(1)
	ask := d.Start()
	for range 2 * merkle.HashSize {
		found, err := d.Take(mine, &Levels{[]merkle.Level{{Place: ask.Places[0], Branches: &branches}}})
		if err != nil {
			if !errors.Is(err, merkle.ErrFormat) {
				t.Errorf("got %v, want ErrFormat", err)
			}
			return
		}
		ask = found.Ask
	}
	t.Error("the trie never ended")
}

// Questions stay below the bound of a frame, however long the paths.
func TestDiffLongPaths(t *testing.T) {
	mine, theirs := new(merkle.Tree), new(merkle.Tree)
	dir := strings.Repeat(strings.Repeat("d", 250)+"/", 80) // 20 KiB
	for i := range 300 {
		mine.Put(fmt.Sprint(dir, i, "/x"), dirEntry(1))
		theirs.Put(fmt.Sprint(dir, i, "/x"), dirEntry(2))
	}
	found, _ := runDiff(t, mine, theirs, rand.New(rand.NewPCG(3, 3)))
	follow(t, mine, theirs, found)
	if len(found.Entries) != 300 {
		t.Errorf("got %d entries, want 300", len(found.Entries))
	}
}

// However much differs, what is asked for at one time and told in one frame is bounded.
func TestDiffIsBounded(t *testing.T) {
	mine, theirs := new(merkle.Tree), new(merkle.Tree)
	long := strings.Repeat("n", 200)
	for i := range 400 {
		mine.Put(fmt.Sprint(i, "/x"), dirEntry(1))
		for j := range 30 {
			theirs.Put(fmt.Sprint(i, "/", long, j), dirEntry(2))
		}
	}
	found, inFlight := runDiff(t, mine, theirs, rand.New(rand.NewPCG(4, 4)))
	follow(t, mine, theirs, found)
	if inFlight != MaxPlaces {
		t.Errorf("%d places were outstanding at most, want %d", inFlight, MaxPlaces)
	}
}

func TestAsk(t *testing.T) {
	var entries []string
	for i := range 100000 {
		entries = append(entries, fmt.Sprint(i))
	}
	subtrees := []string{"s", longest, longest, longest, longest, longest}
	var gotEntries, gotSubtrees []string
	for _, m := range Ask(entries, subtrees) {
		if n := len(envelope(t, m)); n > FrameTarget+MaxPath+100 {
			t.Errorf("frame of %d bytes", n)
		}
		switch m := m.(type) {
		case *AskEntries:
			gotEntries = append(gotEntries, m.Paths...)
		case *AskSubtrees:
			gotSubtrees = append(gotSubtrees, m.Paths...)
		}
	}
	if !slices.Equal(gotEntries, entries) || !reflect.DeepEqual(gotSubtrees, subtrees) {
		t.Errorf("got %d entries and %d subtrees", len(gotEntries), len(gotSubtrees))
	}
	if got := Ask(nil, nil); got != nil {
		t.Errorf("got %v for nothing", got)
	}
}
