package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"time"
)

// A line is one direction of the link between two hosts: packets leave it in order, each the delay after it was sent off at the
// line's rate. What waits to be sent off is a queue, as before the slow line of a router: a packet that finds it full is dropped.
type line struct {
	delay time.Duration
	rate  int64   // bits a second; 0: as fast as packets come
	queue int64   // bytes that may wait
	loss  float64 // the share of packets that get lost on the way
}

// maxPacket is what a system hands over at a time at most: a header for segmentation, and a packet to be cut into segments.
const maxPacket = 64<<10 + offloadHeader

// underWay bounds the packets on their way on a line: more than any rate that this machine reaches has in a second.
const underWay = 1 << 16

var packetBuffers = sync.Pool{New: func() any { return new([maxPacket]byte) }}

type packet struct {
	buffer *[maxPacket]byte
	size   int
	due    time.Time
}

// carry moves packets until from is closed or ends.
func (l *line) carry(from io.Reader, to io.Writer) error {
	flying := make(chan packet, underWay)
	var landing sync.WaitGroup
	landing.Go(func() {
		for p := range flying {
			time.Sleep(time.Until(p.due))
			_, _ = to.Write(p.buffer[:p.size]) // an error: a packet that the other system refuses is lost, as on any link
			packetBuffers.Put(p.buffer)
		}
	})
	defer landing.Wait()
	defer close(flying)
	free := time.Now() // when the line has sent off all that was taken in
	for {
		buffer := packetBuffers.Get().(*[maxPacket]byte)
		n, err := from.Read(buffer[:])
		if errors.Is(err, os.ErrClosed) || err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read from the link: %w", err)
		}
		now := time.Now()
		if free.Before(now) {
			free = now
		}
		if l.waits(free.Sub(now), n) || l.loss > 0 && rand.Float64() < l.loss {
			packetBuffers.Put(buffer)
			continue
		}
		if l.rate > 0 {
			free = free.Add(time.Duration(int64(n) * 8 * int64(time.Second) / l.rate))
		}
		flying <- packet{buffer, n, free.Add(l.delay)}
	}
}

// waits tells whether the queue, which takes so long to be sent off, has no room for n bytes.
func (l *line) waits(queued time.Duration, n int) bool {
	return l.rate > 0 && int64(queued.Seconds()*float64(l.rate)/8)+int64(n) > l.queue
}
