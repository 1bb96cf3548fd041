package node

import (
	"context"
	"crypto/sha256"
	"io"

	"resonate/members"
	"resonate/merkle"
	"resonate/syncproto/sshconn"
)

// trusted tells whether the owner of a key may open a session: a member, or a daemon of this user on this machine; never one that
// is forgotten.
func (n *Node) trusted(key sshconn.PublicKey) error {
	k := keyOf(key)
	if err := n.replica.Refuses(k.ID()); err != nil {
		return err
	}
	if n.replica.Members().Is(k) {
		return nil
	}
	return n.trust.Check(key)
}

// keyOf is a key as the set of members names it. One that is not of Ed25519, which no node has, is nobody's.
func keyOf(key sshconn.PublicKey) members.Key {
	k, _ := members.ParseKey(key.Marshal())
	return k
}

// authorized is a key as a line of authorized_keys(5).
func authorized(key members.Key) string { return sshconn.AuthorizedKey(key) }

// meshID is the ID by which the network knows the owner of a key: its whole fingerprint.
func meshID(key members.Key) sshconn.NodeID { return sha256.Sum256(key.Wire()) }

// link is an SSH session as a replica wants it.
type link struct{ *sshconn.Session }

func (l link) Peer() merkle.NodeID { return shortID(l.Session.Peer()) }

func (l link) Key() members.Key { return keyOf(l.PeerKey()) }

func (l link) Control() io.ReadWriteCloser { return l.Session.Control() }

func (l link) OpenBlocks(ctx context.Context) (io.ReadWriteCloser, error) {
	return l.Session.OpenBlocks(ctx)
}

func (l link) AcceptBlocks(ctx context.Context) (io.ReadWriteCloser, error) {
	return l.Session.AcceptBlocks(ctx)
}

// shortID shortens a key's fingerprint to the ID of its node.
func shortID(id sshconn.NodeID) merkle.NodeID { return merkle.NodeID(id[:merkle.NodeIDSize]) }
