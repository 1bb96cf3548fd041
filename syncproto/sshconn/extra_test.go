package sshconn

import (
	"errors"
	"io"
	"strings"
	"testing"
)

func TestExtraStreamsGoBesideTheMessages(t *testing.T) {
	_, _, sa, sb := connected(t)
	if _, err := sb.Open(t.Context(), RaftStream); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "not served here, or not yet") {
		t.Errorf("before there is a handler: got %v, want a refusal", err)
	}
	far := make(chan Stream, 1)
	for _, s := range []*Session{sa, sb} {
		for _, kind := range []Kind{RaftStream, LocksStream} {
			s.Handle(kind, func(accept func() (Stream, error)) error {
				c, err := accept()
				far <- c
				return err
			})
		}
	}
	for _, s := range []*Session{sa, sb} {
		for _, kind := range []Kind{RaftStream, LocksStream} {
			near, err := s.Open(t.Context(), kind)
			if err != nil {
				t.Fatal(err)
			}
			c := <-far
			exchange(t, near, c, "there")
			exchange(t, c, near, "and back")
			near.Close()
			if _, err := c.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("%s: after a close, the other side reads %v, want io.EOF", kind, err)
			}
			c.Close()
		}
	}
	if _, err := sa.Open(t.Context(), "other@resonate"); !errors.Is(err, ErrRefused) {
		t.Errorf("a kind that is not known: got %v, want a refusal", err)
	}
}

func TestExtraStreamsAreRefusedWithTheHandlersReason(t *testing.T) {
	_, _, sa, sb := connected(t)
	sa.Handle(RaftStream, func(func() (Stream, error)) error { return errors.New("no lock log\x1b[31m here") })
	for range 2 * maxInbound[RaftStream] { // a refusal takes up no room
		_, err := sb.Open(t.Context(), RaftStream)
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "no lock log") || strings.Contains(err.Error(), "\x1b") {
			t.Fatalf("got %q, want the reason, printable", err)
		}
	}
}

func TestExtraStreamsAreBounded(t *testing.T) {
	_, _, sa, sb := connected(t)
	far := make(chan Stream, maxInbound[RaftStream]+1)
	sa.Handle(RaftStream, func(accept func() (Stream, error)) error {
		c, err := accept()
		far <- c
		return err
	})
	for range maxInbound[RaftStream] {
		if _, err := sb.Open(t.Context(), RaftStream); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := sb.Open(t.Context(), RaftStream); !errors.Is(err, ErrRefused) {
		t.Errorf("one too many: got %v, want a refusal", err)
	}
	sa.Handle(LocksStream, func(func() (Stream, error)) error { return errors.New("as asked") })
	if _, err := sb.Open(t.Context(), LocksStream); err == nil || !strings.Contains(err.Error(), "as asked") {
		t.Errorf("the other kind: got %v, want its own count", err)
	}
	c := <-far
	c.Close()
	c.Close()
	if _, err := sb.Open(t.Context(), RaftStream); err != nil {
		t.Errorf("after a close: %v", err)
	}
	if _, err := sb.Open(t.Context(), RaftStream); err == nil {
		t.Error("closing twice made room for two")
	}
}

// A peer that is refused, or whose handler has not decided, when the session ends.
func TestASessionEndsWhateverItsHandlersDo(t *testing.T) {
	_, _, sa, sb := connected(t)
	asked := make(chan struct{})
	sa.Handle(RaftStream, func(accept func() (Stream, error)) error {
		close(asked)
		<-sa.Done()
		_, err := accept()
		return err
	})
	opened := make(chan error, 1)
	go func() {
		_, err := sb.Open(t.Context(), RaftStream)
		opened <- err
	}()
	<-asked
	sb.Close()
	if err := <-opened; err == nil {
		t.Error("a stream was opened in a session that has ended")
	}
	sa.Close()
}
