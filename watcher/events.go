package watcher

import (
	"io/fs"
	"path"
	"strings"

	"github.com/fsnotify/fsnotify"
)

// drain handles an event and what is queued behind it, so that a burst makes one batch.
func (w *Watcher) drain(ev fsnotify.Event, ok bool) error {
	for n := 1; ; n++ {
		if !ok {
			return errStopped
		}
		if err := w.handle(ev); err != nil || n == drainMax {
			return err
		}
		select {
		case ev, ok = <-w.feed.fsw.Events:
		default:
			return nil
		}
	}
}

func (w *Watcher) handle(ev fsnotify.Event) error {
	away := ev.Has(fsnotify.Remove) || ev.Has(fsnotify.Rename)
	if ev.Name == w.o.Root {
		if away {
			return w.checkRoot()
		}
		return nil
	}
	rel, ok := strings.CutPrefix(ev.Name, w.prefix)
	switch {
	case !ok:
	case w.o.Sentinel != "" && path.Dir(rel) == w.o.Sentinel:
		w.reached(path.Base(rel))
	case w.o.Sentinel != "" && rel == w.o.Sentinel && away:
		w.sentinelLost()
	case !w.dirs.has(path.Dir(rel)):
		// The directory was moved or removed, and this is its old name. What happened in it up to the end of its watch is
		// found when it is listed at its new place.
	case w.o.Skip(rel):
	default:
		w.changed(rel, ev.Op, away)
	}
	return nil
}

// changed looks at what stands at a path now.
//
// After Remove and Rename the watches at and below the path go in any case. fsnotify keeps the old name for a directory
// that was moved, and when it is moved fsnotify itself drops the watch of the directory, though not those of the
// directories below. A directory that stands at the path (again) is then a new one.
func (w *Watcher) changed(rel string, op fsnotify.Op, away bool) {
	if away {
		w.drop(rel)
	}
	fi, err := w.lstat(rel)
	switch {
	case err != nil:
		w.report(rel)
	case fi.IsDir() && w.o.Ignore(rel):
		w.drop(rel)
		w.report(rel)
	case fi.IsDir():
		w.push(rel, true)
	case !op.Has(fsnotify.Write) && !op.Has(fsnotify.Chmod) && w.own(rel, fi):
		// Whoever changes it from now on raises another event.
	case op&^(fsnotify.Write|fsnotify.Chmod) == 0 && w.settling.has(rel):
		// The next look at it sees this change too.
	case op == fsnotify.Chmod:
		w.report(rel)
	default:
		w.file(rel, fi.Mode().Type())
	}
}

// own tells whether the reader put there what stands at a path.
func (w *Watcher) own(rel string, fi fs.FileInfo) bool {
	return w.o.Own(rel, identify(fi).ino, fi)
}

// file reports a file, or lets it settle if it is still being written.
func (w *Watcher) file(rel string, typ fs.FileMode) {
	if !typ.IsRegular() || !w.o.Busy(rel) {
		w.report(rel)
		return
	}
	if w.settling.has(rel) {
		return
	}
	fi, err := w.lstat(rel)
	if err != nil {
		w.report(rel)
		return
	}
	w.settling.start(rel, w.t.settleMin, fi, w.epochs.start())
}

// report makes the path part of the next batch, and ends its settling.
func (w *Watcher) report(rel string) {
	w.pending.add(rel)
	if epoch, ok := w.settling.stop(rel); ok {
		w.epochs.end(epoch)
	}
}
