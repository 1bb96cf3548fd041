package quorum

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

const idSize = 16

// NodeID names a node, as the network does. It is at most 128 bytes long.
type NodeID string

// TableID names a table; it is drawn when the table is founded or taken over. Zero: none.
type TableID [idSize]byte

// LogID names one node's log on disk; it is drawn when the log begins. In Raft it is the node's address: so a node whose log
// was lost is not taken for the voter that it was.
type LogID [idSize]byte

func (id TableID) String() string { return hex.EncodeToString(id[:4]) }
func (id LogID) String() string   { return hex.EncodeToString(id[:]) }

func newID() (id [idSize]byte) {
	rand.Read(id[:]) // never fails, says crypto/rand
	return id
}

// maxGeneration bounds what others may name, so that none can use the numbers up.
const maxGeneration = 1 << 48

// record is what a node keeps of tables, beside the log.
type record struct {
	table      TableID
	generation uint64 // of the table: the highest that this node knows of
	seen       uint64 // the highest of any other table that this node knows of
	log        LogID  // zero: this node has no log, it is a client of the table
	founded    bool   // the log was begun here, not by a leader elsewhere
	alone      bool   // this node was the only voter, by what it last knew
	shared     bool   // others have used the table
	lapsed     TableID
	place      place
	marks      map[NodeID]known
}

// highest returns the highest generation of any table that this node knows of, its own included.
func (r *record) highest() uint64 { return max(r.seen, r.generation) }

// enter makes the record that of another table.
func (r *record) enter(table TableID, generation uint64) {
	r.seen = r.highest()
	r.table, r.generation, r.lapsed = table, generation, TableID{}
}

// known is what this node has seen of another's log.
type known struct {
	log  LogID
	mark mark
}

const (
	recordMagic = "resonate table 1\n"
	recordName  = "table"

	recNode, recTable, recGeneration, recSeen, recLog, recFounded, recAlone, recShared, recLapsed, recDevice, recInode, recMark = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12

	markNode, markLog, markAt = 1, 2, 3

	maxMarks  = 256
	maxRecord = 1 << 16
)

func (r *record) encode(node NodeID) []byte {
	b := appendBytes(nil, recNode, node)
	b = appendBytes(b, recTable, r.table[:])
	b = appendNumber(b, recGeneration, r.generation)
	b = appendNumber(b, recSeen, r.seen)
	b = appendBytes(b, recLog, r.log[:])
	b = appendFlag(b, recFounded, r.founded)
	b = appendFlag(b, recAlone, r.alone)
	b = appendFlag(b, recShared, r.shared)
	b = appendBytes(b, recLapsed, r.lapsed[:])
	b = appendNumber(b, recDevice, r.place.device)
	b = appendNumber(b, recInode, r.place.inode)
	for id, k := range r.marks {
		m := appendBytes(nil, markNode, id)
		m = appendBytes(m, markLog, k.log[:])
		b = appendBytes(b, recMark, appendBytes(m, markAt, k.mark.encode()))
	}
	sum := sha256.Sum256(b)
	return append(append([]byte(recordMagic), sum[:]...), b...)
}

// decodeRecord reads what encode gave, of the same node.
func decodeRecord(b []byte, node NodeID) (*record, error) {
	rest, ok := bytes.CutPrefix(b, []byte(recordMagic))
	if !ok || len(b) > maxRecord || len(rest) < sha256.Size {
		return nil, malformed("neither whole nor of a version that is known")
	}
	message := rest[sha256.Size:]
	if sha256.Sum256(message) != [sha256.Size]byte(rest) {
		return nil, malformed("wrong checksum")
	}
	r := &record{marks: make(map[NodeID]known)}
	var of NodeID
	err := fields(message, func(f field) error {
		switch f.tag {
		case recNode:
			of = NodeID(f.bytes)
		case recTable:
			return setID(&r.table, f)
		case recGeneration:
			r.generation = f.number
		case recSeen:
			r.seen = f.number
		case recLog:
			return setID(&r.log, f)
		case recFounded:
			r.founded = f.number != 0
		case recAlone:
			r.alone = f.number != 0
		case recShared:
			r.shared = f.number != 0
		case recLapsed:
			return setID(&r.lapsed, f)
		case recDevice:
			r.place.device = f.number
		case recInode:
			r.place.inode = f.number
		case recMark:
			return r.decodeMark(f.bytes)
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case of != node:
		return nil, malformed("it is of node %.20q, and this is node %.20q", of, node)
	case r.highest() > maxGeneration:
		return nil, malformed("generation %d", r.highest())
	}
	return r, nil
}

func (r *record) decodeMark(b []byte) error {
	var id NodeID
	var k known
	err := fields(b, func(f field) (err error) {
		switch f.tag {
		case markNode:
			id = NodeID(f.bytes)
		case markLog:
			return setID(&k.log, f)
		case markAt:
			k.mark, err = decodeMark(f.bytes)
		}
		return err
	})
	if err == nil && (len(r.marks) == maxMarks || len(id) > maxNodeID) {
		err = malformed("marks")
	}
	if err == nil {
		r.marks[id] = k
	}
	return err
}

// loadRecord reads the record in dir; without one, it is that of a node that knows of no table. A damaged one is an error with
// the remedy: generations would be forgotten.
func loadRecord(dir string, node NodeID) (*record, error) {
	path := filepath.Join(dir, recordName)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &record{marks: make(map[NodeID]known)}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open lock table's record: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxRecord+1))
	if err != nil {
		return nil, fmt.Errorf("read lock table's record %s: %w", path, err)
	}
	r, err := decodeRecord(b, node)
	if err != nil {
		return nil, fmt.Errorf("read lock table's record %s: %w: move it away, and this node joins the table of the others anew", path, err)
	}
	return r, nil
}

// save writes the record: whole, in place of the one that was there, and safe from a loss of power when it returns.
func (r *record) save(dir string, node NodeID) error {
	if err := replace(filepath.Join(dir, recordName), r.encode(node)); err != nil {
		return fmt.Errorf("write lock table's record in %s: %w", dir, err)
	}
	return nil
}

// replace writes a file (0600) beside path and renames it there.
func replace(path string, data []byte) error {
	next := path + ".next"
	f, err := os.OpenFile(next, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		os.Remove(next)
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if e := d.Close(); err == nil {
		err = e
	}
	return err
}
