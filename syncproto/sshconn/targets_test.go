package sshconn

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// deadAddr gives an address of this machine where nothing listens.
func deadAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// waitForTries waits until the first peer, which is not there, has been tried so
// often: enough for any other to have been tried, too.
func waitForTries(t *testing.T, n *node, count int) {
	t.Helper()
	for range count {
		before := n.mesh.Peers()[0].NextTry
		eventually(t, "the dead address to be tried", func() bool { return n.mesh.Peers()[0].NextTry.After(before) })
	}
}

func TestMemberIsFoundAtOneOfItsAddresses(t *testing.T) {
	a := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll).run(t)
	other := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll).run(t)
	b := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll).run(t)
	dead := deadAddr(t)
	targets := []Target{
		{ID: a.identity.ID(), Addresses: []string{dead, "nonsense", other.addr(), b.addr(), a.addr(), dead}},
		{ID: b.identity.ID(), Addresses: []string{b.addr()}},
	}
	b.mesh.SetMembers(targets)
	s := b.next(t)
	if s.Peer() != a.identity.ID() {
		t.Fatalf("peer: got %s, want %s", s.Peer(), a.identity.ID())
	}
	exchange(t, s.Control(), a.next(t).Control(), "found")
	peers := b.mesh.Peers()
	want := []string{a.addr(), dead, other.addr(), b.addr()} // the one that does, first
	if len(peers) != 1 || peers[0].State != Connected || peers[0].Session != s || !slices.Equal(peers[0].Addresses, want) {
		t.Errorf("peers: got %+v, want the member, connected, at %q", peers, want)
	}
	b.mesh.SetMembers(targets)
	if got := b.mesh.Peers()[0].Addresses; !slices.Equal(got, want) {
		t.Errorf("addresses, told once more: got %q, want %q as before", got, want)
	}
	a.stop()
	eventually(t, "the member to be away, with a reason for each address", func() bool {
		p := b.mesh.Peers()
		if len(p) != 1 || p[0].State != Away || p[0].NextTry.IsZero() {
			return false
		}
		text := p[0].Err.Error()
		return strings.Contains(text, dead) && strings.Contains(text, "another node answered") && strings.Contains(text, a.addr())
	})
	if got := other.served.Load(); got != 0 {
		t.Errorf("sessions with the node at a wrong address: got %d, want none", got)
	}
}

func TestMemberThatMovedIsDialledAtOnce(t *testing.T) {
	a := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll).run(t)
	b := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll)
	b.timing.redial = span{time.Hour, time.Hour}
	b.run(t)
	id := a.identity.ID()
	b.mesh.SetMembers([]Target{{ID: id}})
	eventually(t, "the member without an address", func() bool {
		p := b.mesh.Peers()
		return len(p) == 1 && p[0].ID == id && p[0].State == Away && errors.Is(p[0].Err, errNoAddress) && p[0].NextTry.IsZero()
	})
	if strings.Contains(b.logs.String(), "cannot connect") {
		t.Errorf("a member without an address is no news:\n%s", b.logs)
	}
	b.mesh.SetMembers([]Target{{ID: id, Addresses: []string{deadAddr(t)}}})
	eventually(t, "the wrong address to be tried", func() bool {
		p := b.mesh.Peers()[0]
		return p.State == Away && !p.NextTry.IsZero()
	})
	b.mesh.SetMembers([]Target{{ID: id, Addresses: []string{a.addr()}}})
	b.next(t)
}

// TestMemberThatDialsIsNotDialled: one session, whoever has made it; its
// dialler, and that of a configured address of the same node, stand still.
func TestMemberThatDialsIsNotDialled(t *testing.T) {
	a := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll).run(t, deadAddr(t))
	b := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll).run(t, a.addr())
	sa := a.next(t)
	b.next(t)
	p := newProxy(t, b.addr())
	a.mesh.SetMembers([]Target{{ID: b.identity.ID(), Addresses: []string{p.addr()}}})
	b.mesh.SetMembers([]Target{{ID: a.identity.ID(), Addresses: []string{p.addr()}}})
	eventually(t, "the member to be connected", func() bool {
		peers := a.mesh.Peers()
		return len(peers) == 2 && peers[1].Session == sa
	})
	waitForTries(t, a, 2)
	if peers := b.mesh.Peers(); len(peers) != 1 || !slices.Equal(peers[0].Addresses, []string{a.addr(), p.addr()}) || peers[0].Address != a.addr() {
		t.Errorf("peers: got %+v, want one, with both addresses", peers)
	}
	if got := p.bytes.Load(); got != 0 {
		t.Errorf("bytes sent where it is not to be dialled: got %d", got)
	}
	sa.Close()
	a.next(t)
	b.next(t)
	eventually(t, "one session again", func() bool { return a.mesh.Peers()[1].State == Connected && b.mesh.Peers()[0].State == Connected })
}

func TestMemberThatIsTakenOutIsNotDialledAgain(t *testing.T) {
	id := newTestIdentity(t)
	a := listenTest(t, id, "127.0.0.1:0", trustAll).run(t)
	b := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll).run(t, deadAddr(t))
	b.mesh.SetMembers([]Target{{ID: id.ID(), Addresses: []string{a.addr()}}})
	s := b.next(t)
	b.mesh.SetMembers(nil)
	exchange(t, a.next(t).Control(), s.Control(), "goes on")
	if p := b.mesh.Peers(); len(p) != 2 || p[1].Session != s {
		t.Errorf("peers: got %+v, want the session that goes on", p)
	}
	a.stop()
	wantEnd(t, s)
	eventually(t, "the peer to be forgotten", func() bool { return len(b.mesh.Peers()) == 1 })
	again := listenTest(t, id, a.addr(), trustAll).run(t)
	waitForTries(t, b, 5)
	if got := again.served.Load(); got != 0 {
		t.Errorf("sessions: got %d, want none", got)
	}
}

func TestSetPeers(t *testing.T) {
	a := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll).run(t)
	c := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll).run(t)
	b := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll).run(t, a.addr())
	first := b.next(t)
	if err := b.mesh.SetPeers(tcp(c.addr(), "nonsense")); err == nil || len(b.mesh.Peers()) != 1 {
		t.Errorf("bad address: got %v and %+v, want an error and nothing changed", err, b.mesh.Peers())
	}
	if err := b.mesh.SetPeers(tcp(c.addr(), a.addr())); err != nil {
		t.Fatal(err)
	}
	second := b.next(t)
	if p := b.mesh.Peers(); len(p) != 2 || p[0].Session != second || p[1].Session != first {
		t.Errorf("peers: got %+v, want both in the new order, the old session kept", p)
	}
	if err := b.mesh.SetPeers(nil); err != nil {
		t.Fatal(err)
	}
	exchange(t, a.next(t).Control(), first.Control(), "goes on")
	a.stop()
	wantEnd(t, first)
	c.stop()
	wantEnd(t, second)
	eventually(t, "nothing to be left", func() bool { return len(b.mesh.Peers()) == 0 })
}

// TestDropEndsASessionForGood: once a key is not trusted any more, Drop ends what
// there is, and what is on its way does not come through.
func TestDropEndsASessionForGood(t *testing.T) {
	forgotten := errors.New("this node was forgotten")
	var gone atomic.Bool
	trusted := func(ssh.PublicKey) error {
		if gone.Load() {
			return ErrUntrusted
		}
		return nil
	}
	for _, dialled := range []bool{false, true} {
		gone.Store(false)
		a := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trusted)
		a.serve = func(ctx context.Context, s *Session) error { // as a service would: fails with its stream
			_, err := s.Control().Read(make([]byte, 1))
			return err
		}
		b := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll)
		if dialled {
			b.run(t)
			a.run(t, b.addr())
		} else {
			a.run(t)
			b.run(t, a.addr())
		}
		sa, sb := a.next(t), b.next(t)
		// Authenticated, and not yet a session.
		half, err := rawClient(t, a.addr(), ssh.ClientConfig{Auth: keyAuth(t)})
		if err != nil {
			t.Fatal(err)
		}
		gone.Store(true)
		began := time.Now()
		a.mesh.Drop(b.identity.ID(), forgotten)
		if err := wantEnd(t, sb); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), forgotten.Error()) {
			t.Errorf("the peer's reason: got %v, want ErrRefused and %q", err, forgotten)
		}
		if err := wantEnd(t, sa); !errors.Is(err, forgotten) {
			t.Errorf("own reason: got %v, want %v", err, forgotten)
		}
		sa.Close() // waits
		if took := time.Since(began); took > time.Second {
			t.Errorf("connections ended after %v", took)
		}
		var rejected *ssh.OpenChannelError
		if _, _, err := half.OpenChannel(controlChannel, hello{}.bytes()); !errors.As(err, &rejected) || rejected.Reason != ssh.Prohibited {
			t.Errorf("a connection from before: got %v, want a rejection", err)
		}
		if err := half.Wait(); err == nil {
			t.Error("a connection from before is open")
		}
		if !dialled {
			eventually(t, "the peer to be refused when it returns", func() bool {
				p := b.mesh.Peers()[0]
				return p.State == Refused && strings.Contains(p.Err.Error(), forgotten.Error()) && strings.Contains(b.logs.String(), trustRefusal)
			})
			eventually(t, "nothing to be told of it", func() bool { return len(a.mesh.Peers()) == 0 })
		}
		if got := a.served.Load(); got != 1 {
			t.Errorf("sessions: got %d, want 1", got)
		}
	}
}

// TestMemberThatHasToDialSaysWhyItIsNotThere has a member without addresses dial, and end the session with a reason: that is what is told
// of it, rather than that it cannot be dialled.
func TestMemberThatHasToDialSaysWhyItIsNotThere(t *testing.T) {
	a := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll).run(t)
	b := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll)
	b.serve = func(context.Context, *Session) error { return errors.New("it is paused") }
	a.mesh.SetMembers([]Target{{ID: b.identity.ID()}})
	eventually(t, "the member to be one that has to dial", func() bool {
		p := a.mesh.Peers()
		return len(p) == 1 && errors.Is(p[0].Err, errNoAddress)
	})
	b.run(t, a.addr())
	eventually(t, "the member's reason", func() bool {
		p := a.mesh.Peers()
		return len(p) == 1 && p[0].State == Refused && p[0].Err != nil && strings.Contains(p[0].Err.Error(), "it is paused")
	})
}

func TestDialNow(t *testing.T) {
	var trusted atomic.Bool
	a := listenTest(t, newTestIdentity(t), "127.0.0.1:0", func(ssh.PublicKey) error {
		if trusted.Load() {
			return nil
		}
		return ErrUntrusted
	}).run(t)
	b := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll)
	b.timing.refused = span{time.Hour, time.Hour}
	b.run(t, a.addr())
	eventually(t, "b to be refused, and to rest", func() bool { return b.mesh.Peers()[0].State == Refused })
	trusted.Store(true)
	b.mesh.DialNow()
	b.next(t)
}
