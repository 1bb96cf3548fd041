package locking

import (
	"fmt"
	"slices"
	"time"
)

const (
	// hysteresis is for how long, after it had to give something up, a node asks for no more of it than it needs: or two who edit
	// in one directory would ask all of it back from each other at every turn.
	hysteresis = 30 * time.Second

	maxRecent      = 64  // scopes that had to be given up
	maxDelegations = 512 // that a node keeps after use
	sentKept       = 256 // messages of which it is known when they were sent
)

// A Holder is one node's side: its session, what it holds, and who uses it. It says what to send to the leader, whoever that is, and
// what has happened. It is not safe for concurrent use: its owner serialises calls, also those of Use.
//
// Times are of a clock that does not stand still while the machine sleeps (CLOCK_BOOTTIME). The session is counted from before it was asked
// for; after a gap in which Tick was not called, nothing is trusted until the leader has been heard again.
type Holder struct {
	node   NodeID
	host   string
	length time.Duration
	newID  func() RequestID

	now    time.Duration
	ticked time.Duration
	until  time.Duration // the session is sure until then; 0: it is not

	session Session // epoch 0: none
	opening uint64  // the request that opens one; 0: none
	closed  bool    // no other is opened

	number   uint64
	sent     [sentKept]sending
	alive    time.Duration // when a KeepAlive was last sent
	requests map[uint64]*outgoing
	claims   map[RequestID]*holding
	at       map[Scope]*holding // what may be used
	uses     map[Scope]int
	recent   []recalled
	heard    uint64 // the highest index of the log that was heard of
	recalled int    // holdings of which something is asked back

	out    []Message
	events []Event
}

// sending is when a message was sent.
type sending struct {
	number uint64
	at     time.Duration
}

// outgoing is a request that has not been answered.
type outgoing struct {
	number      uint64
	first, last time.Duration // when it was sent
	command     Command
	left        []Left // what the command tells of versions left behind
	sent        bool
}

// recalled is a scope that was asked back.
type recalled struct {
	scope Scope
	until time.Duration
}

// A holding is a claim of this node, as far as it knows.
type holding struct {
	*Acquire
	scopes, except []Scope
	token          Token         // zero: not held
	index          uint64        // of the log, at which this was so; 0: not answered yet
	asked          time.Duration // when it was first asked for in this session
	deadline       time.Duration // of its TTL; 0: none is known
	needed         []Scope       // asked back: no new uses
	give           []Scope       // those of needed for which Give is awaited
	absorbed       []Token       // of delegations that have become part of this one
	whole          bool          // all of it is to be given
	free           bool          // survives the session, and has a deadline that is known
}

// An Event is something that whoever runs a Holder has to know.
type Event struct {
	What    EventKind
	Request RequestID
	Result  *Result // of Got, Waiting, Refusal and Ended
	Cause   Cause   // of Lost
	Scopes  []Scope // of Give: what is given up
	Holding Holding // of Got, Give and Lost: what is held, or was
	By      string  // of Lost: who forced it, and why
}

// An EventKind says what happened to a request or to the session.
type EventKind uint8

// The kinds of events.
const (
	Got         EventKind = iota // it was granted, and Valid and Check tell whether it is still; of an Ask, its scopes are in use: EndUse has to be called for each
	Waiting                      // it is queued
	Refusal                      // it is not held, and not queued any more
	Lost                         // it was held, and is not any more: what is changed under it is fenced
	Give                         // its scopes are asked back, and not in use: Give is to be called with what is left behind
	SessionSure                  // the leader was heard: what is held may be counted on
	SessionLost                  // the session is over, and with it what was bound to it
	Ended                        // what was asked for, to end it, is answered: Result tells how it was over already, if it was
	Extended                     // its TTL has begun anew, also of a free one of another node that was to be renewed; or it is Lost
)

// NewHolder returns the holder of a node that has no session yet. newID makes IDs that nobody else makes.
func NewHolder(node NodeID, host string, length time.Duration, now time.Duration, newID func() RequestID) *Holder {
	first := newID()
	h := &Holder{
		node: node, host: host, length: length, newID: newID, now: now, ticked: now,
		requests: make(map[uint64]*outgoing), claims: make(map[RequestID]*holding), at: make(map[Scope]*holding), uses: make(map[Scope]int),
	}
	for _, b := range first[:4] {
		h.number = h.number<<8 | uint64(b)
	}
	// A process that was started anew takes no answer to one of its predecessor's messages for its own.
	h.number <<= 31
	return h
}

// sure tells whether the session may be counted on.
func (h *Holder) sure(now time.Duration) bool {
	return now < h.until && now-h.ticked <= h.length/3
}

// Sure tells whether the session may be counted on at a time.
func (h *Holder) Sure(now time.Duration) bool { return h.sure(now) }

// Session returns the session; of epoch 0: there is none.
func (h *Holder) Session() Session { return h.session }

// valid tells whether k may be counted on.
func (h *Holder) valid(k *holding, now time.Duration) bool {
	if k.token == (Token{}) || k.deadline != 0 && now >= k.deadline {
		return false
	}
	return k.free || h.sure(now)
}

// Valid tells whether the request holds what it asked for, and under which token.
func (h *Holder) Valid(now time.Duration, id RequestID) (Token, bool) {
	k := h.claims[id]
	if k == nil || !h.valid(k, now) {
		return Token{}, false
	}
	return k.token, true
}

// Use begins a use of a path or a tree under what this node holds, without a message. It returns false where that is nothing, or is being
// given up: then Ask. Otherwise EndUse has to be called.
func (h *Holder) Use(now time.Duration, s Scope) (Token, bool) {
	k := h.usable(now, s)
	if k == nil {
		return Token{}, false
	}
	h.uses[s]++
	return k.token, true
}

// usable returns a holding under which s may be used.
func (h *Holder) usable(now time.Duration, s Scope) *holding {
	if k := h.at[s]; k != nil && h.lets(now, k, s) {
		return k
	}
	if s.Kind == Name {
		return nil
	}
	for path := s.Path; ; path = parentDir(path) {
		if k := h.at[Scope{Tree, path}]; k != nil && h.lets(now, k, s) {
			return k
		}
		if path == "" {
			return nil
		}
	}
}

func (h *Holder) lets(now time.Duration, k *holding, s Scope) bool {
	if !h.valid(k, now) || k.Mode != Exclusive {
		return false
	}
	for _, e := range k.except {
		if e.Overlaps(s) {
			return false
		}
	}
	for _, n := range k.needed {
		if n.Overlaps(s) {
			return false
		}
	}
	return true
}

// Check tells whether what a use of s began under a token is still covered by it: what is published has not been fenced so far.
func (h *Holder) Check(now time.Duration, s Scope, token Token) bool {
	for _, k := range h.claims {
		if (k.token == token || slices.Contains(k.absorbed, token)) && h.valid(k, now) && slices.ContainsFunc(k.scopes, func(o Scope) bool { return o.Covers(s) }) &&
			!slices.ContainsFunc(k.except, s.Overlaps) {
			return true
		}
	}
	return false
}

// EndUse ends a use that Use began, or that Got came with.
func (h *Holder) EndUse(s Scope) {
	if n := h.uses[s]; n > 1 {
		h.uses[s] = n - 1
		return
	}
	delete(h.uses, s)
	if h.recalled > 0 {
		h.giveUp()
	}
}

// inUse tells whether anything in s is in use.
func (h *Holder) inUse(s Scope) bool {
	for u := range h.uses {
		if u.Overlaps(s) {
			return true
		}
	}
	return false
}

// Ask asks for a delegation over scopes, which are sorted, and as wide as it can be. Got tells that they are in use.
func (h *Holder) Ask(now time.Duration, scopes []Scope, wait time.Duration) (RequestID, error) {
	c := &Acquire{Scopes: scopes, Delegation: true, Wait: wait}
	c.Desired = h.desired(now, scopes)
	return h.Lock(now, c)
}

// desired returns the widest tree around scopes in which nothing had to be given up lately, or none.
func (h *Holder) desired(now time.Duration, scopes []Scope) Scope {
	common, ok := commonTree(scopes)
	if !ok {
		return Scope{}
	}
	h.recent = slices.DeleteFunc(h.recent, func(r recalled) bool { return now >= r.until })
	for at := ""; ; at = step(at, common.Path) {
		s := Scope{Tree, at}
		if !slices.ContainsFunc(h.recent, func(r recalled) bool { return r.scope.Overlaps(s) }) {
			return s
		}
		if at == common.Path {
			return Scope{}
		}
	}
}

// Lock asks for c, of which Request and Session are filled in; a Request that is given stays, so that who asks again after a restart
// means the same. What became of it, events tell.
func (h *Holder) Lock(now time.Duration, c *Acquire) (RequestID, error) {
	h.now = now
	if c.Request == (RequestID{}) {
		c.Request = h.newID()
	}
	c.Session = Session{h.node, max(h.session.Epoch, 1)}
	if _, err := Encode(c); err != nil {
		return c.Request, err
	}
	if len(h.claims) >= maxNodeClaims {
		return c.Request, fmt.Errorf("lock %v: this node has %d locks already", c.Scopes[0], len(h.claims))
	}
	if h.claims[c.Request] == nil {
		k := &holding{Acquire: c, scopes: c.Scopes}
		h.claims[c.Request] = k
		if h.session.Epoch != 0 {
			h.askFor(k)
		}
	}
	return c.Request, nil
}

// askFor asks for k in the present session.
func (h *Holder) askFor(k *holding) {
	k.Session, k.asked = h.session, h.now
	h.request(k.Acquire)
}

// Heard returns the highest index of the log that was heard of. It is to be asked for before it is looked up what is left behind.
func (h *Holder) Heard() uint64 { return h.heard }

// Unlock ends a claim of this node, or a free one of any node: what is held is released, what waits does not any more. seen is what Heard
// returned before left was looked up. Without left, nothing was changed under the claim.
func (h *Holder) Unlock(now time.Duration, id RequestID, left []Left, seen uint64) error {
	h.now = now
	e := &End{Endings: []Ending{{Request: id, Left: left}}, Seen: seen}
	if _, err := Encode(e); err != nil {
		return err
	}
	if k := h.claims[id]; k != nil {
		h.drop(k)
	}
	h.request(e)
	return nil
}

// Cancel takes back what Ask asked for. Where it was granted already, its uses end, and the delegation stays.
func (h *Holder) Cancel(now time.Duration, id RequestID) {
	k := h.claims[id]
	if k == nil || k.token == (Token{}) {
		_ = h.Unlock(now, id, nil, 0) // an ID alone is always right
		return
	}
	h.now = now
	for _, s := range k.Acquire.Scopes {
		h.EndUse(s)
	}
}

// Withdraw says no more of a claim that is not held, as far as this node knows. What the table may have of it stays there: who knows the
// Request may have it by now, through another node.
func (h *Holder) Withdraw(id RequestID) {
	if k := h.claims[id]; k != nil && k.token == (Token{}) {
		h.drop(k)
	}
}

// Force ends what somebody else holds under a token.
func (h *Holder) Force(now time.Duration, id RequestID, token Token, by string) error {
	h.now = now
	e := &End{Endings: []Ending{{Request: id, Token: token}}, Cause: Forced, By: by}
	if _, err := Encode(e); err != nil {
		return err
	}
	h.request(e)
	return nil
}

// Renew asks that the TTL of a claim of this node, or of a free one of any node, begin anew, or another one, unless ttl is 0; Extended tells
// that it has. It is not repeated by itself.
func (h *Holder) Renew(now time.Duration, id RequestID, ttl time.Duration) {
	h.now = now
	h.send(&Renew{h.next(), id, ttl})
}

// Doubt stops counting on the session until the leader has been heard, and has it asked at once: this node's table is another one now.
func (h *Holder) Doubt() { h.until, h.alive = 0, 0 }

// Close ends the session, and opens no other. What is held should have been unlocked, with what it leaves behind.
func (h *Holder) Close(now time.Duration) {
	h.now, h.closed = now, true
	if h.session.Epoch != 0 {
		h.request(&Close{h.session, Closed})
	}
	h.forget(Closed)
}

// Settled tells whether all that this node has asked of the table is answered.
func (h *Holder) Settled() bool { return len(h.requests) == 0 }

// Owed tells whether the leader has left something unanswered for longer than it takes.
func (h *Holder) Owed(now time.Duration) bool {
	for _, r := range h.requests {
		if r.sent && now >= r.first+again {
			return true
		}
	}
	return false
}

// InUse tells whether anything is in use under a delegation.
func (h *Holder) InUse() bool { return len(h.uses) > 0 }

// Held returns what this node holds within its session.
func (h *Holder) Held() []Holding {
	var out []Holding
	for _, id := range h.sortedClaims() {
		if k := h.claims[id]; k.token != (Token{}) && !k.Free {
			out = append(out, k.holding())
		}
	}
	return out
}

// Holding returns what this node holds by a request; false: nothing.
func (h *Holder) Holding(id RequestID) (Holding, bool) {
	if k := h.claims[id]; k != nil && k.token != (Token{}) {
		return k.holding(), true
	}
	return Holding{}, false
}

// A Holding is a claim that a node holds, or has held.
type Holding struct {
	Request    RequestID
	Scopes     []Scope
	Mode       Mode
	Token      Token
	Delegation bool
	Owner, Why string // of a claim from before the node was started anew: not known
}

func (k *holding) holding() Holding {
	return Holding{k.Request, k.scopes, k.Mode, k.token, k.Delegation, k.Owner, k.Why}
}

// next returns the number of a message that is sent now.
func (h *Holder) next() uint64 {
	h.number++
	h.sent[h.number%sentKept] = sending{h.number, h.now}
	return h.number
}

// sentAt returns when a message was sent, and false where that is not known any more.
func (h *Holder) sentAt(number uint64) (time.Duration, bool) {
	s := h.sent[number%sentKept]
	return s.at, s.number == number && number != 0
}

func (h *Holder) send(m Message) { h.out = append(h.out, m) }

// request sends c, and again until it is answered.
func (h *Holder) request(c Command) uint64 {
	r := &outgoing{number: h.next(), first: h.now, last: h.now, command: c}
	switch c := c.(type) {
	case *End:
		r.left = c.Endings[0].Left
	case *Narrow:
		r.left = c.Left
	}
	h.requests[r.number] = r
	h.sendRequest(r)
	return r.number
}

// late tells whether an earlier request that tells what was left in the same scope is not answered yet: should that come into the log
// after r, it would take an older version for the newest.
func (h *Holder) late(r *outgoing) bool {
	if len(r.left) == 0 {
		return false
	}
	for _, o := range h.requests {
		if o.number >= r.number {
			continue
		}
		for _, l := range o.left {
			if slices.ContainsFunc(r.left, func(own Left) bool { return own.Scope.Overlaps(l.Scope) }) {
				return true
			}
		}
	}
	return false
}

func (h *Holder) sendRequest(r *outgoing) {
	if !r.sent && h.late(r) {
		return
	}
	r.sent = true
	b, err := Encode(r.command)
	if err != nil {
		delete(h.requests, r.number) // of our own making: it would be wrong each time
		return
	}
	h.send(&Request{r.number, b})
}

// Due tells whether Tick has something to say.
func (h *Holder) Due() bool { return len(h.out)+len(h.events) > 0 }

func (h *Holder) tell(e Event) { h.events = append(h.events, e) }

// Tick does what is due, and returns the messages for the leader and the events since it was called last. It is to be called after other
// calls, and when Next says.
func (h *Holder) Tick(now time.Duration) ([]Message, []Event) {
	h.now = now
	if now-h.ticked > h.length/3 {
		h.until = 0 // this machine has slept, or this process was stopped
	}
	h.ticked = now
	if h.session.Epoch == 0 && h.opening == 0 && !h.closed {
		h.opening = h.request(&Open{Request: h.newID(), Node: h.node, Host: h.host, Length: h.length})
	}
	if pause := h.pause(); h.session.Epoch != 0 && now >= h.alive+pause {
		h.keepAlive()
	}
	for _, r := range h.sorted() {
		if now >= r.last+again || !r.sent {
			r.last = now
			h.sendRequest(r)
		}
	}
	h.trim()
	out, events := h.out, h.events
	h.out, h.events = nil, nil
	return out, events
}

// pause returns how long to wait from one KeepAlive to the next.
func (h *Holder) pause() time.Duration {
	if h.until == 0 || h.now >= h.until-h.length/4 {
		return min(again, h.length/4)
	}
	return h.length / 2 // one that gets lost is said again, in time
}

func (h *Holder) sorted() []*outgoing {
	out := make([]*outgoing, 0, len(h.requests))
	for _, r := range h.requests {
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b *outgoing) int { return int(a.number) - int(b.number) })
	return out
}

func (h *Holder) keepAlive() {
	h.alive = h.now
	d := uint64(0)
	for id, k := range h.claims {
		if k.index != 0 {
			d ^= digest(id, k.token)
		}
	}
	h.send(&KeepAlive{h.next(), h.session, d})
}

// Next returns when Tick is to be called at the latest.
func (h *Holder) Next() time.Duration {
	next := h.ticked + h.length/8 // so that a gap is seen
	if h.session.Epoch != 0 {
		next = min(next, h.alive+h.pause())
	}
	for _, r := range h.requests {
		next = min(next, r.last+again)
	}
	return max(next, h.now)
}
