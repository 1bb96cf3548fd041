package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"resonate/members"
	"resonate/merkle"
	"resonate/syncproto"
)

// The set of members is told to every peer after the hellos, and again whenever it changes; what a peer tells is joined with it. Whoever
// could open a session and shares the folder is a member from then on, by this node's word. Who is forgotten gets no session any more,
// and tombstones do not wait for it.

// membership is the loop's state of who belongs.
type membership struct {
	cluster *members.Set // safe for others, too; changed by the loop alone
	file    members.File
	settled [32]byte // digest of the set of which all that follows was done
}

// A ForgottenError tells that a node is no member any more.
type ForgottenError struct {
	Node, By string // names for people
	Self     bool   // it is this node
}

func (e *ForgottenError) Error() string {
	if e.Self {
		return "this node was forgotten by " + e.By + ": what changes here stays here; to take part again, end it, start it with -fresh, and join anew"
	}
	return "node " + e.Node + " was forgotten by " + e.By + ": to come back, it is to start with -fresh and to join anew"
}

// loadMembers reads who belongs.
func (r *Replica) loadMembers() (err error) {
	r.file.Path = r.place.membersPath()
	if r.cluster, err = r.file.Load(r.place.identity.Private()); err == nil {
		r.settled = r.cluster.Digest()
	}
	return err
}

// Members returns the set of members. It is to be changed by ChangeMembers alone.
func (r *Replica) Members() *members.Set { return r.cluster }

// ChangeMembers runs change, which may change the set of members, and puts what came of it into effect: it is written down and told
// to all peers, and sessions with those who are forgotten end.
func (r *Replica) ChangeMembers(ctx context.Context, change func(*members.Set) error) (err error) {
	failed := r.do(ctx, func() {
		err = change(r.cluster)
		r.membersChanged()
	})
	return errors.Join(err, failed)
}

// membersChanged puts into effect what has changed in the set.
func (r *Replica) membersChanged() {
	digest := r.cluster.Digest()
	if digest == r.settled {
		return
	}
	r.settled = digest
	r.tellForgotten()
	if err := r.file.Save(r.cluster); err != nil {
		r.problem(StateDir, "the members cannot be written down: "+err.Error(), "free space on the disk of "+r.place.state)
	}
	for _, p := range r.peers {
		r.tellMembers(p)
	}
	r.endForgotten()
	if r.o.MembersChanged != nil {
		r.o.MembersChanged()
	}
}

// tellForgotten tells the user if this node is forgotten.
func (r *Replica) tellForgotten() {
	var e *ForgottenError
	if errors.As(forgottenIn(r.cluster, members.ID(r.self)), &e) {
		r.problem(StateDir, "this node was forgotten by "+e.By+": what changes here stays here", "to take part again, end the daemon, start it with -fresh, and join anew")
	}
}

// endForgotten ends the sessions with nodes that are forgotten, and no longer waits for them.
func (r *Replica) endForgotten() {
	self, _ := r.cluster.Member(members.ID(r.self))
	for _, p := range r.peers {
		err := r.forgotten(p.id)
		if left := self.Forgotten && self.ForgottenBy == self.ID; err != nil && !left { // who leaves is heard first: then others end it
			p.cancel(err)
		}
	}
	for id := range r.members {
		if r.cluster.Forgotten(members.ID(id)) {
			delete(r.members, id)
		}
	}
	r.advanceHorizon()
}

// AwaitAlone returns when no session is open any more, or with the cause for which ctx has ended.
func (r *Replica) AwaitAlone(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		var open int
		if err := r.do(ctx, func() { open = len(r.peers) }); err != nil || open == 0 {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Refuses returns why there is to be no session with a node, nil where nothing speaks against it: it is forgotten, or this node is. It
// may be called at any time.
func (r *Replica) Refuses(id members.ID) error { return r.forgotten(merkle.NodeID(id)) }

// forgotten returns why there is to be no session with a node: it is forgotten, or this node is.
func (r *Replica) forgotten(id merkle.NodeID) error {
	for _, who := range []merkle.NodeID{r.self, id} {
		if err := forgottenIn(r.cluster, members.ID(who)); err != nil {
			return err
		}
	}
	return nil
}

func forgottenIn(set *members.Set, id members.ID) error {
	m, known := set.Member(id)
	if !known || !m.Forgotten {
		return nil
	}
	by, _ := set.Member(m.ForgottenBy)
	return &ForgottenError{Node: nameOf(m), By: nameOf(by), Self: id == set.Key().ID()}
}

// nameOf returns what a person would call a member.
func nameOf(m members.Member) string {
	if m.Name != "" {
		return m.Name
	}
	return merkle.NodeID(m.ID).Short()
}

// tellMembers tells a peer who belongs.
func (r *Replica) tellMembers(p *peer) {
	r.send(p, &syncproto.Members{Set: r.cluster.Encode()})
}

// handleMembers takes in who belongs, as a peer knows it.
func (r *Replica) handleMembers(p *peer, m *syncproto.Members) error {
	list, err := members.Decode(m.Set)
	if err != nil {
		return err
	}
	if _, err = r.cluster.Merge(list); errors.Is(err, members.ErrFormat) {
		return err
	}
	if err != nil { // there are too many: the peers can do nothing about that
		r.problem(StateDir, fmt.Sprintf("not all that peer %s tells of members could be taken: %v", p.id.Short(), err),
			"forget members that are gone (resonate peers forget), or begin anew with fewer")
	}
	r.membersChanged()
	return nil
}

// admit makes who has opened a session, and shares the folder, a member.
func (r *Replica) admit(p *peer) {
	key := p.link.Key()
	if r.cluster.Is(key) {
		return
	}
	if _, err := r.cluster.Admit(key, members.FitName(p.name), time.Now()); err != nil {
		r.log.Warn("peer cannot be made a member", "peer", p.id.Short(), "cause", err)
	}
}
