package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// newTerminal returns a pseudo-terminal: the end of whoever watches it, and the path of the other.
func newTerminal(t *testing.T) (*os.File, string) {
	t.Helper()
	f, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		skip(t, err.Error())
	}
	t.Cleanup(func() { f.Close() })
	conn, err := f.SyscallConn() // Fd would have reads block for ever
	if err != nil {
		t.Fatal(err)
	}
	var n int
	var failed error
	err = conn.Control(func(fd uintptr) {
		if failed = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); failed == nil {
			n, failed = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	if err := errors.Join(err, failed); err != nil {
		t.Fatal(err)
	}
	return f, fmt.Sprintf("/dev/pts/%d", n)
}

// TestTerminalThatGoesAway has a daemon with a configuration run on a terminal. Its hangup ends the daemon; a signal of
// the same kind on a terminal that is there has it read the file.
func TestTerminalThatGoesAway(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.add("a")
	a.configure("")
	watcher, name := newTerminal(t)
	tty, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, a.args...)
	cmd.Args[0] = "resonate"
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = a.environment(), tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tty.Close()
	log, err := os.Create(a.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	copied, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(copied)
		_, _ = io.Copy(log, watcher) // until the terminal goes away
	}()
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	a.cmd, a.ended = cmd, ended // for the cluster's cleanup
	a.logs("Listening on")
	c.until(time.Minute, func() error { // its signals are taken once it answers
		return c.answersNow(time.Second)
	})
	a.signal(syscall.SIGHUP)
	a.logs("configuration read")
	watcher.Close()
	<-copied
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the daemon runs on without its terminal")
	}
	if code := cmd.ProcessState.ExitCode(); code != exitDone {
		t.Errorf("got exit code %d, want %d", code, exitDone)
	}
}
