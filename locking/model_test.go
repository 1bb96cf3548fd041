package locking

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

var tableRuns = flag.Int("table-runs", 8, "seeded runs of the table against its model")

// A model is the table's rules once more, as plainly as they can be put: one list of claims, and every pair is looked at.
type model struct {
	claims []*modelClaim // in the order in which they asked
}

type modelClaim struct {
	*Acquire
	scopes, except []Scope
	held           bool
}

func (c *modelClaim) overlaps(o *modelClaim) bool {
	for _, s := range c.scopes {
		for _, u := range o.scopes {
			spared := slices.ContainsFunc(c.except, func(e Scope) bool { return e.Covers(u) }) ||
				slices.ContainsFunc(o.except, func(e Scope) bool { return e.Covers(s) })
			if s.Overlaps(u) && !spared {
				return true
			}
		}
	}
	return false
}

func (c *modelClaim) passes(o *modelClaim) bool {
	return c.Session.Node == o.Session.Node && (c.Delegation || o.Delegation)
}

// free tells whether c can be held now.
func (m *model) free(c *modelClaim) bool {
	permits := uint32(0)
	for _, o := range m.claims {
		if o == c {
			continue
		}
		if !c.overlaps(o) || c.passes(o) {
			continue
		}
		before := slices.Index(m.claims, o) < slices.Index(m.claims, c)
		switch {
		case o.held && (c.Mode != o.Mode || c.Mode == Exclusive):
			return false
		case o.held && c.Mode == Permits:
			if permits++; permits >= min(c.Permits, o.Permits) {
				return false
			}
		case !o.held && before && (c.Mode != Shared || o.Mode != Shared):
			return false
		}
	}
	return true
}

// settle grants what can be granted, the oldest first, until nothing can.
func (m *model) settle() {
	for again := true; again; {
		again = false
		for _, c := range m.claims {
			if !c.held && m.free(c) {
				m.grant(c)
				again = true
			}
		}
	}
}

func (m *model) grant(c *modelClaim) {
	c.held = true
	common, ok := commonTree(c.scopes)
	if !ok || c.Desired == (Scope{}) {
		return
	}
	best := Scope{}
	for _, s := range allScopes() {
		wide := &modelClaim{Acquire: c.Acquire, scopes: []Scope{s}}
		if s.Kind != Tree || !s.Covers(common) || !c.Desired.Covers(s) || best != (Scope{}) && best.Covers(s) {
			continue
		}
		if !slices.ContainsFunc(m.claims, func(o *modelClaim) bool {
			return o.Session.Node != c.Session.Node && wide.overlaps(o)
		}) {
			best = s
		}
	}
	if best != (Scope{}) {
		c.scopes = []Scope{best}
	}
}

// A play is one random run of the table and the model.
type play struct {
	*rig
	model    model
	r        *rand.Rand
	sessions map[byte]Session
	n        int
	last     Token
	tokens   map[Token]RequestID
}

func TestTheTableDoesAsItsModel(t *testing.T) {
	for seed := range *tableRuns {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			p := &play{
				rig: newRig(t), r: rand.New(rand.NewPCG(uint64(seed), 5)), sessions: map[byte]Session{}, tokens: map[Token]RequestID{},
			}
			for range 400 {
				p.step()
				p.compare()
			}
		})
	}
}

func (p *play) step() {
	node := byte(1 + p.r.IntN(4))
	if _, ok := p.sessions[node]; !ok {
		p.sessions[node] = p.session(node)
		return
	}
	switch k := p.r.IntN(20); {
	case k == 0:
		p.closeSession(node)
	case k < 8 && len(p.model.claims) > 0:
		c := p.model.claims[p.r.IntN(len(p.model.claims))]
		cause := Cause(p.r.IntN(4))
		if cause == TimedOut && c.held {
			cause = Forced
		}
		p.apply(&End{Endings: []Ending{{Request: c.Request, Left: p.lefts(c)}}, Cause: cause})
		p.model.claims = slices.DeleteFunc(p.model.claims, func(o *modelClaim) bool { return o == c })
		p.model.settle()
	case k < 11 && len(p.model.claims) > 0:
		p.narrowOne(p.model.claims[p.r.IntN(len(p.model.claims))])
	default:
		p.ask(node)
	}
}

func (p *play) closeSession(node byte) {
	s := p.sessions[node]
	p.apply(&Close{s, Expired})
	delete(p.sessions, node)
	p.model.claims = slices.DeleteFunc(p.model.claims, func(c *modelClaim) bool {
		return c.Session == s && (!c.Free || !c.held) || c.Session.Node == s.Node && !c.held
	})
	p.model.settle()
}

func (p *play) lefts(c *modelClaim) []Left {
	if p.r.IntN(2) == 0 {
		return nil
	}
	return []Left{leftAt(c.scopes[0], fmt.Sprint(p.n))}
}

func (p *play) narrowOne(c *modelClaim) {
	all := allScopes()
	s := all[p.r.IntN(len(all))]
	r := p.apply(&Narrow{Request: c.Request, Session: c.Session, Except: []Scope{s}})
	if (r.Status == Done) != c.held && r.Reason != NoRoom {
		p.t.Fatalf("narrow %v by %v: %+v", c, s, r)
	}
	if r.Status != Done {
		return
	}
	c.scopes = slices.DeleteFunc(slices.Clone(c.scopes), s.Covers)
	c.except = append(c.except, s)
	if len(c.scopes) == 0 {
		p.model.claims = slices.DeleteFunc(p.model.claims, func(o *modelClaim) bool { return o == c })
	}
	p.model.settle()
}

func (p *play) ask(node byte) {
	p.n++
	c := &Acquire{Request: id(p.n), Session: p.sessions[node], Wait: time.Duration(p.r.IntN(2)) * time.Minute}
	all := allScopes()
	for range 1 + p.r.IntN(3) {
		c.Scopes = append(c.Scopes, all[p.r.IntN(len(all))])
	}
	slices.SortFunc(c.Scopes, Scope.Compare)
	c.Scopes = slices.Compact(c.Scopes)
	switch c.Mode = Mode(p.r.IntN(5)); {
	case c.Mode == Permits:
		c.Scopes, c.Permits = []Scope{named("a")}, uint32(1+p.r.IntN(3))
	case c.Mode > Permits:
		c.Mode = Exclusive
		if c.Delegation = p.r.IntN(2) == 0; c.Delegation && c.Scopes[len(c.Scopes)-1].Kind != Name {
			c.Desired = tree("")
		}
	}
	if !c.Delegation && p.r.IntN(4) == 0 {
		c.Free, c.TTL = true, time.Hour
	}
	r := p.apply(c)
	k := &modelClaim{Acquire: c, scopes: c.Scopes}
	p.model.claims = append(p.model.claims, k)
	p.model.settle()
	if !k.held && c.Wait == 0 {
		p.model.claims = p.model.claims[:len(p.model.claims)-1]
		if r.Reason != Taken || r.Blocker == nil {
			p.t.Fatalf("%+v: got %+v, want that it is taken", c, r)
		}
	}
}

// compare checks that table and model have the same claims, and what must hold of them by themselves.
func (p *play) compare() {
	p.t.Helper()
	if got := len(p.table.claims); got != len(p.model.claims) {
		p.t.Fatalf("%d claims, want %d", got, len(p.model.claims))
	}
	for _, m := range p.model.claims {
		c, ok := p.table.Claim(m.Request)
		if !ok || c.Held != m.held || !slices.Equal(c.Scopes, m.scopes) {
			p.t.Fatalf("command %d, %+v: got held %v, %v; want %v, %v", p.index, m.Acquire, c.Held, c.Scopes, m.held, m.scopes)
		}
	}
	for _, c := range p.changes {
		if c.What != ClaimGranted {
			continue
		}
		if c.Claim.Token.Compare(p.last) <= 0 {
			p.t.Fatalf("token %v after %v", c.Claim.Token, p.last)
		}
		p.last = c.Claim.Token
	}
	if len(p.model.claims) == 0 && p.table.places.root.below(allOnes)+len(p.table.places.root.children) > 0 && p.table.lefts.order.Len() == 0 {
		p.t.Fatal("places are left of which nothing is known")
	}
}
