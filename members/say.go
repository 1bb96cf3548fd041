package members

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Admit makes the node whose key that is a member, with the name that it has by then, which may be empty. It returns
// whether anything changed: nothing does if this node has admitted it before. A forgotten node is refused: ErrForgotten.
func (s *Set) Admit(key Key, name string, now time.Time) (changed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.current.Load()
	id := key.ID()
	switch own := v.admits[v.self.ID()]; {
	case key == v.self:
		return false, fmt.Errorf("admit node %s: that is this node itself: join from another folder", id)
	case v.forgotten[id] != nil:
		return false, fmt.Errorf("admit node %s: %w by node %s: its key never serves again: let that folder start as a new node",
			id, ErrForgotten, v.forgotten[id].by)
	case slices.ContainsFunc(own, func(st *Statement) bool { return st.whom == id }):
		return false, nil
	case len(own) >= maxAdmits:
		return false, fmt.Errorf("admit node %s: this node has admitted %d already: invite from another member", id, len(own))
	}
	return s.say(kindAdmit, about{key: key, name: name}, now)
}

// Forget makes a node that was ever heard of no member any more, for good: ErrUnknown for any other. It returns whether
// anything changed: nothing does if the node is forgotten already. Whom it has brought in, as far as this node knows,
// stays. To forget the own node is to leave: what others said is kept, so that they can be told.
func (s *Set) Forget(id ID, now time.Time) (changed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.current.Load()
	if v.forgotten[id] != nil {
		return false, nil
	}
	if _, ok := v.known[id]; !ok {
		return false, fmt.Errorf("forget node %s: %w", id, ErrUnknown)
	}
	return s.say(kindForget, about{whom: id, brought: v.broughtBy(id)}, now)
}

// broughtBy returns whom a node that is not forgotten has brought in: of more than can be named, the first.
func (v *view) broughtBy(id ID) []ID {
	if _, ok := v.reached[id]; !ok {
		return nil // nobody: its own admission does not count
	}
	admits := slices.Clone(v.admits[id])
	slices.SortFunc(admits, func(a, b *Statement) int {
		return cmp.Or(cmp.Compare(a.seq, b.seq), slices.Compare(a.hash[:], b.hash[:]))
	})
	var ids []ID
	for _, st := range admits[:min(len(admits), maxAdmits)] {
		ids = append(ids, st.whom)
	}
	return ids
}

// Rename has the whole cluster call a member, or the own node, by a name: before its own name, until somebody gives
// another. An empty one takes that back. It returns whether anything changed; for a node that is no member it is ErrUnknown.
func (s *Set) Rename(id ID, name string, now time.Time) (changed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.current.Load()
	if !v.isMember(id) {
		return false, fmt.Errorf("rename node %s: %w", id, ErrUnknown)
	}
	old := v.names[id]
	switch {
	case old == nil && name == "", old != nil && old.name == name:
		return false, nil
	case old == nil || v.forgotten[old.by] != nil: // any name counts more
	case old.time >= maxNumber:
		return false, fmt.Errorf("rename node %s: node %s has named it for all times: forget that node first", id, old.by)
	default: // whatever the clocks say, who has seen a name replaces it
		if next := timeOf(old).Add(time.Microsecond); now.Before(next) {
			now = next
		}
	}
	return s.say(kindRename, about{whom: id, name: name}, now)
}

// Profile tells others what this node is called, and at which addresses (HOST:PORT) it can be dialled: none if it cannot; and whether it
// is a witness, which has no folder. It returns whether anything changed.
func (s *Set) Profile(name string, addresses []string, witness bool, now time.Time) (changed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.current.Load()
	old := v.profiles[v.self.ID()]
	if old != nil && old.name == name && slices.Equal(old.addresses, addresses) && old.witness == witness {
		return false, nil
	}
	return s.say(kindProfile, about{name: name, addresses: addresses, witness: witness}, now)
}

// say signs a statement and takes it in; without an error, that is a change. The caller holds mu.
//
// Its number is above all that this node is known to have used, and the clock's microseconds, so that it is above those
// that a restored backup does not know of.
func (s *Set) say(k kind, a about, now time.Time) (changed bool, err error) {
	v := s.current.Load()
	if f := v.forgotten[v.self.ID()]; f != nil {
		return false, fmt.Errorf("this node is %w by node %s: nobody takes its word any more: join again as a new node", ErrForgotten, f.by)
	}
	clock := uint64(max(1, now.UnixMicro()))
	if v.last >= maxNumber || clock > maxNumber {
		return false, errors.New("no numbers are left for statements of this node: start it anew with another key")
	}
	st, err := newStatement(s.private, k, max(v.last+1, clock), clock, a)
	if err != nil {
		return false, err
	}
	all, err := v.kept.take(v.known, []*Statement{st})
	if err != nil {
		return false, err
	}
	return s.set(all), nil
}
