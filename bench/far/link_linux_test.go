package main

import (
	"io"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestLine has packets sent at once over a line, and sees which of them arrive, and when.
func TestLine(t *testing.T) {
	const ms = time.Millisecond
	for _, row := range []struct {
		name string
		line line
		want []time.Duration // of packets of 1000 bytes
	}{
		{"delay alone", line{delay: 50 * ms}, []time.Duration{50 * ms, 50 * ms, 50 * ms}},
		{"a rate", line{delay: 50 * ms, rate: 8e6, queue: 3000}, []time.Duration{51 * ms, 52 * ms, 53 * ms}},
		{"a queue for two", line{delay: 50 * ms, rate: 8e6, queue: 2000}, []time.Duration{51 * ms, 52 * ms}},
		{"nothing arrives", line{delay: 50 * ms, loss: 1}, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				in, from := net.Pipe()
				to, out := net.Pipe()
				begin := time.Now()
				go func() {
					for range 3 {
						in.Write(make([]byte, 1000))
					}
					in.Close()
				}()
				go func() {
					if err := row.line.carry(from, to); err != nil {
						t.Errorf("carry: %v", err)
					}
					to.Close()
				}()
				var got []time.Duration
				for {
					n, err := out.Read(make([]byte, maxPacket))
					if err == io.EOF {
						break
					}
					if err != nil || n != 1000 {
						t.Fatalf("got %d bytes, %v; want 1000", n, err)
					}
					got = append(got, time.Since(begin))
				}
				if !slices.Equal(got, row.want) {
					t.Errorf("arrivals: got %v, want %v", got, row.want)
				}
			})
		})
	}
}
