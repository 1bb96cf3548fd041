package replica

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"resonate/beneath"
	"resonate/locking"
	"resonate/merkle"
)

// What others hold can be shown as read-only: the files under their locks lose their write bits in this folder, and get them back when the lock
// is over. That is this node's own affair. To everything else here, a file that is marked has the mode it had: what looks at one gets its write bits
// back in what it is told (shownModes), so that neither an event nor a scan finds a change, and nothing is published. A mark goes with the
// inode; it is taken away before this node changes a file's attributes or displaces it, and made again, where there is still a lock, on what is there
// then. Before a mark is made it is written down (markfile.go), so that the next start undoes what a crash has left.

// Bounds of marking.
const (
	maxMarked   = 10000                  // files under one lock: beyond that, none of them
	markPortion = 256                    // files in one turn of the loop
	markAgain   = 10 * time.Second       // after which it is tried again to undo a mark
	markEndTime = 200 * time.Millisecond // for undoing marks when Run ends; what is left, the next start undoes
	writeBits   = 0o222
)

// marking is the loop's state of what is marked.
type marking struct {
	locked  map[locking.Scope]*markedScope // what others hold
	marks   map[uint64]*lockMark           // by inode
	todo    map[string]bool                // paths to be marked, perhaps
	undo    map[uint64]time.Time           // inodes of marks to be undone, and when
	most    int                            // maxMarked; less in tests
	noting  bool                           // marks to be made are being written down: markFile is not the loop's
	unnoted []byte                         // what is to be written down about marks that are undone
	markFile
}

// A markedScope is what another node has locked.
type markedScope struct {
	scope locking.Scope
	count int  // of marks
	over  bool // there are too many files: none is marked
}

// A lockMark is a file that has lost its write bits.
type lockMark struct {
	path  string // where it was last seen
	inode uint64
	bits  uint32       // which it has lost
	scope *markedScope // nil: of an earlier run
	lost  bool         // it was not at its path when last tried
}

// MarkLocked has the files in scopes, which others hold, shown as read-only, and no others. It must not be called by the loop.
func (r *Replica) MarkLocked(scopes []locking.Scope) {
	r.post(func() { r.markScopes(scopes) })
}

func (r *Replica) markScopes(scopes []locking.Scope) {
	before := r.locked
	r.locked = make(map[locking.Scope]*markedScope, len(scopes))
	for _, s := range scopes {
		if s.Kind == locking.Name || r.locked[s] != nil {
			continue
		}
		if r.locked[s] = before[s]; r.locked[s] == nil {
			r.locked[s] = &markedScope{scope: s}
			r.markAllIn(r.locked[s])
		}
	}
	for _, m := range r.marks {
		r.adopt(m)
	}
}

// markAllIn has all files in a scope marked, if they are not too many.
func (r *Replica) markAllIn(s *markedScope) {
	paths := []string{s.scope.Path}
	if s.scope.Kind == locking.Tree {
		for path, e := range r.tree.All(s.scope.Path) {
			if e.Live() && e.Kind == merkle.File {
				paths = append(paths, path)
			}
			if len(paths) > r.most+1 {
				r.tooMany(s)
				return
			}
		}
	}
	for _, path := range paths {
		r.todo[path] = true
	}
}

// tooMany gives up marking what lies in s.
func (r *Replica) tooMany(s *markedScope) {
	s.over = true
	r.log.Warn("not shown as read-only: there are too many files under another node's lock", "scope", s.scope.String(), "most", r.most)
	for _, m := range r.marks {
		r.adopt(m)
	}
}

// covering returns what covers a path of what others hold, nil for nothing.
func (r *Replica) covering(path string) *markedScope {
	if len(r.locked) == 0 {
		return nil
	}
	if s := r.locked[onePath(path)]; s != nil {
		return s
	}
	for at := path; ; at, _ = merkle.SplitPath(at) {
		if s := r.locked[locking.Scope{Kind: locking.Tree, Path: at}]; s != nil && !s.over {
			return s
		}
		if at == "" {
			return nil
		}
	}
}

// adopt has a mark belong to what covers its path by now; where nothing does, it is to be undone.
func (r *Replica) adopt(m *lockMark) {
	s := r.covering(m.path)
	if s == nil {
		if _, known := r.undo[m.inode]; !known {
			r.undo[m.inode] = time.Time{}
		}
		return
	}
	delete(r.undo, m.inode)
	if m.scope != nil {
		m.scope.count--
	}
	m.scope = s
	s.count++
}

// noteForMark takes note of a path whose record has changed: what stands there is another file, perhaps.
func (r *Replica) noteForMark(path string) {
	if len(r.marks) > 0 {
		if m := r.marks[r.diskAt(path).Inode]; m != nil {
			r.movedMark(m, path)
		}
	}
	if r.covering(path) != nil {
		r.todo[path] = true
	}
}

// metMark takes note of where a marked file was found.
func (r *Replica) metMark(path string, info beneath.Info) {
	if m := r.marks[info.Inode]; m != nil && info.Kind == beneath.File {
		r.movedMark(m, path)
	}
}

func (r *Replica) movedMark(m *lockMark, path string) {
	if m.path == path && !m.lost {
		return
	}
	if info, err := r.root.Lstat(path); err == nil && info.Inode == m.inode {
		m.path, m.lost = path, false
		delete(r.undo, m.inode)
		r.adopt(m)
	}
}

// tendMarks undoes marks and makes others, so many in a turn.
func (r *Replica) tendMarks(now time.Time) {
	r.undoMarks(now)
	r.noteUndone()
	if len(r.todo) == 0 || r.noting || !r.scanned {
		return
	}
	var list []*lockMark
	n := 0
	for path := range r.todo {
		delete(r.todo, path)
		if m := r.markable(path); m != nil {
			list = append(list, m)
		}
		if n++; n == markPortion {
			r.wakeIn(0)
			break
		}
	}
	if len(list) == 0 {
		return
	}
	r.noting = true
	if err := r.markFile.shorten(r.place, r.marks); err != nil {
		r.log.Debug("it cannot be written anew which files are marked", "cause", err)
	}
	r.workers.Go(func() {
		err := r.markFile.add(r.root, list)
		r.post(func() { r.markNow(list, err) })
	})
}

// markable returns the mark that the file at path could get; nil for none.
func (r *Replica) markable(path string) *lockMark {
	e, s := r.tree.Get(path), r.covering(path)
	if s == nil || s.over || !e.Live() || e.Kind != merkle.File || r.unpublished(path) || r.isShelved(path) {
		return nil
	}
	info, err := r.root.Lstat(path)
	if err != nil || !sameDisk(r.diskAt(path), info) || info.Links > 1 || info.Mode&writeBits == 0 || r.stillMarked(path, info.Inode) {
		return nil // of several names, only some may lie in the scope
	}
	return &lockMark{path: path, inode: info.Inode, bits: info.Mode & writeBits, scope: s}
}

// stillMarked tells whether the file at path has a mark. One that somebody has made writable, or a new one with the inode of one that is gone, has
// none any more.
func (r *Replica) stillMarked(path string, inode uint64) bool {
	m := r.marks[inode]
	if m == nil {
		return false
	}
	f, err := r.root.OpenFile(path)
	if err != nil {
		return true
	}
	defer f.Close()
	info, err := beneath.Fstat(f)
	if err != nil || info.Inode != inode || info.Mode&writeBits == 0 {
		return true
	}
	r.forgetMark(m)
	return false
}

// markNow marks files after that was written down, where they are still as they were.
func (r *Replica) markNow(list []*lockMark, err error) {
	defer func() { r.noting = false }() // then: what is noted of those in list counts until they are all dealt with
	if err != nil {
		r.log.Warn("what others hold is not shown as read-only: that cannot be written down", "cause", err, "remedy", "free space, or make the folder writable")
		return
	}
	for _, m := range list {
		now := r.markable(m.path)
		if now == nil || now.inode != m.inode || now.bits != m.bits {
			r.forgetMark(m)
			r.noteForMark(m.path)
			continue
		}
		if now.scope.count >= r.most {
			r.forgetMark(m)
			if !now.scope.over {
				r.tooMany(now.scope)
			}
			continue
		}
		m.scope = now.scope
		m.scope.count++
		r.marks[m.inode] = m
		r.shown.put(m.inode, m.bits) // first: whoever looks in between finds no change
		if err := r.chmodMarked("mark.chmod", m, false); err != nil {
			r.log.Debug("a file under another node's lock cannot be made read-only", "path", m.path, "cause", err)
			r.forgetMark(m)
		}
	}
}

// chmodMarked takes the write bits of a marked file away, or gives them back.
func (r *Replica) chmodMarked(l beneath.Label, m *lockMark, back bool) error {
	info, err := r.root.Lstat(m.path)
	switch {
	case err != nil:
		return err
	case info.Inode != m.inode || info.Kind != beneath.File:
		return errChangedHere
	case back:
		return r.root.Chmod(l, m.path, info.Mode)
	}
	return r.root.Chmod(l, m.path, info.Mode&^writeBits)
}

// undoMarks undoes what is due.
func (r *Replica) undoMarks(now time.Time) {
	n := 0
	for inode, due := range r.undo {
		m := r.marks[inode]
		switch {
		case m == nil:
			delete(r.undo, inode)
			continue
		case due.After(now):
			r.wakeIn(due.Sub(now))
			continue
		case n == markPortion:
			r.wakeIn(0)
			return
		}
		n++
		r.unmark(m, now)
	}
}

// unmark undoes a mark. A file that is not where it was may have been renamed: a scan, or an event, tells where it is.
func (r *Replica) unmark(m *lockMark, now time.Time) {
	err := r.chmodMarked("mark.undo", m, true)
	gone := absent(err) || err == errChangedHere
	if err == nil || gone && m.lost && r.scanned {
		r.forgetMark(m)
		return
	}
	m.lost = gone
	r.undo[m.inode] = now.Add(markAgain)
	r.wakeIn(markAgain)
	if !gone {
		r.log.Warn("a file stays read-only: it cannot get its mode back", "path", m.path, "cause", err, "remedy", "make it writable by hand: chmod u+w")
	}
}

// unmarkAt takes the mark away from the file at path, which is about to be changed or displaced.
func (r *Replica) unmarkAt(path string) {
	if len(r.marks) == 0 {
		return
	}
	info, err := r.root.Lstat(path)
	if err != nil {
		return
	}
	if m := r.marks[info.Inode]; m != nil && info.Kind == beneath.File {
		m.path = path
		r.unmark(m, time.Now())
	}
}

// unmarkBelow is unmarkAt for all that lies in a directory.
func (r *Replica) unmarkBelow(dir string) {
	covers := below(dir)
	for _, m := range r.marks {
		if covers(m.path) {
			r.unmark(m, time.Now())
		}
	}
}

// unmarkAtEnd undoes what can be undone at once when Run ends.
func (r *Replica) unmarkAtEnd() {
	if len(r.marks) == 0 || !r.checkMarker() {
		return
	}
	end := time.Now().Add(markEndTime)
	for _, m := range r.marks {
		if time.Now().After(end) {
			break
		}
		r.unmark(m, time.Now())
	}
	r.noteUndone()
}

// forgetMark forgets a mark that is undone, or was not made.
func (r *Replica) forgetMark(m *lockMark) {
	if r.marks[m.inode] == m {
		delete(r.marks, m.inode)
		delete(r.undo, m.inode)
		r.shown.drop(m.inode)
		if m.scope != nil {
			m.scope.count--
		}
	}
	r.unnoted = fmt.Appendf(r.unnoted, "- %d\n", m.inode)
}

// noteUndone writes down which files are not marked any more. That need not be durable: to undo a mark twice changes nothing, but for a file that
// has become read-only since.
func (r *Replica) noteUndone() {
	if len(r.unnoted) == 0 || r.noting {
		return
	}
	if err := r.markFile.drop(r.root, r.unnoted, len(r.marks) == 0); err != nil {
		r.log.Debug("it cannot be written down that files are not marked any more", "cause", err)
	}
	r.unnoted = nil
}

// loadMarks takes over the marks that an earlier run has left. They are to be undone; until then, the files count as what they were.
func (r *Replica) loadMarks() error {
	r.marks, r.todo, r.undo = make(map[uint64]*lockMark), make(map[string]bool), make(map[uint64]time.Time)
	r.most, r.root.Seen = maxMarked, r.shown.of
	list, err := r.markFile.read(r.root)
	for _, m := range list {
		r.marks[m.inode] = m
		r.undo[m.inode] = time.Time{}
		r.shown.put(m.inode, m.bits)
	}
	return err
}

func (r *Replica) closeMarks() { r.markFile.close() }

// fstat is beneath.Fstat for an open file of the folder, with the mode it has but for a mark. Anybody may call it.
func (r *Replica) fstat(f *os.File) (beneath.Info, error) {
	for {
		undone := r.shown.undone.Load()
		info, err := beneath.Fstat(f)
		if shown := r.shown.of(info); err != nil || undone == r.shown.undone.Load() {
			return shown, err
		}
	}
}

// shownModes are the write bits of marked files, for all who look at files, at the same time.
type shownModes struct {
	undone atomic.Uint64 // counts the marks taken away
	count  atomic.Int64
	mu     sync.RWMutex
	bits   map[uint64]uint32 // by inode
}

// of returns info with the mode that the file has but for a mark. One that has any write bit was made writable by somebody since.
func (s *shownModes) of(info beneath.Info) beneath.Info {
	if info.Kind == beneath.File && info.Mode&writeBits == 0 && s.count.Load() > 0 {
		s.mu.RLock()
		info.Mode |= s.bits[info.Inode]
		s.mu.RUnlock()
	}
	return info
}

func (s *shownModes) put(inode uint64, bits uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bits == nil {
		s.bits = make(map[uint64]uint32)
	}
	s.bits[inode] = bits
	s.count.Store(int64(len(s.bits)))
}

func (s *shownModes) drop(inode uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.bits, inode)
	s.count.Store(int64(len(s.bits)))
	s.undone.Add(1)
}
