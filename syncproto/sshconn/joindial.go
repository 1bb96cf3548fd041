package sshconn

import (
	"context"
	"errors"
	"fmt"
	"net"

	"golang.org/x/crypto/ssh"
)

// DialJoin connects to the node at addr (HOST:PORT) as a stranger that was
// invited, and gives the one stream that it gets there, and the node's key. check
// is called with that key first: unless it returns nil, nothing is sent but what
// the key exchange of SSH needs, which tells nothing of this node. secret is the
// invitation's. Dialling ends with ctx, or after 20 seconds; the stream lasts
// until it is closed, which closes the connection at once: write the end with
// CloseWrite and read to the peer's first.
//
// errors.Is finds ErrMember where the node is a member there already, and
// ErrRefused where the secret does not serve, or no invitation is open.
func DialJoin(ctx context.Context, addr string, id *Identity, check func(host ssh.PublicKey) error, secret []byte) (Stream, ssh.PublicKey, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout+maxGuessPause+goodbyeTime)
	defer cancel()
	conn, err := dialTCP(ctx, addr, connectTimeout)
	if err != nil {
		return nil, nil, err
	}
	host := hostCheck{permit: check}
	config := clientConfig(id, joinUser, &host)
	config.Auth = append(config.Auth, ssh.Password(string(secret)))
	l, err := shake(ctx, newWire(conn, nil), addr, &host, config)
	if err != nil {
		return nil, nil, fmt.Errorf("join at %s: %w", addr, explainJoin(ctx, &host, err))
	}
	l.start(nil)
	channel, err := l.open(ctx, joinChannel, nil)
	if err != nil {
		l.shut()
		return nil, nil, fmt.Errorf("join at %s: open channel: %w", addr, err)
	}
	return &joinStream{stream{Channel: channel}, l}, host.got, nil
}

// explainJoin turns the library's error of a failed handshake into what the user
// can act on.
func explainJoin(ctx context.Context, host *hostCheck, err error) error {
	switch host.banner {
	case "":
		return explain(ctx, host, err)
	case memberRefusal:
		return ErrMember
	case trustRefusal:
		return fmt.Errorf("%w: no invitation is open there: run there: resonate invite", ErrRefused)
	}
	return fmt.Errorf("%w: %s", ErrRefused, host.banner)
}

// joinStream is the stream of a joiner, and all its connection is for.
type joinStream struct {
	stream
	link *link
}

var _ Stream = (*joinStream)(nil)

func (s *joinStream) Close() error {
	err := s.stream.Close()
	s.link.shut()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
