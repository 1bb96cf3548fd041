package main

import (
	"errors"
	"strings"
	"testing"
)

func TestMedianAndPercentile(t *testing.T) {
	for _, row := range []struct {
		figures          []float64
		median, p50, p95 float64
	}{
		{[]float64{7}, 7, 7, 7},
		{[]float64{3, 1, 2}, 2, 2, 3},
		{[]float64{4, 1, 3, 2}, 2.5, 2, 4},
		{[]float64{20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1}, 10.5, 10, 19},
	} {
		if got := median(row.figures); got != row.median {
			t.Errorf("median(%v) = %v, want %v", row.figures, got, row.median)
		}
		if p50, p95 := percentile(row.figures, 50), percentile(row.figures, 95); p50 != row.p50 || p95 != row.p95 {
			t.Errorf("percentiles of %v = %v, %v, want %v, %v", row.figures, p50, p95, row.p50, row.p95)
		}
	}
}

func TestFormat(t *testing.T) {
	for figure, want := range map[float64]string{
		0: "0", 0.0126: "0.013", 0.5: "0.500", 3.14159: "3.14", 31.4159: "31.4", 314.159: "314", 31415.9: "31416", 0.00001: "0.000",
	} {
		if got := format(figure); got != want {
			t.Errorf("format(%v) = %q, want %q", figure, got, want)
		}
	}
}

func TestReport(t *testing.T) {
	r := newReport()
	r.add("one, s", "x", 1)
	r.column("y")
	r.add("two, s", "y", 5)
	r.add("one, s", "x", 3)
	r.fail("y", "one", errors.New("broke\nin two"))
	var b strings.Builder
	if err := r.write(&b); err != nil {
		t.Fatal(err)
	}
	want := `| | x | y |
|---|---:|---:|
| one, s | 2.00 | - |
| two, s | - | 5.00 |

- Failed: y, one: broke in two
`
	if b.String() != want {
		t.Errorf("got:\n%swant:\n%s", b.String(), want)
	}
}
