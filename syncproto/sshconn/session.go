package sshconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// maxInboundBlocks bounds the block channels that a peer has open at a time:
// each may hold a window of 2 MiB here.
const maxInboundBlocks = 16

// Stream is a channel between two nodes. Reads and writes may run at once, but
// one of each; Close may be called at any time and ends both. It has no
// deadlines: close it, or let the session end.
type Stream interface {
	io.ReadWriteCloser
	CloseWrite() error // the peer reads io.EOF
}

// Session is the pair of connections with one peer, and with a far one a few more
// for blocks. It is safe for concurrent use. It ends when either connection of the
// pair does, and then all its streams fail; with a further one, the streams on that.
type Session struct {
	peer      NodeID
	dialled   bool
	keepalive time.Duration
	answer    time.Duration // within which a probe is to be answered
	control   *link
	stream    Stream

	inbound chan *stream
	slots   chan struct{} // one for each inbound block channel that is not closed
	rtt     atomic.Int64
	sent    atomic.Uint64
	extras  extras

	mu     sync.Mutex
	blocks []*link // the pair's first; none is added when ctx has ended

	ctx    context.Context // ends with the session; its cause is the reason
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
	closed chan struct{} // closed when nothing of the session is left
}

// newSession ties two links together: from now on, what comes in on them is the
// session's. It must be started.
func (m *Mesh) newSession(ctx context.Context, c *claim, blocks *link) *Session {
	s := &Session{
		peer: c.id, dialled: c.dialled, keepalive: m.endpoint.keepalive, answer: m.endpoint.timing.answer,
		control: c.control, blocks: []*link{blocks}, stream: c.stream,
		inbound: make(chan *stream, maxInboundBlocks),
		slots:   make(chan struct{}, maxInboundBlocks),
		closed:  make(chan struct{}),
	}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	c.control.session.Store(s)
	blocks.session.Store(s)
	blocks.wire.bulk.Store(true)
	return s
}

func (s *Session) start() {
	s.mu.Lock()
	s.tend(s.control)
	s.tend(s.blocks[0]) // those that were added are tended
	s.mu.Unlock()
	go s.finish()
}

// tend begins to see to a connection. The caller holds the mutex.
func (s *Session) tend(l *link) {
	s.wg.Go(func() { s.watch(l) })
	s.wg.Go(func() { s.ping(l) })
	s.wg.Go(func() { s.listen(l) })
}

// Peer gives the peer's ID.
func (s *Session) Peer() NodeID { return s.peer }

// PeerKey gives the peer's key.
func (s *Session) PeerKey() ssh.PublicKey { return s.control.key }

// Addr gives the peer's network address.
func (s *Session) Addr() string { return s.control.conn.RemoteAddr().String() }

// Dialled tells whether this side dialled.
func (s *Session) Dialled() bool { return s.dialled }

// Control gives the one message stream.
func (s *Session) Control() Stream { return s.stream }

// RTT gives the round trip of the last keep-alive on the control connection, 0 before the first.
func (s *Session) RTT() time.Duration { return time.Duration(s.rtt.Load()) }

// Room gives the number of bytes that can be sent now without going beyond
// Config.MaxSend. What is sent on the control stream does not wait for that: it is
// for its owner to send there only what cannot wait.
func (s *Session) Room() int { return s.control.wire.rates.send.room() }

// Keepalives counts those sent, and those of the peer's received.
func (s *Session) Keepalives() (sent, received uint64) {
	for _, l := range s.links() {
		received += l.heard.Load()
	}
	return s.sent.Load(), received
}

// Done is closed when the session has ended or is ending.
func (s *Session) Done() <-chan struct{} { return s.ctx.Done() }

// Err gives the reason once Done is closed: ErrGone, a *FarewellError, the error
// of this side's service, context.Canceled when this node shuts down, or how
// the connection broke; nil before.
func (s *Session) Err() error { return context.Cause(s.ctx) }

// Close ends the session, tells the peer, and waits for all of it to be gone: a
// quarter of a second at most.
func (s *Session) Close() error {
	s.end(errClosed)
	<-s.closed
	return nil
}

// end sets the reason, unless there is one, and lets the session end.
func (s *Session) end(cause error) { s.cancel(cause) }

// OpenBlocks opens a block channel towards the peer.
func (s *Session) OpenBlocks(ctx context.Context) (Stream, error) {
	l := s.leastUsed()
	c, err := l.open(ctx, blockChannel, nil)
	if err != nil {
		l.opened.Add(-1)
		if s.ctx.Err() != nil {
			err = s.Err()
		}
		return nil, fmt.Errorf("open block channel: %w", err)
	}
	return &stream{Channel: c, release: func() { l.opened.Add(-1) }}, nil
}

// AcceptBlocks gives the next block channel that the peer has opened. More than
// 16 that are not closed are refused to the peer.
func (s *Session) AcceptBlocks(ctx context.Context) (Stream, error) {
	select {
	case c := <-s.inbound:
		return c, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("accept block channel: %w", context.Cause(ctx))
	case <-s.ctx.Done():
		return nil, fmt.Errorf("accept block channel: %w", s.Err())
	}
}

func (s *Session) acceptBlocks(l *link, c ssh.NewChannel) {
	select {
	case s.slots <- struct{}{}:
	default:
		c.Reject(ssh.ResourceShortage, "too many block channels are open")
		return
	}
	channel, requests, err := c.Accept()
	if err != nil {
		<-s.slots
		return
	}
	l.discard(requests)
	s.inbound <- &stream{Channel: channel, release: func() { <-s.slots }} // has room for as many as there are slots
}

// watch ends the session when a link of the pair ends, and does without a further one.
func (s *Session) watch(l *link) {
	<-l.gone
	if !s.narrow(l) {
		s.end(fmt.Errorf("%w: %w", errLinkLost, l.cause))
	}
}

// ping asks for a sign of life at once and then regularly. A request that gets
// no answer returns when the link is closed, which listen sees to.
func (s *Session) ping(l *link) {
	ticker := time.NewTicker(s.keepalive)
	defer ticker.Stop()
	for {
		began := time.Now()
		s.sent.Add(1)
		l.wire.ask()
		if _, _, err := l.conn.SendRequest(keepaliveRequest, true, nil); err != nil {
			return
		}
		if l == s.control {
			s.rtt.Store(int64(time.Since(began)))
		}
		select {
		case <-ticker.C:
		case <-l.kick:
		case <-s.ctx.Done():
			return
		}
	}
}

// listen ends the session, or a further link alone, when nothing came in for two
// intervals, in which the peer had at least one keep-alive to answer; after a
// probe, when that is not answered soon.
func (s *Session) listen(l *link) {
	limit := 2 * s.keepalive
	timer := time.NewTimer(limit)
	defer timer.Stop()
	probed := false
	for {
		select {
		case <-timer.C:
		case <-l.probed:
			if !probed { // else the earlier one is still waited for
				probed = true
				timer.Reset(s.answer)
			}
			continue
		case <-s.ctx.Done():
			return
		}
		silence, since := l.wire.silence(), l.wire.unanswered()
		switch {
		case silence >= limit, probed && since >= s.answer:
			if s.narrow(l) {
				l.close()
				return
			}
			s.end(fmt.Errorf("%w: nothing heard for %v", ErrGone, silence.Round(time.Millisecond)))
			return
		case probed && since > 0: // a later one
			timer.Reset(s.answer - since)
		default:
			probed = false
			timer.Reset(limit - silence)
		}
	}
}

// probe makes sure, soon, that all connections live.
func (s *Session) probe() {
	for _, l := range s.links() {
		l.probe()
	}
}

// unanswered tells for how long the peer has owed a sign of life, 0 if it does not.
func (s *Session) unanswered() (longest time.Duration) {
	for _, l := range s.links() {
		longest = max(longest, l.wire.unanswered())
	}
	return longest
}

// finish takes the session down when it ends, in order: the reason, the
// connections, the goroutines.
func (s *Session) finish() {
	<-s.ctx.Done()
	if reason, ok := farewellFor(s.Err()); ok {
		s.sayGoodbye(reason)
	}
	links := s.links() // all there will be
	for _, l := range links {
		l.close()
	}
	s.wg.Wait()
	for _, l := range links {
		l.shut()
	}
	close(s.closed)
}

// sayGoodbye sends the reason and waits for the peer to close, so that the
// reason is not lost with our end of the connection; both for a short time.
func (s *Session) sayGoodbye(reason []byte) {
	s.control.wire.SetWriteDeadline(time.Now().Add(goodbyeTime))
	s.wg.Go(func() { s.control.conn.SendRequest(byeRequest, false, reason) })
	timer := time.NewTimer(goodbyeTime)
	defer timer.Stop()
	select {
	case <-s.control.gone:
	case <-timer.C:
	}
}

// stream is a channel that can be closed twice, and gives its slot back.
type stream struct {
	ssh.Channel
	once    sync.Once
	release func()
}

var _ Stream = (*stream)(nil)

func (s *stream) Close() error {
	s.once.Do(func() {
		if s.release != nil {
			s.release()
		}
	})
	if err := s.Channel.Close(); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}
