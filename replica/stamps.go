package replica

import (
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
}

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
	return next, nil
}

// above makes s continue above a stamp of this node that a peer has seen: its state may be older than its past.
func (s *stamps) above(seen merkle.Stamp) { s.last = max(s.last, seen) }
