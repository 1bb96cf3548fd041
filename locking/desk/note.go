package desk

import "resonate/locking"

// A Note tells what became of a lock or a delegation of this node's, for its records.
type Note struct {
	locking.Holding
	What  NoteKind
	Given []locking.Scope // of NoteRecalled: what of it is given up
	Cause locking.Cause   // of NoteEnded; Closed: because this node ends
	By    string          // of NoteEnded: who forced it, and why
}

// A NoteKind says what became of it.
type NoteKind uint8

// The kinds of notes.
const (
	NoteGranted  NoteKind = iota
	NoteRecalled          // somebody else has asked for some of a delegation, or this node had too many
	NoteEnded
)

// note tells what became of a claim, if anybody wants to know.
func (d *Desk) note(n Note) {
	if d.c.Note != nil {
		d.c.Note(n)
	}
}
