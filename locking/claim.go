package locking

import (
	"fmt"
	"time"
)

// A Claim is what somebody holds or waits for. Its slices are not to be changed.
type Claim struct {
	Request    RequestID
	Session    Session // epoch 0: free, bound to no session; the node is the one that asked
	Host       string  // what that node is called
	Scopes     []Scope
	Except     []Scope // what a delegation leaves out
	Mode       Mode
	Permits    uint32
	Delegation bool
	Held       bool  // or it waits
	Token      Token // of what is held
	TTL        time.Duration
	Remaining  time.Duration // what is left of the TTL, as of the last Age
	Wait       time.Duration
	Why, Owner string
}

// String tells the claim in one line, for logs.
func (c *Claim) String() string {
	what := "waits for"
	if c.Held {
		what = "holds"
	}
	if len(c.Scopes) == 0 {
		return fmt.Sprintf("%x %s nothing", c.Session.Node[:4], what)
	}
	return fmt.Sprintf("%x %s %v (%v, %d in all)", c.Session.Node[:4], what, c.Scopes[0], c.Mode, len(c.Scopes))
}

// A claim is a Claim as the table has it.
type claim struct {
	Claim
	owner   *owner
	seq     uint64 // order of asking
	desired Scope
	changed bool     // Scopes are not those that were asked for
	places  []*place // of Scopes
	marked  uint64   // the last search that has met it
}

// An owner is a node that has a session or claims.
type owner struct {
	node    NodeID
	host    string
	epoch   uint64 // of the session; 0: none
	length  time.Duration
	claims  []*claim // by seq
	scopes  int
	pending int // claims that wait
}

func (o *owner) session() Session { return Session{o.node, o.epoch} }

// passes tells whether c and o never stand in each other's way: a delegation, and anything of the same node. Within a node it is
// the node that keeps order.
func (c *claim) passes(o *claim) bool {
	return c.owner == o.owner && (c.Delegation || o.Delegation)
}

// spares tells whether s lies in what c leaves out.
func (c *claim) spares(s Scope) bool {
	for _, e := range c.Except {
		if e.Covers(s) {
			return true
		}
	}
	return false
}

// Field numbers of a claim, in results and snapshots; part of the format.
const (
	claimRequest    = 1  // bytes, 16
	claimSession    = 2  // message: session
	claimHost       = 3  // bytes
	claimMode       = 4  // varint
	claimPermits    = 5  // varint
	claimDelegation = 6  // varint, 0 or 1
	claimHeld       = 7  // varint, 0 or 1
	claimToken      = 8  // message: token
	claimTTL        = 9  // varint, ms
	claimWait       = 10 // varint, ms
	claimWhy        = 11 // bytes
	claimOwner      = 12 // bytes
	claimRemaining  = 24 // varint, ms
	claimSeq        = 13 // varint; in snapshots
	claimDesired    = 14 // bytes; 15 is a tree, the others serve none; in snapshots
	claimChanged    = 23 // varint, 0 or 1; in snapshots
	claimScope      = 17 // repeated bytes: one path; 18: a tree; 19: a name
	claimExcept     = 20 // repeated bytes: one path; 21: a tree; 22: a name
)

func (c *Claim) append(b []byte) []byte {
	b = appendID(b, claimRequest, c.Request)
	b = appendSession(b, claimSession, c.Session)
	b = appendText(b, claimHost, c.Host)
	b = appendUint(b, claimMode, uint64(c.Mode))
	b = appendUint(b, claimPermits, uint64(c.Permits))
	b = appendBool(b, claimDelegation, c.Delegation)
	b = appendBool(b, claimHeld, c.Held)
	b = appendToken(b, claimToken, c.Token)
	b = appendDuration(b, claimTTL, c.TTL)
	b = appendDuration(b, claimRemaining, c.Remaining)
	b = appendDuration(b, claimWait, c.Wait)
	b = appendText(b, claimWhy, c.Why)
	b = appendText(b, claimOwner, c.Owner)
	b = appendScopes(b, claimScope, c.Scopes...)
	return appendScopes(b, claimExcept, c.Except...)
}

func (c *Claim) field(f field) error {
	switch f.number {
	case claimRequest:
		return takeID(f, &c.Request)
	case claimSession:
		return takeSession(f, &c.Session)
	case claimHost:
		return takeText(f, &c.Host)
	case claimMode:
		return takeUint(f, &c.Mode)
	case claimPermits:
		return takeUint(f, &c.Permits)
	case claimDelegation:
		return takeBool(f, &c.Delegation)
	case claimHeld:
		return takeBool(f, &c.Held)
	case claimToken:
		return takeToken(f, &c.Token)
	case claimTTL:
		return takeDuration(f, &c.TTL)
	case claimRemaining:
		return takeDuration(f, &c.Remaining)
	case claimWait:
		return takeDuration(f, &c.Wait)
	case claimWhy:
		return takeText(f, &c.Why)
	case claimOwner:
		return takeText(f, &c.Owner)
	case claimScope, claimScope + 1, claimScope + 2:
		return takeScope(f, claimScope, &c.Scopes, MaxScopes)
	case claimExcept, claimExcept + 1, claimExcept + 2:
		return takeScope(f, claimExcept, &c.Except, MaxExcept)
	}
	return nil
}
