package discover

import (
	"fmt"
	"io"
	"net"

	"github.com/pion/logging"
	"github.com/pion/mdns/v2"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// silence: what the library logs is about packets of others.
var silence = &logging.DefaultLoggerFactory{Writer: io.Discard, DefaultLogLevel: logging.LogLevelDisabled}

// A socket hears multicast DNS; nil where the machine lacks that version of IP.
type socket struct{ conn *net.UDPConn }

// multicastSockets opens one for each version of IP that there is. Other programs may have such sockets, too.
func multicastSockets() (v4, v6 *socket, err error) {
	open := func(network, addr string) (*socket, error) {
		at, err := net.ResolveUDPAddr(network, addr)
		if err != nil {
			return nil, err
		}
		conn, err := net.ListenUDP(network, at) // for an address of multicast, the port is shared
		if err != nil {
			return nil, err
		}
		return &socket{conn}, nil
	}
	v4, err4 := open("udp4", mdns.DefaultAddressIPv4)
	v6, err6 := open("udp6", mdns.DefaultAddressIPv6)
	if v4 == nil && v6 == nil {
		return nil, nil, fmt.Errorf("%w: %w; %w", errNoSocket, err4, err6)
	}
	return v4, v6, nil
}

func (s *socket) packets4() *ipv4.PacketConn {
	if s == nil {
		return nil
	}
	return ipv4.NewPacketConn(s.conn)
}

func (s *socket) packets6() *ipv6.PacketConn {
	if s == nil {
		return nil
	}
	return ipv6.NewPacketConn(s.conn)
}

func (s *socket) close() {
	if s != nil {
		s.conn.Close()
	}
}
