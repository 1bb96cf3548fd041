package replica

import (
	"time"

	"resonate/audit"
	"resonate/merkle"
)

// A LockNote tells what became of a lock of the cluster.
type LockNote struct {
	audit.Record
	Delegated bool // it is kept by a node after use, and given up when somebody asks
}

// NoteLocks notes what became of locks, and tells it as events. What is delegated goes from hand to hand with every edit where two work in one place:
// that is told to who listens now, and not kept. The changes that were made under it are in the audit, with its token. It must not be called by
// the loop, and waits for it.
func (r *Replica) NoteLocks(notes []LockNote) {
	if len(notes) == 0 {
		return
	}
	r.post(func() {
		for _, n := range notes {
			if !n.Delegated {
				r.note(n.Record)
				continue
			}
			if r.feed.Heard() {
				n.Time = time.Now()
				e := eventOf(n.Record, r.self, r.nameKnown)
				e.Delegated = true
				r.feed.Tell(e)
			}
		}
	})
}

// holderOf returns whose lock a record is about.
func holderOf(rec *audit.Record, self merkle.NodeID) merkle.NodeID {
	switch {
	case !rec.Author.IsZero():
		return rec.Author
	case !rec.Peer.IsZero():
		return rec.Peer
	}
	return self
}
