package node

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"resonate/control"
	"resonate/locking"
	"resonate/locking/desk"
	"resonate/members"
	"resonate/merkle"
	"resonate/replica"
)

// A Locker is the cluster's locks as people and scripts see them. It remembers the locks that were asked for through this node, and how
// they ended. It is safe for concurrent use.
type Locker struct {
	desk    *desk.Desk
	self    locking.NodeID
	host    string
	members func() map[merkle.NodeID]members.Member
	log     *slog.Logger
	files   *replica.Replica                   // nil: there are no files that paths are of
	note    func(c *locking.Claim, why string) // is told which lock of another node was ended by force

	mu   sync.Mutex
	own  map[locking.RequestID]*ownLock
	over []locking.RequestID // of own: those that have ended, the first first
}

var _ control.Locker = (*Locker)(nil)

// maxOver is how many locks that have ended are remembered.
const maxOver = 4096

// An ownLock is one that was asked for through this node.
type ownLock struct {
	lock  control.Lock
	ended *desk.Ended
	done  chan struct{} // closed when it is over
	err   error         // why: valid then; ErrNotHeld
	freed bool          // by its holder
}

func newLocker(n *Node) *Locker {
	return &Locker{
		desk: n.desk, self: locking.NodeID(n.replica.Node()), host: n.replica.Name(), members: n.memberMap,
		log: n.o.Folder.Log, files: n.replica, note: n.noteForced, own: make(map[locking.RequestID]*ownLock),
	}
}

// memberMap returns the members.
func (n *Node) memberMap() map[merkle.NodeID]members.Member {
	out := make(map[merkle.NodeID]members.Member)
	for _, m := range n.replica.Members().List() {
		out[merkle.NodeID(m.ID)] = m
	}
	return out
}

// Lock acquires: see control.Locker.
func (l *Locker) Lock(ctx context.Context, q control.LockRequest) (control.Lock, error) {
	if err := q.Check(); err != nil {
		return control.Lock{}, err
	}
	if q.RequestID == "" {
		return l.acquire(ctx, locking.RequestID{}, q)
	}
	id := requestOf(q.RequestID)
	if known, err := l.again(id, q); err != nil {
		return control.Lock{}, err
	} else if known {
		return l.stillHeld(ctx, id)
	}
	type answer struct {
		lock control.Lock
		err  error
	}
	got := make(chan answer, 1)
	go func() { // ends when the wait does, at the latest: who asked may have gone, and asks again
		lock, err := l.acquire(context.WithoutCancel(ctx), id, q)
		got <- answer{lock, err}
	}()
	select {
	case a := <-got:
		return a.lock, a.err
	case <-ctx.Done():
		return control.Lock{}, context.Cause(ctx)
	}
}

// requestOf names a request: the same text is the same request, through whatever node.
func requestOf(text string) (id locking.RequestID) {
	sum := sha256.Sum256([]byte("resonate lock request\n" + text))
	copy(id[:], sum[:])
	return id
}

// again tells whether this node has the lock of that request already; ErrNotHeld, if it has had it.
func (l *Locker) again(id locking.RequestID, q control.LockRequest) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := l.own[id]
	switch {
	case o == nil:
		return false, nil
	case o.lock.Resource != q.Resource || o.lock.Mode != modeOf(q) || o.lock.Permits != q.Permits:
		return false, fmt.Errorf("request ID %q was for %s, and not for this: %w", q.RequestID, o.lock.Resource, control.ErrBadArgument)
	}
	select {
	case <-o.done:
		return false, fmt.Errorf("the lock of request ID %q is over: %w", q.RequestID, control.ErrNotHeld)
	default:
		return true, nil
	}
}

func modeOf(q control.LockRequest) string {
	switch {
	case q.Shared:
		return "shared"
	case q.Permits > 0:
		return "permit"
	}
	return "exclusive"
}

// acquire asks the cluster, again and again where a wait is longer than the table lets one be. id is zero for a request that nobody else knows.
func (l *Locker) acquire(ctx context.Context, id locking.RequestID, q control.LockRequest) (control.Lock, error) {
	begun := time.Now()
	c := &locking.Acquire{
		Request: id, Scopes: []locking.Scope{scopeOf(q.Resource)}, TTL: q.TTL, Free: !q.Session, Permits: uint32(q.Permits),
		Why: cut(q.Why), Owner: stamped(begun, q.Owner),
	}
	switch {
	case q.Shared:
		c.Mode = locking.Shared
	case q.Permits > 0:
		c.Mode = locking.Permits
	}
	if q.Session {
		c.TTL = min(c.TTL, locking.MaxTTL)
	}
	for left := q.Wait; ; left = q.Wait - time.Since(begun) {
		c.Wait = min(max(left, 0), locking.MaxWait)
		asked := time.Now()
		held, err := l.desk.Lock(ctx, c)
		if err == nil {
			l.bringNewest(ctx, c.Scopes, held.Grant)
			if q.Batch && l.files != nil {
				l.files.HoldBatch(held.ID, c.Scopes[0])
			}
			return l.keep(q, held, begun, asked), nil
		}
		var refused *desk.RefusedError
		if errors.As(err, &refused) && refused.Reason == locking.Elsewhere {
			lock, over, err := l.elsewhere(ctx, id, q, asked)
			if over {
				continue
			}
			return lock, err
		}
		if errors.As(err, &refused) && refused.Cause == locking.TimedOut && left > locking.MaxWait && q.RequestID == "" {
			c.Request = locking.RequestID{}
			continue
		}
		return control.Lock{}, l.explain(ctx, q, err)
	}
}

// keep remembers a lock that was granted.
func (l *Locker) keep(q control.LockRequest, held *desk.Lock, begun, asked time.Time) control.Lock {
	expires := asked.Add(q.TTL)
	o := &ownLock{ended: held.Ended, done: make(chan struct{}), lock: control.Lock{
		ID: hex.EncodeToString(held.ID[:]), Resource: q.Resource, Mode: modeOf(q), Permits: q.Permits, Token: control.Token(held.Grant.Token),
		Node: merkle.NodeID(l.self).String(), Host: l.host, Mine: true, Owner: q.Owner, Why: q.Why, Since: begun, Expires: &expires,
		Session: q.Session, State: "held",
	}}
	l.mu.Lock()
	if old := l.own[held.ID]; old != nil {
		o = old
	} else {
		l.own[held.ID] = o
		go l.follow(held.ID, o)
	}
	l.mu.Unlock()
	return o.lock
}

// follow notes how a lock ends. It ends with it, or with the desk, which ends all.
func (l *Locker) follow(id locking.RequestID, o *ownLock) {
	select {
	case <-o.ended.Done:
		why := o.ended.Cause.String()
		if o.ended.By != "" {
			why += " by " + o.ended.By
		}
		l.end(id, o.ended.Cause == locking.Released, fmt.Errorf("%s: %w", why, control.ErrNotHeld))
	case <-o.done:
	}
	if l.files != nil {
		l.files.DropBatch(id)
	}
}

// end notes that a lock is over.
func (l *Locker) end(id locking.RequestID, freed bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := l.own[id]
	if o == nil {
		return
	}
	select {
	case <-o.done:
		return
	default:
	}
	o.err, o.freed = err, freed
	close(o.done)
	l.over = append(l.over, id)
	if len(l.over) > maxOver {
		delete(l.own, l.over[0])
		l.over = l.over[1:]
	}
}

// explain turns an error of the desk into one of the API.
func (l *Locker) explain(ctx context.Context, q control.LockRequest, err error) error {
	var refused *desk.RefusedError
	switch {
	case errors.Is(err, desk.ErrNoLeader):
		return control.ErrNoMajority
	case errors.Is(err, desk.ErrEnded):
		return fmt.Errorf("%w: %w", control.ErrNoLocks, err)
	case !errors.As(err, &refused):
		return err
	case refused.Reason == locking.QueueFull || refused.Reason == locking.TableFull:
		return fmt.Errorf("%w: %v", control.ErrQueueFull, refused.Reason)
	case refused.Reason == locking.Taken || refused.Cause == locking.TimedOut:
		return l.whoHas(ctx, q.Resource, refused.Blocker)
	case refused.Reason == locking.Over || refused.Reason == locking.Freed:
		return fmt.Errorf("the lock of request ID %q is over: %w", q.RequestID, control.ErrNotHeld)
	case refused.Reason == locking.Invalid:
		return fmt.Errorf("%w: %w", control.ErrBadArgument, err)
	}
	return fmt.Errorf("%w: %w", control.ErrNoMajority, err)
}

// maxHolders is how many holders a HeldError names.
const maxHolders = 8

func (l *Locker) whoHas(ctx context.Context, r control.Resource, blocker *locking.Claim) error {
	e := &control.HeldError{Resource: r}
	list, err := l.Locks(ctx, r)
	for _, lock := range list {
		switch {
		case lock.State == "waiting":
			e.Waiting++
		case !lock.Delegated && len(e.Holders) < maxHolders: // a delegation is given up when somebody asks
			e.Holders = append(e.Holders, lock)
		}
	}
	if (err != nil || len(e.Holders) == 0) && blocker != nil {
		e.Holders = append(e.Holders, l.lockOf(*blocker))
	}
	return e
}

// Renew gives a lock another TTL: see control.Locker.
func (l *Locker) Renew(ctx context.Context, id string, ttl time.Duration) (control.Lock, error) {
	key, o, err := l.find(id)
	switch {
	case errors.Is(err, control.ErrNotFound):
		return l.renewForeign(ctx, key, ttl, err)
	case err != nil:
		return control.Lock{}, err
	}
	begun := time.Now()
	switch err := l.desk.Renew(ctx, key, ttl); {
	case errors.Is(err, desk.ErrLost):
		l.end(key, false, fmt.Errorf("%s: %w", locking.Expired, control.ErrNotHeld))
		return control.Lock{}, o.err
	case err != nil:
		return control.Lock{}, control.ErrNoMajority
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	expires := begun.Add(ttl)
	o.lock.Expires = &expires
	return o.lock, nil
}

// find returns a lock of this node that is held; ErrNotHeld or ErrNotFound where there is none.
func (l *Locker) find(id string) (key locking.RequestID, o *ownLock, err error) {
	b, err := hex.DecodeString(id)
	if err != nil || len(b) != len(key) {
		return key, nil, fmt.Errorf("lock %.64q: %w", id, control.ErrNotFound)
	}
	copy(key[:], b)
	l.mu.Lock()
	defer l.mu.Unlock()
	if o = l.own[key]; o == nil {
		return key, nil, fmt.Errorf("lock %s: %w", id, control.ErrNotFound)
	}
	select {
	case <-o.done:
		return key, o, o.err
	default:
		return key, o, nil
	}
}

// Unlock lets go of a lock: see control.Locker.
func (l *Locker) Unlock(ctx context.Context, id string) error {
	key, o, err := l.find(id)
	switch {
	case o != nil && o.freed:
		return l.gone(ctx, key)
	case errors.Is(err, control.ErrNotFound):
		return l.unlockForeign(ctx, key, err)
	case err != nil:
		return err
	}
	scope := scopeOf(o.lock.Resource)
	l.letOut(ctx, key, scope)
	err = l.free(ctx, key, []locking.Scope{scope})
	l.end(key, !errors.Is(err, control.ErrNotHeld), fmt.Errorf("%s: %w", locking.Released, control.ErrNotHeld))
	return err
}

// free has the table end a claim. ErrNotHeld: it was over before.
func (l *Locker) free(ctx context.Context, key locking.RequestID, scopes []locking.Scope) error {
	switch fate, err := l.desk.Free(ctx, key, scopes); {
	case errors.Is(err, desk.ErrEnded):
		return fmt.Errorf("%w: %w", control.ErrNoLocks, err)
	case err != nil:
		return control.ErrNoMajority
	case fate == locking.Over:
		return fmt.Errorf("%v: %w", fate, control.ErrNotHeld)
	}
	return nil
}

// gone waits until the table has no claim of that request any more. ErrNotHeld: it was over before it could be let go.
func (l *Locker) gone(ctx context.Context, key locking.RequestID) error {
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		switch c, fate, err := l.desk.Claim(ctx, key); {
		case err != nil:
			return control.ErrNoMajority
		case c == nil && fate == locking.Over:
			return fmt.Errorf("%v: %w", fate, control.ErrNotHeld)
		case c == nil:
			return nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", control.ErrTimeout, context.Cause(ctx))
		}
	}
}

// Force ends all locks that overlap r: see control.Locker.
func (l *Locker) Force(ctx context.Context, r control.Resource, why string) ([]control.Lock, error) {
	scope := scopeOf(r)
	claims, err := l.desk.Claims(ctx, scope)
	if err != nil {
		return nil, control.ErrNoMajority
	}
	var out []control.Lock
	for _, c := range claims {
		if c.Delegation || !c.Held {
			continue
		}
		if err := l.desk.Force(c, cut(l.host+": "+why)); err != nil {
			return out, err
		}
		out = append(out, l.lockOf(c))
		if err := l.gone(ctx, c.Request); err != nil && !errors.Is(err, control.ErrNotHeld) { // by force, it is over
			return out, err
		}
		if c.Session.Node != l.self {
			l.note(&c, why)
		}
	}
	return out, nil
}

// watchInterval is how often a lock of another node is looked at.
const watchInterval = time.Second

// Watch returns when a lock is over: see control.Locker.
func (l *Locker) Watch(ctx context.Context, id string) error {
	key, o, err := l.find(id)
	switch {
	case o != nil && err == nil:
		select {
		case <-o.done:
			return o.err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	case !errors.Is(err, control.ErrNotFound):
		return err
	}
	for seen := false; ; seen = true {
		c, _, claimErr := l.desk.Claim(ctx, key)
		switch {
		case claimErr == nil && c == nil && seen:
			return fmt.Errorf("lock %s: %w", id, control.ErrNotHeld)
		case claimErr == nil && c == nil:
			return err
		}
		select {
		case <-time.After(watchInterval):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Locks lists what overlaps r: see control.Locker.
func (l *Locker) Locks(ctx context.Context, r control.Resource) ([]control.Lock, error) {
	scopes := []locking.Scope{{Kind: locking.Tree}, {Kind: locking.Name}} // all paths, and all names
	if r != (control.Resource{}) {
		scopes = []locking.Scope{scopeOf(r)}
	}
	out := []control.Lock{}
	for _, s := range scopes {
		claims, err := l.desk.Claims(ctx, s)
		if err != nil {
			return nil, control.ErrNoMajority
		}
		waiting := make(map[control.Resource]int)
		for _, c := range claims {
			lock := l.lockOf(c)
			if !c.Held {
				waiting[lock.Resource]++
				lock.Position = waiting[lock.Resource]
			}
			out = append(out, lock)
		}
	}
	slices.SortStableFunc(out, func(a, b control.Lock) int {
		return cmp.Or(strings.Compare(a.Resource.String(), b.Resource.String()), strings.Compare(a.State, b.State))
	})
	return out, nil
}

// lockOf is a claim as people see it.
func (l *Locker) lockOf(c locking.Claim) control.Lock {
	since, owner := unstamped(c.Owner)
	lock := control.Lock{
		ID: hex.EncodeToString(c.Request[:]), Mode: c.Mode.String(), Permits: int(c.Permits), Token: control.Token(c.Token),
		Node: merkle.NodeID(c.Session.Node).String(), Host: c.Host, Mine: c.Session.Node == l.self, Owner: owner, Why: c.Why, Since: since,
		Session: c.Session.Epoch != 0, State: "held", Delegated: c.Delegation,
	}
	if c.Mode == locking.Permits {
		lock.Mode = "permit"
	}
	if len(c.Scopes) > 0 {
		lock.Resource = resourceOf(c.Scopes[0])
	}
	switch end := since.Add(c.Remaining); {
	case !c.Held:
		end = since.Add(c.Wait)
		lock.State, lock.Expires = "waiting", &end
	case c.TTL > 0 && time.Now().Before(end):
		lock.Expires = &end
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if o := l.own[c.Request]; o != nil && c.Held {
		return o.lock
	}
	return lock
}

// Quorum tells how it stands with the nodes that keep the locks: see control.Locker.
func (l *Locker) Quorum(ctx context.Context) (control.Quorum, error) {
	s := l.desk.Status()
	known := l.members()
	called := func(id locking.NodeID) string {
		return cmp.Or(known[merkle.NodeID(id)].Name, merkle.NodeID(id).Short())
	}
	led := s.Leads != (locking.NodeID{}) || s.Through != (locking.NodeID{}) // else a session that is sure yet is no help
	q := control.Quorum{Majority: s.Sure && led, Generation: s.Generation, Voters: []control.Voter{}}
	if s.Leads != (locking.NodeID{}) {
		q.Leader = called(s.Leads)
	}
	for _, v := range s.Keepers {
		q.Voters = append(q.Voters, control.Voter{
			ID: merkle.NodeID(v.Node).String(), Name: called(v.Node), Self: v.Node == l.self, Leader: v.Node == s.Leads, Connected: v.Connected,
			Witness: known[merkle.NodeID(v.Node)].Witness,
		})
	}
	if q.Majority { // else it would be waited for
		list, _ := l.Locks(ctx, control.Resource{})
		for _, lock := range list {
			switch {
			case lock.State == "waiting":
				q.Waiting++
			case !lock.Delegated:
				q.Held++
			}
		}
	}
	switch {
	case q.Majority && q.Leader == "":
		q.Line = "locks are granted; who leads is reached through " + called(s.Through)
	case q.Majority:
		q.Line = "locks are granted; " + q.Leader + " leads"
	default:
		q.Line = "no lock is granted: no majority of the nodes that keep the locks can be reached; files are synchronised all the same. " +
			"Wait for them, or, if they are lost for good, run resonate cluster take-over"
	}
	if s.Problem != nil {
		q.Line += "; this node cannot keep the locks: " + s.Problem.Error()
	}
	return q, nil
}

// TakeOver makes this node the only voter: see control.Locker.
func (l *Locker) TakeOver(ctx context.Context) (control.Quorum, error) {
	if err := l.desk.TakeOver(); err != nil {
		return control.Quorum{}, err
	}
	for end := time.Now().Add(takeOverTime); !l.desk.Sure() && time.Now().Before(end) && ctx.Err() == nil; {
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
	return l.Quorum(ctx)
}

// takeOverTime is how long a node that has taken over waits for its own session.
const takeOverTime = 5 * time.Second

func scopeOf(r control.Resource) locking.Scope {
	switch {
	case r.Name != "":
		return locking.Scope{Kind: locking.Name, Path: r.Name}
	case r.Below:
		return locking.Scope{Kind: locking.Tree, Path: r.Path}
	}
	return locking.Scope{Kind: locking.OnePath, Path: r.Path}
}

func resourceOf(s locking.Scope) control.Resource {
	if s.Kind == locking.Name {
		return control.Resource{Name: s.Path}
	}
	return control.Resource{Path: s.Path, Below: s.Kind == locking.Tree}
}

// cut shortens a text to what the table takes.
func cut(s string) string {
	if len(s) <= locking.MaxText {
		return s
	}
	return strings.ToValidUTF8(s[:locking.MaxText], "")
}

// stamped puts when a lock was asked for before who asks: the table has no clock, and people want to know since when.
func stamped(at time.Time, owner string) string {
	return cut(strconv.FormatInt(at.UnixMilli(), 36) + " " + owner)
}

func unstamped(s string) (time.Time, string) {
	stamp, owner, _ := strings.Cut(s, " ")
	ms, err := strconv.ParseInt(stamp, 36, 64)
	if err != nil {
		return time.Time{}, s
	}
	return time.UnixMilli(ms), owner
}
