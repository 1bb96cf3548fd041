package main

import (
	"resonate/control"
	"resonate/node"
	"resonate/replica"
)

// instrument is where the test binary, re-executed as a daemon, makes file operations fail. The program itself has
// nothing to add.
var instrument = func(*replica.Options) error { return nil }

// lockerOf returns what a node offers of the cluster's locks. The test binary can have it return a table in memory.
var lockerOf = func(n *node.Node) control.Locker { return n.Locks() }
