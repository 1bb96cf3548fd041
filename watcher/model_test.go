package watcher

import (
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// replica is the simplest reader: it keeps what it saw at each path, and looks again only where it is told to.
type replica struct {
	t    testing.TB
	root string
	mu   sync.Mutex
	seen map[string]string
	idle chan struct{}
}

func newReplica(r *rig) *replica {
	return &replica{t: r.t, root: r.root, seen: describe(scan(r.t, r.root)), idle: make(chan struct{})}
}

func describe(found map[string]fs.FileInfo) map[string]string {
	m := map[string]string{}
	for rel, fi := range found {
		if rel != "." {
			m[rel] = describeOne(fi)
		}
	}
	return m
}

func describeOne(fi fs.FileInfo) string {
	if fi.IsDir() {
		return fi.Mode().String()
	}
	return fmt.Sprintf("%v %d %d %d", fi.Mode(), fi.Size(), fi.ModTime().UnixNano(), identify(fi).ino)
}

func (c *replica) read(batches <-chan Batch) {
	for {
		select {
		case b, ok := <-batches:
			if !ok {
				return
			}
			c.take(b)
		case <-c.idle:
		}
	}
}

func (c *replica) take(b Batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range b.Paths {
		fi, err := os.Lstat(filepath.Join(c.root, p))
		if err != nil || !fi.IsDir() {
			c.forget(p)
		} else {
			c.forgetMissing(p)
		}
		if err == nil {
			c.seen[p] = describeOne(fi)
		}
	}
	for _, p := range b.Rescan {
		c.forget(p)
		for rel, d := range describe(scan(c.t, c.root)) {
			if p == "." || rel == p || strings.HasPrefix(rel, p+"/") {
				c.seen[rel] = d
			}
		}
	}
}

// forgetMissing drops what is no longer in a directory.
func (c *replica) forgetMissing(dir string) {
	for rel := range c.seen {
		if filepath.Dir(rel) != dir {
			continue
		}
		if _, err := os.Lstat(filepath.Join(c.root, rel)); err != nil {
			c.forget(rel)
		}
	}
}

func (c *replica) forget(p string) {
	maps.DeleteFunc(c.seen, func(rel, _ string) bool {
		return p == "." || rel == p || strings.HasPrefix(rel, p+"/")
	})
}

func (c *replica) compare(t *testing.T) {
	t.Helper()
	c.idle <- struct{}{}
	c.mu.Lock()
	defer c.mu.Unlock()
	want := describe(scan(t, c.root))
	for rel, d := range want {
		if c.seen[rel] != d {
			t.Errorf("%q is %q, was told as %q", rel, d, c.seen[rel])
		}
	}
	for rel, d := range c.seen {
		if _, ok := want[rel]; !ok {
			t.Errorf("%q is gone, was told as %q", rel, d)
		}
	}
}

// churn does something at random to the tree. Most errors are expected: the paths are guesses.
func churn(rnd *rand.Rand, root string) {
	names := []string{"a", "b", "c", "d"}
	pick := func() string {
		p := root
		for range 1 + rnd.IntN(4) {
			p = filepath.Join(p, names[rnd.IntN(len(names))])
		}
		return p
	}
	switch p := pick(); rnd.IntN(10) {
	case 0, 1, 2:
		_ = os.MkdirAll(p, 0o755)
	case 3, 4:
		_ = os.WriteFile(filepath.Join(p, "f"), []byte(p), 0o644)
	case 5:
		_ = appendTo(filepath.Join(p, "f"), "x")
	case 6, 7:
		_ = syscall.Rename(p, pick())
	case 8:
		_ = exchange(p, pick())
	case 9:
		if rnd.IntN(3) == 0 {
			_ = os.RemoveAll(p)
		}
	}
}

// After any changes, and with events lost or watches short at any time, a reader that does as told has the true picture.
func TestModel(t *testing.T) {
	for _, tt := range []struct {
		name     string
		overflow bool
		limit    int
	}{
		{"moves", false, 0},
		{"overflows", true, 0},
		{"limit", false, 12},
		{"limit and overflows", true, 12},
	} {
		t.Run(tt.name, func(t *testing.T) {
			seed := rand.Uint64()
			rnd := rand.New(rand.NewPCG(seed, 0))
			r := newRig(t, nil, func(w *Watcher) {
				if tt.limit > 0 {
					limitTo(w, tt.limit)
				}
			})
			c := newReplica(r)
			r.launch()
			go c.read(r.Batches())
			<-r.Ready()
			for range 15 {
				for range 70 {
					churn(rnd, r.root)
				}
				if tt.overflow {
					r.overflow <- struct{}{}
				}
				for range 30 {
					churn(rnd, r.root)
				}
				r.flushOnly()
				c.compare(t)
				if t.Failed() {
					t.Fatalf("seed %d", seed)
				}
			}
		})
	}
}
