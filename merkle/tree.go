package merkle

import (
	"encoding/binary"
	"iter"
	"slices"
	"strings"
)

// A Tree holds the entries of a folder, tombstones included, and the hashes over them. Paths are relative, separated
// by slashes; the folder itself is "" and has no entry. Hashes are computed when asked for, and only where something
// changed. A Tree is not safe for concurrent use.
//
// A directory's hash is over its children's names, kinds and hashes. Up to bucketSize children are hashed as one
// list; more of them hang in a 16-way trie by the hash of their names, so that one edit among 100,000 entries costs a
// few hashes, and a diff sends what differs. That a bucket is split says only how many children there are, so equal
// sets of entries have equal hashes, whatever happened before.
type Tree struct{ top node }

// bucketSize is the most children that one list holds. Part of the format, since hashes depend on it.
const bucketSize = 64

// A Summary is what a tree tells about everything below a path.
type Summary struct {
	State   Hash // over entries, versions and tombstones: equal when nothing is left to exchange
	Content Hash // over what is live, without versions: equal when a person would call it the same
	Files, Dirs, Symlinks,
	Tombstones int
	Bytes int64 // of files
}

func (s *sums) add(o sums) {
	s.names += o.names
	s.Files += o.Files
	s.Dirs += o.Dirs
	s.Symlinks += o.Symlinks
	s.Tombstones += o.Tombstones
	s.Bytes += o.Bytes
}

func (s *Summary) live() int { return s.Files + s.Dirs + s.Symlinks }

// A node is a name in a directory: its entry, nil where only something below it is known, and what lies below it.
type node struct {
	name  string
	entry *Entry
	hash  Hash   // of entry
	below bucket // children
}

// A bucket is a list of nodes sorted by name, or, with more than bucketSize of them, sixteen buckets.
type bucket struct {
	list  []*node
	split *[16]bucket
	count int
	sums  *sums // nil: to be computed, or empty
}

// sums are what is remembered of a bucket.
type sums struct {
	Summary
	names int // children that are live, or have something live below
}

// place returns the nibbles that lead to a name's bucket.
func place(name string) Hash { return nameDomain.sum([]byte(name)) }

func nibble(h Hash, depth int) int { return int(h[depth/2]>>(4*(1-depth%2))) & 15 }

func (b *bucket) find(name string) *node {
	if b.split != nil {
		at := place(name)
		for depth := 0; b.split != nil; depth++ {
			b = &b.split[nibble(at, depth)]
		}
	}
	if i, ok := b.index(name); ok {
		return b.list[i]
	}
	return nil
}

func (b *bucket) index(name string) (int, bool) {
	return slices.BinarySearchFunc(b.list, name, func(n *node, name string) int { return strings.Compare(n.name, name) })
}

// touch returns the node called name for a change, made where there is none; all sums on the way are forgotten.
func (b *bucket) touch(name string) *node {
	if n := b.find(name); n != nil {
		b.forget(name)
		return n
	}
	n := &node{name: name}
	b.insert(n, 0)
	return n
}

// forget drops the sums on the way to name.
func (b *bucket) forget(name string) {
	b.sums = nil
	if b.split == nil {
		return
	}
	at := place(name)
	for depth := 0; b.split != nil; depth++ {
		b = &b.split[nibble(at, depth)]
		b.sums = nil
	}
}

func (b *bucket) insert(n *node, depth int) {
	b.count++
	b.sums = nil
	if b.split == nil && b.count > bucketSize {
		b.split = new([16]bucket)
		for _, old := range b.list {
			b.split[nibble(place(old.name), depth)].insert(old, depth+1)
		}
		b.list = nil
	}
	if b.split != nil {
		b.split[nibble(place(n.name), depth)].insert(n, depth+1)
		return
	}
	i, _ := b.index(n.name)
	b.list = slices.Insert(b.list, i, n)
}

// remove takes name, which must be there, out of b.
func (b *bucket) remove(name string, depth int) {
	b.count--
	b.sums = nil
	if b.split == nil {
		i, _ := b.index(name)
		b.list = slices.Delete(b.list, i, i+1)
		return
	}
	b.split[nibble(place(name), depth)].remove(name, depth+1)
	if b.count <= bucketSize {
		b.list = slices.SortedFunc(b.all(), func(a, c *node) int { return strings.Compare(a.name, c.name) })
		b.split = nil
	}
}

// all yields the nodes of b; sorted by name where b is one list.
func (b *bucket) all() iter.Seq[*node] {
	return func(yield func(*node) bool) { b.each(yield) }
}

func (b *bucket) each(yield func(*node) bool) bool {
	if b.split != nil {
		for i := range b.split {
			if !b.split[i].each(yield) {
				return false
			}
		}
		return true
	}
	for _, n := range b.list {
		if !yield(n) {
			return false
		}
	}
	return true
}

// summary returns the sums of b, which hashes of what changed since the last call.
func (b *bucket) summary() sums {
	if b.sums != nil {
		return *b.sums
	}
	if b.count == 0 {
		return sums{}
	}
	var s sums
	if b.split != nil {
		for i := range b.split {
			s.add(b.split[i].summary())
		}
	} else {
		for _, n := range b.list {
			s.add(n.summary())
		}
	}
	s.State = b.stateHash()
	s.Content = b.contentHash(s.names)
	b.sums = &s
	return s
}

// summary counts n itself and what lies below it. Its State and Content are those below.
func (n *node) summary() sums {
	s := n.below.summary()
	switch {
	case n.entry == nil:
	case n.entry.Kind == Tombstone:
		s.Tombstones++
	case n.entry.Kind == File:
		s.Files++
		s.Bytes += n.entry.Size
	case n.entry.Kind == Symlink:
		s.Symlinks++
	default:
		s.Dirs++
	}
	s.names = min(1, s.live())
	return s
}

// stateHash hashes a list as, for each child by name: length of the name (4 bytes, little-endian), name, hash of the
// entry, state hash of what lies below; sixteen branches as their hashes in a row.
func (b *bucket) stateHash() Hash {
	if b.split != nil {
		var row [16 * HashSize]byte
		for i := range b.split {
			s := b.split[i].summary()
			copy(row[i*HashSize:], s.State[:])
		}
		return trieDomain.sum(row[:])
	}
	buf := make([]byte, 0, len(b.list)*itemSize)
	for _, n := range b.list {
		below := n.below.summary()
		buf = appendItem(buf, n.name, n.hash, below.State)
	}
	return listDomain.sum(buf)
}

// itemSize is about what an item takes, for a name as most are.
const itemSize = 4 + 24 + 2*HashSize

func appendItem(b []byte, name string, entry, below Hash) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(name)))
	b = append(b, name...)
	b = append(b, entry[:]...)
	return append(b, below[:]...)
}

// contentHash is stateHash over live children and content hashes. Whether it is a list depends on how many are live,
// never on tombstones. A directory that is there only for what lies below it counts as any other.
func (b *bucket) contentHash(live int) Hash {
	if live == 0 {
		return Hash{}
	}
	if live > bucketSize {
		var row [16 * HashSize]byte
		for i := range b.split {
			s := b.split[i].summary()
			copy(row[i*HashSize:], s.Content[:])
		}
		return trieDomain.sum(row[:])
	}
	nodes := b.live(make([]*node, 0, live))
	slices.SortFunc(nodes, func(a, c *node) int { return strings.Compare(a.name, c.name) })
	buf := make([]byte, 0, len(nodes)*itemSize)
	for _, n := range nodes {
		below := n.below.summary()
		buf = appendItem(buf, n.name, n.contentHash(), below.Content)
	}
	return listDomain.sum(buf)
}

// live appends the children that are live, or have something live below. It passes over what holds tombstones alone.
func (b *bucket) live(to []*node) []*node {
	if b.split != nil {
		for i := range b.split {
			if c := &b.split[i]; c.summary().names > 0 {
				to = c.live(to)
			}
		}
		return to
	}
	for _, n := range b.list {
		if n.summary().names > 0 {
			to = append(to, n)
		}
	}
	return to
}

func (n *node) contentHash() Hash {
	if n.entry.Live() {
		return n.entry.ContentHash()
	}
	return Hash{}
}

// step splits the first name off a path.
func step(path string) (name, rest string) {
	name, rest, _ = strings.Cut(path, "/")
	return name, rest
}

func (t *Tree) at(path string) *node {
	n := &t.top
	for path != "" && n != nil {
		var name string
		name, path = step(path)
		n = n.below.find(name)
	}
	return n
}

// Get returns the entry at path, nil if there is none.
func (t *Tree) Get(path string) *Entry {
	if n := t.at(path); n != nil {
		return n.entry
	}
	return nil
}

// Put sets the entry at path.
func (t *Tree) Put(path string, e *Entry) {
	n := &t.top
	for path != "" {
		var name string
		name, path = step(path)
		n = n.below.touch(name)
	}
	n.entry, n.hash = e, e.Hash()
}

// Remove drops the entry at path, as if it had never been: no tombstone is left. What lies below it stays.
func (t *Tree) Remove(path string) {
	if path != "" && t.at(path) != nil {
		t.top.below.drop(path)
	}
}

func (b *bucket) drop(path string) {
	name, rest := step(path)
	n := b.find(name)
	b.forget(name)
	if rest == "" {
		n.entry, n.hash = nil, Hash{}
	} else {
		n.below.drop(rest)
	}
	if n.entry == nil && n.below.count == 0 {
		b.remove(name, 0)
	}
}

// Root returns the summary of the whole tree.
func (t *Tree) Root() Summary { return t.top.below.summary().Summary }

// Below returns the summary of what lies below path, path itself not counted.
func (t *Tree) Below(path string) Summary {
	if n := t.at(path); n != nil {
		return n.below.summary().Summary
	}
	return Summary{}
}

// State returns the hash over path and all below it, its own entry included: as of a directory whose one child has no
// name. It is what a move or a recursive deletion names a subtree by.
func (t *Tree) State(path string) Hash {
	n := t.at(path)
	if n == nil {
		return Hash{}
	}
	return listDomain.sum(appendItem(nil, "", n.hash, n.below.summary().State))
}

// HasLive tells whether something live lies below path.
func (t *Tree) HasLive(path string) bool {
	s := t.Below(path)
	return s.live() > 0
}

// Children yields the names and entries of the directory at path, in no order; an entry is nil where only something
// below the name is known. The tree must not change meanwhile.
func (t *Tree) Children(path string) iter.Seq2[string, *Entry] {
	return func(yield func(string, *Entry) bool) {
		if n := t.at(path); n != nil {
			n.below.each(func(c *node) bool { return yield(c.name, c.entry) })
		}
	}
}

// All yields every path below path with its entry, a directory before what lies in it. The tree must not change
// meanwhile.
func (t *Tree) All(path string) iter.Seq2[string, *Entry] {
	return func(yield func(string, *Entry) bool) {
		if n := t.at(path); n != nil {
			n.walk(path, yield)
		}
	}
}

func (n *node) walk(path string, yield func(string, *Entry) bool) bool {
	return n.below.each(func(c *node) bool {
		p := Join(path, c.name)
		if c.entry != nil && !yield(p, c.entry) {
			return false
		}
		return c.walk(p, yield)
	})
}

// Join joins the path of a directory, "" for the folder itself, and a name.
func Join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// SplitPath is the reverse of Join.
func SplitPath(path string) (dir, name string) {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i], path[i+1:]
	}
	return "", path
}

// DropTombstones removes the tombstones at or below the horizon, which every member has seen, and returns their paths.
func (t *Tree) DropTombstones(horizon Vector) []string {
	var gone []string
	for path, e := range t.All("") {
		if e.Kind == Tombstone && horizon.Covers(e.Version.Vector) {
			gone = append(gone, path)
		}
	}
	for _, path := range gone {
		t.Remove(path)
	}
	return gone
}
