package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// heldSession is short, so that what a node holds that is gone is soon to be had.
const heldSession = "5s"

// A delegated is three daemons, of which one has the delegation over a file's directory, and another is about to edit it.
type delegated struct {
	c                      *cluster
	holder, editor, leader *daemon
	path                   string
}

func newDelegated(t *testing.T) *delegated {
	t.Helper()
	nodes := startLockers(t, 3, 3, "-session", heldSession)
	h := &delegated{nodes[0].c, nodes[1], nodes[2], nodes[0], "d/f"}
	if err := os.Mkdir(filepath.Join(h.leader.dir, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	h.write(h.leader, "base\n")
	h.has("base\n", nodes...)
	h.write(h.holder, "the holder's\n")
	h.has("the holder's\n", nodes...)
	return h
}

func (h *delegated) write(d *daemon, content string) {
	h.c.t.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, h.path), []byte(content), 0o644); err != nil {
		h.c.t.Fatal(err)
	}
}

// has waits until these have a content.
func (h *delegated) has(content string, nodes ...*daemon) {
	h.c.t.Helper()
	h.c.until(40*time.Second, func() error {
		for _, d := range nodes {
			if got, err := os.ReadFile(filepath.Join(d.dir, h.path)); string(got) != content || err != nil {
				return fmt.Errorf("%s has %q (%v), not %q:\n%s", d.name, got, err, content, d.lastLines(12))
			}
		}
		return nil
	})
}

// alone wants no other file beside the one.
func (h *delegated) alone() {
	h.c.t.Helper()
	h.c.mustAgree()
	if entries, err := os.ReadDir(filepath.Join(h.editor.dir, "d")); err != nil || len(entries) != 1 {
		h.c.t.Errorf("in the directory: %v, %v; want the one file", entries, err)
	}
}

// pause stops a daemon; SIGCONT has it go on.
func (h *delegated) pause(d *daemon) {
	h.c.t.Helper()
	h.signal(d, syscall.SIGSTOP)
	h.c.until(time.Minute, func() error { return stopped(d.cmd.Process.Pid) })
}

func (h *delegated) signal(d *daemon, s syscall.Signal) {
	h.c.t.Helper()
	if err := d.cmd.Process.Signal(s); err != nil {
		h.c.t.Fatal(err)
	}
}

// TestEditOnAnothersDelegation has a node edit what another has the delegation of.
func TestEditOnAnothersDelegation(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	t.Run("which is recalled", func(t *testing.T) {
		t.Parallel()
		h := newDelegated(t)
		h.write(h.editor, "the editor's\n")
		h.has("the editor's\n", h.c.daemons...)
		h.alone()
	})
	t.Run("while that is paused", func(t *testing.T) {
		t.Parallel()
		h := newDelegated(t)
		h.pause(h.holder)
		h.write(h.editor, "the editor's\n")
		h.has("the editor's\n", h.leader) // after the session
		h.signal(h.holder, syscall.SIGCONT)
		h.has("the editor's\n", h.holder)
		h.alone()
	})
	t.Run("while that is off", func(t *testing.T) {
		t.Parallel()
		h := newDelegated(t)
		h.holder.stop()
		h.write(h.editor, "the editor's\n")
		h.has("the editor's\n", h.leader)
		h.holder.start(envLocks + "=" + clusterLocks)
		h.has("the editor's\n", h.holder)
		h.alone()
	})
	t.Run("of which a third alone has the last version", func(t *testing.T) {
		t.Parallel()
		h := newDelegated(t)
		h.pause(h.editor) // it does not hear of the next version
		h.write(h.holder, "the holder's last\n")
		h.has("the holder's last\n", h.leader)
		h.holder.stop()
		h.write(h.editor, "the editor's\n")
		h.signal(h.editor, syscall.SIGCONT)
		h.has("the editor's\n", h.editor, h.leader)
		h.holder.start(envLocks + "=" + clusterLocks)
		h.c.mustAgree()
		h.keeps("the editor's\n", "the holder's last\n")
	})
}

// keeps wants these contents in the directory, each once.
func (h *delegated) keeps(contents ...string) {
	h.c.t.Helper()
	found := make(map[string]int)
	entries, err := os.ReadDir(filepath.Join(h.editor.dir, "d"))
	if err != nil {
		h.c.t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(h.editor.dir, "d", e.Name()))
		if err != nil {
			h.c.t.Fatal(err)
		}
		found[string(b)]++
	}
	for _, want := range contents {
		if found[want] != 1 {
			h.c.t.Errorf("%q is there %d times, want once, in %s", want, found[want], strings.TrimSpace(fmt.Sprint(entries)))
		}
	}
}
