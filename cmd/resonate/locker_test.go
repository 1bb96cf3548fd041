package main

import (
	"os"

	"resonate/control"
	"resonate/control/locktest"
	"resonate/node"
)

// envLocks has a daemon in a test offer locks, which are in its memory.
const envLocks = "RESONATE_TEST_LOCKS"

func lockerFromEnv(*node.Node) control.Locker {
	host := os.Getenv(envLocks)
	if host == "" {
		return nil
	}
	table := locktest.New(host)
	if host == "cut-off" {
		table.SetMajority(false)
	}
	return table
}
