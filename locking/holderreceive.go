package locking

import (
	"slices"
	"time"
)

// Receive takes in a message of the leader, or of one that was. Messages that only holders send are nothing to it.
func (h *Holder) Receive(now time.Duration, m Message) {
	h.now = now
	switch m := m.(type) {
	case *Answer:
		h.heard = max(h.heard, m.Index)
		h.answer(m)
	case *Alive:
		h.aliveCame(m)
	case *Renewed:
		h.renewed(m)
	case *Told:
		h.heard = max(h.heard, m.Index)
		h.told(m)
	case *Gone:
		h.gone(m)
	case *Recall:
		h.recall(m)
	case *State:
		h.state(m)
	}
}

func (h *Holder) answer(m *Answer) {
	r := h.requests[m.Number]
	if r == nil {
		return
	}
	res, err := DecodeResult(m.Result)
	if err != nil {
		return // it is asked again
	}
	delete(h.requests, m.Number) // what has waited for it is sent by Tick
	switch c := r.command.(type) {
	case *Open:
		h.opened(c, m.Number, res)
	case *Acquire:
		if res.Reason == NoSession && c.Session == h.session {
			h.over()
			return
		}
		if k := h.claims[c.Request]; k != nil && k.Session == c.Session {
			h.became(k, m.Index, res, k.asked)
		} else if k == nil && res.Status == Granted {
			h.abandon(c.Request, Token{})
		}
	case *Narrow:
		h.narrowed(c, res)
	case *End:
		h.tell(Event{What: Ended, Request: c.Endings[0].Request, Result: res})
	}
}

func (h *Holder) opened(c *Open, number uint64, res *Result) {
	if number != h.opening {
		return
	}
	h.opening = 0
	if res.Status != Done || res.Epoch != c.epoch() {
		return // Tick opens another
	}
	h.session = Session{h.node, res.Epoch}
	h.keepAlive()
	for _, id := range h.sortedClaims() {
		if k := h.claims[id]; k.index == 0 {
			h.askFor(k)
		}
	}
}

func (h *Holder) sortedClaims() []RequestID {
	out := make([]RequestID, 0, len(h.claims))
	for id := range h.claims {
		out = append(out, id)
	}
	slices.SortFunc(out, compareIDs)
	return out
}

// became notes what the table says of k. Of a TTL it is known that it began after since.
func (h *Holder) became(k *holding, index uint64, res *Result, since time.Duration) {
	if index < k.index {
		return
	}
	k.index = max(index, 1)
	switch res.Status {
	case Granted:
		if k.token == (Token{}) {
			h.granted(k, res, since+k.TTL)
		}
	case Queued:
		h.tell(Event{What: Waiting, Request: k.Request, Result: res})
	default:
		if k.token == (Token{}) {
			h.drop(k)
			h.tell(Event{What: Refusal, Request: k.Request, Result: res})
		}
	}
}

// abandon ends a claim of this node that it does not know, or not any more.
func (h *Holder) abandon(id RequestID, token Token) {
	h.request(&End{Endings: []Ending{{Request: id, Token: token}}, Cause: Abandoned})
}

func (h *Holder) granted(k *holding, res *Result, deadline time.Duration) {
	g := res.Grant
	k.token, k.except = g.Token, g.Except
	if g.Scopes != nil {
		k.scopes = g.Scopes
	}
	if k.TTL > 0 {
		k.deadline, k.free = max(deadline, 1), k.Free
		if deadline < h.now+k.TTL/2 {
			h.Renew(h.now, k.Request, 0) // it has waited: its time begins when this node knows of it
		}
	}
	if k.Delegation {
		for _, s := range k.Acquire.Scopes {
			h.uses[s]++
		}
		h.absorb(k)
	}
	for _, s := range k.scopes {
		h.at[s] = k
	}
	h.tell(Event{What: Got, Request: k.Request, Result: res, Holding: k.holding()})
}

// absorb lets go of the delegations that lie in k: nobody else can get at them while k is held.
func (h *Holder) absorb(k *holding) {
	if len(k.scopes) != 1 || k.scopes[0].Kind != Tree || len(k.except) > 0 {
		return
	}
	for _, id := range h.sortedClaims() {
		o := h.claims[id]
		outside := func(s Scope) bool { return !k.scopes[0].Covers(s) }
		if o != k && o.Delegation && o.token != (Token{}) && o.give == nil && !slices.ContainsFunc(o.scopes, outside) {
			k.absorbed = append(append(k.absorbed, o.token), o.absorbed...)
			h.drop(o)
			h.request(&End{Endings: []Ending{{Request: id}}})
		}
	}
}

// drop forgets k.
func (h *Holder) drop(k *holding) {
	delete(h.claims, k.Request)
	for _, s := range k.scopes {
		if h.at[s] == k {
			delete(h.at, s)
		}
	}
	h.calm(k)
	for _, r := range h.requests {
		if c, ok := r.command.(*Acquire); ok && c.Request == k.Request {
			delete(h.requests, r.number)
		}
	}
}

// calm ends the recall of k.
func (h *Holder) calm(k *holding) {
	if k.needed != nil {
		h.recalled--
	}
	k.needed, k.give, k.whole = nil, nil, false
}

func (h *Holder) aliveCame(m *Alive) {
	at, ok := h.sentAt(m.Number)
	if !ok || m.Session != h.session || h.session.Epoch == 0 {
		return
	}
	if m.Over {
		h.over()
		return
	}
	// A KeepAlive from before a gap proves nothing about the time since; one that would end before it came, neither.
	until := at + lease(h.length)
	if until <= h.until || h.now >= until {
		return
	}
	was := h.sure(h.now)
	if h.now-h.ticked > h.length/3 {
		return // Tick has to see the gap first
	}
	h.until = until
	if !was {
		h.tell(Event{What: SessionSure})
	}
}

// over takes note that the table has no such session. What it has never heard of is asked for in the next one.
func (h *Holder) over() {
	h.forget(Expired)
	h.tell(Event{What: SessionLost})
}

// forget ends the session on this side, and what is bound to it, for a cause.
func (h *Holder) forget(cause Cause) {
	h.session, h.until, h.alive, h.heard = Session{}, 0, 0, 0
	for _, id := range h.sortedClaims() {
		k := h.claims[id]
		switch {
		case k.token != (Token{}) && k.Free:
			continue
		case k.token != (Token{}):
			h.tell(Event{What: Lost, Request: id, Cause: cause, Holding: k.holding()})
		case k.index == 0:
			continue // not in the table yet: it is asked for in the next session
		default:
			h.tell(Event{What: Refusal, Request: id, Result: &Result{Status: Denied, Reason: NoSession}})
		}
		h.drop(k)
	}
	for n, r := range h.requests {
		switch r.command.(type) {
		case *Acquire, *Narrow, *Open:
			delete(h.requests, n)
		}
	}
	h.opening = 0
}

func (h *Holder) renewed(m *Renewed) {
	k := h.claims[m.Request]
	at, ok := h.sentAt(m.Number)
	switch {
	case !ok:
		return
	case k == nil && m.TTL == 0:
		h.tell(Event{What: Lost, Request: m.Request, Cause: Expired})
		return
	case k == nil:
		h.tell(Event{What: Extended, Request: m.Request})
		return
	case k.token == (Token{}):
		return
	}
	if m.TTL == 0 {
		h.lose(k, Expired)
		return
	}
	if m.TTL == k.TTL {
		k.deadline = max(k.deadline, at+m.TTL)
	} else { // there may be less of it now
		k.deadline, k.TTL = at+m.TTL, m.TTL
	}
	k.free = k.Free
	h.tell(Event{What: Extended, Request: k.Request})
}

func (h *Holder) lose(k *holding, cause Cause) {
	h.drop(k)
	h.tell(Event{What: Lost, Request: k.Request, Cause: cause, Holding: k.holding()})
}

func (h *Holder) told(m *Told) {
	res, err := DecodeResult(m.Result)
	if err != nil {
		return
	}
	k := h.claims[m.Request]
	if k == nil {
		return // it is on its way out of the table, or another node's users know it: the next State tells
	}
	since := h.now - k.TTL // nothing is known of the TTL but that it may be over
	if at, ok := h.sentAt(m.Number); ok {
		since = min(at, at+m.Remaining-k.TTL)
	}
	h.became(k, m.Index, res, since)
}

func (h *Holder) gone(m *Gone) {
	k := h.claims[m.Request]
	switch {
	case k == nil:
	case k.token != (Token{}) && k.token == m.Token:
		h.lose(k, m.Cause)
		h.events[len(h.events)-1].By = m.By
	case k.token == (Token{}):
		h.drop(k)
		h.tell(Event{What: Refusal, Request: k.Request, Result: &Result{Status: Denied, Reason: Over}, Cause: m.Cause})
	}
}

// state compares what the table has with what is known here.
func (h *Holder) state(m *State) {
	if m.Session != h.session || m.Index < h.heard {
		return // it comes late: what it lists may have been ended since
	}
	h.heard = m.Index
	listed := make(map[RequestID]bool, len(m.Claims))
	for _, c := range m.Claims {
		listed[c.Request] = true
		k := h.claims[c.Request]
		switch {
		case k == nil && len(c.Free) > 0 && c.Token != (Token{}) && !h.asking(c.Request):
			h.adopt(c, m.Index)
		case k == nil && len(c.Free) == 0 && !h.asking(c.Request):
			h.abandon(c.Request, c.Token)
		case k != nil && k.token != c.Token && m.Index >= k.index && !h.asking(c.Request):
			h.request(k.Acquire) // the answer tells the grant
		}
	}
	for _, id := range h.sortedClaims() {
		k := h.claims[id]
		if listed[id] || k.index == 0 || k.index > m.Index {
			continue
		}
		if k.token != (Token{}) {
			h.lose(k, Expired)
			continue
		}
		h.drop(k)
		h.tell(Event{What: Refusal, Request: id, Result: &Result{Status: Denied, Reason: Over}, Cause: TimedOut})
	}
}

// asking tells whether a claim is being asked for, or ended.
func (h *Holder) asking(id RequestID) bool {
	for _, r := range h.requests {
		switch c := r.command.(type) {
		case *Acquire:
			if c.Request == id {
				return true
			}
		case *End:
			if c.Endings[0].Request == id {
				return true
			}
		}
	}
	return false
}

// adopt takes over a free claim of this node from before it was started anew. How long it lasts is not known: it is counted on
// within the session only.
func (h *Holder) adopt(c ClaimState, index uint64) {
	k := &holding{
		Acquire: &Acquire{Request: c.Request, Session: h.session, Scopes: c.Free, Free: true},
		scopes:  c.Free, token: c.Token, index: index,
	}
	h.claims[c.Request] = k
	for _, s := range k.scopes {
		h.at[s] = k
	}
	res := &Result{Status: Granted, Grant: &Grant{Token: c.Token, Scopes: c.Free, Unknown: true}}
	h.tell(Event{What: Got, Request: c.Request, Result: res, Holding: k.holding()})
}
