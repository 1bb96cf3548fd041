package index

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"resonate/merkle"
)

// Disk is what a path looked like on disk when resonate last left or read it. It is never hashed and never exchanged.
type Disk struct {
	Kind  merkle.Kind
	Mode  uint32 // permission bits
	Inode uint64
	Size  int64 // bytes
	MTime int64 // nanoseconds since 1970
	// Checked is the wall clock, in nanoseconds since 1970, at which the content was read or the file put in place. A
	// file whose mtime is not clearly older may have been written again in the same tick of the clock, unseen.
	Checked   int64
	XattrHash merkle.Hash // over the extended attributes as they were left; zero: none, or not looked at
	// Looked is the wall clock, in nanoseconds since 1970, at which the attributes beside content, mode and times were read or
	// set. Where nothing changed at the inode since (ctime), they need not be read again. 0: never.
	Looked  int64
	Refused string // what is agreed and cannot be had here: names of extended attributes and others that the replica gives, each ended by a NUL
	Owner   string // "uid:gid" as they were left, where ownership is kept
}

// A Record is everything known of one path. The zero Record is that of a path of which nothing is known.
type Record struct {
	Entry   *merkle.Entry // what is agreed; nil: nothing
	Disk    Disk          // zero: nothing on disk
	Hint    int64         // a directory's mtime, nanoseconds since 1970, beside its entry
	Pending *merkle.Entry // announced by a peer, not yet applied; nil: nothing
	Suspect bool          // seen differing after an unclean boot: not to be published
	Ignored bool          // ignored when last looked at: that Disk is not so any more is no change
	Behind  bool          // Disk is of an earlier version than Entry, which came in while the path was ignored
	// Before is what was agreed before Entry, the oldest first, as far as others may have changed the path without having seen
	// more: the bases of merges. At most MaxBefore.
	Before []*merkle.Entry
}

// zero tells whether nothing is known.
func (r *Record) zero() bool {
	return r.Entry == nil && r.Disk == (Disk{}) && r.Hint == 0 && r.Pending == nil && !r.Suspect && !r.Ignored && !r.Behind && len(r.Before) == 0
}

// MaxBefore is how many earlier versions a record has at most.
const MaxBefore = 4

// A place is what a stored record holds besides the Record.
type place struct {
	dir    uint64           // ID of the directory that the path is, 0: nothing below it was ever recorded
	block  merkle.BlockList // the block list, where it is one block
	apart  uint64           // the number of blocks, where they lie in a bucket of their own
	record bool             // a Record is there; else the path is known only for what lies below it
}

// Field numbers; part of the format.
const (
	recordEntry   = 1  // bytes: the canonical bytes of the entry
	recordDisk    = 2  // message
	recordHint    = 3  // fixed64
	recordPending = 4  // bytes, as recordEntry
	recordSuspect = 5  // varint, 1
	recordDir     = 6  // varint
	recordBlock   = 7  // bytes, a block list of one
	recordApart   = 8  // varint
	recordIgnored = 9  // varint, 1
	recordBehind  = 10 // varint, 1
	recordBefore  = 11 // bytes, as recordEntry; repeated

	diskKind    = 1
	diskMode    = 2
	diskInode   = 3
	diskSize    = 4
	diskMTime   = 5 // fixed64
	diskChecked = 6 // fixed64
	diskXattrs  = 7 // bytes
	diskLooked  = 8 // fixed64
	diskRefused = 9 // bytes
	diskOwner   = 10
)

var (
	recordShape = shape{types: []protowire.Type{length, length, fixed, length, varint, varint, length, varint, varint, varint, length}, repeated: 1 << recordBefore}
	diskShape   = shape{types: []protowire.Type{varint, varint, varint, varint, fixed, fixed, length, fixed, length, length}}
)

func appendRecord(b []byte, r Record, p place) []byte {
	var scratch [512]byte
	if r.Entry != nil {
		b = merkle.AppendBytes(b, recordEntry, r.Entry.Append(scratch[:0]))
	}
	b = merkle.AppendBytes(b, recordDisk, appendDisk(scratch[:0], r.Disk))
	b = appendFixed(b, recordHint, r.Hint)
	if r.Pending != nil {
		b = merkle.AppendBytes(b, recordPending, r.Pending.Append(scratch[:0]))
	}
	b = appendBool(b, recordSuspect, r.Suspect)
	b = merkle.AppendUint(b, recordDir, p.dir)
	b = merkle.AppendBytes(b, recordBlock, p.block.Append(scratch[:0]))
	b = merkle.AppendUint(b, recordApart, p.apart)
	b = appendBool(b, recordIgnored, r.Ignored)
	b = appendBool(b, recordBehind, r.Behind)
	for _, e := range r.Before {
		b = merkle.AppendBytes(b, recordBefore, e.Append(scratch[:0]))
	}
	return b
}

// decodeRecord reads the Record part of what appendRecord wrote. It keeps no reference to b.
func decodeRecord(b []byte) (r Record, err error) {
	err = recordShape.fields(b, r.set)
	return r, err
}

// decodePlace reads the other part.
func decodePlace(b []byte) (p place, err error) {
	if err = recordShape.fields(b, p.set); err == nil {
		err = p.check()
	}
	return p, err
}

// decodeStored reads both parts.
func decodeStored(b []byte) (r Record, p place, err error) {
	err = recordShape.fields(b, func(f merkle.Field) error {
		if err := p.set(f); err != nil {
			return err
		}
		return r.set(f)
	})
	if err == nil {
		err = p.check()
	}
	return r, p, err
}

func (r *Record) set(f merkle.Field) (err error) {
	switch f.Number {
	case recordEntry:
		r.Entry, err = merkle.DecodeEntry(f.Bytes)
	case recordDisk:
		r.Disk, err = decodeDisk(f.Bytes)
	case recordHint:
		r.Hint = int64(f.Uint)
	case recordPending:
		r.Pending, err = merkle.DecodeEntry(f.Bytes)
	case recordSuspect:
		err = setBool(&r.Suspect, f.Uint)
	case recordIgnored:
		err = setBool(&r.Ignored, f.Uint)
	case recordBehind:
		err = setBool(&r.Behind, f.Uint)
	case recordBefore:
		var e *merkle.Entry
		if e, err = merkle.DecodeEntry(f.Bytes); err == nil && len(r.Before) == MaxBefore {
			err = fmt.Errorf("more than %d earlier versions: %w", MaxBefore, merkle.ErrFormat)
		}
		r.Before = append(r.Before, e)
	}
	return err
}

func (p *place) set(f merkle.Field) (err error) {
	switch f.Number {
	case recordDir:
		p.dir = f.Uint
	case recordBlock:
		p.block, err = merkle.DecodeBlockList(f.Bytes)
	case recordApart:
		p.apart = f.Uint
	default:
		p.record = true
	}
	return err
}

// check tells whether the block list is in one place, and in the right one.
func (p *place) check() error {
	if len(p.block) > 1 || len(p.block) == 1 && p.apart > 0 || p.apart == 1 {
		return fmt.Errorf("record with a block list in two places, or in the wrong one: %w", merkle.ErrFormat)
	}
	return nil
}

func appendDisk(b []byte, d Disk) []byte {
	b = merkle.AppendUint(b, diskKind, uint64(d.Kind))
	b = merkle.AppendUint(b, diskMode, uint64(d.Mode))
	b = merkle.AppendUint(b, diskInode, d.Inode)
	b = merkle.AppendUint(b, diskSize, uint64(d.Size))
	b = appendFixed(b, diskMTime, d.MTime)
	b = appendFixed(b, diskChecked, d.Checked)
	b = appendHash(b, diskXattrs, d.XattrHash)
	b = appendFixed(b, diskLooked, d.Looked)
	b = merkle.AppendBytes(b, diskRefused, d.Refused)
	return merkle.AppendBytes(b, diskOwner, d.Owner)
}

func decodeDisk(b []byte) (d Disk, err error) {
	err = diskShape.fields(b, func(f merkle.Field) error {
		switch f.Number {
		case diskKind:
			if f.Uint > math.MaxUint8 {
				return fmt.Errorf("kind %d: %w", f.Uint, merkle.ErrFormat)
			}
			d.Kind = merkle.Kind(f.Uint)
		case diskMode:
			if f.Uint > math.MaxUint32 {
				return fmt.Errorf("mode %#o: %w", f.Uint, merkle.ErrFormat)
			}
			d.Mode = uint32(f.Uint)
		case diskInode:
			d.Inode = f.Uint
		case diskSize:
			d.Size = int64(f.Uint)
		case diskMTime:
			d.MTime = int64(f.Uint)
		case diskChecked:
			d.Checked = int64(f.Uint)
		case diskXattrs:
			return setHash(&d.XattrHash, f.Bytes)
		case diskLooked:
			d.Looked = int64(f.Uint)
		case diskRefused:
			d.Refused = string(f.Bytes)
		case diskOwner:
			d.Owner = string(f.Bytes)
		}
		return nil
	})
	return d, err
}
