package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"resonate/control"
	"resonate/selftest"
)

// startWithLocks starts three daemons of which each has the two others as peers, one after the other, and waits until all grant locks: those of
// the cluster from one table, which all three keep.
func startWithLocks(t *testing.T, locks string) *cluster {
	c := newCluster(t)
	a := c.add("a")
	b := c.add("b", a)
	c.add("c", a, b)
	for i, d := range c.daemons {
		d.start(envLocks + "=" + locks)
		c.until(time.Minute, func() error { return grantsLocks(t.Context(), c.daemons[:i+1], locks == clusterLocks) })
	}
	c.mustAgree()
	return c
}

// grantsLocks tells why the daemons do not grant locks, or do not have two peers each when they are three.
func grantsLocks(ctx context.Context, daemons []*daemon, together bool) error {
	leader := ""
	for _, d := range daemons {
		q, err := d.client.Quorum(ctx)
		switch {
		case err != nil:
			return err
		case !q.Majority:
			return fmt.Errorf("%s: %s", d.name, q.Line)
		case together && (leader != "" && q.Leader != leader || len(daemons) == 3 && len(q.Voters) != 3):
			return fmt.Errorf("%s: %d voters, led by %s; the first has %s", d.name, len(q.Voters), q.Leader, leader)
		}
		leader = q.Leader
		s, err := d.status()
		if err != nil {
			return err
		}
		connected := 0
		for _, p := range s.Peers {
			if p.State == "connected" {
				connected++
			}
		}
		if connected != len(daemons)-1 {
			return fmt.Errorf("%s is connected to %d", d.name, connected)
		}
	}
	return nil
}

// selftest runs the command on a daemon's folder.
func (d *daemon) selftest(ctx context.Context, args ...string) (code int, out, problems string) {
	var stdout, stderr bytes.Buffer
	env := func(string) string { return "" }
	code = run(ctx, append([]string{"selftest", "-dir", d.dir}, args...), console{In: strings.NewReader(""), Out: &stdout, Err: &stderr, Env: env})
	return code, stdout.String(), stderr.String()
}

// heldLocks returns what is held or waited for in the cluster, without what nodes keep after use.
func (d *daemon) heldLocks() ([]control.Lock, error) {
	list, err := d.client.Locks(context.Background(), control.Resource{})
	return slices.DeleteFunc(list, func(l control.Lock) bool { return l.Delegated }), err
}

// selftestLeft tells what runs have left behind; nil: nothing. What nodes keep of locks after use is not theirs.
func (c *cluster) selftestLeft() error {
	for _, d := range c.daemons {
		names, err := filepath.Glob(filepath.Join(d.dir, selftest.DirPrefix+"*"))
		if err != nil || len(names) > 0 {
			return fmt.Errorf("%s has %q (%v)", d.name, names, err)
		}
		list, err := d.heldLocks()
		if err != nil || len(list) > 0 {
			return fmt.Errorf("%s knows of locks: %+v (%v)", d.name, list, err)
		}
	}
	return nil
}

// TestSelftest has all of a healthy cluster's nodes test it at once.
func TestSelftest(t *testing.T) {
	t.Parallel()
	c := startWithLocks(t, clusterLocks)
	var runs sync.WaitGroup
	for _, d := range c.daemons {
		runs.Go(func() {
			code, out, problems := d.selftest(t.Context(), "-for", "3s")
			t.Logf("on %s:\n%s%s", d.name, out, problems)
			if code != exitDone || !strings.HasSuffix(out, "\nerror_flags=0x000000\n") {
				t.Errorf("on %s: exit code %d, want %d and no flags", d.name, code, exitDone)
			}
			for _, want := range []string{
				`^selftest of .*/` + d.name + ` with 2 peers, for 3s\n`,
				`\nedit to visible   p50 +\d+\.\d\d ms   p95 +\d+\.\d\d ms   p99 +\d+\.\d\d ms   \d+ edits?\n`,
				`\nlock, cached      p50 .* [\d,]+ locks?\n`, `\nlock, uncached    p50 .* [\d,]+ locks?\n`, `\nlock, contended   p50 .* [\d,]+ hand-overs?\n`,
				`\nexclusion         14 workers on 10 names: [\d,]+ locks\n`, `\nthroughput        [1-9][\d,]* locks per second: 64 clients with a name each\n`,
				`\nfolders           4 files; the tree is equal to that of 2 of 2 peers\n`,
			} {
				if !regexp.MustCompile(want).MatchString(out) {
					t.Errorf("on %s: nothing like %q", d.name, want)
				}
			}
		})
	}
	runs.Wait()
	c.mustAgree()
	c.until(time.Minute, c.selftestLeft)
}

// TestSelftestInterrupted ends one in the middle of its edits, and one in the middle of its locks.
func TestSelftestInterrupted(t *testing.T) {
	t.Parallel()
	c := startWithLocks(t, clusterLocks)
	a, b := c.daemons[0], c.daemons[1]
	for _, row := range []struct {
		name string
		far  func() error
	}{
		{"edits", func() error {
			names, err := filepath.Glob(filepath.Join(b.dir, selftest.DirPrefix+"*", "file0.txt"))
			if err == nil && len(names) == 0 {
				err = os.ErrNotExist
			}
			return err
		}},
		{"locks", func() error {
			list, err := b.heldLocks()
			if err == nil && len(list) == 0 {
				err = errors.New("nothing is locked")
			}
			return err
		}},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ended := make(chan string, 1)
		go func() {
			code, out, problems := a.selftest(ctx, "-for", "3s")
			ended <- fmt.Sprintf("%d\n%s%s", code, out, problems)
		}()
		c.until(time.Minute, row.far)
		cancel()
		if got := <-ended; !strings.HasPrefix(got, "1\n") || !strings.HasSuffix(got, "\nresonate: selftest: interrupted before its end\n") {
			t.Errorf("%s: got %q, want exit code 1 and that it was interrupted", row.name, got)
		}
		c.until(time.Minute, c.selftestLeft)
	}
	c.mustAgree()
}

// TestSelftestFindsALockGrantedTwice has a node that grants locks to whoever asks.
func TestSelftestFindsALockGrantedTwice(t *testing.T) {
	t.Parallel()
	c := startWithLocks(t, generousLocks)
	code, out, problems := c.daemons[0].selftest(t.Context(), "-for", "2s")
	// Those who are in together may have come in any order.
	if !regexp.MustCompile(`\nwrong             0x00000[13] .* while worker \d+ held it\n(.*\n)*error_flags=0x00000[13]\n$`).MatchString(out) || code != exitFailed {
		t.Errorf("exit code %d, %s%s\nwant %d, and the flag and words of two holders", code, out, problems, exitFailed)
	}
	if want := "resonate: selftest: not all is as it should be: error_flags=0x00000"; !strings.HasPrefix(problems, want) {
		t.Errorf("stderr: got %q, want %q", problems, want)
	}
	c.until(time.Minute, c.selftestLeft)
}
