package watcher

import (
	"path"
	"slices"
	"sync/atomic"
	"testing"
)

// TestIgnore holds that a directory that is ignored is neither watched nor looked into, and that it is once it no longer is.
func TestIgnore(t *testing.T) {
	var name atomic.Value
	name.Store("out")
	ignore := func(dir string) bool { return path.Base(dir) == name.Load() }
	prepare := func(root string) { do(t, root, "mkdir d/out/deep\nmkdir d/in/deep\nwrite d/out/f") }
	r := newRig(t, prepare, func(w *Watcher) { w.o.Ignore = ignore }).start()
	watched := func() []string {
		var list []string
		for _, full := range r.feed.fsw.WatchList() {
			if full != r.root && full != r.abs(".resonate/watch") {
				list = append(list, full[len(r.prefix):])
			}
		}
		slices.Sort(list)
		return list
	}
	want := func(what string, wantWatched, wantReported []string) {
		t.Helper()
		r.flush()
		if got := watched(); !slices.Equal(got, wantWatched) {
			t.Errorf("%s: watched %q, want %q", what, got, wantWatched)
		}
		if got := r.reported(); !slices.Equal(got, wantReported) {
			t.Errorf("%s: reported %q, want %q", what, got, wantReported)
		}
		r.reset()
	}
	want("at the start", []string{"d", "d/in", "d/in/deep"}, nil)
	do(t, r.root, "write d/out/f\nmkdir out/deep\nmkdir x/out/deep\nwrite d/f")
	want("after changes", []string{"d", "d/in", "d/in/deep", "x"}, []string{"d/f", "out", "x", "x/out"})

	name.Store("in")
	r.Recheck("d")
	r.wait("d is compared again", func() bool { return r.rescan["d"] })
	want("after Recheck", []string{"d", "d/out", "d/out/deep", "x"}, nil)
	do(t, r.root, "write d/out/deep/g\nwrite d/in/deep/g")
	want("then", []string{"d", "d/out", "d/out/deep", "x"}, []string{"d/out/deep/g"})

	name.Store("")
	r.Recheck(".")
	r.wait("all is compared again", func() bool { return r.rescan["."] })
	want("after Recheck of all", []string{"d", "d/in", "d/in/deep", "d/out", "d/out/deep", "out", "out/deep", "x", "x/out", "x/out/deep"}, nil)
}
