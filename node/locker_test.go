package node

import (
	"context"
	"io"
	"log/slog"
	"net"
	"sync"
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
		desk: d, self: id, host: "here", members: func() map[merkle.NodeID]members.Member { return nil }, note: func(*locking.Claim, string) {}, own: make(map[locking.RequestID]*ownLock),
	}
}

// ready waits until locks are granted.
func (l *Locker) ready(t *testing.T, leader locking.NodeID) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
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
	client := a
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		x, y := a.desk.Status(), b.desk.Status()
		if x.Table == y.Table && x.Leads == y.Leads && x.Sure && y.Sure && x.Leads != (locking.NodeID{}) {
			if x.Leads == a.self {
				client = b
			}
			break
		}
		if time.Now().After(end) {
			t.Fatalf("no table in common within 20 s: %+v, %+v", x, y)
		}
	}
	locktest.Test(t, func(*testing.T) control.Locker { return client })
}
