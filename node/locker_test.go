package node

import (
	"context"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"resonate/control"
	"resonate/control/locktest"
	"resonate/locking"
	"resonate/locking/desk"
	"resonate/members"
	"resonate/merkle"
)

// newTestLocker runs a desk, and returns its locks.
func newTestLocker(t *testing.T, number byte) *Locker {
	t.Helper()
	id := locking.NodeID{number}
	d, err := desk.Open(desk.Config{Dir: t.TempDir(), Node: id, Host: "here", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return &Locker{
		desk: d, self: id, host: "here", log: slog.New(slog.DiscardHandler), members: func() map[merkle.NodeID]members.Member { return nil },
		note: func(*locking.Claim, string) {}, own: make(map[locking.RequestID]*ownLock),
	}
}

// ready waits until locks are granted.
func (l *Locker) ready(t *testing.T, leader locking.NodeID) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if s := l.desk.Status(); s.Sure && (s.Leads == leader || leader == (locking.NodeID{}) && s.Leads != leader) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("no locks within 20 s: %+v", l.desk.Status())
		}
	}
}

func TestLocksOfOneNode(t *testing.T) {
	l := newTestLocker(t, 1)
	l.ready(t, l.self)
	locktest.Test(t, func(*testing.T) control.Locker { return l })
}

// TestLocksOfAClient has a node that does not lead keep the same contract.
func TestLocksOfAClient(t *testing.T) {
	_, client := leaderAndClient(t)
	locktest.Test(t, func(*testing.T) control.Locker { return client })
}

// TestLocksOfAnyNode has two nodes keep the contract together, of which the one is asked and then the other.
func TestLocksOfAnyNode(t *testing.T) {
	leader, client := leaderAndClient(t)
	locktest.Test(t, func(*testing.T) control.Locker { return &anyNode{nodes: [2]*Locker{client, leader}} })
}

// anyNode has one of two nodes answer, and then the other.
type anyNode struct {
	nodes [2]*Locker
	calls atomic.Int32
}

func (a *anyNode) next() *Locker { return a.nodes[a.calls.Add(1)%2] }

func (a *anyNode) Lock(ctx context.Context, q control.LockRequest) (control.Lock, error) {
	l, err := a.next().Lock(ctx, q)
	l.Mine = err == nil
	return l, err
}

func (a *anyNode) Renew(ctx context.Context, id string, ttl time.Duration) (control.Lock, error) {
	return a.next().Renew(ctx, id, ttl)
}

func (a *anyNode) Unlock(ctx context.Context, id string) error { return a.next().Unlock(ctx, id) }

func (a *anyNode) Force(ctx context.Context, r control.Resource, why string) ([]control.Lock, error) {
	return a.next().Force(ctx, r, why)
}

func (a *anyNode) Watch(ctx context.Context, id string) error { return a.next().Watch(ctx, id) }

// Locks takes all for its own: they were asked for through one of the two.
func (a *anyNode) Locks(ctx context.Context, r control.Resource) ([]control.Lock, error) {
	list, err := a.next().Locks(ctx, r)
	for i := range list {
		list[i].Mine = true
	}
	return list, err
}

func (a *anyNode) Cached(ctx context.Context, path string, times int) ([]time.Duration, error) {
	return a.next().Cached(ctx, path, times)
}

func (a *anyNode) Quorum(ctx context.Context) (control.Quorum, error) { return a.next().Quorum(ctx) }
func (a *anyNode) TakeOver(ctx context.Context) (control.Quorum, error) {
	return a.next().TakeOver(ctx)
}

// leaderAndClient are two nodes with one table.
func leaderAndClient(t *testing.T) (leader, client *Locker) {
	t.Helper()
	a, b := newTestLocker(t, 1), newTestLocker(t, 2)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	t.Cleanup(func() { cancel(); wg.Wait() })
	to := func(from, to *Locker) desk.Opener {
		return func(_ context.Context, kind desk.Kind) (io.ReadWriteCloser, error) {
			near, far := net.Pipe()
			wg.Go(func() {
				if to.desk.Accept(ctx, from.self, kind, far) != nil {
					far.Close()
				}
			})
			context.AfterFunc(ctx, func() { near.Close(); far.Close() })
			return near, nil
		}
	}
	wg.Go(func() { a.desk.Meet(ctx, b.self, to(a, b)) })
	wg.Go(func() { b.desk.Meet(ctx, a.self, to(b, a)) })
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		x, y := a.desk.Status(), b.desk.Status()
		if x.Table == y.Table && x.Leads == y.Leads && x.Sure && y.Sure && x.Leads != (locking.NodeID{}) {
			if x.Leads == a.self {
				return a, b
			}
			return b, a
		}
		if time.Now().After(end) {
			t.Fatalf("no table in common within 20 s: %+v, %+v", x, y)
		}
	}
}
