package locking

import (
	"container/list"
	"slices"
	"strings"
	"time"
)

// A Table is the replicated state: sessions, claims, and what was left behind. It is moved by Apply alone, and the same commands
// make the same table, with the same Snapshot, on every machine. It is not safe for concurrent use.
//
// Who asked first is served first: a claim is granted when nothing that is held stands in its way, and no claim that was there before it
// and waits for any of the same. A claim on several scopes is granted whole or waits whole.
type Table struct {
	watch func(Change)

	generation uint64
	index      uint64 // of the last command
	last       uint64 // index of the last token
	seq        uint64 // of the last claim

	owners   map[NodeID]*owner
	claims   map[RequestID]*claim
	places   *places
	lefts    *lefts
	finished *finished
	waiting  int // claims that wait
	scopes   int // of all claims
	searches uint64
}

// A Change is something that happened to the table, for those who watch it.
type Change struct {
	Index uint64
	What  ChangeKind
	Claim Claim // as it is now, or was last; of a session just its session and host
	Cause Cause // of an end
	By    string
}

// A ChangeKind says what happened.
type ChangeKind uint8

// The kinds of changes.
const (
	SessionOpened ChangeKind = iota
	SessionEnded             // its claims end after it
	ClaimQueued              // it waits
	ClaimGranted             // at once, or after a wait
	ClaimNarrowed            // a delegation leaves out more
	ClaimEnded
	ClaimAged     // what is left of its TTL was told
	TableRestored // all of it was replaced
)

// NewTable returns an empty table. watch, unless it is nil, is called for each change inside of Apply and Restore; it may look at
// the table, which is whole whenever it is called for the last change of a command.
func NewTable(watch func(Change)) *Table {
	t := &Table{watch: watch}
	t.clear()
	return t
}

func (t *Table) clear() {
	t.owners = make(map[NodeID]*owner)
	t.claims = make(map[RequestID]*claim)
	t.places = &places{names: make(map[string]*place)}
	t.lefts = &lefts{places: t.places, order: list.New()}
	t.finished = &finished{reasons: make(map[RequestID]Reason)}
	t.generation, t.index, t.last, t.seq = 0, 0, 0, 0
	t.waiting, t.scopes, t.searches = 0, 0, 0
}

// Index returns the index of the last command.
func (t *Table) Index() uint64 { return t.index }

// Generation returns the generation of the tokens that are granted.
func (t *Table) Generation() uint64 { return t.generation }

// Apply takes the command at an index of the log, and returns the encoded Result. Whatever the bytes are, the table takes note of the
// index; what cannot be done is told in the result.
func (t *Table) Apply(index uint64, command []byte) (result []byte) {
	r := t.apply(index, command)
	return r.encode()
}

func (t *Table) apply(index uint64, command []byte) Result {
	if index <= t.index {
		return deny(OutOfOrder)
	}
	t.index = index
	c, err := DecodeCommand(command)
	if err != nil {
		return deny(Invalid)
	}
	switch c := c.(type) {
	case *Open:
		return t.open(c)
	case *Close:
		return t.close(c)
	case *Acquire:
		return t.acquire(c)
	case *End:
		return t.end(c)
	case *Narrow:
		return t.narrow(c)
	case *Age:
		return t.age(c)
	case *Raise:
		return t.raise(c)
	case *Extend:
		return t.extend(c)
	}
	return deny(Invalid)
}

// raise begins a generation. What the table says may be older than what its nodes have seen, where it was recovered: so all sessions begin
// anew, and nobody knows what was left behind. Free claims stay, as old as their tokens.
func (t *Table) raise(c *Raise) Result {
	if c.Generation <= t.generation {
		return Result{Status: Done}
	}
	t.generation = c.Generation
	for _, o := range t.sortedOwners() {
		if o.epoch != 0 {
			t.endSession(o, Closed)
		}
	}
	for at := t.lefts.order.Front(); at != nil; at = t.lefts.order.Front() {
		t.lefts.forget(at.Value.(*left))
	}
	return Result{Status: Done}
}

func deny(r Reason) Result { return Result{Status: Denied, Reason: r} }

// token returns the token of the next grant.
func (t *Table) token() Token {
	t.last = max(t.last+1, t.index)
	return Token{t.generation, t.last}
}

func (t *Table) tell(what ChangeKind, c *claim, cause Cause, by string) {
	if t.watch != nil {
		t.watch(Change{Index: t.index, What: what, Claim: c.Claim, Cause: cause, By: by})
	}
}

func (t *Table) tellSession(what ChangeKind, o *owner, cause Cause) {
	if t.watch != nil {
		t.watch(Change{Index: t.index, What: what, Claim: Claim{Session: o.session(), Host: o.host}, Cause: cause})
	}
}

func (t *Table) open(c *Open) Result {
	// Taken from the request, an epoch is new wherever it meets another: also in a table that takes the place of this one.
	epoch := c.epoch()
	o := t.owners[c.Node]
	if o != nil && o.epoch == epoch {
		return Result{Status: Done, Epoch: epoch}
	}
	if r, ok := t.finished.reasons[c.Request]; ok {
		return deny(r)
	}
	if o == nil && len(t.owners) >= maxOwners {
		return deny(TableFull)
	}
	if o != nil && o.epoch != 0 {
		t.endSession(o, Closed)
	}
	if o = t.owners[c.Node]; o == nil { // else it has free claims, which outlive sessions
		o = &owner{node: c.Node}
		t.owners[c.Node] = o
	}
	o.host, o.epoch, o.length = strings.Clone(c.Host), epoch, c.Length
	t.finished.add(c.Request, Over)
	t.tellSession(SessionOpened, o, 0)
	return Result{Status: Done, Epoch: epoch}
}

// epoch returns the epoch of the session that c opens, wherever that is done.
func (c *Open) epoch() uint64 {
	epoch := uint64(1)
	for i, b := range c.Request[:8] {
		epoch |= uint64(b) << (8 * i)
	}
	return epoch
}

func (t *Table) close(c *Close) Result {
	o := t.owners[c.Session.Node]
	if o == nil || o.epoch != c.Session.Epoch {
		return deny(NoSession)
	}
	t.endSession(o, c.Cause)
	return Result{Status: Done}
}

// endSession ends o's session, the claims that are bound to it, and all for which it waits: nobody would hear of them.
func (t *Table) endSession(o *owner, cause Cause) {
	session := o.session()
	t.tellSession(SessionEnded, o, cause)
	o.epoch, o.length = 0, 0
	var freed []Scope
	for _, c := range slices.Clone(o.claims) {
		if c.Session == session || !c.Held {
			freed = append(freed, c.Scopes...)
			t.finish(c, cause, "")
		}
	}
	t.dropOwner(o)
	t.promote(freed)
}

func (t *Table) dropOwner(o *owner) {
	if o.epoch == 0 && len(o.claims) == 0 {
		delete(t.owners, o.node)
	}
}

func (t *Table) end(c *End) Result {
	var freed []Scope
	r := Result{Status: Done}
	for _, e := range c.Endings {
		k := t.claims[e.Request]
		if k == nil {
			r.Reason = t.finished.reasons[e.Request] // how it was over already, if it was
			t.finished.add(e.Request, Over)
			continue
		}
		if e.Token != (Token{}) && (!k.Held || k.Token != e.Token) || c.Cause == TimedOut && k.Held {
			r = deny(NotHeld)
			continue
		}
		freed = append(freed, k.Scopes...)
		t.leave(k, e.Left, c.Seen)
		t.finish(k, c.Cause, c.By)
		t.dropOwner(k.owner)
	}
	t.promote(freed)
	return r
}

// leave notes what the holder of c leaves behind, as of an index that it had seen.
func (t *Table) leave(c *claim, left []Left, seen uint64) {
	if !c.Held || c.Mode != Exclusive {
		return
	}
	for _, l := range left {
		if !c.covers(l.Scope) {
			continue
		}
		l.Token = c.Token
		if t.lefts.lostSince(l.Scope, seen) {
			l.Version = "" // what was lost may be newer
		}
		t.lefts.note(l, within(c.Except, l.Scope), t.index, seen)
	}
}

// covers tells whether c is about all of s, save what it leaves out.
func (c *claim) covers(s Scope) bool {
	if c.spares(s) {
		return false
	}
	for _, own := range c.Scopes {
		if own.Covers(s) {
			return true
		}
	}
	return false
}

// within returns those of scopes that overlap s.
func within(scopes []Scope, s Scope) []Scope {
	var out []Scope
	for _, e := range scopes {
		if e.Overlaps(s) {
			out = append(out, e)
		}
	}
	return out
}

// finish takes c out of the table. What it held goes on to others only by promote.
func (t *Table) finish(c *claim, cause Cause, by string) {
	t.places.remove(c)
	delete(t.claims, c.Request)
	o := c.owner
	if i := slices.Index(o.claims, c); i >= 0 {
		o.claims = slices.Delete(o.claims, i, i+1)
	}
	o.scopes -= len(c.Scopes)
	t.scopes -= len(c.Scopes)
	if !c.Held {
		t.waiting--
		o.pending--
	}
	if c.Held && c.Mode == Exclusive && cause != Released {
		for _, s := range c.Scopes {
			t.lefts.note(Left{Scope: s, Token: c.Token}, within(c.Except, s), t.index, t.index)
		}
	}
	// What has waited when its node went can be asked for again, by that one in another session or through another node; what was asked for
	// in the old one, and comes late, is refused with it.
	switch {
	case c.Held && cause == Released:
		t.finished.add(c.Request, Freed)
	case c.Held || cause != Expired && cause != Closed:
		t.finished.add(c.Request, Over)
	}
	t.tell(ClaimEnded, c, cause, by)
}

func (t *Table) age(c *Age) Result {
	for _, r := range c.Remaining {
		k := t.claims[r.Request]
		if k != nil && k.Held && k.TTL > 0 {
			k.Remaining = min(max(r.TTL, time.Millisecond), k.TTL)
			t.tell(ClaimAged, k, 0, "")
		}
	}
	return Result{Status: Done}
}
