package sshconn

import (
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

func TestNewsOfSurroundings(t *testing.T) {
	at := func(up, awake time.Duration, addrs ...string) surroundings {
		s := surroundings{addrs: make(map[string]bool), up: up, awake: awake}
		for _, a := range addrs {
			s.addrs[a] = true
		}
		return s
	}
	then := at(time.Hour, time.Minute, "10.0.0.1/8")
	for name, row := range map[string]struct {
		now  surroundings
		want string
	}{
		"nothing":                 {at(time.Hour+3*time.Second, time.Minute+3*time.Second, "10.0.0.1/8"), ""},
		"an address went":         {at(time.Hour+3*time.Second, time.Minute+3*time.Second), ""},
		"an address came":         {at(time.Hour+3*time.Second, time.Minute+3*time.Second, "10.0.0.1/8", "::2/64"), "::2/64"},
		"another address":         {at(time.Hour+3*time.Second, time.Minute+3*time.Second, "10.0.0.2/8"), "10.0.0.2"},
		"slept":                   {at(2*time.Hour, time.Minute+3*time.Second, "10.0.0.1/8"), "slept"},
		"a busy machine":          {at(2*time.Hour, time.Hour+time.Minute, "10.0.0.1/8"), ""},
		"the wall clock set back": {at(time.Minute, time.Minute+3*time.Second, "10.0.0.1/8"), ""},
	} {
		got := row.now.news(then)
		if (got == "") != (row.want == "") || !strings.Contains(got, row.want) {
			t.Errorf("%s: got %q, want %q in it", name, got, row.want)
		}
	}
}

func TestLookAround(t *testing.T) {
	s := lookAround()
	if len(s.addrs) == 0 || s.awake <= 0 || s.up+time.Second < s.awake {
		t.Errorf("got %d addresses, up %v, awake %v", len(s.addrs), s.up, s.awake)
	}
	if news := lookAround().news(s); news != "" {
		t.Errorf("at once after: got %q", news)
	}
}

// elsewhere lets a test move a node to another network.
type elsewhere struct {
	mu  sync.Mutex
	now surroundings
}

func (e *elsewhere) option(n *node) {
	n.timing.look = 2 * time.Millisecond
	n.lookAround = func() surroundings {
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.now
	}
}

func (e *elsewhere) move() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.now = surroundings{addrs: map[string]bool{"192.0.2.7/24": true}}
}

func TestAnotherNetworkIsTriedAtOnce(t *testing.T) {
	var moved elsewhere
	a := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll)
	b := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll, moved.option, func(n *node) { n.timing.redial = span{time.Hour, time.Hour} })
	addr := a.addr()
	a.Close()
	b.run(t, addr)
	eventually(t, "the peer to be away", func() bool { return b.mesh.Peers()[0].State == Away })
	listenTest(t, newTestIdentity(t), addr, trustAll).run(t)
	moved.move()
	b.next(t)
}

// TestDeadSessionIsFoundAfterAMove: with the usual keep-alives it would take half
// a minute.
func TestDeadSessionIsFoundAfterAMove(t *testing.T) {
	var moved elsewhere
	a := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll).run(t)
	p := newProxy(t, a.addr())
	quick := func(n *node) { n.timing.answer = 200 * time.Millisecond }
	b := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll, moved.option, quick).run(t, p.addr())
	a.next(t)
	s := b.next(t)
	eventually(t, "the first keep-alives", func() bool { return s.RTT() > 0 && s.unanswered() == 0 })
	p.silent.Store(true)
	moved.move()
	began := time.Now()
	if err := wantEnd(t, s); !errors.Is(err, ErrGone) {
		t.Errorf("got %v, want ErrGone", err)
	}
	if took := time.Since(began); took < 200*time.Millisecond || took > 5*time.Second {
		t.Errorf("noticed after %v", took)
	}
}

func TestSessionOfALostAddressEndsAtOnce(t *testing.T) {
	var moved elsewhere
	a := listenTest(t, newTestIdentity(t), "0.0.0.0:0", trustAll).run(t)
	addr := net.JoinHostPort(outsideAddress(t), portOf(t, a.Addr()))
	b := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll, moved.option).run(t, addr)
	s := b.next(t)
	began := time.Now()
	moved.move()
	if err := wantEnd(t, s); !errors.Is(err, ErrGone) || !strings.Contains(err.Error(), "no longer") {
		t.Errorf("got %v, want ErrGone and the address", err)
	}
	if took := time.Since(began); took > answerTime/2 {
		t.Errorf("ended after %v", took)
	}
}

// TestLiveSessionSurvivesAMove: it answers, and stays.
func TestLiveSessionSurvivesAMove(t *testing.T) {
	var moved elsewhere
	quick := func(n *node) { n.timing.answer = 200 * time.Millisecond }
	a := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll).run(t)
	b := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll, moved.option, quick).run(t, a.addr())
	sa, sb := a.next(t), b.next(t)
	before, _ := sb.Keepalives()
	moved.move()
	eventually(t, "both to be probed", func() bool { sent, _ := sb.Keepalives(); return sent >= before+2 })
	select {
	case <-sb.Done():
		t.Errorf("session ended: %v", sb.Err())
	case <-time.After(300 * time.Millisecond): // beyond the time for an answer
	}
	exchange(t, sa.Control(), sb.Control(), "alive")
}

// TestProbeBehindAnUnansweredRequest: an earlier keep-alive was never answered,
// though something was heard since, so that no other can be sent.
func TestProbeBehindAnUnansweredRequest(t *testing.T) {
	a := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll, func(n *node) { n.timing.answer = 200 * time.Millisecond }).run(t)
	id, h := newTestIdentity(t), hello{token: token{1}}
	var conns [2]ssh.Conn
	for i := range conns {
		host := hostCheck{permit: trustAll}
		var err error
		// Nobody takes what comes in: no request is answered.
		if conns[i], _, _, err = ssh.NewClientConn(dialTest(t, a.addr()), a.addr(), clientConfig(id, memberUser, &host)); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := conns[0].OpenChannel(controlChannel, h.bytes()); err != nil {
		t.Fatal(err)
	}
	if ok, _, err := conns[1].SendRequest(blocksRequest, true, h.token[:]); !ok || err != nil {
		t.Fatal(ok, err)
	}
	s := a.next(t)
	eventually(t, "keep-alives on both", func() bool { sent, _ := s.Keepalives(); return sent == 2 })
	eventually(t, "other signs of life", func() bool {
		for _, c := range conns {
			if _, _, err := c.SendRequest(keepaliveRequest, true, nil); err != nil {
				t.Fatal(err)
			}
		}
		return s.unanswered() == 0
	})
	s.probe()
	if err := wantEnd(t, s); !errors.Is(err, ErrGone) {
		t.Errorf("got %v, want ErrGone", err)
	}
}

// TestReturnBehindDeadConnection: the same process dials anew, while the old
// connection is dead and nobody has told this side.
func TestReturnBehindDeadConnection(t *testing.T) {
	small, big := orderedIdentities(t)
	for name, ids := range map[string][2]*Identity{"greater returns": {small, big}, "smaller returns": {big, small}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := listenTest(t, ids[0], "127.0.0.1:0", trustAll).run(t)
			p := newProxy(t, a.addr())
			b := listenTest(t, ids[1], "127.0.0.1:0", trustAll).run(t, p.addr())
			old, lost := a.next(t), b.next(t)
			p.silent.Store(true)
			lost.Close()
			began := time.Now()
			b.mesh.SetPeers(tcp(a.addr()))
			exchange(t, b.next(t).Control(), a.next(t).Control(), "again")
			if took := time.Since(began); took > 8*time.Second {
				t.Errorf("session again after %v", took)
			}
			if err := wantEnd(t, old); !errors.Is(err, errReplaced) {
				t.Errorf("old session: got %v, want %v", err, errReplaced)
			}
		})
	}
}
