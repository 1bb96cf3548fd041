package desk

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"resonate/locking"
)

// benchDesks are three desks with one table, whose logs are on disk; each pair is joined by pipes. The first one leads.
func benchDesks(b *testing.B) []*Desk {
	b.Helper()
	dir := b.TempDir() // first: it is removed last
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	b.Cleanup(func() { stop(); wg.Wait() })
	desks := make([]*Desk, 3)
	for i := range desks {
		d, err := Open(Config{Dir: filepath.Join(dir, fmt.Sprint(i)), Node: locking.NodeID{byte(i + 1)}, Host: fmt.Sprint(i), Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			b.Fatal(err)
		}
		wg.Go(func() {
			if err := d.Run(ctx); err != nil {
				b.Error(err)
			}
		})
		desks[i] = d
	}
	for i, from := range desks {
		for j, to := range desks {
			if i == j {
				continue
			}
			open := func(_ context.Context, kind Kind) (io.ReadWriteCloser, error) {
				near, far := net.Pipe()
				wg.Go(func() {
					if to.Accept(ctx, from.c.Node, kind, far) != nil {
						far.Close()
					}
				})
				context.AfterFunc(ctx, func() { near.Close(); far.Close() })
				return near, nil
			}
			wg.Go(func() { from.Meet(ctx, to.c.Node, open) })
		}
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		voters, leader := 0, -1
		for i, d := range desks {
			if s := d.Status(); s.Sure && s.Leading {
				voters, leader = len(s.Voters), i
			}
		}
		if voters == len(desks) {
			desks[0], desks[leader] = desks[leader], desks[0]
			return desks
		}
		if time.Now().After(end) {
			b.Fatal("no table with three voters within a minute")
		}
	}
}

// BenchmarkUseOfADelegation is what an edit pays for its lock on a node that is alone in a directory.
func BenchmarkUseOfADelegation(b *testing.B) {
	d := benchDesks(b)[1]
	// A lock on the tree is used as a delegation is.
	if _, err := d.Lock(b.Context(), &locking.Acquire{Scopes: []locking.Scope{{Kind: locking.Tree, Path: "src"}}}); err != nil {
		b.Fatal(err)
	}
	other := locking.Scope{Kind: locking.OnePath, Path: "src/package/sub/other.go"}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := d.Use(other); !ok {
			b.Fatal("not usable")
		}
		d.EndUse(other)
	}
}

// BenchmarkTenThousandPaths locks 10,000 paths in one request at a node that does not lead. That they are let go is not counted.
func BenchmarkTenThousandPaths(b *testing.B) {
	d := benchDesks(b)[1]
	var scopes []locking.Scope
	for i := range 10000 {
		scopes = append(scopes, locking.Scope{Kind: locking.OnePath, Path: fmt.Sprintf("src/package%03d/file%02d.go", i/100, i%100)})
	}
	for b.Loop() {
		l, err := d.Lock(b.Context(), &locking.Acquire{Scopes: scopes})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if _, err := d.Free(b.Context(), l.ID, nil); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
