package quorum

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// credit lets a follower's Raft hear the leader's heartbeats without their being sent: a heartbeat says within what time the
// next will come, and until then, and while the stream it came on is open, the leader is taken for alive. So Raft's own clock
// may be quick, a leader that dies is noticed at once by its streams' end, and an idle table costs one message in seconds. A
// leader that falls silent without a word (the power went) is noticed when the time is over, or is suspected: then it is taken
// for alive no more, and has as long as Raft's clock allows.
type credit struct {
	mu      sync.Mutex
	from    *caller
	term    uint64
	until   time.Time
	running bool
}

// give extends the credit of the leader at the other end of a stream; it tells whether spend is to be run.
func (c *credit) give(from *caller, term uint64, until time.Time) (begin bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.from, c.term, c.until = from, term, until
	begin, c.running = !c.running, true
	return begin
}

// cut ends the credit at the latest at until, and returns whose it is, nil if there is none.
func (c *credit) cut(until time.Time) *caller {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !time.Now().Before(c.until) {
		return nil
	}
	if c.until.After(until) {
		c.until = until
	}
	return c.from
}

// lost ends the credit of what was at the other end of a stream.
func (c *credit) lost(from *caller) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.from == from {
		c.until = time.Time{}
	}
}

// current returns whose credit it is, nil when it is used up: then spend ends.
func (c *credit) current() (*caller, uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !time.Now().Before(c.until) {
		c.running = false
		return nil, 0
	}
	return c.from, c.term
}

// trusts tells whether there is credit.
func (c *credit) trusts() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Before(c.until)
}

// spend gives Raft heartbeats until the credit is used up, or the leader is one no more.
func (t *transport) spend() {
	tick := time.NewTicker(t.pace.raft * 3 / 5)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-t.ctx.Done():
			return
		}
		from, term := t.credit.current()
		if from == nil {
			return
		}
		r, err := t.submit(&raft.AppendEntriesRequest{RPCHeader: t.header(from.id, from.log), Term: term}, nil, true)
		if a, ok := r.(*raft.AppendEntriesResponse); err != nil || !ok || !a.Success {
			t.credit.lost(from)
		}
	}
}
