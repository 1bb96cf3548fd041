package locking

import (
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// A field is one field of a protobuf message: uint holds a varint, text what has a length. text is a piece of the string that
// is decoded.
type field struct {
	number protowire.Number
	typ    protowire.Type
	uint   uint64
	text   string
}

// fields calls each with the fields of b in order. Groups and truncated fields are refused; unknown numbers are each's business.
func fields(b string, each func(field) error) error {
	for len(b) > 0 {
		f, n := nextField(b)
		if n < 0 {
			return malformed("protobuf field: %v", protowire.ParseError(n))
		}
		b = b[n:]
		if err := each(f); err != nil {
			return err
		}
	}
	return nil
}

// nextField is protowire's for a string, so that what is decoded needs no copy of its own.
func nextField(b string) (f field, n int) {
	tag, n := uvarint(b)
	if n < 0 {
		return f, n
	}
	f.number, f.typ = protowire.DecodeTag(tag)
	if f.number < protowire.MinValidNumber || tag>>3 > uint64(protowire.MaxValidNumber) {
		return f, -1
	}
	m := 0
	switch f.typ {
	case protowire.VarintType:
		f.uint, m = uvarint(b[n:])
	case protowire.BytesType:
		var size uint64
		if size, m = uvarint(b[n:]); m > 0 {
			if size > uint64(len(b)-n-m) {
				return f, -1
			}
			f.text = b[n+m : n+m+int(size)]
			m += int(size)
		}
	case protowire.Fixed32Type:
		m = fixed(b[n:], 4)
	case protowire.Fixed64Type:
		m = fixed(b[n:], 8)
	default:
		return f, -1
	}
	if m < 0 {
		return f, m
	}
	return f, n + m
}

func fixed(b string, size int) int {
	if len(b) < size {
		return -1
	}
	return size
}

func uvarint(b string) (v uint64, n int) {
	for i := 0; i < len(b) && i < 10; i++ {
		c := b[i]
		if i == 9 && c > 1 {
			return 0, -1
		}
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			return v, i + 1
		}
	}
	return 0, -1
}

// appendUint appends a varint field, or nothing where u is 0, as proto3 does.
func appendUint(b []byte, num protowire.Number, u uint64) []byte {
	if u == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), u)
}

func appendBool(b []byte, num protowire.Number, v bool) []byte {
	if !v {
		return b
	}
	return appendUint(b, num, 1)
}

// appendDuration appends d in milliseconds.
func appendDuration(b []byte, num protowire.Number, d time.Duration) []byte {
	return appendUint(b, num, uint64(max(d, 0)/time.Millisecond))
}

// appendText appends a field of bytes, or nothing where v is empty.
func appendText[T ~string | ~[]byte](b []byte, num protowire.Number, v T) []byte {
	if len(v) == 0 {
		return b
	}
	return appendAny(b, num, v)
}

func appendAny[T ~string | ~[]byte](b []byte, num protowire.Number, v T) []byte {
	b = protowire.AppendVarint(protowire.AppendTag(b, num, protowire.BytesType), uint64(len(v)))
	return append(b, v...)
}

// appendID appends an ID, or nothing where all of it is 0.
func appendID[T ~[16]byte](b []byte, num protowire.Number, v T) []byte {
	if v == (T{}) {
		return b
	}
	id := [16]byte(v)
	return appendAny(b, num, id[:])
}

// appendMessage appends a field whose bytes are what body appends; also where that is nothing.
func appendMessage(b []byte, num protowire.Number, body func([]byte) []byte) []byte {
	return appendAny(b, num, body(nil))
}

// appendScopes appends each scope as a field whose number tells its kind: first for one path, then a tree, then a name.
func appendScopes(b []byte, first protowire.Number, scopes ...Scope) []byte {
	for _, s := range scopes {
		b = appendAny(b, first+protowire.Number(s.Kind)-1, s.Path)
	}
	return b
}

func (f field) expect(t protowire.Type) error {
	if f.typ != t {
		return malformed("field %d of wire type %d, not %d", f.number, f.typ, t)
	}
	return nil
}

func takeUint[T ~uint8 | ~uint32 | ~uint64](f field, to *T) error {
	*to = T(f.uint)
	if uint64(*to) != f.uint {
		return malformed("field %d: %d is out of range", f.number, f.uint)
	}
	return f.expect(protowire.VarintType)
}

func takeBool(f field, to *bool) error {
	*to = f.uint != 0
	return f.expect(protowire.VarintType)
}

const maxMillis = uint64(1 << 62 / time.Millisecond)

func takeDuration(f field, to *time.Duration) error {
	if f.uint > maxMillis {
		return malformed("field %d: %d ms", f.number, f.uint)
	}
	*to = time.Duration(f.uint) * time.Millisecond
	return f.expect(protowire.VarintType)
}

func takeText(f field, to *string) error {
	*to = f.text
	return f.expect(protowire.BytesType)
}

func takeID[T ~[16]byte](f field, to *T) error {
	var id [16]byte
	if copy(id[:], f.text); len(f.text) != len(id) {
		return malformed("field %d of %d bytes, not %d", f.number, len(f.text), len(id))
	}
	*to = T(id)
	return f.expect(protowire.BytesType)
}

// takeScope appends the scope in f to scopes, of which there may be limit; first is as in appendScopes.
func takeScope(f field, first protowire.Number, scopes *[]Scope, limit int) error {
	if len(*scopes) == limit {
		return malformed("more than %d scopes", limit)
	}
	if n := len(*scopes); n == cap(*scopes) {
		*scopes = slices.Grow(*scopes, n+1) // a batch has thousands, and append would copy each of them four times
	}
	*scopes = append(*scopes, Scope{ScopeKind(f.number - first + 1), f.text})
	return f.expect(protowire.BytesType)
}

// takeMessage decodes the message in f, field by field.
func takeMessage(f field, each func(field) error) error {
	if err := f.expect(protowire.BytesType); err != nil {
		return err
	}
	return fields(f.text, each)
}

// Fields of a token, a session and a version left behind, wherever these are messages in others; part of the format.
const (
	tokenGeneration = 1 // varint
	tokenIndex      = 2 // varint

	sessionNode  = 1 // bytes, 16
	sessionEpoch = 2 // varint

	leftScope   = 1 // bytes: one path; 2: a tree; 3: a name
	leftVersion = 4 // bytes
	leftToken   = 5 // message: token
)

func appendToken(b []byte, num protowire.Number, t Token) []byte {
	if t == (Token{}) {
		return b
	}
	return appendMessage(b, num, func(b []byte) []byte {
		return appendUint(appendUint(b, tokenGeneration, t.Generation), tokenIndex, t.Index)
	})
}

func takeToken(f field, to *Token) error {
	return takeMessage(f, func(f field) error {
		switch f.number {
		case tokenGeneration:
			return takeUint(f, &to.Generation)
		case tokenIndex:
			return takeUint(f, &to.Index)
		}
		return nil
	})
}

func appendSession(b []byte, num protowire.Number, s Session) []byte {
	return appendMessage(b, num, func(b []byte) []byte {
		return appendUint(appendID(b, sessionNode, s.Node), sessionEpoch, s.Epoch)
	})
}

func takeSession(f field, to *Session) error {
	return takeMessage(f, func(f field) error {
		switch f.number {
		case sessionNode:
			return takeID(f, &to.Node)
		case sessionEpoch:
			return takeUint(f, &to.Epoch)
		}
		return nil
	})
}

func appendLeft(b []byte, num protowire.Number, l Left) []byte {
	return appendMessage(b, num, func(b []byte) []byte {
		b = appendScopes(b, leftScope, l.Scope)
		return appendToken(appendText(b, leftVersion, l.Version), leftToken, l.Token)
	})
}

func takeLeft(f field, to *[]Left, limit int) error {
	if len(*to) == limit {
		return malformed("more than %d versions", limit)
	}
	var l Left
	err := takeMessage(f, func(f field) error {
		switch f.number {
		case leftScope, leftScope + 1, leftScope + 2:
			l.Scope = Scope{ScopeKind(f.number - leftScope + 1), f.text}
			return f.expect(protowire.BytesType)
		case leftVersion:
			return takeText(f, &l.Version)
		case leftToken:
			return takeToken(f, &l.Token)
		}
		return nil
	})
	*to = append(*to, l)
	return err
}
