package merkle

import (
	"fmt"
	"iter"
	"strings"
)

// A Place names a bucket of a tree: a directory, and the nibbles (0 to 15) on the way into its trie, none for the
// directory itself.
type Place struct {
	Dir    string
	Prefix string // one byte a nibble
}

// An Item is one child in a Level: its name, the hash of its entry, zero for none, and the state hash below it.
type Item struct {
	Name         string
	Entry, Below Hash
}

// A Level is the bucket at a Place, as one node tells it to another: a list of items, or the hashes of sixteen
// branches.
type Level struct {
	Place
	Items    []Item    // at most bucketSize
	Branches *[16]Hash // nil for a list
}

// MaxItems is the most items that a Level holds.
const MaxItems = bucketSize

// bucketAt returns the bucket at p, or, where the trie does not go that far, the list that holds what would be in it
// among others (exact is false). It is nil for an unknown directory and for a prefix that no tree has.
func (t *Tree) bucketAt(p Place) (b *bucket, exact bool) {
	n := t.at(p.Dir)
	if n == nil || p.check() != nil {
		return nil, false
	}
	b = n.children()
	for i := range len(p.Prefix) {
		if b.split == nil {
			return b, false
		}
		b = &b.split[p.Prefix[i]]
	}
	return b, true
}

// Level returns the bucket at p. Where the trie does not go that far, because the tree has changed since a peer was
// told of p, it is the list of what would be in it: a name that is known here never looks absent.
func (t *Tree) Level(p Place) Level {
	l := Level{Place: p}
	if b, exact := t.bucketAt(p); exact && b.split != nil {
		l.Branches = new([16]Hash)
		for i := range b.split {
			l.Branches[i] = b.split[i].summed().state
		}
		return l
	}
	for n := range t.within(p) {
		l.Items = append(l.Items, n.item())
	}
	return l
}

func (n *node) item() Item {
	return Item{n.name, n.hash(), n.children().summed().state}
}

// A Step is what follows from comparing one Level of a peer with the own tree.
type Step struct {
	Ask      []Place  // levels to ask the peer for
	Entries  []string // paths whose entries differ: to be had from the peer
	Subtrees []string // directories of which nothing is known here: all below them is to be had from the peer
	Absent   []string // paths with an entry here, where the peer has none
}

// Compare compares a level of a peer's tree with t. Starting from the Place of the folder itself and going on with
// all that is to be asked, it finds every difference once. What came from a peer must have passed Check.
func (t *Tree) Compare(theirs Level) Step {
	mine := t.Level(theirs.Place)
	var s Step
	if theirs.Branches != nil && mine.Branches != nil {
		for i, h := range theirs.Branches {
			if h == mine.Branches[i] {
				continue
			}
			place := Place{theirs.Dir, theirs.Prefix + string(rune(i))}
			t.branch(place, h, &s)
		}
		return s
	}
	if theirs.Branches != nil { // theirs is the larger: list after list of it will be compared with what is here
		for i, h := range theirs.Branches {
			t.branch(Place{theirs.Dir, theirs.Prefix + string(rune(i))}, h, &s)
		}
		return s
	}
	t.compareList(theirs, &s)
	return s
}

// branch follows a branch of the peer's trie that differs from what is here.
func (t *Tree) branch(p Place, theirs Hash, s *Step) {
	if !theirs.IsZero() {
		s.Ask = append(s.Ask, p)
		return
	}
	for n := range t.within(p) {
		t.absent(n, Join(p.Dir, n.name), s)
	}
}

// within yields the children whose place in the trie begins with the prefix of p, however far the trie here goes.
func (t *Tree) within(p Place) iter.Seq[*node] {
	return func(yield func(*node) bool) {
		if b, exact := t.bucketAt(p); b != nil {
			b.each(func(c *node) bool { return !exact && !c.under(p.Prefix) || yield(c) })
		}
	}
}

func (n *node) under(prefix string) bool {
	at := place(n.name)
	for i := range len(prefix) {
		if nibble(at, i) != int(prefix[i]) {
			return false
		}
	}
	return true
}

func (t *Tree) compareList(theirs Level, s *Step) {
	dir := t.at(theirs.Dir)
	known := make(map[string]bool, len(theirs.Items))
	for _, item := range theirs.Items {
		known[item.Name] = true
		path := Join(theirs.Dir, item.Name)
		var n *node
		if dir != nil {
			n = dir.children().find(item.Name)
		}
		if n == nil {
			n = &node{}
		}
		switch {
		case item.Entry == n.hash():
		case item.Entry.IsZero():
			s.Absent = append(s.Absent, path)
		default:
			s.Entries = append(s.Entries, path)
		}
		below := n.children().summed().state
		switch {
		case item.Below == below:
		case item.Below.IsZero():
			t.absentIn(n.children(), path, s)
		case below.IsZero():
			s.Subtrees = append(s.Subtrees, path)
		default:
			s.Ask = append(s.Ask, Place{Dir: path})
		}
	}
	for n := range t.within(theirs.Place) {
		if !known[n.name] {
			t.absent(n, Join(theirs.Dir, n.name), s)
		}
	}
}

func (t *Tree) absentIn(b *bucket, dir string, s *Step) {
	for n := range b.all() {
		t.absent(n, Join(dir, n.name), s)
	}
}

func (t *Tree) absent(n *node, path string, s *Step) {
	if !n.none() {
		s.Absent = append(s.Absent, path)
	}
	t.absentIn(n.children(), path, s)
}

// check tells whether the prefix of p is one that a tree can have. The last nibble never leads to branches.
func (p Place) check() error {
	if len(p.Prefix) >= 2*HashSize || strings.ContainsFunc(p.Prefix, func(r rune) bool { return r > 15 }) {
		return fmt.Errorf("trie prefix %q: %w", p.Prefix, ErrFormat)
	}
	return nil
}

// Check tells whether a level from a peer is one that a tree can have.
func (l Level) Check() error {
	if err := l.Place.check(); err != nil {
		return err
	}
	if len(l.Items) > MaxItems || (len(l.Items) > 0 && l.Branches != nil) {
		return fmt.Errorf("level of %d items: %w", len(l.Items), ErrFormat)
	}
	for i, item := range l.Items {
		if !isName(item.Name) || (i > 0 && l.Items[i-1].Name >= item.Name) {
			return fmt.Errorf("item %q out of order or no name: %w", item.Name, ErrFormat)
		}
	}
	return nil
}

// isName tells whether s can be the name of a file.
func isName(s string) bool {
	return s != "" && s != "." && s != ".." && !strings.ContainsAny(s, "/\x00")
}
