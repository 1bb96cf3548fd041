package locking

import (
	"container/list"
	"slices"
)

// A left is a version that was left behind, or, without one, that nobody can say.
//
// Invariant: what is known of a part of a left's scope, outside of except, is newer. As the oldest are forgotten first, forgetting never
// makes an old version pass for the newest.
type left struct {
	Left
	except []Scope // parts of the scope that it says nothing about
	place  *place
	item   *list.Element
	index  uint64 // of the log, at which it was noted
	marked uint64 // the last grant that has been told it
}

// lefts are the versions left behind that are remembered.
type lefts struct {
	places *places
	order  *list.List // of *left, oldest first
	bytes  int        // of scopes and versions
	grants uint64     // how often told was asked
}

func (l *Left) size() int { return len(l.Scope.Path) + len(l.Version) }

func slot(k ScopeKind) int {
	if k == Tree {
		return 1
	}
	return 0
}

// lostSince tells whether something of which s is a part was lost after an index of the log.
func (ls *lefts) lostSince(s Scope, index uint64) (lost bool) {
	consider := func(l *left) {
		lost = lost || l != nil && l.Version == "" && l.index > index && l.covers(s)
	}
	ls.above(s, consider)
	return lost
}

// note remembers l, at an index of the log, in the place of all that was known of its scope but for the parts in except, and for what was
// lost after the index seen, of which l cannot tell.
func (ls *lefts) note(l Left, except []Scope, index, seen uint64) {
	var kept []*left
	if at := ls.places.find(l.Scope); at != nil {
		if l.Scope.Kind == Tree {
			kept = ls.forgetBelow(at, except, seen)
		}
		if old := at.left[slot(l.Scope.Kind)]; old != nil {
			ls.forget(old)
		}
	}
	at := ls.places.make(l.Scope) // only now: forgetting drops places
	// A copy, so that the version does not keep the whole command in memory that it came in.
	l.Scope.Path, l.Version = clone(l.Scope.Path), clone(l.Version)
	n := &left{Left: l, except: except, place: at, index: index}
	n.item = ls.order.PushBack(n)
	at.left[slot(l.Scope.Kind)] = n
	at.count(0, 0, 1)
	for _, k := range kept {
		ls.order.MoveToBack(k.item)
	}
	for ls.bytes += n.size(); ls.order.Len() > maxLefts || ls.bytes > maxLeftBytes; {
		ls.forget(ls.order.Front().Value.(*left))
	}
}

// covers tells whether l is about all of s, save parts of it.
func (l *left) covers(s Scope) bool {
	return l.Scope.Covers(s) && !slices.ContainsFunc(l.except, func(e Scope) bool { return e.Covers(s) })
}

func clone(s string) string { return string([]byte(s)) }

func (ls *lefts) forget(l *left) {
	ls.order.Remove(l.item)
	ls.bytes -= l.size()
	l.place.left[slot(l.Scope.Kind)] = nil
	l.place.count(0, 0, -1)
	ls.places.drop(l.place)
}

// forgetBelow forgets what is known of at's path and of all below it, but for what overlaps except. It returns what it kept because it was lost
// after the index seen.
func (ls *lefts) forgetBelow(at *place, except []Scope, seen uint64) (lost []*left) {
	var all []*left
	at.lefts(func(l *left) { all = append(all, l) })
	for _, l := range all {
		kept := false
		for _, e := range except {
			kept = kept || e.Overlaps(l.Scope)
		}
		switch {
		case kept:
		case l.Version == "" && l.index > seen:
			lost = append(lost, l)
		default:
			ls.forget(l)
		}
	}
	return lost
}

// lefts calls each with what is known of this place and of all below it, the wider scope first.
func (at *place) lefts(each func(*left)) {
	if at.leftBelow == 0 {
		return
	}
	for k := len(at.left) - 1; k >= 0; k-- {
		if l := at.left[k]; l != nil {
			each(l)
		}
	}
	for _, c := range at.children {
		c.lefts(each)
	}
}

// tell fills in what g has to say of the versions left behind in scopes.
func (ls *lefts) tell(g *Grant, scopes, except []Scope) {
	ls.grants++
	t := &telling{Grant: g, mark: ls.grants}
	for _, s := range scopes {
		ls.tellCover(t, s)
		if s.Kind != Tree {
			continue
		}
		at := ls.places.find(s)
		if at == nil {
			continue
		}
		at.lefts(func(l *left) {
			for _, e := range except {
				if e.Covers(l.Scope) {
					return
				}
			}
			t.add(l)
		})
	}
}

// tellCover tells the newest that is known of all of s, and of the parts of s that this leaves out.
func (ls *lefts) tellCover(t *telling, s Scope) {
	l := ls.cover(s)
	if l == nil {
		t.Unknown = true
		return
	}
	t.add(l)
	for _, e := range l.except {
		if s.Covers(e) {
			ls.tellCover(t, e)
		}
	}
}

// cover returns the newest left that is about all of s, save parts of it; nil: none.
func (ls *lefts) cover(s Scope) (found *left) {
	consider := func(l *left) {
		if l != nil && l.covers(s) {
			found = l // the deeper, the newer
		}
	}
	ls.above(s, consider)
	return found
}

// above calls each with what is known of the scope s and of the trees around it, the outermost first; nil among them is nothing known.
func (ls *lefts) above(s Scope, each func(*left)) {
	if s.Kind == Name {
		if at := ls.places.find(s); at != nil {
			each(at.left[0])
		}
		return
	}
	at := &ls.places.root
	each(at.left[1])
	for name, rest := cutName(s.Path); name != ""; name, rest = cutName(rest) {
		if at = at.child(name); at == nil || at.leftBelow == 0 {
			return
		}
		each(at.left[1])
		each(at.left[0])
	}
}

// A telling is a grant that is being filled in.
type telling struct {
	*Grant
	mark uint64
	size int
}

func (t *telling) add(l *left) {
	if l.marked == t.mark {
		return
	}
	l.marked = t.mark
	if l.Version == "" {
		t.Unknown = true
		return
	}
	if t.size += l.size() + 32; t.size > maxGrantLeft {
		t.Unknown = true
		return
	}
	t.Left = append(t.Left, l.Left)
}
