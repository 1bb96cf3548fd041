package locking

import (
	"bytes"
	"cmp"
	"slices"
	"time"
)

// A SessionInfo is what the table knows of a session.
type SessionInfo struct {
	Session Session
	Host    string
	Length  time.Duration
	Claims  int
}

// Sessions returns the sessions, by node.
func (t *Table) Sessions() []SessionInfo {
	var out []SessionInfo
	for _, o := range t.sortedOwners() {
		if o.epoch != 0 {
			out = append(out, SessionInfo{o.session(), o.host, o.length, len(o.claims)})
		}
	}
	return out
}

// Claims returns what is held and waited for in s, in the order in which it was asked for; all of paths for the tree of the
// empty path, all of names for the name "".
func (t *Table) Claims(s Scope) []Claim {
	t.searches++
	var found []*claim
	add := func(c *claim) bool {
		if c.marked != t.searches && !c.spares(s) {
			c.marked = t.searches
			found = append(found, c)
		}
		return true
	}
	if s == (Scope{Kind: Name}) {
		for _, at := range t.places.names {
			at.each(allOnes, true, add)
		}
	} else {
		t.places.overlapping(s, allOnes, add)
	}
	slices.SortFunc(found, func(a, b *claim) int { return cmp.Compare(a.seq, b.seq) })
	out := make([]Claim, len(found))
	for i, c := range found {
		out[i] = c.Claim
	}
	return out
}

// Claim returns the claim that a request made, and false where there is none any more.
func (t *Table) Claim(id RequestID) (Claim, bool) {
	c := t.claims[id]
	if c == nil {
		return Claim{}, false
	}
	return c.Claim, true
}

// Fate returns why there is no claim of a request, as far as that is remembered; NoReason: nothing is known of it, or there is one.
func (t *Table) Fate(id RequestID) Reason { return t.finished.reasons[id] }

func (t *Table) sortedOwners() []*owner {
	out := make([]*owner, 0, len(t.owners))
	for _, o := range t.owners {
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b *owner) int { return bytes.Compare(a.node[:], b.node[:]) })
	return out
}

func (t *Table) sortedClaims() []*claim {
	out := make([]*claim, 0, len(t.claims))
	for _, c := range t.claims {
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b *claim) int { return cmp.Compare(a.seq, b.seq) })
	return out
}
