package syncproto

import (
	"strings"

	"resonate/merkle"
)

// A FolderID names a folder.
type FolderID [16]byte

// A Hello is the first message of either side.
type Hello struct {
	Protocol uint32
	Node     merkle.NodeID
	Instance [16]byte // drawn at every start: two of one node are two live instances of one key
	Name     string   // for people, at most MaxText bytes
	Software string   // for people, at most MaxText bytes
	Folder   FolderID
	Shared   bool         // whether Folder is final
	SharedAt int64        // seconds since 1970
	Highest  merkle.Stamp // the highest stamp seen of the receiver
	Members  []Known
	Horizon  merkle.Vector
	Root     merkle.Hash

	SendsOnly bool // the sender takes nothing: it need not be told of changes
}

// A Known is what a member is known to have seen.
type Known struct {
	Node merkle.NodeID
	Seen merkle.Vector
}

// An Accept confirms the folder ID that follows from both hellos.
type Accept struct{ Folder FolderID }

// A Root tells what the tree of the sender has come to, and what the members have seen.
type Root struct {
	State, Content merkle.Hash
	Members        []Known
	Horizon        merkle.Vector
}

// A Bye is the last message of a side that leaves. A Reason of more than MaxReason bytes is cut when sent.
type Bye struct{ Reason string }

// Field numbers; part of the format.
const (
	helloProtocol = 1
	helloNode     = 2
	helloInstance = 3
	helloName     = 4
	helloSoftware = 5
	helloFolder   = 6
	helloShared   = 7
	helloSharedAt = 8
	helloHighest  = 9
	helloMember   = 10 // repeated message
	helloHorizon  = 11 // repeated component
	helloRoot     = 12

	helloSendsOnly = 13

	knownNode = 1
	knownSeen = 2 // repeated component

	acceptFolder = 1

	rootState   = 1
	rootContent = 2
	rootMember  = 3 // repeated message
	rootHorizon = 4 // repeated component

	byeReason = 1
)

func (m *Hello) kind() Kind { return KindHello }

func (m *Hello) append(b []byte) []byte {
	b = merkle.AppendUint(b, helloProtocol, uint64(m.Protocol))
	b = appendArray(b, helloNode, m.Node[:])
	b = appendArray(b, helloInstance, m.Instance[:])
	b = merkle.AppendBytes(b, helloName, m.Name)
	b = merkle.AppendBytes(b, helloSoftware, m.Software)
	b = appendArray(b, helloFolder, m.Folder[:])
	b = appendBool(b, helloShared, m.Shared)
	b = merkle.AppendUint(b, helloSharedAt, uint64(m.SharedAt))
	b = merkle.AppendUint(b, helloHighest, uint64(m.Highest))
	for i := range m.Members {
		b = appendMessage(b, helloMember, m.Members[i].append)
	}
	b = merkle.AppendVector(b, helloHorizon, m.Horizon)
	b = appendArray(b, helloRoot, m.Root[:])
	return appendBool(b, helloSendsOnly, m.SendsOnly)
}

func (m *Hello) field(f merkle.Field) error {
	switch f.Number {
	case helloProtocol:
		return takeUint(f, &m.Protocol)
	case helloNode:
		return takeArray(f, m.Node[:])
	case helloInstance:
		return takeArray(f, m.Instance[:])
	case helloName:
		return takeString(f, &m.Name)
	case helloSoftware:
		return takeString(f, &m.Software)
	case helloFolder:
		return takeArray(f, m.Folder[:])
	case helloShared:
		return takeBool(f, &m.Shared)
	case helloSharedAt:
		return takeUint(f, &m.SharedAt)
	case helloHighest:
		return takeUint(f, &m.Highest)
	case helloMember:
		return takeKnown(f, &m.Members)
	case helloHorizon:
		return takeVector(f, &m.Horizon)
	case helloRoot:
		return takeArray(f, m.Root[:])
	case helloSendsOnly:
		return takeBool(f, &m.SendsOnly)
	}
	return nil
}

func (m *Hello) check() error {
	switch {
	case m.Node.IsZero():
		return malformed("hello of no node")
	case len(m.Name) > MaxText || len(m.Software) > MaxText:
		return malformed("name or software of more than %d bytes", MaxText)
	}
	return checkKnown(m.Members)
}

func (k *Known) append(b []byte) []byte {
	b = appendArray(b, knownNode, k.Node[:])
	return merkle.AppendVector(b, knownSeen, k.Seen)
}

func takeKnown(f merkle.Field, to *[]Known) error {
	var k Known
	err := takeMessage(f, func(f merkle.Field) error {
		switch f.Number {
		case knownNode:
			return takeArray(f, k.Node[:])
		case knownSeen:
			return takeVector(f, &k.Seen)
		}
		return nil
	})
	if err == nil && k.Node.IsZero() {
		err = malformed("member without ID")
	}
	*to = append(*to, k)
	return err
}

func checkKnown(members []Known) error {
	for _, k := range members {
		if k.Node.IsZero() {
			return malformed("member without ID")
		}
	}
	return nil
}

func (m *Accept) kind() Kind { return KindAccept }

func (m *Accept) append(b []byte) []byte { return appendArray(b, acceptFolder, m.Folder[:]) }

func (m *Accept) field(f merkle.Field) error {
	if f.Number == acceptFolder {
		return takeArray(f, m.Folder[:])
	}
	return nil
}

func (m *Accept) check() error { return nil }

func (m *Root) kind() Kind { return KindRoot }

func (m *Root) append(b []byte) []byte {
	b = appendArray(b, rootState, m.State[:])
	b = appendArray(b, rootContent, m.Content[:])
	for i := range m.Members {
		b = appendMessage(b, rootMember, m.Members[i].append)
	}
	return merkle.AppendVector(b, rootHorizon, m.Horizon)
}

func (m *Root) field(f merkle.Field) error {
	switch f.Number {
	case rootState:
		return takeArray(f, m.State[:])
	case rootContent:
		return takeArray(f, m.Content[:])
	case rootMember:
		return takeKnown(f, &m.Members)
	case rootHorizon:
		return takeVector(f, &m.Horizon)
	}
	return nil
}

func (m *Root) check() error { return checkKnown(m.Members) }

func (m *Bye) kind() Kind { return KindBye }

func (m *Bye) append(b []byte) []byte {
	reason := m.Reason
	if len(reason) > MaxReason {
		reason = strings.ToValidUTF8(reason[:MaxReason], "")
	}
	return merkle.AppendBytes(b, byeReason, reason)
}

func (m *Bye) field(f merkle.Field) error {
	if f.Number != byeReason {
		return nil
	}
	if len(f.Bytes) > MaxReason {
		return malformed("reason of %d bytes", len(f.Bytes))
	}
	return takeString(f, &m.Reason)
}

func (m *Bye) check() error { return nil }
