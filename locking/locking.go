// Package locking decides who may change what: a table of locks that is the same on every voter, the leader's keeper of time
// beside it, and each node's own side. Nothing here reads a clock, starts a goroutine or touches a file; commands, messages and
// the time come in, answers go out.
//
// The table moves only by commands from a log. It knows sessions, claims (what somebody holds or waits for), the versions that
// were left behind, and durations, but no time: that a session, a lock or a wait is over is a command as well, which the
// keeper on the leader proposes.
package locking

import (
	"cmp"
	"errors"
	"fmt"
	"time"
)

// ErrFormat is wrapped by every error about bytes that are no command, result, message or snapshot of this package.
var ErrFormat = errors.New("malformed")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, args...))
}

// A NodeID names a node: the first 16 bytes of its key's SHA-256 fingerprint.
type NodeID [16]byte

// A RequestID names one request for ever, and the claim that it made: who asks chooses it at random, and asks again
// with the same one where the answer did not come.
type RequestID [16]byte

// A Session is one span of time in which a node is known to be alive. A node that comes back has a new epoch.
type Session struct {
	Node  NodeID
	Epoch uint64
}

// A Token is the fencing token of a grant. No two grants share one, and of two grants the later has the greater. Its zero value is
// that of no grant.
type Token struct {
	Generation uint64 // of the table
	Index      uint64 // of the log; more, where one command of the log grants more than one claim
}

// Compare orders tokens by the order of their grants.
func (t Token) Compare(u Token) int {
	return cmp.Or(cmp.Compare(t.Generation, u.Generation), cmp.Compare(t.Index, u.Index))
}

// A Mode says whom a claim lets in beside itself.
type Mode uint8

// The modes. Their numbers are part of the format.
const (
	Exclusive Mode = 0 // nobody
	Shared    Mode = 1 // those who share
	Permits   Mode = 2 // others with permits, up to a number in all
)

var modeNames = [...]string{"exclusive", "shared", "permits"}

func (m Mode) String() string {
	if int(m) < len(modeNames) {
		return modeNames[m]
	}
	return fmt.Sprintf("mode %d", uint8(m))
}

// What one command, message, claim or table may hold. Who needs more splits it, or is refused.
const (
	MaxCommand = 512 << 10 // bytes: the replication of one entry must not hold up heartbeats
	MaxScopes  = 16384     // in one command
	MaxPath    = 4096      // bytes
	MaxName    = 256       // bytes, of a name that is locked
	MaxText    = 256       // bytes: an owner, a host, a reason
	MaxVersion = 4096      // bytes of one version left behind
	MaxPermits = 10000
	MaxWaiters = 100 // on one path or name
	MaxExcept  = 16  // scopes that a delegation leaves out: with one more it is let go

	MinTTL     = time.Second
	MaxTTL     = 24 * time.Hour
	MaxOffline = 90 * 24 * time.Hour // of a free lock
	MaxWait    = 10 * time.Minute
	MinLength  = time.Second // of a session
	MaxLength  = 10 * time.Minute

	maxOwners      = 1024
	maxClaims      = 65536
	maxNodeClaims  = 8192
	maxTableScopes = 1 << 18
	maxNodeScopes  = 1 << 16
	maxFinished    = 65536
	maxLefts       = 8192
	maxLeftBytes   = 4 << 20
	maxGrantLeft   = 256 << 10 // bytes of versions in one grant
)
