package sshconn

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// ErrMember is what errors.Is finds where a node joins that is a member already:
// it can connect as one.
var ErrMember = errors.New("this node is a member there already")

const (
	memberUser  = "resonate"
	joinUser    = "join"
	joinChannel = "join@resonate"

	maxJoins      = 4
	joinTime      = 15 * time.Minute
	partingTime   = 2 * time.Second
	maxSecretSize = 256
	maxGuessPause = 5 * time.Second

	// What a joiner is told, in a banner.
	memberRefusal = "its key is a member's already"
	guessRefusal  = "the code is wrong, has expired or was used"
	crowdRefusal  = "too many are joining at once: try again in a moment"
)

// Joining lets strangers in who show the secret of an invitation: to one stream,
// and nothing else. Its functions are called from several goroutines at once.
type Joining struct {
	// Open tells whether an invitation is. While none is, whoever would join is
	// told what any stranger is.
	Open func() bool
	// Check checks the secret that the owner of the key has shown. A nil error
	// lets it in; it may then not serve again. A *GuessError delays the answer.
	Check func(key ssh.PublicKey, secret []byte, remote net.Addr) error
	// Serve speaks with the stranger on the one stream it has. ctx ends with the
	// connection, 15 minutes later, or with the mesh; Serve must then return.
	// The stream ends when Serve returns.
	Serve func(ctx context.Context, key ssh.PublicKey, remote net.Addr, s Stream) error
}

// GuessError is an error of Joining.Check that slows down who is guessing.
type GuessError struct {
	Err   error
	Pause time.Duration // before the answer; at most 5 s
}

func (e *GuessError) Error() string { return e.Err.Error() }
func (e *GuessError) Unwrap() error { return e.Err }

// offerJoin decides on the key of somebody who would join. That it is the
// stranger's own is proved afterwards.
func (v *visitor) offerJoin(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	e := v.endpoint
	err := e.permit(key)
	switch {
	case err == nil:
		v.told = true
		return nil, &ssh.BannerError{Err: ErrMember, Message: memberRefusal}
	case key.Type() != ssh.KeyAlgoED25519, !errors.Is(err, ErrUntrusted), e.joining == nil, !e.joining.Open():
		return nil, v.refuse(meta, key, err)
	}
	return &ssh.Permissions{ExtraData: map[any]any{joinerKey{}: key}}, nil
}

// checkSecret decides on the secret of a stranger whose key is proved. What it
// answers to a wrong one is the same whatever is wrong with it.
func (v *visitor) checkSecret(key ssh.PublicKey, meta ssh.ConnMetadata, secret []byte) (*ssh.Permissions, error) {
	e := v.endpoint
	select {
	case e.joins <- struct{}{}:
	default:
		v.told = true
		return nil, &ssh.BannerError{Err: errors.New(crowdRefusal), Message: crowdRefusal}
	}
	err := errors.New("secret is too long")
	if len(secret) <= maxSecretSize {
		err = e.joining.Check(key, secret, meta.RemoteAddr())
	}
	if err == nil {
		v.joins = true
		return &ssh.Permissions{ExtraData: map[any]any{joinerKey{}: key}}, nil
	}
	<-e.joins
	v.told = true
	host, _, _ := net.SplitHostPort(meta.RemoteAddr().String())
	if e.notices.due(host, "guess", time.Now()) {
		e.log.Warn("refused a stranger that tried to join", "remote", meta.RemoteAddr().String(), "key", ssh.FingerprintSHA256(key), "err", err)
	}
	var guess *GuessError
	if errors.As(err, &guess) {
		pause(v.ctx, min(guess.Pause, maxGuessPause))
	}
	return nil, &ssh.BannerError{Err: err, Message: guessRefusal}
}

// serveJoin serves the connection of an invited stranger, until it ends.
func (e *Endpoint) serveJoin(ctx context.Context, a *arrival) {
	defer func() { <-e.joins }()
	ctx, cancel := context.WithTimeout(ctx, e.timing.join)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { a.conn.Close() })
	defer stop()
	late := time.AfterFunc(e.timing.handshake, cancel) // without a channel
	defer late.Stop()
	e.log.Info("a stranger joins with a code", "remote", a.conn.RemoteAddr().String(), "key", ssh.FingerprintSHA256(a.key))
	var wg sync.WaitGroup
	wg.Go(func() { ssh.DiscardRequests(a.requests) })
	wg.Go(func() {
		a.conn.Wait()
		cancel()
	})
	opened := false
	for c := range a.channels {
		if opened || c.ChannelType() != joinChannel {
			c.Reject(ssh.Prohibited, "who joins gets one channel, and nothing else")
			continue
		}
		opened = true
		late.Stop()
		channel, requests, err := c.Accept()
		if err != nil {
			cancel()
			continue
		}
		wg.Go(func() { ssh.DiscardRequests(requests) })
		wg.Go(func() {
			e.speak(ctx, a, &stream{Channel: channel})
			cancel()
		})
	}
	wg.Wait()
}

// speak has the stream served, and gives the stranger time to hear the end.
func (e *Endpoint) speak(ctx context.Context, a *arrival, s *stream) {
	if err := e.joining.Serve(ctx, a.key, a.conn.RemoteAddr(), s); err != nil && ctx.Err() == nil {
		e.log.Warn("a stranger did not join", "remote", a.conn.RemoteAddr().String(), "key", ssh.FingerprintSHA256(a.key), "err", err)
	}
	s.Close()
	pause(ctx, partingTime)
}
