package merkle

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// A Field is one field of a protobuf message: Uint holds a varint or fixed value, Bytes whatever has a length.
type Field struct {
	Number protowire.Number
	Type   protowire.Type
	Uint   uint64
	Bytes  []byte // aliases the message
	Raw    []byte // the whole field, tag and all; aliases the message
}

// Fields calls each with every field of the protobuf message b, in order. Fields of number 0 or of the group types,
// and truncated ones, are errors; which numbers are known is left to each. (https://protobuf.dev/programming-guides/encoding)
func Fields(b []byte, each func(Field) error) error {
	for len(b) > 0 {
		f, n := nextField(b)
		if n < 0 {
			return fmt.Errorf("protobuf field: %w: %w", protowire.ParseError(n), ErrFormat)
		}
		if err := each(f); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func nextField(b []byte) (f Field, n int) {
	number, typ, n := protowire.ConsumeTag(b)
	if n < 0 {
		return f, n
	}
	f.Number, f.Type = number, typ
	var m int
	switch typ {
	case protowire.VarintType:
		f.Uint, m = protowire.ConsumeVarint(b[n:])
	case protowire.Fixed64Type:
		f.Uint, m = protowire.ConsumeFixed64(b[n:])
	case protowire.Fixed32Type:
		var u uint32
		u, m = protowire.ConsumeFixed32(b[n:])
		f.Uint = uint64(u)
	case protowire.BytesType:
		f.Bytes, m = protowire.ConsumeBytes(b[n:])
	default:
		return f, -1
	}
	if m < 0 {
		return f, m
	}
	f.Raw = b[:n+m]
	return f, n + m
}

// AppendUint appends a varint field, or nothing where u is 0, as proto3 does.
func AppendUint(b []byte, num protowire.Number, u uint64) []byte {
	if u == 0 {
		return b
	}
	b = protowire.AppendTag(b, num, protowire.VarintType)
	return protowire.AppendVarint(b, u)
}

// AppendBytes appends a field of bytes, or nothing where v is empty, as proto3 does.
func AppendBytes[T ~string | ~[]byte](b []byte, num protowire.Number, v T) []byte {
	if len(v) == 0 {
		return b
	}
	b = protowire.AppendTag(b, num, protowire.BytesType)
	return append(protowire.AppendVarint(b, uint64(len(v))), v...)
}
