package replica

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"resonate/audit"
	"resonate/control"
	"resonate/members"
	"resonate/merkle"
	"resonate/syncproto/sshconn"
)

// StateOf returns the state directory of the node that has the folder dir, whether it runs or not.
func StateOf(dir, stateHome string) (string, error) {
	text, err := os.ReadFile(filepath.Join(dir, markerPath))
	if err != nil {
		return "", fmt.Errorf("read whose folder it is: %w", err)
	}
	m, err := parseMarker(string(text))
	if err != nil {
		return "", fmt.Errorf("%s/%s: %w", dir, markerPath, err)
	}
	return filepath.Join(stateHome, "resonate", m.node.String()), nil
}

// An AuditQuery says what is to be read of an audit.
type AuditQuery struct {
	Path  string    // what is about it, about what lies below it, or a directory above it as a whole; "": all
	Since time.Time // zero: from the beginning
}

// An AuditVerdict is what a walk along an audit's chain has found.
type AuditVerdict = audit.Verdict

// ReadAudit calls each with the records of the audit in a node's state directory, in order, and proves their chain. The node may
// run meanwhile. It tells what is broken in the verdict, and goes on.
func ReadAudit(state string, q AuditQuery, each func(control.Audited) error) (AuditVerdict, error) {
	self, err := merkle.ParseNodeID(filepath.Base(state))
	if err != nil {
		return AuditVerdict{}, fmt.Errorf("%s is no state directory of a node: %w", state, err)
	}
	names := namesIn(state)
	v, err := audit.Read(auditDir(state), func(it audit.Item) error {
		if it.Time.Before(q.Since) || !it.Covers(q.Path) {
			return nil
		}
		return each(control.Audited{Event: eventOf(it.Record, self, names), Number: it.Number, Chain: it.Hash.String(), Broken: it.Broken})
	})
	if errors.Is(err, fs.ErrNotExist) {
		return v, fmt.Errorf("no audit is kept in %s yet: it begins when the daemon is started: %w", state, control.ErrNotFound)
	}
	return v, err
}

// namesIn returns what members are called, as the state directory has it; where that cannot be read, they have IDs alone.
func namesIn(state string) func(merkle.NodeID) string {
	none := func(merkle.NodeID) string { return "" }
	key := filepath.Join(state, "key")
	if _, err := os.Stat(key); err != nil {
		return none
	}
	id, err := sshconn.LoadOrCreateIdentity(key)
	if err != nil {
		return none
	}
	file := members.File{Path: filepath.Join(state, membersFile)}
	set, err := file.Load(id.Private())
	if err != nil {
		return none
	}
	return func(n merkle.NodeID) string {
		m, _ := set.Member(members.ID(n))
		return m.Name
	}
}

// eventOf returns a record as events have it. self is whose it is.
func eventOf(rec audit.Record, self merkle.NodeID, name func(merkle.NodeID) string) control.Event {
	node := func(n merkle.NodeID) *control.NodeName { return &control.NodeName{ID: n.String(), Name: name(n)} }
	e := control.Event{
		Time: rec.Time, Kind: rec.Kind.String(), Path: rec.Path, Hash: rec.Content.String(), Count: rec.Count,
		Stamp: uint64(rec.Stamp), Claim: rec.Claim.String(), Name: rec.Name, Cause: rec.Cause,
	}
	if rec.What != 0 {
		e.What = rec.What.String()
	}
	if rec.Token != (merkle.Token{}) {
		e.Token = fmt.Sprintf("%d.%d", rec.Token.Generation, rec.Token.Index)
	}
	if !rec.Peer.IsZero() {
		e.Peer = node(rec.Peer)
	}
	switch author := rec.Author; {
	case rec.Kind.Lock():
		e.Author = node(holderOf(&rec, self))
	case !author.IsZero():
		e.Author = node(author)
	case rec.Stamp != 0 && !rec.Peer.IsZero():
		e.Author = node(rec.Peer)
	case rec.Stamp != 0:
		e.Author = node(self)
	}
	switch {
	case rec.Kind == audit.Conflict:
		e.Copy = rec.Other
	case rec.Kind.Lock():
		e.Mode = lockMode(rec.Mode)
	default:
		e.From = rec.Other
	}
	return e
}

// lockMode names the mode of a lock.
func lockMode(m uint8) string {
	names := []string{"exclusive", "shared", "permits"}
	if int(m) >= len(names) {
		return fmt.Sprintf("mode %d", m)
	}
	return names[m]
}
