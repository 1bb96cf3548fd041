package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// plain sends size bytes from one host to the other over so many plain TCP streams, all of them open before, and returns how long
// it took until the last byte had come.
func plain(ctx context.Context, from, to *host, streams int, size int64) (time.Duration, error) {
	var ends [][2]net.Conn // sender, receiver
	defer func() {
		for _, e := range ends {
			e[0].Close()
			e[1].Close()
		}
	}()
	stop := context.AfterFunc(ctx, func() {
		for _, e := range ends {
			e[0].Close()
			e[1].Close()
		}
	})
	for range streams {
		e, err := connect(ctx, from, to)
		if err != nil {
			stop()
			return 0, err
		}
		ends = append(ends, e)
	}
	defer stop()
	done := make(chan error)
	begin := time.Now()
	for i, e := range ends {
		share := size / int64(streams)
		if i == 0 {
			share += size % int64(streams)
		}
		go func() { done <- send(e[0], share) }()
		go func() { done <- receive(e[1], share) }()
	}
	var errs []error
	for range 2 * streams {
		errs = append(errs, <-done)
	}
	return time.Since(begin), errors.Join(errs...)
}

// connect makes a TCP connection between two hosts.
func connect(ctx context.Context, from, to *host) (ends [2]net.Conn, err error) {
	var l net.Listener
	err = to.in(func() error {
		l, err = new(net.ListenConfig).Listen(ctx, "tcp4", net.JoinHostPort(to.address, "0"))
		return err
	})
	if err != nil {
		return ends, fmt.Errorf("listen: %w", err)
	}
	defer l.Close()
	err = from.in(func() error { // an address alone is dialled by this very goroutine
		ends[0], err = new(net.Dialer).DialContext(ctx, "tcp4", l.Addr().String())
		return err
	})
	if err != nil {
		return ends, fmt.Errorf("connect: %w", err)
	}
	if ends[1], err = l.Accept(); err != nil {
		ends[0].Close()
		return ends, fmt.Errorf("accept: %w", err)
	}
	return ends, nil
}

const pieceSize = 256 << 10 // bytes written or read at a time

func send(c net.Conn, size int64) error {
	piece := make([]byte, pieceSize)
	for size > 0 {
		n, err := c.Write(piece[:min(size, pieceSize)])
		if err != nil {
			return fmt.Errorf("send: %w", err)
		}
		size -= int64(n)
	}
	return nil
}

func receive(c net.Conn, size int64) error {
	if n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{io.LimitReader(c, size)}, make([]byte, pieceSize)); err != nil || n != size {
		return fmt.Errorf("received %d of %d bytes: %w", n, size, err)
	}
	return nil
}
