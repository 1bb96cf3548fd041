package desk

import (
	"bytes"
	"context"
	"fmt"

	"resonate/locking"
	"resonate/locking/quorum"
)

// A node that has no session with the leader, as in a star, says what it has to say to a member that has one: that carries it there,
// and the leader's words back. One hop, no more. The leader takes the carrier's word for whose message it is: members trust each other
// so far, each of them can end a lock by force.

const (
	maxCarried     = 1024 // nodes whose carrier is remembered
	maxCarriedAsks = 16   // questions under way to the leader for others
)

// carrier returns the line to a member that has one to the leader, where this node has none; nil: nobody is known to. The caller holds the mutex.
func (d *Desk) carrier() (found *line) {
	if d.keeper != nil || d.leader() != nil || d.status.Role == quorum.Voter { // the log's streams are not carried, so a voter waits for them
		return nil
	}
	for _, l := range d.lines {
		if l.place.Led && l.place.Table == d.status.Table && l.place.Table != (quorum.TableID{}) &&
			(found == nil || bytes.Compare(l.id[:], found.id[:]) < 0) {
			found = l
		}
	}
	return found
}

// towardsLeader returns the line to the leader, or to who carries what is for it. The caller holds the mutex.
func (d *Desk) towardsLeader() *line {
	if l := d.leader(); l != nil {
		return l
	}
	return d.carrier()
}

// speaksFor tells whether what comes from a member is what the leader says. The caller holds the mutex.
func (d *Desk) speaksFor(id locking.NodeID) bool {
	l := d.towardsLeader()
	return l != nil && l.id == id
}

// carry takes a message of a member to the leader.
func (d *Desk) carry(id locking.NodeID, content []byte) error {
	m, err := locking.DecodeMessage(content)
	if err != nil {
		return err
	}
	now := d.now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.keeper != nil {
		d.said(now, id, m)
		d.wake()
	} else if l := d.leader(); l != nil {
		l.send(frameCarried, append(id[:], content...))
	}
	return nil
}

// carried takes in a message that a member has carried here.
func (d *Desk) carried(by locking.NodeID, content []byte) error {
	id, content, err := addressed(content)
	if err != nil {
		return err
	}
	m, err := locking.DecodeMessage(content)
	if err != nil {
		return err
	}
	now := d.now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.keeper == nil || d.gone[id] {
		return nil
	}
	if d.carries[id] == nil && len(d.carries) >= maxCarried {
		clear(d.carries) // who is still there is heard again
	}
	d.carries[id] = d.lines[by]
	d.said(now, id, m)
	d.wake()
	return nil
}

// sendBack sends a letter by the way on which its addressee was last heard. The caller holds the mutex.
func (d *Desk) sendBack(l locking.Letter) {
	if by := d.carries[l.To]; by != nil && d.lines[by.id] == by {
		by.send(frameReturn, append(l.To[:], locking.EncodeMessage(l.Message)...))
	}
}

// returned hands a message of the leader to whom it is for.
func (d *Desk) returned(from locking.NodeID, content []byte) error {
	id, content, err := addressed(content)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if l := d.leader(); l == nil || l.id != from {
		return nil
	}
	if to := d.lines[id]; to != nil {
		to.send(frameMessage, content)
	}
	return nil
}

// addressed splits a message from the node that it is of or for.
func addressed(content []byte) (id locking.NodeID, message []byte, err error) {
	if len(content) < len(id) {
		return id, nil, fmt.Errorf("carried message of %d bytes: %w", len(content), locking.ErrFormat)
	}
	n := copy(id[:], content)
	return id, content[n:], nil
}

// carriesQuestion asks the leader what a member wants to know, where that is not this node. It returns false where nobody is to be asked.
func (d *Desk) carriesQuestion(id locking.NodeID, number uint64, question []byte) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.leader()
	if d.keeper != nil || l == nil || d.closed {
		return false
	}
	select {
	case d.asking <- struct{}{}:
	default:
		return true // it is asked again
	}
	d.wg.Go(func() {
		defer func() { <-d.asking }()
		ctx, cancel := context.WithTimeout(d.ctx, patience)
		defer cancel()
		if a, err := d.claimsOf(ctx, l, question); err == nil {
			d.answerTo(id, number, a)
		}
	})
	return true
}
