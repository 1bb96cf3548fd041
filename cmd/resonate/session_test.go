package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"resonate/control"
)

// startLockers starts daemons that know each other, with the locks of the cluster, and waits until all have these and as many keep them as
// there should. The first that it returns leads.
func startLockers(t *testing.T, count, voters int, args ...string) []*daemon {
	t.Helper()
	c := newCluster(t)
	for i := range count {
		d := c.add(string(rune('a'+i)), c.daemons...)
		d.args = args
		d.start(envLocks + "=" + clusterLocks)
	}
	lead := 0
	c.until(90*time.Second, func() error {
		leaders := 0
		for i, d := range c.daemons {
			q, err := d.client.Quorum(t.Context())
			if err != nil || !q.Majority || q.Leader == "" {
				return fmt.Errorf("%s: %+v, %v", d.name, q, err)
			}
			for _, v := range q.Voters {
				if v.Self && v.Leader {
					leaders, lead = leaders+1, i
					if len(q.Voters) != voters {
						return fmt.Errorf("%s: %d voters, want %d", d.name, len(q.Voters), voters)
					}
				}
			}
		}
		if leaders != 1 {
			return fmt.Errorf("%d lead", leaders)
		}
		return c.inSync()
	})
	c.daemons[0], c.daemons[lead] = c.daemons[lead], c.daemons[0]
	return c.daemons
}

// lock asks a daemon for a lock that ends with its session.
func (d *daemon) lock(resource string, wait time.Duration) (control.Lock, error) {
	r, err := control.ParseResource(resource)
	if err != nil {
		return control.Lock{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), wait+20*time.Second)
	defer cancel()
	return d.client.Lock(ctx, control.LockRequest{Resource: r, TTL: time.Hour, Wait: wait, Session: true, Owner: "test"})
}

func TestKilledNodesLocksAreFreeAfterItsSession(t *testing.T) {
	t.Parallel()
	nodes := startLockers(t, 2, 1, "-session", "5s")
	leader, other := nodes[0], nodes[1]
	if _, err := other.lock("path:x", 0); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	other.kill()
	if _, err := leader.lock("path:x", 25*time.Second); err != nil {
		t.Fatalf("lock of a node that was killed: %v", err)
	}
	if took := time.Since(begun); took < 2*time.Second || took > 20*time.Second {
		t.Errorf("its lock was had after %v, want it after about the session of 5 s", took)
	}
}

// A daemon that is ended as users do it lets go of its locks: whoever waits does not wait for its session.
func TestEndedNodesLocksAreFreeAtOnce(t *testing.T) {
	t.Parallel()
	nodes := startLockers(t, 3, 3)
	leader, other, third := nodes[0], nodes[1], nodes[2]
	if _, err := other.lock("path:x", 0); err != nil {
		t.Fatal(err)
	}
	other.stop()
	if _, err := leader.lock("path:x", 5*time.Second); err != nil {
		t.Errorf("lock of a node that was ended: %v", err)
	}
	other.start(envLocks + "=" + clusterLocks)
	leader.stop()
	for _, d := range []*daemon{other, third} {
		l, err := d.lock("path:x", 10*time.Second)
		if err == nil {
			err = d.client.Unlock(t.Context(), l.ID)
		}
		if err != nil {
			t.Errorf("%s: lock of a leader that was ended: %v", d.name, err)
		}
	}
}

// What becomes of locks is in the audit of the nodes that are concerned, and told as events; the chain stays whole.
func TestLocksAreAudited(t *testing.T) {
	t.Parallel()
	nodes := startLockers(t, 2, 1)
	leader, other := nodes[0], nodes[1]
	ctx, cancel := context.WithCancel(t.Context())
	events := make(chan string, 64)
	listens, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		_ = other.client.Events(ctx, func(e control.Event) error {
			switch {
			case e.Kind == control.EventListening:
				close(listens)
			case strings.HasPrefix(e.Kind, "lock-") && !e.Delegated:
				events <- e.Kind + " " + e.Path + e.Name
			}
			return nil
		})
	}()
	<-listens
	if _, err := other.lock("path:x", 0); err != nil {
		t.Fatal(err)
	}
	if _, err := other.lock("tree:d", 0); err != nil {
		t.Fatal(err)
	}
	x, _ := control.ParseResource("path:x")
	if _, err := leader.client.Force(t.Context(), x, "no reason"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"lock-granted x", "lock-granted d", "lock-forced x"} {
		select {
		case got := <-events:
			if got != want {
				t.Errorf("event: got %q, want %q", got, want)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("no event %q", want)
		}
	}
	cancel()
	<-ended
	other.stop()
	leader.stop()
	wantAudit(t, other, `lock-granted +x +\(exclusive, held by .*:`+other.name+`.*; test\)`, `lock-granted +directory +d `,
		`lock-forced +x +.*; .*: no reason\)`, `lock-released +directory +d +.*; the daemon ends\)`, `ended$`)
	wantAudit(t, leader, `lock-forced +x +\(exclusive, held by .*:`+other.name+`.*, because of .*:`+leader.name+`.*; no reason\)`, `ended$`)
}

// wantAudit wants these lines in the audit of a daemon that has ended, in that order, and its chain to be whole.
func wantAudit(t *testing.T, d *daemon, want ...string) {
	t.Helper()
	for _, verb := range []string{"verify", "list"} {
		out, err := d.command("audit", verb, "-dir", d.dir).CombinedOutput()
		if err != nil {
			t.Errorf("%s: audit %s: %v\n%s", d.name, verb, err, out)
		}
		if pattern := "(?ms)" + strings.Join(want, ".*^[^\n]*"); verb == "list" && !regexp.MustCompile(pattern).Match(out) {
			t.Errorf("%s: got\n%s\nwant\n%s", d.name, out, strings.Join(want, "\n"))
		}
	}
}

// command is a command of the user whose daemon it is.
func (d *daemon) command(args ...string) *exec.Cmd {
	exe, err := os.Executable()
	if err != nil {
		d.c.t.Fatal(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Args[0], cmd.Env = "resonate", d.environment()
	return cmd
}
