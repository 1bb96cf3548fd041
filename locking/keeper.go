package locking

import (
	"bytes"
	"maps"
	"slices"
	"time"
)

const (
	// again is how long the keeper and the holder wait for an answer before they say a thing once more.
	again = time.Second
	// Claims with a TTL above agedTTL have what is left of it logged, each sixteenth of it, but not more often than minAge and not more seldom
	// than maxAge: a claim ends in spite of leaders that come and go, unless each of them leads for less than that.
	agedTTL = 2 * time.Minute
	minAge  = time.Minute
	maxAge  = 10 * time.Minute
)

// lease returns for how long the holder may count on a session of the given length from before it asked; grace, after how long the keeper
// ends one. What is between them is for clocks that do not run alike.
func lease(length time.Duration) time.Duration { return length - length/8 }
func grace(length time.Duration) time.Duration { return length + length/8 }

// full is for how long a claim of the given TTL is held at most, by the keeper's clock.
func full(ttl time.Duration) time.Duration { return ttl + ttl/100 }

// A Keeper is the leader's side of the sessions: it hears the nodes, knows what is over, and says which commands to put into the log and
// what to tell whom. All it knows beyond the table is lost with it: one that begins anew gives every session and every claim all of
// its time once more. It is not safe for concurrent use.
//
// Whoever runs it makes one when it has become leader and its table has all that was committed before; hands in every change of the
// table, every message and every result; and calls Tick after these, and when Next says. Times are of a clock that does not stand
// still while the machine sleeps.
type Keeper struct {
	table    *Table
	now      time.Duration
	sessions map[NodeID]*heard
	timers   map[RequestID]*timer
	recalls  map[RequestID]time.Duration // delegations in somebody's way: when they were last recalled
	waits    map[RequestID]bool          // claims that wait
	pending  map[asked]bool              // requests that are in the log, or on their way there
	renewals map[RequestID]asked         // to be answered when the log has the new TTL
	changes  []Change
	out      Out
}

// An Out is what a Keeper wants done.
type Out struct {
	Propose []Proposal
	Send    []Letter
}

// A Proposal is a command for the log. When it is known what became of it, Done is to be told.
type Proposal struct {
	Command []byte
	from    asked
}

// A Letter is a message to a node. With Verify it may be sent only when it was found, in a round that began after the message came
// in that it answers, that this node is the leader still.
type Letter struct {
	To      NodeID
	Message Message
	Verify  bool
}

// asked names a message of a holder.
type asked struct {
	node   NodeID
	number uint64
}

// heard is a session as the keeper knows it.
type heard struct {
	epoch   uint64
	length  time.Duration
	last    time.Duration // when something was heard
	number  uint64        // of the last message
	closing time.Duration // when its end was last put into the log; 0: not yet
}

// A timer is the TTL of a claim that is held, or the wait of one that waits.
type timer struct {
	cause    Cause
	deadline time.Duration
	proposed time.Duration // when its end was last put into the log; 0: not yet
	aged     time.Duration // when what is left was last put into the log, or its time began
}

// NewKeeper returns a keeper of t on a node that has just become leader.
func NewKeeper(t *Table, now time.Duration) *Keeper {
	k := &Keeper{table: t, now: now}
	k.begin()
	return k
}

// begin gives everybody all of their time.
func (k *Keeper) begin() {
	k.sessions = make(map[NodeID]*heard)
	k.timers = make(map[RequestID]*timer)
	k.recalls = make(map[RequestID]time.Duration)
	k.waits = make(map[RequestID]bool)
	k.pending = make(map[asked]bool)
	k.renewals = make(map[RequestID]asked)
	k.changes = nil
	for _, o := range k.table.owners {
		if o.epoch != 0 {
			k.sessions[o.node] = &heard{epoch: o.epoch, length: o.length, last: k.now}
		}
	}
	for _, c := range k.table.claims {
		k.arm(&c.Claim)
		if c.Held {
			k.recall(c)
		} else {
			k.waits[c.Request] = true
		}
	}
}

// arm starts the time of a claim.
func (k *Keeper) arm(c *Claim) {
	switch {
	case c.Held && c.TTL > 0:
		k.timers[c.Request] = &timer{cause: Expired, deadline: k.now + full(c.Remaining)}
	case !c.Held && c.Wait > 0:
		k.timers[c.Request] = &timer{cause: TimedOut, deadline: k.now + c.Wait}
	default:
		delete(k.timers, c.Request)
	}
}

// recall notes that c is to be recalled, if it is a delegation; whether it is in anybody's way, Tick sees.
func (k *Keeper) recall(c *claim) {
	if c.Held && c.Delegation {
		if _, ok := k.recalls[c.Request]; !ok {
			k.recalls[c.Request] = k.now - again
		}
	}
}

// Changed takes note of a change of the table. It is called inside of Table.Apply, and does not look at the table yet.
func (k *Keeper) Changed(c Change) { k.changes = append(k.changes, c) }

// Receive takes in a message of a node. Messages of kinds that only keepers send are nothing to it.
func (k *Keeper) Receive(now time.Duration, from NodeID, m Message) {
	k.now = now
	switch m := m.(type) {
	case *Request:
		k.heardOf(from, m.Number)
		k.request(from, m)
	case *KeepAlive:
		k.heardOf(from, m.Number)
		k.keepAlive(from, m)
	case *Renew:
		k.heardOf(from, m.Number)
		k.renew(from, m)
	}
}

func (k *Keeper) heardOf(from NodeID, number uint64) {
	if s := k.sessions[from]; s != nil {
		s.number = number
	}
}

func (k *Keeper) send(to NodeID, m Message, verify bool) {
	k.out.Send = append(k.out.Send, Letter{to, m, verify})
}

func (k *Keeper) propose(c Command, from asked) {
	b, err := Encode(c)
	if err != nil {
		return // of our own making: it would be wrong each time
	}
	k.out.Propose = append(k.out.Propose, Proposal{b, from})
}

func (k *Keeper) request(from NodeID, m *Request) {
	key := asked{from, m.Number}
	if k.pending[key] {
		return
	}
	c, err := DecodeCommand(m.Command)
	if err != nil || !k.may(from, c) {
		r := deny(Invalid)
		k.send(from, &Answer{m.Number, k.table.index, r.encode()}, false)
		return
	}
	k.pending[key] = true
	k.out.Propose = append(k.out.Propose, Proposal{m.Command, key})
}

// may tells whether a node may ask for c: about itself, to end free claims, and to force.
func (k *Keeper) may(from NodeID, c Command) bool {
	switch c := c.(type) {
	case *Open:
		return c.Node == from
	case *Close:
		return c.Session.Node == from && c.Cause == Closed
	case *Acquire:
		return c.Session.Node == from
	case *Narrow:
		return c.Session.Node == from
	case *End:
		for _, e := range c.Endings {
			o := k.table.claims[e.Request]
			if c.Cause != Forced && o != nil && o.Session.Epoch != 0 && o.Session.Node != from {
				return false
			}
		}
		return c.Cause == Released || c.Cause == Forced || c.Cause == Abandoned
	}
	return false
}

func (k *Keeper) keepAlive(from NodeID, m *KeepAlive) {
	s := k.sessions[from]
	if m.Session.Node != from {
		return
	}
	if s == nil || s.epoch != m.Session.Epoch {
		k.send(from, &Alive{m.Number, m.Session, true}, true)
		return
	}
	if s.closing != 0 {
		return // its end is on the way into the log: nothing may be promised any more
	}
	s.last = k.now
	k.send(from, &Alive{m.Number, m.Session, false}, true)
	if o := k.table.owners[from]; o != nil && o.digest() != m.Digest {
		k.send(from, o.state(k.table.index), false)
	}
}

func (o *owner) digest() (d uint64) {
	for _, c := range o.claims {
		d ^= digest(c.Request, c.Token)
	}
	return d
}

func (o *owner) state(index uint64) *State {
	m := &State{Session: o.session(), Index: index}
	room := maxStateBytes
	for _, c := range o.claims {
		s := ClaimState{Request: c.Request, Token: c.Token}
		for _, u := range c.Scopes {
			if room -= len(u.Path) + 4; c.Session.Epoch != 0 || room < 0 {
				break
			}
			s.Free = append(s.Free, u)
		}
		m.Claims = append(m.Claims, s)
	}
	return m
}

func (k *Keeper) renew(from NodeID, m *Renew) {
	c, t := k.table.claims[m.Request], k.timers[m.Request]
	if c == nil || !c.Held || t == nil || t.proposed != 0 || c.Session.Epoch != 0 && c.Session.Node != from {
		k.send(from, &Renewed{Number: m.Number, Request: m.Request}, true)
		return
	}
	t.deadline = k.now + full(c.TTL)
	if c.Remaining == c.TTL {
		k.send(from, &Renewed{m.Number, m.Request, c.TTL}, true)
		return
	}
	// The next leader would begin with less: that has to be put right before more is promised.
	k.renewals[m.Request] = asked{from, m.Number}
	k.propose(&Age{[]Remaining{{m.Request, c.TTL}}}, asked{})
}

// Done takes note of what the table answered to a proposal; nil: it is not known.
func (k *Keeper) Done(now time.Duration, p Proposal, result []byte) {
	k.now = now
	if p.from == (asked{}) {
		return
	}
	delete(k.pending, p.from)
	if result != nil {
		k.send(p.from.node, &Answer{p.from.number, k.table.index, result}, false)
	}
}

// Tick does what is due, and returns all that is to be done since it was called last.
func (k *Keeper) Tick(now time.Duration) Out {
	k.now = now
	changes := k.changes
	k.changes = nil
	for _, c := range changes {
		k.follow(c)
	}
	k.endSessions()
	k.endClaims()
	k.sendRecalls()
	out := k.out
	k.out = Out{}
	return out
}

// follow does what follows from a change of the table.
func (k *Keeper) follow(c Change) {
	id, node := c.Claim.Request, c.Claim.Session.Node
	switch c.What {
	case TableRestored:
		k.begin()
	case SessionOpened:
		if o := k.table.owners[node]; o != nil {
			k.sessions[node] = &heard{epoch: o.epoch, length: o.length, last: k.now}
		}
	case SessionEnded:
		if s := k.sessions[node]; s != nil && s.epoch == c.Claim.Session.Epoch {
			delete(k.sessions, node)
		}
	case ClaimQueued:
		k.waits[id] = true
		k.arm(&c.Claim)
		k.recallFor(&c.Claim)
	case ClaimGranted:
		k.arm(&c.Claim)
		if o := k.table.claims[id]; o != nil {
			k.recall(o)
			if k.waits[id] {
				k.told(o)
			}
		}
		delete(k.waits, id)
	case ClaimAged:
		k.aged(id)
	case ClaimEnded:
		delete(k.timers, id)
		delete(k.recalls, id)
		delete(k.waits, id)
		delete(k.renewals, id)
		if c.Cause != Released && c.Cause != Abandoned || c.Claim.Session.Epoch == 0 {
			k.send(node, &Gone{id, c.Claim.Token, c.Cause}, false)
		}
	}
}

// told tells the node of c, which has waited, that it is granted.
func (k *Keeper) told(c *claim) {
	m := &Told{Request: c.Request, Index: k.table.index}
	if s := k.sessions[c.Session.Node]; s != nil {
		m.Number = s.number
	}
	if t := k.timers[c.Request]; t != nil && c.TTL > 0 {
		m.Remaining = max(t.deadline-k.now-(full(c.TTL)-c.TTL), 0)
	}
	r := k.table.answer(c)
	m.Result = r.encode()
	k.send(c.Session.Node, m, false)
}

// recallFor notes which delegations are in the way of c, which waits.
func (k *Keeper) recallFor(c *Claim) {
	for _, s := range c.Scopes {
		k.table.places.overlapping(s, heldOnes, func(o *claim) bool {
			k.recall(o)
			return true
		})
	}
}

// aged answers the renewal that has waited for this.
func (k *Keeper) aged(id RequestID) {
	a, ok := k.renewals[id]
	c, t := k.table.claims[id], k.timers[id]
	if !ok || c == nil || c.Remaining != c.TTL {
		return
	}
	delete(k.renewals, id)
	if t != nil && t.proposed == 0 {
		k.send(a.node, &Renewed{a.number, id, c.TTL}, true)
	}
}

func (k *Keeper) endSessions() {
	for _, node := range slices.SortedFunc(maps.Keys(k.sessions), func(a, b NodeID) int { return bytes.Compare(a[:], b[:]) }) {
		s := k.sessions[node]
		if k.now < s.last+grace(s.length) || s.closing != 0 && k.now < s.closing+again {
			continue
		}
		s.closing = max(k.now, 1)
		k.propose(&Close{Session{node, s.epoch}, Expired}, asked{})
	}
}

func compareIDs(a, b RequestID) int { return bytes.Compare(a[:], b[:]) }

func (k *Keeper) endClaims() {
	age := new(Age)
	for _, id := range slices.SortedFunc(maps.Keys(k.timers), compareIDs) {
		t, c := k.timers[id], k.table.claims[id]
		switch {
		case c == nil || t.proposed != 0 && k.now < t.proposed+again:
		case k.now >= t.deadline:
			t.proposed = max(k.now, 1)
			k.propose(&End{Endings: []Ending{{Request: id, Token: c.Token}}, Cause: t.cause}, asked{})
		case k.now >= k.ageAt(c, t) && len(age.Remaining) < MaxScopes:
			t.aged = k.now
			age.Remaining = append(age.Remaining, Remaining{id, t.deadline - k.now})
		}
	}
	if len(age.Remaining) > 0 {
		k.propose(age, asked{})
	}
}

// ageAt returns when it is to be logged again how much is left of c's TTL; never, where that is short.
func (k *Keeper) ageAt(c *claim, t *timer) time.Duration {
	if !c.Held || c.TTL <= agedTTL {
		return t.deadline
	}
	return max(t.aged, t.deadline-full(c.Remaining)) + min(max(c.TTL/16, minAge), maxAge)
}

func (k *Keeper) sendRecalls() {
	for _, id := range slices.SortedFunc(maps.Keys(k.recalls), compareIDs) {
		c := k.table.claims[id]
		if c == nil || !c.Held {
			delete(k.recalls, id)
			continue
		}
		needed := k.table.needed(c)
		switch {
		case len(needed) == 0:
			delete(k.recalls, id)
		case k.now >= k.recalls[id]+again:
			k.recalls[id] = k.now
			k.send(c.Session.Node, &Recall{id, c.Token, needed}, false)
		}
	}
}

// needed returns what others wait for of c, which is a delegation. Of more than maxNeeded scopes it names the tree of all: c has to be
// let go as a whole.
func (t *Table) needed(c *claim) []Scope {
	var out []Scope
	t.searches++
	search := t.searches
	for _, s := range c.Scopes {
		t.places.overlapping(s, waitingOnes, func(o *claim) bool {
			if o.marked == search || c.passes(o) {
				return true
			}
			o.marked = search
			for _, u := range o.Scopes {
				if !c.spares(u) && slices.ContainsFunc(c.Scopes, u.Overlaps) {
					out = append(out, u)
				}
			}
			return len(out) <= maxNeeded
		})
	}
	slices.SortFunc(out, Scope.Compare)
	if out = slices.Compact(out); len(out) > maxNeeded {
		return []Scope{{Kind: Tree}}
	}
	return out
}

// Next returns when Tick is to be called at the latest.
func (k *Keeper) Next() time.Duration {
	next := k.now + MaxLength
	for _, s := range k.sessions {
		next = min(next, max(s.last+grace(s.length), s.closing+again))
	}
	for id, t := range k.timers {
		due := t.deadline
		if c := k.table.claims[id]; c != nil {
			due = min(due, k.ageAt(c, t))
		}
		if t.proposed != 0 {
			due = t.proposed + again
		}
		next = min(next, due)
	}
	for _, sent := range k.recalls {
		next = min(next, sent+again)
	}
	return max(next, k.now)
}
