package audit

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// An Item is a record as it lies in the files.
type Item struct {
	Record
	Number uint64 // from 1, for all that were ever written
	Hash   Hash
	Broken bool // it is not as it was written
}

// A Verdict is what a walk along the chain has found.
type Verdict struct {
	First, Last uint64 // numbers of the records that are there; 0: none. Those before First were dropped
	Head        Hash   // of Last: it stands for all before it
	Torn        int64  // bytes at the end that are no whole record: being written just now, or torn by a crash
	Broken      *Break // the first place where the chain breaks; nil: nowhere
}

// A Break is a place where the files are not as they were written.
type Break struct {
	File   string // name in the directory
	Record uint64 // the first record of which nothing is proven
	Cause  string
}

func (b *Break) Error() string { return fmt.Sprintf("%s: record %d: %s", b.File, b.Record, b.Cause) }

// Read walks along all that is in dir, the oldest first, and calls each with every record. It goes on after a break with what can
// still be read. Another process may write meanwhile. An error is one of reading, or of each; that there is no such
// directory is fs.ErrNotExist.
func Read(dir string, each func(Item) error) (Verdict, error) {
	segments, err := listSegments(dir)
	if err != nil {
		return Verdict{}, fmt.Errorf("read the audit: %w", err)
	}
	w := walk{}
	for i, n := range segments {
		w.final = i == len(segments)-1
		if err := w.file(segmentPath(dir, n), each); err != nil {
			return Verdict{}, fmt.Errorf("read the audit: %w", err)
		}
	}
	w.proveDropped()
	v := Verdict{First: w.first, Last: w.last, Head: w.head, Torn: w.torn, Broken: w.broken}
	if v.First > v.Last {
		v.First = 0
	}
	return v, nil
}

// A walk is how far a reader has come.
type walk struct {
	name   string // of the segment
	final  bool   // it is the last
	first  uint64
	last   uint64
	head   Hash
	torn   int64
	broken *Break

	oldest  string // name of the first segment
	before  Hash   // that of the record before first
	dropped bool   // a record tells that what was before first was dropped
}

// breaks notes that the chain breaks before a record.
func (w *walk) breaks(record uint64, cause string) {
	if w.broken == nil {
		w.broken = &Break{File: w.name, Record: record, Cause: cause}
	}
}

func (w *walk) file(path string, each func(Item) error) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && w.first == 0 {
		return nil // it was dropped just now
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	w.name = info.Name()
	_, _, err = w.segment(f, info.Size(), each)
	return err
}

// segment walks along one segment of size bytes. It returns how many of them are whole records that continue the chain, and the
// time of the first. An error is one of reading, or of each.
func (w *walk) segment(r io.ReaderAt, size int64, each func(Item) error) (good int64, begun time.Time, err error) {
	s, h, err := readSegment(r, size)
	if errors.Is(err, errTorn) {
		w.tear(size, err)
		return 0, begun, nil
	}
	if err != nil {
		w.breaks(w.last+1, err.Error())
		return 0, begun, nil
	}
	w.enter(h)
	good = int64(headSize)
	for {
		f, err := s.next()
		switch {
		case errors.Is(err, io.EOF):
			return good, begun, nil
		case errors.Is(err, errTorn):
			w.tear(size-good, err)
			return good, begun, nil
		case err != nil:
			w.breaks(w.last+1, err.Error()+"; what follows in this file cannot be read")
			return good, begun, nil
		}
		whole := f.hash == w.head.next(f.message)
		if !whole && f.hash[len(f.hash)-1] == 0 && s.tail() {
			w.tear(size-good, errTorn)
			return good, begun, nil
		}
		item := w.take(f, whole)
		good += f.size
		if begun.IsZero() {
			begun = item.Time
		}
		if err := each(item); err != nil {
			return good, begun, err
		}
	}
}

// tear notes that the end of a segment is no whole record. That is so after a crash, and nothing to be proven by; but
// only at the end of all.
func (w *walk) tear(bytes int64, cause error) {
	w.torn = bytes
	if w.name != "" && !w.final {
		w.breaks(w.last+1, cause.Error()+", though another file follows")
	}
}

// enter goes on with a segment that has the head h.
func (w *walk) enter(h head) {
	switch {
	case w.oldest == "" && w.first == 0:
		w.first, w.before, w.oldest = h.first, h.before, w.name
	case h.first > w.last+1:
		w.breaks(w.last+1, fmt.Sprintf("records %d to %d are missing", w.last+1, h.first-1))
	case h.first != w.last+1 || h.before != w.head:
		w.breaks(h.first, "this file does not continue the one before it")
	}
	w.last, w.head, w.torn = h.first-1, h.before, 0
}

// take goes on with a record. One that was changed breaks the chain; what follows it was written after the record as it was.
func (w *walk) take(f frame, whole bool) Item {
	item := Item{Number: w.last + 1, Hash: f.hash}
	record, err := decodeRecord(f.message)
	switch {
	case !whole:
		item.Broken = true
		w.breaks(item.Number, "it is not what was written, or something before it was taken out or put in")
	case err != nil:
		item.Broken = true
		w.breaks(item.Number, err.Error())
	case record.Kind == Dropped && record.Count+1 == w.first && record.Anchor == w.before:
		w.dropped = true
	}
	item.Record = record
	w.last, w.head = item.Number, f.hash
	return item
}

// proveDropped sees to it that what is missing at the beginning was dropped, and not taken out.
func (w *walk) proveDropped() {
	if w.first > 1 && !w.dropped {
		w.broken = &Break{File: w.oldest, Record: 1, Cause: fmt.Sprintf("records 1 to %d are missing, and none tells that they were dropped for their age or size", w.first-1)}
	}
}
