package replica

import (
	"slices"
	"time"

	"resonate/merkle"
)

// reserveAhead is how many stamps (microseconds) are reserved on disk at a time.
const reserveAhead = merkle.Stamp(time.Minute / time.Microsecond)

// stamps gives out this node's stamps: max(last + 1, wall clock in microseconds), never above what is reserved on
// disk, so that after a crash it continues above all it ever gave out.
type stamps struct {
	last     merkle.Stamp
	reserved merkle.Stamp             // on disk
	reserve  func(merkle.Stamp) error // puts a new mark on disk before it returns
	clock    func() time.Time

	given []merkle.Stamp // by this run, ascending: the newest of them
	floor merkle.Stamp   // of stamps up to here it is not known who gave them, unless they are in given
}

// maxGiven is how many stamps are remembered, at least, once so many were given.
const maxGiven = 1 << 16

func (s *stamps) next() (merkle.Stamp, error) {
	next := max(s.last+1, merkle.Stamp(max(0, s.clock().UnixMicro())))
	if next > s.reserved {
		mark := next + reserveAhead
		if err := s.reserve(mark); err != nil {
			return 0, err
		}
		s.reserved = mark
	}
	s.last = next
	if len(s.given) == 2*maxGiven {
		s.floor = max(s.floor, s.given[maxGiven-1])
		s.given = append(s.given[:0], s.given[maxGiven:]...)
	}
	s.given = append(s.given, next)
	return next, nil
}

// gave tells what is known of a stamp that is said to be this node's: whether this run gave it, or else whether an earlier
// one may have, or one whose state is lost.
func (s *stamps) gave(stamp merkle.Stamp) (yes, perhaps bool) {
	_, yes = slices.BinarySearch(s.given, stamp)
	return yes, stamp <= s.floor
}

// maxStamp is above all that a clock gives, by far, and leaves room above it: a peer that tells of a higher stamp lies, and would have the
// counter begin anew.
const maxStamp = merkle.Stamp(1) << 62

// above makes s continue above a stamp of this node that a peer has seen: its state may be older than its past.
func (s *stamps) above(seen merkle.Stamp) {
	if seen <= maxStamp {
		s.last = max(s.last, seen)
	}
}
