package sshconn

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"golang.org/x/crypto/ssh"
)

const (
	controlChannel   = "control@resonate"
	blockChannel     = "block@resonate"
	blocksRequest    = "blocks@resonate"
	keepaliveRequest = "keepalive@resonate"
	byeRequest       = "bye@resonate"
)

// link is one SSH connection whose peer is known and permitted. Every channel
// and request that comes in is answered: the library's queues hold 16, and a
// full one stops the whole connection.
type link struct {
	conn     ssh.Conn
	wire     *wire
	key      ssh.PublicKey // of the peer
	peer     NodeID        // its ID
	channels <-chan ssh.NewChannel
	requests <-chan *ssh.Request

	session atomic.Pointer[Session] // once it belongs to one
	heard   atomic.Uint64           // keep-alives of the peer
	opened  atomic.Int32            // block channels that this side has open
	kick    chan struct{}           // asks for a keep-alive now
	probed  chan struct{}           // tells that its answer is waited for

	wg    sync.WaitGroup
	gone  chan struct{} // closed when the connection has ended and its requests are served
	cause error         // why; read it after gone

	// For an accepted link, guarded by the mesh's mutex.
	joined    chan struct{} // closed when it has become part of a session
	abandoned bool
	claim     *claim
}

// pairing decides on the links that were accepted. Links that this side dialled
// have none: there, the peer has nothing to ask for.
type pairing struct {
	control func(*link, ssh.NewChannel)
	blocks  func(*link, []byte) ([]byte, bool)
}

func newLink(conn ssh.Conn, w *wire, key ssh.PublicKey, channels <-chan ssh.NewChannel, requests <-chan *ssh.Request) *link {
	return &link{
		conn: conn, wire: w, key: key, peer: idOf(key), channels: channels, requests: requests,
		kick: make(chan struct{}, 1), probed: make(chan struct{}, 1), gone: make(chan struct{}), joined: make(chan struct{}),
	}
}

// start serves the link until it is closed by either side.
func (l *link) start(p *pairing) {
	served := make(chan struct{})
	l.wg.Go(func() { l.serveChannels(p) })
	l.wg.Go(func() { defer close(served); l.serveRequests(p) })
	l.wg.Go(func() {
		cause := l.conn.Wait()
		<-served // a farewell may be the last request
		l.cause = cause
		close(l.gone)
	})
}

// close ends the connection without waiting; shut waits for its goroutines too.
func (l *link) close() { l.conn.Close() }

func (l *link) shut() {
	l.close()
	l.wg.Wait()
}

func (l *link) serveChannels(p *pairing) {
	for c := range l.channels {
		switch kind := c.ChannelType(); {
		case kind == controlChannel && p != nil:
			p.control(l, c)
		case kind == blockChannel:
			if s := l.session.Load(); s != nil && s.control != l {
				s.acceptBlocks(l, c)
				continue
			}
			c.Reject(ssh.Prohibited, "not here")
		case maxInbound[Kind(kind)] > 0:
			if s := l.session.Load(); s != nil && s.control == l {
				s.offer(Kind(kind), c)
				continue
			}
			c.Reject(ssh.Prohibited, "not here")
		default:
			c.Reject(ssh.UnknownChannelType, "nodes synchronise folders, and offer nothing else")
		}
	}
}

func (l *link) serveRequests(p *pairing) {
	for r := range l.requests {
		switch {
		case r.Type == keepaliveRequest:
			l.heard.Add(1)
			r.Reply(true, nil)
		case r.Type == byeRequest:
			l.dismissed(r.Payload)
		case r.Type == blocksRequest && p != nil:
			answer, ok := p.blocks(l, r.Payload)
			r.Reply(ok, answer)
		default:
			r.Reply(false, nil)
		}
	}
}

// dismissed acts on the peer's farewell.
func (l *link) dismissed(payload []byte) {
	if s := l.session.Load(); s != nil {
		s.end(parseFarewell(payload))
	}
	l.close()
}

// discard answers the requests on an open channel: all are refused.
func (l *link) discard(requests <-chan *ssh.Request) {
	l.wg.Go(func() { ssh.DiscardRequests(requests) })
}

var errLinkLost = errors.New("connection lost")

// open opens a channel, until ctx or the link ends. Its goroutine serves the
// channel's requests and ends with the channel. It is not waited for: a channel
// that is opened in the very moment in which the library tears the connection
// down may never hear of it (mux.loop drops the channels before it fails
// writers), and must hold up nobody.
func (l *link) open(ctx context.Context, kind string, extra []byte) (ssh.Channel, error) {
	type result struct {
		channel ssh.Channel
		err     error
	}
	opened := make(chan result)
	go func() {
		channel, requests, err := l.conn.OpenChannel(kind, extra)
		select {
		case opened <- result{channel, err}:
		case <-ctx.Done():
			if err == nil {
				channel.Close()
			}
		case <-l.gone:
		}
		if err == nil {
			ssh.DiscardRequests(requests)
		}
	}()
	select {
	case r := <-opened:
		return r.channel, r.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-l.gone:
		return nil, errLinkLost
	}
}

// probe asks for a keep-alive now: a connection that the peer's machine has
// forgotten is reset by it, and one that leads nowhere is given up soon.
func (l *link) probe() {
	l.wire.ask() // an earlier request may still be out, and the answer to that will do
	for _, c := range []chan struct{}{l.kick, l.probed} {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}
