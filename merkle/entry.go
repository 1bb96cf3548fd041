package merkle

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// A Kind is what stands at a path.
type Kind uint8

// The kinds of entries. Their numbers are part of the format; unknown ones are kept and relayed, not applied.
const (
	File      Kind = 1
	Dir       Kind = 2
	Symlink   Kind = 3
	Tombstone Kind = 4 // something was there and was deleted
)

// String returns the name of k for people.
func (k Kind) String() string {
	switch k {
	case File:
		return "file"
	case Dir:
		return "directory"
	case Symlink:
		return "symlink"
	case Tombstone:
		return "deleted"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Bounds of an entry. The bytes of one never exceed MaxEntry.
const (
	MaxEntry  = 1 << 20
	MaxTarget = 4096 // bytes of a symlink's target, as PATH_MAX
)

// An Xattr is one extended attribute.
type Xattr struct {
	Name  string
	Value []byte
}

// Attributes are what a person would call the thing itself: all of an entry but its version.
type Attributes struct {
	Kind    Kind
	Mode    uint32  // permission bits; files and directories
	Size    int64   // bytes; files
	MTime   int64   // nanoseconds since 1970; files and symlinks (a directory's is a hint beside its entry)
	Target  string  // symlinks, as it is
	Content Hash    // files: the root over the blocks
	Xattrs  []Xattr // sorted by name
	Owner   string  // where ownership is kept: "user:group"
	Link    Hash    // where hard links are kept: the same for all names of one file
}

// An Entry is what is agreed of one path. Its name is not part of it. An Entry is never changed once made.
type Entry struct {
	Attributes
	Version Version

	raw []byte // as received, where encoding it again would not give the same bytes (fields of a newer resonate)
}

// Field numbers; part of the format.
const (
	entryAttributes = 1 // message
	entryVersion    = 2 // message

	attrKind    = 1
	attrMode    = 2
	attrSize    = 3
	attrMTime   = 4 // fixed64, two's complement
	attrTarget  = 5
	attrContent = 6
	attrXattr   = 7 // repeated message: name = 1, value = 2
	attrOwner   = 8
	attrLink    = 9
)

// Live tells whether something stands at the path.
func (e *Entry) Live() bool { return e != nil && e.Kind != Tombstone }

// IsDir tells whether e is a live directory.
func (e *Entry) IsDir() bool { return e != nil && e.Kind == Dir }

func appendAttributes(b []byte, a Attributes) []byte {
	b = AppendUint(b, attrKind, uint64(a.Kind))
	b = AppendUint(b, attrMode, uint64(a.Mode))
	b = AppendUint(b, attrSize, uint64(a.Size))
	if a.MTime != 0 {
		b = protowire.AppendTag(b, attrMTime, protowire.Fixed64Type)
		b = protowire.AppendFixed64(b, uint64(a.MTime))
	}
	b = AppendBytes(b, attrTarget, a.Target)
	if !a.Content.IsZero() {
		b = AppendBytes(b, attrContent, a.Content[:])
	}
	for _, x := range a.Xattrs {
		m := AppendBytes(AppendBytes(nil, 1, x.Name), 2, x.Value)
		b = AppendBytes(b, attrXattr, m)
	}
	b = AppendBytes(b, attrOwner, a.Owner)
	if !a.Link.IsZero() {
		b = AppendBytes(b, attrLink, a.Link[:])
	}
	return b
}

// Append appends the canonical bytes of e: those received where e came from a peer, else its fields in order.
func (e *Entry) Append(b []byte) []byte {
	if e.raw != nil {
		return append(b, e.raw...)
	}
	var scratch [256]byte
	b = AppendBytes(b, entryAttributes, appendAttributes(scratch[:0], e.Attributes))
	return AppendBytes(b, entryVersion, appendVersion(scratch[:0], e.Version))
}

// DecodeEntry reads an entry. It keeps no reference to b. Entries of a kind it does not know are no error.
func DecodeEntry(b []byte) (*Entry, error) {
	if len(b) > MaxEntry {
		return nil, fmt.Errorf("entry of %d bytes: %w", len(b), ErrFormat)
	}
	e := new(Entry)
	var attributes, versions int
	err := Fields(b, func(f Field) (err error) {
		switch f.Number {
		case entryAttributes:
			attributes++
			e.Attributes, err = decodeAttributes(f.Bytes)
		case entryVersion:
			versions++
			e.Version, err = decodeVersion(f.Bytes)
		}
		return err
	})
	if err == nil && (attributes != 1 || versions != 1) {
		err = fmt.Errorf("entry without attributes or version: %w", ErrFormat)
	}
	if err != nil {
		return nil, err
	}
	var scratch [512]byte
	if !bytes.Equal(e.Append(scratch[:0]), b) {
		e.raw = bytes.Clone(b)
	}
	return e, nil
}

func decodeAttributes(b []byte) (a Attributes, err error) {
	err = Fields(b, func(f Field) error {
		switch f.Number {
		case attrKind:
			if f.Uint == 0 || f.Uint > 255 {
				return fmt.Errorf("kind %d: %w", f.Uint, ErrFormat)
			}
			a.Kind = Kind(f.Uint)
		case attrMode:
			a.Mode = uint32(f.Uint) & 0o7777
		case attrSize:
			a.Size = int64(f.Uint)
		case attrMTime:
			a.MTime = int64(f.Uint)
		case attrTarget:
			a.Target = string(f.Bytes)
		case attrContent:
			return setHash(&a.Content, f.Bytes)
		case attrXattr:
			var err error
			a.Xattrs, err = addXattr(a.Xattrs, f.Bytes)
			return err
		case attrOwner:
			a.Owner = string(f.Bytes)
		case attrLink:
			return setHash(&a.Link, f.Bytes)
		}
		return nil
	})
	if err != nil {
		return a, err
	}
	return a, a.check()
}

func (a *Attributes) check() error {
	switch {
	case a.Kind == 0:
		return fmt.Errorf("entry without kind: %w", ErrFormat)
	case a.Size < 0:
		return fmt.Errorf("size %d: %w", a.Size, ErrFormat)
	case a.Kind == File && a.Content.IsZero():
		return fmt.Errorf("file without content hash: %w", ErrFormat)
	case a.Kind == Symlink && (a.Target == "" || len(a.Target) > MaxTarget || strings.Contains(a.Target, "\x00")):
		return fmt.Errorf("symlink target empty, too long or with a NUL: %w", ErrFormat)
	}
	return nil
}

// addXattr appends the attribute encoded in b to list, which must stay sorted.
func addXattr(list []Xattr, b []byte) ([]Xattr, error) {
	var x Xattr
	err := Fields(b, func(f Field) error {
		switch f.Number {
		case 1:
			x.Name = string(f.Bytes)
		case 2:
			x.Value = bytes.Clone(f.Bytes)
		}
		return nil
	})
	if err == nil && (x.Name == "" || (len(list) > 0 && list[len(list)-1].Name >= x.Name)) {
		err = fmt.Errorf("extended attribute %q out of order or no name: %w", x.Name, ErrFormat)
	}
	return append(list, x), err
}

func setHash(h *Hash, b []byte) error {
	if len(b) != HashSize {
		return fmt.Errorf("hash of %d bytes: %w", len(b), ErrFormat)
	}
	*h = Hash(b)
	return nil
}

// Hash returns the hash over the canonical bytes of e, version and all.
func (e *Entry) Hash() Hash {
	if e == nil {
		return Hash{}
	}
	var scratch [512]byte
	return entryDomain.sum(e.Append(scratch[:0]))
}

// ContentHash returns the hash over the attributes of e: equal for what a person would call the same.
func (e *Entry) ContentHash() Hash {
	if e == nil {
		return Hash{}
	}
	var scratch [512]byte
	if e.raw == nil {
		return contentDomain.sum(appendAttributes(scratch[:0], e.Attributes))
	}
	var attributes []byte
	_ = Fields(e.raw, func(f Field) error {
		if f.Number == entryAttributes {
			attributes = f.Bytes
		}
		return nil
	})
	return contentDomain.sum(attributes)
}

// XattrHash returns a hash over a list of extended attributes, which must be sorted by name; the zero hash for none. It is the
// content hash of attributes that have these and nothing else.
func XattrHash(list []Xattr) Hash {
	if len(list) == 0 {
		return Hash{}
	}
	return contentDomain.sum(appendAttributes(nil, Attributes{Xattrs: list}))
}

// SameXattrs tells whether two sorted lists hold the same extended attributes.
func SameXattrs(a, b []Xattr) bool {
	return slices.EqualFunc(a, b, func(x, y Xattr) bool { return x.Name == y.Name && bytes.Equal(x.Value, y.Value) })
}

// SameContent tells whether a and b hold the same data: kind, and bytes or target. Metadata may differ.
func SameContent(a, b *Entry) bool {
	return a.Kind == b.Kind && a.Content == b.Content && a.Target == b.Target
}

// SameEntry tells whether a and b are the same, version and all; or both nil.
func SameEntry(a, b *Entry) bool { return a == b || (a != nil && b != nil && a.Hash() == b.Hash()) }

// WithVersion returns an entry with the attributes of e, unknown ones included, and version v.
func (e *Entry) WithVersion(v Version) *Entry {
	out := &Entry{Attributes: e.Attributes, Version: v}
	if e.raw == nil {
		return out
	}
	_ = Fields(e.raw, func(f Field) error { // raw was decoded once already
		if f.Number == entryVersion {
			out.raw = AppendBytes(out.raw, entryVersion, appendVersion(nil, v))
		} else {
			out.raw = append(out.raw, f.Raw...)
		}
		return nil
	})
	return out
}
