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
type Tree struct {
	top      node
	versions versions
	spare    []node // made ahead
}

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

// sums are what is remembered of a bucket: its Summary, in fewer bytes.
type sums struct {
	state, content Hash
	files, dirs, symlinks,
	tombstones uint32
	names uint32 // children that are live, or have something live below
	bytes int64
}

func (s *sums) add(o *sums) {
	s.names += o.names
	s.files += o.files
	s.dirs += o.dirs
	s.symlinks += o.symlinks
	s.tombstones += o.tombstones
	s.bytes += o.bytes
}

func (s *sums) live() uint32 { return s.files + s.dirs + s.symlinks }

func (s *sums) summary() Summary {
	return Summary{
		State: s.state, Content: s.content, Bytes: s.bytes,
		Files: int(s.files), Dirs: int(s.dirs), Symlinks: int(s.symlinks), Tombstones: int(s.tombstones),
	}
}

// A node is a name in a directory: its entry, none where only something below it is known, and what lies below it.
type node struct {
	name string
	packed
	below *bucket // children; nil: none
}

// nothing is what lies below a node without children, and noSums its sums. They are never written to.
var (
	nothing bucket
	noSums  sums
)

func (n *node) children() *bucket {
	if n.below == nil {
		return &nothing
	}
	return n.below
}

// A bucket is a list of nodes sorted by name, or, with more than bucketSize of them, sixteen buckets.
type bucket struct {
	list  []*node
	split *[16]bucket
	count int
	sums  *sums // nil: to be computed, or empty
}

// place returns the nibbles that lead to a name's bucket.
func place(name string) Hash { return nameDomain.sum([]byte(name)) }

func nibble(h Hash, depth int) int { return int(h[depth/2]>>(4*(1-depth%2))) & 15 }

// A way is a name on its way to its bucket. It is hashed once, where it meets a trie.
type way struct {
	name   string
	place  Hash
	hashed bool
}

func (w *way) nibble(depth int) int {
	if !w.hashed {
		w.place, w.hashed = place(w.name), true
	}
	return nibble(w.place, depth)
}

func (b *bucket) find(name string) *node { return b.findBy(&way{name: name}) }

func (b *bucket) findBy(w *way) *node {
	for depth := 0; b.split != nil; depth++ {
		b = &b.split[w.nibble(depth)]
	}
	if i, ok := b.index(w.name); ok {
		return b.list[i]
	}
	return nil
}

func (b *bucket) index(name string) (int, bool) {
	return slices.BinarySearchFunc(b.list, name, func(n *node, name string) int { return strings.Compare(n.name, name) })
}

// spareNodes are made at a time: 4 KiB, so that what stays for long does not lie scattered among what does not, which would
// keep whole pages from being given back.
const spareNodes = 42

// touch returns the child of n called name for a change, made where there is none; all sums on the way are forgotten.
func (t *Tree) touch(n *node, name string) *node {
	if n.below == nil {
		n.below = new(bucket)
	}
	w := &way{name: name}
	if c := n.below.findBy(w); c != nil {
		n.below.forget(w)
		return c
	}
	if len(t.spare) == 0 {
		t.spare = make([]node, spareNodes)
	}
	c := &t.spare[0]
	t.spare = t.spare[1:]
	c.name = name
	n.below.insert(c, w, 0)
	return c
}

// forget drops the sums on the way to a name.
func (b *bucket) forget(w *way) {
	b.sums = nil
	for depth := 0; b.split != nil; depth++ {
		b = &b.split[w.nibble(depth)]
		b.sums = nil
	}
}

func (b *bucket) insert(n *node, w *way, depth int) {
	b.count++
	b.sums = nil
	if b.split == nil && b.count > bucketSize {
		b.split = new([16]bucket)
		for _, old := range b.list {
			to := &way{name: old.name}
			b.split[to.nibble(depth)].insert(old, to, depth+1)
		}
		b.list = nil
	}
	if b.split != nil {
		b.split[w.nibble(depth)].insert(n, w, depth+1)
		return
	}
	i, _ := b.index(n.name)
	b.list = slices.Insert(b.list, i, n)
}

// remove takes a name, which must be there, out of b.
func (b *bucket) remove(w *way, depth int) {
	b.count--
	b.sums = nil
	if b.split == nil {
		i, _ := b.index(w.name)
		b.list = slices.Delete(b.list, i, i+1)
		return
	}
	b.split[w.nibble(depth)].remove(w, depth+1)
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

// summed returns the sums of b, which hashes what changed since the last call. They are not to be written to.
func (b *bucket) summed() *sums {
	if b.sums != nil {
		return b.sums
	}
	if b.count == 0 {
		return &noSums
	}
	s := new(sums)
	if b.split != nil {
		for i := range b.split {
			s.add(b.split[i].summed())
		}
	} else {
		for _, n := range b.list {
			own := n.count()
			s.add(&own)
		}
	}
	s.state = b.stateHash()
	s.content = b.contentHash(s.names)
	b.sums = s
	return s
}

// count counts n itself and what lies below it.
func (n *node) count() sums {
	s := *n.children().summed()
	switch {
	case n.none():
	case n.kind == Tombstone:
		s.tombstones++
	case n.kind == File:
		s.files++
		s.bytes += n.size
	case n.kind == Symlink:
		s.symlinks++
	default:
		s.dirs++
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
			s := b.split[i].summed()
			copy(row[i*HashSize:], s.state[:])
		}
		return trieDomain.sum(row[:])
	}
	buf := make([]byte, 0, len(b.list)*itemSize)
	for _, n := range b.list {
		buf = appendItem(buf, n.name, n.hash(), n.children().summed().state)
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
func (b *bucket) contentHash(live uint32) Hash {
	if live == 0 {
		return Hash{}
	}
	if live > bucketSize {
		var row [16 * HashSize]byte
		for i := range b.split {
			s := b.split[i].summed()
			copy(row[i*HashSize:], s.content[:])
		}
		return trieDomain.sum(row[:])
	}
	nodes := b.live(make([]*node, 0, live))
	slices.SortFunc(nodes, func(a, c *node) int { return strings.Compare(a.name, c.name) })
	buf := make([]byte, 0, len(nodes)*itemSize)
	for _, n := range nodes {
		buf = appendItem(buf, n.name, n.contentHash(), n.children().summed().content)
	}
	return listDomain.sum(buf)
}

// live appends the children that are live, or have something live below. It passes over what holds tombstones alone.
func (b *bucket) live(to []*node) []*node {
	if b.split != nil {
		for i := range b.split {
			if c := &b.split[i]; c.summed().names > 0 {
				to = c.live(to)
			}
		}
		return to
	}
	for _, n := range b.list {
		if n.live() || n.children().summed().names > 0 {
			to = append(to, n)
		}
	}
	return to
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
		n = n.children().find(name)
	}
	return n
}

// Get returns the entry at path, nil if there is none.
func (t *Tree) Get(path string) *Entry {
	if n := t.at(path); n != nil {
		return n.entry()
	}
	return nil
}

// Put sets the entry at path.
func (t *Tree) Put(path string, e *Entry) {
	n := &t.top
	for path != "" {
		var name string
		name, path = step(path)
		n = t.touch(n, name)
	}
	n.packed = t.versions.pack(e)
}

// Remove drops the entry at path, as if it had never been: no tombstone is left. What lies below it stays.
func (t *Tree) Remove(path string) {
	if path != "" && t.at(path) != nil {
		t.top.below.drop(path)
	}
}

func (b *bucket) drop(path string) {
	name, rest := step(path)
	w := &way{name: name}
	n := b.findBy(w)
	b.forget(w)
	if rest == "" {
		n.packed = packed{}
	} else {
		n.below.drop(rest)
	}
	if n.below != nil && n.below.count == 0 {
		n.below = nil
	}
	if n.none() && n.below == nil {
		b.remove(w, 0)
	}
}

// Root returns the summary of the whole tree.
func (t *Tree) Root() Summary { return t.top.children().summed().summary() }

// Below returns the summary of what lies below path, path itself not counted.
func (t *Tree) Below(path string) Summary {
	if n := t.at(path); n != nil {
		return n.children().summed().summary()
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
	return listDomain.sum(appendItem(nil, "", n.hash(), n.children().summed().state))
}

// HasLive tells whether something live lies below path.
func (t *Tree) HasLive(path string) bool {
	n := t.at(path)
	return n != nil && n.children().summed().live() > 0
}

// Children yields the names and entries of the directory at path, in no order; an entry is nil where only something
// below the name is known. The tree must not change meanwhile.
func (t *Tree) Children(path string) iter.Seq2[string, *Entry] {
	return func(yield func(string, *Entry) bool) {
		if n := t.at(path); n != nil {
			n.children().each(func(c *node) bool { return yield(c.name, c.entry()) })
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
	return n.children().each(func(c *node) bool {
		p := Join(path, c.name)
		if !c.none() && !yield(p, c.entry()) {
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
	t.top.children().tombstones("", func(path string, n *node) {
		if e := n.value(); horizon.Covers(e.Version.Vector) {
			gone = append(gone, path)
		}
	})
	for _, path := range gone {
		t.Remove(path)
	}
	return gone
}

// tombstones calls each with every tombstone in b, which is in the directory at dir, and below. It goes only where there may be
// any: the horizon rises after every edit.
func (b *bucket) tombstones(dir string, each func(path string, n *node)) {
	if b.sums != nil && b.sums.tombstones == 0 {
		return
	}
	if b.split != nil {
		for i := range b.split {
			b.split[i].tombstones(dir, each)
		}
		return
	}
	for _, n := range b.list {
		if n.kind == Tombstone {
			each(Join(dir, n.name), n)
		}
		if n.below != nil {
			n.below.tombstones(Join(dir, n.name), each)
		}
	}
}
