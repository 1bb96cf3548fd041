package quorum

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

var benchNames = []NodeID{"a", "b", "c", "d", "e"}

// BenchmarkPropose is one command after another; files and pipes of one machine.
func BenchmarkPropose(b *testing.B) {
	for _, nodes := range []int{1, 2, 3} {
		b.Run(fmt.Sprint("nodes=", nodes), func(b *testing.B) {
			n := benchNet(b, nodes)
			l := n.cluster(benchNames[:nodes]...)
			command := make([]byte, 200)
			b.ResetTimer()
			for range b.N {
				propose(b, l, string(command))
			}
		})
	}
}

// BenchmarkProposeAtOnce is 64 proposers at once.
func BenchmarkProposeAtOnce(b *testing.B) {
	n := benchNet(b, 3)
	l := n.cluster(benchNames[:3]...)
	command := make([]byte, 200)
	b.SetParallelism(32)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, _, err := l.Propose(context.Background(), command); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	n := benchNet(b, 3)
	l := n.cluster(benchNames[:3]...)
	b.ResetTimer()
	for range b.N {
		if err := l.Verify(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkIdle tells what three nodes that do nothing cost, in CPU and on the wire (without SSH and TCP).
func BenchmarkIdle(b *testing.B) {
	n := benchNet(b, 3)
	n.cluster(benchNames[:3]...)
	pause(n.pace.calm + n.pace.idle)
	for range b.N {
		const span = 20 * time.Second
		n.mu.Lock()
		bytes := n.bytes
		n.mu.Unlock()
		before := cpu()
		pause(span)
		used := cpu() - before
		n.mu.Lock()
		bytes = n.bytes - bytes
		n.mu.Unlock()
		b.ReportMetric(used.Seconds()*30/span.Seconds(), "cpu-s/30s")
		b.ReportMetric(float64(bytes)/span.Seconds(), "bytes/s")
	}
}

// BenchmarkFailover tells how long it takes from the death of a leader to the next that leads.
func BenchmarkFailover(b *testing.B) {
	n := benchNet(b, 3)
	l := n.cluster(benchNames[:3]...)
	for range b.N {
		b.StopTimer()
		propose(b, l, "x")
		b.StartTimer()
		dead := l.id
		n.mu.Lock()
		var others []NodeID
		for name := range n.nodes {
			if name != dead {
				others = append(others, name)
			}
		}
		n.mu.Unlock()
		n.kill(dead)
		l = n.leader(others...)
		b.StopTimer()
		n.open(dead)
		all := l.machine.all()
		n.agree(all, benchNames[:3]...)
		b.StartTimer()
	}
}

func benchNet(b *testing.B, nodes int) *testNet {
	n := newNet(b)
	n.pace = lan
	dir := b.TempDir()
	for _, name := range benchNames[:nodes] {
		n.nodes[name] = &testNode{net: n, id: name, dir: filepath.Join(dir, string(name)), machine: new(ledger)}
		n.open(name)
		b.Cleanup(func() { n.kill(name) })
	}
	return n
}

func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// What a new log takes of the disk.
func TestALogIsSmall(t *testing.T) {
	t.Parallel()
	n := newNet(t, "a")
	a := n.cluster("a")
	propose(t, a, "one")
	var files, blocks int64
	filepath.WalkDir(a.dir, func(path string, d fs.DirEntry, err error) error {
		if info, e := os.Lstat(path); err == nil && e == nil {
			files += info.Size()
			blocks += info.Sys().(*syscall.Stat_t).Blocks * 512
			t.Logf("%s: %d bytes", path[len(a.dir):], info.Size())
		}
		return nil
	})
	t.Logf("%d bytes in files, %d on disk", files, blocks)
	if blocks > 4<<20 {
		t.Errorf("a new log takes %d bytes of the disk", blocks)
	}
}
