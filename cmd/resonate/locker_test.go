package main

import (
	"context"
	"crypto/rand"
	"os"

	"resonate/control"
	"resonate/control/locktest"
	"resonate/node"
)

// envLocks has a daemon in a test offer locks, which are in its memory; or those of the cluster.
const (
	envLocks     = "RESONATE_TEST_LOCKS"
	clusterLocks = "cluster"
)

func lockerFromEnv(n *node.Node) control.Locker {
	host := os.Getenv(envLocks)
	switch host {
	case "":
		return nil
	case clusterLocks:
		return n.Locks()
	}
	table := locktest.New(host)
	if host == "cut-off" {
		table.SetMajority(false)
	}
	if host == generousLocks {
		return generous{table}
	}
	return table
}

// generousLocks is for a daemon that grants what is wanted to whoever asks: that it is held by another is no hindrance.
const generousLocks = "generous"

type generous struct{ *locktest.Table }

func (g generous) Lock(ctx context.Context, q control.LockRequest) (control.Lock, error) {
	q.Resource.Name += rand.Text()
	return g.Table.Lock(ctx, q)
}
