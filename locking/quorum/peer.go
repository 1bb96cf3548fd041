package quorum

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// maxIdle bounds the streams to a peer that wait for the next request: entries, heartbeats and votes go beside one another.
const maxIdle = 3

// peer is another voter, as a transport sees it.
type peer struct {
	id    NodeID
	hurry chan struct{} // a heartbeat on credit is not to wait
	waits rounds        // who wants to know whether it follows

	mu      sync.Mutex
	callers int // streams that it has open to this node
	lines   []*line
	log     LogID // as it last said
	mark    mark  // what was seen of that log

	// What it has answered as a follower of term.
	term  uint64
	beat  time.Time     // when the heartbeat was sent that it last answered
	next  time.Duration // within which it was promised another then
	index uint64
	told  uint64 // the commit index that it knows
}

func (p *peer) take() *line {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.lines) == 0 {
		return nil
	}
	l := p.lines[len(p.lines)-1]
	p.lines = p.lines[:len(p.lines)-1]
	return l
}

func (p *peer) takeAll() []*line {
	p.mu.Lock()
	defer p.mu.Unlock()
	lines := p.lines
	p.lines = nil
	return lines
}

func newPeer(id NodeID) *peer { return &peer{id: id, hurry: make(chan struct{}, 1)} }

// put keeps a line for the next request.
func (p *peer) put(l *line) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.lines) == maxIdle {
		l.Close()
		return
	}
	p.lines = append(p.lines, l)
}

// met notes which log the peer says it has.
func (p *peer) met(log LogID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.log != log {
		p.log, p.mark = log, mark{}
		p.beat = time.Time{}
	}
}

// seen returns what was seen of the peer's log.
func (p *peer) seen() (LogID, mark) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log, p.mark
}

func (p *peer) note(m mark) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mark = p.mark.join(m)
}

// learnt notes what an answer tells of the peer's log: what it has acknowledged is on its disk. An answer about a vote that is
// not real names a term that is none yet.
func (p *peer) learnt(q *request, a answer) {
	switch {
	case q.kind == kindVote:
		p.note(mark{term: a.term})
	case q.kind == kindSnapshot && a.granted:
		p.note(mark{term: a.term, logTerm: q.logTerm, index: q.index})
	case q.kind == kindAppend:
		m := mark{term: a.term}
		if n := len(q.entries); a.granted && n > 0 {
			m.logTerm, m.index = q.entries[n-1].Term, q.entries[n-1].Index
		} else if a.granted {
			m.logTerm, m.index = q.logTerm, q.index
		}
		p.note(m)
	}
}

// asked notes what a request tells of the peer's log: a candidate and a leader have written what they say they have.
func (p *peer) asked(q *request) {
	switch q.kind {
	case kindVote:
		p.note(mark{q.term, q.logTerm, q.index})
	case kindAppend:
		m := mark{q.term, q.logTerm, q.index}
		if n := len(q.entries); n > 0 {
			m.logTerm, m.index = q.entries[n-1].Term, q.entries[n-1].Index
		}
		p.note(m)
	}
}

// heard notes that the peer has answered, as a follower, a request that was sent at began.
func (p *peer) heard(q *request, began time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.term != q.term {
		p.term, p.beat, p.index, p.told = q.term, time.Time{}, 0, 0
	}
	if q.heartbeat() {
		p.beat, p.next = began, time.Duration(q.next)*time.Millisecond
		return
	}
	p.index = max(p.index, q.index+uint64(len(q.entries)))
	p.told = max(p.told, q.commit)
}

// doubt has the next heartbeat really sent, and soon.
func (p *peer) doubt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.beat = time.Time{}
	select {
	case p.hurry <- struct{}{}:
	default:
	}
}

// onCredit tells for how long a request without entries need not be sent: the peer has lately answered, in this term, and knows
// all that it says. 0: it must be sent.
func (p *peer) onCredit(q *request, interval time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.term != q.term || !q.heartbeat() && (q.index != p.index || q.commit > p.told) {
		return 0
	}
	return max(0, min(interval, p.next)-time.Since(p.beat))
}

// has tells whether the peer's log, known by address, holds the entry at index.
func (p *peer) has(address raft.ServerAddress, index uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String() == string(address) && p.mark.index >= index
}
