// Package reconcile decides what follows when what is here, what was agreed and what a peer has differ. It is pure:
// its functions turn values into a plan, and nothing else; who calls it acts.
//
// A local change first becomes a version of its own (Publish), on top of what was agreed. Then two versions of a path
// meet (Merge): the version vectors decide, and where neither has seen the other, the same one wins everywhere and the
// other is kept beside it as a conflict copy. No decision depends on which node takes it, or in which order versions
// arrive, so that any number of nodes may resolve the same conflict and agree.
package reconcile

import (
	"bytes"
	"cmp"

	"resonate/merkle"
)

// An Author is who makes a change, and when: one operation (an edit, a move, a batch) is one stamp.
type Author struct {
	Node  merkle.NodeID
	Stamp merkle.Stamp
	Token merkle.Token
}

// Publish returns the entry that follows from finding have (nil: nothing) where agreed (nil: nothing ever) was agreed,
// or nil where that is no change. A directory that is implied by what lies below it is handed in as found.
func Publish(agreed *merkle.Entry, have *merkle.Attributes, by Author) *merkle.Entry {
	e := &merkle.Entry{}
	switch {
	case have == nil && !agreed.Live():
		return nil
	case have == nil:
		e.Kind = merkle.Tombstone
	case agreed.Live() && same(&agreed.Attributes, have):
		return nil
	default:
		e.Attributes = *have
	}
	var seen merkle.Vector
	if agreed != nil {
		seen = agreed.Version.Vector
	}
	e.Version = merkle.Version{Vector: seen.With(by.Node, by.Stamp), Author: by.Node, Stamp: by.Stamp, Token: by.Token}
	if agreed.Live() && merkle.SameContent(agreed, e) {
		e.Version.Content = agreed.Version.Origin()
	}
	return e
}

// Moved returns the entry that e, which was agreed at another path, is at the path to which it was moved, where stood (nil:
// nothing) was agreed before: it has seen both, and its content is as old as it was. Whoever knows the same e and stood derives
// the same bytes.
func Moved(e, stood *merkle.Entry, by Author) *merkle.Entry {
	seen := e.Version.Vector
	if stood != nil {
		seen = seen.Join(stood.Version.Vector)
	}
	return e.WithVersion(merkle.Version{
		Vector: seen.With(by.Node, by.Stamp), Author: by.Node, Stamp: by.Stamp, Token: by.Token, Content: e.Version.Origin(),
	})
}

// same tells whether a person would see no difference. What a node cannot read or set, it hands in as it was agreed.
func same(a, b *merkle.Attributes) bool {
	return a.Kind == b.Kind && a.Mode == b.Mode && a.Size == b.Size && a.MTime == b.MTime && a.Target == b.Target &&
		a.Content == b.Content && a.Owner == b.Owner && a.Link == b.Link && merkle.SameXattrs(a.Xattrs, b.Xattrs)
}

// A Plan is what follows from two versions of a path.
type Plan struct {
	// Entry is what is to be agreed at the path from now on; nil where what was agreed here stays.
	Entry *merkle.Entry
	// Copy, where not nil, is to be kept beside the path under the name CopyPath.
	Copy     *merkle.Entry
	CopyPath string
}

// Merge decides between what is agreed here and what a peer has, for one path. Either may be nil: never heard of.
func Merge(path string, mine, theirs *merkle.Entry) Plan {
	switch {
	case theirs == nil:
		return Plan{}
	case mine == nil:
		return Plan{Entry: theirs}
	}
	switch order := theirs.Version.Vector.Compare(mine.Version.Vector); {
	case order == merkle.Same && theirs.Hash() == mine.Hash(), order == merkle.Before:
		return Plan{}
	case order == merkle.After:
		return Plan{Entry: theirs}
	}
	winner, loser := mine, theirs
	if beats(theirs, mine) {
		winner, loser = theirs, mine
	}
	plan := Plan{Entry: join(winner, loser)}
	if plan.Entry.Hash() == mine.Hash() {
		plan.Entry = nil
	}
	if needsCopy(winner, loser) {
		plan.Copy, plan.CopyPath = loser, ConflictPath(path, loser)
	}
	return plan
}

// join returns the winner as a version that has seen the loser, too. It takes no stamp: all nodes get the same.
func join(winner, loser *merkle.Entry) *merkle.Entry {
	v := winner.Version
	v.Vector = v.Vector.Join(loser.Version.Vector)
	if v.Vector.Equal(winner.Version.Vector) {
		return winner
	}
	return winner.WithVersion(v)
}

// needsCopy tells whether the loser holds something that the winner neither holds nor was made in knowledge of. Equal
// content or metadata alone never makes a copy, and neither does a deletion or a directory: what lies in it speaks for
// itself.
func needsCopy(winner, loser *merkle.Entry) bool {
	known := knewContent(winner, loser) && !knewContent(loser, winner)
	return loser.Live() && loser.Kind != merkle.Dir && !merkle.SameContent(winner, loser) && !known
}

// knew tells whether a has seen the very operation that b is the outcome of. That can be so of concurrent versions: b
// may have been joined with a third version since, which gave it a greater vector, but nothing new.
func knew(a, b *merkle.Entry) bool {
	return a.Version.Vector.Of(b.Version.Author) >= b.Version.Stamp
}

// knewContent tells whether a was made in knowledge of what b holds, whatever of its metadata changed since.
func knewContent(a, b *merkle.Entry) bool {
	origin := b.Version.Origin()
	return a.Version.Vector.Of(origin.Node) >= origin.Stamp
}

// beats orders concurrent versions: one made in knowledge of the other first; a change before a deletion; a directory
// before anything else, since what lies in it needs it; then the greater token, mtime, author's stamp and node.
func beats(a, b *merkle.Entry) bool {
	return cmp.Or(
		compareBool(knew(a, b), knew(b, a)),
		compareBool(a.Live(), b.Live()),
		compareBool(a.IsDir(), b.IsDir()),
		a.Version.Token.Compare(b.Version.Token),
		compareBool(knewContent(a, b), knewContent(b, a)),
		cmp.Compare(a.MTime, b.MTime),
		cmp.Compare(a.Version.Stamp, b.Version.Stamp),
		bytes.Compare(a.Version.Author[:], b.Version.Author[:]),
		compareHash(a.ContentHash(), b.ContentHash()), // one stamp, two contents: nodes that lie; any fixed order serves
		compareHash(a.Hash(), b.Hash()),
	) > 0
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

func compareHash(a, b merkle.Hash) int { return bytes.Compare(a[:], b[:]) }

// MakeWay decides when a live entry lies below a path at which something other than a directory was agreed: a live
// entry implies its parents, so the path becomes a directory with the given attributes, and what stood there is kept beside
// it. Nodes may do this at once: their directories are equal content.
func MakeWay(path string, obstacle *merkle.Entry, dir *merkle.Attributes, by Author) Plan {
	return Plan{
		Entry:    Publish(obstacle, dir, by),
		Copy:     obstacle,
		CopyPath: ConflictPath(path, obstacle),
	}
}

// Forgotten tells whether a node that knows nothing of path had the entry e there and deleted it, so long ago that the
// tombstone was dropped: seen, what that node has seen without a gap, covers the entry, and so does the horizon, at or
// below which tombstones are dropped. A new or restored node has seen little, so what it lacks is not taken for deleted.
// Of a conflict copy (IsCopy) it says nothing: one comes to be without a stamp of its own, so that nodes may have seen
// its version and not know the copy yet.
func Forgotten(path string, e *merkle.Entry, seen, horizon merkle.Vector) bool {
	v := e.Version.Vector
	return len(v) > 0 && seen.Covers(v) && horizon.Covers(v) && !IsCopy(path, e)
}
