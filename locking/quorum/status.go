package quorum

import "slices"

// A Role is a node's part in a table.
type Role string

const (
	NoTable Role = "none"   // it knows of no table
	Client  Role = "client" // it keeps no log
	Voter   Role = "voter"  // it keeps the log, or is about to be given it
)

// Status tells how things stand.
type Status struct {
	Role       Role
	Table      TableID
	Generation uint64 // the highest of the table that is known here
	Shared     bool
	Leader     NodeID // "": none is known, or this node is a client
	Leading    bool   // this node leads, and has applied all that was committed before it did
	Term       uint64 // Leading again in another term is another reign
	Voters     []NodeID
	Problem    error // why this node, though a voter, has no vote: a *DiskError, mostly
}

func (s Status) equal(o Status) bool {
	return s.Role == o.Role && s.Table == o.Table && s.Generation == o.Generation && s.Shared == o.Shared &&
		s.Leader == o.Leader && s.Leading == o.Leading && s.Term == o.Term && slices.Equal(s.Voters, o.Voters) && s.Problem == o.Problem
}

// Status returns how things stand now.
func (q *Quorum) Status() Status {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.status()
}

func (q *Quorum) status() Status {
	r := q.record
	s := Status{Role: NoTable, Table: r.table, Generation: r.generation, Shared: r.shared, Problem: q.problem}
	switch {
	case r.log != (LogID{}):
		s.Role = Voter
	case r.table != (TableID{}):
		s.Role = Client
	}
	if i := q.current.Load(); i != nil {
		_, leader := i.raft.LeaderWithID()
		s.Leader, s.Term, s.Leading = NodeID(leader), i.term(), i.leads()
		s.Voters = votersOf(i.configuration())
	}
	return s
}

// Changes is sent to when Status has changed; several changes may be told as one.
func (q *Quorum) Changes() <-chan struct{} { return q.changes }

// Standing returns what to tell another node when they meet. A client's caller fills in what it knows: Index, and Led.
func (q *Quorum) Standing() Standing {
	q.mu.Lock()
	defer q.mu.Unlock()
	r := q.record
	s := Standing{
		Node: q.config.Node, Table: r.table, Generation: r.generation, Seen: r.seen, Shared: r.shared,
		Voter: r.log != LogID{}, Alone: r.alone, Lapsed: r.lapsed,
	}
	if i := q.current.Load(); i != nil {
		_, leader := i.raft.LeaderWithID()
		s.Index, s.Led, s.Voters = i.raft.LastIndex(), leader != "", uint64(len(votersOf(i.configuration())))
	} else {
		s.Alone = false // it is not known how far the log goes: nothing follows from what others know of it
	}
	return s
}
