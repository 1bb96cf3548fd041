// Package textmerge joins two texts that were made of one: it finds out which lines each of them has changed of their
// common base, and makes one text with the changes of both, unless they touch. It also writes how two texts differ. It is
// pure: bytes in, bytes out.
//
// What comes out is what "git merge-file -p" gives, byte for byte, and where that finds a conflict, Merge does, too. So
// the steps are those of git with its defaults: the lines that cannot matter are left out (thin.go), the least number of
// changed lines is looked for as Eugene Myers describes it in "An O(ND) Difference Algorithm and Its Variations" (1986),
// with bounds on the effort (myers.go), and what was found is moved to where it touches the other side's (compact.go).
// merge_test.go compares the two on thousands of texts.
package textmerge

import (
	"bytes"
	"errors"
	"fmt"
)

// Bounds of a text that is compared. At these a merge takes a second or two of a processor where the texts have nothing in
// common, and some tens of megabytes.
const (
	MaxBytes = 4 << 20
	MaxLines = 100_000
)

// Why texts are not merged. The errors of this package wrap one of these.
var (
	// ErrConflict: both sides have changed the same lines, or lines that touch, in different ways.
	ErrConflict = errors.New("both sides change the same lines")
	// ErrBinary: a text has a NUL byte in it, and so is none.
	ErrBinary = errors.New("it is no text")
	// ErrTooLarge: a text is longer than MaxBytes or MaxLines.
	ErrTooLarge = errors.New("it is too large to be compared")
)

// Check tells whether text can be compared at all: nil, ErrBinary or ErrTooLarge.
func Check(text []byte) error {
	switch {
	case len(text) > MaxBytes:
		return fmt.Errorf("%w: %d bytes, at most %d are", ErrTooLarge, len(text), MaxBytes)
	case bytes.IndexByte(text, 0) >= 0:
		return fmt.Errorf("%w: it has a NUL byte", ErrBinary)
	case bytes.Count(text, []byte{'\n'}) >= MaxLines:
		return fmt.Errorf("%w: it has more than %d lines", ErrTooLarge, MaxLines-1)
	}
	return nil
}

// Merge returns the text with the changes that lead from base to mine, and those from base to theirs. A line that both
// have changed in the same way counts once. It fails with ErrConflict, ErrBinary or ErrTooLarge. With the sides exchanged
// the outcome is the same. What it returns may be one of its arguments.
func Merge(base, mine, theirs []byte) ([]byte, error) {
	for _, text := range [][]byte{base, mine, theirs} {
		if err := Check(text); err != nil {
			return nil, err
		}
	}
	switch {
	case bytes.Equal(mine, theirs), bytes.Equal(base, theirs):
		return mine, nil
	case bytes.Equal(base, mine):
		return theirs, nil
	}
	n := make(numbering)
	b, m, t := n.split(base), n.split(mine), n.split(theirs)
	regions := join(m, t, len(b.lines), n.diff(b, m), n.diff(b, t))
	var out bytes.Buffer
	out.Grow(max(len(mine), len(theirs)))
	at := 0 // up to this line mine is written
	for _, r := range regions {
		switch {
		case r.by == both && !sameLines(r, m, t):
			return nil, ErrConflict
		case r.by == theirsAlone:
			out.Write(m.bytes(at, r.mine.start))
			out.Write(t.bytes(r.theirs.start, r.theirs.end))
			at = r.mine.end
		}
	}
	out.Write(m.bytes(at, len(m.lines)))
	return out.Bytes(), nil
}

// sameLines tells whether both sides have come to the same in a region that both have changed. Where nothing is left on
// either side, there is nothing to tell it by.
func sameLines(r region, mine, theirs text) bool {
	return r.mine.size() > 0 && mine.equal(r.mine, theirs, r.theirs)
}
