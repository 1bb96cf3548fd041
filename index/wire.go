package index

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"google.golang.org/protobuf/encoding/protowire"

	"resonate/merkle"
)

// A shape tells the wire types of a message's known fields.
type shape struct {
	types    []protowire.Type // of the fields 1, 2, 3 ...
	repeated uint64           // bit n: field n may come more than once
}

const (
	varint = protowire.VarintType
	fixed  = protowire.Fixed64Type
	length = protowire.BytesType
)

// fields calls each with the known fields of b. It is strict about them, and skips unknown ones.
func (s shape) fields(b []byte, each func(merkle.Field) error) error {
	var met uint64
	return merkle.Fields(b, func(f merkle.Field) error {
		n := int(f.Number)
		if n > len(s.types) {
			return nil
		}
		bit := uint64(1) << n
		if f.Type != s.types[n-1] || met&bit&^s.repeated != 0 {
			return fmt.Errorf("field %d of wrong type or repeated: %w", n, merkle.ErrFormat)
		}
		met |= bit
		return each(f)
	})
}

// appendFixed appends a fixed64 field in two's complement, or nothing where v is 0.
func appendFixed(b []byte, num protowire.Number, v int64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendFixed64(protowire.AppendTag(b, num, fixed), uint64(v))
}

func appendBool(b []byte, num protowire.Number, v bool) []byte {
	if !v {
		return b
	}
	return merkle.AppendUint(b, num, 1)
}

func setBool(v *bool, u uint64) error {
	if u > 1 {
		return fmt.Errorf("truth value %d: %w", u, merkle.ErrFormat)
	}
	*v = u == 1
	return nil
}

func appendHash(b []byte, num protowire.Number, h merkle.Hash) []byte {
	if h.IsZero() {
		return b
	}
	return merkle.AppendBytes(b, num, h[:])
}

func setHash(h *merkle.Hash, b []byte) error {
	if len(b) != merkle.HashSize {
		return fmt.Errorf("hash of %d bytes: %w", len(b), merkle.ErrFormat)
	}
	*h = merkle.Hash(b)
	return nil
}

func setNode(n *merkle.NodeID, b []byte) error {
	if len(b) != merkle.NodeIDSize {
		return fmt.Errorf("node ID of %d bytes: %w", len(b), merkle.ErrFormat)
	}
	*n = merkle.NodeID(b)
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sealSize is the length of the checksum before a value.
const sealSize = 4

// unsealed returns room for a value that seal will complete; the message is appended to it.
func unsealed(size int) []byte { return make([]byte, sealSize, sealSize+size) }

// seal writes the checksum over key and message to the front of value, and returns value.
func seal(key, value []byte) []byte {
	binary.LittleEndian.PutUint32(value, checksum(key, value[sealSize:]))
	return value
}

// unseal returns the message in value; it aliases value.
func unseal(key, value []byte) ([]byte, error) {
	if len(value) < sealSize || binary.LittleEndian.Uint32(value) != checksum(key, value[sealSize:]) {
		return nil, fmt.Errorf("%w: value of key %q has a wrong checksum", ErrDamaged, key[:min(len(key), 300)])
	}
	return value[sealSize:], nil
}

func checksum(key, message []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, message)
}
