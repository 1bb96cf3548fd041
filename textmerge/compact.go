package textmerge

// A run of changed lines can often be moved: "b c" with "c b" before it is as well "c b" with "b c" behind. compact moves
// each run in the gaps own of a text with these lines: down as far as it goes, so that runs that were found apart meet and
// become one, and then back up to the nearest gap where the other text has changed lines, too, if it came by one: what was
// replaced then stands beside what it was replaced by.
func compact(lines []line, own, other []int) {
	start := 0
	for at := 0; at < len(own); at++ {
		if own[at] > 0 {
			r := run{lines, own, at, start, own[at]}
			r.settle(other)
			at, start = r.gap, r.start
		}
		start += own[at] + 1
	}
}

// A run is the changed lines in a gap. While it moves, gaps says that they are where they were, or nowhere.
type run struct {
	lines []line
	gaps  []int
	gap   int // in which it is
	start int // its first line
	size  int
}

// settle moves the run to where it is to be.
func (r *run) settle(other []int) {
	r.gaps[r.gap] = 0
	top := r.gap
	for before := -1; before != r.size; { // what was taken up may let it move on
		before = r.size
		for r.up() {
		}
		top = r.gap
		for r.down() {
		}
	}
	for at := r.gap; at >= top; at-- {
		if other[at] > 0 {
			r.start -= r.gap - at
			r.gap = at
			break
		}
	}
	r.gaps[r.gap] = r.size
}

// up moves the run by a line, and takes up the run that it meets, if it can be moved.
func (r *run) up() bool {
	if r.gap == 0 || r.lines[r.start-1] != r.lines[r.start+r.size-1] {
		return false
	}
	r.gap--
	met := r.gaps[r.gap]
	r.gaps[r.gap] = 0
	r.start, r.size = r.start-1-met, r.size+met
	return true
}

// down is up in the other direction.
func (r *run) down() bool {
	if r.gap == len(r.gaps)-1 || r.lines[r.start] != r.lines[r.start+r.size] {
		return false
	}
	r.gap++
	r.start, r.size = r.start+1, r.size+r.gaps[r.gap]
	r.gaps[r.gap] = 0
	return true
}
