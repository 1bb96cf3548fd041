package quorum

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/raft"
)

// maxCallers bounds the streams that one peer has open to this node.
const maxCallers = 8

// caller is a peer at the other end of a stream that it opened.
type caller struct {
	id  NodeID
	log LogID
	s   io.ReadWriteCloser
	r   *bufio.Reader
}

// accept serves a stream that a peer opened, until either side closes it.
func (t *transport) accept(id NodeID, s io.ReadWriteCloser) error {
	c := &caller{id: id, s: s, r: bufio.NewReader(s)}
	p := t.peer(id)
	if !p.enter() {
		return fmt.Errorf("node %s has %d streams open already", id, maxCallers)
	}
	if !t.keep(s) || !t.spawn(func() {
		defer p.leave()
		defer t.drop(s)
		defer t.credit.lost(c)
		t.serve(p, c)
	}) {
		p.leave()
		return errStopped
	}
	return nil
}

func (p *peer) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.callers == maxCallers {
		return false
	}
	p.callers++
	return true
}

func (p *peer) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.callers--
}

// serve answers a caller's requests. What is malformed ends the stream.
func (t *transport) serve(p *peer, c *caller) {
	if !t.welcome(p, c) {
		return
	}
	for {
		b, err := readFrame(c.r, maxRequest)
		if err != nil {
			return
		}
		q, err := decodeRequest(b)
		if err != nil {
			writeFrame(c.s, (&answer{reason: err.Error()}).encode())
			return
		}
		if (q.kind == kindVote || q.kind == kindPreVote) && t.host.expelled(c.id) {
			return // it opens another stream, and is told why it gets no votes
		}
		p.asked(q)
		a, err := t.answer(c, q)
		if err != nil {
			a = answer{reason: err.Error()}
		}
		if t.ctx.Err() != nil || writeFrame(c.s, a.encode()) != nil {
			return
		}
		if q.kind == kindSnapshot && err != nil {
			return // what follows is not known to be a request
		}
	}
}

// welcome exchanges greetings, within the time that a short answer may take.
func (t *transport) welcome(p *peer, c *caller) bool {
	late := time.AfterFunc(t.pace.short, func() { c.s.Close() })
	defer late.Stop()
	b, err := readFrame(c.r, maxGreeting)
	if err != nil {
		return false
	}
	g, err := decodeGreeting(b)
	if err != nil {
		return false
	}
	own := greeting{table: t.table, log: t.log}
	own.seenLog, own.seen = p.seen()
	switch {
	case g.table == t.table && t.host.expelled(c.id):
		own.removed, own.refusal = true, "you are no voter of this table"
	default:
		if err := t.compare(p, &g); err != nil {
			own.refusal = err.Error()
		}
	}
	c.log = g.log
	return writeFrame(c.s, own.encode()) == nil && own.refusal == ""
}

// answer has Raft answer a request.
func (t *transport) answer(c *caller, q *request) (answer, error) {
	switch q.kind {
	case kindAppend:
		return t.follow(c, q)
	case kindPreVote:
		t.insist()
		t.distrust(time.Now().Add(t.pace.raft)) // the leader may live, and be out of reach for who asks alone
		r, err := t.submit(&raft.RequestPreVoteRequest{RPCHeader: t.header(c.id, c.log), Term: q.term, LastLogIndex: q.index, LastLogTerm: q.logTerm}, nil, false)
		if a, ok := r.(*raft.RequestPreVoteResponse); ok {
			return answer{term: a.Term, granted: a.Granted}, err
		}
		return answer{}, err
	case kindVote:
		r, err := t.submit(&raft.RequestVoteRequest{
			RPCHeader: t.header(c.id, c.log), Term: q.term,
			LastLogIndex: q.index, LastLogTerm: q.logTerm, LeadershipTransfer: q.flag,
		}, nil, false)
		if a, ok := r.(*raft.RequestVoteResponse); ok {
			return answer{term: a.Term, granted: a.Granted}, err
		}
		return answer{}, err
	case kindSnapshot:
		r, err := t.submit(&raft.InstallSnapshotRequest{
			RPCHeader: t.header(c.id, c.log), SnapshotVersion: raft.SnapshotVersionMax, Term: q.term,
			LastLogIndex: q.index, LastLogTerm: q.logTerm, Configuration: q.config, ConfigurationIndex: q.configIndex, Size: int64(q.size),
		}, io.LimitReader(c.r, int64(q.size)), false)
		if a, ok := r.(*raft.InstallSnapshotResponse); ok {
			return answer{term: a.Term, granted: a.Success}, err
		}
		return answer{}, err
	}
	if q.kind == kindAlive {
		t.insist()
		return answer{}, nil
	}
	if !lists(t.host.configuration(), c.id) {
		return answer{}, errors.New("you are no voter here")
	}
	_, err := t.submit(&raft.TimeoutNowRequest{RPCHeader: t.header(c.id, c.log)}, nil, false)
	return answer{}, err
}

// follow has Raft take in what a leader says.
func (t *transport) follow(c *caller, q *request) (answer, error) {
	if len(q.entries) > 0 {
		t.touch()
	}
	r, err := t.submit(&raft.AppendEntriesRequest{
		RPCHeader: t.header(c.id, c.log), Term: q.term,
		PrevLogEntry: q.index, PrevLogTerm: q.logTerm, Entries: q.entries, LeaderCommitIndex: q.commit,
	}, nil, q.heartbeat())
	a, ok := r.(*raft.AppendEntriesResponse)
	if err != nil || !ok {
		return answer{}, err
	}
	if a.Success && q.heartbeat() {
		next := min(time.Duration(min(q.next, 1<<20))*time.Millisecond, t.pace.idle)
		if t.credit.give(c, q.term, time.Now().Add(next+t.pace.raft)) && !t.spawn(t.spend) {
			return answer{}, errStopped
		}
	}
	return answer{term: a.Term, lastIndex: a.LastLog, granted: a.Success, noBackoff: a.NoRetryBackoff}, nil
}

// submit has Raft process a request: at once if it is a heartbeat, which must not wait for the disk.
func (t *transport) submit(command any, data io.Reader, heartbeat bool) (any, error) {
	done := make(chan raft.RPCResponse, 1)
	rpc := raft.RPC{Command: command, Reader: data, RespChan: done}
	if f := t.beaten.Load(); heartbeat && f != nil {
		(*f)(rpc)
	} else {
		select {
		case t.requests <- rpc:
		case <-t.ctx.Done():
			return nil, errStopped
		}
	}
	select {
	case r := <-done:
		return r.Response, r.Error
	case <-t.ctx.Done():
		return nil, errStopped
	}
}

// confirm tells whether a majority of the voters follows this leader of term, as of some moment after the call. Who asks at once with others
// for a later term may be told of that.
func (t *transport) confirm(ctx context.Context, term uint64) error {
	var others []NodeID
	voters := 0
	for _, s := range t.host.configuration().Servers {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		if s.ID != raft.ServerID(t.node) {
			others = append(others, NodeID(s.ID))
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	follows := make(chan bool, len(others))
	for _, id := range others {
		p := t.peer(id)
		r, run := p.waits.join(term)
		if run && !t.spawn(func() { t.goRounds(p) }) {
			return errStopped
		}
		if !t.spawn(func() {
			select {
			case <-r.done:
				follows <- r.follows
			case <-ctx.Done():
			}
		}) {
			return errStopped
		}
	}
	need, left := voters/2, len(others) // beside this node
	for need > 0 && left >= need {
		select {
		case ok := <-follows:
			left--
			if ok {
				need--
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if need > 0 {
		return ErrNoMajority
	}
	return nil
}
