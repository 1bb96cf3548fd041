package members

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// A slot is the place of a statement: of those that would stand in one slot, one is kept.
type slot struct {
	signer Key
	kind   kind
	about  [32]byte
}

func (s *Statement) slot() slot {
	at := slot{signer: s.signer, kind: s.kind}
	switch s.kind {
	case kindAdmit:
		at.about = s.key
	case kindForget, kindRename:
		copy(at.about[:], s.whom[:])
	case kindProfile:
	default:
		at.about = s.hash
	}
	return at
}

// replaces tells whether s is kept rather than other, which would stand in the same slot. It is a total order, so that all
// nodes keep the same one: the newest profile and name, but the first admission and forgetting.
func (s *Statement) replaces(other *Statement) bool {
	order := cmp.Compare(s.seq, other.seq)
	if s.kind == kindProfile || s.kind == kindRename {
		order = -order
	}
	return order < 0 || order == 0 && s.hash.less(other.hash)
}

// kept are the statements of a set. It is never changed once it is in a view.
type kept map[slot]*Statement

// take returns k with what is to be kept of in: statements of known signers, and of those whom they admit there, about
// known nodes. A wrong signature of one of these is an error. Neither k nor known is changed.
func (k kept) take(known map[ID]Key, in []*Statement) (kept, error) {
	waiting := make(map[ID][]*Statement) // by signer
	for _, s := range in {
		if old := k[s.slot()]; old == nil || s.replaces(old) {
			waiting[s.by] = append(waiting[s.by], s)
		}
	}
	known = maps.Clone(known)
	var fresh []*Statement
	for queue := slices.Collect(maps.Keys(known)); len(queue) > 0; queue = queue[1:] {
		for _, s := range waiting[queue[0]] {
			if err := s.verify(); err != nil {
				return nil, err
			}
			fresh = append(fresh, s)
			if _, ok := known[s.whom]; s.kind == kindAdmit && !ok {
				known[s.whom] = s.key
				queue = append(queue, s.whom)
			}
		}
	}
	out := maps.Clone(k)
	for _, s := range fresh {
		if _, ok := known[s.whom]; !ok && (s.kind == kindForget || s.kind == kindRename) {
			continue
		}
		if old := out[s.slot()]; old == nil || s.replaces(old) {
			out[s.slot()] = s
		}
	}
	out.dropUnknown()
	return out, out.fits()
}

// dropUnknown drops all but the newest statements of unknown kinds, of each signer. What is left is the same in whatever
// order they came.
func (k kept) dropUnknown() {
	unknown := make(map[Key][]*Statement)
	for at, s := range k {
		if _, ok := aboutFields[at.kind]; !ok {
			unknown[at.signer] = append(unknown[at.signer], s)
		}
	}
	for _, all := range unknown {
		if len(all) <= maxUnknown {
			continue
		}
		slices.SortFunc(all, func(a, b *Statement) int {
			return cmp.Or(cmp.Compare(b.seq, a.seq), slices.Compare(a.hash[:], b.hash[:]))
		})
		for _, s := range all[maxUnknown:] {
			delete(k, s.slot())
		}
	}
}

// fits returns ErrFull where k is too much for a set.
func (k kept) fits() error {
	var count, size, forgets, forgetSize int
	for _, s := range k {
		count, size = count+1, size+s.size()
		if s.kind == kindForget {
			forgets, forgetSize = forgets+1, forgetSize+s.size()
		}
	}
	if count > maxStatements || size > MaxMessage ||
		count-forgets > maxStatements-reservedStatements || size-forgetSize > MaxMessage-reservedBytes {
		return fmt.Errorf("%w: %d statements of %d bytes in all: forget who filled it; if that does not help, let all nodes join anew",
			ErrFull, count, size)
	}
	return nil
}

// sorted returns the statements in ascending order of hash.
func (k kept) sorted() []*Statement {
	return slices.SortedFunc(maps.Values(k), func(a, b *Statement) int { return slices.Compare(a.hash[:], b.hash[:]) })
}

// encode returns the bytes that Decode reads: the same for all nodes that keep the same.
func (k kept) encode() []byte {
	var b []byte
	for _, s := range k.sorted() {
		b = s.append(b)
	}
	return b
}
