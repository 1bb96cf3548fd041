package watcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

const patience = 20 * time.Second // for conditions that come true in milliseconds

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a running Watcher over a temporary folder, and a reader that keeps what it reports.
type rig struct {
	*Watcher
	t    testing.TB
	base string // holds the folder, "root", and whatever lies outside of it
	root string
	run  chan error // result of Run

	mu     sync.Mutex
	busy   map[string]bool
	paths  map[string]bool
	rescan map[string]bool
	heard  chan struct{} // signalled after each batch
	idle   chan struct{} // received from by the reader between two batches
}

// newRig makes the folder; prepare puts things into it, set changes the Watcher before it runs.
func newRig(t testing.TB, prepare func(root string), set func(w *Watcher)) *rig {
	t.Helper()
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, base: base, root: filepath.Join(base, "root"), run: make(chan error, 1),
		busy: map[string]bool{}, heard: make(chan struct{}, 1), idle: make(chan struct{})}
	r.reset()
	if err := os.MkdirAll(filepath.Join(r.root, ".resonate/watch"), 0o755); err != nil {
		t.Fatal(err)
	}
	if prepare != nil {
		prepare(r.root)
	}
	r.Watcher, err = New(Options{
		Root:     r.root,
		Skip:     func(p string) bool { return p == ".resonate" },
		Busy:     r.isBusy,
		Sentinel: ".resonate/watch",
	})
	if err != nil {
		t.Fatal(err)
	}
	if set != nil {
		set(r.Watcher)
	}
	return r
}

// start runs the Watcher and its reader until the test ends, and waits for Ready.
func (r *rig) start() *rig {
	r.t.Helper()
	r.launch()
	go r.read()
	select {
	case <-r.Ready():
	case <-time.After(patience):
		r.t.Fatal("not ready")
	}
	return r
}

func (r *rig) launch() {
	ctx, cancel := context.WithCancel(context.Background())
	go func() { r.run <- r.Run(ctx) }()
	r.t.Cleanup(func() {
		cancel()
		<-r.stopped
	})
}

func (r *rig) read() {
	for {
		select {
		case b, ok := <-r.Batches():
			if !ok {
				return
			}
			r.take(b)
		case <-r.idle:
		}
	}
}

func (r *rig) take(b Batch) {
	r.mu.Lock()
	for _, p := range b.Paths {
		r.paths[p] = true
	}
	for _, p := range b.Rescan {
		r.rescan[p] = true
	}
	r.mu.Unlock()
	select {
	case r.heard <- struct{}{}:
	default:
	}
}

func (r *rig) isBusy(p string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.busy[p]
}

func (r *rig) setBusy(p string, busy bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.busy[p] = busy
}

func (r *rig) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.paths, r.rescan = map[string]bool{}, map[string]bool{}
}

// flush returns when the reader has handled all changes.
func (r *rig) flush() {
	r.t.Helper()
	r.flushOnly()
	r.idle <- struct{}{}
}

func (r *rig) flushOnly() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := r.Flush(ctx); err != nil {
		r.t.Fatalf("%v; status %+v", err, r.Status())
	}
}

// wait returns when the condition holds; it is tried after each batch.
func (r *rig) wait(what string, cond func() bool) {
	r.t.Helper()
	deadline := time.After(patience)
	for {
		r.mu.Lock()
		ok := cond()
		r.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-r.heard:
		case <-deadline:
			r.t.Fatalf("%s: not within %v; paths %v rescan %v", what, patience, keys(r.paths), keys(r.rescan))
		}
	}
}

// reported flushes and returns all paths told since the last reset.
func (r *rig) reported() []string {
	r.t.Helper()
	r.flush()
	r.mu.Lock()
	defer r.mu.Unlock()
	return keys(r.paths)
}

func (r *rig) write(name, content string) {
	r.t.Helper()
	writeFile(r.t, filepath.Join(r.root, name), content)
}

func writeFile(t testing.TB, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func keys(m map[string]bool) []string {
	s := []string{}
	for k := range m {
		s = append(s, k)
	}
	slices.Sort(s)
	return s
}

// do executes a script, one command a line, in the folder.
func do(t testing.TB, root, script string) {
	t.Helper()
	for line := range strings.Lines(script) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		args := f[1:]
		for i, a := range args {
			args[i] = filepath.Join(root, strings.NewReplacer(`\n`, "\n", `\xff`, "\xff").Replace(a))
		}
		if err := command(f[0], args, f[len(f)-1]); err != nil {
			t.Fatalf("%s: %v", strings.TrimSpace(line), err)
		}
	}
}

func command(name string, args []string, last string) error {
	switch name {
	case "mkdir":
		return os.MkdirAll(args[0], 0o755)
	case "write":
		return os.WriteFile(args[0], []byte(args[0]), 0o644)
	case "append":
		return appendTo(args[0], "more")
	case "rm":
		return os.RemoveAll(args[0])
	case "mv":
		return syscall.Rename(args[0], args[1]) // os.Rename refuses to replace a directory.
	case "chmod":
		return os.Chmod(args[0], 0o700)
	case "symlink":
		return os.Symlink(last, args[0])
	case "link":
		return os.Link(args[0], args[1])
	case "swap":
		return exchange(args[0], args[1])
	}
	return fmt.Errorf("unknown command %q", name)
}

func appendTo(name, s string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, s)
	return errors.Join(err, f.Close())
}

func TestReports(t *testing.T) {
	tests := []struct {
		name, before, script string
		want                 []string
	}{
		{"create", "", "write a", []string{"a"}},
		{"write", "write a", "append a", []string{"a"}},
		{"rename over", "write a\nwrite b", "mv a b", []string{"a", "b"}},
		{"rename into place", "mkdir d", "write d/.tmp\nmv d/.tmp d/a", []string{"d/.tmp", "d/a"}},
		{"remove", "write a", "rm a", []string{"a"}},
		{"chmod file", "write a", "chmod a", []string{"a"}},
		{"chmod directory", "mkdir d", "chmod d", []string{"d"}},
		{"symlink", "", "symlink l nowhere", []string{"l"}},
		{"symlink to directory is not followed", "mkdir ../out\nsymlink l ../out", "write ../out/f", []string{}},
		{"hard link", "write a", "link a b", []string{"b"}},
		{"skipped", "", "write .resonate/x\nmkdir .resonate/d\nwrite .resonate/d/x", []string{}},
		{"deep directories with a file", "", "mkdir a/b/c/d\nwrite a/b/c/d/f\nwrite a/g",
			[]string{"a", "a/b", "a/b/c", "a/b/c/d", "a/b/c/d/f", "a/g"}},
		{"new directory is watched", "mkdir a/b", "mkdir a/b/c\nwrite a/b/c/f", []string{"a/b/c", "a/b/c/f"}},
		{"remove tree", "mkdir a/b\nwrite a/b/f", "rm a", []string{"a", "a/b", "a/b/f"}},
		{"remove tree and make it again", "mkdir a/b", "rm a\nmkdir a/b\nwrite a/b/f", []string{"a", "a/b", "a/b/f"}},
		{"move directory", "mkdir a/s\nwrite a/s/f", "mv a b", []string{"a", "b", "b/s", "b/s/f"}},
		{"move directory, change at once", "mkdir a/s\nwrite a/s/f", "mv a b\nappend b/s/f\nwrite b/s/g\nmkdir b/s/h",
			[]string{"a", "b", "b/s", "b/s/f", "b/s/g", "b/s/h"}},
		{"move directory into another", "mkdir a/s\nmkdir b", "mv a b/c\nwrite b/c/s/f", []string{"a", "b/c", "b/c/s", "b/c/s/f"}},
		{"move directory and make the old anew", "mkdir a/s", "mv a b\nmkdir a/s\nwrite a/s/f\nwrite b/s/g",
			[]string{"a", "a/s", "a/s/f", "b", "b/s", "b/s/g"}},
		{"move directory over an empty one", "mkdir a/s\nmkdir b", "mv a b\nwrite b/s/f", []string{"a", "b", "b/s", "b/s/f"}},
		{"chain of moves", "mkdir a/x\nmkdir b/y", "mv b c\nmv a b\nmv c a\nwrite a/y/f\nwrite b/x/f",
			[]string{"a", "a/y", "a/y/f", "b", "b/x", "b/x/f", "c"}},
		{"directory into its own old name", "mkdir a/x", "mv a t\nmkdir a\nmv t a/b\nwrite a/b/x/f",
			[]string{"a", "a/b", "a/b/x", "a/b/x/f", "t"}},
		{"move directory out", "mkdir ../out\nmkdir a/s", "mv a ../out/a\nwrite ../out/a/s/f", []string{"a"}},
		{"move directory in", "mkdir ../out/s\nwrite ../out/s/f", "mv ../out a\nwrite a/s/g",
			[]string{"a", "a/s", "a/s/f", "a/s/g"}},
		{"move directory out and in", "mkdir a/s\nwrite a/s/f", "mv a ../out\nmv ../out b\nwrite b/s/g",
			[]string{"a", "b", "b/s", "b/s/f", "b/s/g"}},
		{"odd names", `mkdir d\ne`, `write d\ne/\xff` + "\nmkdir ...\nwrite .../f",
			[]string{"...", ".../f", "d\ne/\xff"}},
	}
	if canExchange {
		tests = append(tests, []struct {
			name, before, script string
			want                 []string
		}{
			{"swap files", "write a\nwrite b", "swap a b", []string{"a", "b"}},
			{"swap directories", "mkdir a/x\nmkdir b/y", "swap a b\nwrite a/y/f\nwrite b/x/f",
				[]string{"a", "a/y", "a/y/f", "b", "b/x", "b/x/f"}},
			{"swap directory and file", "mkdir a/x\nwrite b", "swap a b\nwrite b/x/f", []string{"a", "b", "b/x", "b/x/f"}},
		}...)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, func(root string) { do(t, root, tt.before) }, nil).start()
			do(t, r.root, tt.script)
			got := slices.DeleteFunc(r.reported(), func(p string) bool { return passing(r.root, p, tt.want) })
			if !slices.Equal(got, tt.want) {
				t.Errorf("reported %q, want %q", got, tt.want)
			}
			everyDirectoryIsWatched(t, r)
		})
	}
}

// passing tells whether a path that is not wanted may have been reported: it stood for a moment below one that is.
func passing(root, p string, want []string) bool {
	if _, err := os.Lstat(filepath.Join(root, p)); err == nil || slices.Contains(want, p) {
		return false
	}
	return slices.ContainsFunc(want, func(w string) bool { return strings.HasPrefix(p, w+"/") })
}

// everyDirectoryIsWatched makes a file in each directory and wants it told, under the right name.
func everyDirectoryIsWatched(t *testing.T, r *rig) {
	t.Helper()
	r.reset()
	want := []string{}
	dirs := 0
	for rel, d := range scan(t, r.root) {
		if d.IsDir() {
			dirs++
			probe := path.Join(rel, "probe")
			writeFile(t, filepath.Join(r.root, probe), "")
			want = append(want, probe)
		}
	}
	slices.Sort(want)
	if got := r.reported(); !slices.Equal(got, want) {
		t.Errorf("probes reported %q, want %q", got, want)
	}
	if got := r.Status().Watched; got != dirs {
		t.Errorf("watched %d directories, want %d", got, dirs)
	}
	if got := len(r.feed.fsw.WatchList()); got != dirs+1 {
		t.Errorf("fsnotify watches %d directories, want %d and the sentinel: %q", got, dirs, r.feed.fsw.WatchList())
	}
}

// scan returns what is in the folder, "." included and the skipped excluded.
func scan(t testing.TB, root string) map[string]fs.FileInfo {
	t.Helper()
	found := map[string]fs.FileInfo{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			return nil
		}
		if err != nil {
			return err
		}
		if d.Name() == ".resonate" {
			return fs.SkipDir
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err == nil {
			found[filepath.ToSlash(rel)] = fi
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestNewRefuses(t *testing.T) {
	for _, tt := range []struct{ name, root, sentinel string }{
		{"relative root", "some/where", ""},
		{"missing root", filepath.Join(t.TempDir(), "missing"), ""},
		{"missing sentinel", t.TempDir(), "missing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := New(Options{Root: tt.root, Sentinel: tt.sentinel}); err == nil {
				t.Error("no error")
			}
		})
	}
}

func TestRootGone(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(r *rig) error
	}{
		{"moved", func(r *rig) error { return os.Rename(r.root, r.root+"2") }},
		{"removed", func(r *rig) error { return os.RemoveAll(r.root) }},
		{"replaced", func(r *rig) error {
			return errors.Join(os.Rename(r.root, r.root+"2"), os.Mkdir(r.root, 0o755))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, nil, nil).start()
			if err := tt.do(r); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-r.run:
				if !errors.Is(err, ErrRootGone) {
					t.Errorf("Run: %v, want ErrRootGone", err)
				}
			case <-time.After(patience):
				t.Fatal("Run goes on")
			}
			if err := r.Flush(t.Context()); err == nil {
				t.Error("Flush after Run: no error")
			}
		})
	}
}

// An unmounted root raises no event that fsnotify passes on; a poll finds it. Here the event is lost by other means.
func TestRootGoneFoundByPoll(t *testing.T) {
	r := newRig(t, nil, func(w *Watcher) { w.t.poll = 20 * time.Millisecond }).start()
	if err := r.feed.fsw.Remove(r.root); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(r.root, r.root+"2"); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-r.run:
		if !errors.Is(err, ErrRootGone) {
			t.Errorf("Run: %v, want ErrRootGone", err)
		}
	case <-time.After(patience):
		t.Fatal("Run goes on")
	}
}

func BenchmarkLatency(b *testing.B) {
	r := newRig(b, nil, nil)
	r.launch()
	<-r.Ready()
	name := filepath.Join(r.root, "f")
	f, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	<-r.Batches()
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		if _, err := f.WriteAt([]byte("x"), 0); err != nil {
			b.Fatal(err)
		}
		<-r.Batches()
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), "p50-ns")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
}
