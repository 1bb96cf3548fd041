package quorum

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// ErrFormat is what errors.Is finds where bytes of a peer or of the disk are not what they should be.
var ErrFormat = errors.New("malformed")

func malformed(what string, args ...any) error {
	return fmt.Errorf("%w: "+what, append([]any{ErrFormat}, args...)...)
}

// A field is one field of a message; of number and bytes, the one that its type has.
type field struct {
	tag    protowire.Number
	number uint64
	bytes  []byte // of the message's own memory
}

// fields calls f for each field of a message. Fields of other types than varint and bytes are skipped, as are those that f
// does not know: they are of a later version.
func fields(b []byte, f func(field) error) error {
	for len(b) > 0 {
		tag, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return malformed("a field's tag")
		}
		b = b[n:]
		it := field{tag: tag}
		switch kind {
		case protowire.VarintType:
			it.number, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			it.bytes, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(tag, kind, b)
		}
		if n < 0 {
			return malformed("field %d", tag)
		}
		b = b[n:]
		if kind != protowire.VarintType && kind != protowire.BytesType {
			continue
		}
		if err := f(it); err != nil {
			return err
		}
	}
	return nil
}

// appendNumber appends a field, unless it is 0.
func appendNumber(b []byte, tag protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, tag, protowire.VarintType), v)
}

func appendFlag(b []byte, tag protowire.Number, v bool) []byte {
	return appendNumber(b, tag, protowire.EncodeBool(v))
}

// appendBytes appends a field, unless it is empty.
func appendBytes[B ~[]byte | ~string](b []byte, tag protowire.Number, v B) []byte {
	if len(v) == 0 {
		return b
	}
	return append(protowire.AppendVarint(protowire.AppendTag(b, tag, protowire.BytesType), uint64(len(v))), v...)
}

// setID sets an ID of 16 bytes from a field.
func setID[T ~[idSize]byte](id *T, f field) error {
	if len(f.bytes) != idSize {
		return malformed("field %d: an ID of %d bytes", f.tag, len(f.bytes))
	}
	*id = T(f.bytes)
	return nil
}

// writeFrame writes a message with its length before it, in one call.
func writeFrame(w io.Writer, message []byte) error {
	frame := protowire.AppendVarint(make([]byte, 0, len(message)+5), uint64(len(message)))
	_, err := w.Write(append(frame, message...))
	return err
}

// growth is by how much a frame's buffer grows at least, in bytes.
const growth = 16 << 10

// readFrame reads a message of at most limit bytes; its buffer at most doubles with what has really come. At the end of the
// stream before its first byte, the error is io.EOF.
func readFrame(r *bufio.Reader, limit int) ([]byte, error) {
	size, err := readLength(r)
	if err != nil {
		return nil, err
	}
	if size > uint64(limit) {
		return nil, malformed("a message of %d bytes, at most %d are taken", size, limit)
	}
	var b []byte
	for len(b) < int(size) {
		have := len(b)
		n := min(int(size)-have, max(growth, have))
		b = slices.Grow(b, n)[:have+n]
		if _, err := io.ReadFull(r, b[have:]); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return b, nil
}

func readLength(r *bufio.Reader) (size uint64, err error) {
	for shift := 0; shift < 35; shift += 7 {
		c, err := r.ReadByte()
		if err == io.EOF && shift > 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return 0, err
		}
		size |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return size, nil
		}
	}
	return 0, malformed("a length without end")
}
