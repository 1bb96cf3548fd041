package sshconn

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// crowd counts the connections in their handshake.
func (d *door) crowd() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.inside)
}

func TestSourceOf(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1:5":                 "192.0.2.1/32",
		"[::ffff:192.0.2.1]:5":        "192.0.2.1/32",
		"[2001:db8:1:2:3:4:5:6]:5":    "2001:db8:1:2::/64",
		"[fe80::1%eth0]:5":            "fe80::1/128",
		"127.0.0.1:5":                 "127.0.0.0/8",
		"127.9.9.9:5":                 "127.0.0.0/8",
		"[::1]:5":                     "127.0.0.0/8",
		"[::ffff:127.0.0.1]:5":        "127.0.0.0/8",
		"[2001:db8:1:2:ffff::ffff]:5": "2001:db8:1:2::/64",
	} {
		got := sourceOf(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
		if got.String() != want {
			t.Errorf("%s: got %s, want %s", addr, got, want)
		}
	}
	if got := sourceOf(&net.UnixAddr{}); got.IsValid() {
		t.Errorf("no address: got %s", got)
	}
}

// visitors lets guests in by name, and notes who is let out.
type visitors struct {
	door
	out []string
	now time.Time
}

func (v *visitors) enter(t *testing.T, name, source string, said int64) *guest {
	t.Helper()
	g := &guest{wire: &wire{began: time.Now()}, source: netip.MustParsePrefix(source), evict: func() { v.out = append(v.out, name) }}
	g.wire.bytes.Store(256 * said)
	v.now = v.now.Add(leastStay)
	if a := v.door.enter(g, v.now); a.refused || a.wait > 0 {
		t.Errorf("%s was not let in: %+v", name, a)
	}
	return g
}

func (v *visitors) wantOut(t *testing.T, want ...string) {
	t.Helper()
	if got := fmt.Sprint(v.out); got != fmt.Sprint(want) {
		t.Errorf("let out: got %s, want %s", got, want)
	}
	v.out = nil
}

func TestDoor(t *testing.T) {
	const far, near, local = "192.0.2.1/32", "192.0.2.2/32", "127.0.0.0/8"
	t.Run("too many of one source", func(t *testing.T) {
		var v visitors
		v.enter(t, "other", near, 0)
		v.enter(t, "talks", far, 1000)
		for i := range maxOfOneSource - 1 {
			v.enter(t, fmt.Sprint(i), far, 10)
		}
		v.wantOut(t)
		v.enter(t, "new", far, 0)
		v.wantOut(t, "0")
		v.enter(t, "newer", far, 0) // the newest is spared, the one before has said less than any
		v.wantOut(t, "new")
	})
	t.Run("too many in all", func(t *testing.T) {
		var v visitors
		v.enter(t, "first", near, 0)
		for i := range maxHandshakes - 1 {
			v.enter(t, fmt.Sprint(i), local, int64(100-i%2))
		}
		v.wantOut(t)
		v.enter(t, "second", near, 0)
		v.wantOut(t, "1")
		v.enter(t, "one more", local, 0)
		v.wantOut(t, "3")
		v.enter(t, "and one more", local, 0)
		v.wantOut(t, "one more")
	})
	t.Run("one each", func(t *testing.T) {
		var v visitors
		for i := range maxHandshakes {
			v.enter(t, fmt.Sprint(i), fmt.Sprintf("192.0.2.%d/32", i), int64(5-i%5))
		}
		v.enter(t, "new", "198.51.100.1/32", 0)
		v.wantOut(t, "4")
	})
	t.Run("of this machine, at once", func(t *testing.T) {
		var v visitors
		for i := range maxHandshakes {
			v.enter(t, fmt.Sprint(i), local, 0)
		}
		early := &guest{wire: &wire{}, source: loopback, evict: func() {}}
		oldest := v.inside[0].came
		if a := v.door.enter(early, oldest.Add(leastStay/5)); a.wait != leastStay*4/5 || a.crowded {
			t.Errorf("got %+v, want to wait", a)
		}
		v.wantOut(t)
		if got := v.door.crowd(); got != maxHandshakes {
			t.Errorf("inside: got %d, want %d", got, maxHandshakes)
		}
		if a := v.door.enter(&guest{wire: &wire{}, source: netip.MustParsePrefix(far)}, oldest); a.wait > 0 || !a.crowded {
			t.Errorf("from elsewhere: got %+v, want no wait", a)
		}
		v.wantOut(t, "0")
	})
	t.Run("who has left", func(t *testing.T) {
		var v visitors
		g := v.enter(t, "early", far, 0)
		if !v.leave(g) || v.leave(g) {
			t.Error("leave: want true, then false")
		}
		for range maxOfOneSource {
			v.enter(t, "later", far, 0)
		}
		v.wantOut(t)
	})
}

func TestDoorRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d door
		come := func(source string) bool {
			g := &guest{wire: &wire{}, source: netip.MustParsePrefix(source), evict: func() {}}
			a := d.enter(g, time.Now())
			d.leave(g)
			return !a.refused
		}
		flood := func(source string) (in int) {
			for range 1000 {
				if come(source) {
					in++
				}
			}
			return in
		}
		if got := flood("192.0.2.1/32"); got != newBurst {
			t.Errorf("at once: let in %d, want %d", got, newBurst)
		}
		if !come("192.0.2.2/32") {
			t.Error("another source was not let in")
		}
		time.Sleep(2 * time.Second)
		if got := flood("192.0.2.1/32"); got != 2*newRate {
			t.Errorf("two seconds later: let in %d, want %d", got, 2*newRate)
		}
		if got := flood("127.0.0.0/8"); got != 1000 {
			t.Errorf("of this machine: let in %d, want all", got)
		}
		for i := range 3 * maxSources {
			come(fmt.Sprintf("10.0.%d.%d/32", i/256, i%256))
		}
		if got := len(d.sources); got > maxSources {
			t.Errorf("sources remembered: %d, want at most %d", got, maxSources)
		}
	})
}

// flood opens connections and opens each again when it is closed, until the test
// ends, up to a hundred times a second; say is what each says first.
func flood(t *testing.T, addr string, connections int, say string) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	for range connections {
		wg.Go(func() {
			for ; ctx.Err() == nil; pause(ctx, 10*time.Millisecond) {
				var d net.Dialer
				c, err := d.DialContext(ctx, "tcp", addr)
				if err != nil {
					continue
				}
				stop := context.AfterFunc(ctx, func() { c.Close() })
				io.WriteString(c, say)
				io.Copy(io.Discard, c)
				stop()
				c.Close()
			}
		})
	}
}

// TestFloodDisplacesItself: 100 connections that come again as soon as they are
// closed, from the very address from which a member comes.
func TestFloodDisplacesItself(t *testing.T) {
	for name, say := range map[string]string{"silent": "", "greeting": "SSH-2.0-OpenSSH_9.2\r\n"} {
		t.Run(name, func(t *testing.T) {
			a := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll).run(t)
			flood(t, a.addr(), 100, say)
			eventually(t, "the flood", func() bool { return a.door.crowd() == maxHandshakes })
			began := time.Now()
			b := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll).run(t, a.addr())
			exchange(t, a.next(t).Control(), b.next(t).Control(), "through the flood")
			t.Logf("session after %v", time.Since(began).Round(time.Millisecond))
		})
	}
}

// TestFloodFromOneAddress: from an address that is not the machine's loopback, few
// get in at a time, and not often; a member elsewhere is not kept out.
func TestFloodFromOneAddress(t *testing.T) {
	outside := outsideAddress(t)
	a := listenTest(t, newTestIdentity(t), "0.0.0.0:0", trustAll).run(t)
	port := portOf(t, a.Addr())
	closed := 0
	for range newBurst {
		greeted(t, net.JoinHostPort(outside, port))
	}
	if got := a.door.crowd(); got > maxOfOneSource {
		t.Errorf("connections in their handshake: got %d, want at most %d", got, maxOfOneSource)
	}
	for range newBurst {
		if data, _ := io.ReadAll(io.LimitReader(dialTest(t, net.JoinHostPort(outside, port)), 1)); len(data) == 0 {
			closed++
		}
	}
	if closed == 0 {
		t.Error("all of a flood were greeted")
	}
	wantLog(t, a, "too many others", "its address makes too many")
	flood(t, net.JoinHostPort(outside, port), 100, "SSH-2.0-OpenSSH_9.2\r\n")
	listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll).run(t, net.JoinHostPort("127.0.0.1", port)).next(t)
}

// outsideAddress gives an IPv4 address of this machine that others could use.
func outsideAddress(t *testing.T) string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP.String()
		}
	}
	skip(t, "this machine has no address but its loopback")
	return ""
}
