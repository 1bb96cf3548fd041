//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"resonate/control"
)

// readAtStart is the most that a daemon may read when it starts on a folder that it knows: state, not content.
const readAtStart = 40 << 20

// TestGOROOT has a Go installation go from one folder to the other, and both daemons start again
// afterwards: they find everything as it was, without reading it.
func TestGOROOT(t *testing.T) {
	if testing.Short() {
		t.Skip("copies some hundred megabytes")
	}
	t.Parallel()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		skip(t, fmt.Sprintf("the go command: %v", err))
	}
	c := newCluster(t)
	var fs unix.Statfs_t
	if err := unix.Statfs(c.root, &fs); err != nil {
		t.Fatal(err)
	}
	if free := fs.Bavail * uint64(fs.Bsize); free < 3<<30 {
		skip(t, fmt.Sprintf("3 GB of room in %s, and there are %d", c.root, free))
	}
	a := c.add("a")
	b := c.add("b", a)
	a.start()
	b.start()
	if err := os.CopyFS(filepath.Join(a.dir, "go"), os.DirFS(filepath.Join(strings.TrimSpace(string(out)), goTree))); err != nil {
		t.Fatal(err)
	}
	copied := time.Now()
	if err := c.converge(5 * time.Minute); err != nil {
		c.explain()
		t.Fatalf("no agreement: %v", err)
	}
	s := mustStatus(t, a)
	t.Logf("%d files, %d bytes: in sync %v after the copy", s.Files, s.Bytes, time.Since(copied).Round(time.Millisecond))
	c.mustAgree()
	for _, d := range c.daemons {
		restsFromReading(t, d)
	}
	before := [2]control.Roots{s.Roots, mustStatus(t, b).Roots}

	for _, d := range c.daemons {
		d.stop()
	}
	for _, d := range c.daemons {
		d.start()
	}
	c.mustAgree()
	for i, d := range c.daemons {
		if got := mustStatus(t, d).Roots; got != before[i] {
			t.Errorf("%s has roots %v after its restart, want %v as before", d.name, got, before[i])
		}
		if n := bytesRead(t, d.cmd.Process.Pid); n > readAtStart {
			t.Errorf("%s read %d bytes after its restart, want at most %d: files are not to be read again", d.name, n, readAtStart)
		}
	}
}

// restsFromReading waits until a daemon has read what it keeps for merges: that is read once, when all is at rest.
func restsFromReading(t *testing.T, d *daemon) {
	t.Helper()
	last, since := int64(-1), time.Now()
	d.c.until(time.Minute, func() error {
		if n := bytesRead(t, d.cmd.Process.Pid); n-last > 1<<16 || last < 0 { // to be asked is to read, too
			last, since = n, time.Now()
		}
		if rest := time.Since(since); rest < 2*time.Second {
			return fmt.Errorf("%s read something %v ago", d.name, rest)
		}
		return nil
	})
}

func mustStatus(t *testing.T, d *daemon) control.Status {
	t.Helper()
	s, err := d.status()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// bytesRead returns what a process has read by read(2) and the like (proc_pid_io(5): rchar).
func bytesRead(t *testing.T, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		skip(t, fmt.Sprintf("the kernel does not tell what a process reads: %v", err))
	}
	_, after, _ := strings.Cut(string(text), "rchar: ")
	n, err := strconv.ParseInt(strings.Fields(after)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
