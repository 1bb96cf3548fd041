package sshconn

import (
	"errors"
	"net"
	"strings"
	"testing"
)

// requireIPv6 skips a test where the machine has no IPv6 loopback.
func requireIPv6(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		skip(t, "no IPv6 here: "+err.Error())
	}
	l.Close()
}

// dials tells whether somebody listens at an address, as a node with its greeting.
func dials(t *testing.T, host, port string) bool {
	t.Helper()
	c, err := net.Dial("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return false
	}
	defer c.Close()
	greeting := make([]byte, len(softwareVersion))
	_, err = c.Read(greeting)
	return err == nil && string(greeting) == softwareVersion
}

func portOf(t *testing.T, a net.Addr) string {
	t.Helper()
	_, port, err := net.SplitHostPort(a.String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func TestListenOnKeepsPortAndSessions(t *testing.T) {
	requireIPv6(t)
	a, b, sa, sb := connected(t)
	port := portOf(t, a.Addr())
	for _, row := range []struct {
		addrs  []string
		v4, v6 bool
	}{
		{[]string{"[::]:0"}, true, true},
		{[]string{"0.0.0.0:" + port}, true, false},
		{[]string{"0.0.0.0:0", "[::]:0"}, true, true},
		{[]string{"0.0.0.0:0", "[::1]:0"}, true, true},
		{[]string{"[::1]:0"}, false, true},
		{[]string{":0"}, true, true},
		{[]string{"127.0.0.1:0"}, true, false},
	} {
		if err := a.ListenOn(row.addrs); err != nil {
			t.Fatalf("%q: %v", row.addrs, err)
		}
		if got := a.Addrs(); len(got) != len(row.addrs) || portOf(t, got[0]) != port || portOf(t, got[len(got)-1]) != port {
			t.Errorf("%q: listens on %v, want port %s", row.addrs, got, port)
		}
		if v4, v6 := dials(t, "127.0.0.1", port), dials(t, "::1", port); v4 != row.v4 || v6 != row.v6 {
			t.Errorf("%q: answers over IPv4 %v, IPv6 %v; want %v, %v", row.addrs, v4, v6, row.v4, row.v6)
		}
		exchange(t, sa.Control(), sb.Control(), "still there")
	}
	if got := a.served.Load() + b.served.Load(); got != 2 {
		t.Errorf("sessions: got %d, want those from before", got)
	}
}

func TestListenOnFailureLeavesAllAsItWas(t *testing.T) {
	requireIPv6(t)
	a := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll).run(t)
	port := portOf(t, a.Addr())
	const foreign = "192.0.2.1:0" // reserved for documentation (RFC 5737): no machine has it
	for name, addrs := range map[string][]string{
		"nothing was closed":              {foreign},
		"closed, and opened again":        {"0.0.0.0:0", foreign},
		"closed, and opened, another way": {foreign, ":0"},
		"not an address":                  {"[::]:0", "nonsense"},
		"no port":                         {"[::]:http"},
	} {
		err := a.ListenOn(addrs)
		if err == nil || strings.Contains(err.Error(), "go back") {
			t.Errorf("%s: got %v, want an error, and nothing lost", name, err)
		}
		if got := a.Addrs(); len(got) != 1 || got[0].String() != "127.0.0.1:"+port {
			t.Errorf("%s: listens on %v, want 127.0.0.1:%s", name, got, port)
		}
		if !dials(t, "127.0.0.1", port) || dials(t, "::1", port) {
			t.Errorf("%s: does not answer as before", name)
		}
	}
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := a.ListenOn([]string{":" + portOf(t, other.Addr())}); err == nil || !strings.Contains(err.Error(), "is in use") {
		t.Errorf("another's port: got %v, want that it is in use", err)
	}
	if !dials(t, "127.0.0.1", port) {
		t.Error("another's port: does not answer as before")
	}
}

func TestListenOnSeveralAddresses(t *testing.T) {
	requireIPv6(t)
	e, err := Listen([]string{"127.0.0.1:0", "[::1]:0", "127.0.0.1:0"}, Config{Identity: newTestIdentity(t), Trusted: trustAll})
	if err != nil {
		t.Fatal(err)
	}
	got := e.Addrs()
	if len(got) != 2 || portOf(t, got[0]) != portOf(t, got[1]) {
		t.Errorf("listens on %v, want two addresses with one port", got)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if err := e.ListenOn([]string{"127.0.0.1:0"}); !errors.Is(err, errEndpointClosed) {
		t.Errorf("after Close: got %v, want %v", err, errEndpointClosed)
	}
}

// TestIPv6: brackets, wherever an address is told.
func TestIPv6(t *testing.T) {
	requireIPv6(t)
	a := listenTest(t, newTestIdentity(t), "[::1]:0", trustAll).run(t)
	b := listenTest(t, newTestIdentity(t), "[::1]:0", trustAll).run(t, a.addr())
	c := listenTest(t, newTestIdentity(t), "[::1]:0", trustNobody).run(t)
	sa, sb := a.next(t), b.next(t)
	exchange(t, sa.Control(), sb.Control(), "over IPv6")
	if want := a.addr(); sb.Addr() != want || !strings.HasPrefix(want, "[::1]:") || b.mesh.Peers()[0].Address != want {
		t.Errorf("address: got %s and %+v, want %s", sb.Addr(), b.mesh.Peers(), want)
	}
	b.mesh.SetMembers([]Target{{ID: c.identity.ID(), Addresses: []string{c.addr()}}})
	eventually(t, "the refusal", func() bool { return len(b.mesh.Peers()) == 2 && b.mesh.Peers()[1].State == Refused })
	wantLog(t, c, "remote=[::1]:")
}
