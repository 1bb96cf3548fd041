package sshconn

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/crypto/ssh"
)

// Kind names a kind of streams that peers may have on the control connection, beside the one for messages: they carry little,
// and wait for no bulk.
type Kind string

const (
	RaftStream  Kind = "raft@resonate"  // the log of the lock table, between its voters
	LocksStream Kind = "locks@resonate" // what is asked of the lock table, and told by it
)

// maxInbound bounds the streams of a kind that a peer has open at a time, those included whose handler has not decided yet.
var maxInbound = map[Kind]int{RaftStream: 8, LocksStream: 4}

// Handler decides on a stream that the peer wants to open. It calls accept at most once, and then the stream is its to close;
// if it does not, the peer is refused, and told the error that the handler returns. It must return when the session ends.
type Handler func(accept func() (Stream, error)) error

// extras are a session's streams beside those for messages and blocks.
type extras struct {
	mu       sync.Mutex
	handlers map[Kind]Handler
	open     map[Kind]int
}

// Handle sets who decides on the streams of a kind that the peer opens from now on; before, all are refused.
func (s *Session) Handle(kind Kind, h Handler) {
	s.extras.mu.Lock()
	defer s.extras.mu.Unlock()
	if s.extras.handlers == nil {
		s.extras.handlers, s.extras.open = make(map[Kind]Handler), make(map[Kind]int)
	}
	s.extras.handlers[kind] = h
}

// Open opens a stream of a kind towards the peer. If the peer does not want it, errors.Is finds ErrRefused, and the text is
// the peer's reason.
func (s *Session) Open(ctx context.Context, kind Kind) (Stream, error) {
	c, err := s.control.open(ctx, string(kind), nil)
	if err == nil {
		return &stream{Channel: c}, nil
	}
	var rejected *ssh.OpenChannelError
	switch {
	case s.ctx.Err() != nil:
		err = s.Err()
	case errors.As(err, &rejected):
		err = fmt.Errorf("%w: %s", ErrRefused, printable(rejected.Message, maxReasonSize))
	}
	return nil, fmt.Errorf("open %s: %w", kind, err)
}

// enter counts a stream of a kind, and gives who decides on it.
func (x *extras) enter(kind Kind) (Handler, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch h := x.handlers[kind]; {
	case h == nil:
		return nil, errors.New("not served here, or not yet")
	case x.open[kind] == maxInbound[kind]:
		return nil, fmt.Errorf("%d are open, and no more are served", maxInbound[kind])
	default:
		x.open[kind]++
		return h, nil
	}
}

func (x *extras) leave(kind Kind) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.open[kind]--
}

// offer has a stream that the peer wants decided on, without holding up the connection.
func (s *Session) offer(kind Kind, c ssh.NewChannel) {
	h, err := s.extras.enter(kind)
	if err != nil {
		c.Reject(ssh.ResourceShortage, err.Error())
		return
	}
	s.control.wg.Go(func() { s.decide(kind, h, c) }) // who calls counts there, too, so nobody has waited for all yet
}

func (s *Session) decide(kind Kind, h Handler, c ssh.NewChannel) {
	accepted := false
	err := h(func() (Stream, error) {
		if s.ctx.Err() != nil {
			return nil, s.Err()
		}
		channel, requests, err := c.Accept()
		accepted = true
		if err != nil {
			s.extras.leave(kind)
			return nil, fmt.Errorf("accept %s: %w", kind, err)
		}
		s.control.discard(requests)
		return &stream{Channel: channel, release: func() { s.extras.leave(kind) }}, nil
	})
	if accepted {
		return
	}
	s.extras.leave(kind)
	if err == nil {
		err = errors.New("not wanted")
	}
	c.Reject(ssh.Prohibited, printable(err.Error(), maxReasonSize))
}
