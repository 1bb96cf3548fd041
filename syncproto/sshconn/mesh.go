package sshconn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"sync"
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

// PeerState tells about one address given to NewMesh, or about a peer that only
// ever dialled this node (Address is then where it came from last).
type PeerState struct {
	Address string
	ID      NodeID // zero if not known
	State   State
	Since   time.Time
	NextTry time.Time // zero if not about to be dialled
	Err     error     // of the last attempt or session; nil while connected
	Session *Session  // nil unless connected
}

// Mesh keeps exactly one session with each peer.
type Mesh struct {
	endpoint *Endpoint
	serve    func(ctx context.Context, s *Session) error
	diallers []*dialler
	wg       sync.WaitGroup

	mu       sync.Mutex
	claims   map[NodeID]*claim
	departed map[NodeID]PeerState // peers that dialled this node and left
}

// NewMesh prepares a mesh of the peers at addrs (HOST:PORT) and of those that
// dial this node. serve is called for each session, once for a peer at a time;
// its ctx ends with the session, and it must then return. The session ends when
// serve returns; the peer is told its error.
func NewMesh(e *Endpoint, addrs []string, serve func(ctx context.Context, s *Session) error) (*Mesh, error) {
	m := &Mesh{endpoint: e, serve: serve, claims: make(map[NodeID]*claim), departed: make(map[NodeID]PeerState)}
	for _, addr := range addrs {
		if err := checkAddress(addr); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(m.diallers, func(d *dialler) bool { return d.addr == addr }) {
			continue
		}
		m.diallers = append(m.diallers, newDialler(addr))
	}
	return m, nil
}

func checkAddress(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err == nil && host == "" {
		err = errors.New("no host")
	}
	if err == nil {
		if n, e := strconv.ParseUint(port, 10, 16); e != nil || n == 0 {
			err = fmt.Errorf("port %q is not a number from 1 to 65535", port)
		}
	}
	if err != nil {
		return fmt.Errorf("peer address %q: %w: want HOST:PORT, such as example.net:4321 or [2001:db8::1]:4321", addr, err)
	}
	return nil
}

// Run accepts and dials until ctx ends, then closes the endpoint and returns
// nil when all sessions and goroutines are gone, which takes no longer than
// serve does, and half a second. An error tells why it cannot accept. It is
// called once.
func (m *Mesh) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { m.endpoint.Close() })
	defer stop()
	for _, d := range m.diallers {
		m.wg.Go(func() { m.keepDialling(ctx, d) })
	}
	err := m.acceptAll(ctx)
	cancel()
	m.endpoint.Close()
	m.wg.Wait()
	return err
}

// Peers tells how things stand, in the order of NewMesh's addresses, then of
// the peers' IDs.
func (m *Mesh) Peers() []PeerState {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list, inbound []PeerState
	dialled := make(map[NodeID]bool)
	for _, d := range m.diallers {
		p := d.state
		if d.known {
			dialled[d.id] = true
			p.ID = d.id
			if c := m.claims[d.id]; c != nil && c.session != nil {
				p = c.peerState()
			}
		}
		p.Address = d.addr
		list = append(list, p)
	}
	for id, c := range m.claims {
		if c.session != nil && !dialled[id] {
			inbound = append(inbound, c.peerState())
		}
	}
	for id, p := range m.departed {
		if c := m.claims[id]; !dialled[id] && (c == nil || c.session == nil) {
			inbound = append(inbound, p)
		}
	}
	slices.SortFunc(inbound, func(a, b PeerState) int {
		return cmp.Or(a.ID.compare(b.ID), cmp.Compare(a.Address, b.Address))
	})
	return append(list, inbound...)
}

func (c *claim) peerState() PeerState {
	return PeerState{Address: c.session.Addr(), ID: c.id, State: Connected, Since: c.since, Session: c.session}
}

// hold serves a session until it ends, and releases its claim.
func (m *Mesh) hold(c *claim) {
	s := c.session
	s.start()
	if c.before != nil {
		<-c.before.gone
		c.before = nil
	}
	began := time.Now()
	log := m.endpoint.log.With("peer", c.id.String(), "addr", s.Addr(), "dialled", c.dialled)
	log.Debug("session opened")
	if s.ctx.Err() == nil {
		m.endServed(s, m.serve(s.ctx, s))
	}
	s.Close()
	c.lasted, c.err = time.Since(began), s.Err()
	if c.lasted >= m.endpoint.timing.settled {
		m.endpoint.notices.forget(c.id.String())
	}
	if m.endpoint.notices.due(c.id.String(), kindOf(c.err), time.Now()) {
		level := slog.LevelDebug // what it served tells of it, too
		if stateAfter(c.err) == Refused {
			level = slog.LevelWarn
		}
		log.Log(context.WithoutCancel(s.ctx), level, "session ended", "reason", c.err)
	}
	m.depart(c)
	m.release(c)
}

// endServed ends a session whose serve has returned. An error of serve's may
// only be the echo of a connection that broke, or of a farewell: these get a
// moment to be noticed first, as they are the better reason.
func (m *Mesh) endServed(s *Session, err error) {
	if err == nil {
		s.end(errFinished)
		return
	}
	timer := time.NewTimer(lossNoticeTime)
	defer timer.Stop()
	select {
	case <-s.Done():
	case <-timer.C:
		s.end(serveError{err})
	}
}

// depart remembers how a session with a peer ended that dialled this node.
func (m *Mesh) depart(c *claim) {
	if c.dialled {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.departed[c.id] = PeerState{Address: c.session.Addr(), ID: c.id, State: stateAfter(c.err), Since: time.Now(), Err: c.err}
}

// stateAfter gives the state of a peer after an attempt or session failed.
func stateAfter(err error) State {
	var ours serveError
	switch {
	case errors.Is(err, errSelf):
		return Self
	case errors.Is(err, ErrRefused), errors.Is(err, ErrUntrusted), errors.As(err, &ours):
		return Refused
	}
	return Away
}

// kindOf names the cause of an error for notices. Errors of the network are one
// kind, since their texts hold port numbers that never come again.
func kindOf(err error) string {
	var ours serveError
	var theirs *FarewellError
	switch {
	case errors.As(err, &ours), errors.As(err, &theirs):
		return err.Error()
	case errors.Is(err, ErrUntrusted):
		return "untrusted"
	}
	return string(stateAfter(err))
}
