package replica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"resonate/beneath"
	"resonate/control"
	"resonate/merkle"
	"resonate/reconcile"
	"resonate/watcher"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// skip skips a test that this machine cannot run; where all of them must run, that is a failure.
func skip(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("RESONATE_CI") == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// patience is how long a test waits for what must come.
const patience = time.Minute

// errKilled is what every file operation gives once a node was killed.
var errKilled = errors.New("killed")

// A node is a replica in this process that can be ended, killed and started again on its folder.
type node struct {
	t    testing.TB
	name string
	dir  string
	o    Options
	log  *logBuffer
	tune func(r *Replica) // called before Run; may be nil

	r      atomic.Pointer[Replica]
	cancel context.CancelFunc
	ended  chan struct{}
	err    error // of Run, once ended is closed

	dead atomic.Bool
	mu   sync.Mutex
	at   map[beneath.Label]func() error // what happens at labels
}

// newNode makes a folder with the given tree, and a node for it that is not started.
func newNode(t testing.TB, name string, tr tree) *node {
	t.Helper()
	base := t.TempDir()
	n := &node{t: t, name: name, dir: filepath.Join(base, name), log: &logBuffer{}, at: make(map[beneath.Label]func() error)}
	if err := os.Mkdir(n.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	tr.write(t, n.dir)
	n.o = Options{
		Dir: n.dir, Version: "test", Burst: reconcile.DefaultBurst, StateHome: filepath.Join(base, "state"), Fault: n.fault,
		Log: slog.New(slog.NewTextHandler(n.log, &slog.HandlerOptions{Level: slog.LevelDebug})), BootID: "boot-1",
	}
	t.Cleanup(func() {
		n.end()
		if t.Failed() {
			t.Logf("log of %s:\n%s", name, n.log)
		}
	})
	return n
}

// startNode makes a node and starts it.
func startNode(t testing.TB, name string, tr tree) *node {
	t.Helper()
	n := newNode(t, name, tr)
	n.start()
	return n
}

// start opens and runs the replica.
func (n *node) start() {
	n.t.Helper()
	eventually(n.t, "the folder is given back", func() string { // a run that had to end may not have waited for the disk
		err := n.tryStart()
		if err != nil && strings.Contains(err.Error(), "in use by another resonate") {
			return err.Error()
		}
		if err != nil {
			n.t.Fatalf("open %s: %v", n.name, err)
		}
		return ""
	})
}

func (n *node) tryStart() error {
	n.dead.Store(false)
	r, err := Open(n.o)
	if err != nil {
		return err
	}
	if n.tune != nil {
		n.tune(r)
	}
	n.r.Store(r)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	n.cancel, n.ended = cancel, ended
	go func() {
		defer close(ended)
		n.err = r.Run(ctx)
	}()
	return nil
}

// end ends the replica cleanly and returns what Run returned.
func (n *node) end() error {
	if n.cancel == nil {
		return nil
	}
	n.cancel()
	<-n.ended
	return n.err
}

// kill ends the replica as SIGKILL does: from now on nothing of it reaches the disk.
func (n *node) kill() {
	n.dead.Store(true)
	n.end()
}

func (n *node) replica() *Replica { return n.r.Load() }

func (n *node) fault(l beneath.Label) error {
	if n.dead.Load() {
		return errKilled
	}
	n.mu.Lock()
	f := n.at[l]
	n.mu.Unlock()
	if f == nil {
		return nil
	}
	return f()
}

// on has f called at a label.
func (n *node) on(l beneath.Label, f func() error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.at[l] = f
}

// once has f called the first time a label is passed, and returns a function that tells whether it was.
func (n *node) once(l beneath.Label, f func()) (happened func() bool) {
	var did atomic.Bool
	n.on(l, func() error {
		if did.CompareAndSwap(false, true) {
			f()
		}
		return nil
	})
	return did.Load
}

func (n *node) status() control.Status {
	n.t.Helper()
	s, err := n.replica().Status(n.t.Context())
	if err != nil {
		n.t.Fatalf("status of %s: %v", n.name, err)
	}
	return s
}

// inLoop runs f where it may look at the replica's state.
func (n *node) inLoop(f func(r *Replica)) {
	n.t.Helper()
	r := n.replica()
	if err := r.do(context.Background(), func() { f(r) }); err != nil {
		n.t.Fatalf("%s: %v", n.name, err)
	}
}

func (n *node) path(p string) string { return filepath.Join(n.dir, filepath.FromSlash(p)) }

// write writes a file as a user does.
func (n *node) write(p, content string) {
	n.t.Helper()
	writeFile(n.t, n.path(p), content)
}

func (n *node) remove(p string) {
	n.t.Helper()
	if err := os.RemoveAll(n.path(p)); err != nil {
		n.t.Fatal(err)
	}
}

// tree returns what the user sees in the folder.
func (n *node) tree() tree { return readTree(n.t, n.dir) }

// history returns the contents that the history keeps, by path, the newest first.
func (n *node) history() map[string][]string {
	n.t.Helper()
	list, err := n.replica().History(n.t.Context(), "")
	if err != nil {
		n.t.Fatalf("history of %s: %v", n.name, err)
	}
	out := make(map[string][]string)
	for _, k := range list {
		full := filepath.Join(n.dir, k.File)
		content := ""
		if k.Kind == "symlink" {
			target, err := os.Readlink(full)
			if err != nil {
				n.t.Fatal(err)
			}
			content = "-> " + target
		} else {
			b, err := os.ReadFile(full)
			if err != nil {
				n.t.Fatal(err)
			}
			content = string(b)
		}
		out[k.Path] = append(out[k.Path], content)
	}
	return out
}

// keeps tells whether a content is anywhere in the node's folder or history.
func (n *node) keeps(content string) bool {
	for _, c := range n.tree() {
		if c == content {
			return true
		}
	}
	for _, list := range n.history() {
		if slices.Contains(list, content) {
			return true
		}
	}
	return false
}

// A tree is a folder as a literal: "dir/" names a directory, "-> target" is a symlink, anything else a file's content.
type tree map[string]string

func (tr tree) write(t testing.TB, dir string) {
	t.Helper()
	for _, p := range slices.Sorted(maps.Keys(tr)) {
		full := filepath.Join(dir, p)
		target, isLink := strings.CutPrefix(tr[p], "-> ")
		var err error
		switch {
		case strings.HasSuffix(p, "/"):
			err = os.MkdirAll(full, 0o755)
		case isLink:
			err = errors.Join(os.MkdirAll(filepath.Dir(full), 0o755), os.Symlink(target, full))
		default:
			writeFile(t, full, tr[p])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func writeFile(t testing.TB, full, content string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(full), 0o755), os.WriteFile(full, []byte(content), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// readTree reads a folder; a directory is told only where nothing lies in it. What vanishes meanwhile is left out.
func readTree(t testing.TB, dir string) tree {
	t.Helper()
	tr := tree{}
	err := filepath.WalkDir(dir, func(full string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) { // it has gone, or is something else, by now
			return nil
		}
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, full)
		switch {
		case rel == StateDir:
			return fs.SkipDir
		case rel == ".":
		case d.IsDir():
			if inside, err := os.ReadDir(full); err == nil && len(inside) == 0 {
				tr[rel+"/"] = ""
			}
		case d.Type() == fs.ModeSymlink:
			if target, err := os.Readlink(full); err == nil {
				tr[rel] = "-> " + target
			}
		default:
			if b, err := os.ReadFile(full); err == nil {
				tr[rel] = string(b)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// diff tells how got differs from want; "" if it does not.
func (tr tree) diff(want tree) string {
	var out []string
	for p, c := range tr {
		if w, ok := want[p]; !ok {
			out = append(out, fmt.Sprintf("%q is there with %.60q", p, c))
		} else if w != c {
			out = append(out, fmt.Sprintf("%q holds %.60q, want %.60q", p, c, w))
		}
	}
	for p := range want {
		if _, ok := tr[p]; !ok {
			out = append(out, fmt.Sprintf("%q is missing", p))
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// sizesIn tells which file of the tree is not there in a folder with the size that it should have; "" if all are.
func (tr tree) sizesIn(dir string) string {
	for p, c := range tr {
		if strings.HasSuffix(p, "/") || strings.HasPrefix(c, "-> ") {
			continue
		}
		info, err := os.Lstat(filepath.Join(dir, filepath.FromSlash(p)))
		if err != nil {
			return err.Error()
		}
		if info.Size() != int64(len(c)) {
			return fmt.Sprintf("%q is %d bytes long, want %d", p, info.Size(), len(c))
		}
	}
	return ""
}

// copies returns the conflict copies in a tree.
func (tr tree) copies() []string {
	var out []string
	for p := range tr {
		if strings.Contains(p, ".conflict-") {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return out
}

// eventually waits until cond returns "", and fails with what it last returned if that takes too long.
func eventually(t testing.TB, what string, cond func() string) {
	t.Helper()
	within(t, patience, what, cond)
}

// within is eventually for what may take longer.
func within(t testing.TB, limit time.Duration, what string, cond func() string) {
	t.Helper()
	for end := time.Now().Add(limit); ; {
		begun := time.Now()
		missing := cond()
		if missing == "" {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: not after %v: %s", what, limit, missing)
		}
		<-time.After(max(5*time.Millisecond, 2*time.Since(begun))) // to look must not keep the nodes from their work
	}
}

// until is eventually for a plain condition.
func until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	eventually(t, what, func() string {
		if cond() {
			return ""
		}
		return "still not so"
	})
}

// converged waits until all nodes have agreed on one tree, nothing is under way, and the folders hold it.
func converged(t testing.TB, nodes ...*node) tree {
	t.Helper()
	var tr tree
	eventually(t, "convergence", func() string {
		var root merkle.Hash
		for i, n := range nodes {
			var quiet bool
			var state merkle.Hash
			n.inLoop(func(r *Replica) { quiet, state = r.quiet(), r.tree.Root().State })
			if !quiet {
				return n.name + " is busy"
			}
			if i > 0 && state != root {
				return fmt.Sprintf("roots of %s and %s differ", nodes[0].name, n.name)
			}
			root = state
		}
		tr = nodes[0].tree()
		for _, n := range nodes[1:] {
			if d := n.tree().diff(tr); d != "" {
				return fmt.Sprintf("folders of %s and %s differ: %s", nodes[0].name, n.name, d)
			}
		}
		return ""
	})
	return tr
}

// holds waits until all nodes hold exactly the wanted tree.
func holds(t testing.TB, want tree, nodes ...*node) {
	t.Helper()
	eventually(t, "the wanted tree", func() string {
		for _, n := range nodes {
			if d := want.sizesIn(n.dir); d != "" { // before all is read, again and again
				return n.name + ": " + d
			}
		}
		for _, n := range nodes {
			if d := n.tree().diff(want); d != "" {
				return n.name + ": " + d
			}
		}
		return ""
	})
	if d := converged(t, nodes...).diff(want); d != "" {
		t.Fatalf("after convergence: %s", d)
	}
}

// flushed waits until a node has taken in all that was done in its folder so far.
func (n *node) flushed() {
	n.t.Helper()
	var w *watcher.Watcher
	n.inLoop(func(r *Replica) { w = r.watcher })
	if err := w.Flush(n.t.Context()); err != nil {
		n.t.Fatalf("flush %s: %v", n.name, err)
	}
	until(n.t, n.name+" has read all", func() (idle bool) {
		n.inLoop(func(r *Replica) { idle = r.scanned && len(r.hashing) == 0 && len(r.changes) == 0 })
		return idle
	})
}

// committed waits until all that a node knows is written down.
func (n *node) committed() {
	n.t.Helper()
	until(n.t, n.name+" has written all down", func() (done bool) {
		n.inLoop(func(r *Replica) { done = r.commit.due.IsZero() && !r.commit.running && len(r.dirty) == 0 })
		return done
	})
}

// entry returns what is agreed of a path, nil if nothing is.
func (n *node) entry(p string) (e *merkle.Entry) {
	n.t.Helper()
	n.inLoop(func(r *Replica) { e = r.tree.Get(p) })
	return e
}

// A logBuffer keeps what a node logs. It is safe for concurrent use.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf.Reset()
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
