package syncproto

import "resonate/merkle"

// An Offer tells the blocks of a long file while it is still being read, so that they can be fetched before the file is
// announced. It may be passed over, and nothing follows from it: the file may change before it is announced, or never be.
type Offer struct {
	Path   string
	Name   merkle.Hash // drawn for this reading of the file; stands for the file hash in a Want
	Size   int64       // of the file in bytes, when the reading began
	From   uint64      // the index of the first of Blocks in the file
	Blocks merkle.BlockList
}

// MaxOffered is how many blocks one Offer has at most.
const MaxOffered = 1024

// Field numbers; part of the format.
const (
	offerPath   = 1
	offerName   = 2
	offerSize   = 3
	offerFrom   = 4
	offerBlocks = 5 // 36 bytes a block, as hashed
)

func (m *Offer) kind() Kind { return KindOffer }

func (m *Offer) append(b []byte) []byte {
	b = merkle.AppendBytes(b, offerPath, m.Path)
	b = appendArray(b, offerName, m.Name[:])
	b = merkle.AppendUint(b, offerSize, uint64(m.Size))
	b = merkle.AppendUint(b, offerFrom, m.From)
	if len(m.Blocks) == 0 {
		return b
	}
	return appendMessage(b, offerBlocks, m.Blocks.Append)
}

func (m *Offer) field(f merkle.Field) (err error) {
	switch f.Number {
	case offerPath:
		return takeString(f, &m.Path)
	case offerName:
		return takeArray(f, m.Name[:])
	case offerSize:
		return takeUint(f, &m.Size)
	case offerFrom:
		return takeUint(f, &m.From)
	case offerBlocks:
		m.Blocks, err = takeBlocks(f)
	}
	return err
}

func (m *Offer) check() error {
	if err := checkPath(m.Path); err != nil {
		return err
	}
	switch {
	case m.Name.IsZero():
		return malformed("offer of %.200q without name", m.Path)
	case m.Size < 0:
		return malformed("offer of %.200q of %d bytes", m.Path, m.Size)
	case len(m.Blocks) > MaxOffered:
		return malformed("%d blocks in an offer of %.200q", len(m.Blocks), m.Path)
	case m.From > uint64(m.Size)/merkle.MinBlock+1:
		return malformed("offer of block %d of %.200q, of %d bytes", m.From, m.Path, m.Size)
	}
	return nil
}
