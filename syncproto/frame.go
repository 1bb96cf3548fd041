package syncproto

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// streamBuffer is the size of read and write buffers, in bytes: two of SSH's packets.
const streamBuffer = 64 << 10

// A frameReader reads frames.
type frameReader struct {
	r   *bufio.Reader
	buf []byte
}

func newFrameReader(r io.Reader) *frameReader {
	return &frameReader{r: bufio.NewReaderSize(r, streamBuffer)}
}

// next returns the next frame without its length. It is valid until the next call. At the end of the stream between
// two frames the error is io.EOF.
func (r *frameReader) next(limit int) ([]byte, error) {
	size, err := r.length()
	switch {
	case err == io.EOF:
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("read length of frame: %w", err)
	case size > uint64(limit):
		return nil, &TooLong{r.peekKind(), size, uint64(limit)}
	}
	if cap(r.buf) > maxBlockFrame {
		r.buf = nil // a rare giant is not kept
	}
	if err := r.fill(int(size)); err != nil {
		return nil, fmt.Errorf("read frame of %d bytes: %w", size, err)
	}
	return r.buf, nil
}

// length reads a uvarint.
func (r *frameReader) length() (size uint64, err error) {
	for shift := 0; shift < 64; shift += 7 {
		c, err := r.r.ReadByte()
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
	return 0, malformed("uvarint without end")
}

// fill reads size bytes into r.buf, which at most doubles with what has really come.
func (r *frameReader) fill(size int) error {
	r.buf = r.buf[:0]
	for len(r.buf) < size {
		have := len(r.buf)
		n := min(size-have, max(streamBuffer, have, cap(r.buf)-have))
		r.buf = slices.Grow(r.buf, n)[:have+n]
		if _, err := io.ReadFull(r.r, r.buf[have:]); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// peekKind tells the kind of the frame that begins here, 0 where it has not come yet.
func (r *frameReader) peekKind() Kind {
	b, _ := r.r.Peek(min(r.r.Buffered(), binary.MaxVarintLen32))
	number, _, n := protowire.ConsumeTag(b)
	if n < 0 {
		return 0
	}
	return Kind(number)
}
