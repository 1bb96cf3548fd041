package node

import (
	"context"
	"path"
	"strings"
	"sync"

	"resonate/audit"
	"resonate/locking"
	"resonate/locking/desk"
	"resonate/merkle"
	"resonate/replica"
)

// lockNotes are what became of locks, on the way to the replica's audit and events: who tells one does not wait for those.
type lockNotes struct {
	mu   sync.Mutex
	list []replica.LockNote
	lost uint64
	more chan struct{} // holds a token when there is something
}

// maxLockNotes bounds how many wait.
const maxLockNotes = 1 << 14

func (q *lockNotes) add(n replica.LockNote) {
	q.mu.Lock()
	if len(q.list) < maxLockNotes {
		q.list = append(q.list, n)
	} else {
		q.lost++
	}
	q.mu.Unlock()
	select {
	case q.more <- struct{}{}:
	default:
	}
}

// take returns what waits, and how much was lost after it.
func (q *lockNotes) take() []replica.LockNote {
	q.mu.Lock()
	defer q.mu.Unlock()
	list := q.list
	if q.lost > 0 {
		list = append(list, replica.LockNote{Record: audit.Record{Kind: audit.Lost, Count: q.lost, Cause: "locks changed faster than that was noted"}})
	}
	q.list, q.lost = nil, 0
	return list
}

// keepLockNotes hands on what became of locks until ctx ends.
func (n *Node) keepLockNotes(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-n.notes.more:
			n.replica.NoteLocks(n.notes.take())
		}
	}
}

// noteLock notes what became of a lock of this node.
func (n *Node) noteLock(what desk.Note) {
	rec := lockRecord(what.Scopes, what.Mode, what.Token)
	switch {
	case what.What == desk.NoteGranted:
		rec.Kind, rec.Cause = audit.Granted, lockReason(what.Owner, what.Why)
	case what.What == desk.NoteRecalled:
		rec = lockRecord(what.Given, what.Mode, what.Token)
		rec.Kind = audit.Recalled
	case what.Cause == locking.Forced:
		rec.Kind, rec.Cause = audit.Forced, what.By
	case what.Cause == locking.Expired:
		rec.Kind = audit.Expired
	case what.Cause == locking.Closed:
		rec.Kind, rec.Cause = audit.Released, "the daemon ends"
	default:
		rec.Kind = audit.Released
	}
	n.notes.add(replica.LockNote{Record: rec, Delegated: what.Delegation})
}

// noteForced notes that this node has ended a lock of another one.
func (n *Node) noteForced(c *locking.Claim, why string) {
	rec := lockRecord(c.Scopes, c.Mode, c.Token)
	rec.Kind, rec.Cause = audit.Forced, why
	rec.Author, rec.Peer = merkle.NodeID(c.Session.Node), n.replica.Node()
	n.notes.add(replica.LockNote{Record: rec})
}

// lockRecord returns a record of a lock on scopes: of several, it names the directory around all, and how many they are.
func lockRecord(scopes []locking.Scope, mode locking.Mode, token locking.Token) audit.Record {
	rec := audit.Record{Mode: uint8(mode), Token: merkle.Token(token)}
	if len(scopes) == 0 {
		return rec
	}
	first := scopes[0]
	switch {
	case first.Kind == locking.Name:
		rec.Name = first.Path
		return rec
	case len(scopes) == 1:
		rec.Path = first.Path
	default:
		rec.Path, rec.Count = around(scopes), uint64(len(scopes))
	}
	if first.Kind == locking.Tree && len(scopes) == 1 {
		rec.What = merkle.Dir
	}
	return rec
}

// around returns the deepest directory that all scopes lie in.
func around(scopes []locking.Scope) string {
	dir := path.Dir(scopes[0].Path)
	for _, s := range scopes {
		for dir != "." && !strings.HasPrefix(s.Path, dir+"/") {
			dir = path.Dir(dir)
		}
	}
	if dir == "." {
		return ""
	}
	return dir
}

// lockReason says for people who holds a lock and what for.
func lockReason(owner, why string) string {
	_, who := unstamped(owner)
	if who != "" && why != "" {
		return who + ": " + why
	}
	return who + why
}
