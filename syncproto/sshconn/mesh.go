package sshconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"
)

// Mesh keeps exactly one session with each peer.
type Mesh struct {
	endpoint *Endpoint
	serve    func(ctx context.Context, s *Session) error
	wg       sync.WaitGroup

	mu       sync.Mutex
	ctx      context.Context // of Run; nil before
	peers    []*dialler      // one for each configured address, in their order
	members  map[NodeID]*dialler
	claims   map[NodeID]*claim
	loose    map[NodeID]int       // accepted connections that are not part of a session
	departed map[NodeID]PeerState // peers that dialled this node and left
}

// NewMesh prepares a mesh of the configured peers and of those that dial this
// node; SetPeers and SetMembers change whom it dials. serve is called for each
// session, once for a peer at a time; its ctx ends with the session, and it must
// then return. The session ends when serve returns; the peer is told its error.
func NewMesh(e *Endpoint, peers []Address, serve func(ctx context.Context, s *Session) error) (*Mesh, error) {
	m := &Mesh{
		endpoint: e, serve: serve,
		members: make(map[NodeID]*dialler), claims: make(map[NodeID]*claim), loose: make(map[NodeID]int), departed: make(map[NodeID]PeerState),
	}
	if err := m.SetPeers(peers); err != nil {
		return nil, err
	}
	return m, nil
}

// Run accepts and dials until ctx ends, then closes the endpoint and returns
// nil when all sessions and goroutines are gone, which takes no longer than
// serve does, and half a second. It returns an error if the endpoint is closed
// before. It is called once.
func (m *Mesh) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m.mu.Lock()
	m.ctx = ctx
	m.eachDialler(m.launch)
	m.mu.Unlock()
	m.wg.Go(func() { m.watchSurroundings(ctx) })
	m.endpoint.accepting(func(conn net.Conn) { m.admit(ctx, conn) })
	var err error
	select {
	case <-ctx.Done():
	case <-m.endpoint.closed:
		err = fmt.Errorf("accept connections: %w", errEndpointClosed)
	}
	m.mu.Lock() // nothing is launched any more
	cancel()
	m.mu.Unlock()
	m.endpoint.Close()
	m.endpoint.loops.Wait()
	m.wg.Wait()
	return err
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

// endServed ends a session whose serve has returned. What it returned may only be
// the echo of a connection that broke, or of a farewell: these get a moment to be
// noticed first, as they are the better reason. A serve that has come to the end of
// its stream saw the peer's end: that lets such a moment pass, too, before it says why.
func (m *Mesh) endServed(s *Session, err error) {
	wait, cause := lossNoticeTime, error(serveError{err})
	if err == nil {
		cause = errFinished
	}
	if err == nil || errors.Is(err, io.EOF) {
		wait = 2 * lossNoticeTime
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-s.Done():
	case <-timer.C:
		s.end(cause)
	}
}

// depart remembers how a session with a peer ended that dialled this node.
func (m *Mesh) depart(c *claim) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.dialled || c.dropped {
		return
	}
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
