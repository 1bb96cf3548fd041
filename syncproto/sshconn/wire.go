package sshconn

import (
	"net"
	"sync/atomic"
	"time"
)

// wire is a TCP connection that remembers when it last brought something: any
// byte is a sign of life, so that an answer stuck behind bulk on a slow line is
// not taken for death.
type wire struct {
	net.Conn
	began time.Time
	last  atomic.Int64 // nanoseconds since began
	bytes atomic.Int64 // that came in
	asked atomic.Int64 // when the last sign of life was asked for, as last
}

func newWire(conn net.Conn) *wire {
	limitUnacked(conn)
	return &wire{Conn: conn, began: time.Now()}
}

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if n > 0 {
		w.last.Store(int64(time.Since(w.began)))
		w.bytes.Add(int64(n))
	}
	return n, err
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
