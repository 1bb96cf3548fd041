package locking

import (
	"cmp"
	"slices"
)

func (t *Table) acquire(c *Acquire) Result {
	if k := t.claims[c.Request]; k != nil {
		if k.owner.node != c.Session.Node {
			return deny(Elsewhere)
		}
		return t.answer(k)
	}
	if r, ok := t.finished.reasons[c.Request]; ok {
		return deny(r)
	}
	o := t.owners[c.Session.Node]
	if o == nil || o.epoch != c.Session.Epoch {
		return deny(NoSession)
	}
	k := t.newClaim(c, o)
	blocker := t.blocker(k)
	switch {
	case len(o.claims) >= maxNodeClaims || len(t.claims) >= maxClaims ||
		o.scopes+len(c.Scopes) > maxNodeScopes || t.scopes+len(c.Scopes) > maxTableScopes:
		return t.refuse(k, TableFull, nil)
	case blocker != nil && c.Wait == 0:
		return t.refuse(k, Taken, blocker)
	case blocker != nil && t.crowded(k):
		return t.refuse(k, QueueFull, blocker)
	}
	t.seq++
	k.seq = t.seq
	t.claims[k.Request] = k
	o.claims = append(o.claims, k)
	t.resize(k, len(k.Scopes))
	if blocker != nil {
		t.waiting++
		o.pending++
		t.places.insert(k)
		t.tell(ClaimQueued, k, 0, "")
		return t.answer(k)
	}
	t.grant(k)
	return t.answer(k)
}

func (t *Table) newClaim(c *Acquire, o *owner) *claim {
	k := &claim{owner: o, seq: t.seq + 1, desired: c.Desired, Claim: Claim{
		Request: c.Request, Session: c.Session, Host: o.host, Scopes: c.Scopes, Mode: c.Mode, Permits: c.Permits,
		Delegation: c.Delegation, TTL: c.TTL, Remaining: c.TTL, Wait: c.Wait, Why: c.Why, Owner: c.Owner,
	}}
	if c.Free {
		k.Session.Epoch = 0
	}
	return k
}

// resize counts n more scopes of k.
func (t *Table) resize(k *claim, n int) {
	k.owner.scopes += n
	t.scopes += n
}

// refuse remembers that k was refused, so that it is not granted when it is asked for once more, late.
func (t *Table) refuse(k *claim, r Reason, blocker *claim) Result {
	t.finished.add(k.Request, r)
	res := deny(r)
	if blocker != nil {
		res.Blocker = blocker.show(k.Scopes)
	}
	return res
}

// crowded tells whether as many wait for one of k's scopes as may.
func (t *Table) crowded(k *claim) bool {
	for _, s := range k.Scopes {
		if at := t.places.find(s); at != nil && len(at.waits) >= MaxWaiters {
			return true
		}
	}
	return false
}

// answer tells what has become of k so far.
func (t *Table) answer(k *claim) Result {
	if k.Held {
		return Result{Status: Granted, Grant: t.told(k)}
	}
	r := Result{Status: Queued, Position: t.position(k)}
	if b := t.blocker(k); b != nil {
		r.Blocker = b.show(k.Scopes)
	}
	return r
}

// told returns the grant of k, which is held.
func (t *Table) told(k *claim) *Grant {
	g := &Grant{Token: k.Token, Except: k.Except}
	if k.changed {
		g.Scopes = k.Scopes
	}
	t.lefts.tell(g, k.Scopes, k.Except)
	return g
}

// position returns how many wait before k for what overlaps its scopes, at most MaxWaiters.
func (t *Table) position(k *claim) int {
	t.searches++
	n := 0
	for _, s := range k.Scopes {
		t.places.overlapping(s, waitingOnes, func(o *claim) bool {
			if o.seq < k.seq && o.marked != t.searches && !k.passes(o) {
				o.marked = t.searches
				n++
			}
			return n < MaxWaiters
		})
	}
	return n
}

// show returns c as it is told to others: with one scope, the first that overlaps one of scopes.
func (c *claim) show(scopes []Scope) *Claim {
	out := c.Claim
	out.Scopes, out.Except = nil, nil
	for _, s := range c.Scopes {
		if slices.ContainsFunc(scopes, s.Overlaps) {
			out.Scopes = []Scope{s}
			break
		}
	}
	return &out
}

// blocker returns a claim for which k has to wait, or nil where it can be granted now.
func (t *Table) blocker(k *claim) (found *claim) {
	for _, s := range k.Scopes {
		permits := uint32(0)
		t.places.overlapping(s, heldOnes, func(o *claim) bool {
			if o != k && !k.passes(o) && !o.spares(s) && !k.besides(o, &permits) {
				found = o
			}
			return found == nil
		})
		if found == nil && t.waiting > 0 {
			t.places.overlapping(s, waitingOnes, func(o *claim) bool {
				if o.seq < k.seq && !k.passes(o) && (k.Mode != Shared || o.Mode != Shared) {
					found = o
				}
				return found == nil
			})
		}
		if found != nil {
			return found
		}
	}
	return nil
}

// besides tells whether k can be held beside o, which is held and overlaps it; permits counts the holders of permits.
func (k *claim) besides(o *claim, permits *uint32) bool {
	if k.Mode != o.Mode || k.Mode == Exclusive {
		return false
	}
	*permits++
	return k.Mode == Shared || *permits < min(k.Permits, o.Permits)
}

// grant gives k what it asks for, which nothing stands in the way of.
func (t *Table) grant(k *claim) {
	if k.places != nil { // it has waited
		t.places.remove(k)
		t.waiting--
		k.owner.pending--
	}
	if wide, ok := t.widest(k); ok {
		t.resize(k, 1-len(k.Scopes))
		k.Scopes, k.changed = []Scope{wide}, true
	}
	k.Held, k.Token = true, t.token()
	t.places.insert(k)
	t.tell(ClaimGranted, k, 0, "")
}

// widest returns the widest tree that k desires, that covers its scopes, and that nobody else holds or waits for any part of.
func (t *Table) widest(k *claim) (Scope, bool) {
	common, ok := commonTree(k.Scopes)
	if !ok || k.desired.Kind != Tree || !k.desired.Covers(common) {
		return Scope{}, false
	}
	for at := k.desired.Path; ; at = step(at, common.Path) {
		if s := (Scope{Tree, at}); t.alone(k, s) {
			return s, true
		}
		if at == common.Path {
			return Scope{}, false
		}
	}
}

// step returns the path one name further down from at on the way to path, which lies below it.
func step(at, path string) string {
	begin := len(at)
	if begin > 0 {
		begin++
	}
	name, _ := cutName(path[begin:])
	return path[:begin+len(name)]
}

// alone tells whether nobody but k's node holds or waits for anything in s.
func (t *Table) alone(k *claim, s Scope) bool {
	return t.places.overlapping(s, allOnes, func(o *claim) bool {
		return o.owner == k.owner || o.spares(s)
	})
}

// promote grants what waits for any of freed and has nothing in its way any more, the oldest first.
func (t *Table) promote(freed []Scope) {
	if t.waiting == 0 {
		return
	}
	t.searches++
	var waits []*claim
	for _, s := range freed {
		t.places.overlapping(s, waitingOnes, func(o *claim) bool {
			if o.marked != t.searches {
				o.marked = t.searches
				waits = append(waits, o)
			}
			return true
		})
	}
	slices.SortFunc(waits, func(a, b *claim) int { return cmp.Compare(a.seq, b.seq) })
	for _, k := range waits {
		if t.blocker(k) == nil {
			t.grant(k)
		}
	}
}

func (t *Table) narrow(c *Narrow) Result {
	k := t.claims[c.Request]
	if k == nil || !k.Held || k.Session.Epoch != 0 && k.Session != c.Session || k.Session.Node != c.Session.Node {
		return deny(NotHeld)
	}
	scopes, except, ok := without(k.Scopes, k.Except, c.Except)
	if !ok || len(except) > 0 && !k.Delegation {
		return deny(NoRoom)
	}
	t.leave(k, slices.DeleteFunc(c.Left, func(l Left) bool {
		return !slices.ContainsFunc(c.Except, func(e Scope) bool { return e.Covers(l.Scope) })
	}), c.Seen)
	t.places.remove(k)
	t.resize(k, len(scopes)-len(k.Scopes))
	k.Scopes, k.Except, k.changed = scopes, except, true
	if len(scopes) == 0 {
		t.finish(k, Released, "")
		t.dropOwner(k.owner)
	} else {
		t.places.insert(k)
		t.tell(ClaimNarrowed, k, 0, "")
	}
	t.promote(c.Except)
	return Result{Status: Done}
}

// without takes out of scopes, with what is left out of them already, also those in out. It returns what remains of both, and false where
// more than MaxExcept would be left out.
func without(scopes, except, out []Scope) (remain, excepted []Scope, ok bool) {
	for _, s := range scopes {
		if !slices.ContainsFunc(out, func(o Scope) bool { return o.Covers(s) }) {
			remain = append(remain, s)
		}
	}
	all := slices.Concat(except, out)
	for i, e := range all {
		redundant := !slices.ContainsFunc(remain, func(s Scope) bool { return s.Overlaps(e) })
		for j, o := range all {
			redundant = redundant || i != j && o.Covers(e) && (o != e || j < i)
		}
		if !redundant {
			excepted = append(excepted, e)
		}
	}
	slices.SortFunc(excepted, Scope.Compare)
	return remain, excepted, len(excepted) <= MaxExcept
}
