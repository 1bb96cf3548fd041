package node

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// BenchmarkEdit measures from a write in one machine's folder to its being visible in the other's, without locks and with them; and where the
// machines edit by turns, so that each change needs a lock that the other has. Median and 95th percentile are told, in microseconds.
func BenchmarkEdit(b *testing.B) {
	b.Run("lockless", func(b *testing.B) { benchmarkEdit(b, true, false) })
	b.Run("locks", func(b *testing.B) { benchmarkEdit(b, false, false) })
	b.Run("turns", func(b *testing.B) { benchmarkEdit(b, false, true) })
}

func benchmarkEdit(b *testing.B, lockless, turns bool) {
	one, two := prepareMachine(b, "a", map[string]string{"f": "base"}), prepareMachine(b, "b", nil)
	one.lockless, two.lockless = lockless, lockless
	one.start()
	two.start()
	two.joins(one)
	equal(b, one, two)
	if !lockless {
		lockable(b, one, two)
	}
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		from, to := one, two
		if turns && i%2 == 1 {
			from, to = two, one
		}
		want := fmt.Sprint(i)
		begun := time.Now()
		from.write("f", want)
		for at := filepath.Join(to.dir, "f"); ; time.Sleep(50 * time.Microsecond) {
			if got, _ := os.ReadFile(at); string(got) == want {
				break
			}
		}
		took = append(took, time.Since(begun))
		b.StopTimer()
		time.Sleep(20 * time.Millisecond) // a person is slower than that, and roots are told meanwhile
		b.StartTimer()
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*95/100].Microseconds()), "p95-µs")
}
