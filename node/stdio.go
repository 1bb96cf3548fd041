package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"resonate/control"
	"resonate/members"
)

// ServeStdio takes the connection in that a login has brought: what is read from in and written to out. Whoever may log in as this
// user could do anything with the folder, and is made a member. It returns when the connection has ended.
func (n *Node) ServeStdio(ctx context.Context, in, out *os.File) error {
	conn := &stdioConn{in: in, out: out, closed: make(chan struct{})}
	key, rest, err := n.greet(ctx, conn)
	if err != nil {
		return err
	}
	err = n.replica.ChangeMembers(ctx, func(set *members.Set) error {
		_, err := set.Admit(key, "", time.Now())
		return err
	})
	if err != nil {
		return err
	}
	if err := n.mesh.Load().Accept(&greetedConn{Conn: conn, rest: rest}); err != nil {
		return err
	}
	select {
	case <-conn.closed:
	case <-ctx.Done():
	}
	return nil
}

// ProxyStdio is ServeStdio where a daemon runs on the folder: that is told of the key, and has the connection.
func ProxyStdio(ctx context.Context, cluster control.Cluster, listen string, in io.Reader, out io.Writer) error {
	list, err := cluster.Members(ctx)
	if err != nil {
		return err
	}
	if len(list) == 0 || !list[0].Self {
		return errors.New("the daemon does not tell its own key")
	}
	if _, err := io.WriteString(out, greeting(list[0].Key)); err != nil {
		return err
	}
	key, rest, err := hearGreeting(in)
	if err != nil {
		return err
	}
	if _, err := cluster.Trust(ctx, authorized(key)); err != nil {
		return err
	}
	dialer := net.Dialer{}
	conn, err := dialer.DialContext(ctx, "tcp", listen)
	if err != nil {
		return fmt.Errorf("reach the daemon: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	go func() { // ends with the process, which is this connection's alone: standard input cannot be closed under a read
		_, _ = io.Copy(conn, rest)
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.CloseWrite()
		}
	}()
	_, err = io.Copy(out, conn)
	return err
}

// stdioConn is a connection over two files.
type stdioConn struct {
	in, out *os.File
	once    sync.Once
	closed  chan struct{}
}

func (c *stdioConn) Read(p []byte) (int, error)  { return c.in.Read(p) }
func (c *stdioConn) Write(p []byte) (int, error) { return c.out.Write(p) }

func (c *stdioConn) Close() (err error) {
	c.once.Do(func() {
		err = errors.Join(c.in.Close(), c.out.Close())
		close(c.closed)
	})
	return err
}

func (c *stdioConn) LocalAddr() net.Addr  { return stdioAddr{} }
func (c *stdioConn) RemoteAddr() net.Addr { return stdioAddr{} }

func (c *stdioConn) SetDeadline(t time.Time) error {
	return errors.Join(c.in.SetReadDeadline(t), c.out.SetWriteDeadline(t))
}
func (c *stdioConn) SetReadDeadline(t time.Time) error  { return c.in.SetReadDeadline(t) }
func (c *stdioConn) SetWriteDeadline(t time.Time) error { return c.out.SetWriteDeadline(t) }

type stdioAddr struct{}

func (stdioAddr) Network() string { return "stdio" }
func (stdioAddr) String() string  { return "standard input" }
