package syncproto

import (
	"encoding/binary"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"resonate/merkle"
)

// appendMessage appends a field whose bytes are what body appends; unlike merkle.AppendBytes also where that is
// nothing, since an empty message is one.
func appendMessage(b []byte, num protowire.Number, body func([]byte) []byte) []byte {
	b = protowire.AppendTag(b, num, protowire.BytesType)
	start := len(b)
	return insertUvarint(body(b), start)
}

// insertUvarint puts the number of bytes that follow start in front of them.
func insertUvarint(b []byte, start int) []byte {
	var size [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(size[:], uint64(len(b)-start))
	return slices.Insert(b, start, size[:n]...)
}

// appendArray appends a field of bytes, or nothing where all of them are 0.
func appendArray(b []byte, num protowire.Number, v []byte) []byte {
	if !slices.ContainsFunc(v, func(c byte) bool { return c != 0 }) {
		return b
	}
	return merkle.AppendBytes(b, num, v)
}

// appendFixed appends a fixed64 field in two's complement, or nothing where v is 0.
func appendFixed(b []byte, num protowire.Number, v int64) []byte {
	if v == 0 {
		return b
	}
	b = protowire.AppendTag(b, num, protowire.Fixed64Type)
	return protowire.AppendFixed64(b, uint64(v))
}

func appendBool(b []byte, num protowire.Number, v bool) []byte {
	if !v {
		return b
	}
	return merkle.AppendUint(b, num, 1)
}

func expect(f merkle.Field, t protowire.Type) error {
	if f.Type != t {
		return malformed("field %d of wire type %d, not %d", f.Number, f.Type, t)
	}
	return nil
}

func takeUint[T ~uint8 | ~uint32 | ~uint64 | ~int64](f merkle.Field, to *T) error {
	*to = T(f.Uint)
	if uint64(*to) != f.Uint {
		return malformed("field %d: %d is out of range", f.Number, f.Uint)
	}
	return expect(f, protowire.VarintType)
}

func takeBool(f merkle.Field, to *bool) error {
	*to = f.Uint != 0
	return expect(f, protowire.VarintType)
}

func takeFixed(f merkle.Field, to *int64) error {
	*to = int64(f.Uint)
	return expect(f, protowire.Fixed64Type)
}

// takeArray fills all of to.
func takeArray(f merkle.Field, to []byte) error {
	if len(f.Bytes) != len(to) {
		return malformed("field %d of %d bytes, not %d", f.Number, len(f.Bytes), len(to))
	}
	copy(to, f.Bytes)
	return expect(f, protowire.BytesType)
}

func takeString(f merkle.Field, to *string) error {
	*to = string(f.Bytes)
	return expect(f, protowire.BytesType)
}

func takeBytes(f merkle.Field, to *[]byte) error {
	*to = append([]byte(nil), f.Bytes...) // nil also where the field is there and empty: one form for one meaning
	return expect(f, protowire.BytesType)
}

func takeVector(f merkle.Field, to *merkle.Vector) (err error) {
	*to, err = merkle.AddComponent(*to, f.Bytes)
	return err
}

// takeMessage decodes the message in f, field by field.
func takeMessage(f merkle.Field, each func(merkle.Field) error) error {
	if err := expect(f, protowire.BytesType); err != nil {
		return err
	}
	return merkle.Fields(f.Bytes, each)
}

func checkPath(path string) error {
	switch {
	case path == "":
		return malformed("empty path")
	case len(path) > MaxPath:
		return malformed("path of %d bytes", len(path))
	case strings.IndexByte(path, 0) >= 0:
		return malformed("path %.200q with a NUL", path)
	}
	return nil
}
