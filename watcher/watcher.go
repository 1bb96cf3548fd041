// Package watcher is fsnotify made dependable. It tells which paths below a folder may have changed: in the whole tree,
// once each, when they have settled. What the kernel cannot tell (a queue that overflowed, a directory for which no watch
// could be had) comes as a request to compare just that subtree again, so that a reader who does as told misses nothing.
//
// One goroutine, Run, owns all state: it takes events first, and walks new directories one at a time in between. A
// directory is watched before it is listed; whatever happens to it later raises an event in its parent, which is watched
// already. So every decision is made anew from what stands at the path now, and a stale look is always followed by the
// event that corrects it.
package watcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"
)

// ErrRootGone is returned (wrapped) by Run when the root was removed, moved, unmounted or replaced.
var ErrRootGone = errors.New("folder is gone")

// errStopped is what Flush returns when Run has ended.
var errStopped = errors.New("watcher has stopped")

// Options say what to watch. All paths but Root are relative to it and slash-separated.
// The functions are called from the goroutine of Run, and must not call the Watcher.
type Options struct {
	Root     string                                               // absolute path of the folder
	Skip     func(path string) bool                               // true: the path, and all below it, is neither watched nor reported; nil: never
	Ignore   func(dir string) bool                                // true: what lies in the directory is neither watched nor reported; see Recheck; nil: never
	Busy     func(path string) bool                               // true: somebody has the regular file open for writing; takes microseconds; nil: never
	Own      func(path string, inode uint64, fi fs.FileInfo) bool // true: the reader put this file there itself, and knows it; nil: never
	Exact    func(path string) bool                               // false: what is found at the path is spelled otherwise, so it is not there; nil: never
	Sentinel string                                               // an existing directory, under a skipped path, for the files that Flush makes; "": no Flush
	Log      *slog.Logger                                         // nil: silent
}

// timing is the defaults that tests shorten.
type timing struct {
	settleMin   time.Duration // until the second look at a busy file; each next one takes twice as long to come
	settleMax   time.Duration // longest time between two looks, and how long a busy file must rest to be reported
	growing     time.Duration // the same rest for a file that was seen to grow
	settleBound time.Duration // a busy file is reported this long after its first change, at rest or not
	poll        time.Duration // between two rescans of what is uncovered, and two checks of the root
}

var defaults = timing{
	settleMin:   2 * time.Millisecond,
	settleMax:   10 * time.Millisecond,
	growing:     100 * time.Millisecond,
	settleBound: 3 * time.Second,
	poll:        10 * time.Second,
}

// drainMax events are handled before a waiting reader gets its turn: about half a millisecond of work.
const drainMax = 64

// eventBuffer is the number of events taken from the kernel ahead of their handling.
const eventBuffer = 1024

// A Watcher reports changes below one root. Its methods may be called from any goroutine.
type Watcher struct {
	o      Options
	t      timing
	prefix string   // of the name of each event: the root and a slash
	rootID identity // what stood at the root when New was called

	batches chan Batch
	ready   chan struct{} // closed when the first walk is done
	stopped chan struct{} // closed when Run has ended

	add       func(path string) error // puts a watch on an absolute path; a seam for tests of the limit
	overflow  chan struct{}           // holds a token when events were lost
	asked     chan struct{}           // holds a token when recheck is not empty
	watched   atomic.Int64
	overflows atomic.Uint64

	mu        sync.Mutex
	recheck   map[string]struct{} // what Recheck was called for
	flushes   map[string]*flush   // by name of the sentinel file
	uncovered map[string]*gap     // top-most directories without a watch; written by Run only

	// The rest belongs to Run.
	feed       *feed
	sentinelOK bool // the sentinel directory is watched
	dirs       dirs
	todo       []job     // directories to watch and list; the last one is next
	walking    time.Time // since when there are some of which all is reported
	tally      []tally   // uncovered directories to count, when there is nothing else to do
	after      []rescan  // to be reported when todo is empty
	settling   settling
	epochs     epochs
	pending    pending
	out        *Batch // offered to the reader
	built      uint64 // number of batches made so far, out included
	polling    bool   // the rescans of a poll are still in after
	polled     uint64 // the batch that carries the rescans of the last poll
}

// New watches the root and the sentinel directory. Run must be called, once: it is what releases them.
func New(o Options) (*Watcher, error) {
	if !filepath.IsAbs(o.Root) {
		return nil, fmt.Errorf("watch %s: path is not absolute", o.Root)
	}
	o.Root = filepath.Clean(o.Root)
	if o.Sentinel != "" {
		o.Sentinel = path.Clean(o.Sentinel)
	}
	if o.Skip == nil {
		o.Skip = func(string) bool { return false }
	}
	if o.Ignore == nil {
		o.Ignore = func(string) bool { return false }
	}
	if o.Busy == nil {
		o.Busy = func(string) bool { return false }
	}
	if o.Own == nil {
		o.Own = func(string, uint64, fs.FileInfo) bool { return false }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	fi, err := os.Stat(o.Root)
	if err != nil {
		return nil, fmt.Errorf("watch folder: %w", err)
	}
	w := &Watcher{
		o: o, t: defaults, rootID: identify(fi),
		prefix:    strings.TrimSuffix(o.Root, "/") + "/",
		batches:   make(chan Batch),
		ready:     make(chan struct{}),
		stopped:   make(chan struct{}),
		overflow:  make(chan struct{}, 1),
		asked:     make(chan struct{}, 1),
		recheck:   make(map[string]struct{}),
		flushes:   make(map[string]*flush),
		uncovered: make(map[string]*gap),
		dirs:      newDirs(),
		settling:  newSettling(),
		epochs:    newEpochs(),
		pending:   newPending(),
	}
	w.add = func(path string) error { return w.feed.fsw.Add(path) }
	if w.feed, err = openFeed(w.overflow, o.Log); err != nil {
		return nil, fmt.Errorf("watch %s: %w", o.Root, err)
	}
	err = w.add(o.Root)
	if err == nil && o.Sentinel != "" {
		err = w.watchSentinel()
	}
	if err != nil {
		w.feed.close()
		return nil, fmt.Errorf("watch %s: %w", o.Root, told(err))
	}
	return w, nil
}

// Batches delivers what may have changed. While nobody receives, changes coalesce in bounded memory.
// The channel is closed when Run ends.
func (w *Watcher) Batches() <-chan Batch { return w.batches }

// Ready is closed when all of the tree is watched, as far as limits allow: a scan that starts afterwards misses nothing.
// What the first walk finds is not reported.
func (w *Watcher) Ready() <-chan struct{} { return w.ready }

// Run walks and watches the tree, and delivers until ctx ends; then it returns nil. It returns ErrRootGone (wrapped) when
// the folder is no longer what it was, without reporting its content as removed.
func (w *Watcher) Run(ctx context.Context) error {
	defer w.stop()
	poll := time.NewTicker(w.t.poll)
	defer poll.Stop()
	settle := time.NewTimer(time.Hour)
	defer settle.Stop()
	work := make(chan struct{})
	close(work)

	w.push(".", false)
	for {
		if err := w.offer(); err != nil {
			return err
		}
		var (
			err     error
			batch   Batch
			batches chan Batch
			more    = work
			look    <-chan time.Time
		)
		if w.out != nil {
			batches, batch = w.batches, *w.out
		}
		if len(w.todo)+len(w.tally) == 0 {
			more = nil
		}
		if next, ok := w.settling.next(); ok {
			settle.Reset(time.Until(next))
			look = settle.C
		}
		select {
		case <-ctx.Done():
			return nil
		case ev, ok := <-w.feed.fsw.Events:
			err = w.drain(ev, ok)
		case <-w.overflow:
			err = w.overflowed()
		case <-w.asked:
			w.rechecks()
		case batches <- batch:
			w.out = nil
		case now := <-look:
			w.look(now)
		case <-poll.C:
			err = w.poll()
		case <-more:
			w.step()
		}
		if err != nil {
			return err
		}
	}
}

func (w *Watcher) stop() {
	w.feed.close()
	close(w.stopped)
	close(w.batches)
}

// offer brings what is finished towards the reader: rescans when the walk is done, a batch when the last one is taken,
// the flushes whose changes were taken.
func (w *Watcher) offer() error {
	if len(w.todo) == 0 {
		w.walked()
	}
	if w.out == nil && !w.pending.empty() && !w.midway() {
		// A root that is unmounted or moved away looks like one whose files are all gone.
		if err := w.checkRoot(); err != nil {
			return err
		}
		b := w.pending.take()
		w.out = &b
		w.built++
	}
	w.release()
	return nil
}

// delivered is the number of batches received.
func (w *Watcher) delivered() uint64 {
	if w.out != nil {
		return w.built - 1
	}
	return w.built
}

// carrier is the batch with which all that is pending will have been delivered.
func (w *Watcher) carrier() uint64 {
	if w.pending.empty() {
		return w.built
	}
	return w.built + 1
}

func (w *Watcher) checkRoot() error {
	fi, err := os.Stat(w.o.Root)
	switch {
	case err != nil:
		return fmt.Errorf("watch %s: %w (%w)", w.o.Root, ErrRootGone, err)
	case identify(fi) != w.rootID:
		return fmt.Errorf("watch %s: %w (another directory stands there)", w.o.Root, ErrRootGone)
	}
	return nil
}

func (w *Watcher) abs(rel string) string {
	if rel == "." {
		return w.o.Root
	}
	return w.prefix + rel
}

func (w *Watcher) lstat(rel string) (fs.FileInfo, error) {
	if rel == "." {
		return os.Stat(w.o.Root)
	}
	fi, err := os.Lstat(w.abs(rel))
	if err == nil && w.o.Exact != nil && !w.o.Exact(rel) {
		return nil, fs.ErrNotExist
	}
	return fi, err
}

// A feed is one fsnotify instance with its errors read at all times. fsnotify sends some errors with its mutex held, so a
// goroutine that calls Add or Remove and also reads errors would wait for itself.
type feed struct {
	fsw  *fsnotify.Watcher
	idle chan struct{} // received from when all errors so far are dealt with
	done chan struct{}
}

func openFeed(overflow chan<- struct{}, log *slog.Logger) (*feed, error) {
	fsw, err := fsnotify.NewBufferedWatcher(eventBuffer)
	if err != nil {
		return nil, toldInstances(err)
	}
	f := &feed{fsw: fsw, idle: make(chan struct{}), done: make(chan struct{})}
	go f.errors(overflow, log)
	return f, nil
}

func (f *feed) errors(overflow chan<- struct{}, log *slog.Logger) {
	defer close(f.done)
	for {
		select {
		case f.idle <- struct{}{}:
		case err, ok := <-f.fsw.Errors:
			if !ok {
				return
			}
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				log.Debug("fsnotify", "err", err)
				continue
			}
			select {
			case overflow <- struct{}{}:
			default:
			}
		}
	}
}

// sync returns when the overflow is told that came before the events received so far, if there was one.
func (f *feed) sync() {
	select {
	case <-f.idle:
	case <-f.done:
	}
}

func (f *feed) close() {
	f.fsw.Close()
	<-f.done
}
