package replica

import (
	"runtime/debug"
	"time"

	"resonate/beneath"
)

// Much work leaves behind what is needed no more: garbage in heaps that grew with it, tables that are empty but large, block
// lists that lie in the index by now. A replica that comes to rest after it gives all that back.
const (
	muchWork  = 4096 // records that were loaded, changed, or compared with the folder; a quarter of them where there are more
	restDelay = 500 * time.Millisecond
)

// rest gives memory back, once, when all is done after much work.
func (r *Replica) rest(now time.Time) {
	if r.worked < max(muchWork, len(r.records)/4) || !r.idle() || len(r.dirty) > 0 || r.commit.running {
		return
	}
	for _, p := range r.peers {
		if len(p.out)+len(p.unacked) > 0 || p.diff != nil {
			return
		}
	}
	if wait := restDelay - now.Sub(r.lastChange); wait > 0 {
		r.wakeIn(wait)
		return
	}
	r.worked = 0
	for _, rec := range r.records {
		if rec.rare != nil {
			rec.setBlocks(nil)
		}
	}
	for _, p := range r.peers {
		p.queued, p.unacked = shrunk(p.queued), shrunk(p.unacked)
		p.theirs = shrunk(p.theirs)
	}
	r.dirty, r.changes, r.hashing = shrunk(r.dirty), shrunk(r.changes), shrunk(r.hashing)
	r.incoming, r.inline, r.hints = shrunk(r.incoming), shrunk(r.inline), shrunk(r.hints)
	r.timed = make(map[string]beneath.Info)
	r.arriving = shrunk(r.arriving)
	if len(r.hashQueue)+len(r.scanQueue) == 0 {
		r.hashQueue, r.scanQueue = nil, nil
	}
	r.workers.Go(func() {
		debug.FreeOSMemory()
		debug.FreeOSMemory() // what pools hold goes the second time
	})
}

// shrunk returns m, or, where it is empty, a small one: a map never shrinks by itself.
func shrunk[K comparable, V any](m map[K]V) map[K]V {
	if len(m) == 0 {
		return make(map[K]V)
	}
	return m
}
