package watcher

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path"
	"time"
)

// A flush waits for the reader to have received all that was known when its sentinel was seen.
type flush struct {
	seen   bool   // the event of its file came: all earlier events are handled
	epoch  uint64 // work of this epoch and of earlier ones must end
	ended  bool   // it did: what it found is in a batch
	batch  uint64 // the last such batch
	doneCh chan struct{}
}

// touchAgain is how long Flush waits before it raises another event. It is needed only when the sentinel directory was
// replaced while Flush waited.
const touchAgain = time.Second

// Flush returns when every change made below the root before the call has been received from Batches (what the receiver
// does with the last batch may still be going on): it makes a file in the sentinel directory, waits for its event, and then
// for all that is pending at that time. A file that is being written
// may hold it up as long as it may take to settle. Called before Ready, it waits for the first walk, whose finds are not
// reported. It fails when ctx ends, when Run has ended, or when the file cannot be made.
func (w *Watcher) Flush(ctx context.Context) error {
	if w.o.Sentinel == "" {
		return errors.New("flush watcher: no sentinel directory was given")
	}
	f := &flush{doneCh: make(chan struct{})}
	name := rand.Text()
	w.mu.Lock()
	w.flushes[name] = f
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		delete(w.flushes, name)
		w.mu.Unlock()
	}()

	file := w.abs(path.Join(w.o.Sentinel, name))
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return fmt.Errorf("flush watcher: %w", err)
	}
	defer os.Remove(file)
	again := time.NewTicker(touchAgain)
	defer again.Stop()
	for {
		select {
		case <-f.doneCh:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("flush watcher: %w", ctx.Err())
		case <-w.stopped:
			return fmt.Errorf("flush watcher: %w", errStopped)
		case <-again.C:
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				return fmt.Errorf("flush watcher: %w", err)
			}
		}
	}
}

// reached marks the flush whose sentinel was seen. What no watch covers must be compared for it, too.
func (w *Watcher) reached(name string) {
	w.mu.Lock()
	f := w.flushes[name]
	w.mu.Unlock()
	if f == nil || f.seen {
		return
	}
	w.feed.sync()
	if len(w.overflow) > 0 {
		return // Changes before this event are lost; the flush ends with the rescan for them.
	}
	w.rescanUncovered()
	f.seen, f.epoch = true, w.epochs.advance()
}

// reachedAll marks all flushes, anew if need be: a rescan of everything is about to follow, and the events of their files,
// or of the changes before, may be lost.
func (w *Watcher) reachedAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	epoch := w.epochs.advance()
	for _, f := range w.flushes {
		f.seen, f.epoch, f.ended = true, epoch, false
	}
}

// release ends the flushes whose changes were received.
func (w *Watcher) release() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, f := range w.flushes {
		if !f.seen || w.epochs.open(f.epoch) {
			continue
		}
		if !f.ended {
			f.ended, f.batch = true, w.carrier()
		}
		if w.delivered() >= f.batch {
			close(f.doneCh)
			delete(w.flushes, name)
		}
	}
}

// watchSentinel watches the directory that Flush uses.
func (w *Watcher) watchSentinel() error {
	err := w.add(w.abs(w.o.Sentinel))
	w.sentinelOK = err == nil
	return err
}

// sentinelLost watches the directory anew, if one stands there again; the polls try later.
func (w *Watcher) sentinelLost() {
	w.unwatch(w.o.Sentinel)
	if err := w.watchSentinel(); err != nil {
		w.o.Log.Warn("cannot watch sentinel directory", "path", w.abs(w.o.Sentinel), "err", err)
	}
}

// epochs count the work in hand by when it began, so that a flush waits for what was there when its sentinel was seen and
// not for what came later. Work that is found during work belongs to the epoch of its finder.
type epochs struct {
	now   uint64
	count map[uint64]int // never zero
}

func newEpochs() epochs { return epochs{count: make(map[uint64]int)} }

func (e *epochs) start() uint64 {
	e.count[e.now]++
	return e.now
}

// join starts work in the epoch of other work that is still in hand.
func (e *epochs) join(epoch uint64) uint64 {
	e.count[epoch]++
	return epoch
}

func (e *epochs) end(epoch uint64) {
	if e.count[epoch]--; e.count[epoch] == 0 {
		delete(e.count, epoch)
	}
}

// advance begins a new epoch and returns the one that it ends.
func (e *epochs) advance() uint64 {
	e.now++
	return e.now - 1
}

// open tells whether work of the epoch or of an earlier one is in hand.
func (e *epochs) open(epoch uint64) bool {
	for k := range e.count {
		if k <= epoch {
			return true
		}
	}
	return false
}
