package sshconn

import (
	"errors"
	"testing"
	"time"
)

// far gives a session whose dialling side takes its peer for a far one; that side's is the second.
func far(t *testing.T) (sa, sb *Session) {
	t.Helper()
	a := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll).run(t)
	b := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll, func(n *node) { n.timing.far = 0 }).run(t, a.addr())
	wide := func() bool { return len(sa.links()) == 1+wideBlocks && len(sb.links()) == 1+wideBlocks }
	for range 5 {
		sa, sb = a.next(t), b.next(t)
		for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
			if wide() {
				return sa, sb
			}
		}
		sb.Close() // one that does not come about in time is done without, until the next session
	}
	t.Fatal("no session with all further connections")
	return nil, nil
}

// TestBlocksOfFarPeers has block channels spread over several connections, in both directions, all of which serve.
func TestBlocksOfFarPeers(t *testing.T) {
	sa, sb := far(t)
	for _, side := range [][2]*Session{{sa, sb}, {sb, sa}} {
		for range 3 * wideBlocks {
			from, err := side[0].OpenBlocks(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			to, err := side[1].AcceptBlocks(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			exchange(t, from, to, "there")
			exchange(t, to, from, "and back")
		}
		for i, l := range side[0].links()[1:] {
			if got := l.opened.Load(); got != 3 {
				t.Errorf("channels on connection %d: got %d, want 3", i, got)
			}
		}
	}
	sb.Close()
	<-sa.Done()
	if _, err := sa.OpenBlocks(t.Context()); err == nil {
		t.Error("a channel can be opened after the end")
	}
}

// TestFurtherConnectionIsLost has a session go on without one of its further connections, and not without the first.
func TestFurtherConnectionIsLost(t *testing.T) {
	sa, sb := far(t)
	sb.links()[wideBlocks].conn.Close()
	eventually(t, "both do without it", func() bool { return len(sa.links()) == wideBlocks && len(sb.links()) == wideBlocks })
	for range 2 * wideBlocks {
		from, err := sa.OpenBlocks(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		to, err := sb.AcceptBlocks(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		exchange(t, from, to, "still here")
	}
	sb.links()[1].conn.Close()
	<-sa.Done()
	if !errors.Is(sa.Err(), errLinkLost) {
		t.Errorf("end of the session: got %v, want %v", sa.Err(), errLinkLost)
	}
}

// TestFurtherConnectionsAreBounded has a peer ask for one more than there may be.
func TestFurtherConnectionsAreBounded(t *testing.T) {
	a := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll).run(t)
	b := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll, func(n *node) { n.timing.far = 0 }).run(t, a.addr())
	sa := a.next(t)
	b.next(t)
	eventually(t, "further connections", func() bool { return len(sa.links()) == 1+wideBlocks })
	b.mesh.mu.Lock()
	secret := b.mesh.claims[a.identity.id].token
	b.mesh.mu.Unlock()
	for _, c := range []struct {
		name  string
		token token
	}{{"one too many", secret}, {"another token", newToken()}} {
		l, err := b.dial(t.Context(), TCP(a.addr()), nil)
		if err != nil {
			t.Fatal(err)
		}
		l.start(nil)
		if ok, _, err := l.conn.SendRequest(blocksRequest, true, c.token[:]); ok || err != nil {
			t.Errorf("%s: got %v, %v, want a refusal", c.name, ok, err)
		}
		l.shut()
	}
	if got := len(sa.links()); got != 1+wideBlocks {
		t.Errorf("connections: got %d, want %d", got, 1+wideBlocks)
	}
}
