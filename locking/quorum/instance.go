package quorum

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

const (
	snapshotEvery = time.Minute // how often it is looked whether one is due
	snapshotAfter = 1024        // entries
	trailing      = 64          // entries that stay behind a snapshot, for who is a little late
)

// An end says why an instance cannot go on.
type end int

const (
	endDisk      end = iota + 1 // its log failed
	endForgotten                // its log is an old copy
	endRemoved                  // this node is no voter any more
	endUnfilled                 // nor was it to become one
)

// instance is one run of Raft on one log.
type instance struct {
	log       LogID
	store     *store
	transport *transport
	drive     *drive
	raft      *raft.Raft
	kick      func() // the Quorum is to look

	ready  chan struct{} // closed when raft is set
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex     // held to begin something pending, and to end that
	pending sync.WaitGroup // who waits for an answer of Raft's, which gives none once it is shut down

	full  chan struct{} // a snapshot is due
	ended atomic.Int32  // an end, the first
	reign atomic.Uint64 // the term in which this node leads, and has applied all that was committed before; 0: it does not
}

// start runs Raft on the log that the record names. A log that is founded and empty begins with this node as its only voter.
func (q *Quorum) start() (_ *instance, err error) {
	r := q.record
	dir := logDir(q.config.Dir, r.log)
	i := &instance{log: r.log, kick: q.wake, ready: make(chan struct{}), full: make(chan struct{}, 1)}
	i.ctx, i.cancel = context.WithCancel(context.Background())
	i.store, err = openStore(dir, q.hclog, q.fault, i.fail)
	if err != nil {
		return nil, err
	}
	i.transport = newTransport(&q.config, q.pace, r, i)
	i.drive = &drive{
		machine: q.config.Machine,
		full: func() {
			select {
			case i.full <- struct{}{}:
			default:
			}
		},
		configured: q.wake,
	}
	if err = i.drive.reset(); err == nil {
		err = i.run(q, dir)
	}
	if err != nil {
		i.transport.Close()
		i.store.release()
		i.cancel()
		return nil, errors.Join(fmt.Errorf("start lock log: %w", err), i.store.close())
	}
	if err = i.store.problem(); err == nil && r.place == (place{}) {
		r.place, err = placeOf(dir)
		if err == nil {
			err = q.save()
		}
	}
	if err != nil {
		i.stop()
		return nil, err
	}
	return i, nil
}

func (i *instance) run(q *Quorum, dir string) error {
	conf := q.raftConfig()
	snaps, err := q.snapshots(dir)
	if err != nil {
		return err
	}
	old, err := raft.HasExistingState(i.store, i.store, snaps)
	if err == nil && !old && q.record.founded && q.record.place == (place{}) {
		alone := raft.Configuration{Servers: []raft.Server{{Suffrage: raft.Voter, ID: conf.LocalID, Address: i.transport.LocalAddr()}}}
		err = raft.BootstrapCluster(conf, i.store, i.store, snaps, i.transport, alone)
	}
	if err != nil {
		return err
	}
	i.raft, err = raft.NewRaft(conf, i.drive, i.store, i.store, snaps, i.transport)
	if err != nil {
		return err
	}
	close(i.ready)
	events := make(chan raft.Observation, 1)
	i.raft.RegisterObserver(raft.NewObserver(events, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.LeaderObservation, raft.RaftState:
			return true
		}
		return false
	}))
	if votes := votersOf(i.configuration()); len(votes) == 1 && votes[0] == q.config.Node {
		// Who votes alone need not wait whether somebody leads.
		i.wg.Go(func() {
			i.transport.submit(&raft.TimeoutNowRequest{RPCHeader: i.transport.header(q.config.Node, i.log)}, nil, false)
		})
	}
	i.wg.Go(func() { i.watch(q, events) })
	i.wg.Go(i.trim)
	return nil
}

func (q *Quorum) raftConfig() *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(q.config.Node)
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = q.pace.raft, q.pace.raft, q.pace.raft
	c.CommitTimeout = q.pace.commit
	c.SnapshotInterval, c.SnapshotThreshold, c.TrailingLogs = snapshotEvery, snapshotAfter, trailing
	c.NoLegacyTelemetry = true
	c.Logger = q.hclog
	return c
}

func (q *Quorum) snapshots(dir string) (raft.SnapshotStore, error) {
	s, err := raft.NewFileSnapshotStoreWithLogger(dir, 1, q.hclog)
	if err != nil {
		return nil, &DiskError{dir, err}
	}
	return s, nil
}

// finish notes why the instance cannot go on; the Quorum ends it.
func (i *instance) finish(why end) {
	if i.ended.CompareAndSwap(0, int32(why)) {
		i.kick()
	}
}

// fail is told that the log on disk has failed.
func (i *instance) fail() {
	i.finish(endDisk)
	select {
	case <-i.ready:
	default:
		i.store.release() // start waits for the library, which writes before it is ready; then it looks whether that went well
	}
}

// stop ends the instance, and waits for all of it. Its streams are cut first, so that nothing it does at the end counts.
func (i *instance) stop() error {
	i.mu.Lock()
	i.cancel()
	i.mu.Unlock()
	i.transport.Close()
	i.store.release()
	i.pending.Wait() // without streams, a leader of several ceases to be one
	err := i.raft.Shutdown().Error()
	i.wg.Wait()
	return errors.Join(err, i.store.close())
}

// watch follows who leads, until the instance is stopped.
func (i *instance) watch(q *Quorum, events <-chan raft.Observation) {
	begun := time.Now()
	for {
		if term := i.term(); i.raft.State() == raft.Leader && i.reign.Load() != term {
			if i.accede(q.generation()) == nil && i.term() == term {
				i.reign.Store(term)
			}
		}
		if i.raft.State() != raft.Leader && i.reign.Swap(0) != 0 {
			i.transport.retire()
		}
		i.kick()
		var again <-chan time.Time
		switch {
		case i.raft.State() == raft.Leader && i.reign.Load() != i.term():
			again = time.After(q.pace.raft)
		case i.left():
			i.inquire()
			again = time.After(q.pace.calm)
		case i.unfilled():
			if left := q.pace.long - time.Since(begun); left > 0 {
				again = time.After(left)
			} else {
				i.finish(endUnfilled)
			}
		}
		select {
		case <-events:
		case <-again:
		case <-i.ctx.Done():
			return
		}
	}
}

// left tells whether this log has no place in the table, by what it holds itself, and nobody leads it: it may have been taken
// out, or be about to be taken in.
func (i *instance) left() bool {
	_, leader := i.raft.LeaderWithID()
	c := i.configuration()
	return leader == "" && len(c.Servers) > 0 && !lists(c, i.transport.node)
}

// unfilled tells whether nobody has put anything into this log: it was begun for one who opened a stream, and was no leader.
func (i *instance) unfilled() bool {
	_, leader := i.raft.LeaderWithID()
	return leader == "" && len(i.configuration().Servers) == 0
}

// inquire asks those in the table, of whom the leader tells whether this node was taken out: what the log says may not have
// been written by a majority, and then it counts on this log.
func (i *instance) inquire() {
	for _, s := range i.configuration().Servers {
		ctx, cancel := context.WithTimeout(i.ctx, i.transport.pace.short)
		p := i.transport.peer(NodeID(s.ID))
		if l, err := i.transport.open(ctx, p); err == nil {
			p.put(l)
		}
		cancel()
	}
}

// accede waits until all that was committed before is applied here, and raises the generation to what this node was told.
func (i *instance) accede(generation uint64) error {
	if !i.begin() {
		return errStopped
	}
	defer i.pending.Done()
	if err := i.raft.Barrier(0).Error(); err != nil {
		return err
	}
	if i.drive.generation.Load() >= generation {
		return nil
	}
	return i.raft.Apply(raiseEntry(generation), 0).Error()
}

// trim takes a snapshot when much has been logged since the last.
func (i *instance) trim() {
	for {
		select {
		case <-i.full:
			if i.begin() {
				i.raft.Snapshot().Error() // the library tries again by itself, too
				i.pending.Done()
			}
		case <-i.ctx.Done():
			return
		}
	}
}

func (i *instance) term() uint64 { return i.raft.CurrentTerm() }

// leads tells whether this node leads, and has applied all that was committed before it did.
func (i *instance) leads() bool {
	return i.reign.Load() != 0 && i.raft.State() == raft.Leader && i.reign.Load() == i.term()
}

func (i *instance) mark() mark {
	<-i.ready
	stats := i.raft.Stats()
	number := func(name string) uint64 {
		n, _ := strconv.ParseUint(stats[name], 10, 64)
		return n
	}
	m := mark{number("term"), number("last_log_term"), number("last_log_index")}
	return m.join(mark{logTerm: number("last_snapshot_term"), index: number("last_snapshot_index")})
}

func (i *instance) configuration() raft.Configuration {
	<-i.ready
	f := i.raft.GetConfiguration()
	if f.Error() != nil {
		return raft.Configuration{}
	}
	return f.Configuration()
}

// expelled tells whether this node leads, and another is no voter of the table, nor about to be one: as a majority has written.
func (i *instance) expelled(id NodeID) bool {
	<-i.ready
	c := i.drive.committed.Load()
	return i.leads() && c != nil && !lists(*c, id) && !lists(i.configuration(), id)
}

func lists(c raft.Configuration, id NodeID) bool {
	return slices.ContainsFunc(c.Servers, func(s raft.Server) bool { return s.ID == raft.ServerID(id) })
}

func (i *instance) forgot(NodeID)  { i.finish(endForgotten) }
func (i *instance) removed(NodeID) { i.finish(endRemoved) }

var _ host = (*instance)(nil)

// recover makes this node the only voter of the log in dir, whoever else was; Raft does not run on it.
func (q *Quorum) recover() error {
	dir := logDir(q.config.Dir, q.record.log)
	s, err := openStore(dir, q.hclog, q.fault, func() {})
	if err != nil {
		return err
	}
	defer s.close()
	s.release() // nothing here is Raft's loop: a failure is looked for at the end
	snaps, err := q.snapshots(dir)
	if err != nil {
		return err
	}
	d := &drive{machine: q.config.Machine, full: func() {}, configured: func() {}}
	if err := d.reset(); err != nil {
		return err
	}
	conf := q.raftConfig()
	alone := raft.Configuration{Servers: []raft.Server{{Suffrage: raft.Voter, ID: conf.LocalID, Address: raft.ServerAddress(q.record.log.String())}}}
	t := &transport{log: q.record.log} // for its address
	if err := raft.RecoverCluster(conf, d, s, s, snaps, t, alone); err != nil {
		return fmt.Errorf("take over lock log: %w", err)
	}
	return s.problem()
}
