package sshconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// exchange writes a line at one end and reads it at the other.
func exchange(t *testing.T, from, to Stream, text string) {
	t.Helper()
	go io.WriteString(from, text)
	got := make([]byte, len(text))
	if _, err := io.ReadFull(to, got); err != nil || string(got) != text {
		t.Errorf("read: got %q, %v, want %q", got, err, text)
	}
}

func TestStreams(t *testing.T) {
	a, b, sa, sb := connected(t)
	if sa.Peer() != b.identity.ID() || sb.Peer() != a.identity.ID() {
		t.Errorf("peers: got %s and %s", sa.Peer(), sb.Peer())
	}
	if sa.Dialled() || !sb.Dialled() {
		t.Errorf("dialled: got %v, %v, want false, true", sa.Dialled(), sb.Dialled())
	}
	if got, want := sb.Addr(), a.addr(); got != want {
		t.Errorf("Addr: got %s, want %s", got, want)
	}
	exchange(t, sa.Control(), sb.Control(), "from a")
	exchange(t, sb.Control(), sa.Control(), "from b")
	ctx := t.Context()
	var wg sync.WaitGroup
	for i := range 4 {
		for _, ends := range [][2]*Session{{sa, sb}, {sb, sa}} {
			wg.Go(func() {
				near, err := ends[0].OpenBlocks(ctx)
				if err != nil {
					t.Error(err)
					return
				}
				fmt.Fprint(near, i)
				near.CloseWrite()
				if answer, err := io.ReadAll(near); err != nil || string(answer) != strings.Repeat(fmt.Sprint(i), 2) {
					t.Errorf("answer %d: got %q, %v", i, answer, err)
				}
				near.Close()
			})
			wg.Go(func() {
				far, err := ends[1].AcceptBlocks(ctx)
				if err != nil {
					t.Error(err)
					return
				}
				question, _ := io.ReadAll(far)
				fmt.Fprintf(far, "%s%s", question, question)
				far.Close()
			})
		}
	}
	wg.Wait()
	eventually(t, "round trip times", func() bool { return sa.RTT() > 0 && sb.RTT() > 0 })
	sent, _ := sa.Keepalives()
	eventually(t, "keep-alives received", func() bool { _, received := sb.Keepalives(); return received >= sent })
}

func TestInboundBlocksAreBounded(t *testing.T) {
	_, _, sa, sb := connected(t)
	for range maxInboundBlocks {
		if _, err := sb.OpenBlocks(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	var rejected *ssh.OpenChannelError
	if _, err := sb.OpenBlocks(t.Context()); !errors.As(err, &rejected) || rejected.Reason != ssh.ResourceShortage {
		t.Errorf("one too many: got %v, want a shortage", err)
	}
	c, err := sa.AcceptBlocks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	c.Close()
	if _, err := sb.OpenBlocks(t.Context()); err != nil {
		t.Errorf("after a close: %v", err)
	}
	if _, err := sb.OpenBlocks(t.Context()); err == nil {
		t.Error("closing twice gave two slots back")
	}
}

func TestCloseTellsThePeer(t *testing.T) {
	_, b, sa, sb := connected(t)
	blocked, err := sb.OpenBlocks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() { // more than the window, and nobody reads
		_, err := blocked.Write(make([]byte, 8<<20))
		written <- err
	}()
	sa.Close()
	if !errors.Is(sa.Err(), errClosed) {
		t.Errorf("own reason: got %v, want %v", sa.Err(), errClosed)
	}
	var told *FarewellError
	if err := wantEnd(t, sb); !errors.As(err, &told) || errors.Is(err, ErrRefused) {
		t.Errorf("peer's reason: got %v, want a farewell", err)
	}
	if err := <-written; err == nil {
		t.Error("a write outlived its session")
	}
	if _, err := sb.OpenBlocks(t.Context()); !errors.As(err, &told) {
		t.Errorf("OpenBlocks after the end: got %v", err)
	}
	if _, err := sb.AcceptBlocks(t.Context()); !errors.As(err, &told) {
		t.Errorf("AcceptBlocks after the end: got %v", err)
	}
	b.next(t) // and it is dialled again
}

func TestServeErrorIsTold(t *testing.T) {
	t.Run("who fails with its stream", func(t *testing.T) { testServeErrorIsTold(t, io.EOF) })
	t.Run("who ends with its stream", func(t *testing.T) { testServeErrorIsTold(t, nil) })
}

func testServeErrorIsTold(t *testing.T, end error) {
	a := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll)
	a.serve = func(_ context.Context, s *Session) error {
		return errors.Join(errors.New("folder IDs differ\x1b[2J: 1 and 2"), s.Control().Close())
	}
	a.run(t)
	b := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll)
	b.serve = func(_ context.Context, s *Session) error { // as a service would
		_, _ = s.Control().Read(make([]byte, 1))
		return end
	}
	b.run(t, a.addr())
	err := wantEnd(t, b.next(t))
	if want := "folder IDs differ [2J: 1 and 2"; !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), want) {
		t.Errorf("peer's reason: got %v, want ErrRefused with %q", err, want)
	}
	for name, n := range map[string]*node{"acceptor": a, "dialler": b} {
		eventually(t, name+" to be refused", func() bool {
			p := n.mesh.Peers()
			return len(p) == 1 && p[0].State == Refused && strings.Contains(p[0].Err.Error(), "folder IDs differ")
		})
		eventually(t, name+"'s log", func() bool { return strings.Contains(n.logs.String(), "folder IDs differ") })
	}
	eventually(t, "three attempts", func() bool { return a.served.Load() >= 3 })
	if got := strings.Count(a.logs.String(), "folder IDs differ"); got != 1 {
		t.Errorf("log lines for equal causes: got %d, want 1:\n%s", got, a.logs)
	}
}

func TestIdleTraffic(t *testing.T) {
	const interval = 500 * time.Millisecond // a busy machine must not look dead
	a := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll, keepaliveOf(interval)).run(t)
	p := newProxy(t, a.addr())
	b := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll, keepaliveOf(interval)).run(t, p.addr())
	sa, sb := a.next(t), b.next(t)
	rounds := func() uint64 {
		na, _ := sa.Keepalives()
		nb, _ := sb.Keepalives()
		return (na + nb) / 4 // both sides, both connections
	}
	eventually(t, "a few keep-alives", func() bool { return rounds() >= 1 })
	before, bytes, packets := rounds(), p.bytes.Load(), p.packets.Load()
	eventually(t, "more keep-alives", func() bool { return rounds() >= before+5 })
	n := float64(rounds() - before)
	// Each packet has 66 bytes of headers and costs an acknowledgement of 66.
	traffic := float64(p.bytes.Load()-bytes) + 2*66*float64(p.packets.Load()-packets)
	perSecond := traffic / n / defaultKeepalive.Seconds()
	t.Logf("idle traffic: %.0f B/s at the default interval", perSecond)
	if perSecond < 20 || perSecond > 130 {
		t.Errorf("idle traffic: got %.0f B/s, want 20 to 130", perSecond)
	}
}

func TestDeadPeerIsNoticed(t *testing.T) {
	const interval = 100 * time.Millisecond
	a := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll, keepaliveOf(interval)).run(t)
	p := newProxy(t, a.addr())
	b := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll, keepaliveOf(interval)).run(t, p.addr())
	sa, sb := a.next(t), b.next(t)
	written := make(chan error, 1)
	go func() {
		_, err := sb.Control().Write(make([]byte, 16<<20))
		written <- err
	}()
	p.silent.Store(true)
	began := time.Now()
	for name, s := range map[string]*Session{"acceptor": sa, "dialler": sb} {
		if err := wantEnd(t, s); !errors.Is(err, ErrGone) {
			t.Errorf("%s: got %v, want ErrGone", name, err)
		}
	}
	if took := time.Since(began); took > 20*interval {
		t.Errorf("noticed after %v", took)
	}
	select {
	case err := <-written:
		if err == nil {
			t.Error("a write to a dead peer succeeded")
		}
	case <-time.After(patience):
		t.Error("a write to a dead peer blocks")
	}
}
