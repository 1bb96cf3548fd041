package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"resonate/control"
)

// nobody is the user that owns nothing.
const nobody = 65534

// needRoot skips a test that only root can make, except where all must run.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		skip(t, "only root can do this")
	}
}

func skip(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("RESONATE_CI") == "1" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// onDisk puts the daemon's folder on a small disk of its own.
func (d *daemon) onDisk(t *testing.T, size string) {
	t.Helper()
	if err := unix.Mount("tmpfs", d.dir, "tmpfs", 0, "mode=755,size="+size); err != nil {
		skip(t, fmt.Sprintf("cannot mount a tmpfs: %v", err))
	}
	t.Cleanup(func() {
		d.kill()
		if err := unix.Unmount(d.dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

func (d *daemon) remount(t *testing.T, flags uintptr, data string) {
	t.Helper()
	if err := unix.Mount("tmpfs", d.dir, "tmpfs", unix.MS_REMOUNT|flags, data); err != nil {
		t.Fatal(err)
	}
}

// problem waits until the daemon tells of a problem with a path.
func (d *daemon) problem(path string) (p control.Problem) {
	d.c.t.Helper()
	d.c.until(time.Minute, func() error {
		s, err := d.status()
		if err != nil {
			return err
		}
		for _, p = range s.Problems {
			if p.Path == path {
				return nil
			}
		}
		return fmt.Errorf("%s tells of %+v, want %s", d.name, s.Problems, path)
	})
	return p
}

// noProblems waits until the daemon tells of none any more.
func (d *daemon) noProblems() {
	d.c.t.Helper()
	d.c.until(40*time.Second, func() error {
		s, err := d.status()
		if err == nil && len(s.Problems) > 0 {
			err = fmt.Errorf("%s still tells of %+v", d.name, s.Problems)
		}
		return err
	})
}

func TestFullDisk(t *testing.T) {
	needRoot(t)
	c := newCluster(t)
	a := c.add("a")
	b := c.add("b", a)
	b.onDisk(t, "2m")
	a.start()
	b.start()
	a.write("old", "old")
	b.holds("old", "old")
	noise := make([]byte, 6<<20)
	source := rand.NewChaCha8([32]byte{1})
	if _, err := source.Read(noise); err != nil {
		t.Fatal(err)
	}
	aside := filepath.Join(c.root, "big") // a writer that pauses may be published half-way: its own half, that is
	if err := errors.Join(os.WriteFile(aside, noise, 0o644), os.Rename(aside, filepath.Join(a.dir, "big"))); err != nil {
		t.Fatal(err)
	}
	if p := b.problem("big"); !strings.Contains(p.Cause, "no space left") || !strings.Contains(p.Remedy, "free some space") {
		t.Errorf("problem: got %+v, want cause and remedy", p)
	}
	if _, err := os.Lstat(filepath.Join(b.dir, "big")); err == nil {
		t.Error("half of a file is in place")
	}
	a.write("small", "small")
	b.holds("small", "small")
	b.write("own", "b's own")
	a.holds("own", "b's own")
	b.remount(t, 0, "size=32m")
	b.holds("big", string(noise))
	b.noProblems()
	c.mustAgree()
}

func TestReadOnlyFolder(t *testing.T) {
	needRoot(t)
	c := newCluster(t)
	a := c.add("a")
	a.onDisk(t, "2m")
	a.write("f", "f")
	a.remount(t, unix.MS_RDONLY, "")
	a.refuses([]string{"-dir", a.dir, "-port", "0"}, a.dir, "read-only", "writable")
	untouched(t, a.dir)
}

// runAs starts the daemon as another user, who owns the folder but not all that is in it.
func (d *daemon) runAs(t *testing.T, uid uint32) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(d.c.root, "resonate")
	if err := os.WriteFile(copied, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{d.c.root, d.dir} {
		if err := os.Chown(dir, int(uid), int(uid)); err != nil {
			skip(t, err.Error())
		}
	}
	log, err := os.OpenFile(d.log, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := commandAs(copied, uid, "-dir", d.dir, "-port", "0")
	cmd.Env, cmd.Stdout, cmd.Stderr = d.environment(), log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d.cmd, d.ended = cmd, make(chan struct{})
	go func() {
		defer close(d.ended)
		_ = cmd.Wait()
	}()
}

// commandAs is the program run by another user.
func commandAs(exe string, uid uint32, args ...string) *exec.Cmd {
	cmd := exec.Command(exe, args...)
	cmd.Args[0] = "resonate"
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	return cmd
}

func TestUnreadableFile(t *testing.T) {
	needRoot(t)
	c := newCluster(t)
	a := c.add("a")
	a.write("readable", "r")
	a.write("secret", "s")
	a.write("locked/in", "in")
	if err := errors.Join(os.Chmod(filepath.Join(a.dir, "secret"), 0o600), os.Chmod(filepath.Join(a.dir, "locked"), 0o700)); err != nil {
		t.Fatal(err)
	}
	a.runAs(t, nobody)
	if !a.answers() {
		t.Fatalf("ended instead of answering:\n%s", a.lastLines(20))
	}
	for _, path := range []string{"secret", "locked"} {
		if p := a.problem(path); !strings.Contains(p.Cause, "permission denied") || p.Remedy == "" {
			t.Errorf("problem: got %+v, want cause and remedy", p)
		}
	}
	s, err := a.status()
	if err != nil || s.Files != 1 {
		t.Errorf("files: got %d, %v, want the readable one", s.Files, err)
	}
	if err := errors.Join(os.Chmod(filepath.Join(a.dir, "secret"), 0o644), os.Chmod(filepath.Join(a.dir, "locked"), 0o755)); err != nil {
		t.Fatal(err)
	}
	a.noProblems()
	c.until(time.Minute, func() error {
		s, err := a.status()
		if err == nil && s.Files != 3 {
			err = fmt.Errorf("%d files, want 3", s.Files)
		}
		return err
	})
	a.write("locked/later", "later")
	c.until(time.Minute, func() error {
		s, err := a.status()
		if err == nil && s.Files != 4 {
			err = fmt.Errorf("%d files, want 4: what was locked is not watched", s.Files)
		}
		return err
	})
}

func TestUnreadableFolder(t *testing.T) {
	needRoot(t)
	c := newCluster(t)
	a := c.add("a")
	a.write("f", "f")
	a.runAs(t, nobody)
	if !a.answers() {
		t.Fatalf("ended instead of answering:\n%s", a.lastLines(20))
	}
	a.kill()
	for _, mode := range []os.FileMode{0, 0o555} {
		if err := errors.Join(os.Chown(a.dir, 0, 0), os.Chmod(a.dir, mode)); err != nil {
			t.Fatal(err)
		}
		cmd := commandAs(filepath.Join(c.root, "resonate"), nobody, "-dir", a.dir, "-port", "0")
		cmd.Env = a.environment()
		if mode != 0 {
			if err := os.RemoveAll(filepath.Join(a.dir, ".resonate")); err != nil {
				t.Fatal(err)
			}
			cmd.Args = append(cmd.Args, "-fresh")
		}
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != exitFailed {
			t.Errorf("mode %o: got %v, want exit code %d", mode, err, exitFailed)
		}
		for _, w := range []string{a.dir, "permission denied"} {
			if !strings.Contains(string(out), w) {
				t.Errorf("mode %o: got %q, want %q in it", mode, out, w)
			}
		}
	}
}
