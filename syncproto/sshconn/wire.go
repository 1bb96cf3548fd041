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
}

func newWire(conn net.Conn) *wire { return &wire{Conn: conn, began: time.Now()} }

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if n > 0 {
		w.last.Store(int64(time.Since(w.began)))
	}
	return n, err
}

// silence tells how long nothing has come in.
func (w *wire) silence() time.Duration {
	return time.Since(w.began) - time.Duration(w.last.Load())
}
