package sshconn

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

func dialTest(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// wantClosed reads until the other end closes.
func wantClosed(t *testing.T, c io.Reader) {
	t.Helper()
	var timeout net.Error
	if _, err := io.Copy(io.Discard, c); errors.As(err, &timeout) && timeout.Timeout() {
		t.Error("connection is still open")
	}
}

func TestSilentClientIsDropped(t *testing.T) {
	a := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll, func(n *node) { n.timing.handshake = 100 * time.Millisecond }).run(t)
	began := time.Now()
	wantClosed(t, dialTest(t, a.addr()))
	if took := time.Since(began); took < 90*time.Millisecond {
		t.Errorf("closed after %v, before the deadline", took)
	}
}

func TestSilentServerIsGivenUp(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	a := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll, func(n *node) { n.timing.handshake = 100 * time.Millisecond }).
		run(t, listener.Addr().String())
	eventually(t, "the attempt to end", func() bool {
		p := a.mesh.Peers()[0]
		return p.State == Away && strings.Contains(p.Err.Error(), "no SSH answer in time")
	})
}

// greeted opens a connection, on which nothing is said, and reads the greeting.
func greeted(t *testing.T, addr string) net.Conn {
	t.Helper()
	c := dialTest(t, addr)
	if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.HasPrefix(line, softwareVersion) {
		t.Fatalf("greeting: got %q, %v", line, err)
	}
	return c
}

func TestHandshakesAreBounded(t *testing.T) {
	a := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll).run(t)
	var held []net.Conn
	for range maxHandshakes + 3 {
		held = append(held, greeted(t, a.addr()))
	}
	for i, c := range held[:3] {
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("silent connection %d of %d: got %v, want it closed", i+1, len(held), err)
		}
	}
	if got := a.door.crowd(); got != maxHandshakes {
		t.Errorf("connections in their handshake: got %d, want %d", got, maxHandshakes)
	}
	b := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll).run(t, a.addr())
	b.next(t)
	wantLog(t, a, "too many others")
}

func TestGarbageIsSurvived(t *testing.T) {
	a := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll).run(t)
	for _, garbage := range []string{"GET / HTTP/1.1\r\n\r\n", strings.Repeat("\x00\xff", 4000), "SSH-2.0-x\r\n" + strings.Repeat("\xff", 100), "\n"} {
		c := dialTest(t, a.addr())
		io.WriteString(c, garbage)
		c.(*net.TCPConn).CloseWrite()
		wantClosed(t, c)
	}
	b := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll).run(t, a.addr())
	b.next(t)
}

// rawClient is a plain SSH client with a key.
func rawClient(t *testing.T, addr string, c ssh.ClientConfig) (*ssh.Client, error) {
	t.Helper()
	if c.User == "" {
		c.User = "root"
	}
	c.HostKeyCallback, c.Timeout = ssh.InsecureIgnoreHostKey(), patience
	client, err := ssh.Dial("tcp", addr, &c)
	if err == nil {
		t.Cleanup(func() { client.Close() })
	}
	return client, err
}

func keyAuth(t *testing.T) []ssh.AuthMethod {
	return []ssh.AuthMethod{ssh.PublicKeys(newTestIdentity(t).signer)}
}

// wantNothingElse checks that a connection gives none of what SSH servers give,
// nor the channels named (without extra data).
func wantNothingElse(t *testing.T, client ssh.Conn, channels ...string) {
	t.Helper()
	address := ssh.Marshal(struct {
		Host   string
		Port   uint32
		Origin string
		From   uint32
	}{"127.0.0.1", 22, "127.0.0.1", 1})
	channels = append(channels, "session", "direct-tcpip", "forwarded-tcpip", "direct-streamlocal@openssh.com",
		"forwarded-streamlocal@openssh.com", "tun@openssh.com", "x11", "auth-agent@openssh.com", "auth-agent", "nonsense", "")
	for _, kind := range channels {
		extra := address
		if strings.Contains(kind, "@resonate") {
			extra = nil
		}
		var rejected *ssh.OpenChannelError
		if _, _, err := client.OpenChannel(kind, extra); !errors.As(err, &rejected) {
			t.Errorf("channel %q: got %v, want a rejection", kind, err)
		}
	}
	for _, kind := range []string{
		"tcpip-forward", "cancel-tcpip-forward", "streamlocal-forward@openssh.com", "cancel-streamlocal-forward@openssh.com",
		"no-more-sessions@openssh.com", "hostkeys-prove-00@openssh.com", "keepalive@openssh.com", "nonsense", "",
	} {
		if ok, answer, err := client.SendRequest(kind, true, address); ok || err != nil {
			t.Errorf("request %q: got %v, %q, %v, want a refusal", kind, ok, answer, err)
		}
	}
}

// wantNoService checks that an open channel starts nothing.
func wantNoService(t *testing.T, channel ssh.Channel) {
	t.Helper()
	for _, kind := range []string{
		"shell", "exec", "subsystem", "pty-req", "env", "x11-req", "auth-agent-req@openssh.com", "window-change", "signal", "break",
		"xon-xoff", "eow@openssh.com", "keepalive@openssh.com", "nonsense",
	} {
		for range 40 { // more than the library queues
			if ok, err := channel.SendRequest(kind, true, ssh.Marshal(struct{ Name string }{"sftp"})); ok || err != nil {
				t.Fatalf("request %s: got %v, %v, want a refusal", kind, ok, err)
			}
		}
	}
}

// ecdsaSigner gives a key of a type that nodes do not have.
func ecdsaSigner(t *testing.T) ssh.Signer {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func TestMemberGetsStreamsAlone(t *testing.T) {
	a := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll).run(t)
	client, err := rawClient(t, a.addr(), ssh.ClientConfig{Auth: keyAuth(t)})
	if err != nil {
		t.Fatal(err)
	}
	wantNothingElse(t, client, blockChannel, controlChannel)
	if ok, answer, err := client.SendRequest(blocksRequest, true, make([]byte, tokenSize)); ok || err != nil {
		t.Errorf("pairing with nothing: got %v, %q, %v, want a refusal", ok, answer, err)
	}
	channel, requests, err := client.OpenChannel(controlChannel, hello{}.bytes())
	if err != nil {
		t.Fatal(err)
	}
	go ssh.DiscardRequests(requests)
	wantNoService(t, channel)
	var rejected *ssh.OpenChannelError
	if _, _, err := client.OpenChannel(controlChannel, hello{}.bytes()); !errors.As(err, &rejected) {
		t.Errorf("second control channel: got %v, want a rejection", err)
	}
	if ok, _, err := client.SendRequest(blocksRequest, true, make([]byte, tokenSize)); ok || err != nil {
		t.Errorf("pairing with itself: got %v, %v, want a refusal", ok, err)
	}
	if got := a.served.Load(); got != 0 {
		t.Errorf("sessions: got %d, want none", got)
	}
}

// TestSessionGivesStreamsAlone: on either connection, whoever dialled it.
func TestSessionGivesStreamsAlone(t *testing.T) {
	_, _, sa, sb := connected(t)
	for _, s := range []*Session{sa, sb} {
		wantNothingElse(t, s.control.conn, controlChannel, blockChannel, joinChannel)
		wantNothingElse(t, s.blocks[0].conn, controlChannel, joinChannel)
		wantNoService(t, s.stream.(*stream).Channel)
		blocks, err := s.OpenBlocks(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		wantNoService(t, blocks.(*stream).Channel)
	}
	exchange(t, sa.Control(), sb.Control(), "and goes on")
}

// TestLooseConnectionsOfAMemberAreBounded: those that do not become part of a
// session.
func TestLooseConnectionsOfAMemberAreBounded(t *testing.T) {
	a := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll).run(t)
	id := newTestIdentity(t)
	auth := []ssh.AuthMethod{ssh.PublicKeys(id.signer)}
	var clients []*ssh.Client
	for range maxLoose {
		client, err := rawClient(t, a.addr(), ssh.ClientConfig{Auth: auth})
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, client)
	}
	eventually(t, "all of them counted", func() bool { // else one of these might be the one too many
		a.mesh.mu.Lock()
		defer a.mesh.mu.Unlock()
		return a.mesh.loose[id.ID()] == maxLoose
	})
	if one, err := rawClient(t, a.addr(), ssh.ClientConfig{Auth: auth}); err == nil {
		one.Wait() // until it is closed
	}
	for i, c := range clients {
		if ok, _, err := c.SendRequest(keepaliveRequest, true, nil); !ok || err != nil {
			t.Errorf("connection %d of %d: got %v, %v, want it open", i+1, maxLoose, ok, err)
		}
	}
	clients[0].Close()
	eventually(t, "room for another", func() bool {
		a.mesh.mu.Lock()
		defer a.mesh.mu.Unlock()
		return a.mesh.loose[id.ID()] < maxLoose
	})
	other, err := rawClient(t, a.addr(), ssh.ClientConfig{Auth: auth})
	if err != nil {
		t.Fatal(err)
	}
	if ok, _, err := other.SendRequest(keepaliveRequest, true, nil); !ok || err != nil {
		t.Errorf("when one has left: got %v, %v, want a connection", ok, err)
	}
}

// TestTokenIsChecked: a second connection with another token, or of another
// node, does not get into a pair.
func TestTokenIsChecked(t *testing.T) {
	a := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll).run(t)
	auth := keyAuth(t)
	clients := make([]*ssh.Client, 3)
	for i, auth := range [][]ssh.AuthMethod{auth, auth, keyAuth(t)} {
		var err error
		if clients[i], err = rawClient(t, a.addr(), ssh.ClientConfig{Auth: auth}); err != nil {
			t.Fatal(err)
		}
	}
	h := hello{token: token{1, 2, 3}}
	_, requests, err := clients[0].OpenChannel(controlChannel, h.bytes())
	if err != nil {
		t.Fatal(err)
	}
	go ssh.DiscardRequests(requests)
	if ok, _, _ := clients[2].SendRequest(blocksRequest, true, h.token[:]); ok {
		t.Error("another node got into the pair")
	}
	if ok, _, _ := clients[1].SendRequest(blocksRequest, true, make([]byte, tokenSize)); ok {
		t.Error("a wrong token was taken")
	}
	ok, answer, err := clients[1].SendRequest(blocksRequest, true, h.token[:])
	if !ok || err != nil || string(answer) != string(a.instance[:]) {
		t.Errorf("the right one: got %v, %x, %v, want the instance", ok, answer, err)
	}
	a.next(t)
}

func TestHalfPairIsDropped(t *testing.T) {
	a := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll, func(n *node) { n.timing.handshake = time.Second }).run(t)
	ended := make(chan error, 2)
	for _, open := range []bool{false, true} {
		client, err := rawClient(t, a.addr(), ssh.ClientConfig{Auth: keyAuth(t)})
		if err != nil {
			t.Fatal(err)
		}
		if open {
			_, requests, err := client.OpenChannel(controlChannel, hello{}.bytes())
			if err != nil {
				t.Fatal(err)
			}
			go ssh.DiscardRequests(requests)
		}
		go func() { ended <- client.Wait() }()
	}
	for range 2 {
		select {
		case <-ended:
		case <-time.After(patience):
			t.Fatal("a connection without a session is still open")
		}
	}
	eventually(t, "the claim to be released", func() bool {
		a.mesh.mu.Lock()
		defer a.mesh.mu.Unlock()
		return len(a.mesh.claims) == 0
	})
}

func TestWeakAlgorithmsAndMethodsAreOff(t *testing.T) {
	a := listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustAll).run(t)
	weak := func(c ssh.Config) ssh.ClientConfig { return ssh.ClientConfig{Config: c, Auth: keyAuth(t)} }
	rows := map[string]ssh.ClientConfig{
		"password":     {Auth: []ssh.AuthMethod{ssh.Password("secret")}},
		"no auth":      {},
		"dh group 14":  weak(ssh.Config{KeyExchanges: []string{ssh.KeyExchangeDH14SHA256}}),
		"nistp256":     weak(ssh.Config{KeyExchanges: []string{ssh.KeyExchangeECDHP256}}),
		"aes128-ctr":   weak(ssh.Config{Ciphers: []string{ssh.CipherAES128CTR}}),
		"rsa host key": {Auth: keyAuth(t), HostKeyAlgorithms: []string{ssh.KeyAlgoRSASHA512}},
	}
	for name, c := range rows {
		if _, err := rawClient(t, a.addr(), c); err == nil {
			t.Errorf("%s: got a connection", name)
		}
	}
	client, err := rawClient(t, a.addr(), ssh.ClientConfig{Auth: keyAuth(t)})
	if err != nil {
		t.Fatal(err)
	}
	got := client.Conn.(ssh.AlgorithmsConnMetadata).Algorithms()
	if got.KeyExchange != ssh.KeyExchangeMLKEM768X25519 || got.Write.Cipher != ssh.CipherAES128GCM || got.HostKey != ssh.KeyAlgoED25519 {
		t.Errorf("algorithms: got %+v", got)
	}
}
