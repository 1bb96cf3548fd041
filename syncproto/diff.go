package syncproto

import (
	"iter"
	"slices"

	"resonate/merkle"
)

// A Diff finds what a peer's tree has otherwise than the own one, by asking for levels of it where hashes differ. It is
// the asking side; Answer is the other. It does no I/O and is not safe for concurrent use.
//
// Both trees may change meanwhile: what is then missed or found too much shows in the roots, which are compared again.
type Diff struct {
	asked   map[merkle.Place]bool // and not yet answered
	pending []merkle.Place        // to be asked; a stack, so that it grows with the depth of the trees, not their size
}

// Found is what came of some levels.
type Found struct {
	Ask      *AskLevels // to be sent next; nil: nothing now
	Entries  []string   // paths whose entries differ: to be had from the peer
	Subtrees []string   // directories of which nothing is known here: all below them is to be had from the peer
	Absent   []string   // paths with an entry here of which the peer knows nothing, and nothing below
	Done     bool       // every difference was found
}

// NewDiff returns a Diff that has yet to ask.
func NewDiff() *Diff {
	return &Diff{asked: make(map[merkle.Place]bool), pending: []merkle.Place{{}}}
}

// Start returns the first question: about the folder itself.
func (d *Diff) Start() *AskLevels { return d.ask() }

// Take compares levels from the peer with t. Every difference is reported once, in one of the calls. Levels that were
// not asked for are an error that wraps merkle.ErrFormat.
func (d *Diff) Take(t *merkle.Tree, levels *Levels) (Found, error) {
	var found Found
	for _, l := range levels.List {
		if !d.asked[l.Place] {
			return Found{}, malformed("level of %.200q %q, which nobody asked for", l.Dir, l.Prefix)
		}
		if err := checkLevel(l); err != nil {
			return Found{}, err
		}
		delete(d.asked, l.Place)
		step := t.Compare(l)
		found.Entries = append(found.Entries, step.Entries...)
		found.Subtrees = append(found.Subtrees, step.Subtrees...)
		found.Absent = append(found.Absent, step.Absent...)
		d.pending = append(d.pending, step.Ask...)
	}
	found.Ask = d.ask()
	found.Done = len(d.asked) == 0
	return found, nil
}

// ask takes as many pending places as may be outstanding and fit a frame; nil: none.
func (d *Diff) ask() *AskLevels {
	var m AskLevels
	size := 0
	for len(d.pending) > 0 && len(d.asked) < MaxPlaces && size < FrameTarget {
		last := len(d.pending) - 1
		p := d.pending[last]
		d.pending = d.pending[:last]
		if d.asked[p] {
			continue // only a peer that tells a name in two branches leads here twice
		}
		d.asked[p] = true
		m.Places = append(m.Places, p)
		size += len(p.Dir) + len(p.Prefix)
	}
	if m.Places == nil {
		return nil
	}
	return &m
}

// Answer answers m from t, in messages that are not much longer than FrameTarget.
func Answer(t *merkle.Tree, m *AskLevels) []*Levels {
	var out []*Levels
	size := FrameTarget
	for _, p := range m.Places {
		l := t.Level(p)
		n := levelSize(&l)
		if size+n > FrameTarget {
			out, size = append(out, new(Levels)), 0
		}
		last := out[len(out)-1]
		last.List = append(last.List, l)
		size += n
	}
	return out
}

// levelSize returns at least the encoded size of l.
func levelSize(l *merkle.Level) int {
	const tags = 16 // bytes around a message and its fields
	size := tags + len(l.Dir) + len(l.Prefix) + 16*merkle.HashSize
	for i := range l.Items {
		size += tags + len(l.Items[i].Name) + 2*merkle.HashSize
	}
	return size
}

// Ask returns the messages that ask for entries and subtrees, as found by a Diff, in frames of about FrameTarget.
func Ask(entries, subtrees []string) []Message {
	var out []Message
	for paths := range splitPaths(entries) {
		out = append(out, &AskEntries{paths})
	}
	for paths := range splitPaths(subtrees) {
		out = append(out, &AskSubtrees{paths})
	}
	return out
}

// splitPaths yields paths in pieces that fit a frame.
func splitPaths(paths []string) iter.Seq[[]string] {
	return func(yield func([]string) bool) {
		for len(paths) > 0 {
			n, size := 0, 0
			for n < len(paths) && n < MaxPaths && (n == 0 || size+len(paths[n]) < FrameTarget) {
				size += len(paths[n]) + 4
				n++
			}
			if !yield(slices.Clip(paths[:n])) {
				return
			}
			paths = paths[n:]
		}
	}
}
