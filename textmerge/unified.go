package textmerge

import (
	"bytes"
	"fmt"
	"strings"
)

// around is how many unchanged lines are shown before and behind what is changed.
const around = 3

// Unified returns the difference that makes to of from, as "diff -u" writes it and patch(1) reads it; nothing where they
// are equal. The names stand at its head. It fails with ErrBinary or ErrTooLarge.
func Unified(fromName string, from []byte, toName string, to []byte) ([]byte, error) {
	if bytes.Equal(from, to) {
		return nil, nil
	}
	for _, side := range []struct {
		name string
		text []byte
	}{{fromName, from}, {toName, to}} {
		if err := Check(side.text); err != nil {
			return nil, fmt.Errorf("compare %s: %w", side.name, err)
		}
	}
	n := make(numbering)
	a, b := n.split(from), n.split(to)
	var out bytes.Buffer
	fmt.Fprintf(&out, "--- %s\n+++ %s\n", headName(fromName), headName(toName))
	for edits := n.diff(a, b); len(edits) > 0; {
		near := 1
		for near < len(edits) && edits[near].base.start-edits[near-1].base.end <= 2*around {
			near++
		}
		writeHunk(&out, a, b, edits[:near])
		edits = edits[near:]
	}
	return out.Bytes(), nil
}

// writeHunk writes edits with all that is between them, and some of what is around.
func writeHunk(out *bytes.Buffer, a, b text, edits []edit) {
	first, last := edits[0], edits[len(edits)-1]
	before := min(around, first.base.start)
	behind := min(around, len(a.lines)-last.base.end)
	fmt.Fprintf(out, "@@ -%s +%s @@\n", place(span{first.base.start - before, last.base.end + behind}),
		place(span{first.text.start - before, last.text.end + behind}))
	at := first.base.start - before
	for _, e := range edits {
		writeLines(out, ' ', a, span{at, e.base.start})
		writeLines(out, '-', a, e.base)
		writeLines(out, '+', b, e.text)
		at = e.base.end
	}
	writeLines(out, ' ', a, span{at, at + behind})
}

// place writes where lines are: the first one, counted from 1, and how many. Where there are none, it is the one before.
func place(lines span) string {
	switch lines.size() {
	case 0:
		return fmt.Sprintf("%d,0", lines.start)
	case 1:
		return fmt.Sprint(lines.start + 1)
	}
	return fmt.Sprintf("%d,%d", lines.start+1, lines.size())
}

func writeLines(out *bytes.Buffer, mark byte, t text, lines span) {
	for at := lines.start; at < lines.end; at++ {
		l := t.bytes(at, at+1)
		out.WriteByte(mark)
		out.Write(l)
		if !bytes.HasSuffix(l, []byte{'\n'}) {
			out.WriteString("\n\\ No newline at end of file\n")
		}
	}
}

// headName writes a name as it stands at the head of a difference: quoted as in C where it has to be, and ended by a tab
// where a space could be taken for its end.
func headName(name string) string {
	var b strings.Builder
	for i := range len(name) {
		switch c := name[i]; {
		case c == '"', c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ', c == 0x7f:
			fmt.Fprintf(&b, "\\%03o", c)
		default:
			b.WriteByte(c)
		}
	}
	switch {
	case b.Len() > len(name):
		return `"` + b.String() + `"`
	case strings.Contains(name, " "):
		return name + "\t"
	}
	return name
}
