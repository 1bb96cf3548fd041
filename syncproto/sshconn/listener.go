package sshconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// portTries bounds how often a free port is looked for that is free at each of
// several addresses.
const portTries = 20

// listener is one address that is listened on.
type listener struct {
	net.Listener
	place place
}

// place is what to listen on, in the terms of package net.
type place struct{ network, host, port string }

// places reads addresses (HOST:PORT) to listen on; port stands for port 0.
func places(addrs []string, port string) ([]place, error) {
	var out []place
	for _, addr := range addrs {
		host, p, err := net.SplitHostPort(addr)
		if err == nil {
			_, err = strconv.ParseUint(p, 10, 16)
		}
		if err != nil {
			return nil, fmt.Errorf("listen on %q: %w: want HOST:PORT, such as 127.0.0.1:4321, [::1]:4321 or :4321 for all addresses", addr, err)
		}
		if p == "0" && port != "" {
			p = port
		}
		if at := (place{"tcp", host, p}); !slices.Contains(out, at) {
			out = append(out, at)
		}
	}
	// A wildcard stands for its own family; [::] alone, and no host, for both.
	v4 := slices.ContainsFunc(out, place.isV4)
	for i, at := range out {
		switch ip, err := netip.ParseAddr(at.host); {
		case err != nil:
		case ip.Is4():
			out[i].network = "tcp4"
		case v4 || !ip.IsUnspecified():
			out[i].network = "tcp6"
		}
	}
	return out, nil
}

func (p place) isV4() bool {
	ip, err := netip.ParseAddr(p.host)
	return err == nil && ip.Is4()
}

func (p place) bind() (*listener, error) {
	// The sessions' own keep-alives do what TCP's would, for less traffic.
	lc := net.ListenConfig{KeepAlive: networkKeepaliveNone}
	addr := net.JoinHostPort(p.host, p.port)
	l, err := lc.Listen(context.Background(), p.network, addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("listen on %s: port %s is in use: stop what uses it, or choose another with -port: %w", addr, p.port, err)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	_, p.port, _ = net.SplitHostPort(l.Addr().String())
	return &listener{l, p}, nil
}

// bindAll listens on all places or none; of port 0, on the same free port.
func bindAll(at []place) ([]*listener, error) {
	for try := 1; ; try++ {
		bound, err := bindOnce(at)
		chosen := len(bound) > 0 && at[0].port == "0"
		if err == nil || !chosen || !errors.Is(err, syscall.EADDRINUSE) || try == portTries {
			if err != nil {
				closeAll(bound)
				return nil, err
			}
			return bound, nil
		}
		closeAll(bound)
	}
}

func bindOnce(at []place) (bound []*listener, err error) {
	for _, p := range at {
		if p.port == "0" && len(bound) > 0 {
			p.port = bound[0].place.port
		}
		l, err := p.bind()
		if err != nil {
			return bound, err
		}
		bound = append(bound, l)
	}
	return bound, nil
}

func closeAll(ls []*listener) error {
	var all error
	for _, l := range ls {
		all = errors.Join(all, l.Close())
	}
	return all
}

// ListenOn replaces the addresses that are listened on; with port 0, the port
// stays. Sessions stay. What is listened on already is left alone, and the rest
// is opened before the old is closed, where the system allows: a wildcard cannot
// be bound while one of its addresses is, so that is closed for a moment. On
// error the old addresses are listened on as before; should they not be to be
// had again, the error tells that, too. It may be called at any time.
func (e *Endpoint) ListenOn(addrs []string) error {
	e.moving.Lock()
	defer e.moving.Unlock()
	e.mu.Lock()
	old, closed, port := e.listeners, e.isClosed, ""
	e.mu.Unlock()
	if closed {
		return fmt.Errorf("listen on %v: %w", addrs, errEndpointClosed)
	}
	if len(old) > 0 {
		port = old[0].place.port
	}
	want, err := places(addrs, port)
	if err != nil {
		return err
	}
	var kept, stale []*listener
	for _, l := range old {
		if i := slices.Index(want, l.place); i >= 0 {
			want = slices.Delete(want, i, i+1)
			kept = append(kept, l)
		} else {
			stale = append(stale, l)
		}
	}
	fresh, err := bindAll(want)
	if errors.Is(err, syscall.EADDRINUSE) && len(stale) > 0 {
		closeAll(stale)
		if fresh, err = bindAll(want); err != nil {
			var failed error
			fresh, failed = rebind(stale)
			err, stale = errors.Join(err, failed), nil
		}
	} else if err != nil {
		return err
	}
	closeAll(stale)
	e.hear(append(kept, fresh...))
	return err
}

// rebind opens again, as far as it can, what was closed.
func rebind(old []*listener) (again []*listener, err error) {
	for _, l := range old {
		if l, failed := l.place.bind(); failed != nil {
			err = errors.Join(err, fmt.Errorf("cannot go back: %w", failed))
		} else {
			again = append(again, l)
		}
	}
	return again, err
}

var errEndpointClosed = errors.New("endpoint is closed")

// hear makes the listeners those of the endpoint.
func (e *Endpoint) hear(now []*listener) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.isClosed {
		closeAll(now)
		return
	}
	for _, l := range now {
		if e.handle != nil && !slices.Contains(e.listeners, l) {
			e.loops.Go(func() { e.acceptOn(l) })
		}
	}
	e.listeners = now
}

// accepting has handle called for each connection until the endpoint is closed.
// It is called once.
func (e *Endpoint) accepting(handle func(net.Conn)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.handle = handle
	for _, l := range e.listeners {
		e.loops.Go(func() { e.acceptOn(l) })
	}
}

// acceptOn accepts connections until the listener is closed.
func (e *Endpoint) acceptOn(l *listener) {
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			e.handle(conn)
		case errors.Is(err, net.ErrClosed):
			return
		default: // such as too many open files, which passes
			if e.notices.due("listener", "accept", time.Now()) {
				e.log.Warn("cannot accept a connection", "err", err)
			}
			timer := time.NewTimer(acceptErrorPause)
			select {
			case <-timer.C:
			case <-e.closed:
			}
			timer.Stop()
		}
	}
}

// Addr gives the first address that is listened on, nil if there is none.
func (e *Endpoint) Addr() net.Addr {
	if all := e.Addrs(); len(all) > 0 {
		return all[0]
	}
	return nil
}

// Addrs gives the addresses that are listened on, with their ports.
func (e *Endpoint) Addrs() []net.Addr {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]net.Addr, len(e.listeners))
	for i, l := range e.listeners {
		out[i] = l.Addr()
	}
	return out
}

// Close stops listening. Mesh.Run does it too, when it ends.
func (e *Endpoint) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.isClosed {
		return nil
	}
	e.isClosed = true
	close(e.closed)
	return closeAll(e.listeners)
}
