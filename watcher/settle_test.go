package watcher

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestBusyFile(t *testing.T) {
	const never = time.Hour
	tests := []struct {
		name string
		set  func(w *Watcher)
		do   func(t *testing.T, r *rig, f *os.File)
	}{
		{"reported when closed", func(w *Watcher) { w.t.settleMax, w.t.growing, w.t.settleBound = never, never, never },
			func(_ *testing.T, r *rig, _ *os.File) { r.setBusy("f", false) }},
		{"reported when at rest", func(w *Watcher) { w.t.growing, w.t.settleBound = never, never },
			func(*testing.T, *rig, *os.File) {}},
		{"removed while busy", func(w *Watcher) {
			w.t.settleMin, w.t.settleMax, w.t.growing, w.t.settleBound = never, never, never, never
		},
			func(t *testing.T, r *rig, _ *os.File) {
				if err := os.Remove(filepath.Join(r.root, "f")); err != nil {
					t.Fatal(err)
				}
			}},
		{"replaced while busy", func(w *Watcher) {
			w.t.settleMin, w.t.settleMax, w.t.growing, w.t.settleBound = never, never, never, never
		},
			func(_ *testing.T, r *rig, _ *os.File) {
				r.write("g", "new")
				r.wait("g reported", func() bool { return r.paths["g"] })
				r.setBusy("f", false)
				do(r.t, r.root, "mv g f")
			}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, nil, tt.set)
			r.setBusy("f", true)
			r.start()
			f, err := os.Create(filepath.Join(r.root, "f"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			tt.do(t, r, f)
			r.wait("f reported", func() bool { return r.paths["f"] })
		})
	}
}

// A file that is busy is not reported with the changes of its time; one that is not, is.
func TestBusyFileWaits(t *testing.T) {
	r := newRig(t, nil, func(w *Watcher) {
		w.t.settleMax, w.t.growing, w.t.settleBound = time.Hour, time.Hour, time.Hour
	})
	r.setBusy("f", true)
	r.setBusy("d/f", true)
	r.start()
	r.write("f", "1")
	r.write("d/f", "1")
	r.write("g", "1")
	r.wait("g reported", func() bool { return r.paths["g"] && r.paths["d"] })
	r.mu.Lock()
	early := r.paths["f"] || r.paths["d/f"]
	r.mu.Unlock()
	if early {
		t.Errorf("reported while busy: %q", keys(r.paths))
	}
	flushed := make(chan struct{})
	go func() { defer close(flushed); r.flush() }()
	r.setBusy("f", false)
	r.setBusy("d/f", false)
	<-flushed
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.paths["f"] || !r.paths["d/f"] {
		t.Errorf("flushed without the busy files: %q", keys(r.paths))
	}
}

// writer appends to a file until stopped.
func writer(t *testing.T, name string) (stop func()) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		defer f.Close()
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				return
			case <-tick.C:
				if _, err := f.WriteString("more"); err != nil {
					t.Error(err)
					return
				}
			}
		}
	}()
	return func() { close(quit); <-done }
}

func TestEndlessWriter(t *testing.T) {
	const bound = 200 * time.Millisecond
	r := newRig(t, nil, func(w *Watcher) { w.t.settleBound = bound })
	r.setBusy("log", true)
	r.start()
	start := time.Now()
	stop := writer(t, filepath.Join(r.root, "log"))
	defer stop()
	for round := range 3 {
		r.reset()
		r.wait("log reported", func() bool { return r.paths["log"] })
		if took := time.Since(start); took < bound*3/4 || took > 10*bound {
			t.Errorf("round %d: reported after %v, want about %v", round, took, bound)
		}
		start = time.Now()
	}
}
