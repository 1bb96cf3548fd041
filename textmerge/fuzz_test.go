package textmerge

import (
	"bytes"
	"errors"
	"testing"
)

func FuzzMerge(f *testing.F) {
	for _, seed := range []struct{ base, mine, theirs string }{
		{"a\nb\nc\nd\ne\n", "A\nb\nc\nd\ne\n", "a\nb\nc\nd\nE\n"},
		{"a\nb\nc\n", "a\nX\nc\n", "a\nY\nc\n"},
		{"x\nx\nx\nx\n", "x\nx\nx\nx\nx\n", "x\nx\n"},
		{"a\r\nb\r\n", "a\r\n", "a\r\nb"},
		{"", "a", "a\n"},
		{"a\x00", "", "b"},
	} {
		f.Add([]byte(seed.base), []byte(seed.mine), []byte(seed.theirs))
	}
	f.Fuzz(func(t *testing.T, base, mine, theirs []byte) {
		merged, err := Merge(base, mine, theirs)
		if other, otherErr := Merge(base, theirs, mine); (err == nil) != (otherErr == nil) || !bytes.Equal(merged, other) {
			t.Errorf("got %q, %v, and with the sides exchanged %q, %v", merged, err, other, otherErr)
		}
		if err != nil && !errors.Is(err, ErrConflict) {
			return // no texts
		}
		for name, c := range map[string]struct{ base, mine, theirs, want []byte }{
			"the same change twice": {base, mine, mine, mine},
			"a change of theirs":    {base, base, theirs, theirs},
			"a change of mine":      {base, mine, base, mine},
		} {
			if got, err := Merge(c.base, c.mine, c.theirs); err != nil || !bytes.Equal(got, c.want) {
				t.Errorf("%s: got %q, %v, want %q", name, got, err, c.want)
			}
		}
		n := make(numbering)
		a, b := n.split(mine), n.split(theirs)
		if got := redo(a, b, n.diff(a, b)); !bytes.Equal(got, theirs) {
			t.Errorf("the edits make %q of %q, want %q", got, mine, theirs)
		}
		if _, err := Unified("mine", mine, "theirs", theirs); err != nil {
			t.Error(err)
		}
	})
}

// redo makes b of a by edits.
func redo(a, b text, edits []edit) (out []byte) {
	at := 0
	for _, e := range edits {
		out = append(append(out, a.bytes(at, e.base.start)...), b.bytes(e.text.start, e.text.end)...)
		at = e.base.end
	}
	return append(out, a.bytes(at, len(a.lines))...)
}
