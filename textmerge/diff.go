package textmerge

// diff returns the edits that make b of a, in order; between any two of them there is a line that both have.
func (n numbering) diff(a, b text) []edit {
	first := 0
	for first < min(len(a.lines), len(b.lines)) && a.lines[first] == b.lines[first] {
		first++
	}
	last := 0
	for last < min(len(a.lines), len(b.lines))-first && a.lines[len(a.lines)-1-last] == b.lines[len(b.lines)-1-last] {
		last++
	}
	left := thinned(a.lines, n.count(b.lines), span{first, len(a.lines) - last})
	right := thinned(b.lines, n.count(a.lines), span{first, len(b.lines) - last})
	search(left, right)
	x, y := gaps(left.changed), gaps(right.changed)
	compact(a.lines, x, y)
	compact(b.lines, y, x)
	return edits(x, y)
}

// count returns how often each line is among some.
func (n numbering) count(lines []line) []int32 {
	counts := make([]int32, len(n))
	for _, l := range lines {
		counts[l]++
	}
	return counts
}

// gaps returns how many changed lines stand before the first line that is not, before the second, and so on, and behind
// the last. Two texts have as many gaps: the lines that are not changed are those that both have.
func gaps(changed []bool) []int {
	sizes := []int{0}
	for _, c := range changed {
		if c {
			sizes[len(sizes)-1]++
		} else {
			sizes = append(sizes, 0)
		}
	}
	return sizes
}

// edits makes edits of the gaps of two texts.
func edits(a, b []int) []edit {
	var out []edit
	x, y := 0, 0 // the lines at which the gap begins
	for i := range a {
		if a[i] > 0 || b[i] > 0 {
			out = append(out, edit{span{x, x + a[i]}, span{y, y + b[i]}})
		}
		x, y = x+a[i]+1, y+b[i]+1
	}
	return out
}
