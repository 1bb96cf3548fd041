package sshconn

import (
	"bufio"
	"context"
	"net"
	"sync/atomic"
	"time"
)

// wire is a connection that remembers when it last brought something: any byte is
// a sign of life, so that an answer stuck behind bulk on a slow line is not taken
// for death. It keeps the endpoint's limits, if it has one.
type wire struct {
	net.Conn
	reader *bufio.Reader // since the other end's version is read byte by byte, whatever it says
	rates  *rates        // nil: none
	bulk   atomic.Bool   // it waits for the limits; else what it carries is only counted
	ctx    context.Context
	cancel context.CancelFunc // by Close

	began time.Time
	last  atomic.Int64 // nanoseconds since began
	bytes atomic.Int64 // that came in
	asked atomic.Int64 // when the last sign of life was asked for, as last
}

// versionBuffer is enough for the line that tells a version; longer reads pass it by.
const versionBuffer = 256

func newWire(conn net.Conn, r *rates) *wire {
	limitUnacked(conn)
	w := &wire{Conn: conn, reader: bufio.NewReaderSize(conn, versionBuffer), rates: r, began: time.Now()}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	return w
}

func (w *wire) Read(p []byte) (int, error) {
	bulk := w.rates != nil && w.bulk.Load()
	if bulk {
		p = p[:w.rates.recv.piece(len(p))]
	}
	n, err := w.reader.Read(p)
	if n <= 0 {
		return n, err
	}
	w.last.Store(int64(time.Since(w.began)))
	w.bytes.Add(int64(n))
	switch {
	case bulk:
		for got := 0; got < n; { // what has come, has: the next has to wait
			k, closed := w.rates.recv.wait(w.ctx, n-got)
			if closed != nil {
				break
			}
			got += k
		}
	case w.rates != nil:
		w.rates.recv.count(n)
	}
	return n, err
}

func (w *wire) Write(p []byte) (int, error) {
	if w.rates == nil || !w.bulk.Load() {
		n, err := w.Conn.Write(p)
		if w.rates != nil {
			w.rates.send.count(n)
		}
		return n, err
	}
	sent := 0
	for sent < len(p) {
		k, err := w.rates.send.wait(w.ctx, len(p)-sent)
		if err != nil {
			return sent, net.ErrClosed
		}
		n, err := w.Conn.Write(p[sent : sent+k])
		sent += n
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// Close ends reads and writes that wait for a limit, too.
func (w *wire) Close() error {
	w.cancel()
	return w.Conn.Close()
}

// heard tells how many bytes have come in.
func (w *wire) heard() int64 { return w.bytes.Load() }

// silence tells how long nothing has come in.
func (w *wire) silence() time.Duration {
	return time.Since(w.began) - time.Duration(w.last.Load())
}

// ask notes that a sign of life is being asked for, unless one is owed already.
func (w *wire) ask() {
	if w.unanswered() == 0 {
		w.asked.Store(int64(time.Since(w.began)))
	}
}

// unanswered tells how long nothing has come in since a sign of life was asked
// for; 0: something has.
func (w *wire) unanswered() time.Duration {
	asked := w.asked.Load()
	if asked <= w.last.Load() {
		return 0
	}
	return time.Since(w.began) - time.Duration(asked)
}
