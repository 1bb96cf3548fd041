package watcher

import (
	"io/fs"
	"time"
)

// settling holds the files that were being written when last looked at. fsnotify does not tell when a file is closed, so
// they are looked at again, in short intervals. One is reported when nobody has it open for writing any more; when it
// rests though it is open; or when its time is up.
type settling struct {
	files map[string]*settler
	due   time.Time // the earliest look of all
}

type settler struct {
	since time.Time // of the first change that was not reported
	rest  time.Time // since when it was seen unchanged
	next  time.Time // look
	delay time.Duration
	size  int64
	mtime time.Time
	grew  bool // its size changed between two looks
	epoch uint64
}

func newSettling() settling { return settling{files: make(map[string]*settler)} }

func (s *settling) has(rel string) bool { return s.files[rel] != nil }

func (s *settling) start(rel string, delay time.Duration, fi fs.FileInfo, epoch uint64) {
	now := time.Now()
	f := &settler{since: now, rest: now, next: now.Add(delay), delay: delay,
		size: fi.Size(), mtime: fi.ModTime(), epoch: epoch}
	if len(s.files) == 0 || f.next.Before(s.due) {
		s.due = f.next
	}
	s.files[rel] = f
}

// stop returns the epoch in which the file began to settle, if it did.
func (s *settling) stop(rel string) (epoch uint64, ok bool) {
	f := s.files[rel]
	if f == nil {
		return 0, false
	}
	delete(s.files, rel)
	return f.epoch, true
}

func (s *settling) next() (time.Time, bool) { return s.due, len(s.files) > 0 }

// look visits the files that are due.
func (w *Watcher) look(now time.Time) {
	s := &w.settling
	s.due = now.Add(w.t.settleMax)
	for rel, f := range s.files {
		if !f.next.After(now) && w.settled(rel, f, now) {
			w.report(rel)
			continue
		}
		if f.next.Before(s.due) {
			s.due = f.next
		}
	}
}

// settled looks at one file, and sets the time of the next look if the answer is no.
func (w *Watcher) settled(rel string, f *settler, now time.Time) bool {
	fi, err := w.lstat(rel)
	if err != nil || !fi.Mode().IsRegular() || now.Sub(f.since) >= w.t.settleBound || !w.o.Busy(rel) {
		return true
	}
	if fi.Size() != f.size || !fi.ModTime().Equal(f.mtime) {
		f.grew = f.grew || fi.Size() != f.size
		f.rest, f.size, f.mtime = now, fi.Size(), fi.ModTime()
	}
	enough := w.t.settleMax
	if f.grew {
		enough = w.t.growing
	}
	if now.Sub(f.rest) >= enough {
		return true
	}
	f.delay = min(2*f.delay, w.t.settleMax)
	f.next = now.Add(f.delay)
	return false
}
