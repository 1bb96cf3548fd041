package watcher

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/fsnotify/fsnotify"
)

// These tests do by hand what Run does, to look at moments that pass too quickly otherwise.

// walkedRig has watched what is in the folder, and does not run.
func walkedRig(t *testing.T, before string) *rig {
	t.Helper()
	r := newRig(t, func(root string) { do(t, root, before) }, nil)
	t.Cleanup(r.stop)
	r.push(".", false)
	walk(r)
	return r
}

func walk(r *rig) {
	for len(r.todo) > 0 {
		r.step()
	}
}

func pendingPaths(r *rig) []string { return r.pending.take().Paths }

// A moved directory that is found at its new place before the events of its move are read is watched by its new name.
func TestMoveSeenBeforeItsEvents(t *testing.T) {
	r := walkedRig(t, "mkdir a/s")
	do(t, r.root, "mv a b")
	r.push("b", true)
	walk(r)
	if got, want := pendingPaths(r), []string{"b", "b/s"}; !slices.Equal(got, want) {
		t.Errorf("reported %q, want %q", got, want)
	}
	list := r.feed.fsw.WatchList()
	for name, want := range map[string]bool{"a": false, "a/s": false, "b": true, "b/s": true} {
		if got := slices.Contains(list, r.abs(name)); got != want {
			t.Errorf("%s watched: %v, want %v", name, got, want)
		}
	}
}

func TestListOfAnotherDirectory(t *testing.T) {
	r := walkedRig(t, "mkdir d/s\nwrite d/f")
	if err := r.list(job{path: "d", report: true}, identity{1, 2}); err != nil {
		t.Fatal(err)
	}
	if r.dirs.has("d") || r.dirs.has("d/s") || !r.pending.empty() {
		t.Errorf("directory that is not the one watched: still watched %v, reported %q", r.dirs.has("d"), pendingPaths(r))
	}
}

func TestEventUnderOldName(t *testing.T) {
	r := walkedRig(t, "mkdir d")
	for _, name := range []string{"gone/f", "d/f"} {
		if err := r.handle(fsnotify.Event{Name: r.abs(name), Op: fsnotify.Write}); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := pendingPaths(r), []string{"d/f"}; !slices.Equal(got, want) {
		t.Errorf("reported %q, want %q", got, want)
	}
}

// Files that vanish with the root are not told as removed.
func TestRootGoneBeforeBatch(t *testing.T) {
	r := walkedRig(t, "write f")
	if err := os.Rename(r.root, filepath.Join(r.base, "moved")); err != nil {
		t.Fatal(err)
	}
	r.report("f")
	if err := r.offer(); !errors.Is(err, ErrRootGone) || r.out != nil {
		t.Errorf("offer: %v, batch %v, want ErrRootGone and none", err, r.out)
	}
}

func TestPollFindsSentinelAgain(t *testing.T) {
	r := walkedRig(t, "")
	do(t, r.root, "rm .resonate/watch")
	r.sentinelLost()
	if r.sentinelOK {
		t.Fatal("missing sentinel directory is watched")
	}
	do(t, r.root, "mkdir .resonate/watch")
	if err := r.poll(); err != nil || !r.sentinelOK {
		t.Errorf("after poll: watched %v, %v", r.sentinelOK, err)
	}
}
