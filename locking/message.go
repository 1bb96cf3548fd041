package locking

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// A Message goes between a node's Holder and the leader's Keeper: one of the structs below, as a pointer. It is the field of its
// kind's number in a protobuf message that has no other. Messages may be lost, come twice or come late; what has to arrive is said
// again until it is answered.
type Message interface {
	messageKind() messageKind
	append(b []byte) []byte
	field(f field) error
}

type messageKind protowire.Number

// The kinds of messages. Their numbers are part of the format.
const (
	kindRequest   messageKind = 1
	kindKeepAlive messageKind = 2
	kindRenew     messageKind = 3

	kindAnswer  messageKind = 16
	kindAlive   messageKind = 17
	kindRenewed messageKind = 18
	kindTold    messageKind = 19
	kindGone    messageKind = 20
	kindRecall  messageKind = 21
	kindState   messageKind = 22
)

// MaxMessage is the longest message in bytes.
const MaxMessage = MaxResult + 4096

// A Request asks the leader to put a command into the log.
type Request struct {
	Number  uint64 // of the holder's messages; the same when it is sent again
	Command []byte
}

// An Answer is what came of a Request.
type Answer struct {
	Number uint64
	Index  uint64 // of the log, at which this was so
	Result []byte
}

// A KeepAlive says that a node is there.
type KeepAlive struct {
	Number  uint64
	Session Session
	Digest  uint64 // over the claims that the node believes it has
}

// An Alive answers a KeepAlive: from when that was sent, the session will not be ended for its length.
type Alive struct {
	Number  uint64
	Session Session
	Over    bool // there is no such session
}

// A Renew begins a claim's TTL anew, or another one.
type Renew struct {
	Number  uint64
	Request RequestID
	TTL     time.Duration // 0: as it was
}

// A Renewed answers a Renew.
type Renewed struct {
	Number  uint64
	Request RequestID
	TTL     time.Duration // from when the Renew was sent; 0: it is not held
}

// A Told says that a claim was granted after a wait, or begins to wait, or is so still.
type Told struct {
	Request   RequestID
	Index     uint64 // of the log, at which this was so
	Number    uint64 // the last message of the holder that came before
	Remaining time.Duration
	Result    []byte
}

// A Gone says that a claim ended otherwise than by its holder's End.
type Gone struct {
	Request RequestID
	Token   Token // of what was held; zero: it waited
	Cause   Cause
	By      string // of Forced: who did it, and why
}

// A Recall asks for parts of a delegation back.
type Recall struct {
	Request RequestID
	Token   Token
	Needed  []Scope
}

// A State lists all claims of a node, for one whose digest differs.
type State struct {
	Session Session
	Index   uint64
	Claims  []ClaimState
}

// A ClaimState is one claim in a State.
type ClaimState struct {
	Request RequestID
	Token   Token   // zero: it waits
	Free    []Scope // the scopes of a free claim, which the node may not know any more; as many as have room
}

const (
	maxNeeded     = 64
	maxStateBytes = 256 << 10 // of the scopes of free claims
)

// Field numbers; part of the format.
const (
	numberField = 1 // varint, in all that have it

	requestCommand = 2 // bytes

	answerIndex  = 2 // varint
	answerResult = 3 // bytes

	keepAliveSession = 2 // message: session
	keepAliveDigest  = 3 // varint

	aliveSession = 2 // message: session
	aliveOver    = 3 // varint, 0 or 1

	renewRequest = 2 // bytes, 16
	renewedTTL   = 3 // varint, ms; of both

	toldRequest   = 2 // bytes, 16
	toldIndex     = 3 // varint
	toldRemaining = 4 // varint, ms
	toldResult    = 5 // bytes

	goneRequest = 2 // bytes, 16
	goneToken   = 3 // message: token
	goneCause   = 4 // varint
	goneBy      = 5 // bytes

	recallRequest = 2 // bytes, 16
	recallToken   = 3 // message: token
	recallNeeded  = 4 // repeated bytes: one path; 5: a tree; 6: a name

	stateSession = 2 // message: session
	stateIndex   = 3 // varint
	stateClaim   = 4 // repeated message

	stateRequest = 1 // bytes, 16
	stateToken   = 2 // message: token
	stateFree    = 3 // repeated bytes: one path; 4: a tree; 5: a name
)

func newMessage(k messageKind) Message {
	switch k {
	case kindRequest:
		return new(Request)
	case kindKeepAlive:
		return new(KeepAlive)
	case kindRenew:
		return new(Renew)
	case kindAnswer:
		return new(Answer)
	case kindAlive:
		return new(Alive)
	case kindRenewed:
		return new(Renewed)
	case kindTold:
		return new(Told)
	case kindGone:
		return new(Gone)
	case kindRecall:
		return new(Recall)
	case kindState:
		return new(State)
	}
	return nil
}

// EncodeMessage returns the bytes of m, without a length in front.
func EncodeMessage(m Message) []byte {
	return appendMessage(nil, protowire.Number(m.messageKind()), m.append)
}

// DecodeMessage reads what EncodeMessage wrote. A kind that is not known gives nil and no error: it is skipped.
func DecodeMessage(b []byte) (Message, error) {
	var m Message
	n := 0
	err := malformed("%d bytes", len(b))
	if len(b) <= MaxMessage {
		err = fields(string(b), func(f field) error {
			if n++; n > 1 {
				return malformed("two messages in one")
			}
			if m = newMessage(messageKind(f.number)); m == nil {
				return nil
			}
			return takeMessage(f, m.field)
		})
	}
	if err == nil && n == 0 {
		err = malformed("no message")
	}
	if err != nil {
		return nil, fmt.Errorf("decode lock message: %w", err)
	}
	return m, nil
}

func (m *Request) messageKind() messageKind   { return kindRequest }
func (m *KeepAlive) messageKind() messageKind { return kindKeepAlive }
func (m *Renew) messageKind() messageKind     { return kindRenew }
func (m *Answer) messageKind() messageKind    { return kindAnswer }
func (m *Alive) messageKind() messageKind     { return kindAlive }
func (m *Renewed) messageKind() messageKind   { return kindRenewed }
func (m *Told) messageKind() messageKind      { return kindTold }
func (m *Gone) messageKind() messageKind      { return kindGone }
func (m *Recall) messageKind() messageKind    { return kindRecall }
func (m *State) messageKind() messageKind     { return kindState }

func (m *Request) append(b []byte) []byte {
	return appendText(appendUint(b, numberField, m.Number), requestCommand, m.Command)
}

func (m *Request) field(f field) error {
	switch f.number {
	case numberField:
		return takeUint(f, &m.Number)
	case requestCommand:
		return takeBytes(f, &m.Command)
	}
	return nil
}

func (m *Answer) append(b []byte) []byte {
	b = appendUint(appendUint(b, numberField, m.Number), answerIndex, m.Index)
	return appendText(b, answerResult, m.Result)
}

func (m *Answer) field(f field) error {
	switch f.number {
	case numberField:
		return takeUint(f, &m.Number)
	case answerIndex:
		return takeUint(f, &m.Index)
	case answerResult:
		return takeBytes(f, &m.Result)
	}
	return nil
}

func (m *KeepAlive) append(b []byte) []byte {
	b = appendSession(appendUint(b, numberField, m.Number), keepAliveSession, m.Session)
	return appendUint(b, keepAliveDigest, m.Digest)
}

func (m *KeepAlive) field(f field) error {
	switch f.number {
	case numberField:
		return takeUint(f, &m.Number)
	case keepAliveSession:
		return takeSession(f, &m.Session)
	case keepAliveDigest:
		return takeUint(f, &m.Digest)
	}
	return nil
}

func (m *Alive) append(b []byte) []byte {
	b = appendSession(appendUint(b, numberField, m.Number), aliveSession, m.Session)
	return appendBool(b, aliveOver, m.Over)
}

func (m *Alive) field(f field) error {
	switch f.number {
	case numberField:
		return takeUint(f, &m.Number)
	case aliveSession:
		return takeSession(f, &m.Session)
	case aliveOver:
		return takeBool(f, &m.Over)
	}
	return nil
}

func (m *Renew) append(b []byte) []byte {
	b = appendID(appendUint(b, numberField, m.Number), renewRequest, m.Request)
	return appendDuration(b, renewedTTL, m.TTL)
}

func (m *Renew) field(f field) error {
	switch f.number {
	case numberField:
		return takeUint(f, &m.Number)
	case renewRequest:
		return takeID(f, &m.Request)
	case renewedTTL:
		return takeDuration(f, &m.TTL)
	}
	return nil
}

func (m *Renewed) append(b []byte) []byte {
	b = appendID(appendUint(b, numberField, m.Number), renewRequest, m.Request)
	return appendDuration(b, renewedTTL, m.TTL)
}

func (m *Renewed) field(f field) error {
	switch f.number {
	case numberField:
		return takeUint(f, &m.Number)
	case renewRequest:
		return takeID(f, &m.Request)
	case renewedTTL:
		return takeDuration(f, &m.TTL)
	}
	return nil
}

func (m *Told) append(b []byte) []byte {
	b = appendID(appendUint(b, numberField, m.Number), toldRequest, m.Request)
	b = appendUint(b, toldIndex, m.Index)
	b = appendDuration(b, toldRemaining, m.Remaining)
	return appendText(b, toldResult, m.Result)
}

func (m *Told) field(f field) error {
	switch f.number {
	case numberField:
		return takeUint(f, &m.Number)
	case toldRequest:
		return takeID(f, &m.Request)
	case toldIndex:
		return takeUint(f, &m.Index)
	case toldRemaining:
		return takeDuration(f, &m.Remaining)
	case toldResult:
		return takeBytes(f, &m.Result)
	}
	return nil
}

func (m *Gone) append(b []byte) []byte {
	b = appendToken(appendID(b, goneRequest, m.Request), goneToken, m.Token)
	return appendText(appendUint(b, goneCause, uint64(m.Cause)), goneBy, m.By)
}

func (m *Gone) field(f field) error {
	switch f.number {
	case goneRequest:
		return takeID(f, &m.Request)
	case goneToken:
		return takeToken(f, &m.Token)
	case goneCause:
		return takeUint(f, &m.Cause)
	case goneBy:
		return takeText(f, &m.By)
	}
	return nil
}

func (m *Recall) append(b []byte) []byte {
	b = appendToken(appendID(b, recallRequest, m.Request), recallToken, m.Token)
	return appendScopes(b, recallNeeded, m.Needed...)
}

func (m *Recall) field(f field) error {
	switch f.number {
	case recallRequest:
		return takeID(f, &m.Request)
	case recallToken:
		return takeToken(f, &m.Token)
	case recallNeeded, recallNeeded + 1, recallNeeded + 2:
		if err := takeScope(f, recallNeeded, &m.Needed, maxNeeded); err != nil {
			return err
		}
		return m.Needed[len(m.Needed)-1].check()
	}
	return nil
}

func (m *State) append(b []byte) []byte {
	b = appendUint(appendSession(b, stateSession, m.Session), stateIndex, m.Index)
	for _, c := range m.Claims {
		b = appendMessage(b, stateClaim, func(b []byte) []byte {
			b = appendToken(appendID(b, stateRequest, c.Request), stateToken, c.Token)
			return appendScopes(b, stateFree, c.Free...)
		})
	}
	return b
}

func (m *State) field(f field) error {
	switch f.number {
	case stateSession:
		return takeSession(f, &m.Session)
	case stateIndex:
		return takeUint(f, &m.Index)
	case stateClaim:
		if len(m.Claims) == maxNodeClaims {
			return malformed("more than %d claims", maxNodeClaims)
		}
		var c ClaimState
		err := takeMessage(f, func(f field) error {
			switch f.number {
			case stateRequest:
				return takeID(f, &c.Request)
			case stateToken:
				return takeToken(f, &c.Token)
			case stateFree, stateFree + 1, stateFree + 2:
				return takeScope(f, stateFree, &c.Free, MaxScopes)
			}
			return nil
		})
		m.Claims = append(m.Claims, c)
		return err
	}
	return nil
}

func takeBytes(f field, to *[]byte) error {
	*to = append([]byte(nil), f.text...) // nil also where the field is there and empty: one form for one meaning
	return f.expect(protowire.BytesType)
}

// digest is one claim's part of the digest over a node's claims: these parts are joined by exclusive or.
func digest(id RequestID, t Token) uint64 {
	h := uint64(14695981039346656037) // FNV-1a
	mix := func(v uint64) {
		for range 8 {
			h = (h ^ v&0xff) * 1099511628211
			v >>= 8
		}
	}
	for _, b := range id {
		h = (h ^ uint64(b)) * 1099511628211
	}
	mix(t.Generation)
	mix(t.Index)
	return h
}
