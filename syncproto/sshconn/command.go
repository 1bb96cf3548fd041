package sshconn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	maxComplaint  = 4 << 10                // of what a command writes to its standard error, the last
	commandGrace  = 250 * time.Millisecond // between asking a command to end and ending it
	commandReaped = time.Second            // after the end of its output
)

// DialCommand starts a command and gives what it reads and writes, its standard
// input and output, as a connection: such as ssh(1), that leads to a node's.
// It runs in a session of its own, so that it can ask nobody anything, and a
// terminal's interrupt does not reach it. ctx bounds the start alone. When the
// command ends, reads fail with its last words on standard error. Close ends it,
// and what it has started, within a second, and waits for that.
func DialCommand(ctx context.Context, argv []string) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(argv) == 0 {
		return nil, errors.New("start command: none is given")
	}
	c := &commandConn{cmd: exec.Command(argv[0], argv[1:]...), reaped: make(chan struct{})}
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	c.cmd.Stderr = &c.complaint
	c.cmd.WaitDelay = commandGrace // what it started may hold standard error open
	if err := c.start(); err != nil {
		return nil, fmt.Errorf("start command %s: %w", argv[0], err)
	}
	go c.reap() // ends with the command, for which Close waits
	return c, nil
}

// commandConn is the connection that a command carries.
type commandConn struct {
	cmd       *exec.Cmd
	in, out   *os.File // our ends: in is written, out is read
	complaint tail
	closing   sync.Once

	reaped chan struct{}
	ended  error // read it after reaped
}

// start makes the pipes and starts the command. They are the system's, because
// these have deadlines.
func (c *commandConn) start() error {
	theirIn, in, err := os.Pipe()
	if err != nil {
		return err
	}
	defer theirIn.Close()
	out, theirOut, err := os.Pipe()
	if err != nil {
		in.Close()
		return err
	}
	defer theirOut.Close()
	c.cmd.Stdin, c.cmd.Stdout = theirIn, theirOut
	if err := c.cmd.Start(); err != nil {
		in.Close()
		out.Close()
		return err
	}
	c.in, c.out = in, out
	return nil
}

// reap waits for the command, and ends what it leaves behind in its process group.
func (c *commandConn) reap() {
	c.ended = c.cmd.Wait()
	syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL) // the number is not given again so soon
	close(c.reaped)
}

func (c *commandConn) Read(p []byte) (int, error) {
	n, err := c.out.Read(p)
	if n == 0 && errors.Is(err, io.EOF) {
		err = c.lastWords()
	}
	return n, err
}

func (c *commandConn) Write(p []byte) (int, error) {
	n, err := c.in.Write(p)
	if errors.Is(err, syscall.EPIPE) {
		err = c.lastWords()
	}
	return n, err
}

// lastWords tells why there is no more output: the command has ended, or is about to.
func (c *commandConn) lastWords() error {
	timer := time.NewTimer(commandReaped)
	defer timer.Stop()
	select {
	case <-c.reaped:
	case <-timer.C:
		return io.EOF
	}
	words := c.complaint.lastLine()
	switch {
	case words != "":
		return fmt.Errorf("command %s ended: %s", c.cmd.Args[0], words)
	case c.ended != nil && !errors.Is(c.ended, exec.ErrWaitDelay):
		return fmt.Errorf("command %s ended: %w", c.cmd.Args[0], c.ended)
	}
	return io.EOF
}

func (c *commandConn) Close() error {
	c.closing.Do(func() {
		c.in.Close()
		c.out.Close()
		for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
			select {
			case <-c.reaped:
				return // its number may be another's
			default:
				syscall.Kill(-c.cmd.Process.Pid, signal) // the process group of its session
			}
			timer := time.NewTimer(commandGrace)
			select {
			case <-c.reaped:
			case <-timer.C:
			}
			timer.Stop()
		}
	})
	<-c.reaped
	return nil
}

func (c *commandConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *commandConn) SetReadDeadline(t time.Time) error  { return c.out.SetReadDeadline(t) }
func (c *commandConn) SetWriteDeadline(t time.Time) error { return c.in.SetWriteDeadline(t) }

func (c *commandConn) LocalAddr() net.Addr  { return commandAddr{} }
func (c *commandConn) RemoteAddr() net.Addr { return commandAddr{c.cmd.Args} }

// commandAddr is a command line in place of an address.
type commandAddr struct{ argv []string }

func (commandAddr) Network() string  { return "command" }
func (a commandAddr) String() string { return printable(strings.Join(a.argv, " "), maxBannerSize) }

// tail keeps the last of what is written to it.
type tail struct {
	mu   sync.Mutex
	data []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.data = append(t.data, p[max(0, len(p)-maxComplaint):]...)
	t.data = append(t.data[:0], t.data[max(0, len(t.data)-maxComplaint):]...)
	return len(p), nil
}

// lastLine gives the last line that says something.
func (t *tail) lastLine() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := bytes.Split(t.data, []byte("\n"))
	for i := len(lines) - 1; i >= 0; i-- {
		if line := printable(string(lines[i]), maxBannerSize); line != "" {
			return line
		}
	}
	return ""
}
