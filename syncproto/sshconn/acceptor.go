package sshconn

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"time"

	"golang.org/x/crypto/ssh"
)

// rejectDuplicate is from the range that RFC 4254 section 5.1 leaves for private use.
const rejectDuplicate ssh.RejectionReason = 0xFE000001

// maxLoose bounds the connections of one member that are not part of a session:
// who makes more loses the latest.
const maxLoose = 8

// admit takes in a connection, unless its source makes too many.
func (m *Mesh) admit(ctx context.Context, conn net.Conn) {
	e := m.endpoint
	ctx, cancel := context.WithCancel(ctx)
	g := &guest{wire: newWire(conn, &e.rates), source: sourceOf(conn.RemoteAddr()), evict: cancel}
	a := e.door.enter(g, time.Now())
	for a.wait > 0 && ctx.Err() == nil {
		pause(ctx, a.wait)
		a = e.door.enter(g, time.Now())
	}
	if a.crowded && e.notices.due("listener", "crowded", time.Now()) {
		e.log.Warn("closed a connection: too many others have not authenticated yet", "newest", conn.RemoteAddr().String(), "limit", maxHandshakes, "of one address", maxOfOneSource)
	}
	if a.refused && e.notices.due("listener", "flood", time.Now()) {
		e.log.Warn("closed a connection: its address makes too many", "remote", conn.RemoteAddr().String(), "a second", newRate)
	}
	if a.refused || a.wait > 0 {
		cancel()
		conn.Close()
		return
	}
	m.wg.Go(func() {
		defer cancel()
		m.receive(ctx, g)
	})
}

// Accept takes in a connection that came by other means than the endpoint's
// addresses, such as the standard input and output of a process that sshd has
// started: from then on it is the mesh's, which closes it. Who is at its other end
// is checked as always; its number is for the caller to bound. It fails, and
// closes the connection, where Run is not under way.
func (m *Mesh) Accept(conn net.Conn) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ctx == nil || m.ctx.Err() != nil {
		conn.Close()
		return errors.New("accept connection: the node is not running")
	}
	ctx, cancel := context.WithCancel(m.ctx)
	g := &guest{wire: newWire(conn, &m.endpoint.rates), uncounted: true, evict: cancel}
	m.wg.Go(func() {
		defer cancel()
		m.receive(ctx, g)
	})
	return nil
}

// receive takes a connection from its first byte until it is part of a
// session, or has not become so in time; an invited stranger's, to its end.
func (m *Mesh) receive(ctx context.Context, g *guest) {
	a, err := m.endpoint.accept(ctx, g)
	if err != nil {
		m.endpoint.log.Debug("handshake failed", "err", err)
		return
	}
	if a.joins {
		m.endpoint.serveJoin(ctx, a)
		return
	}
	l := newLink(a.conn, a.wire, a.key, a.channels, a.requests)
	if m.loosen(l, 1) > maxLoose {
		l.close()
	}
	defer m.loosen(l, -1)
	l.start(&pairing{
		control: m.acceptControl,
		blocks:  m.acceptPair,
	})
	timer := time.NewTimer(m.endpoint.timing.handshake)
	defer timer.Stop()
	select {
	case <-l.joined:
		return
	case <-l.gone:
	case <-timer.C:
	case <-ctx.Done():
	}
	if c, ok := m.abandon(l); ok {
		l.shut()
		if c != nil {
			m.release(c)
		}
	}
}

// loosen counts the connections of a member that are not part of a session.
func (m *Mesh) loosen(l *link, by int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.loose[l.peer] += by
	n := m.loose[l.peer]
	if n == 0 {
		delete(m.loose, l.peer)
	}
	return n
}

// abandon keeps a link from becoming part of a session; false: it just has. It
// gives the claim that the link holds, if any.
func (m *Mesh) abandon(l *link) (*claim, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l.session.Load() != nil {
		return nil, false
	}
	l.abandoned = true
	return l.claim, true
}

// acceptControl answers the peer's wish for a session.
func (m *Mesh) acceptControl(l *link, c ssh.NewChannel) {
	h, ok := parseHello(c.ExtraData())
	if !ok {
		c.Reject(ssh.Prohibited, "the greeting cannot be read")
		return
	}
	claim, err := m.takeAccepted(l, h)
	if err != nil {
		c.Reject(rejectDuplicate, err.Error())
		return
	}
	if err := m.endpoint.permit(l.key); err != nil { // still: see Drop
		c.Reject(ssh.Prohibited, trustRefusal)
		l.close()
		return
	}
	channel, requests, err := c.Accept()
	if err != nil {
		l.close()
		return
	}
	l.discard(requests)
	claim.stream = &stream{Channel: channel}
	close(claim.ready)
}

func (m *Mesh) takeAccepted(l *link, h hello) (*claim, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l.abandoned || l.claim != nil || l.session.Load() != nil {
		return nil, errDuplicate
	}
	c := newClaim(l, false)
	c.token, c.instance = h.token, h.instance
	if err := m.take(c); err != nil {
		return nil, err
	}
	l.claim = c
	return c, nil
}

// acceptPair ties a second connection to the first, and starts the session; or a
// further one to the session.
func (m *Mesh) acceptPair(l *link, payload []byte) ([]byte, bool) {
	m.mu.Lock()
	c := m.claims[l.peer]
	m.mu.Unlock()
	if c == nil || c.dialled || l == c.control || string(payload) != string(c.token[:]) {
		return nil, false
	}
	select {
	case <-c.ready:
	case <-c.control.gone:
		return nil, false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.claims[l.peer] != c || c.control.abandoned || l.abandoned || l.claim != nil || l.session.Load() != nil {
		return nil, false
	}
	if c.session != nil {
		if !c.session.add(l) {
			return nil, false
		}
		close(l.joined)
		return m.endpoint.instance[:], true
	}
	c.session = m.newSession(m.ctx, c, l)
	m.wg.Go(func() { m.hold(c) }) // receive still counts, so Run has not returned
	close(c.control.joined)
	close(l.joined)
	return m.endpoint.instance[:], true
}

// pause waits for d, or less if ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func newToken() token {
	var t token
	rand.Read(t[:]) // never fails, says crypto/rand
	return t
}
