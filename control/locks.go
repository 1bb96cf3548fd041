package control

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// What a caller can tell apart of locks. They survive the socket, as the others do.
var (
	// ErrHeldElsewhere: somebody else holds it. The error is a *HeldError, which says who.
	ErrHeldElsewhere = errors.New("held elsewhere")
	// ErrNotHeld: that lock is over; the error says what ended it.
	ErrNotHeld = errors.New("not held any more")
	// ErrNoMajority: the nodes that keep the locks cannot be reached, or are not enough. Nothing was granted.
	ErrNoMajority = errors.New("no majority of the nodes that keep the locks is connected")
	// ErrQueueFull: too many wait for it, or too much is held.
	ErrQueueFull = errors.New("too many wait already")
	// ErrNoLocks: this node has no part in the cluster's locks.
	ErrNoLocks = errors.New("this node has no locks")
)

// The bounds of a request.
const (
	MinTTL = time.Second
	MaxTTL = 30 * 24 * time.Hour
	// MaxWait is the longest that one request waits.
	MaxWait = 24 * time.Hour
	// MaxPermits is the greatest number of permits.
	MaxPermits = 1024

	minRequestID = 16 // characters: whoever picks a shorter one picks what others pick
	maxRequestID = 128
	maxOwner     = 256  // bytes
	maxWhy       = 1024 // bytes
)

// Locker is what one running node offers of the cluster's locks. All methods may be called at the same time and obey ctx. Any node
// answers for every lock, whichever granted it. Each may fail with ErrNoMajority, ErrTimeout, or ErrNoLocks.
type Locker interface {
	// Lock acquires, waiting up to q.Wait in the order of asking, or fails with a *HeldError. With a RequestID the same request again gives
	// the same answer, through any node, and goes on when ctx ends before the answer. Without one, ctx's end withdraws it: then
	// nothing is left that waits or is held.
	Lock(ctx context.Context, q LockRequest) (Lock, error)
	// Renew gives a lock another TTL, from now on. ErrNotHeld, or ErrNotFound: it is lost.
	Renew(ctx context.Context, id string, ttl time.Duration) (Lock, error)
	// Unlock lets go of a lock. It is done again without harm. ErrNotHeld: the lock
	// was over before, by time or by force, so its holder was fenced; ErrNotFound: there is no such lock, or not any more.
	Unlock(ctx context.Context, id string) error
	// Force ends all locks that overlap r, whoever holds them, and returns what they were. Their holders are fenced. why is kept and shown.
	Force(ctx context.Context, r Resource, why string) ([]Lock, error)
	// Watch returns as soon as the lock with that ID is over, with ErrNotHeld and how it ended, or ErrNotFound; or when ctx ends.
	Watch(ctx context.Context, id string) error
	// Locks lists what is held and waited for that overlaps r, or everything for the zero Resource: by resource, who holds it before who
	// waits, and those in their order.
	Locks(ctx context.Context, r Resource) ([]Lock, error)
	// Cached takes the lock of a path as often as times says, at most MaxCached, under what this node keeps after use, and returns how long that
	// took each time. It says nothing to anybody; where nothing is kept that covers the path, it is done no more often.
	Cached(ctx context.Context, path string, times int) ([]time.Duration, error)
	// Quorum tells how it stands with the nodes that keep the locks. Without a majority that is no error.
	Quorum(ctx context.Context) (Quorum, error)
	// TakeOver makes this node the only voter of a new generation, by hand, when the others are lost. They are fenced when they return.
	TakeOver(ctx context.Context) (Quorum, error)
}

// A LockRequest asks for a lock.
type LockRequest struct {
	RequestID string // 16 to 128 printable ASCII characters that nobody else picks, such as a UUID; "": see Lock
	Resource  Resource
	Shared    bool          // together with others that share
	Permits   int           // n: together with up to n-1 others that ask for one of n permits; 0: exclusive, or shared
	TTL       time.Duration // how long it is held unless it is renewed
	Wait      time.Duration // for how long it is waited for; 0: not
	Batch     bool          // of a path: what this node changes there is let out as one operation, when the lock is let go
	Session   bool          // it ends before its TTL when this node ends, or is cut off for as long as a session lasts
	Owner     string        // who asks: a user, a program
	Why       string        // shown to whoever is kept from it
}

// Lock is a lock that is held or waited for.
type Lock struct {
	ID        string     `json:"id"`
	Resource  Resource   `json:"resource"`
	Mode      string     `json:"mode"`              // "exclusive", "shared", "permit"
	Permits   int        `json:"permits,omitempty"` // of how many it has one
	Token     Token      `json:"token"`             // zero while it waits
	Node      string     `json:"node"`              // ID of the node that asked for it
	Host      string     `json:"host"`              // name of that machine
	Mine      bool       `json:"mine"`              // it was asked for through this node
	Owner     string     `json:"owner,omitempty"`
	Why       string     `json:"why,omitempty"`
	Since     time.Time  `json:"since"`             // held, or waiting
	Expires   *time.Time `json:"expires,omitempty"` // unless renewed; of one that waits: until when it does; nil: never by itself
	Session   bool       `json:"session"`
	State     string     `json:"state"`               // "held", "waiting"
	Position  int        `json:"position,omitempty"`  // of one that waits: 1 is next
	Delegated bool       `json:"delegated,omitempty"` // kept by the node after use, and given up when somebody asks
}

// HeldError tells who has what was asked for. It is ErrHeldElsewhere.
type HeldError struct {
	Resource Resource
	Holders  []Lock // of what overlaps it; cut to a readable number
	Waiting  int    // how many wait for it
}

func (e *HeldError) Error() string {
	if len(e.Holders) == 0 {
		return fmt.Sprintf("%s is held", e.Resource)
	}
	h := e.Holders[0]
	by := h.Owner
	if by == "" {
		by = h.Node
	}
	return fmt.Sprintf("%s is held by %s on %s since %s", e.Resource, by, h.Host, h.Since.UTC().Format(time.RFC3339))
}

// Is makes it ErrHeldElsewhere.
func (e *HeldError) Is(target error) bool { return target == ErrHeldElsewhere }

// Quorum is how it stands with the nodes that keep the locks.
type Quorum struct {
	Line       string  `json:"line"`     // for people: whether locks are granted, and if not what to do
	Majority   bool    `json:"majority"` // locks are granted
	Leader     string  `json:"leader"`   // name of the node; "": none
	Generation uint64  `json:"generation"`
	Voters     []Voter `json:"voters"`
	Held       int     `json:"held"` // without delegations
	Waiting    int     `json:"waiting"`
}

// Voter is one of the nodes that keep the locks.
type Voter struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Self      bool   `json:"self"`
	Leader    bool   `json:"leader"`
	Connected bool   `json:"connected"` // or this node
	Witness   bool   `json:"witness"`   // it has no folder
}

// Check tells what is wrong with a request, wrapping ErrBadArgument; nil if nothing is.
func (q LockRequest) Check() error {
	if err := q.Resource.Check(); err != nil {
		return err
	}
	bad := func(format string, args ...any) error {
		return fmt.Errorf(format+": %w", append(args, ErrBadArgument)...)
	}
	switch {
	case q.Permits < 0 || q.Permits > MaxPermits:
		return bad("%d permits: want at most %d", q.Permits, MaxPermits)
	case q.Permits > 0 && q.Shared:
		return bad("a lock is shared, or has permits, and not both")
	case q.Batch && (q.Resource.Name != "" || q.Shared || q.Permits > 0):
		return bad("only who has a path alone changes it in a batch")
	case q.Wait < 0 || q.Wait > MaxWait:
		return bad("wait of %v: want at most %v", q.Wait, MaxWait)
	case len(q.Owner) > maxOwner || !utf8.ValidString(q.Owner):
		return bad("owner: want text of at most %d bytes", maxOwner)
	case len(q.Why) > maxWhy || !utf8.ValidString(q.Why):
		return bad("why: want text of at most %d bytes", maxWhy)
	case q.RequestID != "" && !validRequestID(q.RequestID):
		return bad("request ID: want %d to %d printable ASCII characters that nobody else picks", minRequestID, maxRequestID)
	}
	return checkTTL(q.TTL)
}

// errTTL is told apart in answers to scripts.
var errTTL = fmt.Errorf("want %v to %v: %w", MinTTL, MaxTTL, ErrBadArgument)

func checkTTL(ttl time.Duration) error {
	if ttl < MinTTL || ttl > MaxTTL {
		return fmt.Errorf("ttl of %v: %w", ttl, errTTL)
	}
	return nil
}

func validRequestID(id string) bool {
	return len(id) >= minRequestID && len(id) <= maxRequestID && !strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' })
}

// undoTimeout is what is left to give back a lock that nobody is there to take.
const undoTimeout = 5 * time.Second

// grant locks for a caller that may be gone by then. What was granted to nobody is let go, unless the caller can ask again for it.
func grant(ctx context.Context, l Locker, q LockRequest) (Lock, error) {
	if err := q.Check(); err != nil {
		return Lock{}, err
	}
	lock, err := l.Lock(ctx, q)
	if err != nil || q.RequestID != "" || ctx.Err() == nil {
		return lock, err
	}
	undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	return Lock{}, errors.Join(ctx.Err(), l.Unlock(undo, lock.ID))
}

// noLocks is the Locker of a node that has none.
type noLocks struct{}

var _ Locker = noLocks{}

func (noLocks) Lock(context.Context, LockRequest) (Lock, error)            { return Lock{}, ErrNoLocks }
func (noLocks) Renew(context.Context, string, time.Duration) (Lock, error) { return Lock{}, ErrNoLocks }
func (noLocks) Unlock(context.Context, string) error                       { return ErrNoLocks }
func (noLocks) Force(context.Context, Resource, string) ([]Lock, error)    { return nil, ErrNoLocks }
func (noLocks) Watch(context.Context, string) error                        { return ErrNoLocks }
func (noLocks) Locks(context.Context, Resource) ([]Lock, error)            { return nil, ErrNoLocks }
func (noLocks) Cached(context.Context, string, int) ([]time.Duration, error) {
	return nil, ErrNoLocks
}
func (noLocks) Quorum(context.Context) (Quorum, error)   { return Quorum{}, ErrNoLocks }
func (noLocks) TakeOver(context.Context) (Quorum, error) { return Quorum{}, ErrNoLocks }
