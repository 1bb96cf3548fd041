package quorum

import (
	"sync"
	"time"
)

// rounds have all who want to know at once whether a peer follows ask it once. There are only so many streams to a peer, and one that is not
// to be had would look like a peer that does not follow.
type rounds struct {
	mu      sync.Mutex
	running bool
	next    *round // of who has come since the last one began; nil: nobody
}

// A round tells whoever waits for it whether the peer follows the leader of its term, as of when it began or later.
type round struct {
	term    uint64
	done    chan struct{}
	follows bool // valid when done is closed
}

// join returns a round that has not begun, and whether the caller is to see to it that it does. Its term is the latest of those who join.
func (c *rounds) join(term uint64) (r *round, run bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next == nil {
		c.next = &round{done: make(chan struct{})}
	}
	c.next.term = max(c.next.term, term)
	run, c.running = !c.running, true
	return c.next, run
}

// take returns the round that begins now; nil: nobody waits for one, and none is running any more.
func (c *rounds) take() *round {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.next
	c.next, c.running = nil, r != nil
	return r
}

// goRounds asks p, again and again for as long as anybody comes.
func (t *transport) goRounds(p *peer) {
	for r := p.waits.take(); r != nil; r = p.waits.take() {
		q := &request{kind: kindAppend, term: r.term, next: uint64(t.interval().Milliseconds())}
		began := time.Now()
		a, err := t.call(p, q, nil, t.pace.short)
		if r.follows = err == nil && a.granted && a.term == r.term; r.follows {
			p.heard(q, began)
		}
		close(r.done)
	}
}
