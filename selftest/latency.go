package selftest

import (
	"slices"
	"time"
)

// Latency sums up how long something took, each time that it was done. Times are in milliseconds.
type Latency struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50_ms"`
	P95   float64 `json:"p95_ms"`
	P99   float64 `json:"p99_ms"`
}

// latencyOf sums up what took so long. It sorts took.
func latencyOf(took []time.Duration) Latency {
	if len(took) == 0 {
		return Latency{}
	}
	slices.Sort(took)
	return Latency{Count: len(took), P50: millis(percentile(took, 50)), P95: millis(percentile(took, 95)), P99: millis(percentile(took, 99))}
}

// percentile returns the shortest time that at least p of 100 do not exceed. The times are sorted, and at least one.
func percentile(sorted []time.Duration, p int) time.Duration {
	return sorted[(len(sorted)*p+99)/100-1]
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
