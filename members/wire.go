package members

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// A field is one field of a protobuf message: uint holds a varint, bytes what has a length and aliases the message.
type field struct {
	number protowire.Number
	typ    protowire.Type
	uint   uint64
	bytes  []byte
}

// A shape tells the wire types of a message's known fields.
type shape struct {
	types    []protowire.Type // of the fields 1, 2, 3 ...
	repeated uint64           // bit n: field n may come more than once
}

const (
	varint = protowire.VarintType
	length = protowire.BytesType
)

// fields calls each with the known fields of b, in order, and returns a bit for each of them that is there. It is strict
// about known fields and skips the others, save groups.
func (s shape) fields(b []byte, each func(field) error) (met uint64, err error) {
	for len(b) > 0 {
		f, n := nextField(b)
		if n < 0 {
			return met, fmt.Errorf("protobuf field: %w: %w", protowire.ParseError(n), ErrFormat)
		}
		b = b[n:]
		if int(f.number) > len(s.types) {
			continue
		}
		bit := uint64(1) << f.number
		if f.typ != s.types[f.number-1] || met&bit&^s.repeated != 0 {
			return met, fmt.Errorf("field %d of wrong type or repeated: %w", f.number, ErrFormat)
		}
		met |= bit
		if err := each(f); err != nil {
			return met, err
		}
	}
	return met, nil
}

func nextField(b []byte) (f field, n int) {
	number, typ, n := protowire.ConsumeTag(b)
	if n < 0 {
		return f, n
	}
	f.number, f.typ = number, typ
	var m int
	switch typ {
	case protowire.VarintType:
		f.uint, m = protowire.ConsumeVarint(b[n:])
	case protowire.BytesType:
		f.bytes, m = protowire.ConsumeBytes(b[n:])
	case protowire.Fixed32Type, protowire.Fixed64Type:
		m = protowire.ConsumeFieldValue(number, typ, b[n:])
	default:
		return f, -1
	}
	if m < 0 {
		return f, m
	}
	return f, n + m
}

// appendUint appends a varint field, or nothing where u is 0, as proto3 does.
func appendUint(b []byte, num protowire.Number, u uint64) []byte {
	if u == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, num, varint), u)
}

// appendBytes appends a field of bytes, or nothing where v is empty, as proto3 does.
func appendBytes[T ~string | ~[]byte](b []byte, num protowire.Number, v T) []byte {
	if len(v) == 0 {
		return b
	}
	b = protowire.AppendVarint(protowire.AppendTag(b, num, length), uint64(len(v)))
	return append(b, v...)
}
