package sshconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/crypto/ssh"
)

// peerKey is where the server side's key check leaves the key that it permitted.
type peerKey struct{}

func (e *Endpoint) serverConfig() *ssh.ServerConfig {
	c := &ssh.ServerConfig{
		Config:                  algorithms(),
		PublicKeyAuthAlgorithms: []string{ssh.KeyAlgoED25519},
		MaxAuthTries:            1,
		ServerVersion:           softwareVersion,
		PublicKeyCallback: func(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			err := e.permit(key)
			if err == nil {
				return &ssh.Permissions{ExtraData: map[any]any{peerKey{}: key}}, nil
			}
			e.refuse(meta.RemoteAddr(), key, err)
			// The banner tells the other side why, and nothing about this one.
			return nil, &ssh.BannerError{Err: err, Message: trustRefusal}
		},
	}
	c.AddHostKey(e.identity.signer)
	return c
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

// accept does the server's half of the handshake, within the deadline. The
// link is not started. On error the connection is closed.
func (e *Endpoint) accept(ctx context.Context, conn net.Conn) (*link, error) {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	w := newWire(conn)
	w.SetDeadline(time.Now().Add(e.timing.handshake))
	c, channels, requests, err := ssh.NewServerConn(w, e.server)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("accept %s: %w", conn.RemoteAddr(), err)
	}
	w.SetDeadline(time.Time{})
	peer := c.Permissions.ExtraData[peerKey{}].(ssh.PublicKey)
	return newLink(c, w, peer, channels, requests), nil
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
func (e *Endpoint) dial(ctx context.Context, addr string, want *NodeID) (*link, error) {
	dialer := net.Dialer{KeepAlive: networkKeepaliveNone}
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err // the address is told once
		}
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	w := newWire(conn)
	if deadline, ok := ctx.Deadline(); ok {
		w.SetDeadline(deadline)
	}
	host := hostCheck{want: want, permit: e.permit}
	c, channels, requests, err := ssh.NewClientConn(w, addr, &ssh.ClientConfig{
		Config:            algorithms(),
		User:              "resonate",
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(e.identity.signer)},
		HostKeyCallback:   host.check,
		HostKeyAlgorithms: []string{ssh.KeyAlgoED25519},
		BannerCallback: func(message string) error {
			host.banner = printable(message, maxBannerSize)
			return nil
		},
		ClientVersion: softwareVersion,
	})
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("connect to %s: %w", addr, e.explain(ctx, &host, err))
	}
	w.SetDeadline(time.Time{})
	return newLink(c, w, host.got, channels, requests), nil
}

// explain turns the library's error of a failed handshake into what the user can act on.
func (e *Endpoint) explain(ctx context.Context, host *hostCheck, err error) error {
	var timeout net.Error
	switch {
	case host.err != nil:
		return host.err
	case host.banner != "":
		return fmt.Errorf("%w: node %s says of this node's key %s: %s: add it there: %s",
			ErrRefused, idOf(host.got), e.identity.id, host.banner, e.identity.AuthorizedKey())
	case ctx.Err() != nil, errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("no SSH answer in time: is it a resonate? %w", err)
	}
	return err
}
