package syncproto

import (
	"iter"

	"google.golang.org/protobuf/encoding/protowire"

	"resonate/merkle"
)

// Announcements tell entries to a peer.
type Announcements struct{ List []Announcement }

// An Announcement tells the entry at a path, and perhaps more about it, to spare the receiver a round trip. What goes
// beyond the entry is not checked against it here: the receiver does.
type Announcement struct {
	Seq        uint64 // the sender's number, for Ack
	Path       string
	Entry      *merkle.Entry
	Hint       int64            // a directory's mtime, nanoseconds since 1970
	Blocks     merkle.BlockList // of a file; at most MaxBlocks
	BlockCount uint64           // length of the list, for where it is left out; 0: not told
	Data       []byte           // all of a small file; at most MaxInline
	Below      uint64           // of a directory: how many entries live below it; 0: not told
	Difference *Difference      // of a file whose list is left out; nil: not told
}

// announcedBlocks is how many blocks a list that is announced has at most, and the difference that is told of a longer one. What is
// longer is asked for: whoever has another version of the file is told the difference alone.
const announcedBlocks = 64

// SetBlocks puts the block list of the file into a, or, where it is long, only its length.
func (a *Announcement) SetBlocks(list merkle.BlockList) {
	a.BlockCount = uint64(len(list))
	if len(list) <= announcedBlocks {
		a.Blocks = list
	}
}

// SetDifference tells the block list of the file, which SetBlocks has left out, as the difference to that of the content base, unless much
// is new: who has that content need not ask for the list.
func (a *Announcement) SetDifference(base merkle.Hash, from, list merkle.BlockList) {
	d, blocks := &Difference{Base: base}, 0
	for e := range edits(from, list) {
		if blocks += len(e.New); blocks > announcedBlocks || len(d.Edits) == announcedBlocks {
			return
		}
		d.Edits = append(d.Edits, e)
	}
	a.Difference = d
}

// A Move tells that a path and all below it is now elsewhere, by one operation. A receiver whose subtrees have the hashes
// State and Stood derives every entry and tombstone; another answers with Expand.
type Move struct {
	Seq      uint64
	From, To string
	State    merkle.Hash   // over the subtree at From, its own entry included
	Stood    merkle.Hash   // the same at To, before the move; zero: nothing was known there
	Author   merkle.NodeID // whose operation it is; zero: the sender's
	Stamp    merkle.Stamp
	Token    merkle.Token
}

// A RemoveAll tells that a path and all below it was deleted by one operation, as Move does of a move.
type RemoveAll struct {
	Seq    uint64
	Path   string
	State  merkle.Hash   // over the subtree, its own entry included
	Author merkle.NodeID // whose operation it is; zero: the sender's
	Stamp  merkle.Stamp
	Token  merkle.Token
}

// An Expand asks for the announcements that the Move or RemoveAll of number Seq stands for.
type Expand struct{ Seq uint64 }

// An Ack says that everything announced under these numbers has been dealt with. At most MaxAcks of them.
type Ack struct{ Seqs []uint64 }

// Field numbers; part of the format.
const (
	announcementsItem = 1 // repeated message

	announceSeq        = 1
	announcePath       = 2
	announceEntry      = 3 // the entry's canonical bytes
	announceHint       = 4 // fixed64, two's complement
	announceBlocks     = 5 // 36 bytes a block, as hashed
	announceBlockCount = 6
	announceData       = 7
	announceBelow      = 8
	announceDifference = 9

	differenceBase = 1
	differenceEdit = 2 // repeated message

	moveSeq        = 1
	moveFrom       = 2 // the path of RemoveAll
	moveTo         = 3 // Move only
	moveState      = 4
	moveAuthor     = 5
	moveStamp      = 6
	moveGeneration = 7
	moveIndex      = 8
	moveStood      = 9 // Move only

	expandSeq = 1
	ackSeqs   = 1 // packed
)

func (m *Announcements) kind() Kind { return KindAnnouncements }

func (m *Announcements) append(b []byte) []byte {
	for i := range m.List {
		b = appendMessage(b, announcementsItem, m.List[i].append)
	}
	return b
}

func (m *Announcements) field(f merkle.Field) error {
	if f.Number != announcementsItem {
		return nil
	}
	var a Announcement
	err := takeMessage(f, a.field)
	if err == nil {
		err = a.check() // at once, so that short and empty messages do not grow the list
	}
	m.List = append(m.List, a)
	return err
}

func (m *Announcements) check() error {
	for i := range m.List {
		if err := m.List[i].check(); err != nil {
			return err
		}
	}
	return nil
}

func (a *Announcement) append(b []byte) []byte {
	b = merkle.AppendUint(b, announceSeq, a.Seq)
	b = merkle.AppendBytes(b, announcePath, a.Path)
	b = appendMessage(b, announceEntry, a.Entry.Append)
	b = appendFixed(b, announceHint, a.Hint)
	if len(a.Blocks) > 0 {
		b = appendMessage(b, announceBlocks, a.Blocks.Append)
	}
	b = merkle.AppendUint(b, announceBlockCount, a.BlockCount)
	b = merkle.AppendBytes(b, announceData, a.Data)
	b = merkle.AppendUint(b, announceBelow, a.Below)
	if a.Difference == nil {
		return b
	}
	return appendMessage(b, announceDifference, a.Difference.append)
}

func (a *Announcement) field(f merkle.Field) (err error) {
	switch f.Number {
	case announceSeq:
		return takeUint(f, &a.Seq)
	case announcePath:
		return takeString(f, &a.Path)
	case announceEntry:
		a.Entry, err = merkle.DecodeEntry(f.Bytes)
		return err
	case announceHint:
		return takeFixed(f, &a.Hint)
	case announceBlocks:
		a.Blocks, err = takeBlocks(f)
		return err
	case announceBlockCount:
		return takeUint(f, &a.BlockCount)
	case announceData:
		return takeBytes(f, &a.Data)
	case announceBelow:
		return takeUint(f, &a.Below)
	case announceDifference:
		a.Difference = new(Difference)
		return takeMessage(f, a.Difference.field)
	}
	return nil
}

func (a *Announcement) check() error {
	if err := checkPath(a.Path); err != nil {
		return err
	}
	switch {
	case a.Entry == nil:
		return malformed("announcement of %.200q without entry", a.Path)
	case len(a.Entry.Xattrs) > 0 && len(a.Entry.Append(nil)) > merkle.MaxEntry: // nothing else makes it so large
		return malformed("entry of %.200q larger than %d bytes", a.Path, merkle.MaxEntry)
	case len(a.Blocks) > MaxBlocks:
		return malformed("%d blocks in the announcement of %.200q", len(a.Blocks), a.Path)
	case len(a.Blocks) > 0 && a.BlockCount != 0 && a.BlockCount != uint64(len(a.Blocks)):
		return malformed("%d blocks, not %d, in the announcement of %.200q", len(a.Blocks), a.BlockCount, a.Path)
	case len(a.Data) > MaxInline:
		return malformed("%d bytes of content in the announcement of %.200q", len(a.Data), a.Path)
	case a.Difference != nil:
		return a.Difference.check()
	}
	return nil
}

// SplitAnnouncements yields list in messages whose frames have at most maxBytes, save where one announcement alone has
// more. The messages alias list.
func SplitAnnouncements(list []Announcement, maxBytes int) iter.Seq[*Announcements] {
	const envelope = 16 // bytes around the messages and around each, at most
	return func(yield func(*Announcements) bool) {
		var scratch []byte
		start, size := 0, envelope
		for i := range list {
			scratch = list[i].append(scratch[:0])
			n := len(scratch) + envelope
			if i > start && size+n > maxBytes {
				if !yield(&Announcements{list[start:i:i]}) {
					return
				}
				start, size = i, envelope
			}
			size += n
		}
		if start < len(list) {
			yield(&Announcements{list[start:]})
		}
	}
}

func (m *Move) kind() Kind { return KindMove }

func (m *Move) append(b []byte) []byte {
	b = merkle.AppendUint(b, moveSeq, m.Seq)
	b = merkle.AppendBytes(b, moveFrom, m.From)
	b = merkle.AppendBytes(b, moveTo, m.To)
	b = appendArray(b, moveState, m.State[:])
	b = appendArray(b, moveAuthor, m.Author[:])
	b = merkle.AppendUint(b, moveStamp, uint64(m.Stamp))
	b = merkle.AppendUint(b, moveGeneration, m.Token.Generation)
	b = merkle.AppendUint(b, moveIndex, m.Token.Index)
	return appendArray(b, moveStood, m.Stood[:])
}

func (m *Move) field(f merkle.Field) error {
	switch f.Number {
	case moveSeq:
		return takeUint(f, &m.Seq)
	case moveFrom:
		return takeString(f, &m.From)
	case moveTo:
		return takeString(f, &m.To)
	case moveState:
		return takeArray(f, m.State[:])
	case moveAuthor:
		return takeArray(f, m.Author[:])
	case moveStamp:
		return takeUint(f, &m.Stamp)
	case moveGeneration:
		return takeUint(f, &m.Token.Generation)
	case moveIndex:
		return takeUint(f, &m.Token.Index)
	case moveStood:
		return takeArray(f, m.Stood[:])
	}
	return nil
}

func (m *Move) check() error {
	if err := checkPath(m.From); err != nil {
		return err
	}
	if m.Stamp == 0 {
		return malformed("move of %.200q without stamp", m.From)
	}
	return checkPath(m.To)
}

func (m *RemoveAll) kind() Kind { return KindRemoveAll }

func (m *RemoveAll) append(b []byte) []byte {
	move := Move{Seq: m.Seq, From: m.Path, State: m.State, Author: m.Author, Stamp: m.Stamp, Token: m.Token}
	return move.append(b)
}

func (m *RemoveAll) field(f merkle.Field) error {
	if f.Number == moveTo || f.Number == moveStood {
		return nil
	}
	move := Move{Seq: m.Seq, From: m.Path, State: m.State, Author: m.Author, Stamp: m.Stamp, Token: m.Token}
	err := move.field(f)
	*m = RemoveAll{move.Seq, move.From, move.State, move.Author, move.Stamp, move.Token}
	return err
}

func (m *RemoveAll) check() error {
	if m.Stamp == 0 {
		return malformed("removal of %.200q without stamp", m.Path)
	}
	return checkPath(m.Path)
}

func (m *Expand) kind() Kind { return KindExpand }

func (m *Expand) append(b []byte) []byte { return merkle.AppendUint(b, expandSeq, m.Seq) }

func (m *Expand) field(f merkle.Field) error {
	if f.Number == expandSeq {
		return takeUint(f, &m.Seq)
	}
	return nil
}

func (m *Expand) check() error { return nil }

func (m *Ack) kind() Kind { return KindAck }

func (m *Ack) append(b []byte) []byte {
	if len(m.Seqs) == 0 {
		return b
	}
	return appendMessage(b, ackSeqs, func(b []byte) []byte {
		for _, seq := range m.Seqs {
			b = protowire.AppendVarint(b, seq)
		}
		return b
	})
}

func (m *Ack) field(f merkle.Field) error {
	if f.Number != ackSeqs {
		return nil
	}
	for b := f.Bytes; len(b) > 0; {
		seq, n := protowire.ConsumeVarint(b)
		if n < 0 || len(m.Seqs) == MaxAcks {
			return malformed("number cut short, or more than %d of them", MaxAcks)
		}
		m.Seqs, b = append(m.Seqs, seq), b[n:]
	}
	return expect(f, protowire.BytesType)
}

func (m *Ack) check() error {
	if len(m.Seqs) > MaxAcks {
		return malformed("%d numbers", len(m.Seqs))
	}
	return nil
}
