package replica

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// An outside is all that a peer has no right to, with what it was at the beginning: a directory beside the folder, what is fixed in
// the folder's state, and what lies in the node's own.
type outside struct {
	n      *node
	canary string            // the directory beside the folder
	secret []byte            // in a file there; it does not compress
	before map[string]string // by path: everything that stat(2) and read(2) tell
}

const maxHeap = 400 << 20

// watchOutside begins to watch over what is outside of a node's folder. The node runs.
func watchOutside(n *node) *outside {
	n.t.Helper()
	o := &outside{n: n, canary: filepath.Join(filepath.Dir(n.dir), "canary"), secret: make([]byte, 64)}
	rand.Read(o.secret)
	tree{"secret": string(o.secret), "sub/deep": "deep", "empty/": "", "link": "-> secret"}.write(n.t, o.canary)
	o.before = o.look()
	return o
}

// look describes all that must not change.
func (o *outside) look() map[string]string {
	o.n.t.Helper()
	seen := make(map[string]string)
	describe := func(full string) {
		fi, err := os.Lstat(full)
		if err != nil {
			o.n.t.Fatal(err)
		}
		st := fi.Sys().(*syscall.Stat_t)
		content, _ := os.ReadFile(full)
		seen[full] = fmt.Sprintf("%v %d %d %d:%d %v %x", fi.Mode(), fi.Size(), st.Ino, st.Uid, st.Gid, fi.ModTime().UnixNano(), content)
	}
	err := filepath.WalkDir(o.canary, func(full string, _ fs.DirEntry, err error) error { describe(full); return err })
	if err != nil {
		o.n.t.Fatal(err)
	}
	for _, fixed := range []string{"marker", "lock"} {
		describe(filepath.Join(o.n.dir, StateDir, fixed))
	}
	describe(filepath.Join(o.n.replica().State(), "key"))
	for _, dir := range []string{filepath.Dir(o.n.dir), filepath.Dir(o.n.replica().State())} {
		seen[dir+"/"] = strings.Join(o.names(dir), " ")
	}
	return seen
}

func (o *outside) names(dir string) []string {
	o.n.t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		o.n.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// check fails the test where something outside is not as it was, where something is in the folder that no peer may have made, or
// where the memory has grown too much.
func (o *outside) check(t testing.TB) {
	t.Helper()
	now := o.look()
	for _, p := range slices.Sorted(maps.Keys(o.before)) {
		if now[p] != o.before[p] {
			t.Errorf("%s: got %s, want as before %s", p, now[p], o.before[p])
		}
	}
	for p := range now {
		if _, was := o.before[p]; !was {
			t.Errorf("%s was made", p)
		}
	}
	own := []string{"control", "history", "lock", "marker", "shelf", "tmp", "watch"}
	for _, name := range o.names(filepath.Join(o.n.dir, StateDir)) {
		if !slices.Contains(own, name) {
			t.Errorf("%s/%s was made", StateDir, name)
		}
	}
	o.checkInside(t)
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	if memory.HeapAlloc > maxHeap {
		t.Errorf("%d MiB are in use, want at most %d", memory.HeapAlloc>>20, maxHeap>>20)
	}
}

// checkInside looks for what is not to be made from what a peer tells, in the folder, its history and its temporary files. The node
// does not keep owners.
func (o *outside) checkInside(t testing.TB) {
	t.Helper()
	_ = filepath.WalkDir(o.n.dir, func(full string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // it has gone
		}
		fi, err := d.Info()
		if err != nil {
			return nil
		}
		if fi.Mode()&(fs.ModeDevice|fs.ModeNamedPipe|fs.ModeSocket|fs.ModeSetuid|fs.ModeSetgid) != 0 {
			t.Errorf("%s has the mode %v", full, fi.Mode())
		}
		if st := fi.Sys().(*syscall.Stat_t); int(st.Uid) != os.Geteuid() || int(st.Gid) != os.Getegid() {
			t.Errorf("%s belongs to %d:%d", full, st.Uid, st.Gid)
		}
		var value [64]byte
		if size, err := unix.Lgetxattr(full, "security.capability", value[:]); err == nil {
			t.Errorf("%s has the capabilities %x", full, value[:size])
		}
		return nil
	})
}

// checkTold fails the test where a peer was told the secret.
func (o *outside) checkTold(t testing.TB, told []byte) {
	if bytes.Contains(told, o.secret) {
		t.Error("a peer was told what lies outside")
	}
}
