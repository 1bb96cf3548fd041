package sshconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/crypto/ssh"
)

// peerKey and joinerKey are where the server side's checks leave the key that
// they permitted, of a member or of an invited stranger.
type (
	peerKey   struct{}
	joinerKey struct{}
)

// visitor is who comes in on a connection, before it is known who that is.
type visitor struct {
	endpoint *Endpoint
	ctx      context.Context // ends with the mesh
	joins    bool            // it holds a slot of Endpoint.joins
	told     bool            // it was turned away with a reason
}

func (v *visitor) serverConfig() *ssh.ServerConfig {
	c := &ssh.ServerConfig{
		Config:                    algorithms(),
		PublicKeyAuthAlgorithms:   []string{ssh.KeyAlgoED25519},
		MaxAuthTries:              1,
		ServerVersion:             softwareVersion,
		PublicKeyCallback:         v.offer,
		VerifiedPublicKeyCallback: v.verified,
	}
	c.AddHostKey(v.endpoint.identity.signer)
	return c
}

// offer decides on a key that the visitor says is its own.
func (v *visitor) offer(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	if meta.User() == joinUser {
		return v.offerJoin(meta, key)
	}
	if err := v.endpoint.permit(key); err != nil {
		return nil, v.refuse(meta, key, err)
	}
	return &ssh.Permissions{ExtraData: map[any]any{peerKey{}: key}}, nil
}

// verified decides on a key that was offered and proved to be the visitor's: it
// is enough for a member, and half for a stranger.
func (v *visitor) verified(_ ssh.ConnMetadata, key ssh.PublicKey, p *ssh.Permissions, _ string) (*ssh.Permissions, error) {
	if p.ExtraData[peerKey{}] != nil {
		return p, nil
	}
	check := func(meta ssh.ConnMetadata, secret []byte) (*ssh.Permissions, error) {
		return v.checkSecret(key, meta, secret)
	}
	return nil, &ssh.PartialSuccessError{Next: ssh.ServerAuthCallbacks{PasswordCallback: check}}
}

// refuse turns a key away: a person here may have to act on it, so it is logged;
// the banner tells the other side why, and nothing about this one.
func (v *visitor) refuse(meta ssh.ConnMetadata, key ssh.PublicKey, err error) error {
	v.told = true
	v.endpoint.refuse(meta.RemoteAddr(), key, err)
	return &ssh.BannerError{Err: err, Message: trustRefusal}
}

// refuse logs that a key was turned away: a person may have to act on it.
func (e *Endpoint) refuse(remote net.Addr, key ssh.PublicKey, err error) {
	host, _, _ := net.SplitHostPort(remote.String())
	fingerprint := ssh.FingerprintSHA256(key)
	if e.notices.due(host, fingerprint, time.Now()) {
		e.log.Warn("refused a connection", "remote", remote.String(), "key", fingerprint, "err", err)
	}
}

// unauthenticated logs that somebody came and did not show a key that is
// trusted here: a stranger's daemon, say, which hangs up as soon as it sees ours.
func (e *Endpoint) unauthenticated(remote net.Addr, err error) {
	host, _, _ := net.SplitHostPort(remote.String())
	if e.notices.due(host, "", time.Now()) {
		e.log.Warn("refused a connection: the other side did not show a key that is trusted here", "remote", remote.String(), "err", err)
	}
}

// arrival is a connection that came in, whose other end has authenticated.
type arrival struct {
	conn     ssh.Conn
	wire     *wire
	key      ssh.PublicKey
	joins    bool // an invited stranger, who holds a slot of Endpoint.joins; else a member
	channels <-chan ssh.NewChannel
	requests <-chan *ssh.Request
}

// accept does the server's half of the handshake, until ctx ends and within the
// deadline. On error the connection is closed.
func (e *Endpoint) accept(ctx context.Context, g *guest) (*arrival, error) {
	w := g.wire
	stop := context.AfterFunc(ctx, func() { w.Close() })
	defer stop()
	if w.SetDeadline(time.Now().Add(e.timing.handshake)) != nil { // it has no deadlines
		late := time.AfterFunc(e.timing.handshake, func() { w.Close() })
		defer late.Stop()
	}
	v := &visitor{endpoint: e, ctx: ctx}
	c, channels, requests, err := ssh.NewServerConn(w, v.serverConfig())
	if !e.door.leave(g) && err == nil {
		err = errors.New("others came after it")
	}
	if err != nil {
		if v.joins {
			<-e.joins
		}
		w.Close()
		if ctx.Err() == nil && !v.told {
			e.unauthenticated(w.RemoteAddr(), err)
		}
		return nil, fmt.Errorf("accept %s: %w", w.RemoteAddr(), err)
	}
	w.SetDeadline(time.Time{})
	a := &arrival{conn: c, wire: w, joins: v.joins, channels: channels, requests: requests}
	if a.joins {
		a.key = c.Permissions.ExtraData[joinerKey{}].(ssh.PublicKey)
	} else {
		a.key = c.Permissions.ExtraData[peerKey{}].(ssh.PublicKey)
	}
	return a, nil
}

// hostCheck is the client's check of the host key, and what it found.
type hostCheck struct {
	want   *NodeID // nil: any that is permitted
	permit func(ssh.PublicKey) error
	got    ssh.PublicKey
	err    error
	banner string
}

func (h *hostCheck) check(_ string, _ net.Addr, key ssh.PublicKey) error {
	h.got = key
	if h.want != nil && idOf(key) != *h.want {
		h.err = fmt.Errorf("another node answered: %s instead of %s", idOf(key), *h.want)
	} else {
		h.err = h.permit(key)
	}
	return h.err
}

// dial connects to addr and does the client's half of the handshake, until ctx
// ends. If want is given, only that node will do. The link is not started.
func (e *Endpoint) dial(ctx context.Context, addr Address, want *NodeID) (*link, error) {
	conn, err := e.open(ctx, addr)
	if err != nil {
		return nil, err
	}
	host := hostCheck{want: want, permit: e.permit}
	l, err := shake(ctx, newWire(conn, &e.rates), addr.Name, &host, clientConfig(e.identity, memberUser, &host))
	if err != nil && host.err == nil && host.banner != "" {
		err = fmt.Errorf("%w: node %s says of this node's key %s: %s: add it there: %s",
			ErrRefused, idOf(host.got), e.identity.id, host.banner, e.identity.AuthorizedKey())
	} else if err != nil {
		err = explain(ctx, &host, err)
	}
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", addr.Name, err)
	}
	return l, nil
}

func (e *Endpoint) open(ctx context.Context, addr Address) (net.Conn, error) {
	if addr.Dial == nil {
		return dialTCP(ctx, addr.Name, e.timing.connect)
	}
	conn, err := addr.Dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", addr.Name, err)
	}
	return conn, nil
}

// dialTCP connects to addr, until ctx ends or within the limit, so that another
// address can be tried; names with several addresses have them raced (RFC 8305).
func dialTCP(ctx context.Context, addr string, limit time.Duration) (net.Conn, error) {
	dialer := net.Dialer{KeepAlive: networkKeepaliveNone, Timeout: limit}
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err // the address is told once
		}
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	return conn, nil
}

func clientConfig(id *Identity, user string, host *hostCheck) *ssh.ClientConfig {
	return &ssh.ClientConfig{
		Config:            algorithms(),
		User:              user,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(id.signer)},
		HostKeyCallback:   host.check,
		HostKeyAlgorithms: []string{ssh.KeyAlgoED25519},
		BannerCallback: func(message string) error {
			host.banner = printable(message, maxBannerSize)
			return nil
		},
		ClientVersion: softwareVersion,
	}
}

// shake does the client's half of the handshake, until ctx ends. The link is not
// started. On error the connection is closed.
func shake(ctx context.Context, w *wire, addr string, host *hostCheck, config *ssh.ClientConfig) (*link, error) {
	stop := context.AfterFunc(ctx, func() { w.Close() })
	defer stop()
	if deadline, ok := ctx.Deadline(); ok {
		w.SetDeadline(deadline)
	}
	c, channels, requests, err := ssh.NewClientConn(w, addr, config)
	if err != nil {
		w.Close()
		return nil, err
	}
	w.SetDeadline(time.Time{})
	return newLink(c, w, host.got, channels, requests), nil
}

// explain turns the library's error of a failed handshake into what the user can act on.
func explain(ctx context.Context, host *hostCheck, err error) error {
	var timeout net.Error
	switch {
	case host.err != nil:
		return host.err
	case ctx.Err() != nil, errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("no SSH answer in time: is it a resonate? %w", err)
	}
	return err
}
