package bases

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"

	"resonate/merkle"
)

// A segment is its magic, then texts, each of which is a head and the packed bytes.
const (
	magic      = "resonate bases 1\n"
	headSize   = 4 + 4 + merkle.HashSize
	maxPacked  = MaxText + MaxText/8 + 64 // of a text that cannot be compressed
	namePrefix = "texts."
)

// A head stands before the packed bytes of a text.
type head struct {
	packed uint32 // bytes that follow
	size   uint32 // of the text
	hash   merkle.Hash
	offset int64 // of the head in its file
}

func (h head) put(b []byte) {
	binary.BigEndian.PutUint32(b, h.packed)
	binary.BigEndian.PutUint32(b[4:], h.size)
	copy(b[8:headSize], h.hash[:])
}

// headOf reads a head. It is false where none can be.
func headOf(b []byte) (h head, ok bool) {
	h = head{packed: binary.BigEndian.Uint32(b), size: binary.BigEndian.Uint32(b[4:]), hash: merkle.Hash(b[8:headSize])}
	return h, h.size <= MaxText && h.packed <= maxPacked
}

func segmentPath(dir string, number uint32) string {
	return filepath.Join(dir, namePrefix+strconv.FormatUint(uint64(number), 10))
}

// segmentsIn returns the numbers of the segments in dir, in order.
func segmentsIn(dir string) (numbers []uint32, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		text, ok := strings.CutPrefix(e.Name(), namePrefix)
		n, err := strconv.ParseUint(text, 10, 31)
		if ok && err == nil && strconv.FormatUint(n, 10) == text {
			numbers = append(numbers, uint32(n))
		}
	}
	slices.Sort(numbers)
	return numbers, err
}

// scan calls each with the heads of the texts in a segment, and returns up to where they go. Where something else stands, it ends:
// a crash may have cut off the last one. A file that does not begin as a segment does has nothing in it.
func scan(name string, each func(head)) (size int64, err error) {
	f, err := os.Open(name)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	begin := make([]byte, len(magic))
	if _, err := f.ReadAt(begin, 0); err != nil || string(begin) != magic {
		return 0, nil
	}
	size = int64(len(magic))
	var b [headSize]byte
	for { // the texts themselves are not read: a start is to cost what there is of them, not their size
		if _, err := f.ReadAt(b[:], size); err != nil {
			return size, nil
		}
		h, ok := headOf(b[:])
		end := size + headSize + int64(h.packed)
		if !ok || end > info.Size() || end > 1<<32-1 {
			return size, nil
		}
		h.offset = size
		each(h)
		size = end
	}
}

// readAt reads the text at an offset and checks that it is that of the hash.
func readAt(f *os.File, offset int64, want merkle.Hash) ([]byte, error) {
	var b [headSize]byte
	if _, err := f.ReadAt(b[:], offset); err != nil {
		return nil, damaged(err)
	}
	h, ok := headOf(b[:])
	if !ok || h.hash != want {
		return nil, damaged(errors.New("another text stands there"))
	}
	packed := make([]byte, h.packed)
	if _, err := f.ReadAt(packed, offset+headSize); err != nil {
		return nil, damaged(err)
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(MaxText), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	text, err := dec.DecodeAll(packed, make([]byte, 0, h.size))
	if err != nil {
		return nil, damaged(err)
	}
	if got, err := hashOf(text); err != nil || got != want || len(text) != int(h.size) {
		return nil, damaged(errors.New("its hash is another"))
	}
	return text, nil
}

func damaged(cause error) error {
	return fmt.Errorf("damaged, and as if it were not kept: %w: %w", cause, ErrAbsent)
}

// newEncoder returns an encoder of whole texts, which has no goroutine.
func newEncoder() *zstd.Encoder {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(MaxText), zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic(err) // of options that are constant
	}
	return enc
}
