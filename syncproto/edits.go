package syncproto

import (
	"iter"

	"resonate/merkle"
)

// A Difference is a block list as it is told to who may have that of another content.
type Difference struct {
	Base  merkle.Hash // the file hash of that content
	Edits []Edit      // at least one
}

// List returns the list that d makes out of base: count blocks, of a file of size bytes. That it has the file's hash remains to be
// checked.
func (d *Difference) List(base merkle.BlockList, count uint64, size int64) (merkle.BlockList, error) {
	whole := ListReply{Total: count, Edits: d.Edits, Last: true}
	return whole.extend(nil, base, mostBlocks(size))
}

// mostBlocks is how many blocks a file of size bytes has at most: all but the last are longer than MinBlock.
func mostBlocks(size int64) uint64 { return uint64(max(size, 0))/merkle.MinBlock + 1 }

func (d *Difference) append(b []byte) []byte {
	b = appendArray(b, differenceBase, d.Base[:])
	for i := range d.Edits {
		b = appendMessage(b, differenceEdit, d.Edits[i].append)
	}
	return b
}

func (d *Difference) field(f merkle.Field) error {
	switch f.Number {
	case differenceBase:
		return takeArray(f, d.Base[:])
	case differenceEdit:
		return takeEdit(f, &d.Edits)
	}
	return nil
}

func (d *Difference) check() error {
	if d.Base.IsZero() || len(d.Edits) == 0 {
		return malformed("difference to nothing, or of nothing")
	}
	return checkEdits(d.Edits)
}

// takeEdit decodes one edit more.
func takeEdit(f merkle.Field, to *[]Edit) error {
	if len(*to) == maxEdits {
		return malformed("more than %d edits", maxEdits)
	}
	var e Edit
	err := takeMessage(f, e.field)
	*to = append(*to, e)
	return err
}

func checkEdits(list []Edit) error {
	blocks := 0
	for _, e := range list {
		if (e.Count == 0) == (len(e.New) == 0) {
			return malformed("edit that neither keeps nor adds blocks, or does both")
		}
		blocks += len(e.New)
	}
	if len(list) > maxEdits || blocks > MaxBlocks {
		return malformed("%d edits with %d blocks", len(list), blocks)
	}
	return nil
}

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
