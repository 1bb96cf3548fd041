package quorum

import (
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// MaxCommand bounds a command, in bytes.
const MaxCommand = 1 << 20

const (
	maxEntries  = 64                           // of one message
	maxPart     = 256 << 10                    // of the entries of one message, but for the last: heartbeats wait behind it
	maxRequest  = maxPart + MaxCommand + 8<<10 // the rest: 100 bytes for each entry, and what frames them
	maxAnswer   = 1 << 10
	maxGreeting = 1 << 10
	maxReason   = 300
	maxNodeID   = 128
	maxSnapshot = 64 << 20
	maxServers  = 64       // of a configuration
	maxConfig   = 64 << 10 // the same, in bytes
)

// A kind says what a request asks for.
type kind uint64

const (
	kindAppend kind = iota + 1
	kindPreVote
	kindVote
	kindSnapshot
	kindNow   // lead now: the leader hands over
	kindAlive // somebody doubts that the leader lives: it is to say so, to all
)

// A request is one of Raft's, as it crosses a stream. Who asks is not in it: the stream says that.
type request struct {
	kind    kind
	term    uint64
	index   uint64 // of the entry before, or the last that the candidate or the snapshot has
	logTerm uint64 // of that entry
	commit  uint64
	entries []*raft.Log
	flag    bool   // of a vote: the leader hands over
	next    uint64 // of a heartbeat: the next comes within so many milliseconds

	config      []byte // of a snapshot
	configIndex uint64
	size        uint64
}

// heartbeat tells whether it only says that the leader lives.
func (q *request) heartbeat() bool {
	return q.kind == kindAppend && q.index == 0 && q.logTerm == 0 && q.commit == 0 && len(q.entries) == 0
}

// An answer is the answer to a request.
type answer struct {
	term      uint64
	lastIndex uint64
	granted   bool // or success
	noBackoff bool
	reason    string // why nothing was done
}

const (
	reqKind, reqTerm, reqIndex, reqLogTerm, reqCommit, reqEntry, reqFlag, reqNext, reqConfig, reqConfigIndex, reqSize = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11

	entryIndex, entryTerm, entryType, entryData, entryTime = 1, 2, 3, 4, 5

	ansTerm, ansLast, ansGranted, ansNoBackoff, ansReason = 1, 2, 3, 4, 15
)

func (q *request) encode() []byte {
	b := appendNumber(nil, reqKind, uint64(q.kind))
	b = appendNumber(b, reqTerm, q.term)
	b = appendNumber(b, reqIndex, q.index)
	b = appendNumber(b, reqLogTerm, q.logTerm)
	b = appendNumber(b, reqCommit, q.commit)
	for _, e := range q.entries {
		b = appendBytes(b, reqEntry, encodeEntry(e))
	}
	b = appendFlag(b, reqFlag, q.flag)
	b = appendNumber(b, reqNext, q.next)
	b = appendBytes(b, reqConfig, q.config)
	b = appendNumber(b, reqConfigIndex, q.configIndex)
	return appendNumber(b, reqSize, q.size)
}

func encodeEntry(e *raft.Log) []byte {
	b := make([]byte, 0, len(e.Data)+40)
	b = appendNumber(b, entryIndex, e.Index)
	b = appendNumber(b, entryTerm, e.Term)
	b = appendNumber(b, entryType, uint64(e.Type))
	b = appendBytes(b, entryData, e.Data)
	if !e.AppendedAt.IsZero() {
		b = appendNumber(b, entryTime, uint64(e.AppendedAt.UnixNano()))
	}
	return b
}

// decodeRequest reads a request. What Raft would end the program for (an unknown type of entry, a configuration that cannot
// be read) is an error here.
func decodeRequest(b []byte) (*request, error) {
	q := new(request)
	err := fields(b, func(f field) error {
		switch f.tag {
		case reqKind:
			q.kind = kind(f.number)
		case reqTerm:
			q.term = f.number
		case reqIndex:
			q.index = f.number
		case reqLogTerm:
			q.logTerm = f.number
		case reqCommit:
			q.commit = f.number
		case reqEntry:
			if len(q.entries) == maxEntries {
				return malformed("more than %d entries", maxEntries)
			}
			e, err := decodeEntry(f.bytes)
			q.entries = append(q.entries, e)
			return err
		case reqFlag:
			q.flag = f.number != 0
		case reqNext:
			q.next = f.number
		case reqConfig:
			q.config = f.bytes
		case reqConfigIndex:
			q.configIndex = f.number
		case reqSize:
			q.size = f.number
		}
		return nil
	})
	if err == nil {
		err = q.check()
	}
	if err != nil {
		return nil, fmt.Errorf("read request: %w", err)
	}
	return q, nil
}

// check tells what of a request Raft must not be shown.
func (q *request) check() error {
	switch {
	case q.kind < kindAppend || q.kind > kindAlive:
		return malformed("kind %d is not known", q.kind)
	case q.size > maxSnapshot:
		return malformed("a snapshot of %d bytes, at most %d are taken", q.size, maxSnapshot)
	case q.term == 0 && q.kind < kindNow:
		return malformed("no term")
	}
	for i, e := range q.entries {
		if e.Index != q.index+uint64(i)+1 || e.Term < q.logTerm || e.Term > q.term {
			return malformed("entry %d of term %d, %d after entry %d of term %d", e.Index, e.Term, i+1, q.index, q.logTerm)
		}
	}
	if q.kind == kindSnapshot {
		return checkConfiguration(q.config)
	}
	return nil
}

func decodeEntry(b []byte) (*raft.Log, error) {
	e := new(raft.Log)
	err := fields(b, func(f field) error {
		switch f.tag {
		case entryIndex:
			e.Index = f.number
		case entryTerm:
			e.Term = f.number
		case entryType:
			if f.number > uint64(raft.LogConfiguration) {
				return malformed("an entry of type %d", f.number)
			}
			e.Type = raft.LogType(f.number)
		case entryData:
			e.Data = f.bytes
		case entryTime:
			e.AppendedAt = time.Unix(0, int64(f.number))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return e, checkEntry(e)
}

// checkEntry tells what of an entry, of a peer or of the disk, Raft must not be shown, as it would end the program.
func checkEntry(e *raft.Log) error {
	switch e.Type {
	case raft.LogCommand:
		if len(e.Data) > MaxCommand+1 {
			return malformed("a command of %d bytes, at most %d are taken", len(e.Data), MaxCommand)
		}
	case raft.LogNoop, raft.LogBarrier:
	case raft.LogConfiguration:
		return checkConfiguration(e.Data)
	default:
		return malformed("an entry of type %d", e.Type)
	}
	return nil
}

// checkConfiguration tells whether raft.DecodeConfiguration, which panics, can be trusted with b.
func checkConfiguration(b []byte) (err error) {
	if len(b) > maxConfig {
		return malformed("a configuration of %d bytes, at most %d are taken", len(b), maxConfig)
	}
	defer func() {
		if r := recover(); r != nil {
			err = malformed("a configuration: %v", r)
		}
	}()
	if n := len(raft.DecodeConfiguration(b).Servers); n > maxServers {
		return malformed("a configuration of %d servers, at most %d are taken", n, maxServers)
	}
	return nil
}

func (a *answer) encode() []byte {
	b := appendNumber(nil, ansTerm, a.term)
	b = appendNumber(b, ansLast, a.lastIndex)
	b = appendFlag(b, ansGranted, a.granted)
	b = appendFlag(b, ansNoBackoff, a.noBackoff)
	return appendBytes(b, ansReason, clip(a.reason, maxReason))
}

func decodeAnswer(b []byte) (answer, error) {
	var a answer
	err := fields(b, func(f field) error {
		switch f.tag {
		case ansTerm:
			a.term = f.number
		case ansLast:
			a.lastIndex = f.number
		case ansGranted:
			a.granted = f.number != 0
		case ansNoBackoff:
			a.noBackoff = f.number != 0
		case ansReason:
			a.reason = clip(string(f.bytes), maxReason)
		}
		return nil
	})
	if err != nil {
		return answer{}, fmt.Errorf("read answer: %w", err)
	}
	return a, nil
}

func clip(s string, n int) string { return s[:min(len(s), n)] }

// A mark is how far a log has come: neither number ever falls, of one log.
type mark struct {
	term    uint64 // the highest it has voted or followed in
	logTerm uint64 // of its last entry
	index   uint64 // of its last entry
}

// behind tells whether a log at m cannot have been at other: it has forgotten something.
func (m mark) behind(other mark) bool {
	return m.term < other.term || m.logTerm < other.logTerm || m.logTerm == other.logTerm && m.index < other.index
}

// join returns what is known of a log of which both are known.
func (m mark) join(other mark) mark {
	m.term = max(m.term, other.term)
	if other.logTerm > m.logTerm || other.logTerm == m.logTerm && other.index > m.index {
		m.logTerm, m.index = other.logTerm, other.index
	}
	return m
}

// A greeting is the first message in both directions of a stream: which table and log it is about, and what the one has seen
// of the other's log, so that a log restored from an old copy is found out before it votes.
type greeting struct {
	table   TableID
	log     LogID
	seenLog LogID // of the other, zero: nothing
	seen    mark

	refusal string // nothing else follows
	removed bool   // the refusal is the leader's: the other is no voter any more
}

const greetTable, greetLog, greetSeenLog, greetSeen, greetRemoved, greetRefusal = 1, 2, 3, 4, 14, 15

func (g *greeting) encode() []byte {
	b := appendBytes(nil, greetTable, g.table[:])
	b = appendBytes(b, greetLog, g.log[:])
	if g.seenLog != (LogID{}) {
		b = appendBytes(b, greetSeenLog, g.seenLog[:])
		b = appendBytes(b, greetSeen, g.seen.encode())
	}
	b = appendFlag(b, greetRemoved, g.removed)
	return appendBytes(b, greetRefusal, clip(g.refusal, maxReason))
}

func decodeGreeting(b []byte) (greeting, error) {
	var g greeting
	err := fields(b, func(f field) (err error) {
		switch f.tag {
		case greetTable:
			return setID(&g.table, f)
		case greetLog:
			return setID(&g.log, f)
		case greetSeenLog:
			return setID(&g.seenLog, f)
		case greetSeen:
			g.seen, err = decodeMark(f.bytes)
		case greetRemoved:
			g.removed = f.number != 0
		case greetRefusal:
			g.refusal = clip(string(f.bytes), maxReason)
		}
		return err
	})
	if err != nil {
		return greeting{}, fmt.Errorf("read greeting: %w", err)
	}
	return g, nil
}

const markTerm, markLogTerm, markIndex = 1, 2, 3

func (m mark) encode() []byte {
	b := appendNumber(nil, markTerm, m.term)
	b = appendNumber(b, markLogTerm, m.logTerm)
	return appendNumber(b, markIndex, m.index)
}

func decodeMark(b []byte) (m mark, err error) {
	err = fields(b, func(f field) error {
		switch f.tag {
		case markTerm:
			m.term = f.number
		case markLogTerm:
			m.logTerm = f.number
		case markIndex:
			m.index = f.number
		}
		return nil
	})
	return m, err
}
