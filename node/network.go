package node

import (
	"resonate/control"
	"resonate/syncproto/sshconn"
)

// network tells the status where this node listens, and how things stand with its peers.
func (n *Node) network() (string, []control.Peer) {
	mesh := n.mesh.Load()
	if mesh == nil {
		return "", nil
	}
	listen := ""
	if addr := n.endpoint.Addr(); addr != nil {
		listen = addr.String()
	}
	return listen, n.controlPeers(mesh.Peers())
}

// controlPeers translates what the network knows of peers for a status.
func (n *Node) controlPeers(states []sshconn.PeerState) []control.Peer {
	out := make([]control.Peer, 0, len(states))
	for _, s := range states {
		p := control.Peer{Address: s.Address, State: string(s.State), Since: s.Since}
		if s.ID != (sshconn.NodeID{}) {
			p.ID = shortID(s.ID).String()
			if s.Session == nil {
				p.Since = n.seen.at(p.ID, s.Since)
			}
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
