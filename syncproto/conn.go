package syncproto

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"resonate/merkle"
)

const (
	maxQueued = 64 << 20  // bytes waiting to be written, beyond which the peer is too slow
	lowQueued = 256 << 10 // bytes waiting, below which the owner should send more

	// closeWait bounds how long Close waits for the peer to take what is queued, and how long what the peer said
	// last can still be read after writing to it has failed.
	closeWait = time.Second
)

// A Conn is one side of a control stream. Messages arrive in the order in which Send was called. Receive is for one
// goroutine; everything else is safe for concurrent use. A Conn must be closed.
type Conn struct {
	stream  io.ReadWriteCloser
	reader  *frameReader
	greeted bool // the first frame has come; only Receive looks at it

	drained   chan struct{}
	closing   chan struct{} // Close was called
	done      chan struct{} // the writer has ended, and the stream is closed
	running   sync.WaitGroup
	closeOnce sync.Once // of stream

	messagesSent, bytesSent, messagesReceived, bytesReceived atomic.Uint64

	mu      sync.Mutex
	ready   sync.Cond // chunks or err have changed
	chunks  [][]byte  // frames to be written, packed
	scratch []byte    // for encoding
	queued  int       // bytes in chunks and in the writer's hand
	begun   bool      // something was sent
	err     error     // why nothing more can be sent
}

// Counts are what went over a Conn so far. What is sent counts as a message when queued, in bytes when written.
type Counts struct {
	MessagesSent, BytesSent, MessagesReceived, BytesReceived uint64
}

// NewConn returns a Conn over stream, which it closes in the end. Closing the stream must end its reads and writes.
func NewConn(stream io.ReadWriteCloser) *Conn {
	c := &Conn{
		stream:  stream,
		drained: make(chan struct{}, 1),
		closing: make(chan struct{}),
		done:    make(chan struct{}),
	}
	c.ready.L = &c.mu
	c.reader = newFrameReader(countingReader{stream, &c.bytesReceived})
	c.running.Go(c.write)
	return c
}

type countingReader struct {
	io.Reader
	n *atomic.Uint64
}

func (r countingReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	r.n.Add(uint64(n))
	return n, err
}

// Send queues m and returns at once. The first message sent should be the Hello: its frame is bounded more tightly. A
// message that no peer would take, malformed or too long (TooLong), is refused and changes nothing. Other errors are
// final: ErrSlow when more than 64 MiB would be queued, ErrClosed after Close, or why writing has failed.
func (c *Conn) Send(m Message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	if _, unknown := newControl(m.kind()).(*Unknown); unknown {
		return fmt.Errorf("send %v: not a message of control streams", m.kind())
	}
	limit := MaxFrame
	if !c.begun {
		limit = MaxHello
	}
	frame, err := appendFrame(c.scratch[:0], m, limit)
	if err != nil {
		return fmt.Errorf("send: %w", err)
	}
	if cap(frame) <= maxBlockFrame { // a rare giant is not kept
		c.scratch = frame
	}
	if c.queued+len(frame) > maxQueued {
		c.err = ErrSlow
		c.running.Go(c.closeStream) // which may take its time, and ends the writer
		return c.err
	}
	c.begun = true
	c.enqueue(frame)
	c.messagesSent.Add(1)
	return nil
}

// enqueue copies frame to the end of the queue, where small ones share a chunk, and so a write.
func (c *Conn) enqueue(frame []byte) {
	last := len(c.chunks) - 1
	if last >= 0 && len(c.chunks[last])+len(frame) <= streamBuffer {
		c.chunks[last] = append(c.chunks[last], frame...)
	} else {
		c.chunks = append(c.chunks, append([]byte(nil), frame...))
	}
	c.queued += len(frame)
	c.ready.Signal()
}

// write is the writer. Whatever is queued while it writes goes out with the next write.
func (c *Conn) write() {
	defer close(c.done)
	defer c.closeStream()
	for {
		chunk := c.nextChunk()
		if chunk == nil {
			return
		}
		n, err := c.stream.Write(chunk)
		c.bytesSent.Add(uint64(n))
		if err != nil {
			c.failed(err)
			return
		}
		c.wrote(len(chunk))
	}
}

// nextChunk waits for something to write; it returns nil when there will be nothing more.
func (c *Conn) nextChunk() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.chunks) == 0 {
		if c.err != nil {
			return nil
		}
		c.ready.Wait()
	}
	chunk := c.chunks[0]
	c.chunks[0] = nil
	c.chunks = c.chunks[1:]
	return chunk
}

func (c *Conn) wrote(n int) {
	c.mu.Lock()
	before := c.queued
	c.queued -= n
	after := c.queued
	c.mu.Unlock()
	if before >= lowQueued && after < lowQueued {
		select {
		case c.drained <- struct{}{}:
		default:
		}
	}
}

// failed keeps the stream open for a moment, because a peer that hangs up may have said why.
func (c *Conn) failed(err error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = fmt.Errorf("write to peer: %w", err)
	}
	c.mu.Unlock()
	select {
	case <-c.closing:
	case <-time.After(closeWait):
	}
}

func (c *Conn) closeStream() {
	c.closeOnce.Do(func() { _ = c.stream.Close() }) // nothing is left to be done about an error
}

// Queued returns how many bytes are not yet written.
func (c *Conn) Queued() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.queued
}

// Drained returns a channel on which a value waits whenever Queued has fallen below 256 KiB since the last one.
func (c *Conn) Drained() <-chan struct{} { return c.drained }

// Counts returns what went over c so far.
func (c *Conn) Counts() Counts {
	return Counts{
		c.messagesSent.Load(), c.bytesSent.Load(),
		c.messagesReceived.Load(), c.bytesReceived.Load(),
	}
}

// Receive returns the next message, which may be an *Unknown. The error is io.EOF where the peer has ended the stream
// between two messages, and what Send would return where this side ended it. After any error c is to be closed.
func (c *Conn) Receive() (Message, error) {
	limit := MaxFrame
	if !c.greeted {
		limit = MaxHello
	}
	frame, err := c.reader.next(limit)
	if err != nil {
		return nil, c.cause(err)
	}
	m, err := decode(frame, newControl)
	if err != nil {
		return nil, err
	}
	c.greeted = true
	c.messagesReceived.Add(1)
	return m, nil
}

// cause returns why reading has ended with err: this side may have closed the stream for another reason.
func (c *Conn) cause(err error) error {
	var long *TooLong
	if errors.As(err, &long) || errors.Is(err, merkle.ErrFormat) {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	ours := errors.Is(c.err, ErrClosed) || errors.Is(c.err, ErrSlow)
	if c.err != nil && (ours || err != io.EOF) {
		return c.err
	}
	return err
}

// Close ends c: the writer, the stream, and a Receive that waits. It gives what is queued, such as a last Bye, up to a
// second to go out. It returns nil; to close again does nothing more.
func (c *Conn) Close() error {
	c.mu.Lock()
	if c.err == nil {
		c.err = ErrClosed
	}
	select {
	case <-c.closing:
	default:
		close(c.closing)
	}
	c.ready.Signal()
	c.mu.Unlock()

	timer := time.NewTimer(closeWait)
	defer timer.Stop()
	select {
	case <-c.done:
	case <-timer.C:
		c.closeStream()
	}
	c.running.Wait()
	return nil
}
