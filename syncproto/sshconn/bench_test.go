package sshconn

import (
	"fmt"
	"io"
	"sync"
	"testing"
)

// BenchmarkBlocks sends bulk from one node to another over so many block channels at a time, on loopback.
func BenchmarkBlocks(b *testing.B) {
	const size = 64 << 20
	_, _, from, to := connected(b)
	for _, channels := range []int{1, 4} {
		b.Run(fmt.Sprintf("%d channels", channels), func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				var all sync.WaitGroup
				for range channels {
					all.Go(func() { noError(b, send(b, from, size/channels)) })
					all.Go(func() { noError(b, receive(b, to, size/channels)) })
				}
				all.Wait()
			}
		})
	}
}

func noError(b *testing.B, err error) {
	if err != nil {
		b.Error(err)
	}
}

// send opens a block channel, writes size bytes, and waits for the peer to close it.
func send(b *testing.B, s *Session, size int) error {
	stream, err := s.OpenBlocks(b.Context())
	if err != nil {
		return err
	}
	defer stream.Close()
	piece := make([]byte, 128<<10)
	for sent := 0; sent < size; sent += len(piece) {
		if _, err := stream.Write(piece); err != nil {
			return err
		}
	}
	if err := stream.CloseWrite(); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, stream)
	return err
}

func receive(b *testing.B, s *Session, size int) error {
	stream, err := s.AcceptBlocks(b.Context())
	if err != nil {
		return err
	}
	defer stream.Close()
	n, err := io.CopyBuffer(io.Discard, stream, make([]byte, 128<<10))
	if err == nil && n != int64(size) {
		err = fmt.Errorf("received %d bytes, want %d", n, size)
	}
	return err
}

// BenchmarkRoundTrip sends a message of 100 bytes on the control stream and awaits one in return.
func BenchmarkRoundTrip(b *testing.B) {
	_, _, here, there := connected(b)
	echoed := make(chan struct{})
	go func() {
		defer close(echoed)
		io.Copy(there.Control(), there.Control()) // ends with the session
	}()
	message := make([]byte, 100)
	for b.Loop() {
		if _, err := here.Control().Write(message); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(here.Control(), message); err != nil {
			b.Fatal(err)
		}
	}
	here.Close()
	<-echoed
}
