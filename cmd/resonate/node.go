package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"time"

	"resonate/control"
	"resonate/merkle"
	"resonate/reconcile"
	"resonate/replica"
	"resonate/syncproto/sshconn"
)

// A node is a folder with its network: everything of a daemon but its terminal and its control socket.
type node struct {
	replica  *replica.Replica
	endpoint *sshconn.Endpoint
	mesh     *sshconn.Mesh
}

// openNode claims the folder, makes this node known to the other daemons of its user, and listens.
func openNode(s *settings, h homes, version string, log *slog.Logger) (*node, error) {
	n := &node{}
	var mesh atomic.Pointer[sshconn.Mesh]
	o := replica.Options{
		Dir: s.dir, Mode: s.mode, KeepOwner: s.keepOwner, Fresh: s.fresh, Version: version,
		Burst:      reconcile.Burst{Files: s.hold.files, Share: s.hold.share},
		HistoryAge: time.Duration(s.historyAge), HistorySize: int64(s.historySize),
		StateHome: h.state, RuntimeDir: h.runtime, Log: log,
		Network: func() (string, []control.Peer) {
			if m := mesh.Load(); m != nil {
				return n.endpoint.Addr().String(), controlPeers(m.Peers())
			}
			return "", nil
		},
	}
	if s.hold.off {
		o.Burst = reconcile.Burst{}
	}
	if err := instrument(&o); err != nil {
		return nil, err
	}
	var err error
	if n.replica, err = replica.Open(o); err != nil {
		return nil, err
	}
	if err := n.listen(s, h, log); err != nil {
		return nil, errors.Join(err, n.close())
	}
	mesh.Store(n.mesh)
	return n, nil
}

// listen joins the trusted keys of the user, and opens the port.
func (n *node) listen(s *settings, h homes, log *slog.Logger) (err error) {
	id := n.replica.Identity()
	trust := sshconn.TrustFile{Path: filepath.Join(h.config, "resonate", "trusted_keys")}
	if err := trust.Add(id.PublicKey(), "resonate "+n.replica.Node().Short()+" "+s.dir); err != nil {
		return fmt.Errorf("trust this node's key: %w", err)
	}
	n.endpoint, err = sshconn.Listen(s.address(), sshconn.Config{Identity: id, Trusted: trust.Check, Log: log})
	if err != nil {
		return stateError{"", err, "choose an address of this machine with -listen, and a port with -port"}
	}
	n.mesh, err = sshconn.NewMesh(n.endpoint, s.peers, func(ctx context.Context, session *sshconn.Session) error {
		return n.replica.Serve(ctx, link{session})
	})
	return err
}

// close gives back what openNode took, where Run was never called.
func (n *node) close() error {
	var err error
	if n.endpoint != nil {
		err = n.endpoint.Close()
	}
	n.replica.Close()
	return err
}

// link is an SSH session as a replica wants it.
type link struct{ *sshconn.Session }

func (l link) Peer() merkle.NodeID { return shortID(l.Session.Peer()) }

func (l link) Control() io.ReadWriteCloser { return l.Session.Control() }

func (l link) OpenBlocks(ctx context.Context) (io.ReadWriteCloser, error) {
	return l.Session.OpenBlocks(ctx)
}

func (l link) AcceptBlocks(ctx context.Context) (io.ReadWriteCloser, error) {
	return l.Session.AcceptBlocks(ctx)
}

// shortID shortens a key's fingerprint to the ID of its node.
func shortID(id sshconn.NodeID) merkle.NodeID { return merkle.NodeID(id[:merkle.NodeIDSize]) }

// controlPeers translates what the network knows of peers for a status.
func controlPeers(states []sshconn.PeerState) []control.Peer {
	out := make([]control.Peer, 0, len(states))
	for _, s := range states {
		p := control.Peer{Address: s.Address, State: string(s.State), Since: s.Since}
		if s.ID != (sshconn.NodeID{}) {
			p.ID = shortID(s.ID).String()
		}
		if !s.NextTry.IsZero() && s.Session == nil {
			p.NextTry = &s.NextTry
		}
		if s.Err != nil && s.Session == nil {
			p.Error = s.Err.Error()
		}
		out = append(out, p)
	}
	return out
}
