package discover

import (
	"errors"
	"net"
	"net/netip"
	"slices"
)

// A place is what of this machine's networks matters: the links that multicast DNS is spoken on, and what is announced there.
type place struct {
	links []link
	port  uint16     // 0: nothing is announced
	only  netip.Addr // the one address that is listened on; zero: all
}

// A link is an interface with its addresses.
type link struct {
	dev      net.Interface
	prefixes []netip.Prefix // the machine's own address, and how much of it is the network's
}

// lookAround finds the place of a node that listens at these addresses.
func lookAround(at []netip.AddrPort) place {
	var p place
	for _, a := range at {
		if ip := a.Addr().Unmap(); !ip.IsLoopback() && p.port == 0 {
			p.port = a.Port()
			if !ip.IsUnspecified() {
				p.only = ip
			}
		}
	}
	devices, err := net.Interfaces()
	if err != nil {
		return p
	}
	for _, dev := range devices {
		const need, never = net.FlagUp | net.FlagMulticast, net.FlagLoopback | net.FlagPointToPoint
		if dev.Flags&need != need || dev.Flags&never != 0 {
			continue
		}
		l := link{dev: dev, prefixes: prefixes(dev)}
		if len(l.prefixes) > 0 && (!p.only.IsValid() || l.has(p.only)) {
			p.links = append(p.links, l)
		}
	}
	return p
}

func prefixes(dev net.Interface) []netip.Prefix {
	addrs, err := dev.Addrs()
	if err != nil {
		return nil // it has gone
	}
	var out []netip.Prefix
	for _, a := range addrs {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, prefix)
		}
	}
	return out
}

func (l link) has(addr netip.Addr) bool {
	return slices.ContainsFunc(l.prefixes, func(p netip.Prefix) bool { return p.Addr() == addr.WithZone("") })
}

// equal tells whether nothing that matters has changed.
func (p place) equal(q place) bool {
	return p.port == q.port && p.only == q.only && slices.EqualFunc(p.links, q.links, func(a, b link) bool {
		return a.dev.Index == b.dev.Index && a.dev.Name == b.dev.Name && slices.Equal(a.prefixes, b.prefixes)
	})
}

// near tells whether an address, from anybody, is that of another machine on one of the links: nobody has this node dial what
// is further away, or is itself.
func (p place) near(addr netip.Addr) bool {
	if addr.IsUnspecified() || addr.IsLoopback() || addr.IsMulticast() || addr.IsLinkLocalUnicast() && addr.Is6() && addr.Zone() == "" {
		return false
	}
	near := false
	for _, l := range p.links {
		if l.has(addr) {
			return false
		}
		for _, prefix := range l.prefixes {
			near = near || prefix.Contains(addr.WithZone("")) && (addr.Zone() == "" || addr.Zone() == l.dev.Name)
		}
	}
	return near
}

func (p place) interfaces() []net.Interface {
	out := make([]net.Interface, len(p.links))
	for i, l := range p.links {
		out[i] = l.dev
	}
	return out
}

// errNoSocket: neither IPv4 nor IPv6 can be listened on.
var errNoSocket = errors.New("no socket for multicast DNS on UDP port 5353: another program may keep it for itself")
