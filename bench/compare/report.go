package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// A report collects figures, several for each row and tool, and prints their medians.
type report struct {
	tools, rows []string // in the order in which they first came
	figures     map[[2]string][]float64
	failures    []string
}

func newReport() *report { return &report{figures: make(map[[2]string][]float64)} }

// add notes one figure; the row names its unit.
func (r *report) add(row, tool string, figure float64) {
	r.column(tool)
	if !slices.Contains(r.rows, row) {
		r.rows = append(r.rows, row)
	}
	r.figures[[2]string{row, tool}] = append(r.figures[[2]string{row, tool}], figure)
}

// column makes sure that the tool has a column, be it an empty one.
func (r *report) column(tool string) {
	if !slices.Contains(r.tools, tool) {
		r.tools = append(r.tools, tool)
	}
}

// fail notes what a tool did not do.
func (r *report) fail(tool, workload string, err error) {
	r.column(tool)
	r.failures = append(r.failures, fmt.Sprintf("%s, %s: %v", tool, workload, err))
}

// write prints a table in Markdown, and below it what failed.
func (r *report) write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "| | %s |\n|---|%s\n", strings.Join(r.tools, " | "), strings.Repeat("---:|", len(r.tools)))
	for _, row := range r.rows {
		cells := []string{row}
		for _, tool := range r.tools {
			cell := "-"
			if figures := r.figures[[2]string{row, tool}]; len(figures) > 0 {
				cell = format(median(figures))
			}
			cells = append(cells, cell)
		}
		fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | "))
	}
	for i, f := range r.failures {
		if i == 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "- Failed: %s\n", strings.Join(strings.Fields(f), " "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// format writes a figure with three digits that matter, and no fewer than its integer part has.
func format(f float64) string {
	if f == 0 {
		return "0"
	}
	return fmt.Sprintf("%.*f", min(3, max(0, 2-int(math.Floor(math.Log10(math.Abs(f)))))), f)
}

// median gives the middle one, or the mean of the two in the middle. There must be one at least.
func median(figures []float64) float64 {
	s := slices.Sorted(slices.Values(figures))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// percentile gives the smallest figure that at least p of 100 do not exceed. There must be one at least.
func percentile(figures []float64, p int) float64 {
	s := slices.Sorted(slices.Values(figures))
	return s[max(0, (len(s)*p+99)/100-1)]
}
