package main

import (
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
	return table
}
