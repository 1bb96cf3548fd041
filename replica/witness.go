package replica

import (
	"resonate/members"
	"resonate/merkle"
)

// A witness is a member without files, which is there to vote on locks. To its peers it is a node that only sends (sendonly.go) and has
// nothing to send: it is told of no change, and nobody waits for it. No tree is compared with its own, which is empty, and what it
// has seen counts for nothing: tombstones do not wait for it. That it is one, it says itself, in the set of members.

// isWitness tells whether a node has no files.
func (r *Replica) isWitness(id merkle.NodeID) bool {
	if id == r.self {
		return r.o.Witness
	}
	m, _ := r.cluster.Member(members.ID(id))
	return m.Witness
}

// compares tells whether this node's tree and a peer's are to become the same.
func (r *Replica) compares(p *peer) bool { return !r.o.Witness && !r.isWitness(p.id) }
