package watcher

import (
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"
	"time"
)

// A job is a directory to watch and to list.
type job struct {
	path   string
	report bool // it and what is in it; otherwise a rescan, or the reader's first scan, follows
	epoch  uint64
}

// A rescan is due when the walk is done: what changed in a directory before it was watched is found then.
type rescan struct {
	path  string
	epoch uint64
}

// listMax entries of a directory are read at a time.
const listMax = 1024

// walkMax is how long a batch waits for all that is in new directories to be in it.
const walkMax = 50 * time.Millisecond

// midway tells whether new directories are being walked, so that some of what is in them is still to be reported.
func (w *Watcher) midway() bool {
	return len(w.todo) > 0 && w.todo[len(w.todo)-1].report && time.Since(w.walking) < walkMax
}

func (w *Watcher) push(rel string, report bool) {
	if report && len(w.todo) == 0 {
		w.walking = time.Now()
	}
	w.todo = append(w.todo, job{rel, report, w.epochs.start()})
}

func (w *Watcher) rescanAfterWalk(rel string) {
	w.after = append(w.after, rescan{rel, w.epochs.start()})
}

// step does one piece of the walk.
func (w *Watcher) step() {
	if n := len(w.todo); n > 0 {
		j := w.todo[n-1]
		w.todo = w.todo[:n-1]
		w.cover(j)
		if j.report {
			// Not before it is watched: a reader who looks at once must not see what may change unnoticed.
			w.report(j.path)
		}
		w.epochs.end(j.epoch)
		return
	}
	if n := len(w.tally); n > 0 {
		t := w.tally[n-1]
		w.tally = w.tally[:n-1]
		w.count(t)
	}
}

// walked is called when there is no directory left to watch.
func (w *Watcher) walked() {
	for _, r := range w.after {
		w.pending.addRescan(r.path)
		w.epochs.end(r.epoch)
	}
	w.after = nil
	w.todo = nil // The stack of a large walk is not kept.
	if w.polling {
		w.polling, w.polled = false, w.carrier()
	}
	select {
	case <-w.ready:
	default:
		close(w.ready)
	}
}

// cover watches a directory, then lists it.
//
// What stands at the path can be another directory from one call to the next. That needs no second try: the parent is
// watched, so an event is on its way that brings the path here again.
func (w *Watcher) cover(j job) {
	fi, err := w.lstat(j.path)
	if err != nil || !fi.IsDir() {
		w.forget(j.path)
		return
	}
	id := identify(fi)
	if w.dirs.is(j.path, id) {
		return
	}
	w.unwatchAll(j.path)
	if other, ok := w.dirs.at(id); ok && !w.movedFrom(other, id) {
		w.uncover(j, errTwice{other})
		return
	}
	if j.path != "." && !w.dirs.has(path.Dir(j.path)) {
		return
	}
	if err := w.add(w.abs(j.path)); err != nil {
		w.uncover(j, err)
		return
	}
	w.dirs.put(j.path, id)
	w.watched.Store(int64(w.dirs.len()))
	w.forget(j.path)
	if err := w.list(j, id); err != nil {
		w.drop(j.path)
		w.uncover(j, err)
	}
}

// movedFrom drops the watches of a directory that is found elsewhere: fsnotify would go on to report them by the old name.
// It returns false if the directory is still there, too (a bind mount): inotify has one watch for both.
func (w *Watcher) movedFrom(rel string, id identity) bool {
	if fi, err := w.lstat(rel); err == nil && identify(fi) == id {
		return false
	}
	w.drop(rel)
	return true
}

// list passes on what is in a directory that was just watched.
func (w *Watcher) list(j job, id identity) error {
	flags := os.O_RDONLY | syscall.O_DIRECTORY
	if j.path != "." {
		flags |= syscall.O_NOFOLLOW
	}
	f, err := os.OpenFile(w.abs(j.path), flags, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if identify(fi) != id {
		w.drop(j.path)
		return nil
	}
	for {
		entries, err := f.ReadDir(listMax)
		for _, e := range entries {
			w.found(j, path.Join(j.path, e.Name()), e.Type())
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (w *Watcher) found(j job, rel string, typ fs.FileMode) {
	if w.o.Skip(rel) {
		return
	}
	if typ.IsDir() && w.o.Ignore(rel) {
		if j.report {
			w.report(rel)
		}
		return
	}
	if typ.IsDir() {
		w.todo = append(w.todo, job{rel, j.report, w.epochs.join(j.epoch)})
	}
	if !j.report || typ.IsDir() {
		return
	}
	if fi, err := w.lstat(rel); err == nil && w.own(rel, fi) {
		return
	}
	w.file(rel, typ)
}

// drop ends the watches at and below a path, and forgets what was uncovered there.
func (w *Watcher) drop(rel string) {
	w.unwatchAll(rel)
	w.forget(rel)
}

func (w *Watcher) unwatchAll(rel string) {
	w.dirs.drop(rel, w.unwatch)
	w.watched.Store(int64(w.dirs.len()))
}

func (w *Watcher) unwatch(rel string) {
	// An error says that the watch is gone already, with its directory.
	_ = w.feed.fsw.Remove(w.abs(rel))
}

// Recheck has Ignore asked again about what lies below a directory ("." is the root), and the directory compared anew when that
// is done: what was ignored may be watched now, and the other way round. It may be called from any goroutine.
func (w *Watcher) Recheck(dir string) {
	w.mu.Lock()
	w.recheck[dir] = struct{}{}
	w.mu.Unlock()
	select {
	case w.asked <- struct{}{}:
	default:
	}
}

// rechecks walks again what Recheck was called for. New watches for all below cost less than to find out which changed.
func (w *Watcher) rechecks() {
	w.mu.Lock()
	dirs := w.recheck
	w.recheck = make(map[string]struct{})
	w.mu.Unlock()
	for dir := range dirs {
		w.drop(dir)
		w.push(dir, false)
		w.rescanAfterWalk(dir)
	}
}

// overflowed starts afresh after events were lost. A move may be among them, and then fsnotify's names are wrong. New
// watches for all cost less than to find out which.
func (w *Watcher) overflowed() error {
	w.overflows.Add(1)
	w.o.Log.Warn("file system events were lost, comparing the whole folder", "path", w.o.Root)
	if err := w.checkRoot(); err != nil {
		return err
	}
	w.feed.close()
	select {
	case <-w.overflow: // of the old instance
	default:
	}
	feed, err := openFeed(w.overflow, w.o.Log)
	if err != nil {
		return err
	}
	w.feed = feed
	if w.o.Sentinel != "" {
		w.sentinelLost()
	}
	for _, j := range w.todo {
		w.epochs.end(j.epoch)
	}
	w.todo = w.todo[:0]
	w.dirs = newDirs()
	w.forget(".")
	w.push(".", false)
	w.rescanAfterWalk(".")
	w.reachedAll()
	return nil
}
