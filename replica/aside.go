package replica

import (
	"fmt"
	"slices"
	"time"

	"resonate/audit"
	"resonate/locking"
	"resonate/merkle"
	"resonate/reconcile"
)

// What is changed here while another node holds an explicit lock on it is not let out. An edit is set aside, as a conflict copy beside the path,
// and what is agreed goes back in its place; a deletion, and a change of metadata, are undone. What is new waits until the lock is over: it is
// in nobody's way.

// keptLocked is the kind of a held change that is being undone because somebody else holds a lock.
const keptLocked = "locked"

// locksMine is what a user can do about a lock of somebody else.
const locksMine = "wait, or ask its holder; resonate locks tells more, resonate unlock -force ends it"

// refusesUnder sees to those changes of p which another node's explicit lock stands in the way of. It returns true if p waits no more, or is to be
// waited for as it is.
func (r *Replica) refusesUnder(p *permit, now time.Time) bool {
	b := p.block
	if b == nil || p.parked || b.Delegation || !b.Held || len(b.Scopes) == 0 || b.Session.Node == locking.NodeID(r.self) {
		return p.parked
	}
	var fresh []string
	touched := false
	for path := range p.paths {
		if !b.Scopes[0].Overlaps(onePath(path)) {
			continue
		}
		if c := r.changes[path]; c == nil {
			touched = true
		} else if c.meeting {
			r.unmet(c)
			touched = true
		} else if r.tree.Get(path).Live() && r.setAside(c, b) {
			touched = true
		} else {
			fresh = append(fresh, path)
		}
	}
	if !touched && len(fresh) == 0 { // it stands in the way of more than what is needed
		return r.narrow(p, now)
	}
	if len(fresh) == len(p.paths) {
		r.park(p, b)
		return true
	}
	r.cancelPermit(p)
	if len(fresh) > 0 {
		parked := &permit{paths: make(map[string]bool, len(fresh))}
		for _, path := range fresh {
			parked.paths[path] = true
			parked.scopes = append(parked.scopes, onePath(path))
		}
		r.park(parked, b)
		r.askSorted(parked, false, now)
	}
	return true
}

// narrow asks for just the paths of p, where the tree around them was asked for.
func (r *Replica) narrow(p *permit, now time.Time) bool {
	if len(p.scopes) == len(p.paths) {
		return false
	}
	r.cancelPermit(p)
	scopes := make([]locking.Scope, 0, len(p.paths))
	for path := range p.paths {
		scopes = append(scopes, onePath(path))
	}
	slices.SortFunc(scopes, locking.Scope.Compare)
	for _, some := range locking.SplitScopes(scopes) {
		part := &permit{scopes: some, paths: make(map[string]bool, len(some))}
		for _, s := range some {
			part.paths[s.Path] = true
		}
		r.ask(part, now)
	}
	return true
}

// park has p wait for the end of a lock, and tells the user.
func (r *Replica) park(p *permit, b *locking.Claim) {
	p.parked = true
	for path := range p.paths {
		r.problem(path, "not sent to any peer yet: "+lockedBy(b), locksMine)
	}
}

// lockedBy tells who holds what.
func lockedBy(b *locking.Claim) string {
	text := fmt.Sprintf("%s holds a lock on %s", b.Host, b.Scopes[0])
	if b.Why != "" {
		text += " (" + b.Why + ")"
	}
	return text
}

// setAside undoes c, which another node's lock stands in the way of, and keeps what was written under another name. It returns false if that cannot
// be done now.
func (r *Replica) setAside(c *change, b *locking.Claim) bool {
	mine, now := r.tree.Get(c.path), time.Now()
	rec := recordOf(c.path, mine)
	rec.Kind, rec.Peer, rec.Cause = audit.Conflict, merkle.NodeID{}, lockedBy(b)
	if c.attrs != nil && r.guards(c) {
		by, err := r.author()
		if err != nil {
			return false
		}
		r.unmarkAt(c.path)
		rec.Other = reconcile.ConflictPath(c.path, reconcile.Publish(mine, c.attrs, by))
		if err := r.inWritable(c.path, func() error { return r.root.Move("aside.move", c.path, rec.Other) }); err != nil {
			r.problem(c.path, "not sent to any peer: "+lockedBy(b)+"; and it cannot be kept under another name: "+err.Error(), locksMine)
			return false
		}
		c = &change{path: c.path}
	}
	delete(r.changes, c.path)
	r.held[c.path] = &heldChange{change: c, kind: keptLocked, since: now, cause: lockedBy(b)}
	r.log.Warn("changed here while somebody else holds a lock on it: undone", "path", c.path, "kept", rec.Other, "cause", lockedBy(b), "remedy", locksMine)
	r.note(rec)
	r.reinstate(c.path)
	if rec.Other != "" {
		r.look(rec.Other, false)
	}
	return true
}
