// Package desk runs the cluster's locks on one node: it brings the lock table (locking), the log that a majority agrees on
// (locking/quorum) and the streams to the other members together.
//
// Each node has a holder, its own side; the node that leads the log has a keeper beside its table. What the holder has to say goes to
// the leader, over the stream to it or directly where this node leads, and answers come back the same way. Beside that, the nodes
// tell each other which table they have: where two meet, all end in the same one, by rule. Everything that decides is in
// those packages; here are the goroutines, the clock and the streams. Messages may be lost: what has to arrive is said again.
package desk

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"resonate/locking"
	"resonate/locking/quorum"
)

// Config says whose locks. Dir, Node and Log must be set.
type Config struct {
	Dir     string // of the node alone, for the log
	Node    locking.NodeID
	Host    string        // what the node is called, for people
	Session time.Duration // how long the node may be silent until it loses what it holds; 0: 30 s
	Mobile  bool          // it goes away, as a laptop does: others vote
	Witness bool          // it is there to vote, and has no folder
	// Leave returns what is left behind in scopes that are given up, for the next holder to have; nil: nothing ever. It is called
	// without any lock, and must end soon.
	Leave func(scopes []locking.Scope) []locking.Left
	// Note is told what becomes of this node's locks and delegations, each in its order; nil: nobody. It is called without any lock, and must not block.
	Note func(Note)
	Log  *slog.Logger
}

// usualSession is how long a node may be silent.
const usualSession = 30 * time.Second

// A Desk is one node's access to the locks. It is safe for concurrent use. Make it with Open, and Run it once.
type Desk struct {
	c        Config
	log      *slog.Logger
	quorum   *quorum.Quorum
	ctx      context.Context // ends with Run
	end      context.CancelFunc
	wg       sync.WaitGroup
	turns    chan struct{} // the loop has something to do
	quick    quickClock
	meetings chan meeting
	verified chan []verifying
	asking   chan struct{} // one for each question that is carried

	taking sync.Mutex // of takeStatus

	mu      sync.Mutex // of all below; nothing of quorum is called under it, for that calls the machine
	table   *locking.Table
	holder  *locking.Holder
	keeper  *locking.Keeper // nil: this node does not lead
	term    uint64          // in which it leads
	shared  bool            // others may be granted something
	sharing bool
	lines   map[locking.NodeID]*line
	early   map[locking.NodeID]standing // what members have told of themselves before there was a line to them
	carries map[locking.NodeID]*line    // who carries the messages of a node that this one, which leads, has no line to
	waiters map[locking.RequestID]*waiter
	status  quorum.Status
	queries map[uint64]chan answer
	ends    map[locking.RequestID][]chan locking.Reason // of Free: cap 1, told once
	asked   uint64
	unsure  []verifying             // letters to be sent when it is known that this node leads
	gone    map[locking.NodeID]bool // who is no member any more
	closed  bool                    // nothing more is asked for
	settled *settling               // nil: nobody waits for it
	retell  int                     // reviews in which all members are told again how this node stands
}

// Open reads what is on disk.
func Open(c Config) (*Desk, error) {
	if c.Session == 0 {
		c.Session = usualSession
	}
	d := &Desk{
		c: c, log: c.Log, turns: make(chan struct{}, 1), meetings: make(chan meeting, 64), verified: make(chan []verifying, 1),
		lines: make(map[locking.NodeID]*line), early: make(map[locking.NodeID]standing), carries: make(map[locking.NodeID]*line), asking: make(chan struct{}, maxCarriedAsks), waiters: make(map[locking.RequestID]*waiter), queries: make(map[uint64]chan answer), ends: make(map[locking.RequestID][]chan locking.Reason), gone: make(map[locking.NodeID]bool),
	}
	d.ctx, d.end = context.WithCancel(context.Background())
	d.table = locking.NewTable(d.watch)
	now, err := bootTime()
	if err != nil {
		return nil, err
	}
	d.holder = locking.NewHolder(c.Node, c.Host, c.Session, now, newRequest)
	d.quorum, err = quorum.Open(quorum.Config{Dir: c.Dir, Node: nameOf(c.Node), Machine: (*machine)(d), Dial: d.dial, Log: c.Log})
	if err != nil {
		d.end()
		return nil, fmt.Errorf("open lock table: %w", err)
	}
	return d, nil
}

// nameOf returns how the log names a node.
func nameOf(id locking.NodeID) quorum.NodeID { return quorum.NodeID(hex.EncodeToString(id[:])) }

// nodeOf returns which node the log names; the zero one where it is none.
func nodeOf(name quorum.NodeID) (id locking.NodeID) {
	if b, err := hex.DecodeString(string(name)); err == nil && len(b) == len(id) {
		copy(id[:], b)
	}
	return id
}

// newRequest makes an ID that nobody else makes.
func newRequest() (id locking.RequestID) {
	_, _ = rand.Read(id[:]) // never fails: crypto/rand
	return id
}

// now returns the time since the machine was started, sleep included.
func (d *Desk) now() time.Duration {
	now, err := bootTime()
	if err != nil { // it worked in Open
		d.log.Error("the clock cannot be read: no lock is held any more", "cause", err)
		d.end()
	}
	return now
}

// useTime is now for uses under what is held: there are many, and a lease has room for a millisecond.
func (d *Desk) useTime() time.Duration {
	now, err := d.quick.now()
	if err != nil {
		return d.now()
	}
	return now
}

// Run serves the locks until ctx ends. A node without a table founds one: it dissolves into that of others when it meets them.
func (d *Desk) Run(ctx context.Context) error {
	defer d.end()
	stop := context.AfterFunc(ctx, d.end)
	defer stop()
	d.wg.Go(d.conduct)
	d.wg.Go(d.verify)
	d.wake()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for d.ctx.Err() == nil {
		select {
		case <-d.ctx.Done():
		case <-d.turns:
		case <-timer.C:
		case <-d.quorum.Changes():
			d.standsOtherwise()
		}
		timer.Reset(d.turn())
	}
	return d.finish()
}

// finish ends all goroutines, and the log.
func (d *Desk) finish() error {
	d.refuse()
	d.wg.Wait()
	return d.quorum.Close()
}

// Close gives back what Open took, where Run is never called.
func (d *Desk) Close() error {
	d.end()
	return d.quorum.Close()
}

// wake has the loop turn. It does not block.
func (d *Desk) wake() {
	select {
	case d.turns <- struct{}{}:
	default:
	}
}

// mostIdle bounds how long the loop sleeps.
const mostIdle = time.Minute

// turn does what is due, and returns when to turn again.
func (d *Desk) turn() time.Duration {
	now := d.now()
	d.mu.Lock()
	var proposals []locking.Proposal
	var events []locking.Event
	for again := true; again; {
		letters := []locking.Letter(nil)
		if d.keeper != nil {
			out := d.keeper.Tick(now)
			proposals, letters = append(proposals, out.Propose...), out.Send
		}
		messages, happened := d.holder.Tick(now)
		events = append(events, happened...)
		again = d.post(now, letters)
		again = d.toLeader(now, messages) || again
	}
	next := d.holder.Next() - now
	keeper := d.keeper
	if keeper != nil {
		next = min(next, keeper.Next()-now)
	}
	d.settled = d.settled.look()
	owed := keeper == nil && d.holder.Owed(now)
	d.mu.Unlock()
	if owed {
		d.quorum.Suspect() // a leader that died without a word is missed at once, and not when its next sign of life is due
	}
	for _, p := range proposals {
		d.wg.Go(func() { d.propose(keeper, p) })
	}
	for _, e := range events {
		d.happened(e)
	}
	return min(max(next, time.Millisecond), mostIdle)
}

// toLeader brings what the holder says to the leader, and tells whether that is this node. Where there is none, it is lost, and said again.
func (d *Desk) toLeader(now time.Duration, messages []locking.Message) bool {
	if len(messages) == 0 {
		return false
	}
	if d.keeper != nil {
		for _, m := range messages {
			d.keeper.Receive(now, d.c.Node, m)
		}
		return true
	}
	l, kind := d.leader(), frameMessage
	if l == nil {
		l, kind = d.carrier(), frameCarry
	}
	if l != nil {
		for _, m := range messages {
			l.send(kind, locking.EncodeMessage(m))
		}
	}
	return false
}

// post sends the keeper's letters, and tells whether any was for this node. Those that need it wait until it is known that this node leads.
func (d *Desk) post(now time.Duration, letters []locking.Letter) (own bool) {
	for _, l := range letters {
		if l.Verify {
			d.unsure = append(d.unsure, verifying{d.keeper, l})
			continue
		}
		own = d.deliver(now, l) || own
	}
	if len(d.unsure) > 0 {
		select {
		case d.verified <- d.unsure:
			d.unsure = nil
		default: // a round is under way: they go with the next
		}
	}
	return own
}

func (d *Desk) deliver(now time.Duration, l locking.Letter) (own bool) {
	if l.To == d.c.Node {
		d.holder.Receive(now, l.Message)
		return true
	}
	if line := d.lines[l.To]; line != nil {
		line.send(frameMessage, locking.EncodeMessage(l.Message))
	} else {
		d.sendBack(l)
	}
	return false
}

// maxProposing bounds how long a command is waited for: who asked asks again.
const maxProposing = 10 * time.Second

// propose puts a command into the log, and tells the keeper what became of it.
func (d *Desk) propose(k *locking.Keeper, p locking.Proposal) {
	ctx, cancel := context.WithTimeout(d.ctx, maxProposing)
	defer cancel()
	_, reply, err := d.quorum.Propose(ctx, p.Command)
	if err != nil {
		reply = nil
		d.log.Debug("a lock command was not taken in", "cause", err)
	}
	now := d.now()
	d.mu.Lock()
	if d.keeper == k {
		k.Done(now, p, reply)
	}
	d.mu.Unlock()
	d.wake()
}

// A verifying is a letter of a keeper that waits for a round.
type verifying struct {
	keeper *locking.Keeper
	letter locking.Letter
}

// verify sends letters when it is known that this node leads. All that have gathered go with one round.
func (d *Desk) verify() {
	for {
		select {
		case <-d.ctx.Done():
			return
		case letters := <-d.verified:
			ctx, cancel := context.WithTimeout(d.ctx, maxProposing)
			err := d.quorum.Verify(ctx)
			cancel()
			if err != nil {
				d.log.Debug("it is not known whether this node leads the lock table", "cause", err)
				d.wake()
				continue
			}
			now := d.now()
			d.mu.Lock()
			for _, v := range letters {
				if v.keeper == d.keeper {
					d.deliver(now, v.letter)
				}
			}
			d.mu.Unlock()
			d.wake()
		}
	}
}

// watch takes note of a change of the table. It is called inside of Apply, with the mutex held.
func (d *Desk) watch(c locking.Change) {
	if d.keeper != nil {
		d.keeper.Changed(c)
	}
}

// machine is the Desk as the log drives it.
type machine Desk

var _ quorum.Machine = (*machine)(nil)

// Apply is for the log to call.
func (m *machine) Apply(index uint64, command []byte) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	result := m.table.Apply(index, command)
	(*Desk)(m).wake()
	return result
}

// Raise is for the log to call.
func (m *machine) Raise(generation uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.table.Raise(generation)
	(*Desk)(m).wake()
}

// Snapshot is for the log to call.
func (m *machine) Snapshot() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.table.Snapshot()
}

// Restore is for the log to call.
func (m *machine) Restore(snapshot []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if snapshot == nil {
		m.table, m.keeper = locking.NewTable((*Desk)(m).watch), nil
		return nil
	}
	return m.table.Restore(snapshot)
}

// dial opens a stream for the log to another voter.
func (d *Desk) dial(ctx context.Context, peer quorum.NodeID) (io.ReadWriteCloser, error) {
	d.mu.Lock()
	l := d.lines[nodeOf(peer)]
	d.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("node %s: %w", peer, errNotConnected)
	}
	return l.open(ctx, Log)
}

var errNotConnected = errors.New("not connected")
