package locking

import "container/list"

// A left is a version that was left behind, or, without one, that nobody can say.
//
// Invariant: what is known of a part of a left's scope, outside of except, is newer. As the oldest are forgotten first, forgetting never
// makes an old version pass for the newest.
type left struct {
	Left
	except []Scope // parts of the scope that it says nothing about
	place  *place
	item   *list.Element
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

// note remembers l, in the place of all that was known of its scope but for the parts in except.
func (ls *lefts) note(l Left, except []Scope) {
	if at := ls.places.find(l.Scope); at != nil {
		if l.Scope.Kind == Tree {
			ls.forgetBelow(at, except)
		}
		if old := at.left[slot(l.Scope.Kind)]; old != nil {
			ls.forget(old)
		}
	}
	at := ls.places.make(l.Scope) // only now: forgetting drops places
	// A copy, so that the version does not keep the whole command in memory that it came in.
	l.Scope.Path, l.Version = clone(l.Scope.Path), clone(l.Version)
	n := &left{Left: l, except: except, place: at}
	n.item = ls.order.PushBack(n)
	at.left[slot(l.Scope.Kind)] = n
	at.count(0, 0, 1)
	for ls.bytes += n.size(); ls.order.Len() > maxLefts || ls.bytes > maxLeftBytes; {
		ls.forget(ls.order.Front().Value.(*left))
	}
}

func clone(s string) string { return string([]byte(s)) }

func (ls *lefts) forget(l *left) {
	ls.order.Remove(l.item)
	ls.bytes -= l.size()
	l.place.left[slot(l.Scope.Kind)] = nil
	l.place.count(0, 0, -1)
	ls.places.drop(l.place)
}

// forgetBelow forgets what is known of at's path and of all below it, but for what overlaps except.
func (ls *lefts) forgetBelow(at *place, except []Scope) {
	var all []*left
	at.lefts(func(l *left) { all = append(all, l) })
	for _, l := range all {
		kept := false
		for _, e := range except {
			kept = kept || e.Overlaps(l.Scope)
		}
		if !kept {
			ls.forget(l)
		}
	}
}

func (at *place) lefts(each func(*left)) {
	if at.leftBelow == 0 {
		return
	}
	for _, l := range at.left {
		if l != nil {
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
		at := ls.places.find(s)
		if at == nil || s.Kind != Tree {
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
		if l == nil || !l.Scope.Covers(s) {
			return
		}
		for _, e := range l.except {
			if e.Covers(s) {
				return
			}
		}
		found = l // the deeper, the newer
	}
	if s.Kind == Name {
		if at := ls.places.find(s); at != nil {
			consider(at.left[0])
		}
		return found
	}
	at := &ls.places.root
	consider(at.left[1])
	for name, rest := cutName(s.Path); name != ""; name, rest = cutName(rest) {
		if at = at.child(name); at == nil || at.leftBelow == 0 {
			return found
		}
		consider(at.left[1])
		consider(at.left[0])
	}
	return found
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
