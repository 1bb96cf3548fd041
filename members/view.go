package members

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"slices"
	"time"
)

// A view is all that follows from the statements of a set, as one node sees it. It is immutable.
type view struct {
	self      Key
	kept      kept
	digest    [sha256.Size]byte
	last      uint64              // the highest number of the own statements: what replaces one has a higher
	known     map[ID]Key          // reached through any admissions
	reached   map[ID]Key          // reached through admissions that count
	forgotten map[ID]*Statement   // by the first that did
	admitted  map[ID]*Statement   // by the first admission that counts
	profiles  map[ID]*Statement   // by signer
	names     map[ID]*Statement   // the renaming that counts, by whom it names
	brought   map[ID]map[ID]bool  // of the forgotten: whom all that forgot it name
	admits    map[ID][]*Statement // by signer
}

// derive tells what follows from k for the node whose key self is.
func derive(self Key, k kept) *view {
	v := &view{
		self: self, kept: k,
		forgotten: make(map[ID]*Statement), admitted: make(map[ID]*Statement), profiles: make(map[ID]*Statement),
		names: make(map[ID]*Statement), brought: make(map[ID]map[ID]bool), admits: make(map[ID][]*Statement),
	}
	h := sha256.New()
	h.Write([]byte(setDomain))
	var renames []*Statement
	for _, s := range k.sorted() {
		h.Write(s.hash[:])
		if s.signer == self {
			v.last = max(v.last, s.seq)
		}
		switch s.kind {
		case kindAdmit:
			v.admits[s.by] = append(v.admits[s.by], s)
		case kindForget:
			v.forget(s)
		case kindProfile:
			v.profiles[s.by] = s
		case kindRename:
			renames = append(renames, s)
		}
	}
	v.digest = [sha256.Size]byte(h.Sum(nil))
	v.known = v.reach(func(*Statement) bool { return true })
	v.reached = v.reach(v.counts)
	for by := range v.reached {
		for _, s := range v.admits[by] {
			if old := v.admitted[s.whom]; v.counts(s) && (old == nil || s.before(old)) {
				v.admitted[s.whom] = s
			}
		}
	}
	for _, s := range renames { // the forgotten are known by now
		if old := v.names[s.whom]; old == nil || v.outnames(s, old) {
			v.names[s.whom] = s
		}
	}
	return v
}

// forget enters a forgetting. What several forgetters of one node do not all name was not brought in.
func (v *view) forget(s *Statement) {
	brought := make(map[ID]bool, len(s.brought))
	before := v.brought[s.whom]
	for _, id := range s.brought {
		brought[id] = before == nil || before[id]
	}
	v.brought[s.whom] = brought
	if old := v.forgotten[s.whom]; old == nil || s.before(old) {
		v.forgotten[s.whom] = s
	}
}

// counts tells whether an admission by a node that was reached brings anyone in.
func (v *view) counts(s *Statement) bool {
	return v.forgotten[s.by] == nil || v.brought[s.by][s.whom]
}

// reach returns the nodes to which admissions lead from the own key.
func (v *view) reach(counts func(*Statement) bool) map[ID]Key {
	reached := map[ID]Key{v.self.ID(): v.self}
	for queue := []ID{v.self.ID()}; len(queue) > 0; queue = queue[1:] {
		for _, s := range v.admits[queue[0]] {
			if _, ok := reached[s.whom]; !ok && counts(s) {
				reached[s.whom] = s.key
				queue = append(queue, s.whom)
			}
		}
	}
	return reached
}

// before orders statements by their signers' clocks; a total order.
func (s *Statement) before(other *Statement) bool {
	return cmp.Or(cmp.Compare(s.time, other.time), bytes.Compare(s.hash[:], other.hash[:])) < 0
}

// outnames tells whether s counts rather than other, which names the same node: a name that a member gave counts more than
// one by a node that is forgotten, whose clock may tell anything.
func (v *view) outnames(s, other *Statement) bool {
	if gone, otherGone := v.forgotten[s.by] != nil, v.forgotten[other.by] != nil; gone != otherGone {
		return otherGone
	}
	return cmp.Compare(s.time, other.time) > 0 || s.time == other.time && s.hash.less(other.hash)
}

func (v *view) isMember(id ID) bool {
	_, ok := v.reached[id]
	return ok && v.forgotten[id] == nil
}

// member returns what is known of the node id, which is known.
func (v *view) member(id ID) Member {
	m := Member{ID: id, Key: v.known[id]}
	if s := v.admitted[id]; s != nil {
		m.Name, m.AdmittedBy, m.Since = s.name, s.by, timeOf(s)
	}
	if s := v.profiles[id]; s != nil {
		m.Addresses, m.Witness = slices.Clone(s.addresses), s.witness
		m.Name = cmp.Or(s.name, m.Name)
	}
	if s := v.names[id]; s != nil {
		m.Name = cmp.Or(s.name, m.Name)
	}
	if s := v.forgotten[id]; s != nil {
		m.Forgotten, m.ForgottenBy, m.ForgottenAt = true, s.by, timeOf(s)
	}
	return m
}

// list returns the known nodes that are chosen, in the order in which they came, then of ID.
func (v *view) list(choose func(ID) bool) []Member {
	var out []Member
	for id := range v.known {
		if choose(id) {
			out = append(out, v.member(id))
		}
	}
	slices.SortFunc(out, func(a, b Member) int {
		return cmp.Or(a.Since.Compare(b.Since), bytes.Compare(a.ID[:], b.ID[:]))
	})
	return out
}

func timeOf(s *Statement) time.Time { return time.UnixMicro(int64(s.time)) }
