package sshconn

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// inviter is a node that trusts nobody, and has an invitation with the secret
// "open sesame".
type inviter struct {
	*node
	open    atomic.Bool
	checked atomic.Int32
	pause   time.Duration
	speak   func(ctx context.Context, s Stream) error // nil: echo

	mu   sync.Mutex
	keys []string // served
}

const sesame = "open sesame"

func trustNobody(ssh.PublicKey) error { return ErrUntrusted }

func listenInviter(t *testing.T, options ...option) *inviter {
	i := &inviter{}
	i.open.Store(true)
	joining := &Joining{
		Open: i.open.Load,
		Check: func(_ ssh.PublicKey, secret []byte, _ net.Addr) error {
			i.checked.Add(1)
			if string(secret) != sesame {
				return &GuessError{Err: errors.New("wrong secret"), Pause: i.pause}
			}
			return nil
		},
		Serve: func(ctx context.Context, key ssh.PublicKey, _ net.Addr, s Stream) error {
			i.mu.Lock()
			i.keys = append(i.keys, string(key.Marshal()))
			i.mu.Unlock()
			if i.speak != nil {
				return i.speak(ctx, s)
			}
			_, err := io.Copy(s, s)
			return err
		},
	}
	i.node = listenTest(t, newTestIdentity(t), "127.0.0.1:0", trustNobody, append(options, func(n *node) { n.joining = joining })...)
	return i
}

func dialJoin(t *testing.T, i *inviter, id *Identity, secret string) (Stream, error) {
	t.Helper()
	s, host, err := DialJoin(t.Context(), i.addr(), id, i.isHost, []byte(secret))
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { s.Close() })
	if idOf(host) != i.identity.ID() {
		t.Errorf("host key: got %s, want %s", idOf(host), i.identity.ID())
	}
	return s, nil
}

func (i *inviter) isHost(host ssh.PublicKey) error {
	if idOf(host) != i.identity.ID() {
		return errors.New("not the inviter")
	}
	return nil
}

func TestJoin(t *testing.T) {
	i := listenInviter(t)
	i.run(t)
	id := newTestIdentity(t)
	s, err := dialJoin(t, i, id, sesame)
	if err != nil {
		t.Fatal(err)
	}
	exchange(t, s, s, "hello")
	io.WriteString(s, "last words")
	s.CloseWrite()
	if got, err := io.ReadAll(s); err != nil || string(got) != "last words" {
		t.Errorf("the end: got %q, %v", got, err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if want := []string{string(id.PublicKey().Marshal())}; !slices.Equal(i.keys, want) {
		t.Errorf("served: got %q, want the stranger's key", i.keys)
	}
	eventually(t, "the slot to be free", func() bool { return len(i.joins) == 0 })
	if got := i.served.Load(); got != 0 {
		t.Errorf("sessions: got %d, want none", got)
	}
}

// TestJoinChecksTheHostFirst: a node that is not the inviter learns neither the
// stranger's key nor the secret.
func TestJoinChecksTheHostFirst(t *testing.T) {
	i := listenInviter(t)
	i.run(t)
	wrong := errors.New("not whom the code names")
	_, _, err := DialJoin(t.Context(), i.addr(), newTestIdentity(t), func(ssh.PublicKey) error { return wrong }, []byte(sesame))
	if !errors.Is(err, wrong) || !strings.Contains(err.Error(), i.addr()) {
		t.Errorf("got %v, want %v and the address", err, wrong)
	}
	eventually(t, "the connection to be over", func() bool { return i.door.crowd() == 0 })
	if i.checked.Load() != 0 || strings.Contains(i.logs.String(), "key=") {
		t.Errorf("something of the stranger was seen:\n%s", i.logs)
	}
}

// TestJoinWithoutInvitation: who would join sees what any other stranger sees.
func TestJoinWithoutInvitation(t *testing.T) {
	i := listenInviter(t)
	i.open.Store(false)
	i.run(t)
	if _, err := dialJoin(t, i, newTestIdentity(t), sesame); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "no invitation is open") {
		t.Errorf("got %v, want ErrRefused, and that no invitation is open", err)
	}
	var seen [2]string
	for n, user := range []string{joinUser, memberUser} {
		auth := []ssh.AuthMethod{keyAuth(t)[0], ssh.Password(sesame)}
		_, err := rawClient(t, i.addr(), ssh.ClientConfig{User: user, Auth: auth, BannerCallback: func(m string) error {
			seen[n] += m + "\n"
			return nil
		}})
		seen[n] += err.Error()
	}
	if seen[0] != seen[1] {
		t.Errorf("join: got %q; any other: %q", seen[0], seen[1])
	}
	if got := i.checked.Load(); got != 0 {
		t.Errorf("secrets checked: got %d, want none", got)
	}
}

func TestJoinWithWrongSecret(t *testing.T) {
	const delay = 200 * time.Millisecond
	i := listenInviter(t)
	i.pause = delay
	i.run(t)
	for range 2 {
		began := time.Now()
		if _, err := dialJoin(t, i, newTestIdentity(t), "guess"); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), guessRefusal) {
			t.Errorf("got %v, want ErrRefused with %q", err, guessRefusal)
		}
		if took := time.Since(began); took < delay {
			t.Errorf("answered after %v, want no sooner than %v", took, delay)
		}
	}
	wantLog(t, i.node, "tried to join", "remote=127.0.0.1:", "wrong secret")
	if got := strings.Count(i.logs.String(), "level=WARN"); got != 1 {
		t.Errorf("log lines for two guesses: got %d, want 1:\n%s", got, i.logs)
	}
	before := i.checked.Load()
	guesses := 0
	auth := []ssh.AuthMethod{keyAuth(t)[0], ssh.RetryableAuthMethod(ssh.PasswordCallback(func() (string, error) {
		guesses++
		return "guess", nil
	}), 10)}
	if _, err := rawClient(t, i.addr(), ssh.ClientConfig{User: joinUser, Auth: auth}); err == nil {
		t.Error("a guess was taken")
	}
	if got := i.checked.Load() - before; got != 1 {
		t.Errorf("guesses on one connection: %d checked of %d, want 1", got, guesses)
	}
	if _, err := dialJoin(t, i, newTestIdentity(t), strings.Repeat("x", maxSecretSize+1)); !errors.Is(err, ErrRefused) {
		t.Errorf("long secret: got %v, want ErrRefused", err)
	}
	if _, err := dialJoin(t, i, newTestIdentity(t), sesame); err != nil {
		t.Errorf("the right one, after all: %v", err)
	}
}

// TestJoinPauseEndsWithTheMesh: stop fails where Run does not return in a second.
func TestJoinPauseEndsWithTheMesh(t *testing.T) {
	i := listenInviter(t)
	i.pause = time.Hour
	i.run(t)
	failed := make(chan error, 1)
	go func() {
		_, _, err := DialJoin(context.Background(), i.addr(), newTestIdentity(t), i.isHost, []byte("guess"))
		failed <- err
	}()
	eventually(t, "the guess", func() bool { return i.checked.Load() == 1 })
	i.stop()
	if err := <-failed; err == nil {
		t.Error("a guess was taken")
	}
}

// TestJoinNeedsAKey: the secret alone is not enough, and neither is a key of
// another type.
func TestJoinNeedsAKey(t *testing.T) {
	i := listenInviter(t)
	i.run(t)
	for name, auth := range map[string][]ssh.AuthMethod{
		"password alone": {ssh.Password(sesame)},
		"keyboard":       {ssh.KeyboardInteractive(func(_, _ string, q []string, _ []bool) ([]string, error) { return make([]string, len(q)), nil })},
		"ECDSA key":      {ssh.PublicKeys(ecdsaSigner(t)), ssh.Password(sesame)},
	} {
		if _, err := rawClient(t, i.addr(), ssh.ClientConfig{User: joinUser, Auth: auth}); err == nil {
			t.Errorf("%s: got a connection", name)
		}
	}
	if got := i.checked.Load(); got != 0 {
		t.Errorf("secrets checked: got %d, want none", got)
	}
}

func TestMemberNeedNotJoin(t *testing.T) {
	i := listenInviter(t)
	i.trusted = trustAll
	i.open.Store(false)
	i.run(t)
	if _, err := dialJoin(t, i, newTestIdentity(t), sesame); !errors.Is(err, ErrMember) {
		t.Errorf("got %v, want ErrMember", err)
	}
	if _, err := dialJoin(t, i, i.identity, sesame); err == nil {
		t.Error("a node joined itself")
	}
	if got := i.checked.Load(); got != 0 {
		t.Errorf("secrets checked: got %d, want none", got)
	}
}

func joinClient(t *testing.T, i *inviter) *ssh.Client {
	t.Helper()
	client, err := rawClient(t, i.addr(), ssh.ClientConfig{User: joinUser, Auth: append(keyAuth(t), ssh.Password(sesame))})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func TestJoinerGetsOneStreamAlone(t *testing.T) {
	i := listenInviter(t)
	i.run(t)
	client := joinClient(t, i)
	wantNothingElse(t, client, controlChannel, blockChannel)
	for _, kind := range []string{keepaliveRequest, blocksRequest, byeRequest} {
		if ok, _, err := client.SendRequest(kind, true, make([]byte, tokenSize)); ok || err != nil {
			t.Errorf("request %s: got %v, %v, want a refusal", kind, ok, err)
		}
	}
	channel, requests, err := client.OpenChannel(joinChannel, nil)
	if err != nil {
		t.Fatal(err)
	}
	go ssh.DiscardRequests(requests)
	wantNoService(t, channel)
	wantNothingElse(t, client, joinChannel, controlChannel)
	exchange(t, &stream{Channel: channel}, &stream{Channel: channel}, "and still serves")
	if got := i.served.Load(); got != 0 {
		t.Errorf("sessions: got %d, want none", got)
	}
}

func TestJoinsAreBounded(t *testing.T) {
	i := listenInviter(t)
	i.run(t)
	var all []Stream
	for range maxJoins {
		s, err := dialJoin(t, i, newTestIdentity(t), sesame)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	if _, err := dialJoin(t, i, newTestIdentity(t), sesame); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), crowdRefusal) {
		t.Errorf("one too many: got %v, want ErrRefused with %q", err, crowdRefusal)
	}
	if got := i.checked.Load(); got != maxJoins {
		t.Errorf("secrets checked: got %d, want %d: the code must not be used up", got, maxJoins)
	}
	all[0].Close()
	eventually(t, "a slot", func() bool { return len(i.joins) < maxJoins })
	if _, err := dialJoin(t, i, newTestIdentity(t), sesame); err != nil {
		t.Errorf("when another has left: %v", err)
	}
}

func TestJoinEndsInTime(t *testing.T) {
	t.Run("without a channel", func(t *testing.T) {
		i := listenInviter(t, func(n *node) { n.timing.handshake = 300 * time.Millisecond })
		i.run(t)
		client := joinClient(t, i)
		ended := make(chan error, 1)
		go func() { ended <- client.Wait() }()
		select {
		case <-ended:
		case <-time.After(patience):
			t.Error("connection is still open")
		}
		eventually(t, "the slot to be free", func() bool { return len(i.joins) == 0 })
	})
	t.Run("whatever is said", func(t *testing.T) {
		i := listenInviter(t, func(n *node) { n.timing.join = 300 * time.Millisecond })
		over := make(chan error, 1)
		i.speak = func(ctx context.Context, s Stream) error {
			<-ctx.Done()
			over <- ctx.Err()
			return ctx.Err()
		}
		i.run(t)
		s, err := dialJoin(t, i, newTestIdentity(t), sesame)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Read(make([]byte, 1)); err == nil {
			t.Error("read something")
		}
		if err := <-over; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the service's context: got %v, want that its time is over", err)
		}
	})
	t.Run("with the mesh", func(t *testing.T) {
		i := listenInviter(t)
		i.run(t)
		s, err := dialJoin(t, i, newTestIdentity(t), sesame)
		if err != nil {
			t.Fatal(err)
		}
		i.stop()
		if _, err := s.Read(make([]byte, 1)); err == nil {
			t.Error("read something")
		}
	})
}
