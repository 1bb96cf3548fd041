package replica

import (
	"cmp"
	"context"
	"io"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"resonate/members"
	"resonate/merkle"
)

// maxPipe is how many bytes a pipe holds before its writer waits.
const maxPipe = 256 << 10

// A half is one direction of a stream in memory.
type half struct {
	mu     sync.Mutex
	cond   sync.Cond
	buf    []byte
	closed bool
}

func newHalf() *half {
	h := &half{}
	h.cond.L = &h.mu
	return h
}

func (h *half) close(drop bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	if drop {
		h.buf = nil
	}
	h.cond.Broadcast()
}

// A stream is one end of a duplex pipe. What was written before the other end closed can still be read.
type stream struct {
	in, out *half
	count   func(int) bool // called with the bytes of each read; false: they are lost with the stream; may be nil
}

func streamPair(count func(int) bool) (a, b *stream) {
	x, y := newHalf(), newHalf()
	return &stream{x, y, count}, &stream{y, x, count}
}

func (s *stream) Read(p []byte) (int, error) {
	h := s.in
	h.mu.Lock()
	for len(h.buf) == 0 && !h.closed {
		h.cond.Wait()
	}
	n := copy(p, h.buf)
	h.buf = h.buf[n:]
	ended := n == 0 && len(p) > 0
	h.cond.Broadcast()
	h.mu.Unlock()
	if ended {
		return 0, io.EOF
	}
	if s.count != nil && !s.count(n) {
		return 0, io.ErrClosedPipe
	}
	return n, nil
}

func (s *stream) Write(p []byte) (n int, err error) {
	h := s.out
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(p) > 0 {
		for len(h.buf) >= maxPipe && !h.closed {
			h.cond.Wait()
		}
		if h.closed {
			return n, io.ErrClosedPipe
		}
		m := min(len(p), maxPipe-len(h.buf))
		h.buf = append(h.buf, p[:m]...)
		n, p = n+m, p[m:]
		h.cond.Broadcast()
	}
	return n, nil
}

func (s *stream) Close() error {
	s.in.close(true)
	s.out.close(false)
	return nil
}

// A pipe is one end of a session in memory: a Link.
type pipe struct {
	peer    members.Key // at the other end
	control *stream
	accept  chan *stream
	other   *pipe
	done    chan struct{} // closed with the session
	once    *sync.Once
	count   func(int) bool
	taken   atomic.Int64  // of the room that there is for what this end sends
	rtt     time.Duration // as it is told to the node; 0: a millisecond

	mu      sync.Mutex
	streams []*stream // of this end
}

var _ Link = (*pipe)(nil)

// newPipes returns both ends of a session between the nodes a and b. count, which may be nil, is told the bytes read
// from block streams.
func newPipes(a, b members.Key, count func(int) bool) (atA, atB *pipe) {
	done, once := make(chan struct{}), &sync.Once{}
	x, y := streamPair(nil)
	atA = &pipe{peer: b, control: x, accept: make(chan *stream), done: done, once: once, count: count}
	atB = &pipe{peer: a, control: y, accept: make(chan *stream), done: done, once: once, count: count}
	atA.other, atB.other = atB, atA
	return atA, atB
}

func (l *pipe) Peer() merkle.NodeID                 { return merkle.NodeID(l.peer.ID()) }
func (l *pipe) Key() members.Key                    { return l.peer }
func (l *pipe) Addr() string                        { return "pipe" }
func (l *pipe) Control() io.ReadWriteCloser         { return l.control }
func (l *pipe) RTT() time.Duration                  { return cmp.Or(l.rtt, time.Millisecond) }
func (l *pipe) Room() int                           { return math.MaxInt - int(l.taken.Load()) }
func (l *pipe) Keepalives() (sent, received uint64) { return 0, 0 }

func (l *pipe) OpenBlocks(ctx context.Context) (io.ReadWriteCloser, error) {
	mine, theirs := streamPair(l.count)
	l.add(mine)
	l.other.add(theirs)
	select {
	case l.other.accept <- theirs:
		return mine, nil
	case <-l.done:
		return nil, io.ErrClosedPipe
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (l *pipe) AcceptBlocks(ctx context.Context) (io.ReadWriteCloser, error) {
	select {
	case s := <-l.accept:
		return s, nil
	case <-l.done:
		return nil, io.ErrClosedPipe
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (l *pipe) add(s *stream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.streams = append(l.streams, s)
}

// Close ends the session as seen from this end: the other end can still read what was sent.
func (l *pipe) Close() {
	l.once.Do(func() { close(l.done) })
	l.mu.Lock()
	streams := slices.Clone(l.streams)
	l.mu.Unlock()
	for _, s := range streams {
		s.Close()
	}
	l.control.Close()
}

// A wire connects two nodes, again and again, until it is cut.
type wire struct {
	a, b   *node
	cancel context.CancelFunc
	done   chan struct{}
	blocks atomic.Int64      // bytes that went over block streams
	onRead func(total int64) // called while blocks are read; may be nil
	limit  atomic.Int64      // of blocks: beyond it the wire is cut; 0: none
	rtt    time.Duration     // as it is told to both; 0: a millisecond
}

func newWire(a, b *node) *wire { return &wire{a: a, b: b} }

// connect lays a wire that is cut when the test ends.
func connect(a, b *node) *wire {
	w := newWire(a, b)
	w.restore()
	return w
}

// restore connects the two nodes of a wire that is cut.
func (w *wire) restore() {
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel, w.done = cancel, make(chan struct{})
	go w.run(ctx, w.done)
	w.a.t.Cleanup(w.cut)
}

// cutAfter has the wire cut in the middle of a transfer, when so many bytes went over block streams, and waits for that. restore ends
// it.
func (w *wire) cutAfter(bytes int64, transfer func()) {
	w.limit.Store(bytes)
	transfer()
	<-w.done
	w.limit.Store(0)
}

// cut ends the session, and waits until both sides have noticed.
func (w *wire) cut() {
	w.cancel()
	<-w.done
}

func (w *wire) run(ctx context.Context, done chan struct{}) {
	defer close(done)
	for ctx.Err() == nil {
		w.session(ctx)
		select { // as a dialler would back off
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (w *wire) session(ctx context.Context) {
	a, b := w.a.replica(), w.b.replica()
	atA, atB := newPipes(a.Members().Key(), b.Members().Key(), func(n int) bool {
		total := w.blocks.Add(int64(n))
		if w.onRead != nil {
			w.onRead(total)
		}
		if limit := w.limit.Load(); limit > 0 && total > limit {
			w.cancel()
			return false
		}
		return true
	})
	atA.rtt, atB.rtt = w.rtt, w.rtt
	defer context.AfterFunc(ctx, func() { atA.Close(); atB.Close() })()
	var both sync.WaitGroup
	for _, end := range []struct {
		r *Replica
		l *pipe
	}{{a, atA}, {b, atB}} {
		both.Go(func() {
			if err := end.r.Serve(ctx, end.l); err != nil {
				end.r.log.Debug("session refused", "cause", err)
			}
			end.l.Close()
		})
	}
	both.Wait()
}
