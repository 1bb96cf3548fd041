package desk

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"resonate/locking"
	"resonate/locking/quorum"
)

// A meeting is what a member has told of its table.
type meeting struct {
	id     locking.NodeID
	theirs standing
}

// standsOtherwise takes note of what became of this node's table, and tells the members.
func (d *Desk) standsOtherwise() {
	d.takeStatus()
	d.tellAll()
	d.wake()
}

// takeStatus takes in how the table stands on this node.
func (d *Desk) takeStatus() {
	d.taking.Lock() // what was read first is taken in first: else this node would not know that it leads
	defer d.taking.Unlock()
	s := d.quorum.Status()
	now := d.now()
	d.mu.Lock()
	before := d.status
	d.status = s
	if s.Table != before.Table {
		d.holder.Doubt()
	}
	d.shared = d.shared && s.Table == before.Table || s.Shared
	switch {
	case !s.Leading:
		d.keeper = nil
	case d.keeper == nil || d.term != s.Term:
		d.keeper, d.term = locking.NewKeeper(d.table, now), s.Term
	}
	d.retell = retellings
	d.mu.Unlock()
	if s.Leading != before.Leading || s.Table != before.Table {
		d.log.Debug("the lock table", "table", s.Table.String(), "generation", s.Generation, "role", string(s.Role), "leads", s.Leading)
	}
}

// tellAll tells all members how this node stands.
func (d *Desk) tellAll() {
	d.mu.Lock()
	lines := slices.Collect(maps.Values(d.lines))
	d.mu.Unlock()
	for _, l := range lines {
		d.tellStanding(l)
	}
}

// ownStanding returns what to tell a member of this node.
func (d *Desk) ownStanding() standing {
	s := standing{Standing: d.quorum.Standing(), mobile: d.c.Mobile, witness: d.c.Witness}
	leading := d.quorum.Status().Leading
	d.mu.Lock()
	defer d.mu.Unlock()
	s.leads = leading && d.keeper != nil
	if l := d.leader(); !s.Voter && l != nil && l.place.Table == s.Table {
		s.Index, s.Led = l.place.Index, true
	}
	return s
}

func (d *Desk) tellStanding(l *line) {
	s := d.ownStanding()
	var flags byte
	if s.leads {
		flags |= flagLeads
	}
	if s.mobile {
		flags |= flagMobile
	}
	if s.witness {
		flags |= flagWitness
	}
	l.send(frameStanding, append([]byte{flags}, s.Encode()...))
}

// standingOf takes in what a member tells of its table.
func (d *Desk) standingOf(id locking.NodeID, content []byte) error {
	if len(content) == 0 {
		return fmt.Errorf("standing: %w", locking.ErrFormat)
	}
	s, err := quorum.DecodeStanding(content[1:])
	if err != nil {
		return err
	}
	if s.Node != nameOf(id) {
		return fmt.Errorf("standing of another node: %w", locking.ErrFormat)
	}
	flag := func(f byte) bool { return content[0]&f != 0 }
	theirs := standing{s, flag(flagLeads), flag(flagMobile), flag(flagWitness)}
	d.mu.Lock()
	reached := false
	if l := d.lines[id]; l != nil {
		reached = l.place.leads != theirs.leads // others may want to know whether the leader can be reached through this node
		l.place = theirs
	} else {
		d.early[id] = theirs
	}
	d.mu.Unlock()
	if reached {
		d.tellAll()
	}
	select {
	case d.meetings <- meeting{id, theirs}:
	case <-d.ctx.Done():
	}
	d.wake()
	return nil
}

const (
	// reviewInterval is how often it is looked whether a table is there at all, the same as the members', and the voters are the right ones.
	reviewInterval = 2 * time.Second
	// retellings is how many reviews after a change all members are told again: what was told may have got lost, or come before
	// its time.
	retellings = 3
)

// conduct does what follows from meetings: one after the other, for all of it changes this node's table.
func (d *Desk) conduct() {
	tick := time.NewTicker(reviewInterval)
	defer tick.Stop()
	d.review()
	for {
		select {
		case <-d.ctx.Done():
			return
		case m := <-d.meetings:
			d.meets(m)
		case <-tick.C:
			d.review()
		}
	}
}

// meets does what follows from one meeting.
func (d *Desk) meets(m meeting) {
	mine := d.ownStanding()
	v := quorum.Meet(mine.Standing, m.theirs.Standing)
	var err error
	before := d.quorum.Standing()
	switch v.Do {
	case quorum.Found:
		err = d.quorum.Found()
		if err == nil && m.theirs.Table != (quorum.TableID{}) {
			err = d.quorum.Share() // it takes the place of one that others use, and has to come before that
		}
	case quorum.Follow:
		if err = d.quorum.Follow(m.theirs.Table, m.theirs.Generation); errors.Is(err, quorum.ErrRaise) {
			err = nil // its leader raises it when it hears of this node's (see review), and tells
		}
	case quorum.Stay:
		if err = d.quorum.Note(m.theirs.Standing); err == nil && mine.leads && v.Raise > 0 { // else who leads is told, and raises it
			err = d.raise(v.Raise)
		}
	}
	if err != nil && d.ctx.Err() == nil {
		d.log.Warn("the lock tables of two nodes cannot become one yet", "peer", m.theirs.Node, "because", v.Why, "cause", err)
	}
	if d.quorum.Standing() != before { // else the two would tell each other the same for ever
		d.standsOtherwise()
	}
}

// raiseAbove raises the table above those that this node, which leads, has heard of: it may have heard before it led.
func (d *Desk) raiseAbove() error {
	own := d.quorum.Standing()
	if v := quorum.Meet(own, own); v.Raise > 0 {
		return d.raise(v.Raise)
	}
	return nil
}

func (d *Desk) raise(generation uint64) error {
	ctx, cancel := context.WithTimeout(d.ctx, maxProposing)
	defer cancel()
	return d.quorum.Raise(ctx, generation)
}

// review goes on with meetings that have not made one table of two, founds one where there is none, and, where this node leads, sees to
// the voters.
func (d *Desk) review() {
	d.mu.Lock()
	again := d.retell > 0
	d.retell = max(d.retell-1, 0)
	others := d.apart()
	d.mu.Unlock()
	for _, m := range others {
		d.meets(m)
	}
	if again || len(others) > 0 {
		d.tellAll()
	}
	s := d.quorum.Status()
	if s.Role == quorum.NoTable && s.Problem == nil {
		if err := d.quorum.Found(); err != nil {
			d.log.Warn("there are no locks: the lock table cannot be made", "cause", err)
		}
		d.standsOtherwise()
		return
	}
	if !s.Leading {
		return
	}
	if err := d.raiseAbove(); err != nil {
		d.log.Debug("the lock table cannot be raised yet", "cause", err)
		return
	}
	want := quorum.Voters(nameOf(d.c.Node), s.Voters, d.members(), 0)
	if slices.Equal(want, s.Voters) {
		return
	}
	ctx, cancel := context.WithTimeout(d.ctx, maxProposing)
	defer cancel()
	if err := d.quorum.SetVoters(ctx, want); err != nil {
		if d.ctx.Err() == nil {
			d.log.Info("the voters of the lock table cannot be changed yet", "cause", err)
		}
		return
	}
	d.log.Info("the voters of the lock table", "voters", want)
}

// apart returns the members that were met and have another table. The mutex is held.
func (d *Desk) apart() (others []meeting) {
	for id, l := range d.lines {
		if l.place.Node != "" && l.place.Table != d.status.Table {
			others = append(others, meeting{id, l.place})
		}
	}
	return others
}

// yieldsTo tells whether this node's table is given up for that of a member.
func (d *Desk) yieldsTo(m meeting) bool {
	return quorum.Meet(d.quorum.Standing(), m.theirs.Standing).Do == quorum.Follow
}

// members returns who may vote.
func (d *Desk) members() []quorum.Member {
	s := d.quorum.Status()
	d.mu.Lock()
	defer d.mu.Unlock()
	out := []quorum.Member{{ID: nameOf(d.c.Node), AlwaysOn: !d.c.Mobile, Witness: d.c.Witness, Up: true}}
	for id, l := range d.lines {
		if l.place.Table == s.Table {
			out = append(out, quorum.Member{ID: nameOf(id), AlwaysOn: !l.place.mobile, Witness: l.place.witness, Up: true})
		}
	}
	for _, v := range s.Voters {
		if !slices.ContainsFunc(out, func(m quorum.Member) bool { return m.ID == v }) {
			out = append(out, quorum.Member{ID: v, AlwaysOn: true, Gone: d.gone[nodeOf(v)]})
		}
	}
	return out
}

// Forget has a node vote no more: it is no member any longer.
func (d *Desk) Forget(id locking.NodeID) {
	d.mu.Lock()
	d.gone[id] = true
	d.mu.Unlock()
}

// TakeOver makes this node the only voter, by hand: for when the others are lost for good.
func (d *Desk) TakeOver() error {
	err := d.quorum.TakeOver()
	d.standsOtherwise()
	return err
}

// Status tells how the table stands on this node.
func (d *Desk) Status() Status {
	s := Status{Status: d.quorum.Status()}
	now := d.now()
	d.mu.Lock()
	defer d.mu.Unlock()
	s.Sure = d.holder.Sure(now)
	switch l := d.leader(); {
	case d.keeper != nil:
		s.Leads = d.c.Node
	case l != nil:
		s.Leads = l.id
	default:
		if l = d.carrier(); l != nil {
			s.Through = l.id
		}
	}
	for _, v := range s.Voters {
		id := nodeOf(v)
		s.Keepers = append(s.Keepers, VoterState{id, id == d.c.Node || d.lines[id] != nil})
	}
	if len(s.Keepers) == 0 && s.Leads != (locking.NodeID{}) { // a client knows the leader alone
		s.Keepers = []VoterState{{s.Leads, true}}
	}
	return s
}

// A VoterState is one of the nodes that keep the table, as another sees it.
type VoterState struct {
	Node      locking.NodeID
	Connected bool // or this node
}

// Status is how the lock table stands on one node.
type Status struct {
	Keepers []VoterState // who votes, as far as this node knows
	quorum.Status
	Leads   locking.NodeID // who leads the table; zero: it cannot be reached from here
	Through locking.NodeID // who carries what this node has to say to the leader; zero: nobody has to, or can
	Sure    bool           // this node's session may be counted on
}
