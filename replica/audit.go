package replica

import (
	"context"
	"path/filepath"
	"time"

	"resonate/audit"
	"resonate/control"
	"resonate/members"
	"resonate/merkle"
	"resonate/reconcile"
)

// What the loop does to the tree it notes in the audit, and tells to whoever listens to events. Both are behind the loop: the
// audit is written with each group, before the index, so that after a kill it has all that the index has; listeners that
// are too slow lose events.
//
// A note names the peer that handed a version on, and apart from that the author that the version names: entries are not
// signed, so any member can name any other. Of a version that names this node, the node knows more, and says so (claim).

// auditing is the loop's state of the audit and of events.
type auditing struct {
	audit   *audit.Log // nil: none is kept
	feed    control.Feed
	due     time.Time // when it is to be written at the latest; zero: nothing waits
	writing bool
}

const (
	auditDelay = time.Second // how long records wait, where no group is written
	auditMany  = 4096        // how many wait at most for that
	auditRetry = 5 * time.Second
)

// auditPath is by what name the user is told of problems with it.
const auditPath = StateDir + "/audit"

// auditDir is where it lies in a node's state directory.
func auditDir(state string) string { return filepath.Join(state, "audit") }

// openAudit begins to keep it. What is wrong with its files shows when it is written, and stops nothing else.
func (r *Replica) openAudit() {
	r.audit = &audit.Log{Dir: auditDir(r.place.state)}
	r.note(audit.Record{Kind: audit.Started, Cause: r.o.Version})
}

// note adds a record, and tells it as an event.
func (r *Replica) note(rec audit.Record) {
	if r.audit == nil {
		return
	}
	rec.Time = time.Now()
	if rec.Peer.IsZero() && rec.Author == r.self {
		rec.Author = merkle.NodeID{} // that goes without saying
	}
	r.audit.Add(rec)
	if r.auditing.due.IsZero() {
		r.auditing.due = rec.Time.Add(auditDelay)
	}
	if r.feed.Heard() {
		r.feed.Tell(eventOf(rec, r.self, r.nameKnown))
	}
}

// tellEvent tells what is not in the audit.
func (r *Replica) tellEvent(e control.Event) {
	if r.feed.Heard() {
		e.Time = time.Now()
		r.feed.Tell(e)
	}
}

// notePublished notes that a change of this node's own became what is agreed at path.
func (r *Replica) notePublished(path string, e *merkle.Entry) {
	rec := recordOf(path, e)
	rec.Kind = audit.Published
	r.note(rec)
}

// noteTaken notes that e, which followed from an incoming version, becomes what is agreed. It is called while what was agreed before
// still is.
func (r *Replica) noteTaken(in *incoming, e *merkle.Entry) {
	if r.audit == nil {
		return
	}
	mine, from := r.tree.Get(in.path), in.teller()
	rec := recordOf(in.path, e)
	rec.Kind = audit.Applied
	if from != nil {
		rec.Peer = from.id
	}
	switch made := !sameOperation(e, in.theirs) && !sameOperation(e, mine); {
	case made || from == nil && e.Version.Author == r.self: // what this node had to do because of it
		rec.Kind = audit.Published
	case from != nil:
		rec.Claim = r.claim(in.path, mine, e)
	}
	if rec.Claim == audit.Disowned {
		r.log.Warn("a peer hands on a version as this node's that it never made: that peer, or who told it, is wrong or lies",
			"path", in.path, "peer", from.id.Short(), "stamp", e.Version.Stamp)
	}
	r.note(rec)
}

// sameOperation tells whether two entries came to be by the same operation.
func sameOperation(a, b *merkle.Entry) bool {
	return a != nil && b != nil && a.Version.Author == b.Version.Author && a.Version.Stamp == b.Version.Stamp
}

// recordOf returns a record of a version, but for what happened to it.
func recordOf(path string, e *merkle.Entry) audit.Record {
	return audit.Record{
		Path: path, What: e.Kind, Content: audit.ContentHash(e.Content[:len(audit.ContentHash{})]),
		Author: e.Version.Author, Stamp: e.Version.Stamp, Token: e.Version.Token,
	}
}

// teller returns the peer that was the first to hand on an incoming version, nil where none did.
func (in *incoming) teller() *peer {
	if len(in.from) == 0 {
		return in.word
	}
	return in.from[0]
}

// claim tells what is known of a version that a peer hands on, where it, or what it holds, is said to be this node's own; mine
// is what is agreed.
func (r *Replica) claim(path string, mine, e *merkle.Entry) audit.Claim {
	v := e.Version
	if sameOperation(mine, e) && mine.ContentHash() == e.ContentHash() {
		return audit.NoClaim // the very version that is here, joined with another
	}
	claim := audit.NoClaim
	for _, op := range []merkle.Component{{Node: v.Author, Stamp: v.Stamp}, v.Origin()} {
		if op.Node != r.self {
			continue
		}
		yes, perhaps := r.stamps.gave(op.Stamp)
		switch {
		case !yes && !perhaps:
			return audit.Disowned
		case !yes:
			claim = audit.Earlier
		}
	}
	// What this run has let out is in the tree from then on, until something newer is: elsewhere it is not this node's.
	if yes, _ := r.stamps.gave(v.Stamp); v.Author != r.self || !yes || reconcile.IsCopy(path, e) {
		return claim
	}
	if mine == nil && r.horizon.Covers(v.Vector) { // deleted so long ago that it is not known any more
		return claim
	}
	if mine == nil || mine.Version.Vector.Of(r.self) < v.Stamp || sameOperation(mine, e) {
		return audit.Disowned
	}
	return claim
}

// noteOperation notes a move or removal of all below a path, once it is done: this node's own, or one that a peer has told.
func (r *Replica) noteOperation(op *operation, from *peer) {
	rec := audit.Record{
		Kind: audit.Published, Path: op.from, What: merkle.Tombstone, Count: uint64(op.entries),
		Author: op.by.Node, Stamp: op.by.Stamp, Token: op.by.Token,
	}
	if op.to != "" {
		rec.Path, rec.Other = op.to, op.from
		if e := r.tree.Get(op.to); e != nil {
			rec.What = e.Kind
		}
	}
	if from != nil {
		rec.Kind, rec.Peer = audit.Applied, from.id
	}
	r.note(rec)
}

// noteConflict notes that loser is kept beside the path at which a peer's version was not seen by this node's, nor the other way round.
func (r *Replica) noteConflict(in *incoming, copyPath string, loser *merkle.Entry) {
	r.noteBase(copyPath, in.path, loser)
	rec := recordOf(in.path, loser)
	rec.Kind, rec.Other = audit.Conflict, copyPath
	if from := in.teller(); from != nil {
		rec.Peer = from.id
	}
	r.log.Info("conflict: both are kept", "path", in.path, "copy", copyPath)
	r.note(rec)
}

// noteRecovered notes a change that was in place before a crash.
func (r *Replica) noteRecovered(path, from string, e *merkle.Entry) {
	rec := recordOf(path, e)
	rec.Kind, rec.Other = audit.Recovered, from
	r.note(rec)
}

// noteBehind notes that a peer says that it has seen a later operation of this node than this node knows.
func (r *Replica) noteBehind(p *peer, stamp merkle.Stamp) {
	r.log.Warn("a peer knows a later state of this node than it does itself: was its state restored from a backup? It continues above it", "peer", p.id.Short())
	r.note(audit.Record{Kind: audit.Behind, Peer: p.id, Author: r.self, Stamp: stamp})
}

// tellHeld tells that what was found at a path is held by itself, and not as part of a burst.
func (r *Replica) tellHeld(path string) {
	r.tellEvent(control.Event{Kind: control.EventHeld, Path: path, Cause: r.held[path].item(path).Cause})
}

// writeAuditWhenDue has what was noted written, where no group has done so.
func (r *Replica) writeAuditWhenDue(now time.Time) {
	a := &r.auditing
	if a.writing || a.due.IsZero() {
		return
	}
	if wait := a.due.Sub(now); wait > 0 && a.audit.Waiting() < auditMany {
		r.wakeIn(wait)
		return
	}
	a.due, a.writing = time.Time{}, true
	r.workers.Go(func() {
		err := r.writeAudit()
		r.post(func() { r.auditWritten(err) })
	})
}

// writeAudit writes what was noted so far. It may be called from any goroutine.
func (r *Replica) writeAudit() error {
	if err := r.root.At("commit.audit"); err != nil {
		return err
	}
	return r.audit.Flush()
}

// auditWritten goes on after the audit was written, or could not be.
func (r *Replica) auditWritten(err error) {
	r.auditing.writing = false
	if err == nil {
		r.problem(auditPath, "", "")
		return
	}
	r.problem(auditPath, "the audit has gaps if this goes on: "+err.Error(), "free space, or make the state directory "+r.place.state+" writable; all else goes on meanwhile")
	r.auditing.due = time.Now().Add(auditRetry)
}

// nameKnown returns what a member is called, as far as it is known here.
func (r *Replica) nameKnown(n merkle.NodeID) string {
	if name := r.nameOf(n); name != "" {
		return name
	}
	m, _ := r.cluster.Member(members.ID(n))
	return m.Name
}

// nodeName returns a node as events name it.
func (r *Replica) nodeName(n merkle.NodeID) *control.NodeName {
	return &control.NodeName{ID: n.String(), Name: r.nameKnown(n)}
}

// Events implements control.Daemon.
func (r *Replica) Events(ctx context.Context, report func(control.Event) error) error {
	return r.feed.Listen(ctx, report)
}

// Audit implements control.Daemon.
func (r *Replica) Audit(ctx context.Context) (control.AuditPlace, error) {
	if err := r.do(ctx, func() {}); err != nil { // what was done up to now is noted
		return control.AuditPlace{}, err
	}
	p := control.AuditPlace{State: r.place.state}
	if err := r.writeAudit(); err != nil {
		p.Unwritten, p.Cause = r.audit.Waiting(), err.Error()
	}
	return p, nil
}
