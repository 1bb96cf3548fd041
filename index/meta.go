package index

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"resonate/merkle"
)

// A Known is what a member has told that it has seen.
type Known struct {
	Node merkle.NodeID
	Seen merkle.Vector
}

// Meta is what is kept about the folder as a whole.
type Meta struct {
	Node     merkle.NodeID // whose index this is
	Boot     string        // the kernel's boot ID when the index was last opened
	Clean    bool          // the last run ended cleanly
	Reserved merkle.Stamp  // no stamp above it was ever given out
	Seen     merkle.Vector // what this node has seen
	Horizon  merkle.Vector // what every member has seen
	Members  []Known
	Format   uint32 // version of the layout; set by Commit
}

// Field numbers; part of the format. That of the format itself, and where meta lies, stay in every later format.
const (
	metaFormat   = 1 // varint
	metaNode     = 2 // bytes
	metaBoot     = 3 // bytes
	metaClean    = 4 // varint, 1
	metaReserved = 5 // varint
	metaSeen     = 6 // repeated message: a component
	metaHorizon  = 7 // repeated message: a component
	metaMember   = 8 // repeated message

	knownNode = 1 // bytes
	knownSeen = 2 // repeated message: a component
)

var (
	metaShape = shape{
		types:    []protowire.Type{varint, length, length, varint, varint, length, length, length},
		repeated: 1<<metaSeen | 1<<metaHorizon | 1<<metaMember,
	}
	knownShape = shape{types: []protowire.Type{length, length}, repeated: 1 << knownSeen}
)

func appendMeta(b []byte, m Meta) []byte {
	b = merkle.AppendUint(b, metaFormat, uint64(m.Format))
	if !m.Node.IsZero() {
		b = merkle.AppendBytes(b, metaNode, m.Node[:])
	}
	b = merkle.AppendBytes(b, metaBoot, m.Boot)
	b = appendBool(b, metaClean, m.Clean)
	b = merkle.AppendUint(b, metaReserved, uint64(m.Reserved))
	b = merkle.AppendVector(b, metaSeen, m.Seen)
	b = merkle.AppendVector(b, metaHorizon, m.Horizon)
	for _, k := range m.Members {
		known := merkle.AppendBytes(nil, knownNode, k.Node[:])
		b = merkle.AppendBytes(b, metaMember, merkle.AppendVector(known, knownSeen, k.Seen))
	}
	return b
}

// decodeMeta reads what appendMeta wrote. Of a newer format it reads nothing: ErrNewer.
func decodeMeta(b []byte) (m Meta, err error) {
	if err := checkFormat(b); err != nil {
		return m, err
	}
	err = metaShape.fields(b, func(f merkle.Field) (err error) {
		switch f.Number {
		case metaFormat:
			m.Format = uint32(f.Uint)
		case metaNode:
			err = setNode(&m.Node, f.Bytes)
		case metaBoot:
			m.Boot = string(f.Bytes)
		case metaClean:
			err = setBool(&m.Clean, f.Uint)
		case metaReserved:
			m.Reserved = merkle.Stamp(f.Uint)
		case metaSeen:
			m.Seen, err = merkle.AddComponent(m.Seen, f.Bytes)
		case metaHorizon:
			m.Horizon, err = merkle.AddComponent(m.Horizon, f.Bytes)
		case metaMember:
			var k Known
			k, err = decodeKnown(f.Bytes)
			m.Members = append(m.Members, k)
		}
		return err
	})
	return m, err
}

func checkFormat(b []byte) error {
	var found uint64
	err := merkle.Fields(b, func(f merkle.Field) error {
		if f.Number == metaFormat {
			found = f.Uint
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case found == 0 || found > math.MaxUint32:
		return fmt.Errorf("format %d: %w", found, merkle.ErrFormat)
	case found > format:
		return fmt.Errorf("%w (format %d, this one knows %d)", ErrNewer, found, format)
	}
	return nil
}

func decodeKnown(b []byte) (k Known, err error) {
	err = knownShape.fields(b, func(f merkle.Field) (err error) {
		switch f.Number {
		case knownNode:
			err = setNode(&k.Node, f.Bytes)
		case knownSeen:
			k.Seen, err = merkle.AddComponent(k.Seen, f.Bytes)
		}
		return err
	})
	if err == nil && k.Node.IsZero() {
		err = fmt.Errorf("member without node ID: %w", merkle.ErrFormat)
	}
	return k, err
}
