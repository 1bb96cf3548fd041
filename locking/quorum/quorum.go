// Package quorum keeps a log that a majority of a few nodes agrees on, and drives a state machine with it: the lock table, of
// which it knows nothing.
//
// A node founds a table, as its only voter; or follows the table of others, as a client that keeps no log, until the leader
// makes it a voter. Who votes is decided by rule (Voters), and so is which table is kept where two meet (Meet). Nothing
// depends on a table: one that is given up is dissolved, and each has a generation, which is above those of all tables that
// its members have seen, so that what was granted by an earlier one is fenced.
//
// The log is Raft's: the library's is used for elections, replication and the files. The transport is our own, on streams
// that somebody hands in, for four reasons: what a voter may send is bounded before memory is taken for it, and cannot end
// the program; who sends is known from the stream; a log that is restored from an old copy, or began anew, is found out
// before it votes; and an idle table's heartbeats cost next to nothing (see credit).
package quorum

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// Config says whose log it is, and what it drives. All but Log must be set.
type Config struct {
	Dir     string // of the node alone, for the log and what belongs to it; made if it is not there
	Node    NodeID // this node
	Machine Machine
	// Dial opens a stream to another member for Accept to be given there, until ctx ends. Closing the stream ends what reads
	// or writes it, by then the session's end; it is called at once from several goroutines.
	Dial func(ctx context.Context, peer NodeID) (io.ReadWriteCloser, error)
	Log  *slog.Logger // nil: discard
}

var (
	// ErrNoMajority: no majority of the voters can be reached. What was asked for was not done.
	ErrNoMajority = errors.New("no majority of the voters can be reached")
	// ErrUnknown: a command may have been taken in, or may be yet. Propose it again, with the same request ID.
	ErrUnknown = errors.New("it is not known whether the command was taken in")
	// ErrNoTable: this node has no log: it is a client of a table, or has none.
	ErrNoTable = errors.New("this node keeps no lock log")
	// ErrRaise: the table's generation must be raised by its leader before this node follows it.
	ErrRaise = errors.New("the table's generation is not above what this node has seen")

	errStopped = errors.New("the lock log has been stopped")
)

// NotLeader tells that another node leads, or none that is known of: then Leader is empty, and there may be one soon.
type NotLeader struct{ Leader NodeID }

func (e *NotLeader) Error() string {
	if e.Leader == "" {
		return "nobody leads the lock table at the moment"
	}
	return fmt.Sprintf("node %s leads the lock table", e.Leader)
}

// A Quorum is one node's part in a table. It is safe for concurrent use.
type Quorum struct {
	config  Config
	pace    pace
	fault   func(op string) error // of tests
	log     *slog.Logger
	hclog   hclog.Logger
	changes chan struct{}
	look    chan struct{}
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	current  atomic.Pointer[instance]
	raisedTo atomic.Uint64 // record.generation

	mu      sync.Mutex
	record  *record
	problem error
	again   time.Time // when a log that failed is to be tried next
	pause   time.Duration
	last    Status
	closed  bool
}

// Open reads what is on disk, and takes part in the table as before. A log that cannot be read or written is no error: Status
// tells it, and it is tried again.
func Open(c Config) (*Quorum, error) { return open(c, lan, nil) }

func open(c Config, p pace, fault func(string) error) (*Quorum, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Node == "" || len(c.Node) > maxNodeID {
		return nil, fmt.Errorf("open lock log: a node ID of %d bytes, want 1 to %d", len(c.Node), maxNodeID)
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open lock log: %w", err)
	}
	r, err := loadRecord(c.Dir, c.Node)
	if err != nil {
		return nil, err
	}
	q := &Quorum{
		config: c, pace: p, fault: fault, log: c.Log, hclog: logger(c.Log), record: r,
		changes: make(chan struct{}, 1), look: make(chan struct{}, 1), pause: p.retry,
	}
	q.ctx, q.cancel = context.WithCancel(context.Background())
	q.raisedTo.Store(r.generation)
	if err := q.resume(); err != nil {
		return nil, err
	}
	q.wg.Go(q.run)
	q.wake()
	return q, nil
}

// resume begins with what the record says, unless its log is not the one that was written here.
func (q *Quorum) resume() error {
	r := q.record
	if r.log == (LogID{}) {
		return sweep(q.config.Dir, r.log)
	}
	if r.place != (place{}) {
		at, err := placeOf(logDir(q.config.Dir, r.log))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if at != r.place {
			q.log.Warn("the lock log is lost, or a copy: this node votes again when the leader has taken it in anew", "dir", q.config.Dir)
			return q.forget()
		}
	}
	return sweep(q.config.Dir, r.log)
}

// forget gives up the log, which is not what it was or is needed no more. The caller holds the mutex, or is alone.
func (q *Quorum) forget() error {
	r := q.record
	if r.alone {
		r.lapsed, r.table = r.table, TableID{}
	}
	q.drop()
	if err := q.save(); err != nil {
		return err
	}
	return sweep(q.config.Dir, r.log)
}

// drop makes the record that of a node without a log.
func (q *Quorum) drop() {
	r := q.record
	r.log, r.place, r.founded, r.alone = LogID{}, place{}, false, false
}

func (q *Quorum) save() error {
	r := q.record
	if i := q.current.Load(); i != nil {
		r.marks = i.transport.marks()
	}
	q.raisedTo.Store(r.generation)
	return r.save(q.config.Dir, q.config.Node)
}

func (q *Quorum) generation() uint64 { return q.raisedTo.Load() }

// Close ends it, and waits for all of it.
func (q *Quorum) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return nil
	}
	q.closed = true
	q.cancel()
	err := q.save()
	if i := q.current.Swap(nil); i != nil {
		err = errors.Join(err, i.stop())
	}
	q.mu.Unlock()
	q.wg.Wait()
	q.mu.Lock()
	return err
}

// wake has run look around. It does not block.
func (q *Quorum) wake() {
	select {
	case q.look <- struct{}{}:
	default:
	}
}

// run ends instances that cannot go on, begins those that can, and tells what has changed.
func (q *Quorum) run() {
	for {
		wait := q.attend()
		var soon <-chan time.Time
		if wait > 0 {
			soon = time.After(wait)
		}
		select {
		case <-q.look:
		case <-soon:
		case <-q.ctx.Done():
			return
		}
	}
}

// attend does what there is to do, and returns when to look again, 0: when woken.
func (q *Quorum) attend() (wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return 0
	}
	if i := q.current.Load(); i != nil && i.ended.Load() != 0 {
		q.bury(i)
	}
	if q.current.Load() == nil && q.record.log != (LogID{}) {
		if wait = time.Until(q.again); wait <= 0 {
			wait = q.revive()
		}
	}
	q.follow()
	if s := q.status(); !s.equal(q.last) {
		q.last = s
		select {
		case q.changes <- struct{}{}:
		default:
		}
	}
	return wait
}

// revive begins an instance; if it cannot, it returns when to try again.
func (q *Quorum) revive() time.Duration {
	i, err := q.start()
	if err == nil {
		q.current.Store(i)
		q.problem, q.pause = nil, q.pace.retry
		return 0
	}
	return q.defeat(err)
}

// defeat notes why there is no instance, and returns when to try again.
func (q *Quorum) defeat(err error) time.Duration {
	if q.problem == nil || q.problem.Error() != err.Error() {
		q.log.Warn("the lock log cannot be used; trying again", "cause", err)
	}
	q.problem = err
	q.pause = min(2*q.pause, 16*q.pace.retry)
	q.again = time.Now().Add(q.pause)
	return q.pause
}

// bury ends an instance that cannot go on.
func (q *Quorum) bury(i *instance) {
	why := i.store.problem()
	q.current.Store(nil)
	q.record.marks = i.transport.marks()
	i.stop()
	switch end(i.ended.Load()) {
	case endDisk:
		q.pause = q.pace.retry / 2
		q.defeat(why)
		return
	case endForgotten:
		q.log.Warn("the lock log is an old copy: this node votes again when the leader has taken it in anew", "dir", q.config.Dir)
	case endRemoved:
		q.log.Info("this node is no voter of the lock table any more", "table", q.record.table)
	}
	if err := q.forget(); err != nil {
		q.defeat(err)
	}
}

// follow keeps the record in step with the log.
func (q *Quorum) follow() {
	i := q.current.Load()
	if i == nil {
		return
	}
	r := q.record
	before := *r
	r.generation = max(r.generation, i.drive.generation.Load())
	if voters := votersOf(i.configuration()); len(voters) > 0 {
		r.alone = slices.Equal(voters, []NodeID{q.config.Node})
		r.shared = r.shared || len(voters) > 1
	}
	if before.generation == r.generation && before.alone == r.alone && before.shared == r.shared {
		return
	}
	if err := q.save(); err != nil {
		q.log.Warn("the lock table's record cannot be written", "cause", err)
		r.generation, r.alone, r.shared = before.generation, before.alone, before.shared // tried again when something changes
	}
}

func votersOf(c raft.Configuration) []NodeID {
	var out []NodeID
	for _, s := range c.Servers {
		if s.Suffrage == raft.Voter {
			out = append(out, NodeID(s.ID))
		}
	}
	slices.Sort(out)
	return out
}
