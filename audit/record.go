package audit

import (
	"errors"
	"fmt"
	"time"

	"resonate/merkle"
)

// ErrFormat is wrapped by every error about bytes that are no record.
var ErrFormat = errors.New("malformed audit record")

// Bounds of a record.
const (
	maxRecord = 256 << 10 // bytes of the message
	maxPath   = 64 << 10  // bytes of a path or name
	maxCause  = 1 << 10   // bytes
)

// Field numbers; part of the format. All are left out where they are zero.
const (
	fieldKind       = 1 // varint
	fieldTime       = 2 // varint: microseconds since 1970
	fieldPath       = 3 // bytes
	fieldWhat       = 4 // varint: kind of entry
	fieldAuthor     = 5 // bytes: 16
	fieldStamp      = 6 // varint
	fieldPeer       = 7 // bytes: 16
	fieldContent    = 8 // bytes: 8
	fieldOther      = 9 // bytes
	fieldCount      = 10
	fieldClaim      = 11
	fieldGeneration = 12
	fieldIndex      = 13
	fieldName       = 14 // bytes
	fieldMode       = 15
	fieldCause      = 16 // bytes
	fieldAnchor     = 17 // bytes: 32
)

// appendRecord appends the message of r.
func appendRecord(b []byte, r *Record) []byte {
	b = merkle.AppendUint(b, fieldKind, uint64(r.Kind))
	b = merkle.AppendUint(b, fieldTime, uint64(max(0, r.Time.UnixMicro())))
	b = merkle.AppendBytes(b, fieldPath, cut(r.Path, maxPath))
	b = merkle.AppendUint(b, fieldWhat, uint64(r.What))
	if !r.Author.IsZero() && r.Author != r.Peer {
		b = merkle.AppendBytes(b, fieldAuthor, r.Author[:])
	}
	b = merkle.AppendUint(b, fieldStamp, uint64(r.Stamp))
	if !r.Peer.IsZero() {
		b = merkle.AppendBytes(b, fieldPeer, r.Peer[:])
	}
	if r.Content != (ContentHash{}) {
		b = merkle.AppendBytes(b, fieldContent, r.Content[:])
	}
	b = merkle.AppendBytes(b, fieldOther, cut(r.Other, maxPath))
	b = merkle.AppendUint(b, fieldCount, r.Count)
	b = merkle.AppendUint(b, fieldClaim, uint64(r.Claim))
	b = merkle.AppendUint(b, fieldGeneration, r.Token.Generation)
	b = merkle.AppendUint(b, fieldIndex, r.Token.Index)
	b = merkle.AppendBytes(b, fieldName, cut(r.Name, maxPath))
	b = merkle.AppendUint(b, fieldMode, uint64(r.Mode))
	b = merkle.AppendBytes(b, fieldCause, cut(r.Cause, maxCause))
	if r.Anchor != (Hash{}) {
		b = merkle.AppendBytes(b, fieldAnchor, r.Anchor[:])
	}
	return b
}

// cut bounds what a record holds of a text: the rest of a record that nobody could read would be worth less.
func cut(s string, most int) string { return s[:min(len(s), most)] }

// decodeRecord reads what appendRecord wrote. It keeps no reference to b. Fields and kinds that it does not know are no error.
func decodeRecord(b []byte) (r Record, err error) {
	r.Time = time.UnixMicro(0) // left out where it is that
	err = merkle.Fields(b, func(f merkle.Field) error { return r.set(f) })
	switch {
	case err != nil:
		return Record{}, fmt.Errorf("%w: %w", ErrFormat, err)
	case r.Kind == 0:
		return Record{}, fmt.Errorf("%w: without kind", ErrFormat)
	}
	return r, nil
}

func (r *Record) set(f merkle.Field) error {
	switch f.Number {
	case fieldKind:
		return setSmall(&r.Kind, f.Uint)
	case fieldTime:
		r.Time = time.UnixMicro(int64(f.Uint))
	case fieldPath:
		return setText(&r.Path, f.Bytes, maxPath)
	case fieldWhat:
		return setSmall(&r.What, f.Uint)
	case fieldAuthor:
		return setFixed(r.Author[:], f.Bytes)
	case fieldStamp:
		r.Stamp = merkle.Stamp(f.Uint)
	case fieldPeer:
		return setFixed(r.Peer[:], f.Bytes)
	case fieldContent:
		return setFixed(r.Content[:], f.Bytes)
	case fieldOther:
		return setText(&r.Other, f.Bytes, maxPath)
	case fieldCount:
		r.Count = f.Uint
	case fieldClaim:
		return setSmall(&r.Claim, f.Uint)
	case fieldGeneration:
		r.Token.Generation = f.Uint
	case fieldIndex:
		r.Token.Index = f.Uint
	case fieldName:
		return setText(&r.Name, f.Bytes, maxPath)
	case fieldMode:
		return setSmall(&r.Mode, f.Uint)
	case fieldCause:
		return setText(&r.Cause, f.Bytes, maxCause)
	case fieldAnchor:
		return setFixed(r.Anchor[:], f.Bytes)
	}
	return nil
}

func setSmall[T ~uint8](into *T, v uint64) error {
	if v > 255 {
		return fmt.Errorf("%d is no such number", v)
	}
	*into = T(v)
	return nil
}

func setText(into *string, b []byte, most int) error {
	if len(b) > most {
		return fmt.Errorf("text of %d bytes, at most %d allowed", len(b), most)
	}
	*into = string(b)
	return nil
}

func setFixed(into, b []byte) error {
	if len(b) != len(into) {
		return fmt.Errorf("%d bytes, want %d", len(b), len(into))
	}
	copy(into, b)
	return nil
}
