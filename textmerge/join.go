package textmerge

// An edit is one place at which a text differs from its base: the lines of the span base have become those of text.
type edit struct{ base, text span }

// to returns where the line of the base that stands at or before the edit is in the edited text.
func (e edit) to(line int) int { return e.text.start - e.base.start + line }

// beyond returns where a line of the base that stands at or behind the edit is in the edited text.
func (e edit) beyond(line int) int { return e.text.end - e.base.end + line }

// whose tells who has changed a region.
type whose int

const (
	mineAlone whose = iota
	theirsAlone
	both
)

// A region is a place at which one side, or both, differ from the base, as it is on either side.
type region struct {
	by           whose
	mine, theirs span
}

// join lays the edits of both sides along the base, on which both are sorted, and returns the regions, in order. What
// both sides have changed in the same way is none. Edits that touch are one region of both: nobody can tell which of
// the two comes first.
func join(mine, theirs text, lines int, ours, others []edit) []region {
	var all regions
	end := edit{base: span{lines, lines}} // as if each side had an edit behind the last line, which no other touches
	for len(ours) > 0 || len(others) > 0 {
		a, b := end, end
		a.text, b.text = span{len(mine.lines), len(mine.lines)}, span{len(theirs.lines), len(theirs.lines)}
		if len(ours) > 0 {
			a = ours[0]
		}
		if len(others) > 0 {
			b = others[0]
		}
		switch {
		case len(others) == 0, len(ours) > 0 && a.base.end < b.base.start:
			all.add(region{mineAlone, a.text, span{b.to(a.base.start), b.to(a.base.end)}})
			ours = ours[1:]
			continue
		case len(ours) == 0, b.base.end < a.base.start:
			all.add(region{theirsAlone, span{a.to(b.base.start), a.to(b.base.end)}, b.text})
			others = others[1:]
			continue
		case a.base != b.base || !mine.equal(a.text, theirs, b.text):
			common := span{min(a.base.start, b.base.start), max(a.base.end, b.base.end)}
			all.add(region{
				both, span{a.to(common.start), a.beyond(common.end)}, span{b.to(common.start), b.beyond(common.end)},
			})
		}
		if a.base.end <= b.base.end {
			ours = ours[1:]
		}
		if b.base.end <= a.base.end {
			others = others[1:]
		}
	}
	return all
}

type regions []region

// add appends a region, which becomes one with the last where they touch on either side.
func (rs *regions) add(r region) {
	if len(*rs) > 0 {
		last := &(*rs)[len(*rs)-1]
		if r.mine.start <= last.mine.end || r.theirs.start <= last.theirs.end {
			if last.by != r.by {
				last.by = both
			}
			last.mine.end, last.theirs.end = r.mine.end, r.theirs.end
			return
		}
	}
	*rs = append(*rs, r)
}
