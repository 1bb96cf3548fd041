package sshconn

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"
)

// pipeTo is set for a process of this test that is to be what ssh(1) would be: its
// standard input and output lead to that address.
const pipeTo = "RESONATE_TEST_PIPE_TO"

func TestMain(m *testing.M) {
	if addr := os.Getenv(pipeTo); addr != "" {
		os.Exit(carry(addr))
	}
	if member := os.Getenv(besieged); member != "" {
		if err := besiege(member); err != nil {
			fmt.Fprintln(os.Stderr, "besieged:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

const patience = 20 * time.Second

// skip leaves a test out, except where all must run.
func skip(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("RESONATE_CI") == "1" {
		t.Fatal(why)
	}
	t.Skip(why)
}

func newTestIdentity(t testing.TB) *Identity {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	id, err := newIdentity(private)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// orderedIdentities gives two, the smaller ID first.
func orderedIdentities(t *testing.T) (*Identity, *Identity) {
	t.Helper()
	a, b := newTestIdentity(t), newTestIdentity(t)
	if a.id.compare(b.id) > 0 {
		return b, a
	}
	return a, b
}

func trustAll(ssh.PublicKey) error { return nil }

// eventually waits for a condition.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		<-tick.C
	}
}

// logBuffer collects log lines.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// node is an endpoint with a mesh that runs.
type node struct {
	*Endpoint
	mesh     *Mesh
	logs     *logBuffer
	sessions chan *Session
	served   atomic.Int32
	serve    func(context.Context, *Session) error // nil: keep the session
	stop     func()
}

type option func(*node)

func keepaliveOf(d time.Duration) option { return func(n *node) { n.keepalive = d } }

func listenTest(t testing.TB, id *Identity, addr string, trusted func(ssh.PublicKey) error, options ...option) *node {
	t.Helper()
	n := &node{logs: &logBuffer{}, sessions: make(chan *Session, 100)}
	e, err := Listen([]string{addr}, Config{Identity: id, Trusted: trusted, Log: slog.New(slog.NewTextHandler(n.logs, nil))})
	if err != nil {
		t.Fatal(err)
	}
	n.Endpoint = e
	e.lookAround = func() surroundings { return surroundings{} } // whatever becomes of this machine's network meanwhile
	e.timing.redial = span{5 * time.Millisecond, 50 * time.Millisecond}
	e.timing.refused = span{50 * time.Millisecond, 100 * time.Millisecond}
	for _, o := range options {
		o(n)
	}
	return n
}

func tcp(addrs ...string) []Address {
	var out []Address
	for _, a := range addrs {
		out = append(out, TCP(a))
	}
	return out
}

func (n *node) run(t testing.TB, peers ...string) *node {
	t.Helper()
	mesh, err := NewMesh(n.Endpoint, tcp(peers...), func(ctx context.Context, s *Session) error {
		n.served.Add(1)
		n.sessions <- s
		if n.serve != nil {
			return n.serve(ctx, s)
		}
		<-ctx.Done()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	n.mesh = mesh
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mesh.Run(ctx) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: got %v, want nil", err)
			}
		case <-time.After(time.Second):
			t.Error("Run has not returned within a second")
		}
	})
	t.Cleanup(n.stop)
	return n
}

func (n *node) next(t testing.TB) *Session {
	t.Helper()
	select {
	case s := <-n.sessions:
		return s
	case <-time.After(patience):
		t.Fatalf("no session; log:\n%s", n.logs)
		return nil
	}
}

func (n *node) addr() string { return n.Addr().String() }

// connected gives two nodes with a session: the second dials the first.
func connected(t testing.TB, options ...option) (a, b *node, sa, sb *Session) {
	t.Helper()
	a = listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll, options...).run(t)
	b = listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll, options...).run(t, a.addr())
	return a, b, a.next(t), b.next(t)
}

func wantEnd(t *testing.T, s *Session) error {
	t.Helper()
	select {
	case <-s.Done():
	case <-time.After(patience):
		t.Fatal("session has not ended")
	}
	return s.Err()
}

// proxy forwards TCP connections, counts, and can fall silent.
type proxy struct {
	listener net.Listener
	bytes    atomic.Int64
	packets  atomic.Int64
	silent   atomic.Bool
	wg       sync.WaitGroup
	mu       sync.Mutex
	conns    []net.Conn
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: listener}
	p.wg.Go(func() { p.accept(target) })
	t.Cleanup(p.close)
	return p
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

func (p *proxy) close() {
	p.listener.Close()
	p.mu.Lock()
	for _, c := range p.conns {
		c.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

func (p *proxy) accept(target string) {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", target)
		if err != nil {
			near.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, near, far)
		p.mu.Unlock()
		p.wg.Go(func() { p.forward(near, far) })
		p.wg.Go(func() { p.forward(far, near) })
	}
}

func (p *proxy) forward(to io.WriteCloser, from io.ReadCloser) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if p.silent.Load() {
			return // nothing is read or closed: what a dead machine does
		}
		p.bytes.Add(int64(n))
		p.packets.Add(1)
		if _, werr := to.Write(buffer[:n]); err != nil || werr != nil {
			to.Close()
			from.Close()
			return
		}
	}
}

// testKey gives a key that is the same in each run, as fuzzing needs.
func testKey() (ed25519.PublicKey, ed25519.PrivateKey) {
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	return private.Public().(ed25519.PublicKey), private
}
