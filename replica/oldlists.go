package replica

import (
	"slices"
	"sync"
	"time"

	"resonate/merkle"
)

// Block lists of long files that were replaced are remembered for a while, so that peers who have the earlier version
// need to be told the difference alone.
const (
	minOldList  = 64       // blocks; shorter ones are sent whole
	maxOldLists = 16 << 20 // bytes of all lists remembered, encoded
	oldListAge  = 10 * time.Minute
)

// oldLists remembers block lists by the content that they are of. It is safe for concurrent use.
type oldLists struct {
	mu    sync.Mutex
	lists []oldList // the oldest first
	bytes int
}

type oldList struct {
	path    string // where it was replaced
	content merkle.Hash
	list    merkle.BlockList
	since   time.Time
}

// add remembers a list of what was replaced at path, and forgets others where there are too many, or too old ones.
func (o *oldLists) add(path string, content merkle.Hash, list merkle.BlockList, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(list) < minOldList {
		return
	}
	o.lists = append(o.lists, oldList{path, content, list, now})
	o.bytes += listBytes(list)
	for o.bytes > maxOldLists || len(o.lists) > 0 && now.Sub(o.lists[0].since) > oldListAge {
		o.bytes -= listBytes(o.lists[0].list)
		o.lists[0] = oldList{} // what lies before a slice is not freed
		o.lists = o.lists[1:]
	}
}

// get returns the list of a content, nil if it is not remembered.
func (o *oldLists) get(content merkle.Hash) merkle.BlockList {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, l := range o.lists {
		if l.content == content {
			return l.list
		}
	}
	return nil
}

// of returns what was last replaced at path, nil if it is not remembered.
func (o *oldLists) of(path string) *oldList {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, l := range slices.Backward(o.lists) {
		if l.path == path {
			return &l
		}
	}
	return nil
}

func listBytes(l merkle.BlockList) int { return len(l) * (merkle.HashSize + 4) }

// rememberList keeps the block list of what is agreed at path, which is about to be replaced, in mind.
func (r *Replica) rememberList(path string) {
	e := r.tree.Get(path)
	if !e.Live() || e.Kind != merkle.File || e.Size < minOldList*merkle.MinBlock {
		return
	}
	if list, err := r.blockList(path); err == nil && list.Size() == e.Size {
		r.oldLists.add(path, e.Content, list, time.Now())
	}
}
