package sshconn

import (
	"cmp"
	"slices"
	"time"
)

// State is how things stand with a peer.
type State string

const (
	Connecting State = "connecting" // being dialled
	Connected  State = "connected"
	Refused    State = "refused" // one side does not want the other; see Err
	Away       State = "away"    // not reached; dialled again at NextTry
	Self       State = "self"    // the address leads to this node; not dialled any more
)

// PeerState tells about one configured address, about a member, or about a peer
// that only ever dialled this node.
type PeerState struct {
	Address   string   // as configured; else where it is connected, was last, or will be tried first
	Addresses []string // all at which it is dialled, Address first if it is one of them
	ID        NodeID   // zero if not known
	State     State
	Since     time.Time
	NextTry   time.Time // zero if not about to be dialled
	Err       error     // of the last attempt or session; nil while connected
	Session   *Session  // nil unless connected
}

// Peers tells how things stand: with the configured addresses, in their order;
// then, by their IDs, with the members to which none of these is known to lead,
// and with peers that only dialled this node.
func (m *Mesh) Peers() []PeerState {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list, others []PeerState
	told := make(map[NodeID]bool)
	for _, d := range m.peers {
		p := m.peerState(d)
		p.Address, p.Addresses = d.addrs[0].Name, names(d.addrs)
		if member := m.members[p.ID]; d.known && member != nil {
			p.Addresses = append(p.Addresses, slices.DeleteFunc(names(member.addrs), func(name string) bool { return name == p.Address })...)
		}
		told[p.ID] = true
		list = append(list, p)
	}
	for id, d := range m.members {
		if !told[id] {
			told[id] = true
			p := m.peerState(d)
			if left, was := m.departed[id]; was && p.Session == nil && len(d.addrs) == 0 {
				p = left // why it is not there tells more than that it cannot be dialled
			}
			p.Addresses = names(d.addrs)
			if p.Session == nil && len(d.addrs) > 0 {
				p.Address = d.addrs[0].Name
			}
			others = append(others, p)
		}
	}
	for id, c := range m.claims {
		if c.session != nil && !told[id] {
			told[id] = true
			others = append(others, c.peerState())
		}
	}
	for id, p := range m.departed {
		if !told[id] {
			others = append(others, p)
		}
	}
	slices.SortFunc(others, func(a, b PeerState) int {
		return cmp.Or(a.ID.compare(b.ID), cmp.Compare(a.Address, b.Address))
	})
	return append(list, others...)
}

// peerState tells about the peer of a dialler, without its addresses. The caller
// holds the mutex.
func (m *Mesh) peerState(d *dialler) PeerState {
	p := d.state
	if !d.known {
		return p
	}
	p.ID = d.id
	if c := m.claims[d.id]; c != nil && c.session != nil {
		return c.peerState()
	}
	return p
}

func (c *claim) peerState() PeerState {
	return PeerState{Address: c.session.Addr(), ID: c.id, State: Connected, Since: c.since, Session: c.session}
}
