package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"
)

// The bounds of a Log that sets none.
const (
	DefaultMaxAge      = 365 * 24 * time.Hour
	DefaultMaxSize     = 128 << 20
	DefaultSegmentSize = 8 << 20
)

// maxPending is how many records are kept in memory while they cannot be written; those beyond are counted, and told as lost.
const maxPending = 1 << 16

// maxWrite is about how many bytes are written at once.
const maxWrite = 1 << 20

// A Log gathers records, and appends them to the files in Dir when it is told to. Its methods are safe for concurrent use. Only
// one Log may write to a directory at a time. It is opened by the first Flush: what is wrong with the files keeps nobody
// from adding records.
type Log struct {
	Dir         string           // made where it is missing
	MaxAge      time.Duration    // how long records are kept, about; 0: DefaultMaxAge
	MaxSize     int64            // how many bytes of them, about; 0: DefaultMaxSize
	SegmentSize int64            // how much is dropped at a time; 0: DefaultSegmentSize
	Clock       func() time.Time // nil: time.Now

	mu      sync.Mutex
	pending []Record
	lost    uint64 // records that were not taken

	writing sync.Mutex // guards what follows
	file    *os.File   // nil: not open yet
	number  uint64     // of the segment
	size    int64      // of file, bytes; what lies behind is to be cut off
	torn    bool       // something may lie behind
	begun   time.Time  // when the segment was
	count   uint64     // number of the last record written
	head    Hash       // its hash
}

func (l *Log) now() time.Time {
	if l.Clock != nil {
		return l.Clock()
	}
	return time.Now()
}

// Add takes a record, to be written by the next Flush. It does not wait for the disk.
func (l *Log) Add(r Record) {
	if r.Time.IsZero() {
		r.Time = l.now()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pending) >= maxPending {
		l.lost++
		return
	}
	l.pending = append(l.pending, r)
}

// Waiting returns how many records wait to be written.
func (l *Log) Waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.pending)
}

// Flush appends what was added so far, with few calls of write(2), so that it survives the death of the process once Flush has
// returned. It survives a loss of power a while later, when the system has written it to the disk. After an error the
// records wait for the next Flush.
func (l *Log) Flush() error {
	l.writing.Lock()
	defer l.writing.Unlock()
	batch := l.take()
	if len(batch) == 0 {
		return nil
	}
	err := l.open()
	for len(batch) > 0 && err == nil {
		var n int
		n, err = l.write(batch)
		batch = batch[n:]
	}
	if err != nil {
		l.giveBack(batch)
		return fmt.Errorf("write the audit in %s: %w", l.Dir, err)
	}
	return nil
}

// take returns what waits, with a record of what was lost after it.
func (l *Log) take() []Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	batch := l.pending
	l.pending = nil
	if l.lost > 0 {
		batch = append(batch, Record{Kind: Lost, Time: l.now(), Count: l.lost, Cause: "they could not be written in time"})
		l.lost = 0
	}
	return batch
}

// giveBack has records written by the next Flush, ahead of what was added since.
func (l *Log) giveBack(batch []Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = append(batch, l.pending...)
}

// write appends as many of the records as go into one call of write(2) and into the segment, and returns how many.
func (l *Log) write(batch []Record) (int, error) {
	if err := l.cutTail(); err != nil {
		return 0, err
	}
	if l.size >= l.segmentSize() || l.now().Sub(l.begun) > l.maxAge()/12 { // so that age, too, drops a part at a time
		if err := l.rotate(); err != nil {
			return 0, err
		}
	}
	var message []byte
	frames := make([]byte, 0, min(maxWrite, 200*len(batch))) // about what most take
	hash, n := l.head, 0
	for n == 0 || n < len(batch) && len(frames) < maxWrite && l.size+int64(len(frames)) < l.segmentSize() {
		message = appendRecord(message[:0], &batch[n])
		frames, hash = appendFrame(frames, message, hash)
		n++
	}
	if err := l.append(frames); err != nil {
		return 0, err
	}
	l.count += uint64(n)
	l.head = hash
	return n, nil
}

// append writes bytes to the end of the segment, all or none.
func (l *Log) append(b []byte) error {
	if _, err := l.file.WriteAt(b, l.size); err != nil {
		l.torn = true
		return errors.Join(err, l.cutTail())
	}
	l.size += int64(len(b))
	return nil
}

// cutTail cuts off what a failed write has left.
func (l *Log) cutTail() error {
	if !l.torn {
		return nil
	}
	if err := l.file.Truncate(l.size); err != nil {
		return err
	}
	l.torn = false
	return nil
}

func (l *Log) segmentSize() int64 { return orDefault(l.SegmentSize, DefaultSegmentSize) }
func (l *Log) maxAge() time.Duration {
	return orDefault(l.MaxAge, DefaultMaxAge)
}

func orDefault[T ~int64](v, otherwise T) T {
	if v == 0 {
		return otherwise
	}
	return v
}

// open goes on where an earlier run has ended, unless that is done. What a crash has torn at the end is cut off. A last segment
// that is damaged stays as it is, and another is begun.
func (l *Log) open() error {
	if l.file != nil {
		return nil
	}
	if err := os.MkdirAll(l.Dir, 0o700); err != nil {
		return err
	}
	segments, err := listSegments(l.Dir)
	if err != nil {
		return err
	}
	l.number, l.count, l.head = 0, 0, Hash{}
	for i, n := range slices.Backward(segments) {
		last := i == len(segments)-1
		e, err := endOf(segmentPath(l.Dir, n))
		switch {
		case err != nil:
			return err
		case last && e.good == 0 && e.broken == nil: // a crash came before its head was written: there is nothing in it
			if err := os.Remove(segmentPath(l.Dir, n)); err != nil {
				return err
			}
			segments = segments[:i]
			continue
		}
		l.number = max(l.number, n)
		if e.good == 0 {
			continue // of its head nothing can be read: what came before it tells
		}
		l.count, l.head = e.last, e.head
		if !last || e.broken != nil {
			break
		}
		f, err := os.OpenFile(segmentPath(l.Dir, n), os.O_RDWR, 0)
		if err != nil {
			return err
		}
		l.file, l.size, l.torn, l.begun = f, e.good, e.torn > 0, e.begun
		return nil
	}
	return l.begin()
}

// An end is what the end of a segment is.
type end struct {
	walk
	good  int64 // bytes that are whole records
	begun time.Time
}

// endOf walks along a segment, to its end.
func endOf(name string) (e end, err error) {
	f, err := os.Open(name)
	if err != nil {
		return e, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return e, err
	}
	e.good, e.begun, err = e.segment(f, info.Size(), func(Item) error { return nil })
	if e.begun.IsZero() {
		e.begun = info.ModTime()
	}
	return e, err
}

// rotate ends the segment and begins another. What the old one holds is on stable storage before there is a new one: of the
// files of a log, only the last can be torn.
func (l *Log) rotate() error {
	if err := l.file.Sync(); err != nil {
		return err
	}
	old := l.file
	if err := l.begin(); err != nil {
		return err
	}
	_ = old.Close() // it was synced
	return l.drop()
}

// begin makes the next segment. After an error the last one goes on.
func (l *Log) begin() error {
	name := segmentPath(l.Dir, l.number+1)
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	b := head{first: l.count + 1, before: l.head}.append(nil)
	if _, err := f.Write(b); err != nil {
		return errors.Join(err, f.Close(), os.Remove(name))
	}
	l.file, l.number, l.size, l.torn, l.begun = f, l.number+1, int64(len(b)), false, l.now()
	return nil
}

// drop removes the oldest segments where there is too much, or they are too old. That they went is told by a record which is on
// stable storage before they go: else it would look as if somebody else had taken them.
func (l *Log) drop() error {
	segments, err := listSegments(l.Dir)
	if err != nil {
		return err
	}
	gone := l.tooMuch(segments)
	if gone == 0 {
		return nil
	}
	first, err := headOf(segmentPath(l.Dir, segments[gone]))
	if err != nil { // it is damaged, which Read tells; what is behind it is not known to be dropped
		return nil
	}
	r := Record{Kind: Dropped, Time: l.now(), Count: first.first - 1, Anchor: first.before}
	frames, hash := appendFrame(nil, appendRecord(nil, &r), l.head)
	if err := l.append(frames); err != nil {
		return err
	}
	l.count, l.head = l.count+1, hash
	if err := l.file.Sync(); err != nil {
		return err
	}
	for _, n := range segments[:gone] {
		if err := os.Remove(segmentPath(l.Dir, n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// tooMuch returns how many of the segments, from the oldest on, are to go. The last stays.
func (l *Log) tooMuch(segments []uint64) (gone int) {
	var total int64
	oldest := l.now().Add(-l.maxAge())
	for i := len(segments) - 1; i >= 0; i-- {
		info, err := os.Stat(segmentPath(l.Dir, segments[i]))
		if err != nil {
			continue
		}
		total += info.Size()
		if i < len(segments)-1 && (total > orDefault(l.MaxSize, DefaultMaxSize) || info.ModTime().Before(oldest)) {
			return i + 1
		}
	}
	return 0
}

// headOf reads the head of a segment.
func headOf(name string) (head, error) {
	f, err := os.Open(name)
	if err != nil {
		return head{}, err
	}
	defer f.Close()
	b := make([]byte, headSize)
	if _, err := f.ReadAt(b, 0); err != nil {
		return head{}, err
	}
	return decodeHead(b)
}

// Close closes the files. What was not flushed is lost.
func (l *Log) Close() error {
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}
