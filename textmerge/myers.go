package textmerge

import (
	"math"
	"slices"
)

// Two texts are a grid: x counts the lines of the one, y those of the other. Who walks from the upper left corner to the
// lower right one steps to the right for a line that is only in the first, steps down for one that is only in the second,
// and slides along a diagonal, for nothing, where both have the same line. A diagonal is named by x - y. The walk with the
// fewest steps is the smallest difference.
//
// Walks begin at both corners and go on in turn, one for each diagonal, of which only the one that has come farthest is
// kept. Where two of them meet, the walk is cut in two, and each half is looked for in the same way.

// Bounds on the effort, beyond which a walk that is good enough is taken for the one with the fewest steps.
const (
	longSlide   = 20  // lines: such a slide tells that a walk is on the right way
	patience    = 256 // steps before such a walk is taken
	linesAStep  = 4   // that it must have come by then
	fewestSteps = 256 // before the farthest walk is taken, whatever it is
)

// A box is a part of the grid.
type box struct{ x, y span }

// A turn is a point through which the walk is to lead, and for the way before and behind it whether it is known to take
// few steps, so that those are to be found exactly.
type turn struct {
	x, y          int
	before, after bool
}

type searcher struct {
	a, b     thinnedText
	onward   front // from the upper left corner
	backward front // from the lower right one
	steps    int   // after which the farthest walk is taken
}

// search marks the lines as changed that are in one of the texts alone.
func search(a, b thinnedText) {
	diagonals := len(a.lines) + len(b.lines) + 3
	s := searcher{
		a: a, b: b, steps: max(bogusRoot(diagonals), fewestSteps),
		onward:   front{ends: make([]int, diagonals), zero: len(b.lines) + 1},
		backward: front{ends: make([]int, diagonals), zero: len(b.lines) + 1},
	}
	s.walk(box{span{0, len(a.lines)}, span{0, len(b.lines)}}, false)
}

// walk marks what is changed in a part of the texts.
func (s *searcher) walk(in box, exact bool) {
	for {
		slid := s.slide(in.x.start, in.y.start, in)
		in.x.start, in.y.start = in.x.start+slid, in.y.start+slid
		slid = s.slideBack(in.x.end, in.y.end, in)
		in.x.end, in.y.end = in.x.end-slid, in.y.end-slid
		if in.x.size() == 0 || in.y.size() == 0 {
			s.a.mark(in.x)
			s.b.mark(in.y)
			return
		}
		t := s.middle(in, exact)
		s.walk(box{span{in.x.start, t.x}, span{in.y.start, t.y}}, t.before)
		in, exact = box{span{t.x, in.x.end}, span{t.y, in.y.end}}, t.after
	}
}

// mark marks lines as changed.
func (t thinnedText) mark(lines span) {
	for _, at := range t.at[lines.start:lines.end] {
		t.changed[at] = true
	}
}

// slide tells how many lines are the same from a point on, and slideBack how many up to it.
func (s *searcher) slide(x, y int, in box) (n int) {
	for x+n < in.x.end && y+n < in.y.end && s.a.lines[x+n] == s.b.lines[y+n] {
		n++
	}
	return n
}

func (s *searcher) slideBack(x, y int, in box) (n int) {
	for x-n > in.x.start && y-n > in.y.start && s.a.lines[x-n-1] == s.b.lines[y-n-1] {
		n++
	}
	return n
}

// middle finds a point to cut a box at. Without exact it gives up after a while, and takes the best that it knows.
func (s *searcher) middle(in box, exact bool) turn {
	s.onward.begin(in.x.start, in.y.start)
	s.backward.begin(in.x.end, in.y.end)
	odd := (in.x.size()-in.y.size())%2 != 0 // then they meet when the onward ones have taken a step more
	for step := 1; ; step++ {
		met, far := s.goOn(in, odd)
		if met != nil {
			return *met
		}
		met, farBack := s.goBack(in, !odd)
		if met != nil {
			return *met
		}
		if exact {
			continue
		}
		if (far || farBack) && step > patience {
			if t := s.promising(in, step); t != nil {
				return *t
			}
		}
		if step >= s.steps {
			return s.farthest(in)
		}
	}
}

// goOn takes each onward walk a step on. It returns where one meets a backward walk, if that is asked for, and whether
// one has slid far.
func (s *searcher) goOn(in box, meet bool) (met *turn, far bool) {
	f, other := &s.onward, &s.backward
	f.widen(in, -1)
	for d := f.high; d >= f.low; d -= 2 {
		x := max(f.at(d-1)+1, f.at(d+1))
		slid := s.slide(x, x-d, in)
		x += slid
		far = far || slid > longSlide
		f.set(d, x)
		if meet && other.low <= d && d <= other.high && other.at(d) <= x {
			return &turn{x, x - d, true, true}, far
		}
	}
	return nil, far
}

// goBack is goOn for the backward walks.
func (s *searcher) goBack(in box, meet bool) (met *turn, far bool) {
	f, other := &s.backward, &s.onward
	f.widen(in, math.MaxInt)
	for d := f.high; d >= f.low; d -= 2 {
		x := min(f.at(d-1), f.at(d+1)-1)
		slid := s.slideBack(x, x-d, in)
		x -= slid
		far = far || slid > longSlide
		f.set(d, x)
		if meet && other.low <= d && d <= other.high && x <= other.at(d) {
			return &turn{x, x - d, true, true}, far
		}
	}
	return nil, far
}

// promising returns where the walk is that has come farthest for its steps, less how far it is off its first diagonal, and
// has just slid far; the onward ones first. nil: there is none.
func (s *searcher) promising(in box, step int) (found *turn) {
	best := linesAStep * step
	for d := s.onward.high; d >= s.onward.low; d -= 2 {
		x, y := s.onward.at(d), s.onward.at(d)-d
		if x < in.x.start+longSlide || x >= in.x.end || y < in.y.start+longSlide || y >= in.y.end {
			continue
		}
		come := (x - in.x.start) + (y - in.y.start) - distance(d, in.x.start-in.y.start)
		if come > best && slices.Equal(s.a.lines[x-longSlide:x], s.b.lines[y-longSlide:y]) {
			best, found = come, &turn{x, y, true, false}
		}
	}
	if found != nil {
		return found
	}
	for d := s.backward.high; d >= s.backward.low; d -= 2 {
		x, y := s.backward.at(d), s.backward.at(d)-d
		if x <= in.x.start || x > in.x.end-longSlide || y <= in.y.start || y > in.y.end-longSlide {
			continue
		}
		come := (in.x.end - x) + (in.y.end - y) - distance(d, in.x.end-in.y.end)
		if come > best && slices.Equal(s.a.lines[x:x+longSlide], s.b.lines[y:y+longSlide]) {
			best, found = come, &turn{x, y, false, true}
		}
	}
	return found
}

func distance(a, b int) int { return max(a-b, b-a) }

// farthest returns where the walk is that has come farthest, of those from both corners.
func (s *searcher) farthest(in box) turn {
	onward, back := turn{x: -1, before: true}, turn{x: math.MaxInt, after: true}
	most, least := -1, math.MaxInt
	for d := s.onward.high; d >= s.onward.low; d -= 2 {
		x := min(s.onward.at(d), in.x.end, in.y.end+d)
		if y := x - d; x+y > most {
			most, onward.x, onward.y = x+y, x, y
		}
	}
	for d := s.backward.high; d >= s.backward.low; d -= 2 {
		x := max(s.backward.at(d), in.x.start, in.y.start+d)
		if y := x - d; x+y < least {
			least, back.x, back.y = x+y, x, y
		}
	}
	if in.x.end+in.y.end-least < most-in.x.start-in.y.start {
		return onward
	}
	return back
}

// A front is the walks from one corner: for every other diagonal of a range, where the one on it has come.
type front struct {
	ends      []int // x, by diagonal
	zero      int   // where diagonal 0 is in ends
	low, high int
}

func (f *front) at(diagonal int) int { return f.ends[f.zero+diagonal] }
func (f *front) set(diagonal, x int) { f.ends[f.zero+diagonal] = x }
func (f *front) begin(x, y int)      { f.low, f.high = x-y, x-y; f.set(x-y, x) }
func (f *front) widen(in box, beyond int) {
	if f.low > in.x.start-in.y.end {
		f.low--
		f.set(f.low-1, beyond)
	} else {
		f.low++ // at the edge there is nothing to be had: the diagonals of this step are those between the last ones
	}
	if f.high < in.x.end-in.y.start {
		f.high++
		f.set(f.high+1, beyond)
	} else {
		f.high--
	}
}
