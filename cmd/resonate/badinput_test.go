package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"resonate/replica"
)

// refuses runs the daemon with the given arguments and wants it to end at once, with code 1 and a message that holds all
// of want.
func (d *daemon) refuses(args []string, want ...string) {
	d.c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	exe, err := os.Executable()
	if err != nil {
		d.c.t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, exe, args...)
	cmd.Args[0] = "resonate"
	cmd.Env, cmd.Stderr = d.environment(), &stderr
	err = cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != exitFailed {
		d.c.t.Errorf("resonate %v: got exit code %d (%v), want %d", args, code, err, exitFailed)
	}
	for _, w := range want {
		if !strings.Contains(stderr.String(), w) {
			d.c.t.Errorf("resonate %v: got %q, want %q in it", args, stderr.String(), w)
		}
	}
	for _, bad := range []string{"panic:", "DATA RACE", "goroutine "} {
		if strings.Contains(stderr.String(), bad) {
			d.c.t.Errorf("resonate %v: %s", args, stderr.String())
		}
	}
}

// write writes a file in the daemon's folder as a user does.
func (d *daemon) write(name, content string) {
	d.c.t.Helper()
	full := filepath.Join(d.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(full), 0o755), os.WriteFile(full, []byte(content), 0o644)); err != nil {
		d.c.t.Fatal(err)
	}
}

// holds waits until the daemon's folder has a file with the given content.
func (d *daemon) holds(name, content string) {
	d.c.t.Helper()
	d.c.until(time.Minute, func() error {
		got, err := os.ReadFile(filepath.Join(d.dir, name))
		if err == nil && string(got) != content {
			err = fmt.Errorf("%s holds %.40q, want %.40q", name, got, content)
		}
		return err
	})
}

// logs waits until a line of the daemon's log holds all of want.
func (d *daemon) logs(want ...string) {
	d.c.t.Helper()
	d.c.until(time.Minute, func() error {
		log, err := os.ReadFile(d.log)
		if err != nil {
			return err
		}
	lines:
		for line := range strings.Lines(string(log)) {
			for _, w := range want {
				if !strings.Contains(line, w) {
					continue lines
				}
			}
			return nil
		}
		return fmt.Errorf("%s: no line of the log holds %q:\n%s", d.name, want, d.lastLines(12))
	})
}

// untouched fails the test if a refusal made a folder of a directory.
func untouched(t *testing.T, dir string) {
	t.Helper()
	if _, err := os.Lstat(filepath.Join(dir, replica.StateDir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s has a %s: %v", dir, replica.StateDir, err)
	}
}

func TestPortInUse(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	d := c.add("a")
	d.write("f", "f")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	d.refuses([]string{"-dir", d.dir, "-port", port}, port, "in use", "-port")
	d.holds("f", "f")
	d.start() // the refused one left nothing that is in the way
}

func TestFolderInsideASyncedFolder(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.add("a")
	a.write("sub/f", "f")
	a.start()
	sub := filepath.Join(a.dir, "sub")
	a.refuses([]string{"-dir", sub, "-port", "0"}, sub, "lies inside the synced folder "+a.dir, "move it out")
	untouched(t, sub)
	a.refuses([]string{"-dir", a.dir, "-port", "0"}, a.dir, "in use by another resonate", "end that one first")
	if _, err := a.status(); err != nil {
		t.Errorf("after the refusals: %v", err)
	}
}

func TestEmptiedFolderIsRefused(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.add("a")
	a.write("f", "f")
	a.start()
	a.stop()
	if err := errors.Join(os.RemoveAll(a.dir), os.Mkdir(a.dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	a.refuses([]string{"-dir", a.dir, "-port", "0"}, a.dir, "marker", "-fresh")
	untouched(t, a.dir)
	a.args = []string{"-fresh"}
	a.start()
}

func TestPeerThatIsThisNode(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.add("a")
	a.start()
	a.stop() // it has a port of its own now
	a.peers = []*daemon{a}
	a.start()
	a.logs("level=WARN", fmt.Sprintf("127.0.0.1:%d", a.port), "-peer")
	a.write("f", "f")
	if err := a.wait(10 * time.Second); err != nil && !strings.Contains(err.Error(), "no peer is connected") {
		t.Errorf("wait: %v", err)
	}
	b := c.add("b", a)
	b.start()
	b.holds("f", "f")
}

// TestStrangers has two users on one machine point their daemons at each other.
func TestStrangers(t *testing.T) {
	t.Parallel()
	mine, others := newCluster(t), newCluster(t)
	a := mine.add("a")
	a.write("secret", "secret")
	a.start()
	b := others.add("b", a)
	b.write("own", "own")
	b.start()
	a.logs("level=WARN", "refused a connection", "127.0.0.1")
	b.logs("level=WARN", fmt.Sprintf("127.0.0.1:%d", a.port))
	b.c.until(time.Minute, func() error {
		s, err := b.status()
		if err == nil && (len(s.Peers) != 1 || s.Peers[0].State == "connected" || s.Peers[0].Error == "") {
			err = fmt.Errorf("peers: %+v, want one that is not connected, and why", s.Peers)
		}
		return err
	})
	for _, row := range []struct {
		d       *daemon
		foreign string
	}{{a, "own"}, {b, "secret"}} {
		if _, err := os.Lstat(filepath.Join(row.d.dir, row.foreign)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s got %s of a stranger: %v", row.d.name, row.foreign, err)
		}
	}
}

// TestOtherSharedFolder has two daemons meet whose folders were each shared with others, long ago.
func TestOtherSharedFolder(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.add("a")
	b := c.add("b", a)
	for _, d := range []*daemon{a, b} {
		d.write("of-"+d.name, d.name)
		d.peers = nil
		d.start()
		d.stop()
		marker := filepath.Join(d.dir, replica.StateDir, "marker")
		text, err := os.ReadFile(marker)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(marker, bytes.Replace(text, []byte("shared 0"), []byte("shared 1000"), 1), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b.peers = []*daemon{a}
	a.start()
	b.start()
	for _, d := range []*daemon{a, b} {
		d.logs("shares another folder", "-fresh")
	}
	b.c.until(time.Minute, func() error {
		s, err := b.status()
		if err == nil && (len(s.Peers) != 1 || !strings.Contains(s.Peers[0].Error, "another folder")) {
			err = fmt.Errorf("peers: %+v, want the cause", s.Peers)
		}
		return err
	})
	for _, d := range []*daemon{a, b} {
		names, err := os.ReadDir(d.dir)
		if err != nil || len(names) != 2 {
			t.Errorf("%s: got %v, %v, want its own file and the marker alone", d.name, names, err)
		}
	}
}

func TestGarbageAtThePort(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.add("a")
	a.write("f", "f")
	a.start()
	for _, garbage := range []string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", strings.Repeat("\x00\xff", 1<<16), "SSH-2.0-other\r\n" + strings.Repeat("\xff", 1<<10), ""} {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", a.port))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write([]byte(garbage)) // it may have hung up already
		conn.Close()
	}
	b := c.add("b", a)
	b.start()
	b.holds("f", "f")
	a.stop()
}
