package locking

import (
	"slices"
	"strings"
)

// A place is one path or name, with the claims and the versions left behind that are about it or about its tree. Places form the tree
// of paths, so that what overlaps a scope is found without a look at what lies elsewhere.
//
// Children are a sorted slice and no map: every walk over them has the same order on all voters.
type place struct {
	up       *place
	name     string
	children []*place
	held     []entry // by token
	waits    []entry // by seq
	left     [2]*left
	// Here and below: what a walk has to look for.
	heldBelow, waitsBelow, leftBelow int
}

// An entry says that a claim has the place, or all of its tree, among its scopes.
type entry struct {
	c    *claim
	tree bool
}

// places are all places that anything is known of.
type places struct {
	root  place
	names map[string]*place
	// The last directory in which a place was looked for: a batch is sorted.
	lastDir   string
	lastPlace *place
}

// find returns the place of s, or nil where there is none.
func (p *places) find(s Scope) *place {
	if s.Kind == Name {
		return p.names[s.Path]
	}
	at := &p.root
	for name, rest := cutName(s.Path); name != "" && at != nil; name, rest = cutName(rest) {
		at = at.child(name)
	}
	return at
}

// make returns the place of s, new where there was none. Who puts nothing there has to drop it.
func (p *places) make(s Scope) *place {
	if s.Kind == Name {
		at := p.names[s.Path]
		if at == nil {
			at = &place{name: strings.Clone(s.Path)}
			p.names[at.name] = at
		}
		return at
	}
	if s.Path == "" {
		return &p.root
	}
	at, rest := &p.root, s.Path
	dir := parentDir(s.Path)
	if p.lastPlace != nil && dir == p.lastDir {
		at, rest = p.lastPlace, strings.TrimPrefix(s.Path[len(dir):], "/")
	}
	for name, rest := cutName(rest); name != ""; name, rest = cutName(rest) {
		p.lastPlace = at
		at = at.makeChild(name)
	}
	p.lastDir = dir
	return at
}

// cutName cuts the first name off a path.
func cutName(path string) (name, rest string) {
	if i := strings.IndexByte(path, '/'); i >= 0 {
		return path[:i], path[i+1:]
	}
	return path, ""
}

func (at *place) search(name string) (int, bool) {
	if n := len(at.children); n == 0 || at.children[n-1].name < name {
		return n, false
	}
	return slices.BinarySearchFunc(at.children, name, func(c *place, name string) int { return strings.Compare(c.name, name) })
}

func (at *place) child(name string) *place {
	if i, ok := at.search(name); ok {
		return at.children[i]
	}
	return nil
}

func (at *place) makeChild(name string) *place {
	i, ok := at.search(name)
	if !ok {
		// A clone, so that one name does not keep the whole command in memory that it came in.
		at.children = slices.Insert(at.children, i, &place{up: at, name: strings.Clone(name)})
	}
	return at.children[i]
}

// drop forgets at, and what is above it, as far as nothing is known of them.
func (p *places) drop(at *place) {
	for at.heldBelow == 0 && at.waitsBelow == 0 && at.leftBelow == 0 && at != &p.root {
		p.lastPlace = nil
		if at.up == nil {
			delete(p.names, at.name)
			return
		}
		if i, ok := at.up.search(at.name); ok && at.up.children[i] == at {
			at.up.children = slices.Delete(at.up.children, i, i+1)
		}
		at = at.up
	}
}

func (at *place) count(held, waits, lefts int) {
	for ; at != nil; at = at.up {
		at.heldBelow += held
		at.waitsBelow += waits
		at.leftBelow += lefts
	}
}

// insert enters c at the places of its scopes.
func (p *places) insert(c *claim) {
	c.places = make([]*place, len(c.Scopes))
	for i, s := range c.Scopes {
		at := p.make(s)
		c.places[i] = at
		at.enter(c, s)
	}
}

func (at *place) enter(c *claim, s Scope) {
	if c.Held {
		i := len(at.held)
		for i > 0 && at.held[i-1].c.Token.Compare(c.Token) > 0 {
			i--
		}
		at.held = slices.Insert(at.held, i, entry{c, s.Kind == Tree})
		at.count(1, 0, 0)
		return
	}
	i := len(at.waits)
	for i > 0 && at.waits[i-1].c.seq > c.seq {
		i--
	}
	at.waits = slices.Insert(at.waits, i, entry{c, s.Kind == Tree})
	at.count(0, 1, 0)
}

// remove takes c away from all its places. It begins with the last: the end of a long list of children is the cheap one.
func (p *places) remove(c *claim) {
	for i := len(c.places) - 1; i >= 0; i-- {
		p.leave(c.places[i], entry{c, c.Scopes[i].Kind == Tree})
	}
	c.places = nil
}

// leave takes one entry away from at.
func (p *places) leave(at *place, e entry) {
	if i := slices.Index(at.held, e); e.c.Held && i >= 0 {
		at.held = slices.Delete(at.held, i, i+1)
		at.count(-1, 0, 0)
	} else if i := slices.Index(at.waits, e); i >= 0 {
		at.waits = slices.Delete(at.waits, i, i+1)
		at.count(0, -1, 0)
	}
	p.drop(at)
}

// Which entries a walk is about.
type which uint8

const (
	heldOnes    which = 1
	waitingOnes which = 2
	allOnes     which = 3
)

func (at *place) below(w which) int {
	n := 0
	if w&heldOnes != 0 {
		n += at.heldBelow
	}
	if w&waitingOnes != 0 {
		n += at.waitsBelow
	}
	return n
}

// overlapping calls each with every claim that has a scope which overlaps s, once for each such scope, until each returns false. What
// a claim leaves out is not looked at.
func (p *places) overlapping(s Scope, w which, each func(*claim) bool) bool {
	if s.Kind == Name {
		at := p.names[s.Path]
		return at == nil || at.each(w, true, each)
	}
	at := &p.root
	for name, rest := cutName(s.Path); name != ""; name, rest = cutName(rest) {
		if at.below(w) == 0 {
			return true
		}
		if !at.each(w, false, each) {
			return false
		}
		if at = at.child(name); at == nil {
			return true
		}
	}
	if s.Kind == Tree {
		return at.walk(w, each)
	}
	return at.each(w, true, each)
}

// each calls f with the claims at this place: all, or those on its tree.
func (at *place) each(w which, all bool, f func(*claim) bool) bool {
	if w&heldOnes != 0 {
		for _, e := range at.held {
			if (all || e.tree) && !f(e.c) {
				return false
			}
		}
	}
	if w&waitingOnes != 0 {
		for _, e := range at.waits {
			if (all || e.tree) && !f(e.c) {
				return false
			}
		}
	}
	return true
}

// walk calls f with the claims at this place and below.
func (at *place) walk(w which, f func(*claim) bool) bool {
	if at.below(w) == 0 {
		return true
	}
	if !at.each(w, true, f) {
		return false
	}
	for _, c := range at.children {
		if !c.walk(w, f) {
			return false
		}
	}
	return true
}
