package quorum

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// full fails writes as a full disk does: the first time at what op names, if anything, and from then on all.
func full(op string) func(string) error {
	begun := false
	return func(at string) error {
		if at == op || op == "" {
			begun = true
		}
		if begun && at != "read entry" && at != "open" {
			return syscall.ENOSPC
		}
		return nil
	}
}

func TestAnOnlyVoterWhoseDiskIsFullSaysSoAndRecovers(t *testing.T) {
	t.Parallel()
	n := newNet(t, "a")
	a := n.cluster("a")
	propose(t, a, "one")
	n.setFault("a", full(""))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var disk *DiskError
	if _, _, err := a.Propose(ctx, []byte("two")); !errors.Is(err, ErrUnknown) || !errors.As(err, &disk) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("proposing: got %v, want an unknown result with what the disk says", err)
	}
	wait(t, func() error {
		if s := a.Status(); !errors.As(s.Problem, &disk) || s.Leading {
			return fmt.Errorf("status is %+v, want the problem", s)
		}
		return nil
	})
	if text := a.Status().Problem.Error(); !strings.Contains(text, a.dir) || !strings.Contains(text, "no space left") || !strings.Contains(text, "no vote") {
		t.Errorf("the problem is told as %q", text)
	}
	if _, _, err := a.Propose(ctx, []byte("two")); !errors.As(err, &disk) {
		t.Errorf("proposing later: got %v, want what the disk says", err)
	}
	n.setFault("a", nil)
	n.leader("a")
	if s := a.Status(); s.Problem != nil {
		t.Errorf("the problem is still told: %v", s.Problem)
	}
	propose(t, a, "three")
	wait(t, func() error {
		all := strings.Join(a.machine.all(), " ")
		if all != "1:one 1:three" && all != "1:one 1:two 1:three" {
			return fmt.Errorf("applied is %s", all)
		}
		return nil
	})
}

func TestAVoterWhoseDiskIsFullHasNoVote(t *testing.T) {
	t.Parallel()
	for _, op := range []string{"append entries", "write term", "write vote"} {
		n := newNet(t, "a", "b", "c")
		a := n.cluster("a", "b", "c")
		propose(t, a, "one")
		n.agree([]string{"1:one"}, "a", "b", "c")
		n.setFault("c", full(op))
		if op == "append entries" {
			propose(t, a, "two") // by b's disk
		} else {
			n.kill("a") // nobody leads without c's vote, and there is none
			n.talk("b", "c", 8)
			if s := n.nodes["b"].Status(); s.Leading {
				t.Errorf("%s fails: b leads without a majority", op)
			}
		}
		var disk *DiskError
		wait(t, func() error {
			if s := n.nodes["c"].Status(); !errors.As(s.Problem, &disk) {
				return fmt.Errorf("%s fails: status is %+v", op, s)
			}
			return nil
		})
		n.setFault("c", nil)
		want := []string{"1:one", "1:two"}
		if op != "append entries" {
			propose(t, n.leader("b", "c"), "two")
			n.open("a")
		}
		n.agree(want, "a", "b", "c")
		if s := n.nodes["c"].Status(); s.Problem != nil {
			t.Errorf("%s failed: the problem is still told: %v", op, s.Problem)
		}
	}
}

// A leader whose disk is full leaves that to another.
func TestALeaderWhoseDiskIsFullIsReplaced(t *testing.T) {
	t.Parallel()
	n := newNet(t, "a", "b", "c")
	a := n.cluster("a", "b", "c")
	propose(t, a, "one")
	n.setFault("a", full(""))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, _, err := a.Propose(ctx, []byte("lost")); !errors.Is(err, ErrUnknown) {
		t.Errorf("proposing: got %v, want ErrUnknown", err)
	}
	l := n.leader("b", "c")
	propose(t, l, "two")
	n.setFault("a", nil)
	n.agree([]string{"1:one", "1:two"}, "a", "b", "c")
}

// An entry that cannot be read, or not be understood, ends the log's use, and not the program.
func TestAnEntryThatCannotBeReadIsTold(t *testing.T) {
	t.Parallel()
	n := newNet(t, "a")
	a := n.cluster("a")
	propose(t, a, "one")
	n.kill("a")
	n.setFault("a", func(op string) error {
		if op == "read entry" {
			return syscall.EIO
		}
		return nil
	})
	a = n.open("a")
	wait(t, func() error {
		var disk *DiskError
		if s := a.Status(); !errors.As(s.Problem, &disk) || !errors.Is(disk, syscall.EIO) {
			return fmt.Errorf("status is %+v, want that an entry cannot be read", s)
		}
		return nil
	})
	n.setFault("a", nil)
	n.leader("a")
	n.agree([]string{"1:one"}, "a")
}

// The disk is really full, as only a file system of its own can be.
func TestAFullFileSystem(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		skip(t, "mounting a file system needs root")
	}
	dir := t.TempDir()
	if err := mountSmall(dir, 5<<20); err != nil {
		skip(t, "a file system of its own: "+err.Error())
	}
	t.Cleanup(func() { unmount(dir) })
	n := newNet(t)
	n.nodes["a"] = &testNode{net: n, id: "a", dir: filepath.Join(dir, "locks"), machine: new(ledger)}
	n.open("a")
	t.Cleanup(func() { n.kill("a") })
	a := n.cluster("a")
	propose(t, a, "one")

	ballast := filepath.Join(dir, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	f.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	filler := make([]byte, 100<<10)
	told := []string{"1:one"}
	for err = nil; err == nil; { // what is set aside for the log is used up
		if _, _, err = a.Propose(ctx, filler); err == nil {
			told = append(told, "1:"+string(filler[:20]))
		}
	}
	wait(t, func() error {
		if s := a.Status(); !errors.Is(s.Problem, syscall.ENOSPC) {
			return fmt.Errorf("status is %+v", s)
		}
		return nil
	})
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	n.leader("a")
	propose(t, a, "two")
	wait(t, func() error {
		all := a.machine.all()
		if len(all) < len(told)+1 || all[len(all)-1] != "1:two" || len(all) > len(told)+2 {
			return fmt.Errorf("%d commands were told to be taken in, and %d are applied", len(told)+1, len(all))
		}
		return nil
	})
	t.Logf("%d commands were taken in while the disk was full", len(told)-1)
}

// skip leaves a test out, except where all must run.
func skip(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("RESONATE_CI") == "1" {
		t.Fatal(why)
	}
	t.Skip(why)
}
