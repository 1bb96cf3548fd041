package merkle

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// A Stamp is one tick of a node's counter: max(last + 1, microseconds since 1970). A node never gives the same stamp
// to two operations.
type Stamp uint64

// A Component is what a vector knows of one node.
type Component struct {
	Node  NodeID
	Stamp Stamp
}

// A Vector is a version vector: the newest stamp of each node that a version has seen, sorted by node, without zero
// stamps. A Vector is never changed once made; its zero value has seen nothing.
type Vector []Component

// maxComponents bounds a vector that comes from a peer.
const maxComponents = 4096

// Of returns the stamp that v has seen of n, 0 for none.
func (v Vector) Of(n NodeID) Stamp {
	for _, c := range v {
		if c.Node == n {
			return c.Stamp
		}
	}
	return 0
}

// With returns v with the stamp of n raised to s; v itself where it has seen that already.
func (v Vector) With(n NodeID, s Stamp) Vector {
	if v.Of(n) >= s {
		return v
	}
	return v.Join(Vector{{n, s}})
}

// Join returns the vector that has seen what v or w has seen.
func (v Vector) Join(w Vector) Vector {
	if v.Covers(w) {
		return v
	}
	if w.Covers(v) {
		return w
	}
	out := make(Vector, 0, len(v)+len(w))
	for len(v) > 0 && len(w) > 0 {
		switch c := bytes.Compare(v[0].Node[:], w[0].Node[:]); {
		case c < 0:
			out, v = append(out, v[0]), v[1:]
		case c > 0:
			out, w = append(out, w[0]), w[1:]
		default:
			out = append(out, Component{v[0].Node, max(v[0].Stamp, w[0].Stamp)})
			v, w = v[1:], w[1:]
		}
	}
	return append(append(out, v...), w...)
}

// Meet returns the vector of what both v and w have seen.
func (v Vector) Meet(w Vector) Vector {
	var out Vector
	for _, c := range v {
		if s := min(c.Stamp, w.Of(c.Node)); s > 0 {
			out = append(out, Component{c.Node, s})
		}
	}
	return out
}

// Covers tells whether v has seen all that w has seen.
func (v Vector) Covers(w Vector) bool {
	i := 0
	for _, c := range w {
		for i < len(v) && bytes.Compare(v[i].Node[:], c.Node[:]) < 0 {
			i++
		}
		if i == len(v) || v[i].Node != c.Node || v[i].Stamp < c.Stamp {
			return false
		}
	}
	return true
}

// Equal tells whether v and w have seen the same.
func (v Vector) Equal(w Vector) bool { return slices.Equal(v, w) }

// An Order is how two versions stand to each other.
type Order int

// The four ways in which version a can stand to version b.
const (
	Same       Order = iota // equal vectors
	After                   // a has seen b
	Before                  // b has seen a
	Concurrent              // neither has seen the other
)

// Compare tells how v stands to w.
func (v Vector) Compare(w Vector) Order {
	after, before := v.Covers(w), w.Covers(v)
	switch {
	case after && before:
		return Same
	case after:
		return After
	case before:
		return Before
	}
	return Concurrent
}

// A Token is a fencing token: the lock under which a change was made. The zero Token is that of a change without lock.
type Token struct{ Generation, Index uint64 }

// Compare orders tokens: generation first, then index.
func (t Token) Compare(u Token) int {
	return cmp.Or(cmp.Compare(t.Generation, u.Generation), cmp.Compare(t.Index, u.Index))
}

// A Version tells what an entry has seen (Vector), and by whose operation it came to be (Author at Stamp, under Token).
// Content names the operation that made what the entry holds, where that is another one: the last one changed metadata
// alone. Its zero value says that it is the same.
type Version struct {
	Vector  Vector
	Author  NodeID
	Stamp   Stamp
	Token   Token
	Content Component
}

// Origin returns the operation that made what the entry holds.
func (v Version) Origin() Component {
	if v.Content.Stamp != 0 {
		return v.Content
	}
	return Component{v.Author, v.Stamp}
}

// Field numbers of the messages below. They are part of the format.
const (
	versionVector     = 1 // repeated message: a component
	versionAuthor     = 2 // bytes
	versionStamp      = 3 // varint
	versionGeneration = 4 // varint, absent when 0
	versionIndex      = 5 // varint, absent when 0
	versionContent    = 6 // message: a component, absent when zero

	componentNode  = 1 // bytes
	componentStamp = 2 // varint
)

// AppendVector appends v as repeated components of field num.
func AppendVector(b []byte, num protowire.Number, v Vector) []byte {
	for _, c := range v {
		size := protowire.SizeTag(componentNode) + protowire.SizeBytes(NodeIDSize) +
			protowire.SizeTag(componentStamp) + protowire.SizeVarint(uint64(c.Stamp))
		b = protowire.AppendTag(b, num, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(size))
		b = protowire.AppendTag(b, componentNode, protowire.BytesType)
		b = protowire.AppendBytes(b, c.Node[:])
		b = protowire.AppendTag(b, componentStamp, protowire.VarintType)
		b = protowire.AppendVarint(b, uint64(c.Stamp))
	}
	return b
}

// vectorField is the field of a vector that stands alone.
const vectorField = 1

// EncodeVector returns v as bytes of its own.
func EncodeVector(v Vector) []byte { return AppendVector(nil, vectorField, v) }

// DecodeVector reads what EncodeVector returned.
func DecodeVector(b []byte) (v Vector, err error) {
	err = Fields(b, func(f Field) (err error) {
		if f.Number == vectorField {
			v, err = AddComponent(v, f.Bytes)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("decode version vector: %w", err)
	}
	return v, nil
}

// AddComponent appends the component encoded in b to v, which must stay sorted: the decoding half of AppendVector.
func AddComponent(v Vector, b []byte) (Vector, error) {
	var c Component
	err := Fields(b, func(f Field) error {
		switch f.Number {
		case componentNode:
			if len(f.Bytes) != NodeIDSize {
				return fmt.Errorf("node ID of %d bytes: %w", len(f.Bytes), ErrFormat)
			}
			c.Node = NodeID(f.Bytes)
		case componentStamp:
			c.Stamp = Stamp(f.Uint)
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case c.Node.IsZero() || c.Stamp == 0 || len(v) == maxComponents,
		len(v) > 0 && bytes.Compare(v[len(v)-1].Node[:], c.Node[:]) >= 0:
		return nil, fmt.Errorf("version vector empty, unsorted or too long: %w", ErrFormat)
	}
	return append(v, c), nil
}

func appendVersion(b []byte, v Version) []byte {
	b = AppendVector(b, versionVector, v.Vector)
	b = protowire.AppendTag(b, versionAuthor, protowire.BytesType)
	b = protowire.AppendBytes(b, v.Author[:])
	b = protowire.AppendTag(b, versionStamp, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(v.Stamp))
	b = AppendUint(b, versionGeneration, v.Token.Generation)
	b = AppendUint(b, versionIndex, v.Token.Index)
	if v.Content.Stamp != 0 {
		b = AppendVector(b, versionContent, Vector{v.Content})
	}
	return b
}

func decodeVersion(b []byte) (v Version, err error) {
	err = Fields(b, func(f Field) (err error) {
		switch f.Number {
		case versionVector:
			v.Vector, err = AddComponent(v.Vector, f.Bytes)
		case versionAuthor:
			if len(f.Bytes) != NodeIDSize {
				return fmt.Errorf("author of %d bytes: %w", len(f.Bytes), ErrFormat)
			}
			v.Author = NodeID(f.Bytes)
		case versionStamp:
			v.Stamp = Stamp(f.Uint)
		case versionGeneration:
			v.Token.Generation = f.Uint
		case versionIndex:
			v.Token.Index = f.Uint
		case versionContent:
			var one Vector
			if one, err = AddComponent(nil, f.Bytes); err == nil {
				v.Content = one[0]
			}
		}
		return err
	})
	if err == nil && (v.Author.IsZero() || v.Stamp == 0 || v.Vector.Of(v.Author) < v.Stamp ||
		v.Content.Stamp != 0 && v.Vector.Of(v.Content.Node) < v.Content.Stamp) {
		err = fmt.Errorf("version that has not seen its own author's stamp, or that of its content: %w", ErrFormat)
	}
	return v, err
}
