package reconcile

import "resonate/merkle"

// A change that was made without having seen another version is rebased by who has the lock of the path: what comes of it has seen both,
// and no other node has to decide.

// Base returns the newest of the versions before, the oldest of which is first, that a version was made in knowledge of, where it is a file;
// nil: none. They are those that lead to what was changed here: so both sides were made of it.
func Base(before []*merkle.Entry, theirs *merkle.Entry) *merkle.Entry {
	for i := len(before) - 1; i >= 0; i-- {
		if theirs.Version.Vector.Covers(before[i].Version.Vector) {
			if before[i].Kind != merkle.File {
				return nil
			}
			return before[i]
		}
	}
	return nil
}

// Related tells whether two versions may have come of one: some node's changes are in both.
func Related(a, b *merkle.Entry) bool { return len(a.Version.Vector.Meet(b.Version.Vector)) > 0 }

// Before returns what is to be remembered when a version is changed: up to most versions that lead to it, and itself. Those that are older
// than one that every member has seen are not needed, for nobody makes a change any more that has not seen that. Of too many the second
// oldest goes: the oldest serves most, the newest serve best.
func Before(before []*merkle.Entry, changed *merkle.Entry, horizon merkle.Vector, most int) []*merkle.Entry {
	out := append(before[:len(before):len(before)], changed)
	for i := len(out) - 1; i > 0; i-- {
		if horizon.Covers(out[i].Version.Vector) {
			out = out[i:]
			break
		}
	}
	for len(out) > most {
		out = append(out[:1:1], out[2:]...)
	}
	return out
}

// Rebase returns the version that follows from finding have, in which what is agreed here and a peer's version have both been seen to.
func Rebase(mine, theirs *merkle.Entry, have *merkle.Attributes, by Author) *merkle.Entry {
	e := &merkle.Entry{Attributes: *have}
	seen := mine.Version.Vector.Join(theirs.Version.Vector)
	e.Version = merkle.Version{Vector: seen.With(by.Node, by.Stamp), Author: by.Node, Stamp: by.Stamp, Token: by.Token}
	switch {
	case merkle.SameContent(theirs, e):
		e.Version.Content = theirs.Version.Origin()
	case merkle.SameContent(mine, e):
		e.Version.Content = mine.Version.Origin()
	}
	return e
}

// MergeMetadata returns mine with those of theirs of mode, owner and extended attributes that differ from base where mine does not.
func MergeMetadata(base, mine, theirs *merkle.Attributes) merkle.Attributes {
	out := *mine
	if mine.Mode == base.Mode {
		out.Mode = theirs.Mode
	}
	if mine.Owner == base.Owner {
		out.Owner = theirs.Owner
	}
	if merkle.SameXattrs(mine.Xattrs, base.Xattrs) {
		out.Xattrs = theirs.Xattrs
	}
	return out
}

// SameMetadata tells whether two files have the same mode, owner and extended attributes.
func SameMetadata(a, b *merkle.Attributes) bool {
	return a.Mode == b.Mode && a.Owner == b.Owner && merkle.SameXattrs(a.Xattrs, b.Xattrs)
}
