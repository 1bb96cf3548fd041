package merkle

import "math"

// A packed is an entry, or none, in less than half of its bytes: a folder of a million files keeps a million of them. What
// plain files and directories have lies here; an entry with anything else (a target, extended attributes, an owner, fields
// of a newer resonate) is kept as it is. The version is shared by all entries that one operation touched.
type packed struct {
	whole   *Entry   // nil: the rest holds it
	version *Version // nil, and whole nil: there is no entry
	content Hash
	size    int64
	mtime   int64
	mode    uint16
	kind    Kind
}

// pack returns e in few bytes.
func (v *versions) pack(e *Entry) packed {
	a := &e.Attributes
	if a.Target != "" || len(a.Xattrs) > 0 || a.Owner != "" || !a.Link.IsZero() || a.Mode > math.MaxUint16 || e.raw != nil {
		return packed{whole: e, kind: a.Kind, size: a.Size}
	}
	return packed{
		version: v.shared(&e.Version), content: a.Content, size: a.Size, mtime: a.MTime,
		mode: uint16(a.Mode), kind: a.Kind,
	}
}

// none tells that there is no entry.
func (p *packed) none() bool { return p.whole == nil && p.version == nil }

// live tells whether something stands at the path.
func (p *packed) live() bool { return !p.none() && p.kind != Tombstone }

// value returns the entry; there must be one.
func (p *packed) value() Entry {
	if p.whole != nil {
		return *p.whole
	}
	return Entry{
		Attributes: Attributes{Kind: p.kind, Mode: uint32(p.mode), Size: p.size, MTime: p.mtime, Content: p.content},
		Version:    *p.version,
	}
}

// entry returns the entry for a caller to keep, nil if there is none.
func (p *packed) entry() *Entry {
	if p.whole != nil || p.none() {
		return p.whole
	}
	e := p.value()
	return &e
}

// hash returns the hash of the entry, zero if there is none.
func (p *packed) hash() Hash {
	if p.none() {
		return Hash{}
	}
	e := p.value()
	return e.Hash()
}

// contentHash returns the content hash of what is live, else zero.
func (p *packed) contentHash() Hash {
	if !p.live() {
		return Hash{}
	}
	e := p.value()
	return e.ContentHash()
}

// versions finds versions again that were seen lately, so that equal ones are kept once: most entries came to be in
// operations that touched many, and entries of one operation come one after the other.
type versions map[Component]*Version

// maxVersions is how many versions are remembered for that.
const maxVersions = 1024

// shared returns a version equal to v.
func (s *versions) shared(v *Version) *Version {
	by := Component{v.Author, v.Stamp}
	if old := (*s)[by]; old != nil && old.Token == v.Token && old.Content == v.Content && old.Vector.Equal(v.Vector) {
		return old
	}
	switch {
	case *s == nil:
		*s = make(versions)
	case len(*s) >= maxVersions:
		clear(*s)
	}
	kept := *v
	(*s)[by] = &kept
	return &kept
}
