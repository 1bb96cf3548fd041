package node

import (
	"context"
	"maps"
	"net"
	"net/netip"
	"slices"

	"resonate/discover"
	"resonate/syncproto/sshconn"
)

// discover has members on the local network dialled that are not connected, at the addresses found there, and lets them find
// this node. What is found is never told to anybody or written down: it is dialled besides what the members tell, as often, and
// whoever answers must have the member's key.
func (n *Node) discover(ctx context.Context) error {
	return discover.Run(ctx, discover.Config{
		Own: discover.Key(n.replica.Members().Key()), At: n.listening, Wanted: n.missing, Log: n.o.Folder.Log,
		Found: func(found map[discover.Key][]string) {
			n.mu.Lock()
			news := !maps.EqualFunc(n.found, found, slices.Equal)
			n.found = found
			n.mu.Unlock()
			if news {
				n.wake()
			}
		},
	})
}

// foundAt returns where a member may be on the local network.
func (n *Node) foundAt(key discover.Key) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.found[key]
}

func (n *Node) listening() []netip.AddrPort {
	var out []netip.AddrPort
	for _, a := range n.endpoint.Addrs() {
		if tcp, ok := a.(*net.TCPAddr); ok {
			out = append(out, tcp.AddrPort())
		}
	}
	return out
}

// missing returns the keys of the members that are not connected.
func (n *Node) missing() []discover.Key {
	connected := make(map[sshconn.NodeID]bool)
	for _, p := range n.mesh.Load().Peers() {
		connected[p.ID] = p.Session != nil
	}
	set := n.replica.Members()
	own := set.Key().ID()
	if set.Forgotten(own) {
		return nil
	}
	var out []discover.Key
	for _, m := range set.List() {
		if m.ID != own && !m.Forgotten && !connected[meshID(m.Key)] {
			out = append(out, discover.Key(m.Key))
		}
	}
	return out
}
