package node

import (
	"context"
	"io"
	"path/filepath"

	"resonate/locking"
	"resonate/locking/desk"
	"resonate/members"
	"resonate/replica"
	"resonate/syncproto/sshconn"
)

// openDesk opens this node's access to the cluster's locks.
func (n *Node) openDesk() (err error) {
	n.desk, err = desk.Open(desk.Config{
		Dir: filepath.Join(n.replica.State(), "locks"), Node: locking.NodeID(n.replica.Node()), Host: members.FitName(n.replica.Name()),
		Session: n.o.Session, Mobile: hasBattery(), Leave: n.replica.Left, Log: n.o.Folder.Log,
	})
	if err == nil {
		n.replica.UseLocks(n.desk)
	}
	n.locks = newLocker(n)
	return err
}

// met has a session carry what is said about locks, for as long as it lasts: by then, both sides agree on the folder.
func (n *Node) met(ctx context.Context, l replica.Link) {
	s, id := l.(link).Session, locking.NodeID(l.Peer())
	wire := map[desk.Kind]sshconn.Kind{desk.Locks: sshconn.LocksStream, desk.Log: sshconn.RaftStream}
	for kind, w := range wire {
		s.Handle(w, func(accept func() (sshconn.Stream, error)) error {
			stream, err := accept()
			if err != nil {
				return err
			}
			if err := n.desk.Accept(ctx, id, kind, stream); err != nil && ctx.Err() == nil {
				n.o.Folder.Log.Debug("a stream for locks ended", "peer", l.Peer().Short(), "cause", err)
			}
			return nil
		})
	}
	n.desk.Meet(ctx, id, func(ctx context.Context, kind desk.Kind) (io.ReadWriteCloser, error) {
		return s.Open(ctx, wire[kind])
	})
}

// Locks returns what this node offers of the cluster's locks.
func (n *Node) Locks() *Locker { return n.locks }

// hasBattery tells whether this machine is one that goes away.
func hasBattery() bool {
	found, _ := filepath.Glob("/sys/class/power_supply/BAT*")
	return len(found) > 0
}
