//go:build linux

package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var (
	seedFlag  = flag.Int64("seed", 0, "run the random operations from this seed on; alone, if -seeds is not given")
	seedsFlag = flag.Int64("seeds", 0, "run the random operations with so many seeds; 0: 2")
)

// operations is how many a random run makes in all.
var operations = flag.Int("operations", 5000, "make so many random operations with each seed")

// TestRandomOperations has three users work on three nodes at once, with the same few names, while one of the daemons
// is killed and started again and again. At the end all folders are equal, and nothing that a user wrote is lost.
func TestRandomOperations(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds for each seed")
	}
	t.Parallel()
	first, n := max(*seedFlag, 1), *seedsFlag
	switch {
	case *seedFlag != 0:
		n = max(n, 1)
	case n == 0:
		n = 2
	}
	for seed := first; seed < first+n; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel() // most of the time is spent waiting
			randomRun(t, seed)
		})
	}
}

func randomRun(t *testing.T, seed int64) {
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("again: go test ./cmd/resonate -race -run 'TestRandomOperations$' -seed %d", seed)
		}
	})
	c := newCluster(t)
	a := c.add("a")
	b := c.add("b", a)
	x := c.add("c", b, a)
	owns := seed%2 == 0 && os.Geteuid() == 0
	for _, d := range []*daemon{a, b, x} {
		if owns {
			d.args = append(d.args, "-keep-owner")
		}
		d.start()
	}
	j := newJudge()
	var users sync.WaitGroup
	for i, d := range c.daemons {
		u := &user{d: d, j: j, rand: rand.New(rand.NewPCG(uint64(seed), uint64(i))), seed: seed, owns: owns, fresh: map[uint64]string{}}
		users.Go(func() { u.work(*operations / len(c.daemons)) })
	}
	done := make(chan struct{})
	go func() { users.Wait(); close(done) }()
	begun := time.Now()
	kills := killAgainAndAgain(c.daemons[int(seed)%len(c.daemons)], done)
	worked := time.Since(begun)
	c.mustAgree()
	c.mustHaveSameAttributes(owns)
	agreed := time.Since(begun) - worked
	if lost := j.lost(t, c.dirs()); len(lost) > 0 {
		t.Errorf("lost %d of %d contents:\n%s", len(lost), len(j.written), strings.Join(lost, "\n"))
		c.explain()
	}
	c.mustStandStill(time.Second)
	t.Logf("%d contents written, %d kills; %v of work, agreed after %v", len(j.written), kills,
		worked.Round(time.Millisecond), agreed.Round(time.Millisecond))
}

// killAgainAndAgain kills and starts d until done is closed, and at least three times. Each time d gets a moment to
// come to terms with the others, or not.
func killAgainAndAgain(d *daemon, done <-chan struct{}) (kills int) {
	for {
		_ = d.wait(time.Duration(kills%3) * 100 * time.Millisecond)
		d.kill()
		kills++
		d.start()
		select {
		case <-done:
			if kills >= 3 {
				return kills
			}
		default:
		}
	}
}

// A user works on a folder through the file system alone.
type user struct {
	d     *daemon
	j     *judge
	rand  *rand.Rand
	seed  int64
	owns  bool              // owners are kept
	fresh map[uint64]string // by inode, files that got another name which the daemon may not have seen yet: the name they had
	count int
}

// work does n operations that succeed, in bursts; in between the user waits for the others to have it all, though not
// for long.
func (u *user) work(n int) {
	for n > 0 {
		for range 1 + u.rand.IntN(48) {
			if u.operation() {
				n--
			}
		}
		if u.d.wait(time.Duration(u.rand.IntN(120))*time.Millisecond) == nil {
			clear(u.fresh)
		}
	}
}

// operation does one thing, and tells whether it did: there may be nothing to do it to.
func (u *user) operation() bool {
	ops := []func() bool{
		u.create, u.create, u.create, u.create, u.overwrite, u.overwrite, u.append, u.append, u.truncate, u.renameOver, u.renameOver,
		u.move, u.move, u.move, u.swap, u.removeAll, u.remove, u.remove, u.mkdir, u.mkdir, u.mkdir, u.chmod, u.symlink, u.changeKind,
		u.setAttribute, u.setAttribute, u.dropAttribute, u.setACL, u.punch, u.chown, u.hardLink, u.hardLink,
	}
	return ops[u.rand.IntN(len(ops))]()
}

// path picks one of a few names: users are to meet.
func (u *user) path() string {
	dirs := []string{"", "", "d", "d", "d/e", "f", "f/g"}
	names := []string{"a", "b", "c", "n1.txt", "n2.txt"}
	if u.rand.IntN(6) == 0 {
		names = oddNames
	}
	if u.rand.IntN(3) == 0 { // one that is used seldom, so that what goes wrong with it is not put right by chance
		return filepath.Join(u.d.dir, fmt.Sprint("seldom", u.rand.IntN(200)))
	}
	return filepath.Join(u.d.dir, dirs[u.rand.IntN(len(dirs))], names[u.rand.IntN(len(names))])
}

// dir picks a directory's name; some are those of files, too.
func (u *user) dir() string {
	dirs := []string{"d", "d/e", "f", "f/g", "d/e/h", "c", "d/c"}
	return filepath.Join(u.d.dir, dirs[u.rand.IntN(len(dirs))])
}

// bytes are unlike any others.
func (u *user) bytes() []byte {
	u.count++
	b := fmt.Appendf(nil, "seed %d, %s, %d\n", u.seed, u.d.name, u.count)
	size := u.rand.IntN(3000)
	switch u.rand.IntN(30) {
	case 0:
		size = u.rand.IntN(400_000)
	case 1:
		size = 0
	}
	pad := make([]byte, size)
	for i := range pad {
		pad[i] = byte(u.rand.Uint32())
	}
	return append(b, pad...)
}

func (u *user) wrote(data []byte, how, path string) {
	if len(data) > 0 {
		rel, _ := filepath.Rel(u.d.dir, path)
		u.j.wrote(u.d.name, contentOf(data), fmt.Sprintf("%s %s, number %d, %d bytes", how, rel, u.count, len(data)))
	}
}

// away does op, which does away with what stands at path, and tells the judge if it was what the user saw there.
func (u *user) away(path string, op func() error) error {
	w, err := see(path)
	if err != nil {
		return err
	}
	err = op()
	if w.gone() {
		u.j.replaced(u.d.name, w.content)
	}
	return err
}

func (u *user) create() bool { return u.createAt(u.path(), "created") }

func (u *user) createAt(path, how string) bool {
	data := u.bytes()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return false
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return false
	}
	u.wrote(data, how, path)
	return true
}

// inPlace changes a file in place. What it held before is replaced, and read from that very file.
func (u *user) inPlace(how string, change func(f *os.File, old []byte) error) bool {
	path := u.path()
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if u.unseen(path) {
		return false
	}
	old, err := readAll(f)
	if err != nil || change(f, old) != nil {
		return false
	}
	now, err := readAll(f)
	if err != nil || bytes.Equal(old, now) {
		return false
	}
	u.j.replaced(u.d.name, contentOf(old))
	u.wrote(now, how, path)
	return true
}

func readAll(f *os.File) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b := make([]byte, info.Size())
	_, err = f.ReadAt(b, 0)
	return b, err
}

func (u *user) overwrite() bool {
	data := u.bytes()
	return u.inPlace("overwrote", func(f *os.File, _ []byte) error {
		_, err := f.WriteAt(data, 0)
		return errors.Join(err, f.Truncate(int64(len(data))))
	})
}

func (u *user) append() bool {
	data := u.bytes()
	return u.inPlace("appended to", func(f *os.File, old []byte) error {
		_, err := f.WriteAt(data, int64(len(old)))
		return err
	})
}

func (u *user) truncate() bool {
	return u.inPlace("truncated", func(f *os.File, old []byte) error {
		return f.Truncate(u.rand.Int64N(int64(len(old)) + 1))
	})
}

// renameOver saves a file as editors do: beside, and then renamed into place.
func (u *user) renameOver() bool {
	path, data := u.path(), u.bytes()
	temp := filepath.Join(filepath.Dir(path), fmt.Sprintf(".save-%s-%d", u.d.name, u.count))
	if os.WriteFile(temp, data, 0o600) != nil {
		return false
	}
	u.wrote(data, "saved", path)
	return u.away(path, func() error { return os.Rename(temp, path) }) == nil // else it stays beside
}

func (u *user) move() bool {
	from, to := u.path(), u.path()
	if u.rand.IntN(3) == 0 {
		from, to = u.dir(), u.dir()
	}
	return from != to && u.away(to, func() error { return os.Rename(from, to) }) == nil
}

func (u *user) swap() bool {
	a, b := u.path(), u.path()
	if u.rand.IntN(3) == 0 {
		a, b = u.dir(), u.dir()
	}
	return a != b && unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE) == nil
}

func (u *user) remove() bool { return u.unlink(u.path()) }

func (u *user) unlink(path string) bool {
	return u.away(path, func() error { return unix.Unlink(path) }) == nil
}

func (u *user) removeAll() bool { return u.removeTree(u.dir()) }

// removeTree is rm -r, with a look at each file before it goes.
func (u *user) removeTree(dir string) bool {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, e := range entries {
		if path := filepath.Join(dir, e.Name()); e.IsDir() {
			u.removeTree(path)
		} else {
			u.unlink(path)
		}
	}
	return unix.Rmdir(dir) == nil
}

func (u *user) mkdir() bool { return os.Mkdir(u.dir(), 0o755) == nil }

func (u *user) chmod() bool {
	path, mode := u.path(), []fs.FileMode{0o644, 0o600, 0o755, 0o444}[u.rand.IntN(4)]
	if u.rand.IntN(4) == 0 {
		path, mode = u.dir(), []fs.FileMode{0o755, 0o700, 0o500}[u.rand.IntN(3)]
	}
	info, err := os.Lstat(path)
	return err == nil && info.Mode().Type() != fs.ModeSymlink && !u.unseen(path) && os.Chmod(path, mode) == nil
}

func (u *user) symlink() bool { return u.symlinkAt(u.path()) }

func (u *user) symlinkAt(path string) bool {
	u.count++
	target := fmt.Sprintf("to-%d-%s-%d", u.seed, u.d.name, u.count)
	if os.Symlink(target, path) != nil {
		return false
	}
	u.j.wrote(u.d.name, contentOfLink(target), "linked "+path+" to "+target)
	return true
}

// changeKind puts something of another kind where a file, a directory or a link stands.
func (u *user) changeKind() bool {
	path := u.path()
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return false
	case info.IsDir():
		return u.removeTree(path) && u.createAt(path, "put in place of a directory")
	case !u.unlink(path):
		return false
	case u.rand.IntN(2) == 0:
		return os.Mkdir(path, 0o755) == nil
	}
	return u.symlinkAt(path)
}
