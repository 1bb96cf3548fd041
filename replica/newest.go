package replica

import (
	"context"
	"slices"
	"time"

	"resonate/locking"
	"resonate/merkle"
	"resonate/syncproto"
)

// A lock brings the newest version. Who lets one go leaves behind what it has seen; who gets one next, and has not seen all of that,
// asks each peer to say when it has announced all that it has agreed. Announcements go in order, so that by then every version that a peer
// had is known here. A peer that does not answer is not waited for long: what it has is met later, as versions meet.

const (
	newestTime  = 3 * time.Second // how long peers are waited for
	contentTime = time.Minute     // and what they have told to come in, by who locks a path
	maxBarriers = 256             // of one peer that are not answered
	awaitStep   = 5 * time.Millisecond
)

// knowing is the loop's state of what peers are asked to tell.
type knowing struct {
	barriers map[uint64]*barrier
	barrier  uint64        // the last one's ID
	owed     merkle.Vector // what those have left who had a lock: who has the newest has seen it
}

// A barrier is passed when all peers have said that what they knew when it was begun has been told.
type barrier struct {
	id     uint64
	silent map[*peer]bool  // who has not said so; true: it was asked
	heard  []merkle.NodeID // who has said so
	until  time.Time
}

func (b *barrier) passed() bool { return b == nil || len(b.silent) == 0 }

// startBarrier has the peers tell all they know, unless what was left where g was granted is here.
func (r *Replica) startBarrier(g *locking.Grant) *barrier {
	missing := g.Unknown
	for _, l := range g.Left {
		v, err := merkle.DecodeVector([]byte(l.Version))
		missing = missing || err != nil || !r.seen.Covers(v)
		r.owed = r.owed.Join(v)
	}
	if !missing {
		return nil
	}
	return r.askAll()
}

// askAll has the peers tell all they know; nil: there are none.
func (r *Replica) askAll() *barrier {
	if len(r.peers) == 0 {
		return nil
	}
	r.barrier++
	b := &barrier{id: r.barrier, silent: make(map[*peer]bool), until: time.Now().Add(newestTime)}
	if r.barriers == nil {
		r.barriers = make(map[uint64]*barrier)
	}
	r.barriers[b.id] = b
	for _, p := range r.peers {
		b.silent[p] = false
	}
	r.askMet(b)
	r.wakeIn(newestTime)
	return b
}

// askMet asks those who have not been: when it is known of a peer what it had when its session began, and not before, for of that it tells
// nothing by itself.
func (r *Replica) askMet(b *barrier) {
	for p, asked := range b.silent {
		if !asked && p.met {
			b.silent[p] = true
			r.send(p, &syncproto.Barrier{ID: b.id})
		}
	}
}

// handleBarrier answers a peer that asks to be told all, or takes in its answer.
func (r *Replica) handleBarrier(p *peer, m *syncproto.Barrier) error {
	if !m.Passed {
		return p.tellPassed(m.ID)
	}
	if b := r.barriers[m.ID]; b != nil {
		if b.silent[p] {
			b.heard = append(b.heard, p.id)
			delete(b.silent, p)
		}
	}
	return nil
}

// tendBarriers gives up on who has gone or takes too long.
func (r *Replica) tendBarriers(now time.Time) {
	for id, b := range r.barriers {
		for p := range b.silent {
			if r.peers[p.id] != p || !now.Before(b.until) {
				delete(b.silent, p)
			}
		}
		r.askMet(b)
		if b.passed() {
			delete(r.barriers, id)
		} else {
			r.wakeIn(b.until.Sub(now))
		}
	}
}

// Left returns what this node leaves behind in scopes: how far it has seen, and those have whom it had a lock after. It may be called at any
// time, and waits for the loop.
func (r *Replica) Left(scopes []locking.Scope) []locking.Left {
	var seen merkle.Vector
	if err := r.do(r.ctx, func() { seen = r.seen.Join(r.owed) }); err != nil {
		seen = nil // nobody can say
	}
	version := merkle.EncodeVector(seen)
	if len(version) > locking.MaxVersion || len(scopes)*len(version) > locking.MaxCommand/4 {
		version = nil
	}
	out := make([]locking.Left, 0, len(scopes))
	for _, s := range scopes {
		if s.Kind != locking.Name {
			out = append(out, locking.Left{Scope: s, Version: string(version)})
		}
	}
	return out
}

// AwaitNewest returns when the newest version of what was granted is in the folder, as far as peers have it and can be reached.
func (r *Replica) AwaitNewest(ctx context.Context, scopes []locking.Scope, g *locking.Grant) error {
	ctx, cancel := context.WithTimeout(ctx, contentTime)
	defer cancel()
	var b *barrier
	if err := r.do(ctx, func() { b = r.startBarrier(g) }); err != nil {
		return err
	}
	return r.await(ctx, func() bool {
		return b.passed() && !anyKey(r.incoming, func(path string) bool { return inScopes(scopes, path) })
	})
}

// AwaitPublished returns when all that was changed in scopes so far is let out.
func (r *Replica) AwaitPublished(ctx context.Context, scopes []locking.Scope) error {
	if err := r.watcher.Flush(ctx); err != nil {
		return err
	}
	inside := func(path string) bool { return inScopes(scopes, path) }
	return r.await(ctx, func() bool { return !anyKey(r.changes, inside) && !anyKey(r.hashing, inside) })
}

// inScopes tells whether path lies in one of scopes.
func inScopes(scopes []locking.Scope, path string) bool {
	return slices.ContainsFunc(scopes, func(s locking.Scope) bool { return s.Covers(onePath(path)) })
}

// await returns when the loop finds that so is.
func (r *Replica) await(ctx context.Context, so func() bool) error {
	for {
		var is bool
		if err := r.do(ctx, func() { is = so() }); is || err != nil {
			return err
		}
		select {
		case <-time.After(awaitStep):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
