package quorum

import (
	"bytes"
	"cmp"
	"fmt"
)

// A Standing is what a node tells another of its table when they meet.
type Standing struct {
	Node       NodeID
	Table      TableID // zero: none
	Generation uint64  // of the table
	Seen       uint64  // the highest of any other
	Index      uint64  // how far this node knows the table's log
	Shared     bool    // others have used the table
	Voter      bool
	Alone      bool    // it is the only voter
	Led        bool    // the table's leader can be reached from there
	Lapsed     TableID // the table whose only voter this node was, until its log was lost
	Voters     uint64  // of a voter: how many there are, as far as it knows
}

// An Action is what a node does when it has met another.
type Action int

const (
	Stay   Action = iota // as things are
	Found                // call Quorum.Found: there is no table to follow
	Follow               // call Quorum.Follow: the other's table is to be had, or better
	Wait                 // the other one founds a table
)

func (a Action) String() string { return [...]string{"stay", "found", "follow", "wait"}[a] }

// A Verdict is what follows from a meeting.
type Verdict struct {
	Do  Action
	Why string
	// Raise is the generation to which the leader of the table is to raise it, 0: none. What follows the table waits for
	// that: its own tokens were of that generation or lower.
	Raise uint64
}

// Meet decides what the node at mine does about the one at theirs. Both decide alike, each for itself, and in whatever order
// tables meet, all end in the same one: a table that others have used comes before one of a lone node; then the higher
// generation, which one that was taken over has; then the smaller ID. Nothing depends on a table that is given up: what was
// locked in it is fenced, as the other's generation is raised above it.
func Meet(mine, theirs Standing) Verdict {
	switch {
	case mine.Table == TableID{} && theirs.Table == TableID{}:
		if mine.Node < theirs.Node {
			return Verdict{Do: Found, Why: "neither node has a lock table, and this one comes first"}
		}
		return Verdict{Do: Wait, Why: fmt.Sprintf("node %s founds the lock table", theirs.Node)}
	case mine.Table == TableID{} && theirs.Table == mine.Lapsed && !theirs.Led:
		return Verdict{Do: Found, Why: "this node was the table's only voter, and its log is lost or an old copy"}
	case mine.Table == TableID{}:
		return follow(mine, theirs, "the other has a lock table")
	case theirs.Table == TableID{}:
		return Verdict{Raise: over(mine, theirs)}
	case mine.Table == theirs.Table && mine.Alone && theirs.Index > mine.Index:
		return Verdict{Do: Found, Why: fmt.Sprintf("node %s knows entry %d of the log, and this node, the only voter, has %d: its log is an old copy", theirs.Node, theirs.Index, mine.Index)}
	case mine.Table == theirs.Table: // they may know of another that this one's leader has not met
		return Verdict{Raise: above(mine.Generation, max(mine.Seen, theirs.Seen))}
	case before(theirs, mine):
		return follow(mine, theirs, "its lock table comes before this one's")
	}
	return Verdict{Raise: over(mine, theirs)}
}

// before tells whether a's table is kept where a and b meet.
func before(a, b Standing) bool {
	if a.Shared != b.Shared {
		return a.Shared
	}
	return cmp.Or(-cmp.Compare(a.Generation, b.Generation), bytes.Compare(a.Table[:], b.Table[:])) < 0
}

func follow(mine, theirs Standing, why string) Verdict {
	return Verdict{Do: Follow, Why: why, Raise: over(theirs, mine)}
}

// over returns the generation that winner's table needs to be above all that loser has seen, 0: it is.
func over(winner, loser Standing) uint64 {
	return above(winner.Generation, max(loser.Seen, loser.Generation))
}

func above(generation, seen uint64) uint64 {
	if generation <= seen && seen > 0 {
		return seen + 1
	}
	return 0
}

const (
	stNode, stTable, stGeneration, stSeen, stIndex, stShared, stVoter, stAlone, stLed, stLapsed, stVoters = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11

	maxStanding = 1 << 10
)

// Encode returns the message that DecodeStanding reads.
func (s *Standing) Encode() []byte {
	b := appendBytes(nil, stNode, s.Node)
	b = appendBytes(b, stTable, s.Table[:])
	b = appendNumber(b, stGeneration, s.Generation)
	b = appendNumber(b, stSeen, s.Seen)
	b = appendNumber(b, stIndex, s.Index)
	b = appendFlag(b, stShared, s.Shared)
	b = appendFlag(b, stVoter, s.Voter)
	b = appendFlag(b, stAlone, s.Alone)
	b = appendFlag(b, stLed, s.Led)
	b = appendBytes(b, stLapsed, s.Lapsed[:])
	return appendNumber(b, stVoters, s.Voters)
}

// DecodeStanding reads a message from a peer. Whose it is, the caller checks.
func DecodeStanding(b []byte) (Standing, error) {
	var s Standing
	if len(b) > maxStanding {
		return s, fmt.Errorf("read standing: %w", malformed("%d bytes", len(b)))
	}
	err := fields(b, func(f field) error {
		switch f.tag {
		case stNode:
			s.Node = NodeID(f.bytes)
		case stTable:
			return setID(&s.Table, f)
		case stGeneration:
			s.Generation = f.number
		case stSeen:
			s.Seen = f.number
		case stIndex:
			s.Index = f.number
		case stShared:
			s.Shared = f.number != 0
		case stVoter:
			s.Voter = f.number != 0
		case stAlone:
			s.Alone = f.number != 0
		case stLed:
			s.Led = f.number != 0
		case stLapsed:
			return setID(&s.Lapsed, f)
		case stVoters:
			s.Voters = f.number
		}
		return nil
	})
	if err == nil && (len(s.Node) > maxNodeID || max(s.Generation, s.Seen) >= maxGeneration) {
		err = malformed("a node ID or generation")
	}
	if err != nil {
		return Standing{}, fmt.Errorf("read standing: %w", err)
	}
	return s, nil
}
