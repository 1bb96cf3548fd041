package quorum

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// pace says how long things may take.
type pace struct {
	raft   time.Duration // without a sign of the leader's life, or an election's end
	beat   time.Duration // between heartbeats while the log is in use
	idle   time.Duration // the same, when it is not
	calm   time.Duration // for which the log is in use after its last entry
	short  time.Duration // for an answer that needs one write to disk at most
	long   time.Duration // for an answer that may need many
	commit time.Duration // for followers to be told what is committed, while nothing follows
	retry  time.Duration // between tries of a disk that failed, at first
}

// lan is for nodes whose round trip is far below half a second.
var lan = pace{
	raft: 700 * time.Millisecond, beat: 250 * time.Millisecond, idle: 5 * time.Second, calm: 10 * time.Second,
	short: 2 * time.Second, long: 10 * time.Second, commit: time.Second, retry: time.Second,
}

// transport carries Raft's requests between this node's log and those of the other voters. Requests of one stream follow one
// another; so a peer has a few streams in each direction. Who is at the other end is known from whom the stream was dialled
// to or accepted from, never from what it says.
type transport struct {
	node  NodeID
	table TableID
	log   LogID
	pace  pace
	dial  func(context.Context, NodeID) (io.ReadWriteCloser, error)
	host  host

	requests chan raft.RPC
	beaten   atomic.Pointer[func(raft.RPC)]
	credit   credit
	active   atomic.Int64 // when the log was last in use, in Unix nanoseconds
	asking   atomic.Bool  // whether the leader lives

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	peers   map[NodeID]*peer
	streams map[io.Closer]struct{} // all that are open
}

// A host is the log that a transport is for.
type host interface {
	mark() mark                        // how far it is
	configuration() raft.Configuration // the latest
	expelled(NodeID) bool
	forgot(by NodeID)  // a peer has seen more of this log than there is: it is an old copy
	removed(by NodeID) // the leader says that this node is no voter
}

var (
	_ raft.Transport   = (*transport)(nil)
	_ raft.WithPreVote = (*transport)(nil)
	_ raft.WithClose   = (*transport)(nil)
)

func newTransport(c *Config, p pace, r *record, h host) *transport {
	t := &transport{
		node: c.Node, table: r.table, log: r.log, pace: p, dial: c.Dial, host: h,
		requests: make(chan raft.RPC),
		peers:    make(map[NodeID]*peer), streams: make(map[io.Closer]struct{}),
	}
	for id, k := range r.marks {
		t.peers[id] = newPeer(id)
		t.peers[id].log, t.peers[id].mark = k.log, k.mark
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.touch()
	return t
}

// closing is how long Close waits for streams to notice: those of a peer that does not answer end with its session.
const closing = time.Second

// Close cuts all streams. Nothing that Raft does after it reaches anybody.
func (t *transport) Close() error {
	t.cancel()
	t.mu.Lock()
	for s := range t.streams {
		s.Close()
	}
	t.mu.Unlock()
	gone := make(chan struct{})
	go func() {
		t.wg.Wait()
		close(gone)
	}()
	timer := time.NewTimer(closing)
	defer timer.Stop()
	select {
	case <-gone:
	case <-timer.C:
	}
	return nil
}

// spawn runs f, and lets Close wait for it, unless the transport is closed.
func (t *transport) spawn(f func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ctx.Err() != nil {
		return false
	}
	t.wg.Go(f)
	return true
}

// keep notes a stream, so that Close cuts it; false: it is closed already.
func (t *transport) keep(s io.Closer) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ctx.Err() != nil {
		s.Close()
		return false
	}
	t.streams[s] = struct{}{}
	return true
}

func (t *transport) drop(s io.Closer) {
	s.Close()
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.streams, s)
}

// marks returns what is known of the others' logs.
func (t *transport) marks() map[NodeID]known {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make(map[NodeID]known, len(t.peers))
	for id, p := range t.peers {
		if log, m := p.seen(); log != (LogID{}) && len(out) < maxMarks {
			out[id] = known{log, m}
		}
	}
	return out
}

func (t *transport) peer(id NodeID) *peer {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.peers[id]
	if p == nil {
		p = newPeer(id)
		t.peers[id] = p
	}
	return p
}

// touch notes that the log is in use.
func (t *transport) touch() { t.active.Store(time.Now().UnixNano()) }

// interval returns how long the next heartbeat may take.
func (t *transport) interval() time.Duration {
	if time.Since(time.Unix(0, t.active.Load())) < t.pace.calm {
		return t.pace.beat
	}
	return t.pace.idle
}

// distrust stops taking the leader for alive at until, if it is not heard by then, and asks it to be.
func (t *transport) distrust(until time.Time) {
	t.touch()
	leader := t.credit.cut(until)
	if leader == nil || !t.asking.CompareAndSwap(false, true) {
		return
	}
	if !t.spawn(func() {
		defer t.asking.Store(false)
		t.call(t.peer(leader.id), &request{kind: kindAlive}, nil, t.pace.short) // if it fails, there will be no heartbeat
	}) {
		t.asking.Store(false)
	}
}

// insist has the next heartbeat to every peer really sent.
func (t *transport) insist() {
	t.touch()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.peers {
		p.doubt()
	}
}

// retire ends what was promised as leader: who was told to expect a heartbeat notices at once that none will come.
func (t *transport) retire() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.peers {
		p.doubt()
		for _, l := range p.takeAll() {
			l.Close()
		}
	}
}

// mayStand tells whether this log is the one that the voters have taken in. One that began anew in place of one that was lost
// has no vote until the leader takes it in again, as it may have voted before: neither for itself, nor for another, who
// counts only the votes of the logs that it knows of.
func (t *transport) mayStand() error {
	for _, s := range t.host.configuration().Servers {
		if s.ID == raft.ServerID(t.node) && s.Suffrage == raft.Voter && s.Address == t.LocalAddr() {
			return nil
		}
	}
	return errors.New("this log has no vote (yet)")
}

// poll asks for a vote, of the log at address.
func (t *transport) poll(id raft.ServerID, address raft.ServerAddress, q *request) (answer, error) {
	if err := t.mayStand(); err != nil {
		return answer{}, err
	}
	p := t.peer(NodeID(id))
	a, err := t.call(p, q, nil, t.pace.short)
	if err != nil {
		return answer{}, err
	}
	if log, _ := p.seen(); log.String() != string(address) {
		return answer{}, fmt.Errorf("node %s has another log than the one that votes", id)
	}
	return a, nil
}

func (t *transport) Consumer() <-chan raft.RPC              { return t.requests }
func (t *transport) LocalAddr() raft.ServerAddress          { return raft.ServerAddress(t.log.String()) }
func (t *transport) DecodePeer(b []byte) raft.ServerAddress { return raft.ServerAddress(b) }
func (t *transport) SetHeartbeatHandler(f func(raft.RPC))   { t.beaten.Store(&f) }

func (t *transport) EncodePeer(_ raft.ServerID, a raft.ServerAddress) []byte { return []byte(a) }

// AppendEntriesPipeline: a lock table's entries are few, and batched before they come here.
func (t *transport) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

func (t *transport) header(id NodeID, log LogID) raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(id), Addr: []byte(log.String())}
}

func (t *transport) AppendEntries(id raft.ServerID, _ raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if t.ctx.Err() != nil {
		return raft.ErrTransportShutdown
	}
	p := t.peer(NodeID(id))
	entries := args.Entries
	q := &request{kind: kindAppend, term: args.Term, index: args.PrevLogEntry, logTerm: args.PrevLogTerm, commit: args.LeaderCommitIndex}
	if len(entries) > 0 {
		t.touch()
	} else if left := p.onCredit(q, t.interval()); left > 0 {
		if q.heartbeat() { // Raft asks again a tenth of its time-out after this returns, and that costs more than this does
			t.rest(p, min(left, t.pace.raft/3))
		}
		*resp = raft.AppendEntriesResponse{Term: q.term, LastLog: q.index, Success: true}
		return nil
	}
	for {
		q.entries, entries = part(entries)
		patience := t.pace.long
		if q.heartbeat() {
			patience = t.pace.short
			q.next = uint64(t.interval().Milliseconds())
		}
		began := time.Now()
		a, err := t.call(p, q, nil, patience)
		if err != nil {
			p.doubt()
			return err
		}
		*resp = raft.AppendEntriesResponse{Term: a.term, LastLog: a.lastIndex, Success: a.granted, NoRetryBackoff: a.noBackoff}
		if !a.granted {
			p.doubt()
			return nil
		}
		p.heard(q, began)
		if len(entries) == 0 {
			return nil
		}
		last := q.entries[len(q.entries)-1]
		q.index, q.logTerm = last.Index, last.Term
	}
}

// rest lets d pass, or less when a peer is to be asked at once.
func (t *transport) rest(p *peer, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.hurry:
	case <-t.ctx.Done():
	}
}

// part takes from entries as many as one message may have.
func part(entries []*raft.Log) (first, rest []*raft.Log) {
	size := 0
	for n, e := range entries {
		if size += len(e.Data); n == maxEntries || n > 0 && size > maxPart {
			return entries[:n], entries[n:]
		}
	}
	return entries, nil
}

func (t *transport) RequestVote(id raft.ServerID, address raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	q := &request{kind: kindVote, term: args.Term, index: args.LastLogIndex, logTerm: args.LastLogTerm, flag: args.LeadershipTransfer}
	a, err := t.poll(id, address, q)
	*resp = raft.RequestVoteResponse{Term: a.term, Granted: a.granted}
	return err
}

func (t *transport) RequestPreVote(id raft.ServerID, address raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	q := &request{kind: kindPreVote, term: args.Term, index: args.LastLogIndex, logTerm: args.LastLogTerm}
	a, err := t.poll(id, address, q)
	*resp = raft.RequestPreVoteResponse{Term: a.term, Granted: a.granted}
	return err
}

func (t *transport) InstallSnapshot(id raft.ServerID, _ raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	q := &request{
		kind: kindSnapshot, term: args.Term, index: args.LastLogIndex, logTerm: args.LastLogTerm,
		config: args.Configuration, configIndex: args.ConfigurationIndex, size: uint64(args.Size),
	}
	patience := t.pace.long + time.Duration(args.Size/(256<<10))*time.Second // 256 KiB/s are not too much to ask
	a, err := t.call(t.peer(NodeID(id)), q, data, patience)
	*resp = raft.InstallSnapshotResponse{Term: a.term, Success: a.granted}
	return err
}

func (t *transport) TimeoutNow(id raft.ServerID, _ raft.ServerAddress, _ *raft.TimeoutNowRequest, _ *raft.TimeoutNowResponse) error {
	_, err := t.call(t.peer(NodeID(id)), &request{kind: kindNow}, nil, t.pace.short)
	return err
}

// call sends a request and returns the answer, in time or not at all. A stream that was left from before, and has ended
// meanwhile, is replaced.
func (t *transport) call(p *peer, q *request, data io.Reader, patience time.Duration) (answer, error) {
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	type result struct {
		answer
		err error
	}
	done := make(chan result, 1)
	var current atomic.Pointer[line]
	work := func() {
		l, old := p.take(), true
		for {
			if l == nil {
				old = false
				var err error
				if l, err = t.open(ctx, p); err != nil {
					done <- result{err: err}
					return
				}
			}
			current.Store(l)
			a, err := l.exchange(q, data)
			if err == nil {
				p.put(l)
				done <- result{a, nil}
				return
			}
			t.drop(l)
			if !old || ctx.Err() != nil || data != nil {
				done <- result{err: err}
				return
			}
			l = nil
		}
	}
	if !t.spawn(work) {
		return answer{}, raft.ErrTransportShutdown
	}
	select {
	case r := <-done:
		return t.judge(p, q, r.answer, r.err)
	case <-ctx.Done():
		if l := current.Load(); l != nil {
			l.Close()
		}
		return answer{}, fmt.Errorf("node %s does not answer", p.id)
	}
}

// judge looks at what came of a request.
func (t *transport) judge(p *peer, q *request, a answer, err error) (answer, error) {
	if err != nil {
		return answer{}, fmt.Errorf("ask node %s: %w", p.id, err)
	}
	if a.reason != "" {
		return answer{}, fmt.Errorf("node %s refuses: %s", p.id, a.reason)
	}
	p.learnt(q, a)
	return a, nil
}

// line is a stream that this side opened.
type line struct {
	io.ReadWriteCloser
	r *bufio.Reader
}

// exchange sends a request, and data after it if there is any, and reads the answer.
func (l *line) exchange(q *request, data io.Reader) (answer, error) {
	if err := writeFrame(l, q.encode()); err != nil {
		return answer{}, err
	}
	if data != nil {
		if _, err := io.Copy(l, io.LimitReader(data, int64(q.size))); err != nil {
			return answer{}, err
		}
	}
	b, err := readFrame(l.r, maxAnswer)
	if err != nil {
		return answer{}, err
	}
	return decodeAnswer(b)
}

// open opens a stream to a peer, and exchanges greetings.
func (t *transport) open(ctx context.Context, p *peer) (*line, error) {
	s, err := t.dial(ctx, p.id)
	if err != nil {
		return nil, err
	}
	l := &line{s, bufio.NewReader(s)}
	if !t.keep(l) {
		return nil, raft.ErrTransportShutdown
	}
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	if err := t.greet(p, l); err != nil {
		t.drop(l)
		return nil, err
	}
	return l, nil
}

func (t *transport) greet(p *peer, l *line) error {
	own := greeting{table: t.table, log: t.log}
	own.seenLog, own.seen = p.seen()
	if err := writeFrame(l, own.encode()); err != nil {
		return err
	}
	b, err := readFrame(l.r, maxGreeting)
	if err != nil {
		return err
	}
	g, err := decodeGreeting(b)
	switch {
	case err != nil:
		return err
	case g.removed:
		t.host.removed(p.id)
		return errors.New(g.refusal)
	case g.refusal != "":
		return errors.New(g.refusal)
	}
	return t.compare(p, &g)
}

// compare looks at a greeting that is no refusal: whether it is about the same table, and whether this log is still what it was.
func (t *transport) compare(p *peer, g *greeting) error {
	if g.table != t.table {
		return fmt.Errorf("its table is %s, this node's is %s", g.table, t.table)
	}
	if g.seenLog == t.log && t.host.mark().behind(g.seen) {
		t.host.forgot(p.id)
		return errors.New("this node's lock log is an old copy")
	}
	p.met(g.log)
	return nil
}
