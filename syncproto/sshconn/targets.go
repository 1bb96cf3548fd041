package sshconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
)

// Address is where a peer is reached.
type Address struct {
	Name string // HOST:PORT, an IPv6 address in brackets; with Dial, what the user calls it
	// Dial, if set, makes each connection, instead of TCP: such as DialCommand.
	// It is called at once from several goroutines.
	Dial func(ctx context.Context) (net.Conn, error)
}

// TCP gives the address HOST:PORT, as NewMesh and SetPeers take it.
func TCP(hostPort string) Address { return Address{Name: hostPort} }

// Target is a member of the mesh: which node it is, and at which addresses
// (HOST:PORT) it may be found.
type Target struct {
	ID        NodeID
	Addresses []string
}

// maxAddresses bounds how many addresses of a member are tried, since they come
// from others: at several seconds for each, later ones would never be of use.
const maxAddresses = 16

// check tells what is wrong with an address.
func (a Address) check() error {
	if a.Dial != nil {
		return nil
	}
	host, port, err := net.SplitHostPort(a.Name)
	if err == nil && host == "" {
		err = errors.New("no host")
	}
	if err == nil {
		if n, e := strconv.ParseUint(port, 10, 16); e != nil || n == 0 {
			err = fmt.Errorf("port %q is not a number from 1 to 65535", port)
		}
	}
	if err != nil {
		return fmt.Errorf("peer address %q: %w: want HOST:PORT, such as example.net:4321 or [2001:db8::1]:4321", a.Name, err)
	}
	return nil
}

func names(addrs []Address) []string {
	out := make([]string, len(addrs))
	for i, a := range addrs {
		out[i] = a.Name
	}
	return out
}

// SetPeers replaces the addresses that a person configured; whatever trusted node
// answers there is a peer. An address that stays, by its name, is left alone. One that goes is
// not dialled any more, but a session with its node goes on: Drop ends that. On
// error, nothing has changed.
func (m *Mesh) SetPeers(addrs []Address) error {
	for _, a := range addrs {
		if err := a.check(); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.peers
	m.peers = nil
	for _, a := range addrs {
		same := func(d *dialler) bool { return d.name == a.Name }
		if slices.ContainsFunc(m.peers, same) {
			continue
		}
		if i := slices.IndexFunc(old, same); i >= 0 {
			m.peers = append(m.peers, old[i])
			old = slices.Delete(old, i, i+1)
			continue
		}
		d := newDialler(a.Name, a)
		m.peers = append(m.peers, d)
		m.launch(d)
	}
	for _, d := range old {
		d.stop()
	}
	return nil
}

// SetMembers replaces the members that are dialled besides the configured
// addresses: each at its addresses in turn, until that very node answers, and
// whenever there is no session with it, whoever dialled. This node itself is
// skipped, and so are addresses that are none, as they come from others. A member
// without addresses has to dial. One that is taken out is not dialled any more;
// Drop ends its session.
func (m *Mesh) SetMembers(targets []Target) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.members
	m.members = make(map[NodeID]*dialler, len(targets))
	for _, t := range targets {
		if t.ID == m.endpoint.identity.id || m.members[t.ID] != nil {
			continue
		}
		addrs := t.usable()
		d := old[t.ID]
		delete(old, t.ID)
		switch {
		case d == nil:
			d = newDialler(t.ID.String(), addrs...)
			d.member, d.id, d.known = true, t.ID, true
			m.launch(d)
		case !sameNames(d.addrs, addrs): // in whatever order: see prefer
			d.addrs = addrs
			d.hurry()
		}
		m.members[t.ID] = d
	}
	for _, d := range old {
		d.stop()
	}
}

func sameNames(a, b []Address) bool {
	return slices.Equal(slices.Sorted(slices.Values(names(a))), slices.Sorted(slices.Values(names(b))))
}

func (t Target) usable() []Address {
	var out []Address
	for _, name := range t.Addresses {
		if a := TCP(name); a.check() == nil && len(out) < maxAddresses && !slices.Contains(names(out), name) {
			out = append(out, a)
		}
	}
	return out
}

// Drop ends the session with a node at once: it is told the reason, and its
// connections are closed within half a second. Drop does not wait for that. Let
// Config.Trusted refuse the node's key before: then no connection that is being
// made comes through, either.
func (m *Mesh) Drop(id NodeID, reason error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.departed, id)
	if c := m.claims[id]; c != nil {
		c.dropped = true
		m.abort(c, serveError{reason})
	}
}

// DialNow has every peer dialled that is not connected, without waiting for the
// pause after the last attempt.
func (m *Mesh) DialNow() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.eachDialler((*dialler).hurry)
}

// eachDialler calls f for all diallers. The caller holds the mutex.
func (m *Mesh) eachDialler(f func(*dialler)) {
	for _, d := range m.peers {
		f(d)
	}
	for _, d := range m.members {
		f(d)
	}
}

// launch lets a dialler dial, if the mesh runs; if not yet, Run does it. The
// caller holds the mutex, so that Run waits for what is launched.
func (m *Mesh) launch(d *dialler) {
	if m.ctx == nil || m.ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithCancel(m.ctx)
	d.cancel = cancel
	m.wg.Go(func() {
		defer cancel()
		m.keepDialling(ctx, d)
	})
}
