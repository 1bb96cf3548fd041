package syncproto

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"resonate/merkle"
)

// A Kind says which message a frame holds: the number of the one field of its envelope.
type Kind protowire.Number

// The kinds of messages. Their numbers are part of the format; those from 32 on belong to block streams.
const (
	KindHello         Kind = 1
	KindAccept        Kind = 2
	KindAnnouncements Kind = 3
	KindMove          Kind = 4
	KindRemoveAll     Kind = 5
	KindExpand        Kind = 6
	KindAck           Kind = 7
	KindRoot          Kind = 8
	KindAskLevels     Kind = 9
	KindLevels        Kind = 10
	KindAskEntries    Kind = 11
	KindAskSubtrees   Kind = 12
	KindBye           Kind = 13
	KindOffer         Kind = 14
	KindMembers       Kind = 15
	KindBarrier       Kind = 16

	KindListRequest  Kind = 32
	KindListReply    Kind = 33
	KindBlockRequest Kind = 34
	KindBlockReply   Kind = 35
)

var kindNames = map[Kind]string{
	KindHello: "hello", KindAccept: "accept", KindAnnouncements: "announcements", KindMove: "move",
	KindRemoveAll: "remove all", KindExpand: "expand", KindAck: "ack", KindRoot: "root", KindAskLevels: "ask levels",
	KindLevels: "levels", KindAskEntries: "ask entries", KindAskSubtrees: "ask subtrees", KindBye: "bye", KindOffer: "offer",
	KindMembers: "members", KindBarrier: "barrier",
	KindListRequest: "list request", KindListReply: "list reply",
	KindBlockRequest: "block request", KindBlockReply: "block reply",
}

// String returns the name of k for people.
func (k Kind) String() string {
	if name, ok := kindNames[k]; ok {
		return name
	}
	return fmt.Sprintf("kind %d", int32(k))
}

// A Message is one of the structs of this package, as a pointer. It is not to be changed once sent.
type Message interface {
	kind() Kind
	append(b []byte) []byte     // the fields, encoded
	field(f merkle.Field) error // takes over one field; unknown numbers are none of its business
	check() error               // whether a peer may say so: asked before sending and after decoding
}

// An Unknown is a message of a kind that is not known here, or not on this sort of stream. It can be told and skipped.
type Unknown struct{ Kind Kind }

func (m *Unknown) kind() Kind               { return m.Kind }
func (m *Unknown) append(b []byte) []byte   { return b }
func (m *Unknown) field(merkle.Field) error { return nil }
func (m *Unknown) check() error             { return nil }

func newControl(k Kind) Message {
	switch k {
	case KindHello:
		return new(Hello)
	case KindAccept:
		return new(Accept)
	case KindAnnouncements:
		return new(Announcements)
	case KindMove:
		return new(Move)
	case KindRemoveAll:
		return new(RemoveAll)
	case KindExpand:
		return new(Expand)
	case KindAck:
		return new(Ack)
	case KindRoot:
		return new(Root)
	case KindAskLevels:
		return new(AskLevels)
	case KindLevels:
		return new(Levels)
	case KindAskEntries:
		return new(AskEntries)
	case KindAskSubtrees:
		return new(AskSubtrees)
	case KindBye:
		return new(Bye)
	case KindOffer:
		return new(Offer)
	case KindMembers:
		return new(Members)
	case KindBarrier:
		return new(Barrier)
	}
	return &Unknown{k}
}

func newBlock(k Kind) Message {
	switch k {
	case KindListRequest:
		return new(ListRequest)
	case KindListReply:
		return new(ListReply)
	case KindBlockRequest:
		return new(BlockRequest)
	case KindBlockReply:
		return new(BlockReply)
	}
	return &Unknown{k}
}

// appendFrame appends m as a frame, which may have limit bytes behind its length.
func appendFrame(b []byte, m Message, limit int) ([]byte, error) {
	if err := m.check(); err != nil {
		return b, fmt.Errorf("encode %v: %w", m.kind(), err)
	}
	start := len(b)
	b = appendMessage(b, protowire.Number(m.kind()), m.append)
	if size := len(b) - start; size > limit {
		return b[:start], &TooLong{m.kind(), uint64(size), uint64(limit)}
	}
	return insertUvarint(b, start), nil
}

// decode reads the envelope of a frame and the message in it, which fresh makes for a kind.
func decode(frame []byte, fresh func(Kind) Message) (Message, error) {
	var m Message
	var body []byte
	err := merkle.Fields(frame, func(f merkle.Field) error {
		if m != nil {
			return malformed("envelope of two fields")
		}
		m, body = fresh(Kind(f.Number)), f.Bytes
		return expect(f, protowire.BytesType)
	})
	if err == nil && m == nil {
		err = malformed("empty envelope")
	}
	if err != nil {
		return nil, fmt.Errorf("decode frame: %w", err)
	}
	if _, unknown := m.(*Unknown); unknown {
		return m, nil
	}
	if err := merkle.Fields(body, m.field); err != nil {
		return nil, fmt.Errorf("decode %v: %w", m.kind(), err)
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("decode %v: %w", m.kind(), err)
	}
	return m, nil
}
