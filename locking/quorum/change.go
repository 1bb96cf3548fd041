package quorum

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// Found makes this node the only voter of a new table, whose generation is above all that it has seen. What it had before is
// dissolved. It leads a moment later: see Status.
func (q *Quorum) Found() error {
	return q.change(func(r *record) error {
		q.drop()
		r.enter(newID(), r.highest()+1)
		r.log, r.founded, r.alone = newID(), true, true
		return nil
	}, nil)
}

// Follow makes this node a client of the others' table, at the generation that it has there. What this node had before is
// dissolved. Whoever leads the table may make the node a voter later, which needs nothing here. It fails with ErrRaise
// while the generation is not above all that this node has seen.
func (q *Quorum) Follow(table TableID, generation uint64) error {
	if table == (TableID{}) || generation == 0 || generation >= maxGeneration {
		return fmt.Errorf("follow table %s of generation %d: %w", table, generation, ErrFormat)
	}
	low := func(r *record) error {
		if seen := r.highest(); generation <= seen && seen > 0 {
			return fmt.Errorf("follow table %s of generation %d: %w: %d", table, generation, ErrRaise, seen)
		}
		return nil
	}
	q.mu.Lock()
	same, early := q.record.table == table, low(q.record)
	q.mu.Unlock()
	if same {
		return nil
	}
	if early != nil { // what runs here goes on meanwhile: others may wait for its leader, too
		return early
	}
	return q.change(func(r *record) error {
		if err := low(r); err != nil {
			return err
		}
		q.drop()
		r.enter(table, generation)
		r.shared = true
		r.marks = make(map[NodeID]known)
		return nil
	}, nil)
}

// TakeOver makes this node the only voter, by hand: for when the others are lost for good. A voter's log is kept, a client
// begins an empty one; either is a new table, of a higher generation, which the others follow if they return after all.
func (q *Quorum) TakeOver() error {
	q.mu.Lock()
	voter := q.record.log != LogID{} && q.record.place != place{}
	if i := q.current.Load(); i != nil && len(i.configuration().Servers) == 0 {
		voter = false // a leader was about to give it the log, and has not
	}
	q.mu.Unlock()
	if !voter {
		if err := q.Found(); err != nil {
			return err
		}
		return q.Share()
	}
	// The record goes first: a log that only this node votes in must not be of the table that the others have.
	return q.change(func(r *record) error {
		r.enter(newID(), r.highest()+1)
		r.shared, r.alone, r.founded = true, true, true
		return nil
	}, q.recover)
}

// change ends what runs, has f change the record, runs then, if it is given, and begins what the record says. If f or the saving
// fails, what was there goes on.
func (q *Quorum) change(f func(*record) error, then func() error) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return errStopped
	}
	if i := q.current.Load(); i != nil {
		q.record.marks = i.transport.marks()
		q.current.Store(nil)
		if err := i.stop(); err != nil {
			q.log.Warn("the lock log did not end cleanly", "cause", err)
		}
	}
	defer q.wake()
	q.again, q.problem = time.Time{}, nil
	old := *q.record
	err := f(q.record)
	if err == nil {
		err = q.save()
	}
	if err != nil {
		*q.record = old
		q.raisedTo.Store(old.generation)
		return err
	}
	if then != nil {
		if err := then(); err != nil {
			return err
		}
	}
	if err := sweep(q.config.Dir, q.record.log); err != nil {
		q.log.Warn("an earlier lock log cannot be removed", "cause", err)
	}
	if q.record.log != (LogID{}) {
		q.revive()
		return q.problem
	}
	return nil
}

// Share notes that others use the table, which therefore comes before a lone node's: before anything is granted to another
// node. It costs nothing when that is known.
func (q *Quorum) Share() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.share()
}

func (q *Quorum) share() error {
	if q.record.shared {
		return nil
	}
	q.record.shared = true
	if err := q.save(); err != nil {
		q.record.shared = false
		return err
	}
	q.wake()
	return nil
}

// Note notes what generations another node knows of: of this node's table, which a client hears of in no other way, and whether others
// use it; and of other tables, above which who leads this one raises it (see Meet), and one that is founded here later comes.
func (q *Quorum) Note(theirs Standing) error {
	if highest := max(theirs.Generation, theirs.Seen); highest >= maxGeneration {
		return fmt.Errorf("note generation %d: %w", highest, ErrFormat)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	r := q.record
	if theirs.Table != r.table || r.table == (TableID{}) {
		return q.raise(&r.seen, max(theirs.Generation, theirs.Seen))
	}
	if err := q.raise(&r.generation, theirs.Generation); err != nil {
		return err
	}
	if err := q.raise(&r.seen, theirs.Seen); err != nil || r.shared || !theirs.Shared {
		return err
	}
	return q.share() // else its nodes would not agree on which table comes before which
}

// raise raises a number of the record, on disk as well. The caller holds the mutex.
func (q *Quorum) raise(number *uint64, to uint64) error {
	before := *number
	if to <= before {
		return nil
	}
	*number = to
	if err := q.save(); err != nil {
		*number = before
		q.raisedTo.Store(q.record.generation)
		return err
	}
	return nil
}

// Accept takes in a stream that a peer opened with its Dial, and closes it in the end; whether the peer is a member the caller
// has checked. A client of the table that the stream is about becomes a voter to be. On error the stream is still the
// caller's, to refuse.
func (q *Quorum) Accept(peer NodeID, s io.ReadWriteCloser) error {
	i := q.current.Load()
	if i == nil {
		var err error
		if i, err = q.enlist(); err != nil {
			return err
		}
	}
	return i.transport.accept(peer, s)
}

// enlist begins a log for a leader to fill.
func (q *Quorum) enlist() (*instance, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	r := q.record
	switch i := q.current.Load(); {
	case q.closed:
		return nil, errStopped
	case i != nil:
		return i, nil
	case q.problem != nil:
		return nil, q.problem
	case r.table == TableID{}:
		return nil, ErrNoTable
	case r.log != LogID{}:
		return nil, errors.New("the lock log is not running yet")
	}
	r.log = newID()
	if err := q.save(); err != nil {
		q.drop()
		return nil, err
	}
	q.revive()
	if q.problem != nil {
		return nil, q.problem
	}
	q.wake()
	return q.current.Load(), nil
}

// Suspect is told when the leader owes an answer for long: it is not taken for alive any more until it is heard.
func (q *Quorum) Suspect() {
	if i := q.current.Load(); i != nil {
		i.transport.distrust(time.Now())
	}
}
