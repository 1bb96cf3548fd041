package watcher

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestFlushUnderLoad(t *testing.T) {
	r := newRig(t, nil, nil).start()
	const writers, files = 4, 1500
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for j := range files {
				writeFile(t, filepath.Join(r.root, fmt.Sprintf("w%d/d%d/f%d", i, j%40, j)), "x")
			}
		})
	}
	wg.Wait()
	r.flush()
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range writers {
		for j := range files {
			if p := fmt.Sprintf("w%d/d%d/f%d", i, j%40, j); !r.told(p) {
				t.Fatalf("flushed without %s, status %+v, rescan %q", p, r.Status(), keys(r.rescan))
			}
		}
	}
}

// told tells whether the path was reported, itself or by a rescan.
func (r *rig) told(p string) bool {
	if r.paths[p] || r.rescan["."] {
		return true
	}
	for dir := filepath.Dir(p); dir != "."; dir = filepath.Dir(dir) {
		if r.rescan[dir] {
			return true
		}
	}
	return false
}

func TestFlushWaitsForReader(t *testing.T) {
	r := newRig(t, nil, nil)
	r.launch()
	<-r.Ready()
	r.write("f", "1")
	done := r.flushBegun()
	if len(done) != 0 {
		t.Fatalf("Flush returned %v before the change was received", <-done)
	}
	if got, want := (<-r.Batches()).Paths, []string{"f"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	go r.read()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// flushBegun starts a Flush, and returns its result to come when all events before it are handled.
func (r *rig) flushBegun() chan error {
	r.t.Helper()
	done := make(chan error, 1)
	go func() { done <- r.Flush(r.t.Context()) }()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline) && len(done) == 0; runtime.Gosched() {
		r.Watcher.mu.Lock()
		for _, f := range r.flushes {
			if f.ended {
				r.Watcher.mu.Unlock()
				return done
			}
		}
		r.Watcher.mu.Unlock()
	}
	return done
}

func TestFlushFails(t *testing.T) {
	t.Run("deadline", func(t *testing.T) {
		r := newRig(t, nil, nil)
		r.launch()
		<-r.Ready()
		r.write("f", "1")
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if err := r.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want deadline exceeded", err)
		}
		if left, err := os.ReadDir(filepath.Join(r.root, r.o.Sentinel)); err != nil || len(left) != 0 {
			t.Errorf("left %v in the sentinel directory (%v)", left, err)
		}
	})
	t.Run("no sentinel directory", func(t *testing.T) {
		r := newRig(t, nil, nil).start()
		do(t, r.root, "rm .resonate/watch")
		if err := r.Flush(t.Context()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("got %v, want not exist", err)
		}
	})
}

func TestSentinelReplaced(t *testing.T) {
	r := newRig(t, nil, func(w *Watcher) { w.t.poll = 20 * time.Millisecond }).start()
	do(t, r.root, "rm .resonate/watch\nmkdir .resonate/watch\nwrite f")
	if got, want := strings.Join(r.reported(), " "), "f"; got != want {
		t.Errorf("reported %q, want %q", got, want)
	}
}

func TestSlowReaderGetsOneBatch(t *testing.T) {
	r := newRig(t, nil, nil)
	r.launch()
	<-r.Ready()
	r.write("first", "1")
	for i := range 1000 {
		r.write(fmt.Sprintf("f%d", i%10), "x")
	}
	r.flushBegun()
	n, batches := map[string]int{}, 0
	for len(n) < 11 {
		b := <-r.Batches()
		batches++
		for _, p := range b.Paths {
			n[p]++
		}
	}
	if batches > 3 {
		t.Errorf("got %d batches: %v, want few", batches, n)
	}
}
