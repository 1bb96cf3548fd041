package replica

import (
	"slices"
	"time"

	"resonate/locking"
	"resonate/locking/desk"
	"resonate/members"
	"resonate/merkle"
	"resonate/reconcile"
)

// Publish is lock, rebase, commit: a change is let out when this node has the lock of its path. Mostly that costs nothing, for a
// delegation from before covers it; else one request asks for all that has gathered, and the changes wait. Who gets a lock first sees to
// having the newest version of what it is about. What was changed here without having seen that version meets it as two versions meet, and
// has the higher token. Where no lock can be had, as when a majority cannot be reached, changes go out all the same, without a token.

// Times of the gate.
const (
	lockPatience = 3 * time.Second       // how long somebody who grants locks is waited for; an election is over by then
	lockGather   = 20 * time.Millisecond // between requests; twice as long for each that has no answer yet
	maxGather    = 5                     // of those
	lockAgain    = 5 * time.Second       // after which one that waits is made anew: what it waits for may be another by now
	maxPermits   = 16                    // requests under way
	maxLockPaths = 1000                  // in one request: beyond that, the tree around them is asked for
	maxStreak    = 4                     // requests one after the other, after which the trees around what they are about are asked for
	streakEnds   = 500 * time.Millisecond
)

// gating is the loop's state of the locks that changes need.
type gating struct {
	locks    *desk.Desk // nil: no change needs one
	permits  []*permit
	unsure   time.Time                           // since when no lock is to be had; zero: they are
	lockFree time.Time                           // until then changes go out without locks: nobody has answered
	batches  map[locking.RequestID]locking.Scope // in which changes gather until their lock is let go
	asked    time.Time                           // when a lock was last asked for
	denied   bool                                // and was not had
	streak   int                                 // how many requests followed each other until then
	cutOff   bool                                // changes wait until locks are to be had, however long that takes
}

// A permit is a lock that changes wait for.
type permit struct {
	id     locking.RequestID
	scopes []locking.Scope
	paths  map[string]bool // of the changes
	since  time.Time
	heard  bool           // it is in the table
	over   bool           // nobody waits for it any more
	block  *locking.Claim // what it was last told to wait for
	parked bool           // that is another node's explicit lock: until it is over

	grant  *locking.Grant // nil: not yet
	newest *barrier       // nil: all is here
}

// ready tells whether it is had, and with it the newest version.
func (p *permit) ready() bool { return p.grant != nil && p.newest.passed() }

// covers tells whether a change of path waits for p.
func (p *permit) covers(path string) bool { return p.paths[path] }

// granted tells whether s lies in what was granted.
func (p *permit) granted(s locking.Scope) bool {
	if p.grant == nil {
		return false
	}
	scopes := p.grant.Scopes
	if scopes == nil {
		scopes = p.scopes
	}
	return slices.ContainsFunc(scopes, s.Overlaps)
}

// UseLocks has changes wait for the locks of their paths. It is to be called before Run.
func (r *Replica) UseLocks(d *desk.Desk) { r.locks = d }

// A lockState says whether locks are to be had.
type lockState int

const (
	lockable  lockState = iota
	lockLater           // soon, it is hoped
	lockless            // changes go out without
)

// lockState finds out whether changes need locks now.
func (r *Replica) lockState(now time.Time) lockState {
	r.cutOff = false
	switch {
	case r.locks == nil, !r.sharesLocks():
		return lockless
	case r.locks.Sure() && !r.lockFree.After(now):
		r.unsure = time.Time{}
		return lockable
	case r.unsure.IsZero():
		r.unsure = now
	}
	over := len(r.peers) == 0 || now.Sub(r.unsure) >= lockPatience || r.lockFree.After(now) // nobody hears of it now, or nobody grants any
	switch {
	case over && r.o.Partition == ReadOnly:
		r.cutOff = true
		r.wakeIn(time.Second)
		return lockLater
	case over:
		return lockless
	}
	r.wakeIn(50 * time.Millisecond)
	return lockLater
}

// lockWords tells the user where no lock is to be had, and what follows; "" where they are.
func (r *Replica) lockWords() string {
	if r.locks == nil || !r.sharesLocks() || r.locks.Sure() {
		return ""
	}
	text := "none is granted: no majority of those who vote on them can be reached; "
	if r.o.Partition == ReadOnly {
		return text + "what is changed here waits"
	}
	return text + "what is changed goes out without"
}

// sharesLocks tells whether there is anybody to keep off.
func (r *Replica) sharesLocks() bool {
	return slices.ContainsFunc(r.cluster.List(), func(m members.Member) bool { return m.ID != members.ID(r.self) && !m.Forgotten })
}

// awaitsLock tells whether the change of a path is not to be let out yet.
func (r *Replica) awaitsLock(path string) bool {
	return r.inBatch(path) || slices.ContainsFunc(r.permits, func(p *permit) bool { return !p.ready() && p.covers(path) })
}

// cleared returns those changes that may be let out now, under which token, and what is in use until they are: endUses is to be called for that.
// The others are changes of this node as before.
func (r *Replica) cleared(found []*change, now time.Time) (out []*change, token merkle.Token, uses []locking.Scope) {
	state := r.lockState(now)
	if state == lockless {
		for _, c := range found {
			r.endRebase(c.path)
		}
		return found, token, nil
	}
	var need []*change
	for _, c := range found {
		if !r.needsLock(c) {
			out = append(out, c)
			continue
		}
		var t merkle.Token
		var used, ok bool
		if state == lockable {
			t, used, ok = r.lockFor(c.path)
		}
		if ok && r.rebaseFirst(c, t, used, now) {
			r.changes[c.path] = c
			continue
		}
		if ok {
			out, token = append(out, c), later(token, t)
			if used {
				uses = append(uses, onePath(c.path))
			}
			continue
		}
		r.changes[c.path] = c
		r.endRebase(c.path) // a version that comes before the lock is to be looked at, too
		if state == lockable && !r.awaitsLock(c.path) {
			need = append(need, c)
		}
	}
	r.askLocks(need, now)
	return out, token, uses
}

func onePath(path string) locking.Scope { return locking.Scope{Kind: locking.OnePath, Path: path} }

func later(t merkle.Token, u merkle.Token) merkle.Token {
	if t.Compare(u) < 0 {
		return u
	}
	return t
}

// needsLock tells whether a change is one at all, and made by somebody here.
func (r *Replica) needsLock(c *change) bool {
	return !c.implied && (c.meeting || r.unseenHere(c) || reconcile.Publish(r.tree.Get(c.path), c.attrs, reconcile.Author{Node: r.self, Stamp: 1}) != nil)
}

// lockFor returns the token under which path may be changed; used tells that it is in use from now on.
func (r *Replica) lockFor(path string) (token merkle.Token, used, ok bool) {
	return r.lockOf(onePath(path), path)
}

// lockOf is lockFor, for a scope about path.
func (r *Replica) lockOf(s locking.Scope, path string) (token merkle.Token, used, ok bool) {
	for _, p := range r.permits {
		switch {
		case p.ready() && p.covers(path):
			return merkle.Token(p.grant.Token), false, r.locks.Check(s, p.grant.Token)
		case p.grant != nil && !p.ready() && p.granted(s):
			return token, false, false // the newest version of it may not be here yet
		}
	}
	t, ok := r.locks.Use(s)
	return merkle.Token(t), ok, ok
}

// endUses tells that what was let out has been let out.
func (r *Replica) endUses(uses []locking.Scope) {
	for _, s := range uses {
		r.locks.EndUse(s)
	}
}

// admitMove is cleared, for the move of all that is agreed at a path. Where it returns false, the move is let out in parts, each of which asks for
// its lock.
func (r *Replica) admitMove(from, to string, now time.Time) (token merkle.Token, uses []locking.Scope, ok bool) {
	if state := r.lockState(now); state != lockable {
		return token, nil, state == lockless
	}
	for _, s := range []locking.Scope{{Kind: locking.Tree, Path: from}, {Kind: locking.Tree, Path: to}} {
		t, used, ok := r.lockOf(s, from)
		if !ok {
			r.endUses(uses)
			return token, nil, false
		}
		if token = later(token, t); used {
			uses = append(uses, s)
		}
	}
	return token, uses, true
}

// askLocks asks for the locks of changes, all of them with one request.
func (r *Replica) askLocks(need []*change, now time.Time) {
	if len(need) == 0 {
		return
	}
	pending := r.unanswered(now)
	if wait := lockGather<<min(pending, maxGather) - now.Sub(r.asked); (pending > 0 || r.denied) && wait > 0 || r.crowded() {
		r.wakeIn(max(wait, time.Millisecond))
		return
	}
	p := &permit{paths: make(map[string]bool, len(need))}
	for _, c := range need {
		p.paths[c.path] = true
		p.scopes = append(p.scopes, onePath(c.path))
	}
	if r.streak++; now.Sub(r.asked) > streakEnds {
		r.streak = 0
	}
	r.askSorted(p, r.streak >= maxStreak, now)
}

// unanswered returns how many requests were made lately and are not granted yet. Those that wait for the end of somebody's lock do not count.
func (r *Replica) unanswered(now time.Time) (n int) {
	for _, p := range r.permits {
		if p.grant == nil && !p.parked && now.Sub(p.since) < lockPatience {
			n++
		}
	}
	return n
}

// crowded tells whether as many requests are under way as may be. Those that wait for the end of somebody's lock hold up no others.
func (r *Replica) crowded() bool {
	n := 0
	for _, p := range r.permits {
		if !p.parked {
			n++
		}
	}
	return n >= maxPermits
}

// askSorted asks for p, or for the tree around its scopes where they are many, or wide: more of them are expected.
func (r *Replica) askSorted(p *permit, wide bool, now time.Time) {
	slices.SortFunc(p.scopes, locking.Scope.Compare)
	if len(p.scopes) > maxLockPaths || wide && len(p.scopes) > 1 {
		p.scopes = []locking.Scope{locking.Around(p.scopes)}
	}
	r.ask(p, now)
}

// ask sends the request for p.
func (r *Replica) ask(p *permit, now time.Time) {
	p.since, r.asked = now, now
	var err error
	p.id, err = r.locks.Ask(p.scopes, locking.MaxWait, func(a desk.Asked) {
		f := func() { r.lockTold(p, a) }
		select {
		case r.calls <- f:
		default: // the loop is busy, and the desk does not wait for it
			go r.post(f)
		}
	})
	if err != nil {
		r.log.Debug("no lock can be asked for: changes go out without", "cause", err)
		r.lockFree = now.Add(lockPatience)
		r.wakeIn(0)
		return
	}
	r.permits = append(r.permits, p)
	r.wakeIn(lockPatience)
}

// lockTold takes in what became of a request.
func (r *Replica) lockTold(p *permit, a desk.Asked) {
	p.heard = true
	r.denied = a.Err != nil
	switch {
	case p.over && a.Grant != nil:
		r.endUses(p.scopes)
	case p.over:
	case a.Grant != nil:
		p.grant, p.newest = a.Grant, r.startBarrier(a.Grant)
		r.log.Debug("locked", "scope", p.scopes[0].String(), "paths", len(p.paths), "granted", a.Grant.Scopes, "wait", time.Since(p.since).Round(time.Microsecond))
	case a.Err != nil:
		r.log.Debug("a lock was not had", "scope", p.scopes[0].String(), "cause", a.Err)
		r.dropPermit(p)
	default:
		p.block = a.Blocker
	}
	r.wakeIn(0)
}

// tendPermits goes on with permits: before changes are let out.
func (r *Replica) tendPermits(now time.Time) {
	for _, p := range slices.Clone(r.permits) {
		switch waited := now.Sub(p.since); {
		case p.grant != nil, p.heard && r.refusesUnder(p, now):
		case p.heard && waited >= lockAgain, !r.locks.Sure() && waited >= lockPatience:
			r.cancelPermit(p)
		case !p.heard && waited >= lockPatience:
			r.lockFree = now.Add(lockPatience)
			r.cancelPermit(p)
		default:
			r.wakeIn(min(time.Second, max(lockPatience-waited, 50*time.Millisecond)))
		}
	}
}

// endPermits lets go of what was had for changes that have been let out by now.
func (r *Replica) endPermits() {
	for _, p := range slices.Clone(r.permits) {
		if p.ready() && !r.rebasingUnder(p) {
			r.endUses(p.scopes)
			r.dropPermit(p)
		}
	}
}

// cancelPermit gives up waiting for p.
func (r *Replica) cancelPermit(p *permit) {
	r.dropPermit(p)
	if r.locks.Cancel(p.id) {
		return
	}
	p.over = true
}

// dropPermit forgets p. Its changes ask anew, if they are still there.
func (r *Replica) dropPermit(p *permit) {
	r.permits = slices.DeleteFunc(r.permits, func(o *permit) bool { return o == p })
	for path := range p.paths {
		if p.parked {
			r.problem(path, "", "")
		}
		r.resume(path)
	}
	r.wakeIn(0)
}

// anyChange tells whether a change is to be let out that does not wait for a lock.
func (r *Replica) anyChange() bool {
	if r.cutOff {
		return false
	}
	for path := range r.changes {
		if !r.awaitsLock(path) {
			return true
		}
	}
	return false
}
