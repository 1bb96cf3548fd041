package sshconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// carry copies between the standard streams and a TCP connection.
func carry(addr string) int {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "carry:", err)
		return 1
	}
	go func() {
		io.Copy(c, os.Stdin)
		c.(*net.TCPConn).CloseWrite()
	}()
	io.Copy(os.Stdout, c)
	return 0
}

// through gives an address that a command leads to.
func through(t *testing.T, addr string) Address {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return Address{Name: "ssh://" + addr, Dial: func(ctx context.Context) (net.Conn, error) {
		return DialCommand(ctx, []string{"env", pipeTo + "=" + addr, self})
	}}
}

// by hands a mesh what comes in on a listener that is not its own.
func by(t *testing.T, n *node) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n.mesh.Accept(withoutDeadlines{c})
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return l.Addr().String()
}

// withoutDeadlines is what a pipe can be.
type withoutDeadlines struct{ net.Conn }

func (withoutDeadlines) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (withoutDeadlines) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (withoutDeadlines) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

// TestSessionThroughACommand: over a command's pipes at one end, and at the other
// over a connection that the mesh was handed.
func TestSessionThroughACommand(t *testing.T) {
	e, err := Listen(nil, Config{Identity: newTestIdentity(t), Trusted: trustAll})
	if err != nil {
		t.Fatal(err)
	}
	if e.Addr() != nil || len(e.Addrs()) != 0 {
		t.Errorf("listens on %v, want nothing", e.Addrs())
	}
	a := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll)
	a.Endpoint.Close()
	e.timing, e.log, a.Endpoint = a.timing, a.log, e
	a.run(t)
	b := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll).run(t)
	addr := through(t, by(t, a))
	if err := b.mesh.SetPeers([]Address{addr}); err != nil {
		t.Fatal(err)
	}
	sa, sb := a.next(t), b.next(t)
	exchange(t, sa.Control(), sb.Control(), "through a command")
	if p := b.mesh.Peers(); len(p) != 1 || p[0].Address != addr.Name || p[0].Session != sb {
		t.Errorf("peers: got %+v, want %s connected", p, addr.Name)
	}
	pids := []int{pidOf(sb.control), pidOf(sb.blocks[0])}
	sb.Close()
	for _, pid := range pids {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("command of a session that was closed: got %v, want it gone", err)
		}
	}
	a.next(t)
	b.next(t)
}

func pidOf(l *link) int { return l.wire.Conn.(*commandConn).cmd.Process.Pid }

func TestAcceptIsBounded(t *testing.T) {
	a := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll, func(n *node) { n.timing.handshake = 200 * time.Millisecond }).run(t)
	addr := by(t, a)
	eventually(t, "the mesh to run", func() bool {
		a.mesh.mu.Lock()
		defer a.mesh.mu.Unlock()
		return a.mesh.ctx != nil
	})
	began := time.Now()
	wantClosed(t, dialTest(t, addr))
	if took := time.Since(began); took < 200*time.Millisecond {
		t.Errorf("closed after %v, before the deadline", took)
	}
	a.stop()
	near, far := net.Pipe()
	if err := a.mesh.Accept(near); err == nil {
		t.Error("a mesh that has ended took a connection")
	}
	if _, err := far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the connection: got %v, want it closed", err)
	}
}

func shell(script string) Address {
	return Address{Name: "ssh://host/dir", Dial: func(ctx context.Context) (net.Conn, error) {
		return DialCommand(ctx, []string{"sh", "-c", script})
	}}
}

func TestCommandThatFails(t *testing.T) {
	for name, row := range map[string]struct {
		addr Address
		want string
	}{
		"says why":          {shell("echo warning >&2; echo 'Permission denied (publickey).' >&2; echo >&2; exit 255"), "command sh ended: Permission denied (publickey)."},
		"steers a terminal": {shell(`printf 'red \033[31m' >&2; exit 1`), "command sh ended: red  [31m"},
		"says nothing":      {shell("exit 3"), "exit status 3"},
		"says too much":     {shell("yes | head -c 1000000 >&2; echo the end >&2; exit 1"), "command sh ended: the end"},
		"leaves a child":    {shell("sleep 1000 >/dev/null & echo it forked >&2"), "command sh ended: it forked"},
		"is not there": {Address{Name: "ssh://x", Dial: func(ctx context.Context) (net.Conn, error) {
			return DialCommand(ctx, []string{"resonate-no-such-command"})
		}}, "executable file not found"},
		"is none": {Address{Name: "ssh://x", Dial: func(ctx context.Context) (net.Conn, error) { return DialCommand(ctx, nil) }}, "none is given"},
	} {
		t.Run(name, func(t *testing.T) {
			b := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll).run(t)
			if err := b.mesh.SetPeers([]Address{row.addr}); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the attempt to end", func() bool { return b.mesh.Peers()[0].State == Away })
			got := b.mesh.Peers()[0].Err.Error()
			if !strings.Contains(got, row.want) || !strings.Contains(got, row.addr.Name) || len(got) > 1000 {
				t.Errorf("got %q, want %q and the address in it", got, row.want)
			}
		})
	}
}

// TestCommandThatEndsLeavesNothing: what it has started ends with it.
func TestCommandThatEndsLeavesNothing(t *testing.T) {
	c, err := DialCommand(t.Context(), []string{"sh", "-c", "sleep 1000 >/dev/null & echo $!"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	text, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	pid := strings.TrimSpace(string(text))
	eventually(t, "the child to be gone", func() bool { return !runs(t, pid) })
}

// TestCommandIsGivenUp: it says nothing, and heeds no SIGTERM.
func TestCommandIsGivenUp(t *testing.T) {
	b := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll, func(n *node) {
		n.timing.command = 200 * time.Millisecond
		n.timing.redial = span{time.Hour, time.Hour}
	}).run(t)
	file := t.TempDir() + "/pid"
	if err := b.mesh.SetPeers([]Address{shell("trap '' TERM; sleep 1000 & echo $$ $! > " + file + "; wait")}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the attempt to end", func() bool { return b.mesh.Peers()[0].State == Away })
	if got := b.mesh.Peers()[0].Err; !strings.Contains(got.Error(), "no SSH answer in time") {
		t.Errorf("got %v, want that no answer came", got)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pids := strings.Fields(string(text))
	if len(pids) != 2 {
		t.Fatalf("processes: got %q, want two", pids)
	}
	for _, pid := range pids {
		eventually(t, "process "+pid+" to be gone", func() bool { return !runs(t, pid) })
	}
}

// runs tells whether a process does; one that nobody has reaped does not.
func runs(t *testing.T, pid string) bool {
	t.Helper()
	n, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	if syscall.Kill(n, 0) != nil {
		return false
	}
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	return err != nil || !strings.Contains(string(stat), ") Z ")
}

func TestCommandHasDeadlines(t *testing.T) {
	c, err := DialCommand(t.Context(), []string{"sleep", "1000"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read: got %v, want that the deadline has passed", err)
	}
	if _, err := c.Write(make([]byte, 1<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Write: got %v, want that the deadline has passed", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := DialCommand(ctx, []string{"sleep", "1000"}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
}

func FuzzTail(f *testing.F) {
	f.Add([]byte("one\ntwo\n\n"), 3)
	f.Fuzz(func(t *testing.T, text []byte, cut int) {
		var a, b tail
		a.Write(text)
		cut = max(0, min(cut, len(text)))
		b.Write(text[:cut])
		b.Write(text[cut:])
		if got, want := b.lastLine(), a.lastLine(); got != want || len(got) > maxBannerSize {
			t.Errorf("in two pieces: got %q, want %q", got, want)
		}
	})
}
