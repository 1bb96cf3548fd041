// Package audit keeps a node's own record of what has changed and who held which lock: files to which is only appended,
// each record with a hash over itself and all before it, so that nothing in it can be changed or taken out unnoticed. A
// [Log] gathers records in memory and writes them in groups; [Read] walks the files, with or without a daemon, and tells
// where the chain breaks. docs/formats.md describes the bytes.
//
// A record says what this node knows, and no more. It knows what it did itself, and which peer handed a version on: that
// peer's key opened the session. Who made the version is what the peer said; versions are not signed.
//
// What the chain cannot show: that records were cut off at its end, or that all of it was written anew by somebody who can
// write the files. For that, the hash of its head is to be kept elsewhere.
package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"resonate/merkle"
)

// A Kind is what a record tells.
type Kind uint8

// The kinds. Their numbers are part of the format, their names of the commands.
const (
	Published Kind = 1 // this node let out a change that was made here
	Applied   Kind = 2 // a version that a peer handed on became what is agreed
	Recovered Kind = 3 // a start found a change in place that had come in before a crash; who handed it on may have been lost
	Conflict  Kind = 4 // of two versions that had not seen each other, both are kept
	Behind    Kind = 5 // a peer says that it has seen a later operation of this node than this node knows

	Granted  Kind = 16 // a lock was granted
	Recalled Kind = 17 // its holder was asked to give it back
	Expired  Kind = 18 // it ended with its time, or with its holder's session
	Forced   Kind = 19 // somebody ended it in its holder's place
	Released Kind = 20 // its holder gave it back

	Started Kind = 32 // the daemon began
	Ended   Kind = 33 // it ended cleanly: where that is missing, what came last before the next start may be, too
	Dropped Kind = 34 // older records were dropped for their age or size
	Lost    Kind = 35 // records could not be written
)

var kindNames = map[Kind]string{
	Published: "published", Applied: "applied", Recovered: "recovered", Conflict: "conflict", Behind: "behind",
	Granted: "lock-granted", Recalled: "lock-recalled", Expired: "lock-expired", Forced: "lock-forced", Released: "lock-released",
	Started: "started", Ended: "ended", Dropped: "dropped", Lost: "lost",
}

// String returns the name of k, for people and scripts.
func (k Kind) String() string {
	if name, ok := kindNames[k]; ok {
		return name
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Lock tells whether it is about a lock.
func (k Kind) Lock() bool { return k >= Granted && k <= Released }

// A Claim is what a node knows of a version that is said to be its own.
type Claim uint8

// The claims. Their numbers are part of the format.
const (
	NoClaim  Claim = 0 // it made it; or it is said to be another's
	Earlier  Claim = 1 // of before this run, or so: it may have made it and forgotten that in a crash, or with a backup that was restored
	Disowned Claim = 2 // it never made it
)

// String returns the name of c, for people and scripts; "" of NoClaim.
func (c Claim) String() string {
	switch c {
	case NoClaim:
		return ""
	case Earlier:
		return "not known"
	case Disowned:
		return "never made"
	}
	return fmt.Sprintf("claim %d", uint8(c))
}

// A Record is one thing that happened. Which fields mean something depends on its kind.
type Record struct {
	Kind Kind
	Time time.Time // by this node's clock, in microseconds; zero: Add sets it

	Path    string      // of a lock on a path: its scope
	Other   string      // of a move: whence; of a conflict: where the other version is kept
	What    merkle.Kind // what stands there now; of a lock: merkle.Dir, where it is on a directory with all in it
	Content ContentHash // of a file; zero of others
	Count   uint64      // of a move or removal of a whole directory: of how many entries; of a lock: on how many paths in Path, where it is not on Path itself; Dropped: up to which record; Lost: how many

	Author merkle.NodeID // who made it, as Peer says; zero: Peer itself, or without one this node. Of a lock: its holder
	Stamp  merkle.Stamp  // the author's
	Token  merkle.Token  // of the lock, or under which the change was made
	Peer   merkle.NodeID // who handed it on, by the key of its session. Of a lock: who forced it, or for whom it was recalled
	Claim  Claim

	Name   string // of a lock on a name, in place of Path
	Mode   uint8  // of a lock: 0 exclusive, 1 shared, 2 one of several permits
	Cause  string // in words; Started: the version of the program
	Anchor Hash   // Dropped: the hash of the last record that was
}

// ContentHash is the beginning of the hash of a file's content.
type ContentHash [8]byte

// String returns h in hexadecimal, or "" of no hash.
func (h ContentHash) String() string {
	if h == (ContentHash{}) {
		return ""
	}
	return hex.EncodeToString(h[:])
}

// Covers tells whether a record is about path: about it, what lies below it, or a directory above it as a whole.
func (r *Record) Covers(path string) bool {
	if r.Kind.Lock() && r.What == merkle.Dir && within(path, r.Path) {
		return true
	}
	for _, p := range []string{r.Path, r.Other} {
		if p != "" && (within(p, path) || r.Count > 0 && within(path, p)) {
			return true
		}
	}
	return path == ""
}

// within tells whether path is dir, or lies below it.
func within(path, dir string) bool {
	return dir == "" || path == dir || len(path) > len(dir) && path[:len(dir)] == dir && path[len(dir)] == '/'
}

// A Hash is the hash of a record and, by that of the one before, of all before it.
type Hash [sha256.Size]byte

// String returns h in hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// context begins what is hashed, so that no hash of something else can pass for that of a record.
const context = "resonate 2026 audit record\x00"

// next returns the hash of the record with the given message after one of hash h. Of nothing, h is zero.
func (h Hash) next(message []byte) Hash {
	var small [512]byte // most records fit
	b := append(small[:0], context...)
	b = append(append(b, h[:]...), message...)
	return sha256.Sum256(b)
}
