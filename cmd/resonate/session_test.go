package main

import (
	"context"
	"fmt"
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
	c.until(30*time.Second, func() error {
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
