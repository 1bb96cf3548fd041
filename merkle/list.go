package merkle

import (
	"container/heap"
	"iter"
	"strings"
)

// Names yields the names in the directory at path, in no order; those of which only something below is known, too. The tree must
// not change meanwhile.
func (t *Tree) Names(path string) iter.Seq[string] {
	return func(yield func(string) bool) {
		if n := t.at(path); n != nil {
			n.children().each(func(c *node) bool { return yield(c.name) })
		}
	}
}

// A Listing says which part of a tree is to be listed, so that it can be had in pages: the last path of one is After of
// the next.
type Listing struct {
	Path    string // list what lies below; "" the whole folder
	After   string // and comes after this path, which lies below Path; "" from the beginning
	Depth   int    // so many levels below Path; 0: all
	Deleted bool   // tombstones too
}

// List yields what l asks for with its entries, a directory before what lies in it and names in ascending order of their
// bytes. An entry is nil where only something below the path is known. To begin in the middle costs a walk along After, and
// in a large directory a look at each of its lists. The tree must not change meanwhile.
func (t *Tree) List(l Listing) iter.Seq2[string, *Entry] {
	return func(yield func(string, *Entry) bool) {
		n := t.at(l.Path)
		if n == nil {
			return
		}
		after := l.After
		if l.Path != "" {
			after = strings.TrimPrefix(strings.TrimPrefix(after, l.Path), "/")
		}
		l.list(n, l.Path, after, 1, yield)
	}
}

// list lists what lies in dir, which stands at path, after a relative path. depth is that of its children.
func (l *Listing) list(dir *node, path, after string, depth int, yield func(string, *Entry) bool) bool {
	name, rest := step(after)
	deeper := l.Depth == 0 || depth < l.Depth
	if name != "" && deeper {
		if n := dir.children().find(name); n != nil && l.shown(n) && !l.list(n, Join(path, name), rest, depth+1, yield) {
			return false
		}
	}
	for n := range dir.children().after(name) {
		if !l.shown(n) {
			continue
		}
		p := Join(path, n.name)
		if (n.none() || n.live() || l.Deleted) && !yield(p, n.entry()) {
			return false
		}
		if deeper && !l.list(n, p, "", depth+1, yield) {
			return false
		}
	}
	return true
}

// shown tells whether n or something below it is to be listed.
func (l *Listing) shown(n *node) bool {
	return l.Deleted || n.live() || n.children().summed().names > 0
}

// after yields the nodes of b whose names come after name, in their order: the lists of the trie are merged.
func (b *bucket) after(name string) iter.Seq[*node] {
	return func(yield func(*node) bool) {
		var h tails
		b.tails(name, &h)
		heap.Init(&h)
		for len(h) > 0 {
			if !yield(h[0][0]) {
				return
			}
			if h[0] = h[0][1:]; len(h[0]) == 0 {
				heap.Pop(&h)
			} else {
				heap.Fix(&h, 0)
			}
		}
	}
}

// tails adds to h what each list of b holds after name.
func (b *bucket) tails(name string, h *tails) {
	if b.split != nil {
		for i := range b.split {
			b.split[i].tails(name, h)
		}
		return
	}
	i, found := b.index(name)
	if found {
		i++
	}
	if i < len(b.list) {
		*h = append(*h, b.list[i:])
	}
}

// tails is a heap of sorted lists that are not empty, the one with the least name first.
type tails [][]*node

func (h tails) Len() int           { return len(h) }
func (h tails) Less(i, j int) bool { return h[i][0].name < h[j][0].name }
func (h tails) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *tails) Push(x any)        { *h = append(*h, x.([]*node)) }

func (h *tails) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
