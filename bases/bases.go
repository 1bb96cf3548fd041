// Package bases keeps the contents of small text files as they were agreed, each under its hash, so that later, when two
// nodes have changed one of them at once, it is there as the common base of a merge. It is a cache of bounded size: what is
// in it is the better for it, and what is not, or was damaged, is only not merged. So nothing is synced to the disk, and what
// is read is believed only where its hash is the one that it was asked for by.
//
// The contents are appended, compressed, to the newest of a few files (segments); when all are too large, the oldest of these
// goes. docs/formats.md has the format.
package bases

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"

	"resonate/merkle"
)

// MaxText is the size in bytes of the largest content that is kept.
const MaxText = 256 << 10

// The bounds of a Store that sets none.
const (
	DefaultMaxSize     = 64 << 20
	DefaultSegmentSize = 8 << 20
	DefaultMaxTexts    = 1 << 15
)

// ErrAbsent tells that a content is not kept, or not any more, or is damaged.
var ErrAbsent = errors.New("this content is not kept")

// A Text is a content and the hash of it, as an entry has it.
type Text struct {
	Hash merkle.Hash
	Data []byte
}

// A Store keeps texts in the files of Dir, which is made where it is missing. Its methods are safe for concurrent use. Only one
// Store may write to a directory at a time.
type Store struct {
	Dir         string
	MaxSize     int64 // how many bytes the files have together, at most; 0: DefaultMaxSize
	SegmentSize int64 // how much is dropped at a time, about; 0: DefaultSegmentSize
	MaxTexts    int   // how many are kept, at most; 0: DefaultMaxTexts

	writing sync.Mutex // held by who writes; guards what follows
	file    *os.File   // the newest segment; nil: there is none yet
	enc     *zstd.Encoder

	mu       sync.Mutex // guards what follows
	opened   bool
	at       map[key]place
	segments []segment // the oldest first
}

// A key is the first half of a hash: enough to find by, since what is found is checked by all of it.
type key [16]byte

func keyOf(h merkle.Hash) key { return key(h[:len(key{})]) }

// A place is where a text lies.
type place struct {
	segment uint32
	offset  uint32 // of its head
	packed  uint32 // bytes
}

// A segment is one of the files.
type segment struct {
	number uint32
	size   int64
}

// Open reads what is kept. Until it has returned nil nothing is, or will be.
func (s *Store) Open() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return err
	}
	numbers, err := segmentsIn(s.Dir)
	if err != nil {
		return err
	}
	at := make(map[key]place)
	var segments []segment
	for _, n := range numbers {
		size, err := scan(segmentPath(s.Dir, n), func(h head) {
			at[keyOf(h.hash)] = place{segment: n, offset: uint32(h.offset), packed: h.packed}
		})
		if err != nil {
			return err
		}
		segments = append(segments, segment{n, size})
	}
	if n := len(segments); n > 0 && segments[n-1].size > 0 {
		last := segments[n-1]
		if s.file, err = os.OpenFile(segmentPath(s.Dir, last.number), os.O_WRONLY, 0o600); err != nil {
			return err
		}
		if err := s.file.Truncate(last.size); err != nil { // what a crash has cut off
			return errors.Join(err, s.file.Close())
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened, s.at, s.segments = true, at, segments
	return nil
}

// Opened tells whether Open has come to its end.
func (s *Store) Opened() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opened
}

// Has tells whether a text is kept, as far as that is known without reading it. It does not wait for the disk.
func (s *Store) Has(h merkle.Hash) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.at[keyOf(h)]
	return ok
}

// Get returns the text of a hash. The error wraps ErrAbsent where it is not kept.
func (s *Store) Get(h merkle.Hash) ([]byte, error) {
	s.mu.Lock()
	p, ok := s.at[keyOf(h)]
	s.mu.Unlock()
	if !ok {
		return nil, ErrAbsent
	}
	f, err := os.Open(segmentPath(s.Dir, p.segment))
	if errors.Is(err, fs.ErrNotExist) { // dropped since
		return nil, ErrAbsent
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := readAt(f, int64(p.offset), h)
	if err != nil {
		s.forget(h, p)
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return text, nil
}

// forget drops a damaged text, so that it is kept anew when it is met again.
func (s *Store) forget(h merkle.Hash, p place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at[keyOf(h)] == p {
		delete(s.at, keyOf(h))
	}
}

// Put keeps texts, the last one longest. Those that are kept already, and those that are too large, are left out. The hashes
// are the caller's word.
func (s *Store) Put(texts []Text) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if !s.Opened() {
		return errors.New("texts cannot be kept: the store is not open")
	}
	var out []byte
	var heads []head
	for _, t := range texts {
		if len(t.Data) > MaxText || s.Has(t.Hash) || slices.ContainsFunc(heads, func(h head) bool { return h.hash == t.Hash }) {
			continue
		}
		if s.enc == nil {
			s.enc = newEncoder()
		}
		h := head{hash: t.Hash, size: uint32(len(t.Data)), offset: int64(len(out))}
		out = append(out, make([]byte, headSize)...)
		out = s.enc.EncodeAll(t.Data, out)
		h.packed = uint32(len(out) - int(h.offset) - headSize)
		h.put(out[h.offset:])
		heads = append(heads, h)
	}
	if len(heads) == 0 {
		return nil
	}
	return s.append(out, heads)
}

// append writes what Put has packed behind the newest segment, or begins another one.
func (s *Store) append(out []byte, heads []head) error {
	last := segment{}
	if n := len(s.segments); n > 0 {
		last = s.segments[n-1]
	}
	if s.file == nil || last.size+int64(len(out)) > s.segmentSize() {
		next, err := s.begin(last.number + 1)
		if err != nil {
			return err
		}
		last = next
	}
	if _, err := s.file.WriteAt(out, last.size); err != nil {
		return err // what there is of it is written over by the next, or cut off by Open
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range heads {
		s.at[keyOf(h.hash)] = place{segment: last.number, offset: uint32(last.size + h.offset), packed: h.packed}
	}
	s.segments[len(s.segments)-1].size += int64(len(out))
	return s.drop()
}

// begin makes a new segment.
func (s *Store) begin(number uint32) (segment, error) {
	f, err := os.OpenFile(segmentPath(s.Dir, number), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return segment{}, err
	}
	if _, err := f.Write([]byte(magic)); err != nil {
		return segment{}, errors.Join(err, f.Close())
	}
	if s.file != nil {
		err = s.file.Close()
	}
	begun := segment{number, int64(len(magic))}
	s.file = f
	s.mu.Lock()
	s.segments = append(s.segments, begun)
	s.mu.Unlock()
	return begun, err
}

// drop removes the oldest segments while there is too much, but for the newest. s.mu is held.
func (s *Store) drop() error {
	for len(s.segments) > 1 {
		size := int64(0)
		for _, g := range s.segments {
			size += g.size
		}
		if size <= s.maxSize() && len(s.at) <= s.maxTexts() {
			return nil
		}
		oldest := s.segments[0]
		s.segments = s.segments[1:]
		for k, p := range s.at {
			if p.segment == oldest.number {
				delete(s.at, k)
			}
		}
		if err := os.Remove(segmentPath(s.Dir, oldest.number)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Close ends writing. What is kept can still be read.
func (s *Store) Close() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	s.opened = false
	s.mu.Unlock()
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	return err
}

func (s *Store) maxSize() int64 {
	if s.MaxSize > 0 {
		return s.MaxSize
	}
	return DefaultMaxSize
}

func (s *Store) segmentSize() int64 {
	if s.SegmentSize > 0 {
		return s.SegmentSize
	}
	return DefaultSegmentSize
}

func (s *Store) maxTexts() int {
	if s.MaxTexts > 0 {
		return s.MaxTexts
	}
	return DefaultMaxTexts
}

// hashOf returns the hash of a content, as an entry has it.
func hashOf(data []byte) (merkle.Hash, error) {
	if len(data) <= merkle.MinBlock {
		if len(data) == 0 {
			return merkle.BlockList{}.Root(), nil
		}
		return merkle.BlockList{{Hash: merkle.HashBlock(data), Size: uint32(len(data))}}.Root(), nil
	}
	list, _, err := merkle.Split(bytes.NewReader(data), nil)
	return list.Root(), err
}
