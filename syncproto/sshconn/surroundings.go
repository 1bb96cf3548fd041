package sshconn

import (
	"context"
	"fmt"
	"net"
	"time"
)

const (
	lookInterval = 3 * time.Second
	sleptLeast   = 2 * time.Second // below, it may be the clocks' own doing
)

// surroundings is what tells that a machine's network may be another one than
// before: its addresses, and how long it has been up, and awake.
type surroundings struct {
	addrs     map[string]bool
	up, awake time.Duration
}

func lookAround() surroundings {
	s := surroundings{addrs: make(map[string]bool)}
	s.up, s.awake = uptime()
	all, _ := net.InterfaceAddrs() // none known, none appeared
	for _, a := range all {
		s.addrs[a.String()] = true
	}
	return s
}

// news tells what has happened since then, "" if nothing that matters: an
// address that went leaves connections to notice it by themselves.
func (now surroundings) news(then surroundings) string {
	if slept := (now.up - then.up) - (now.awake - then.awake); slept >= sleptLeast {
		return "the machine slept for " + slept.Round(time.Second).String()
	}
	for a := range now.addrs {
		if !then.addrs[a] {
			return "the machine has the address " + a
		}
	}
	return ""
}

// lost tells whether an address that was this machine's is so no longer.
func (now surroundings) lost(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || tcp.IP.IsLoopback() { // of which all belong to the machine, and one is listed
		return false
	}
	for a := range now.addrs {
		if ip, _, err := net.ParseCIDR(a); err == nil && ip.Equal(tcp.IP) {
			return false
		}
	}
	return true
}

// watchSurroundings has the network tried anew, as soon as it may be another one:
// what is not connected is dialled, and sessions must show that they live. One
// whose own address has gone, while another came, cannot.
func (m *Mesh) watchSurroundings(ctx context.Context) {
	e := m.endpoint
	ticker := time.NewTicker(e.timing.look)
	defer ticker.Stop()
	then := e.lookAround()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		now := e.lookAround()
		if news := now.news(then); news != "" {
			e.log.Debug("the network may have changed", "why", news)
			m.tryAnew(now)
		}
		then = now
	}
}

func (m *Mesh) tryAnew(now surroundings) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.eachDialler((*dialler).hurry)
	for _, c := range m.claims {
		switch {
		case c.session == nil:
		case now.lost(c.control.conn.LocalAddr()):
			c.session.end(fmt.Errorf("%w: this machine has the address %s no longer", ErrGone, c.control.conn.LocalAddr()))
		default:
			c.session.probe()
		}
	}
}
