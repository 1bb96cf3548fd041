package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"resonate/beneath"
	"resonate/control"
	"resonate/members"
	"resonate/replica"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A machine is a node with homes of its own, so that nothing but members makes it known to others.
type machine struct {
	t     testing.TB
	name  string
	home  string
	dir   string
	peers []string
	tune  []func(*Options)
	dies  bool // it may end with an error
	log   logBuffer

	session time.Duration
	fault   func(beneath.Label) error
	*Node
	end func() // ends it and waits

	lockless bool // it lets changes out without locks
}

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

// newMachine starts a node on a folder that holds files.
func newMachine(t testing.TB, name string, files map[string]string, tune ...func(*machine)) *machine {
	t.Helper()
	m := prepareMachine(t, name, files)
	for _, f := range tune {
		f(m)
	}
	m.start()
	return m
}

// tuned has a machine run with options as tune makes them.
func tuned(tune ...func(*Options)) func(*machine) { return func(m *machine) { m.tune = tune } }

// prepareMachine is newMachine, but for the start.
func prepareMachine(t testing.TB, name string, files map[string]string) *machine {
	t.Helper()
	m := &machine{t: t, name: name, home: t.TempDir()}
	m.dir = filepath.Join(m.home, name)
	if err := os.Mkdir(m.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for path, content := range files {
		m.write(path, content)
	}
	return m
}

func (m *machine) start() {
	m.t.Helper()
	var n *Node
	var err error
	eventually(m.t, "the folder is given back", func() string { // a run that had to end may not have waited for the disk
		if n, err = m.open(); err != nil && strings.Contains(err.Error(), "in use by another resonate") {
			return err.Error()
		}
		return ""
	})
	if err != nil {
		m.t.Fatalf("open %s: %v", m.name, err)
	}
	m.Node = n
	if m.lockless {
		n.replica.UseLocks(nil)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	m.end = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil && !m.dies {
			m.t.Errorf("%s ended: %v", m.name, err)
		}
	})
	m.t.Cleanup(func() {
		m.end()
		if m.t.Failed() {
			m.t.Logf("log of %s:\n%s", m.name, &m.log)
		}
	})
}

func (m *machine) open() (*Node, error) {
	o := Options{
		Folder: replica.Options{
			Dir: m.dir, StateHome: filepath.Join(m.home, "state"), Version: "test",
			Log:   slog.New(slog.NewTextHandler(&m.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
			Fault: m.fault,
		},
		ConfigHome: filepath.Join(m.home, "config"), Listen: "127.0.0.1", Peers: m.peers, Session: m.session,
	}
	for _, f := range m.tune {
		f(&o)
	}
	return Open(o)
}

func (m *machine) write(path, content string) {
	m.t.Helper()
	if err := os.WriteFile(filepath.Join(m.dir, path), []byte(content), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) address() string { return m.Addr().String() }

func (m *machine) invite() members.Code {
	m.t.Helper()
	i, err := m.Invite(m.t.Context(), time.Minute)
	if err != nil {
		m.t.Fatal(err)
	}
	code, err := members.ParseCode(i.Code)
	if err != nil {
		m.t.Fatal(err)
	}
	return code
}

func yes(Preview) (bool, error) { return true, nil }

// joins has m join by the invitation of another machine.
func (m *machine) joins(inviter *machine) {
	m.t.Helper()
	if _, err := m.Join(m.t.Context(), inviter.address(), inviter.invite(), yes); err != nil {
		m.t.Fatal(err)
	}
}

// knows returns the names of the members, as m knows them; those of forgotten ones in brackets.
func (m *machine) knows() string {
	m.t.Helper()
	list, err := m.Members(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	var names []string
	for _, one := range list {
		_, name, _ := strings.Cut(one.Name, ":")
		if one.Forgotten != nil {
			name = "(" + name + ")"
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func (m *machine) content() string {
	m.t.Helper()
	s, err := m.Replica().Status(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	return s.Roots.Content
}

// eventually waits until cond returns "".
func eventually(t testing.TB, what string, cond func() string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		problem := cond()
		if problem == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %s", what, problem)
		}
		time.Sleep(10 * time.Millisecond) // between two looks
	}
}

func equal(t testing.TB, machines ...*machine) {
	t.Helper()
	eventually(t, "the folders become equal", func() string {
		for _, m := range machines[1:] {
			if got, want := m.content(), machines[0].content(); got != want {
				return fmt.Sprintf("%s has %.8s, %s %.8s", m.name, got, machines[0].name, want)
			}
		}
		return ""
	})
}

func allKnow(t testing.TB, want string, machines ...*machine) {
	t.Helper()
	eventually(t, "all know the members", func() string {
		for _, m := range machines {
			if got := m.knows(); got != want {
				return fmt.Sprintf("%s knows %s, want %s", m.name, got, want)
			}
		}
		return ""
	})
}

// TestJoin has a second machine join the first, and a third the second: all know each other, and have everything.
func TestJoin(t *testing.T) {
	a := newMachine(t, "a", map[string]string{"f": "a's", "same": "same"})
	b := newMachine(t, "b", map[string]string{"f": "b's", "same": "same", "only b": "b's"})
	c := newMachine(t, "c", nil)
	var seen Preview
	_, err := b.Join(t.Context(), a.address(), a.invite(), func(p Preview) (bool, error) { seen = p; return true, nil })
	if err != nil {
		t.Fatal(err)
	}
	if got := seen.Compared; got.Same != 1 || got.OnlyHere.Count != 1 || got.OnlyThere.Count != 0 || got.Differing.Count != 1 || seen.Files != 2 {
		t.Errorf("preview: got %+v", seen)
	}
	equal(t, a, b)
	c.joins(b)
	allKnow(t, "a b c", a, b, c)
	equal(t, a, b, c)
	if entries, _ := os.ReadDir(c.dir); len(entries) != 5 { // .resonate, f, its conflict copy, same, only b
		t.Errorf("c has %v", entries)
	}

	// After a restart all of it is still known, and found again without being told.
	b.end()
	b.start()
	b.write("later", "later")
	equal(t, a, b, c)
}

// TestCodeServesOnce shows a code twice, a wrong one, one of another node, and one that was cancelled.
func TestCodeServesOnce(t *testing.T) {
	a, b, c := newMachine(t, "a", nil), newMachine(t, "b", nil), newMachine(t, "c", nil)
	used := a.invite()
	if _, err := b.Join(t.Context(), a.address(), used, yes); err != nil {
		t.Fatal(err)
	}
	refused := func(what string, code members.Code, want string) {
		t.Helper()
		if _, err := c.Join(t.Context(), a.address(), code, yes); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", what, err, want)
		}
	}
	refused("used", used, "refused")
	wrong := a.invite()
	wrong.Secret[0] ^= 1
	refused("wrong secret", wrong, "code is wrong")
	refused("another node's", b.invite(), "another node than the code is of")
	cancelled := a.invite()
	if there, err := a.CancelInvitation(t.Context()); !there || err != nil {
		t.Errorf("cancel: got %v, %v", there, err)
	}
	refused("cancelled", cancelled, "refused")
	allKnow(t, "a b", a, b)
	c.joins(a)
	allKnow(t, "a b c", a, b, c)
}

// TestDeclinedJoin has the user look at what would happen, and not join: nothing has changed, and the code serves again.
func TestDeclinedJoin(t *testing.T) {
	a := newMachine(t, "a", map[string]string{"f": "a's"})
	b := newMachine(t, "b", map[string]string{"g": "b's"})
	code := a.invite()
	_, err := b.Join(t.Context(), a.address(), code, func(Preview) (bool, error) { return false, nil })
	if !errors.Is(err, ErrDeclined) {
		t.Fatalf("got %v, want %v", err, ErrDeclined)
	}
	allKnow(t, "a", a)
	allKnow(t, "b", b)
	eventually(t, "the code serves again", func() string {
		if _, err := b.Join(t.Context(), a.address(), code, yes); err != nil {
			return err.Error()
		}
		return ""
	})
	equal(t, a, b)
}

// TestSharedFolderDoesNotJoin has a machine join that shares its folder with another already.
func TestSharedFolderDoesNotJoin(t *testing.T) {
	a, b, c, d := newMachine(t, "a", nil), newMachine(t, "b", nil), newMachine(t, "c", nil), newMachine(t, "d", nil)
	b.joins(a)
	d.joins(c)
	allKnow(t, "a b", a, b)
	allKnow(t, "c d", c, d)
	eventually(t, "both folders are shared", func() string {
		for _, m := range []*machine{a, c} {
			if s, err := m.Replica().Status(t.Context()); err != nil || !s.Folder.Shared {
				return fmt.Sprintf("%s is not: %v", m.name, err)
			}
		}
		return ""
	})
	if _, err := c.Join(t.Context(), a.address(), a.invite(), yes); err == nil || !strings.Contains(err.Error(), "never mixed") {
		t.Errorf("got %v, want a refusal", err)
	}
}

// TestForget has one member forget another: sessions end, it is refused by all, told why, and what it changes stays with it. It comes
// back as a new node.
func TestForget(t *testing.T) {
	a, b, c := newMachine(t, "a", map[string]string{"f": "base"}), newMachine(t, "b", nil), newMachine(t, "c", nil)
	b.joins(a)
	c.joins(a)
	allKnow(t, "a b c", a, b, c)
	equal(t, a, b, c)
	begun := time.Now()
	if m, err := a.Forget(t.Context(), b.Replica().Node().String()[:6]); err != nil || m.State != "forgotten" {
		t.Fatalf("forget: got %+v, %v", m, err)
	}
	eventually(t, "the session with b ends", func() string {
		s, err := a.Replica().Status(t.Context())
		if err != nil {
			return err.Error()
		}
		if slices.ContainsFunc(s.Peers, func(p control.Peer) bool { return p.ID == b.Replica().Node().String() && p.State == "connected" }) {
			return "it is connected"
		}
		return ""
	})
	t.Logf("the session ended after %v", time.Since(begun).Round(time.Millisecond))
	allKnow(t, "(b) a c", a, c)
	b.write("f", "b's, after it was forgotten")
	a.write("g", "a's")
	equal(t, a, c)
	eventually(t, "b is told", func() string {
		list, err := b.Members(t.Context())
		if err != nil {
			return err.Error()
		}
		if !slices.ContainsFunc(list, func(m control.Member) bool { return strings.Contains(m.Error, "forgotten by") }) {
			return fmt.Sprintf("it sees %+v", list)
		}
		return ""
	})
	if got, _ := os.ReadFile(filepath.Join(a.dir, "f")); string(got) != "base" {
		t.Errorf("a forgotten node's change came through: %q", got)
	}
	if err := os.Remove(filepath.Join(a.dir, "g")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a deletion does not wait for a forgotten node", func() string {
		for _, m := range []*machine{a, c} {
			page, err := m.Replica().Tree(t.Context(), control.TreeQuery{Deleted: true})
			if err != nil {
				return err.Error()
			}
			if i := slices.IndexFunc(page.Entries, func(e control.TreeEntry) bool { return e.Path == "g" }); i >= 0 {
				return fmt.Sprintf("%s has %+v", m.name, page.Entries[i])
			}
		}
		return ""
	})
	if _, err := a.Forget(t.Context(), "nobody"); !errors.Is(err, control.ErrNotFound) {
		t.Errorf("forget nobody: got %v", err)
	}

	c.end() // it is refused by who has only heard of it, after a restart, too
	c.start()
	if err := c.trusted(b.replica.Identity().PublicKey()); err == nil || !strings.Contains(err.Error(), "forgotten") {
		t.Errorf("c trusts a forgotten key: %v", err)
	}
}

// TestLeave has a node leave: the others hear of it.
func TestLeave(t *testing.T) {
	a, b, c := newMachine(t, "a", map[string]string{"f": "base"}), newMachine(t, "b", nil), newMachine(t, "c", nil)
	b.joins(a)
	c.joins(a)
	allKnow(t, "a b c", a, b, c)
	if err := b.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	allKnow(t, "(b) a c", a, b, c)
	if s, err := b.Replica().Status(t.Context()); err != nil || s.State != "forgotten" {
		t.Errorf("b is %q, %v, want forgotten", s.State, err)
	}
}

// TestTrust makes members of two nodes by their keys alone.
func TestTrust(t *testing.T) {
	a, b := newMachine(t, "a", map[string]string{"f": "base"}), newMachine(t, "b", nil)
	for _, pair := range [][2]*machine{{a, b}, {b, a}} {
		if _, err := pair[0].Trust(t.Context(), "# by hand\n"+pair[1].replica.Identity().AuthorizedKey()+" x:"+pair[1].name+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.SetPeers([]string{a.address()}); err != nil {
		t.Fatal(err)
	}
	equal(t, a, b)
	allKnow(t, "a b", a, b)
	if _, err := a.Trust(t.Context(), "ssh-rsa AAAA"); !errors.Is(err, control.ErrBadArgument) {
		t.Errorf("bad key: got %v", err)
	}
}

// TestRename gives a member a name that all know.
func TestRename(t *testing.T) {
	a, b := newMachine(t, "a", nil), newMachine(t, "b", nil)
	b.joins(a)
	allKnow(t, "a b", a, b)
	if _, err := a.Rename(t.Context(), b.Replica().Node().String(), "x:laptop"); err != nil {
		t.Fatal(err)
	}
	allKnow(t, "a laptop", a, b)
	if _, err := a.Rename(t.Context(), "x:laptop", "bad\nname"); !errors.Is(err, control.ErrBadArgument) {
		t.Errorf("bad name: got %v", err)
	}
}

func TestReach(t *testing.T) {
	path := filepath.Join(t.TempDir(), "reach")
	want := reach{open: true, joined: []string{"a.example:1", "[::1]:2"}}
	if err := want.save(path); err != nil {
		t.Fatal(err)
	}
	got, err := loadReach(path)
	if err != nil || got.open != want.open || !slices.Equal(got.joined, want.joined) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if got, err := parseReach([]byte("later\njoined nonsense\n")); err != nil || got.open || len(got.joined) > 0 {
		t.Errorf("unknown lines: got %+v, %v", got, err)
	}
}

// FuzzJoinTalk hears what a stranger may say.
func FuzzJoinTalk(f *testing.F) {
	f.Add([]byte(`{"protocol":1,"name":"x"}` + "\n" + `{"join":true}` + "\n"))
	f.Add([]byte(`{"entries":[{"path":"a","kind":"file"}],"more":true}` + "\n"))
	f.Add([]byte("\n\n{"))
	f.Fuzz(func(t *testing.T, data []byte) {
		talk := newJoinTalk(struct {
			*bytes.Reader
			discard
		}{Reader: bytes.NewReader(data)})
		var hello joinHello
		var page control.TreePage
		var admitted joinAdmission
		for _, v := range []any{&hello, &page, &admitted} {
			if talk.hear(v) != nil {
				return
			}
		}
		_, _ = members.Decode(admitted.Members)
	})
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
