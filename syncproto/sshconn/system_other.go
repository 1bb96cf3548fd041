//go:build !linux

package sshconn

import (
	"net"
	"time"
)

// limitUnacked does nothing where the system has no such limit: keep-alives find
// a broken connection, later.
func limitUnacked(net.Conn) {}

var started = time.Now()

// uptime tells how long the process has been up, by the wall clock, and awake, by
// the clock that stands still while the machine sleeps. A wall clock that is set
// passes for sleep: the network is tried anew without need, no more.
func uptime() (up, awake time.Duration) {
	now := time.Now()
	return now.Round(0).Sub(started.Round(0)), now.Sub(started)
}
