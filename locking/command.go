package locking

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// A Command is one entry of the log: one of the structs below, as a pointer. It is the field of its kind's number in a
// protobuf message that has no other.
type Command interface {
	kind() commandKind
	append(b []byte) []byte
	field(f field) error // takes over one field; unknown numbers are none of its business
	check() error        // asked before encoding and after decoding
}

type commandKind protowire.Number

// The kinds of commands. Their numbers are part of the format.
const (
	kindOpen    commandKind = 1
	kindClose   commandKind = 2
	kindAcquire commandKind = 3
	kindEnd     commandKind = 4
	kindNarrow  commandKind = 5
	kindAge     commandKind = 6
	kindRaise   commandKind = 7
	kindExtend  commandKind = 8
)

// An Open begins a session of a node, and ends the one that it had. The result has its epoch.
type Open struct {
	Request RequestID
	Node    NodeID
	Host    string        // what the node is called, for people
	Length  time.Duration // the session is over when nothing was heard for so long
}

// A Close ends a session, and all claims that are bound to it: its node goes in peace, or was not heard.
type Close struct {
	Session Session
	Cause   Cause // Closed or Expired
}

// An Acquire asks for scopes, for all of them at once or none.
type Acquire struct {
	Request    RequestID
	Session    Session       // of the node that asks
	Scopes     []Scope       // sorted, each there once; of Permits exactly one, and no tree
	Mode       Mode          // Exclusive for a delegation
	Permits    uint32        // of Permits: how many may hold it in all; the smallest number that a holder or the asker says counts
	Delegation bool          // may be recalled; never stands in the way of its own node's other claims
	Desired    Scope         // of a delegation: the widest tree that it would like in the place of Scopes; zero: none
	Wait       time.Duration // how long to queue where it is taken; 0: not at all
	TTL        time.Duration // how long it may be held at most; 0: as long as the session
	Free       bool          // not bound to the session: it ends by its TTL, by End, or is forced
	Why        string        // for people
	Owner      string        // for people: user, command, process
}

// An End ends claims, whatever their state: what is held is released, what waits no longer does. One that is not known yet
// will be refused when it comes: so an End may overtake its Acquire.
type End struct {
	Endings []Ending
	Cause   Cause
	By      string // for people: who forced it
	Seen    uint64 // as in Narrow
}

// An Ending ends one claim.
type Ending struct {
	Request RequestID
	Token   Token  // only if it is held under this token; zero: in any case
	Left    []Left // what the next holder has to have
}

// A Narrow takes scopes out of a claim: what its holder gives up when it is recalled, or the first part of a batch whose versions are too
// many for one End. A part of a tree is taken out of a delegation only.
type Narrow struct {
	Request RequestID
	Session Session // must be the holder's
	Except  []Scope
	Left    []Left // within Except; others are ignored
	Seen    uint64 // an index of the log from before it was looked up what is left: what was lost since then is not known
}

// An Age tells how much is left of claims' TTLs, so that they do not begin anew with each new leader. What is left is never more than the TTL.
type Age struct{ Remaining []Remaining }

// A Remaining is what is left of one claim's TTL.
type Remaining struct {
	Request RequestID
	TTL     time.Duration
}

// A Raise begins a generation of tokens, if it is above the table's: for a table that is new, or was recovered. All sessions end.
type Raise struct{ Generation uint64 }

// A Left is what one who held a scope has left there: the version that the next holder has to have before it goes on.
type Left struct {
	Scope   Scope
	Version string // opaque: a version, or the state hash of a tree; empty: it cannot be told, and who comes next asks every member
	Token   Token  // of the one who left it; told in a grant, ignored in a command
}

// A Cause says why a claim or a session ended.
type Cause uint8

// The causes. Their numbers are part of the format.
const (
	Released  Cause = 0 // by its holder, or cancelled while it waited
	Forced    Cause = 1 // by somebody else, with force
	Expired   Cause = 2 // its TTL is over, or its session, of which nothing was heard
	TimedOut  Cause = 3 // it has waited long enough; what is held by now stays
	Closed    Cause = 4 // its node went, or began another session
	Abandoned Cause = 5 // by its holder, who does not say what is left behind
)

var causeNames = [...]string{"released", "forced", "expired", "timed out", "closed", "abandoned"}

func (c Cause) String() string {
	if int(c) < len(causeNames) {
		return causeNames[c]
	}
	return fmt.Sprintf("cause %d", uint8(c))
}

func newCommand(k commandKind) Command {
	switch k {
	case kindOpen:
		return new(Open)
	case kindClose:
		return new(Close)
	case kindAcquire:
		return new(Acquire)
	case kindEnd:
		return new(End)
	case kindNarrow:
		return new(Narrow)
	case kindAge:
		return new(Age)
	case kindRaise:
		return new(Raise)
	case kindExtend:
		return new(Extend)
	}
	return nil
}

// Encode returns the bytes of c for the log, at most MaxCommand, or an error where c asks for what no table would grant.
func Encode(c Command) ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("encode lock command: %w", err)
	}
	b := appendMessage(nil, protowire.Number(c.kind()), c.append)
	if len(b) > MaxCommand {
		return nil, fmt.Errorf("encode lock command: %w", malformed("%d bytes", len(b)))
	}
	return b, nil
}

// DecodeCommand reads what Encode wrote.
func DecodeCommand(b []byte) (Command, error) {
	if len(b) > MaxCommand {
		return nil, fmt.Errorf("decode lock command: %w", malformed("%d bytes", len(b)))
	}
	var c Command
	err := fields(string(b), func(f field) error {
		if c != nil {
			return malformed("two commands in one")
		}
		if c = newCommand(commandKind(f.number)); c == nil {
			return malformed("command of kind %d", f.number)
		}
		return takeMessage(f, c.field)
	})
	if err == nil && c == nil {
		err = malformed("no command")
	}
	if err == nil {
		err = c.check()
	}
	if err != nil {
		return nil, fmt.Errorf("decode lock command: %w", err)
	}
	return c, nil
}

func (c *Open) check() error {
	switch {
	case c.Request == RequestID{} || c.Node == NodeID{}:
		return malformed("open without request or node")
	case c.Length < MinLength || c.Length > MaxLength:
		return malformed("session of %v", c.Length)
	}
	return checkText(c.Host)
}

func (c *Close) check() error {
	if c.Cause != Closed && c.Cause != Expired {
		return malformed("session ended because %v", c.Cause)
	}
	return checkSession(c.Session)
}

func (c *Acquire) check() error {
	most := MaxTTL
	if c.Free {
		most = MaxOffline
	}
	switch {
	case c.Request == RequestID{} || len(c.Scopes) == 0:
		return malformed("acquire without request or scope")
	case c.Mode > Permits || (c.Mode == Permits) != (c.Permits > 0) || c.Permits > MaxPermits:
		return malformed("mode %v with %d permits", c.Mode, c.Permits)
	case c.Mode == Permits && (len(c.Scopes) != 1 || c.Scopes[0].Kind == Tree):
		return malformed("permits for other than one path or name")
	case c.TTL != 0 && (c.TTL < MinTTL || c.TTL > most), c.Free && c.TTL == 0:
		return malformed("TTL of %v", c.TTL)
	case c.Wait < 0 || c.Wait > MaxWait:
		return malformed("wait of %v", c.Wait)
	case c.Delegation && (c.Mode != Exclusive || c.Free || c.TTL != 0):
		return malformed("delegation that is %v, free or with a TTL", c.Mode)
	}
	if c.Desired != (Scope{}) {
		if err := c.checkDesired(); err != nil {
			return err
		}
	}
	for _, err := range []error{checkSession(c.Session), checkText(c.Why), checkText(c.Owner)} {
		if err != nil {
			return err
		}
	}
	return checkScopes(c.Scopes, MaxScopes)
}

func (c *Acquire) checkDesired() error {
	if !c.Delegation || c.Desired.Kind != Tree {
		return malformed("desired %v", c.Desired)
	}
	for _, s := range c.Scopes {
		if !c.Desired.Covers(s) {
			return malformed("desired %v does not cover %v", c.Desired, s)
		}
	}
	return c.Desired.check()
}

func (c *End) check() error {
	if len(c.Endings) == 0 || c.Cause > Abandoned {
		return malformed("%d endings, %v", len(c.Endings), c.Cause)
	}
	for _, e := range c.Endings {
		if e.Request == (RequestID{}) {
			return malformed("ending without request")
		}
		if err := checkLeft(e.Left); err != nil {
			return err
		}
	}
	return checkText(c.By)
}

func (c *Narrow) check() error {
	if c.Request == (RequestID{}) || len(c.Except) == 0 {
		return malformed("narrow without request or scope")
	}
	if err := checkScopes(c.Except, MaxScopes); err != nil {
		return err
	}
	if err := checkLeft(c.Left); err != nil {
		return err
	}
	return checkSession(c.Session)
}

func (c *Age) check() error {
	for _, r := range c.Remaining {
		if r.Request == (RequestID{}) || r.TTL < 0 {
			return malformed("remaining without request")
		}
	}
	return nil
}

func (c *Raise) check() error { return nil }

func checkSession(s Session) error {
	if s.Node == (NodeID{}) || s.Epoch == 0 {
		return malformed("no session")
	}
	return nil
}

func checkText(s string) error {
	if len(s) > MaxText {
		return malformed("text of %d bytes", len(s))
	}
	return nil
}

func checkLeft(left []Left) error {
	for _, l := range left {
		if err := l.Scope.check(); err != nil {
			return err
		}
		if len(l.Version) > MaxVersion {
			return malformed("version of %d bytes", len(l.Version))
		}
	}
	return nil
}
