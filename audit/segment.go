package audit

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// The log is cut into segments, files of the names audit.1, audit.2 and so on, of which only the newest is written to and
// the oldest are dropped as a whole. A segment is a head and frames, one for each record: the length of the message in 4
// bytes, the message, its hash. The head tells what went before, so that what is left after a drop proves itself.

const (
	segmentName = "audit."
	magic       = "resonate audit 1\n"
	headSize    = len(magic) + 8 + len(Hash{})
	frameSize   = 4 + len(Hash{}) // beside the message
)

// A head begins a segment.
type head struct {
	first  uint64 // number of the first record in it; the first of all is 1
	before Hash   // hash of the record before that; zero: there was none
}

func (h head) append(b []byte) []byte {
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint64(b, h.first)
	return append(b, h.before[:]...)
}

// decodeHead reads what append wrote.
func decodeHead(b []byte) (h head, err error) {
	if len(b) != headSize || !bytes.HasPrefix(b, []byte(magic)) {
		return h, errors.New("it does not begin as a file of the audit does")
	}
	b = b[len(magic):]
	h.first = binary.LittleEndian.Uint64(b)
	h.before = Hash(b[8:])
	if h.first == 0 || (h.first == 1) != (h.before == Hash{}) {
		return h, errors.New("its head makes no sense")
	}
	return h, nil
}

// appendFrame appends the frame of a message after a record of hash before, and returns the hash of its own.
func appendFrame(b, message []byte, before Hash) ([]byte, Hash) {
	hash := before.next(message)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(message)))
	return append(append(b, message...), hash[:]...), hash
}

// listSegments returns the numbers of the segments in dir, in ascending order. Other files are none of ours.
func listSegments(dir string) ([]uint64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var found []uint64
	for _, e := range entries {
		number, ok := strings.CutPrefix(e.Name(), segmentName)
		n, err := strconv.ParseUint(number, 10, 63)
		if ok && err == nil && strconv.FormatUint(n, 10) == number && e.Type().IsRegular() {
			found = append(found, n)
		}
	}
	slices.Sort(found)
	return found, nil
}

func segmentPath(dir string, n uint64) string {
	return filepath.Join(dir, segmentName+strconv.FormatUint(n, 10))
}

// A segmentReader reads one segment, frame by frame.
type segmentReader struct {
	in   *bufio.Reader
	left int64 // bytes not read yet
	buf  []byte
	tail func() bool // tells whether the segment ends in zeros
}

// readSegment begins with a segment of size bytes, and reads its head.
func readSegment(r io.ReaderAt, size int64) (*segmentReader, head, error) {
	s := &segmentReader{in: bufio.NewReaderSize(io.NewSectionReader(r, 0, size), 64<<10), left: size}
	s.tail = func() bool { return endsInZeros(r, size) }
	if size < int64(headSize) {
		return s, head{}, errTorn
	}
	b := make([]byte, headSize)
	if err := s.read(b); err != nil {
		return s, head{}, err
	}
	h, err := decodeHead(b)
	if err != nil && s.tail() && len(bytes.Trim(b, "\x00")) == 0 {
		err = errTorn
	}
	return s, h, err
}

// endsInZeros tells whether a file ends in more zeros than a hash does: as a loss of power leaves what was not written yet.
func endsInZeros(r io.ReaderAt, size int64) bool {
	b := make([]byte, min(16, size))
	_, err := r.ReadAt(b, size-int64(len(b)))
	return (err == nil || errors.Is(err, io.EOF)) && len(b) == 16 && len(bytes.Trim(b, "\x00")) == 0
}

// errTorn tells that a segment ends in the middle of something, as after a crash.
var errTorn = errors.New("it ends in the middle of a record")

// A frame is a record as it lies in a segment. Its message is valid until the next one is read.
type frame struct {
	message []byte
	hash    Hash
	size    int64 // of all of it
}

// next returns the next frame; io.EOF after the last; errTorn where the rest is a beginning of one, or zeros.
func (s *segmentReader) next() (f frame, err error) {
	if s.left == 0 {
		return f, io.EOF
	}
	var length [4]byte
	if s.left < int64(len(length)) {
		return f, errTorn
	}
	if err := s.read(length[:]); err != nil {
		return f, err
	}
	n := int64(binary.LittleEndian.Uint32(length[:]))
	if n == 0 || n > maxRecord {
		if s.tail() {
			return f, errTorn
		}
		return f, fmt.Errorf("a record of %d bytes", n)
	}
	if n+int64(len(f.hash)) > s.left {
		return f, errTorn
	}
	if int64(cap(s.buf)) < n {
		s.buf = make([]byte, n, max(n, 1<<10))
	}
	s.buf = s.buf[:n]
	if err := s.read(s.buf); err != nil {
		return f, err
	}
	if err := s.read(f.hash[:]); err != nil {
		return f, err
	}
	f.message, f.size = s.buf, n+int64(frameSize)
	return f, nil
}

func (s *segmentReader) read(b []byte) error {
	if _, err := io.ReadFull(s.in, b); err != nil {
		return err
	}
	s.left -= int64(len(b))
	return nil
}
