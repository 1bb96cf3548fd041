package locking

import (
	"slices"
	"time"
)

// recall notes what is asked back of a delegation. From now on nothing of it is used anew.
func (h *Holder) recall(m *Recall) {
	k := h.claims[m.Request]
	if k == nil || k.token == (Token{}) || k.token != m.Token || !k.Delegation || k.give != nil {
		return
	}
	var needed []Scope
	for _, n := range m.Needed {
		if !slices.ContainsFunc(k.except, func(e Scope) bool { return e.Covers(n) }) {
			needed = append(needed, n)
		}
	}
	if len(needed) == 0 {
		return
	}
	if k.needed == nil {
		h.recalled++
	}
	k.needed = needed
	for _, n := range needed {
		h.recent = append(h.recent, recalled{n, h.now + hysteresis})
	}
	if over := len(h.recent) - maxRecent; over > 0 {
		h.recent = slices.Delete(h.recent, 0, over)
	}
	h.giveUp()
}

// giveUp has given what is asked back and not in use.
func (h *Holder) giveUp() {
	for _, id := range h.sortedClaims() {
		if k := h.claims[id]; k.needed != nil && k.give == nil {
			h.giveUpOf(k)
		}
	}
}

func (h *Holder) giveUpOf(k *holding) {
	var out []Scope
	for _, n := range k.needed {
		if !h.inUse(n) {
			out = append(out, h.roomy(k, n))
		}
	}
	if len(out) == 0 {
		return
	}
	slices.SortFunc(out, Scope.Compare)
	out = slices.Compact(out)
	remain, _, ok := without(k.scopes, k.except, out)
	if !ok {
		k.needed = k.scopes // there is no room to leave out more: all of it goes, once it is out of use
	}
	if !ok || len(remain) == 0 {
		if slices.ContainsFunc(k.scopes, h.inUse) {
			return
		}
		k.whole, out = true, k.scopes
	}
	k.give = out
	k.needed = slices.Concat(k.needed, out)
	h.tell(Event{What: Give, Request: k.Request, Scopes: out, Holding: k.holding()})
}

// roomy returns what to give when n is asked back: the directory around a path, where nothing in it is in use and it is not all there
// is; else n itself.
func (h *Holder) roomy(k *holding, n Scope) Scope {
	if n.Kind != OnePath {
		return n
	}
	dir := Scope{Tree, parentDir(n.Path)}
	inside := slices.ContainsFunc(k.scopes, func(s Scope) bool { return s != dir && s.Covers(dir) })
	if !inside || h.inUse(dir) {
		return n
	}
	return dir
}

// Give gives up what a Give has told, and says what is left behind there: all that was changed since this node holds any of it, also under other
// claims. seen is what Heard returned before that was looked up.
func (h *Holder) Give(now time.Duration, id RequestID, left []Left, seen uint64) error {
	h.now = now
	k := h.claims[id]
	if k == nil || k.give == nil {
		return nil // it was lost meanwhile
	}
	var c Command = &Narrow{Request: id, Session: k.Session, Except: k.give, Left: left, Seen: seen}
	if k.whole {
		c = &End{Endings: []Ending{{Request: id, Token: k.token, Left: left}}, Seen: seen}
	}
	if _, err := Encode(c); err != nil {
		return err
	}
	if k.whole {
		h.drop(k)
	} else {
		for _, s := range k.give {
			if h.at[s] == k {
				delete(h.at, s)
			}
		}
		given := k.give
		k.scopes, k.except, _ = without(k.scopes, k.except, given)
		k.give = nil
		k.needed = slices.DeleteFunc(slices.Clone(k.needed), func(n Scope) bool {
			return slices.ContainsFunc(given, func(g Scope) bool { return g.Covers(n) })
		})
		if len(k.needed) == 0 {
			h.calm(k)
		}
	}
	h.request(c)
	return nil
}

// narrowed takes note of what the table answered to a Narrow.
func (h *Holder) narrowed(c *Narrow, res *Result) {
	k := h.claims[c.Request]
	switch {
	case k == nil || res.Status == Done:
	case res.Reason == NoRoom:
		// The table counts otherwise than this side: let go of all.
		h.drop(k)
		h.abandon(c.Request, k.token)
		h.tell(Event{What: Lost, Request: c.Request, Cause: Released, Holding: k.holding()})
	default:
		h.lose(k, Expired)
	}
}

// trim gives up the delegation that was had first and is not in use, where there are too many.
func (h *Holder) trim() {
	if len(h.claims) <= maxDelegations {
		return
	}
	var kept []*holding
	for _, k := range h.claims {
		if k.Delegation && k.token != (Token{}) && k.needed == nil {
			kept = append(kept, k)
		}
	}
	if len(kept) <= maxDelegations {
		return
	}
	slices.SortFunc(kept, func(a, b *holding) int { return a.token.Compare(b.token) })
	for _, k := range kept {
		if !slices.ContainsFunc(k.scopes, h.inUse) {
			k.needed, k.give, k.whole = k.scopes, k.scopes, true
			h.recalled++
			h.tell(Event{What: Give, Request: k.Request, Scopes: k.scopes, Holding: k.holding()})
			return
		}
	}
}
