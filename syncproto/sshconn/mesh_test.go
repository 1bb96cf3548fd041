package sshconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

func TestBothDialAtOnce(t *testing.T) {
	for range 20 {
		a := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll)
		b := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll)
		a.run(t, b.addr())
		b.run(t, a.addr())
		sa, sb := a.next(t), b.next(t)
		exchange(t, sa.Control(), sb.Control(), "one session")
		if sa.Dialled() == sb.Dialled() {
			t.Fatalf("dialled: got %v on both sides", sa.Dialled())
		}
		for _, n := range []*node{a, b} { // until the losing attempts are over
			eventually(t, "the address to be known", func() bool {
				p := n.mesh.Peers()
				return len(p) == 1 && p[0].State == Connected && p[0].Session != nil
			})
		}
		exchange(t, sb.Control(), sa.Control(), "still the same")
		if a.served.Load() != 1 || b.served.Load() != 1 {
			t.Fatalf("sessions: got %d and %d, want one each", a.served.Load(), b.served.Load())
		}
		a.stop()
		b.stop()
	}
}

func TestGivesWay(t *testing.T) {
	small, big := NodeID{1}, NodeID{2}
	old, now := instance{1}, instance{2}
	rows := []struct {
		name      string
		own, peer NodeID
		have      standing
		want      bool
	}{
		{"the smaller one asks", big, small, standing{instance: now}, true},
		{"the smaller one asks while dialled", big, small, standing{pending: true, dialled: true}, true},
		{"the greater one asks while dialled", small, big, standing{pending: true, dialled: true}, false},
		{"the greater one asks twice", small, big, standing{instance: now}, false},
		{"the greater one asks twice, half a pair", small, big, standing{pending: true, instance: now}, false},
		{"the greater one has restarted", small, big, standing{instance: old}, true},
		{"the greater one has restarted, was dialled", small, big, standing{dialled: true, instance: old}, true},
		{"the greater one asks twice, the first does not answer", small, big, standing{instance: now, mute: true}, true},
		{"the old one has ended", small, big, standing{ended: true, instance: now}, true},
	}
	for _, row := range rows {
		if got := givesWay(row.own, row.peer, row.have, now); got != row.want {
			t.Errorf("%s: got %v, want %v", row.name, got, row.want)
		}
	}
}

func TestRestartReconnects(t *testing.T) {
	a, b, sa, sb := connected(t)
	addr, id := a.addr(), a.identity
	a.stop()
	if err := wantEnd(t, sb); !strings.Contains(err.Error(), "shuts down") {
		t.Errorf("reason: got %v, want that the peer shuts down", err)
	}
	if !errors.Is(sa.Err(), context.Canceled) {
		t.Errorf("own reason: got %v, want %v", sa.Err(), context.Canceled)
	}
	eventually(t, "the peer to be away", func() bool {
		p := b.mesh.Peers()[0]
		return p.State == Away && p.Err != nil && p.ID == id.ID()
	})
	again := listenTest(t, id, addr, trustAll).run(t)
	exchange(t, again.next(t).Control(), b.next(t).Control(), "back")
	p := b.mesh.Peers()[0]
	if p.State != Connected || p.Err != nil || p.Session == nil {
		t.Errorf("state: got %+v, want connected", p)
	}
}

// TestRestartBehindDeadConnection: the peer's process was replaced, and nothing
// told this side that the old connections are dead.
func TestRestartBehindDeadConnection(t *testing.T) {
	small, big := orderedIdentities(t)
	for name, ids := range map[string][2]*Identity{"greater returns": {small, big}, "smaller returns": {big, small}} {
		t.Run(name, func(t *testing.T) {
			a := listenTest(t, ids[0], "127.0.0.1:0", trustAll).run(t)
			p := newProxy(t, a.addr())
			listenTest(t, ids[1], "127.0.0.1:0", trustAll).run(t, p.addr())
			old := a.next(t)
			p.silent.Store(true)
			again := listenTest(t, ids[1], "127.0.0.1:0", trustAll).run(t, a.addr())
			exchange(t, again.next(t).Control(), a.next(t).Control(), "new")
			if err := wantEnd(t, old); !errors.Is(err, errReplaced) {
				t.Errorf("old session: got %v, want %v", err, errReplaced)
			}
			if p := a.mesh.Peers(); len(p) != 1 || p[0].State != Connected || p[0].ID != ids[1].ID() {
				t.Errorf("peers: got %+v, want the inbound one, connected", p)
			}
		})
	}
}

func TestUntrusted(t *testing.T) {
	trustNone := func(t *testing.T) func(ssh.PublicKey) error {
		return TrustFile{filepath.Join(t.TempDir(), "trusted_keys")}.Check
	}
	t.Run("acceptor refuses", func(t *testing.T) {
		a := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustNone(t)).run(t)
		b := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll).run(t, a.addr())
		wantRefused(t, b, a.addr(), ErrRefused, a.identity.ID().String(), b.identity.AuthorizedKey(), trustRefusal)
		wantLog(t, a, "remote=127.0.0.1:", b.identity.ID().String(), "trusted_keys", "add its line")
		wantLog(t, b, a.addr(), trustRefusal)
	})
	t.Run("dialler refuses", func(t *testing.T) {
		a := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll).run(t)
		b := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustNone(t)).run(t, a.addr())
		wantRefused(t, b, a.addr(), ErrUntrusted, a.identity.ID().String(), "trusted_keys")
		wantLog(t, b, a.addr(), a.identity.ID().String(), "trusted_keys", "add its line")
		if got := a.served.Load() + b.served.Load(); got != 0 {
			t.Errorf("sessions: got %d, want none", got)
		}
	})
}

// wantRefused waits for the state of a node's one peer, and for a second
// attempt, which must not bring a second log line.
func wantRefused(t *testing.T, n *node, addr string, cause error, words ...string) {
	t.Helper()
	eventually(t, "the refusal", func() bool { return n.mesh.Peers()[0].State == Refused })
	first := n.mesh.Peers()[0]
	for _, w := range words {
		if !strings.Contains(first.Err.Error(), w) {
			t.Errorf("error %v lacks %q", first.Err, w)
		}
	}
	if !errors.Is(first.Err, cause) || first.Address != addr || first.NextTry.IsZero() {
		t.Errorf("state: got %+v, want %v and a next try", first, cause)
	}
	eventually(t, "another attempt", func() bool {
		p := n.mesh.Peers()[0]
		return p.State == Refused && p.NextTry.After(first.NextTry)
	})
	if got := strings.Count(n.logs.String(), "cannot connect"); got != 1 {
		t.Errorf("log lines: got %d, want 1:\n%s", got, n.logs)
	}
}

func wantLog(t *testing.T, n *node, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(n.logs.String(), w) {
			t.Errorf("log lacks %q:\n%s", w, n.logs)
		}
	}
}

func TestSelf(t *testing.T) {
	n := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll)
	n.run(t, n.addr())
	other := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll).run(t, n.addr())
	eventually(t, "self", func() bool { return n.mesh.Peers()[0].State == Self })
	wantLog(t, n, n.addr(), "remove it")
	exchange(t, n.next(t).Control(), other.next(t).Control(), "alive")
	if got := strings.Count(n.logs.String(), "remove it"); got != 1 {
		t.Errorf("log lines: got %d, want 1", got)
	}
}

func TestTwoAddressesOfOnePeer(t *testing.T) {
	a := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll).run(t)
	_, port, _ := net.SplitHostPort(a.addr())
	b := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll).run(t, a.addr(), "localhost:"+port, a.addr())
	s := b.next(t)
	eventually(t, "both addresses", func() bool {
		p := b.mesh.Peers()
		return len(p) == 2 && p[0].Session == s && p[1].Session == s
	})
	if got := b.served.Load(); got != 1 {
		t.Errorf("sessions: got %d, want 1", got)
	}
}

func TestInboundPeerLeaves(t *testing.T) {
	a, b, _, _ := connected(t)
	b.stop()
	eventually(t, "the inbound peer to be away", func() bool {
		p := a.mesh.Peers()
		return len(p) == 1 && p[0].State == Away && p[0].ID == b.identity.ID() && p[0].Session == nil && p[0].Err != nil
	})
}

func TestThreeNodes(t *testing.T) {
	var nodes []*node
	for range 3 {
		nodes = append(nodes, listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll))
	}
	for i, n := range nodes {
		var others []string
		for j, o := range nodes {
			if j != i {
				others = append(others, o.addr())
			}
		}
		n.run(t, others...)
	}
	for _, n := range nodes {
		eventually(t, "two peers", func() bool {
			return !slices.ContainsFunc(n.mesh.Peers(), func(p PeerState) bool { return p.State != Connected })
		})
		eventually(t, "both to be served", func() bool { return n.served.Load() >= 2 })
	}
	for _, n := range nodes {
		if got := n.served.Load(); got != 2 {
			t.Errorf("sessions: got %d, want 2", got)
		}
	}
}

func TestBadAddresses(t *testing.T) {
	e, err := Listen([]string{"127.0.0.1:0"}, Config{Identity: newTestIdentity(t), Trusted: trustAll})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for _, addr := range []string{"", "host", "host:", ":22", "host:ssh", "host:0", "host:65536", "::1:22", "[::1]"} {
		_, err := NewMesh(e, tcp("good:1", addr), nil)
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", addr)) || !strings.Contains(err.Error(), "HOST:PORT") {
			t.Errorf("%q: got %v, want an error with the form", addr, err)
		}
	}
	if _, err := NewMesh(e, tcp("[::1]:22", "10.0.0.1:1", "a.b:65535"), nil); err != nil {
		t.Errorf("good ones: %v", err)
	}
	_, err = Listen([]string{e.Addr().String()}, Config{Identity: newTestIdentity(t), Trusted: trustAll})
	_, port, _ := net.SplitHostPort(e.Addr().String())
	if err == nil || !strings.Contains(err.Error(), "port "+port+" is in use") {
		t.Errorf("port in use: got %v", err)
	}
}

func TestBackoff(t *testing.T) {
	within := span{100 * time.Millisecond, 10 * time.Second}
	var b backoff
	want := float64(within.least)
	for i := range 20 {
		got := float64(b.next(within))
		if got < 0.79*want || got > 1.21*want {
			t.Errorf("pause %d: got %v, want about %v", i, time.Duration(got), time.Duration(want))
		}
		want = min(want*1.6, float64(within.most))
	}
	b.reset()
	if got := b.next(within); got > 120*time.Millisecond {
		t.Errorf("after reset: got %v", got)
	}
}

func TestNotices(t *testing.T) {
	var n notices
	now := time.Now()
	for _, row := range []struct {
		after time.Duration
		want  bool
	}{{0, true}, {time.Second, false}, {time.Minute, true}, {2 * time.Minute, false}, {3 * time.Minute, true}} {
		if got := n.due("peer", "away", now.Add(row.after)); got != row.want {
			t.Errorf("after %v: got %v, want %v", row.after, got, row.want)
		}
	}
	n.forget("peer")
	if !n.due("peer", "away", now) {
		t.Error("not due after forget")
	}
	for i := range 2 * maxNotices {
		n.due(fmt.Sprint(i), "", now)
	}
	if got := len(n.seen); got != maxNotices {
		t.Errorf("remembered: got %d, want %d", got, maxNotices)
	}
	if !n.due("late", "", now.Add(time.Hour)) {
		t.Error("old ones are not forgotten for new ones")
	}
}
