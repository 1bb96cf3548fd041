package syncproto

import (
	"google.golang.org/protobuf/encoding/protowire"

	"resonate/merkle"
)

// A Status is how a request fared.
type Status uint8

// The statuses. Part of the format; unknown ones count as Failed.
const (
	OK     Status = 1
	Gone   Status = 2 // the path no longer has that content
	Failed Status = 3
)

// err returns the error that a status of a reply stands for.
func (s Status) err() error {
	switch s {
	case OK:
		return nil
	case Gone:
		return ErrGone
	}
	return ErrFailed
}

// A ListRequest asks for the block list of a file.
type ListRequest struct {
	Path    string
	Content merkle.Hash // of the file
	Base    merkle.Hash // the file whose list the asker has, and to which the reply may refer; zero: none
}

// A ListReply is a piece of a block list. Pieces follow each other without gap until Last.
type ListReply struct {
	Status Status
	Total  uint64 // blocks in the whole list
	From   uint64 // the index of the first block of this piece
	Edits  []Edit
	Last   bool
}

// An Edit is either a run of blocks kept from the list that the asker has, Count of them from Index on, or, where
// Count is 0, new ones.
type Edit struct {
	Index, Count uint64
	New          merkle.BlockList
}

// A BlockRequest asks for at most MaxWants blocks. It is answered by one BlockReply for each, in order.
type BlockRequest struct {
	Wants []Want
	Codec uint32 // which the replies may have, beside 0
}

// A Want names a block of a file.
type Want struct {
	Path    string
	Content merkle.Hash // of the file
	Offset  int64       // bytes into the file
	Block   merkle.Block
}

// A BlockReply is one block. Decoded, its Data aliases the frame.
type BlockReply struct {
	Status Status
	Data   []byte
	Codec  uint32 // of Data; 0: as it is, 1: zstd
}

// Field numbers; part of the format.
const (
	listPath    = 1
	listContent = 2
	listBase    = 3

	listStatus = 1
	listTotal  = 2
	listFrom   = 3
	listEdit   = 4 // repeated message
	listLast   = 5

	editIndex = 1
	editCount = 2
	editNew   = 3 // 36 bytes a block, as hashed

	requestWant  = 1 // repeated message
	requestCodec = 2
	wantPath     = 1
	wantContent  = 2
	wantOffset   = 3
	wantBlock    = 4 // 36 bytes

	replyStatus = 1
	replyData   = 2
	replyCodec  = 3
)

// takeBlocks decodes a block list.
func takeBlocks(f merkle.Field) (merkle.BlockList, error) {
	if err := expect(f, protowire.BytesType); err != nil {
		return nil, err
	}
	if len(f.Bytes) == 0 {
		return nil, nil
	}
	return merkle.DecodeBlockList(f.Bytes)
}

func (m *ListRequest) kind() Kind { return KindListRequest }

func (m *ListRequest) append(b []byte) []byte {
	b = merkle.AppendBytes(b, listPath, m.Path)
	b = appendArray(b, listContent, m.Content[:])
	return appendArray(b, listBase, m.Base[:])
}

func (m *ListRequest) field(f merkle.Field) error {
	switch f.Number {
	case listPath:
		return takeString(f, &m.Path)
	case listContent:
		return takeArray(f, m.Content[:])
	case listBase:
		return takeArray(f, m.Base[:])
	}
	return nil
}

func (m *ListRequest) check() error { return checkPath(m.Path) }

func (m *ListReply) kind() Kind { return KindListReply }

func (m *ListReply) append(b []byte) []byte {
	b = merkle.AppendUint(b, listStatus, uint64(m.Status))
	b = merkle.AppendUint(b, listTotal, m.Total)
	b = merkle.AppendUint(b, listFrom, m.From)
	for i := range m.Edits {
		b = appendMessage(b, listEdit, m.Edits[i].append)
	}
	return appendBool(b, listLast, m.Last)
}

func (m *ListReply) field(f merkle.Field) error {
	switch f.Number {
	case listStatus:
		return takeUint(f, &m.Status)
	case listTotal:
		return takeUint(f, &m.Total)
	case listFrom:
		return takeUint(f, &m.From)
	case listEdit:
		return takeEdit(f, &m.Edits)
	case listLast:
		return takeBool(f, &m.Last)
	}
	return nil
}

func (m *ListReply) check() error {
	if err := checkEdits(m.Edits); err != nil {
		return err
	}
	switch {
	case m.Status == 0:
		return malformed("list reply without status")
	case m.Status != OK && (!m.Last || len(m.Edits) > 0):
		return malformed("list reply of status %d that goes on", m.Status)
	case len(m.Edits) == 0 && !m.Last:
		return malformed("list reply with nothing in it")
	}
	return nil
}

func (e *Edit) append(b []byte) []byte {
	b = merkle.AppendUint(b, editIndex, e.Index)
	b = merkle.AppendUint(b, editCount, e.Count)
	if len(e.New) == 0 {
		return b
	}
	return appendMessage(b, editNew, e.New.Append)
}

func (e *Edit) field(f merkle.Field) (err error) {
	switch f.Number {
	case editIndex:
		return takeUint(f, &e.Index)
	case editCount:
		return takeUint(f, &e.Count)
	case editNew:
		e.New, err = takeBlocks(f)
	}
	return err
}

func (m *BlockRequest) kind() Kind { return KindBlockRequest }

func (m *BlockRequest) append(b []byte) []byte {
	for i := range m.Wants {
		b = appendMessage(b, requestWant, m.Wants[i].append)
	}
	return merkle.AppendUint(b, requestCodec, uint64(m.Codec))
}

func (m *BlockRequest) field(f merkle.Field) error {
	switch f.Number {
	case requestWant:
	case requestCodec:
		return takeUint(f, &m.Codec)
	default:
		return nil
	}
	if len(m.Wants) == MaxWants {
		return malformed("more than %d wants", MaxWants)
	}
	var w Want
	err := takeMessage(f, w.field)
	m.Wants = append(m.Wants, w)
	return err
}

func (m *BlockRequest) check() error {
	if len(m.Wants) > MaxWants {
		return malformed("more than %d wants", MaxWants)
	}
	for i := range m.Wants {
		if err := m.Wants[i].check(); err != nil {
			return err
		}
	}
	return nil
}

func (w *Want) append(b []byte) []byte {
	b = merkle.AppendBytes(b, wantPath, w.Path)
	b = appendArray(b, wantContent, w.Content[:])
	b = merkle.AppendUint(b, wantOffset, uint64(w.Offset))
	return appendMessage(b, wantBlock, merkle.BlockList{w.Block}.Append)
}

func (w *Want) field(f merkle.Field) error {
	switch f.Number {
	case wantPath:
		return takeString(f, &w.Path)
	case wantContent:
		return takeArray(f, w.Content[:])
	case wantOffset:
		return takeUint(f, &w.Offset)
	case wantBlock:
		list, err := takeBlocks(f)
		if err != nil || len(list) != 1 {
			return malformed("want of %d bytes for a block", len(f.Bytes))
		}
		w.Block = list[0]
	}
	return nil
}

func (w *Want) check() error {
	if err := checkPath(w.Path); err != nil {
		return err
	}
	if w.Offset < 0 || w.Block.Size == 0 || w.Block.Size > merkle.MaxBlock {
		return malformed("want of %d bytes at %d of %.200q", w.Block.Size, w.Offset, w.Path)
	}
	return nil
}

func (m *BlockReply) kind() Kind { return KindBlockReply }

func (m *BlockReply) append(b []byte) []byte {
	b = merkle.AppendUint(b, replyStatus, uint64(m.Status))
	b = merkle.AppendBytes(b, replyData, m.Data)
	return merkle.AppendUint(b, replyCodec, uint64(m.Codec))
}

func (m *BlockReply) field(f merkle.Field) error {
	switch f.Number {
	case replyStatus:
		return takeUint(f, &m.Status)
	case replyData:
		if m.Data = nil; len(f.Bytes) > 0 {
			m.Data = f.Bytes
		}
		return expect(f, protowire.BytesType)
	case replyCodec:
		return takeUint(f, &m.Codec)
	}
	return nil
}

func (m *BlockReply) check() error {
	if m.Status == 0 || len(m.Data) > merkle.MaxBlock {
		return malformed("block reply of status %d with %d bytes", m.Status, len(m.Data))
	}
	return nil
}
