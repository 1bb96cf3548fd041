package watcher

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

// limitTo makes watches fail as the kernel does when it has no more than n.
func limitTo(w *Watcher, n int) *atomic.Int64 {
	limit := new(atomic.Int64)
	limit.Store(int64(n))
	add := w.add
	w.add = func(name string) error {
		if w.dirs.len() >= int(limit.Load()) && !strings.HasSuffix(name, w.o.Sentinel) {
			return syscall.ENOSPC
		}
		return add(name)
	}
	return limit
}

func TestLimit(t *testing.T) {
	var limit *atomic.Int64
	r := newRig(t, func(root string) {
		for i := range 3 {
			do(t, root, fmt.Sprintf("mkdir d%d/s/t", i))
		}
	}, func(w *Watcher) {
		w.t.poll = 20 * time.Millisecond
		limit = limitTo(w, 5)
	}).start()

	s := r.Status()
	if s.Watched != 5 || len(s.Uncovered) == 0 || s.Cause != "limit on inotify watches reached" || !s.Ready {
		t.Fatalf("status %+v, want 5 watched and some uncovered, by the limit", s)
	}
	r.reset()
	want := fmt.Sprint(s.Uncovered)
	r.wait("all that is uncovered is polled, and nothing else", func() bool { return fmt.Sprint(keys(r.rescan)) == want })

	hidden := s.Uncovered[0] + "/hidden"
	r.write(hidden, "x")
	r.reset()
	r.flush()
	r.mu.Lock()
	if !r.told(hidden) {
		t.Errorf("flushed without %s: rescans %q", hidden, keys(r.rescan))
	}
	r.mu.Unlock()

	do(t, r.root, "mkdir new/a\nwrite new/a/f")
	r.wait("new directory beyond the limit is told", func() bool { return r.paths["new"] && r.told("new/a/f") })

	limit.Store(1000)
	deadline := time.Now().Add(patience)
	for len(r.Status().Uncovered) > 0 && time.Now().Before(deadline) {
		r.reset()
		r.wait("poll", func() bool { return len(r.rescan) > 0 || len(r.Status().Uncovered) == 0 })
	}
	if s := r.Status(); s.Cause != "" || s.Remedy != "" {
		t.Errorf("with room again: status %+v", s)
	}
	everyDirectoryIsWatched(t, r)
}

// A poll waits for the reader to have received the one before.
func TestPollWaitsForReader(t *testing.T) {
	r := newRig(t, func(root string) { do(t, root, "mkdir a/b") }, func(w *Watcher) { limitTo(w, 2) })
	r.Watcher.push(".", false)
	poll := func() {
		if err := r.poll(); err != nil {
			t.Fatal(err)
		}
		for len(r.todo) > 0 {
			r.step()
		}
		if err := r.offer(); err != nil {
			t.Fatal(err)
		}
	}
	for len(r.todo) > 0 {
		r.step()
	}
	poll()
	if want := []string{"a/b"}; r.out == nil || !slices.Equal(r.out.Rescan, want) {
		t.Fatalf("first poll gives %+v, want rescan of %q", r.out, want)
	}
	poll()
	if !r.pending.empty() || r.built != 1 {
		t.Errorf("polled again before the reader had the first: %d batches, pending %+v", r.built, r.pending)
	}
	r.out = nil
	poll()
	if r.out == nil || r.built != 2 {
		t.Errorf("not polled again after the reader had the first")
	}
	r.stop()
}

func TestRemedyCountsWhatIsMissing(t *testing.T) {
	r := newRig(t, func(root string) {
		do(t, root, "mkdir a/b/c\nmkdir a/b/d\nwrite a/b/f\nmkdir z")
	}, func(w *Watcher) { limitTo(w, 1) }).start()
	deadline := time.Now().Add(patience)
	missing := 0
	for missing != 5 && time.Now().Before(deadline) {
		missing = 0
		r.Watcher.mu.Lock()
		for _, g := range r.uncovered {
			missing += g.dirs
		}
		r.Watcher.mu.Unlock()
	}
	if missing != 5 {
		t.Errorf("counted %d missing directories, want 5", missing)
	}
	want := fmt.Sprintf("sysctl fs.inotify.max_user_watches=%d", roomFor(readLimit(watchesLimit), 5))
	if got := r.Status().Remedy; got != want {
		t.Errorf("remedy %q, want %q", got, want)
	}
}

func TestRoomFor(t *testing.T) {
	for _, tt := range []struct{ limit, missing, want int }{
		{0, 1, 8192}, {8192, 1, 16384}, {65536, 100_000, 212_992}, {192536, 1_000_000, 1_490_944},
	} {
		if got := roomFor(tt.limit, tt.missing); got != tt.want || got <= tt.limit+tt.missing {
			t.Errorf("roomFor(%d, %d) = %d, want %d", tt.limit, tt.missing, got, tt.want)
		}
	}
}

func TestUnreadableDirectory(t *testing.T) {
	r := newRig(t, func(root string) { do(t, root, "mkdir secret") }, func(w *Watcher) {
		add := w.add
		w.add = func(name string) error {
			if fi, err := os.Stat(name); err == nil && fi.Mode().Perm() == 0 {
				return syscall.EACCES // as root is not refused
			}
			return add(name)
		}
		if err := os.Chmod(filepath.Join(w.o.Root, "secret"), 0); err != nil {
			t.Fatal(err)
		}
	}).start()
	s := r.Status()
	if want := "chmod u+rx '" + filepath.Join(r.root, "secret") + "'"; s.Remedy != want {
		t.Errorf("remedy %q, want %q", s.Remedy, want)
	}
	do(t, r.root, "chmod secret\nwrite secret/f")
	r.flush()
	r.mu.Lock()
	if !r.paths["secret"] || !r.told("secret/f") {
		t.Errorf("after chmod: reported %q, rescan %q, want secret/f told", keys(r.paths), keys(r.rescan))
	}
	r.mu.Unlock()
	if s := r.Status(); len(s.Uncovered) != 0 {
		t.Errorf("after chmod: status %+v", s)
	}
}

func TestOverflow(t *testing.T) {
	r := newRig(t, func(root string) { do(t, root, "mkdir a/b") }, nil)
	fsw := r.feed.fsw
	r.start()
	fsw.Errors <- fsnotify.ErrEventOverflow
	r.wait("rescan of the whole folder", func() bool { return r.rescan["."] })
	if got := r.Status().Overflows; got != 1 {
		t.Errorf("%d overflows, want 1", got)
	}
	everyDirectoryIsWatched(t, r)
}

// A flush whose own event was lost ends with the rescan that stands for all that was lost.
func TestOverflowEndsFlush(t *testing.T) {
	r := newRig(t, nil, nil).start()
	f := &flush{doneCh: make(chan struct{})}
	r.Watcher.mu.Lock()
	r.flushes["lost"] = f
	r.Watcher.mu.Unlock()
	r.overflow <- struct{}{}
	select {
	case <-f.doneCh:
	case <-time.After(patience):
		t.Fatal("flush goes on")
	}
	r.idle <- struct{}{}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.rescan["."] {
		t.Error("flush ended without the rescan")
	}
}

// An overflow that came before the event of a flush is heeded first, though it comes by another way.
func TestOverflowBeforeFlush(t *testing.T) {
	r := newRig(t, nil, nil)
	f := &flush{doneCh: make(chan struct{})}
	r.flushes["late"] = f
	r.feed.fsw.Errors <- fsnotify.ErrEventOverflow
	r.reached("late")
	if f.seen {
		t.Error("flush does not wait for the rescan")
	}
	if err := r.overflowed(); err != nil {
		t.Fatal(err)
	}
	if !f.seen || !r.epochs.open(f.epoch) {
		t.Errorf("after the overflow: seen %v, rescan in hand %v", f.seen, r.epochs.open(f.epoch))
	}
	r.stop()
}

// An overflow discards the walk that a flush is waiting for; it waits for the rescan instead.
func TestOverflowAfterFlushWasSeen(t *testing.T) {
	r := newRig(t, func(root string) { do(t, root, "mkdir d") }, nil)
	f := &flush{doneCh: make(chan struct{})}
	r.flushes["seen"] = f
	r.push("d", true)
	r.reached("seen")
	if err := r.overflowed(); err != nil {
		t.Fatal(err)
	}
	if !f.seen || !r.epochs.open(f.epoch) {
		t.Errorf("after the overflow: seen %v, rescan in hand %v", f.seen, r.epochs.open(f.epoch))
	}
	r.stop()
}

func TestTold(t *testing.T) {
	if got := told(syscall.ENOSPC); !errors.Is(got, syscall.ENOSPC) || !strings.Contains(got.Error(), "sysctl fs.inotify.max_user_watches=") {
		t.Errorf("told(ENOSPC) = %v", got)
	}
	if got := told(syscall.EACCES); got != syscall.EACCES {
		t.Errorf("told(EACCES) = %v", got)
	}
}
