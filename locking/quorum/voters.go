package quorum

import (
	"cmp"
	"slices"
)

// A Member is a node that may be a voter.
type Member struct {
	ID       NodeID
	AlwaysOn bool // it is not a laptop
	Witness  bool // it has no folder, and is there to vote; always on by that
	Up       bool // it is connected now
	Gone     bool // it was forgotten, or has left
}

// Voters says who shall vote: one of one or two nodes, three from three on that are always on, five when that many are wanted
// (want: 5) and there; never two or four, which would survive no more than one or three. self leads now.
//
// Who votes already goes on doing so, also while away, until it is gone; else a witness comes before others, and who is up is
// needed to begin. When there are not enough for three, self alone remains, or who is always on takes over from it.
func Voters(self NodeID, current []NodeID, members []Member, want int) []NodeID {
	votes := func(m Member) bool { return slices.Contains(current, m.ID) }
	var fit []Member // who may be one of several
	for _, m := range members {
		if !m.Gone && (m.AlwaysOn || m.Witness) && (m.Up || votes(m) || m.ID == self) {
			fit = append(fit, m)
		}
	}
	rank := func(m Member) int { // the lower the better
		switch {
		case votes(m):
			return 0
		case m.Witness:
			return 1
		}
		return 2
	}
	slices.SortFunc(fit, func(a, b Member) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.ID, b.ID))
	})
	for _, n := range []int{5, 3} {
		if n <= max(want, 3) && len(fit) >= n {
			return ids(fit[:n])
		}
	}
	return []NodeID{single(self, fit)}
}

// single chooses the only voter: who leads, unless it is one that may go away, and another is up that is not.
func single(self NodeID, fit []Member) NodeID {
	if slices.ContainsFunc(fit, func(m Member) bool { return m.ID == self }) {
		return self
	}
	for _, m := range fit {
		if m.Up {
			return m.ID
		}
	}
	return self
}

func ids(members []Member) []NodeID {
	out := make([]NodeID, len(members))
	for i, m := range members {
		out[i] = m.ID
	}
	slices.Sort(out)
	return out
}
