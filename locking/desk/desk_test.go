package desk

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"resonate/locking"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A node is a desk of a test, and what runs it.
type node struct {
	t    *testing.T
	id   locking.NodeID
	dir  string
	d    *Desk
	long time.Duration // of its session; 0: 3 s
	left func(scopes []locking.Scope) []locking.Left
	stop context.CancelFunc
	seen notes
	done chan struct{}
	cuts []func()
}

// start runs the desk of the node with that number, on the state in dir.
func start(t *testing.T, number byte, dir string) *node {
	t.Helper()
	n := &node{t: t, id: locking.NodeID{number}, dir: dir}
	n.run()
	return n
}

func (n *node) run() {
	n.t.Helper()
	d, err := Open(Config{
		Dir: n.dir, Node: n.id, Host: string('a' + rune(n.id[0]) - 1), Session: cmp.Or(n.long, 3*time.Second), Log: slog.New(slog.DiscardHandler),
		Note: n.seen.add,
		Leave: func(scopes []locking.Scope) []locking.Left {
			if n.left == nil {
				return nil
			}
			return n.left(scopes)
		},
	})
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	n.d, n.stop, n.done = d, stop, make(chan struct{})
	go func() {
		defer close(n.done)
		if err := d.Run(ctx); err != nil {
			n.t.Error(err)
		}
	}()
	n.t.Cleanup(n.kill)
}

// kill ends the node and its sessions.
func (n *node) kill() {
	n.stop()
	<-n.done
	for _, cut := range n.cuts {
		cut()
	}
}

// connect lays a session between two nodes, and returns what cuts it.
func connect(a, b *node) (cut func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	to := func(from, to *node) Opener {
		return func(_ context.Context, kind Kind) (io.ReadWriteCloser, error) {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			near, far := net.Pipe()
			wg.Go(func() {
				if to.d.Accept(ctx, from.id, kind, far) != nil {
					far.Close()
				}
			})
			context.AfterFunc(ctx, func() { near.Close(); far.Close() })
			return near, nil
		}
	}
	wg.Go(func() { a.d.Meet(ctx, b.id, to(a, b)) })
	wg.Go(func() { b.d.Meet(ctx, a.id, to(b, a)) })
	cut = func() { cancel(); wg.Wait() }
	a.cuts, b.cuts = append(a.cuts, cut), append(b.cuts, cut)
	return cut
}

// until waits for a condition.
func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !cond(); {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// oneTable waits until all nodes have the same table, with a leader, and a session in it.
func oneTable(t *testing.T, nodes ...*node) (leader *node) {
	t.Helper()
	until(t, "one table", func() bool {
		first := nodes[0].d.Status()
		for _, n := range nodes {
			s := n.d.Status()
			if s.Table != first.Table || !s.Sure || s.Leads == (locking.NodeID{}) || s.Leads != first.Leads {
				return false
			}
		}
		return true
	})
	for _, n := range nodes {
		if n.id == nodes[0].d.Status().Leads {
			return n
		}
	}
	t.Fatal("none of the nodes leads")
	return nil
}

func name(s string) locking.Scope { return locking.Scope{Kind: locking.Name, Path: s} }
func path(s string) locking.Scope { return locking.Scope{Kind: locking.OnePath, Path: s} }

func (n *node) lock(s locking.Scope, wait time.Duration) (*Lock, error) {
	return n.d.Lock(context.Background(), &locking.Acquire{Scopes: []locking.Scope{s}, Wait: wait})
}

func (n *node) mustLock(s locking.Scope, wait time.Duration) *Lock {
	n.t.Helper()
	l, err := n.lock(s, wait)
	if err != nil {
		n.t.Fatalf("lock %v: %v", s, err)
	}
	return l
}

func (n *node) unlock(l *Lock, s locking.Scope) {
	n.t.Helper()
	if err := n.d.Unlock(l.ID, []locking.Scope{s}); err != nil {
		n.t.Fatal(err)
	}
}

func TestAloneLocks(t *testing.T) {
	t.Parallel()
	a := start(t, 1, t.TempDir())
	oneTable(t, a)
	l := a.mustLock(name("x"), 0)
	if l.Grant.Token == (locking.Token{}) {
		t.Error("a grant without a token")
	}
	a.unlock(l, name("x"))
	if later := a.mustLock(name("x"), time.Second); later.Grant.Token.Compare(l.Grant.Token) <= 0 {
		t.Errorf("token of the later grant: %v, not above %v", later.Grant.Token, l.Grant.Token)
	}
}

func TestTwoTablesBecomeOne(t *testing.T) {
	t.Parallel()
	a, b := start(t, 1, t.TempDir()), start(t, 2, t.TempDir())
	oneTable(t, a)
	oneTable(t, b)
	before := max(a.d.Status().Generation, b.d.Status().Generation)
	connect(a, b)
	oneTable(t, a, b)
	l := a.mustLock(name("x"), 0)
	if g := l.Grant.Token.Generation; g <= before {
		t.Errorf("generation %d, want above that of both tables, %d", g, before)
	}
	var refused *RefusedError
	if _, err := b.lock(name("x"), 0); !errors.As(err, &refused) || refused.Reason != locking.Taken {
		t.Errorf("lock held elsewhere: got %v, want that it is taken", err)
	} else if refused.Blocker == nil || refused.Blocker.Host != "a" {
		t.Errorf("who has it: got %+v, want a", refused.Blocker)
	}
	claims, err := b.d.Claims(context.Background(), name(""))
	if err != nil || len(claims) != 1 || claims[0].Request != l.ID || claims[0].Host != "a" {
		t.Errorf("list: got %+v and %v, want the lock of a", claims, err)
	}
}

// TestSessionOfAnotherTable has a node with a long session come to another table: it has locks there long before it would have said that it is
// alive.
func TestSessionOfAnotherTable(t *testing.T) {
	t.Parallel()
	a, b := &node{t: t, id: locking.NodeID{1}, dir: t.TempDir(), long: locking.MaxLength}, &node{t: t, id: locking.NodeID{2}, dir: t.TempDir(), long: locking.MaxLength}
	for _, n := range []*node{a, b} {
		n.run()
		oneTable(t, n)
	}
	connect(a, b)
	until(t, "one table", func() bool { return a.d.Status().Table == b.d.Status().Table })
	oneTable(t, a, b)
	for i, n := range []*node{a, b} {
		n.mustLock(name(string(rune('x'+i))), 0)
	}
}

func TestWaiterIsNext(t *testing.T) {
	t.Parallel()
	a, b := start(t, 1, t.TempDir()), start(t, 2, t.TempDir())
	connect(a, b)
	oneTable(t, a, b)
	l := a.mustLock(name("x"), 0)
	got := make(chan *Lock)
	go func() {
		l, err := b.lock(name("x"), 20*time.Second)
		if err != nil {
			t.Error(err)
		}
		got <- l
	}()
	until(t, "b waits", func() bool {
		claims, err := a.d.Claims(context.Background(), name("x"))
		return err == nil && len(claims) == 2 && !claims[1].Held
	})
	a.unlock(l, name("x"))
	if next := <-got; next.Grant.Token.Compare(l.Grant.Token) <= 0 {
		t.Errorf("token: got %v, want above %v", next.Grant.Token, l.Grant.Token)
	}
}

// ask asks for a delegation, and waits for it.
func (n *node) ask(s locking.Scope) *locking.Grant {
	n.t.Helper()
	got := make(chan outcome, 1)
	told := func(a Asked) {
		if a.Over() {
			got <- outcome{a.Grant, a.Err}
		}
	}
	if _, err := n.d.Ask([]locking.Scope{s}, 10*time.Second, told); err != nil {
		n.t.Fatal(err)
	}
	o := <-got
	if o.err != nil {
		n.t.Fatalf("ask for %v: %v", s, o.err)
	}
	return o.grant
}

// TestDelegationIsRecalled has one node work alone in the folder, and another one ask for some of it: what the first left behind goes along.
func TestDelegationIsRecalled(t *testing.T) {
	t.Parallel()
	a, b := start(t, 1, t.TempDir()), start(t, 2, t.TempDir())
	a.left = func(scopes []locking.Scope) (out []locking.Left) {
		for _, s := range scopes {
			out = append(out, locking.Left{Scope: s, Version: "version 7"})
		}
		return out
	}
	connect(a, b)
	oneTable(t, a, b)
	g := a.ask(path("docs/x"))
	a.d.EndUse(path("docs/x"))
	if token, ok := a.d.Use(path("other/y")); !ok || token != g.Token {
		t.Fatalf("use of another path: got %v, %v; want it under the delegation of all", token, ok)
	}
	theirs := b.ask(path("docs/z")) // while a uses other/y
	if theirs.Token.Compare(g.Token) <= 0 {
		t.Errorf("token: got %v, want above %v", theirs.Token, g.Token)
	}
	if len(theirs.Left) == 0 || theirs.Left[0].Version != "version 7" {
		t.Errorf("left behind: got %+v, want version 7", theirs.Left)
	}
	if _, ok := a.d.Use(path("docs/z")); ok {
		t.Error("a still uses what it has given up")
	}
	if !a.d.Check(path("other/y"), g.Token) {
		t.Error("a has lost what nobody asked for")
	}
	a.d.EndUse(path("other/y"))
}

func TestForcedUnlockFencesTheHolder(t *testing.T) {
	t.Parallel()
	a, b := start(t, 1, t.TempDir()), start(t, 2, t.TempDir())
	connect(a, b)
	oneTable(t, a, b)
	l := a.mustLock(name("x"), 0)
	claims, err := b.d.Claims(context.Background(), name("x"))
	if err != nil || len(claims) != 1 {
		t.Fatalf("claims: got %v and %v, want one", claims, err)
	}
	if err := b.d.Force(claims[0], "b"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-l.Ended.Done:
	case <-time.After(20 * time.Second):
		t.Fatal("the holder is not told")
	}
	if next := b.mustLock(name("x"), 10*time.Second); next.Grant.Token.Compare(l.Grant.Token) <= 0 {
		t.Errorf("token: got %v, want above %v", next.Grant.Token, l.Grant.Token)
	}
}

// TestDeadHolderLosesItsLocks kills the node that holds a lock and does not lead.
func TestDeadHolderLosesItsLocks(t *testing.T) {
	t.Parallel()
	a, b := start(t, 1, t.TempDir()), start(t, 2, t.TempDir())
	cut := connect(a, b)
	leader := oneTable(t, a, b)
	other := a
	if leader == a {
		other = b
	}
	other.mustLock(name("x"), 0)
	cut()
	leader.mustLock(name("x"), 20*time.Second)
}

// TestThreeVote kills the leader of three nodes: the other two go on, and so do locks that are bound to no session.
func TestThreeVote(t *testing.T) {
	t.Parallel()
	var nodes []*node
	for i := range 3 {
		n := &node{t: t, id: locking.NodeID{byte(i + 1)}, dir: t.TempDir(), long: locking.MaxLength} // an election may take longer than a short session
		n.run()
		nodes = append(nodes, n)
	}
	for i := range nodes {
		connect(nodes[i], nodes[(i+1)%3])
	}
	oneTable(t, nodes...)
	until(t, "three voters", func() bool { return len(nodes[0].d.Status().Voters) == 3 || len(nodes[1].d.Status().Voters) == 3 })
	leader := oneTable(t, nodes...)
	var rest []*node
	for _, n := range nodes {
		if n != leader {
			rest = append(rest, n)
		}
	}
	if g := leader.d.Status().Generation; g > 2*uint64(len(nodes)) { // each table that another met raised it, and no more than that
		t.Errorf("three tables became one of generation %d", g)
	}
	l := rest[0].mustLock(name("x"), 0)
	leader.kill()
	oneTable(t, rest...)
	var refused *RefusedError
	if _, err := rest[1].lock(name("x"), 0); !errors.As(err, &refused) || refused.Reason != locking.Taken {
		t.Errorf("lock that is held: got %v, want that it is taken", err)
	}
	rest[0].unlock(l, name("x"))
	if next := rest[1].mustLock(name("x"), 10*time.Second); next.Grant.Token.Compare(l.Grant.Token) <= 0 {
		t.Errorf("token: got %v, want above %v", next.Grant.Token, l.Grant.Token)
	}
}

// TestMessagesAreCarried has a node that is connected with the leader through another alone: it has locks like all, is asked for what it has, and
// is told who has what.
func TestMessagesAreCarried(t *testing.T) {
	t.Parallel()
	a, b, c := start(t, 1, t.TempDir()), start(t, 2, t.TempDir()), start(t, 3, t.TempDir())
	connect(a, b)
	leader, between := oneTable(t, a, b), a
	if leader == a {
		between = b
	}
	connect(between, c)
	until(t, "the third has a session", func() bool {
		s := c.d.Status()
		return s.Sure && s.Table == leader.d.Status().Table && s.Leads == (locking.NodeID{}) && s.Through == between.id
	})
	l := c.mustLock(name("x"), time.Second)
	var refused *RefusedError
	if _, err := leader.lock(name("x"), 0); !errors.As(err, &refused) || refused.Blocker == nil || refused.Blocker.Session.Node != c.id {
		t.Errorf("what the third holds: got %v, want that it is taken by that", err)
	}
	claims, err := c.d.Claims(t.Context(), name("x"))
	if err != nil || len(claims) != 1 || claims[0].Request != l.ID {
		t.Errorf("list: got %+v, %v", claims, err)
	}
	c.unlock(l, name("x"))
	leader.mustLock(name("x"), 10*time.Second)
	c.delegated(path("d/f"))
	leader.delegated(path("d/f"))
	c.delegated(path("d/f"))
}

// delegated has a delegation, uses it, and leaves it.
func (n *node) delegated(s locking.Scope) {
	n.t.Helper()
	got := make(chan Asked, 1)
	if _, err := n.d.Ask([]locking.Scope{s}, 20*time.Second, func(a Asked) {
		if a.Over() {
			got <- a
		}
	}); err != nil {
		n.t.Fatal(err)
	}
	if a := <-got; a.Err != nil {
		n.t.Fatalf("delegation over %v: %v", s, a.Err)
	}
	n.d.EndUse(s)
}

func TestSideWithoutMajorityGrantsNothing(t *testing.T) {
	t.Parallel()
	a, b := start(t, 1, t.TempDir()), start(t, 2, t.TempDir())
	cut := connect(a, b)
	leader := oneTable(t, a, b)
	cut()
	client := a
	if leader == a {
		client = b
	}
	if _, err := client.lock(name("x"), 0); !errors.Is(err, ErrNoLeader) {
		t.Errorf("lock without the voter: got %v, want %v", err, ErrNoLeader)
	}
	if _, err := client.d.Claims(context.Background(), name("")); !errors.Is(err, ErrNoLeader) {
		t.Errorf("list without the voter: got %v, want %v", err, ErrNoLeader)
	}
	leader.mustLock(name("x"), 0)
}

// notes are those of one node.
type notes struct {
	mu   sync.Mutex
	list []Note
}

func (s *notes) add(n Note) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, n)
}

// want waits until the node has noted just these, each as kind, how many scopes, the first of them, and how it ended.
func (s *notes) want(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	until(t, "notes", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		got = nil
		for _, n := range s.list {
			line := [...]string{"granted", "recalled", "ended"}[n.What]
			line += fmt.Sprintf(" %d %s", len(n.Scopes), n.Scopes[0].Path)
			if n.Token == (locking.Token{}) {
				line += " without a token"
			}
			switch n.What {
			case NoteRecalled:
				line += fmt.Sprintf(" of it %v", n.Given)
			case NoteEnded:
				line += " " + n.Cause.String() + n.By
			}
			got = append(got, line)
		}
		return len(got) >= len(want)
	})
	if !slices.Equal(got, want) {
		t.Errorf("notes: got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestNotes has a node note what becomes of its locks, once each: a delegation over a thousand paths is one, and its uses are none.
func TestNotes(t *testing.T) {
	t.Parallel()
	a, b := start(t, 1, t.TempDir()), start(t, 2, t.TempDir())
	connect(a, b)
	oneTable(t, a, b)
	a.unlock(a.mustLock(name("x"), 0), name("x"))
	b.mustLock(name("y"), 0)
	claims, err := a.d.Claims(context.Background(), name("y"))
	if err != nil || len(claims) != 1 {
		t.Fatalf("claims: got %v and %v, want one", claims, err)
	}
	if err := a.d.Force(claims[0], "a: no reason"); err != nil {
		t.Fatal(err)
	}
	b.seen.want(t, "granted 1 y", "ended 1 y forceda: no reason")
	if _, err := a.d.Lock(context.Background(), &locking.Acquire{Scopes: []locking.Scope{name("z")}, TTL: locking.MinTTL}); err != nil {
		t.Fatal(err)
	}
	a.seen.want(t, "granted 1 x", "ended 1 x released", "granted 1 z", "ended 1 z expired")

	first := a.ask(path("d/first"))
	a.d.EndUse(path("d/first"))
	for i := range 1000 {
		p := path(fmt.Sprintf("d/%d", i))
		if token, ok := a.d.Use(p); !ok || token != first.Token {
			t.Fatalf("use of %v: got %v, %v", p, token, ok)
		}
		a.d.EndUse(p)
	}
	b.ask(path("d/5"))
	a.letGo()
	a.seen.want(t, "granted 1 x", "ended 1 x released", "granted 1 z", "ended 1 z expired", "granted 1 ", "recalled 1  of it [d/]", "ended 1  closed")
	b.seen.want(t, "granted 1 y", "ended 1 y forceda: no reason", "granted 1 d")
}

// TestTakeOver has the survivor of two carry on by hand; the other follows when it is back.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	a, b := start(t, 1, t.TempDir()), start(t, 2, t.TempDir())
	cut := connect(a, b)
	leader := oneTable(t, a, b)
	client := a
	if leader == a {
		client = b
	}
	l := leader.mustLock(name("x"), 0)
	cut()
	if err := client.d.TakeOver(); err != nil {
		t.Fatal(err)
	}
	oneTable(t, client)
	mine := client.mustLock(name("x"), 10*time.Second)
	if mine.Grant.Token.Generation <= l.Grant.Token.Generation {
		t.Errorf("generation: got %d, want above %d", mine.Grant.Token.Generation, l.Grant.Token.Generation)
	}
	connect(a, b)
	oneTable(t, a, b)
	if got := leader.d.Status().Leads; got != client.id {
		t.Errorf("leader: got %x, want the one that took over", got[:1])
	}
	select {
	case <-l.Ended.Done:
	case <-time.After(20 * time.Second):
		t.Error("the lock of the table that was given up is not lost")
	}
}
