package locking

import "fmt"

// A Result is the table's answer to a command.
type Result struct {
	Status   Status
	Reason   Reason // of a refusal; of an End, how the last of its requests that were over before was so
	Epoch    uint64 // of an Open
	Grant    *Grant // of Granted
	Position int    // of Queued: how many wait before it for the same, at most MaxWaiters
	Blocker  *Claim // of Queued, and of a refusal because it is taken: one that stands in the way, as Claims tells it
}

// A Status says what became of a command.
type Status uint8

// The statuses. Their numbers are part of the format.
const (
	Done    Status = 1 // of all but Acquire
	Granted Status = 2
	Queued  Status = 3
	Denied  Status = 4
)

// A Reason says why a command was refused.
type Reason uint8

// The reasons. Their numbers are part of the format.
const (
	NoReason   Reason = 0
	Taken      Reason = 1  // somebody else holds it or waits for it, and the request does not wait
	QueueFull  Reason = 2  // MaxWaiters wait for one of the scopes
	NoSession  Reason = 3  // the session is over
	Over       Reason = 4  // the request with this ID was granted or refused, and is over
	Invalid    Reason = 5  // no command that this table knows
	TableFull  Reason = 6  // the node, or all, have too many claims
	NotHeld    Reason = 7  // no such claim, or not under this token, or not in this session
	NoRoom     Reason = 8  // no more can be left out of it: it has to be let go
	OutOfOrder Reason = 9  // the index of the log is not above the last one
	Elsewhere  Reason = 10 // the request with this ID was made through another node, and is not over: that one is told what becomes of it
	Freed      Reason = 11 // as Over: its holder has let it go
)

var reasonNames = [...]string{
	"", "taken", "too many wait for it", "the session is over", "the request is over", "malformed command", "too many locks",
	"not held", "too many parts are left out", "log index out of order",
	"asked for through another node", "it was let go",
}

func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// A Grant is what one who asked has got. While the claim is held, it is told again to who asks again.
type Grant struct {
	Token  Token
	Scopes []Scope // in the place of those that were asked for; nil: just these
	Except []Scope // what is left out of them
	Left   []Left  // what former holders have left there
	// Unknown: for some of it nobody can say who left what. The newest version is with some member, and each that can be reached
	// is to be asked.
	Unknown bool
}

// Field numbers; part of the format.
const (
	resultStatus   = 1 // varint
	resultReason   = 2 // varint
	resultEpoch    = 3 // varint
	resultGrant    = 4 // message
	resultPosition = 5 // varint
	resultBlocker  = 6 // message: claim

	grantToken   = 1 // message: token
	grantUnknown = 2 // varint, 0 or 1
	grantLeft    = 3 // repeated message: left
	grantScope   = 4 // repeated bytes: one path; 5: a tree; 6: a name
	grantExcept  = 7 // repeated bytes: one path; 8: a tree; 9: a name
)

// MaxResult is the longest result in bytes.
const MaxResult = 1 << 20

func (r *Result) encode() []byte { return r.append(nil) }

func (r *Result) append(b []byte) []byte {
	b = appendUint(b, resultStatus, uint64(r.Status))
	b = appendUint(b, resultReason, uint64(r.Reason))
	b = appendUint(b, resultEpoch, r.Epoch)
	if r.Grant != nil {
		b = appendMessage(b, resultGrant, r.Grant.append)
	}
	b = appendUint(b, resultPosition, uint64(r.Position))
	if r.Blocker != nil {
		b = appendMessage(b, resultBlocker, r.Blocker.append)
	}
	return b
}

// DecodeResult reads what Table.Apply returned.
func DecodeResult(b []byte) (*Result, error) {
	r := new(Result)
	err := malformed("%d bytes", len(b))
	if len(b) <= MaxResult {
		err = fields(string(b), r.field)
	}
	if err == nil && (r.Status < Done || r.Status > Denied || (r.Grant != nil) != (r.Status == Granted)) {
		err = malformed("status %d", r.Status)
	}
	if err != nil {
		return nil, fmt.Errorf("decode result of a lock command: %w", err)
	}
	return r, nil
}

func (r *Result) field(f field) error {
	switch f.number {
	case resultStatus:
		return takeUint(f, &r.Status)
	case resultReason:
		return takeUint(f, &r.Reason)
	case resultEpoch:
		return takeUint(f, &r.Epoch)
	case resultGrant:
		r.Grant = new(Grant)
		return takeMessage(f, r.Grant.field)
	case resultPosition:
		var n uint32
		err := takeUint(f, &n)
		r.Position = int(n)
		return err
	case resultBlocker:
		r.Blocker = new(Claim)
		return takeMessage(f, r.Blocker.field)
	}
	return nil
}

func (g *Grant) append(b []byte) []byte {
	b = appendToken(b, grantToken, g.Token)
	b = appendBool(b, grantUnknown, g.Unknown)
	for _, l := range g.Left {
		b = appendLeft(b, grantLeft, l)
	}
	b = appendScopes(b, grantScope, g.Scopes...)
	return appendScopes(b, grantExcept, g.Except...)
}

func (g *Grant) field(f field) error {
	switch f.number {
	case grantToken:
		return takeToken(f, &g.Token)
	case grantUnknown:
		return takeBool(f, &g.Unknown)
	case grantLeft:
		return takeLeft(f, &g.Left, MaxScopes)
	case grantScope, grantScope + 1, grantScope + 2:
		return takeScope(f, grantScope, &g.Scopes, MaxScopes)
	case grantExcept, grantExcept + 1, grantExcept + 2:
		return takeScope(f, grantExcept, &g.Except, MaxExcept)
	}
	return nil
}
