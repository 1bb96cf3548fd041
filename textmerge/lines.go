package textmerge

import (
	"bytes"
	"slices"
)

// A line is the number that a numbering gives to all lines of the same bytes. Its end belongs to it: so a last line
// without one is another than the same with one.
type line int32

// A numbering gives each different line a number.
type numbering map[string]line

// A text is its bytes, and what they are as lines.
type text struct {
	all   []byte
	lines []line
	ends  []int // where each line ends in all
}

// split makes lines of bytes.
func (n numbering) split(all []byte) text {
	count := bytes.Count(all, []byte{'\n'}) + 1
	t := text{all: all, lines: make([]line, 0, count), ends: make([]int, 0, count)}
	for at := 0; at < len(all); {
		end := len(all)
		if i := bytes.IndexByte(all[at:], '\n'); i >= 0 {
			end = at + i + 1
		}
		number, known := n[string(all[at:end])]
		if !known {
			number = line(len(n))
			n[string(all[at:end])] = number
		}
		t.lines, t.ends = append(t.lines, number), append(t.ends, end)
		at = end
	}
	return t
}

// bytes returns the lines from start to before end.
func (t text) bytes(start, end int) []byte { return t.all[t.offset(start):t.offset(end)] }

// offset returns where in the bytes a line begins.
func (t text) offset(line int) int {
	if line == 0 {
		return 0
	}
	return t.ends[line-1]
}

// equal tells whether the lines s of t are the lines r of u.
func (t text) equal(s span, u text, r span) bool {
	return slices.Equal(t.lines[s.start:s.end], u.lines[r.start:r.end])
}

// A span is the lines from start to before end.
type span struct{ start, end int }

func (s span) size() int { return s.end - s.start }
