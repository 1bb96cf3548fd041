package textmerge

// thinnedText is one of two texts that are compared, without the lines that would only make the search for what they
// have in common longer.
type thinnedText struct {
	lines   []line // that are left
	at      []int  // where each of these stands in the text
	changed []bool // of all lines of the text: it is not in the other, or is taken not to be
}

// A role is what a line can be to the search.
type role uint8

const (
	alien  role = iota // the other text does not have it: it is changed, whatever else is found
	usual              // the other text has it a few times
	common             // the other text has it so often that it tells little
)

const (
	mostUsual = 1024 // times that a line may be in the other text and yet be usual
	farthest  = 100  // lines up and down from a common one that are looked at
	fewAliens = 3    // aliens around a common line for each common one, above which it is left out
)

// thinned leaves out of lines what the other text does not have, and what is common among that. Only the lines of the
// span within are looked at: the others are the same at the beginning and the end of both. counts tells how often the
// other text has a line.
func thinned(lines []line, counts []int32, within span) thinnedText {
	limit := min(bogusRoot(len(lines)), mostUsual)
	roles := make([]role, within.size())
	for i, l := range lines[within.start:within.end] {
		switch n := int(counts[l]); {
		case n >= limit && n > 0:
			roles[i] = common
		case n > 0:
			roles[i] = usual
		}
	}
	t := thinnedText{changed: make([]bool, len(lines))}
	for i, r := range roles {
		at := within.start + i
		if r == alien || (r == common && lost(roles, i)) {
			t.changed[at] = true
			continue
		}
		t.lines, t.at = append(t.lines, lines[at]), append(t.at, at)
	}
	return t
}

// lost tells whether the common line i stands among aliens, on both sides of it, up to the nearest usual line.
func lost(roles []role, i int) bool {
	aliens, commons := 0, 0
	for _, step := range []int{-1, 1} {
		found := 0
		for n := 1; n <= farthest; n++ {
			at := i + step*n
			if at < 0 || at >= len(roles) || roles[at] == usual {
				break
			}
			if roles[at] == alien {
				found++
			} else {
				commons++
			}
		}
		if found == 0 {
			return false
		}
		aliens += found
	}
	return aliens > fewAliens*(commons+2) // the line itself counts for either side
}

// bogusRoot returns a power of two near the square root of n.
func bogusRoot(n int) int {
	root := 1
	for ; n > 0; n >>= 2 {
		root <<= 1
	}
	return root
}
