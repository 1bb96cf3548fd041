package syncproto

import (
	"iter"

	"resonate/merkle"
)

// edits yields the edits that make list out of base. They alias list.
func edits(base, list merkle.BlockList) iter.Seq[Edit] {
	at := make(map[merkle.Hash]int, len(base))
	for i, b := range base {
		if _, ok := at[b.Hash]; !ok {
			at[b.Hash] = i
		}
	}
	return func(yield func(Edit) bool) {
		for len(list) > 0 {
			var e Edit
			n := 0
			if start, ok := at[list[0].Hash]; ok {
				n = sameBlocks(base[start:], list)
				e = Edit{Index: uint64(start), Count: uint64(n)}
			} else {
				n = newBlocks(at, list)
				e = Edit{New: list[:n:n]}
			}
			if !yield(e) {
				return
			}
			list = list[n:]
		}
	}
}

// sameBlocks returns how many blocks a and b, whose first blocks are equal, have in common from there.
func sameBlocks(a, b merkle.BlockList) int {
	n := 1
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// newBlocks returns how many blocks at the beginning of list, the first being one, are not in the base; one ListReply
// has room for them.
func newBlocks(at map[merkle.Hash]int, list merkle.BlockList) int {
	n := 1
	for n < len(list) && n < MaxBlocks {
		if _, ok := at[list[n].Hash]; ok {
			break
		}
		n++
	}
	return n
}

// extend appends what r tells to list, which the pieces before r gave. The whole has at most most blocks.
func (r *ListReply) extend(list, base merkle.BlockList, most uint64) (merkle.BlockList, error) {
	if r.From != uint64(len(list)) || r.Total > most {
		return nil, malformed("piece from %d of %d blocks where %d of at most %d were due", r.From, r.Total, len(list), most)
	}
	for _, e := range r.Edits {
		have := uint64(len(base))
		if e.Index > have || e.Count > have-e.Index {
			return nil, malformed("blocks %d and %d following of a list of %d", e.Index, e.Count, have)
		}
		piece := e.New
		if e.Count > 0 {
			piece = base[e.Index : e.Index+e.Count]
		}
		if uint64(len(list)+len(piece)) > r.Total {
			return nil, malformed("more than %d blocks", r.Total)
		}
		list = append(list, piece...)
	}
	if r.Last && uint64(len(list)) != r.Total {
		return nil, malformed("%d blocks instead of %d", len(list), r.Total)
	}
	return list, nil
}
