package quorum

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// begin counts something that waits for Raft, which stop waits for; false: the instance is being stopped.
func (i *instance) begin() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.ctx.Err() != nil {
		return false
	}
	i.pending.Add(1)
	return true
}

// Propose has a command taken in, here where this node leads, and returns the index at which it was and what the machine gave
// for it. It may also fail with *NotLeader, ErrNoMajority, ErrNoTable or *DiskError, and was not taken in then; with
// ErrUnknown, and may have been or be yet: also when ctx has ended.
func (q *Quorum) Propose(ctx context.Context, command []byte) (index uint64, reply []byte, err error) {
	if len(command) > MaxCommand {
		return 0, nil, fmt.Errorf("propose command of %d bytes: at most %d are taken: split it", len(command), MaxCommand)
	}
	i, err := q.leader()
	if err != nil {
		return 0, nil, err
	}
	return i.propose(ctx, commandEntry(command))
}

// Raise raises the table's generation, so that the tokens of others are below it; it is the leader's to do.
func (q *Quorum) Raise(ctx context.Context, generation uint64) error {
	if generation >= maxGeneration {
		return fmt.Errorf("raise generation to %d: %w", generation, ErrFormat)
	}
	i, err := q.leader()
	if err == nil && i.drive.generation.Load() < generation {
		_, _, err = i.propose(ctx, raiseEntry(generation))
		q.wake()
	}
	return err
}

// leader returns the instance if it leads, and has applied what was committed before.
func (q *Quorum) leader() (*instance, error) {
	i := q.current.Load()
	if i == nil {
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.problem != nil {
			return nil, q.problem
		}
		return nil, ErrNoTable
	}
	if err := i.store.problem(); err != nil {
		return nil, err
	}
	if !i.leads() {
		return nil, i.deposed()
	}
	return i, nil
}

// deposed tells who leads instead.
func (i *instance) deposed() error {
	_, id := i.raft.LeaderWithID()
	switch {
	case id == raft.ServerID(i.transport.node):
		return &NotLeader{} // not ready, or not any more
	case id != "":
		return &NotLeader{NodeID(id)}
	case i.raft.State() == raft.Candidate:
		return ErrNoMajority
	}
	return &NotLeader{}
}

func (i *instance) propose(ctx context.Context, entry []byte) (index uint64, reply []byte, err error) {
	if !i.begin() {
		return 0, nil, errStopped
	}
	type result struct {
		index uint64
		reply []byte
		err   error
	}
	done := make(chan result, 1)
	go func() { // ends, at the latest, when this node leads no more: see stop
		defer i.pending.Done()
		f := i.raft.Apply(entry, 0)
		r := result{err: f.Error(), index: f.Index()}
		if r.err == nil {
			r.reply, _ = f.Response().([]byte)
		}
		done <- r
	}()
	select {
	case r := <-done:
		return r.index, r.reply, i.explain(r.err)
	case <-ctx.Done():
		return 0, nil, fmt.Errorf("%w: %w", ErrUnknown, context.Cause(ctx))
	}
}

// explain turns an error of Raft's into ours.
func (i *instance) explain(err error) error {
	var disk *DiskError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return i.deposed()
	case errors.As(err, &disk):
		return fmt.Errorf("%w: %w", ErrUnknown, disk)
	}
	return fmt.Errorf("%w: %w", ErrUnknown, err)
}

// Verify tells whether this node leads, as a majority confirms after the call; nothing is written for it. What a leader tells
// from the machine's state, and the lease that it lets a client count on, is true only then.
func (q *Quorum) Verify(ctx context.Context) error {
	i, err := q.leader()
	if err != nil {
		return err
	}
	term := i.reign.Load()
	if err := i.transport.confirm(ctx, term); err != nil {
		return fmt.Errorf("confirm that this node leads: %w", err)
	}
	if !i.leads() || i.reign.Load() != term {
		return i.deposed()
	}
	return nil
}

// catchUp is how often it is looked whether a voter to be has what the leader has.
const catchUp = 20 * time.Millisecond

// SetVoters makes these nodes the voters, as far as they can be reached: who is new gets the log first, and votes then; who is
// to go, goes last, the leader itself after all others. It is the leader's to call, and to call again when it failed.
func (q *Quorum) SetVoters(ctx context.Context, want []NodeID) error {
	i, err := q.leader()
	if err != nil {
		return err
	}
	if len(want) == 0 || len(want) > maxServers {
		return fmt.Errorf("set %d voters: want 1 to %d", len(want), maxServers)
	}
	for _, id := range want {
		if err := i.enfranchise(ctx, id); err != nil {
			return fmt.Errorf("make node %s a voter of the lock table: %w", id, err)
		}
	}
	var out []raft.Server
	for _, s := range i.configuration().Servers {
		if !slices.Contains(want, NodeID(s.ID)) {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b raft.Server) int { // the leader last
		return boolInt(a.ID == raft.ServerID(q.config.Node)) - boolInt(b.ID == raft.ServerID(q.config.Node))
	})
	for _, s := range out {
		if err := i.await(ctx, func() raft.Future { return i.raft.RemoveServer(s.ID, 0, 0) }); err != nil {
			return fmt.Errorf("let node %s vote no more in the lock table: %w", s.ID, err)
		}
	}
	q.wake()
	return nil
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// enfranchise makes a node a voter, with the log that it has now.
func (i *instance) enfranchise(ctx context.Context, id NodeID) error {
	if id == i.transport.node {
		return nil
	}
	address, err := i.reach(ctx, id)
	if err != nil {
		if i.votes(id, "") {
			return nil // it is away, and stays
		}
		return err
	}
	if i.votes(id, address) {
		return nil
	}
	sid := raft.ServerID(id)
	if i.votes(id, "") { // with a log that it lost: the new one counts from here on, and not for the old
		if err := i.await(ctx, func() raft.Future { return i.raft.RemoveServer(sid, 0, 0) }); err != nil {
			return err
		}
	}
	if err := i.await(ctx, func() raft.Future { return i.raft.AddNonvoter(sid, address, 0, 0) }); err != nil {
		return err
	}
	tick := time.NewTicker(catchUp)
	defer tick.Stop()
	for target := i.raft.LastIndex(); !i.transport.peer(id).has(address, target); {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait until it has the log: %w", context.Cause(ctx))
		}
		if !i.leads() {
			return i.deposed()
		}
	}
	return i.await(ctx, func() raft.Future { return i.raft.AddVoter(sid, address, 0, 0) })
}

// reach learns which log a node has, by a stream to it.
func (i *instance) reach(ctx context.Context, id NodeID) (raft.ServerAddress, error) {
	ctx, cancel := context.WithTimeout(ctx, i.transport.pace.short)
	defer cancel()
	p := i.transport.peer(id)
	l, err := i.transport.open(ctx, p)
	if err != nil {
		return "", err
	}
	p.put(l)
	log, _ := p.seen()
	return raft.ServerAddress(log.String()), nil
}

// HandOver has another voter lead in this node's place, if it leads and there is one that can be reached. It is for a node that is about
// to end: the others would have to notice first that it is gone.
func (q *Quorum) HandOver(ctx context.Context) error {
	i := q.current.Load()
	if i == nil || !i.leads() || len(votersOf(i.configuration())) < 2 {
		return nil
	}
	if err := i.await(ctx, func() raft.Future { return i.raft.LeadershipTransfer() }); err != nil {
		return fmt.Errorf("have another node lead the lock table: %w", err)
	}
	return nil
}

// votes tells whether a node votes, with the log at address, or, without one, any.
func (i *instance) votes(id NodeID, address raft.ServerAddress) bool {
	return slices.ContainsFunc(i.configuration().Servers, func(s raft.Server) bool {
		return s.ID == raft.ServerID(id) && s.Suffrage == raft.Voter && (address == "" || s.Address == address)
	})
}

// await waits for what Raft was asked to do, such as a change of the configuration.
func (i *instance) await(ctx context.Context, begun func() raft.Future) error {
	if !i.begin() {
		return errStopped
	}
	done := make(chan error, 1)
	go func() { // ends as in propose
		defer i.pending.Done()
		done <- begun().Error()
	}()
	select {
	case err := <-done:
		return i.explain(err)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
