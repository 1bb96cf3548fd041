package replica

import (
	"errors"
	"slices"
	"strings"
	"time"

	"resonate/beneath"
	"resonate/merkle"
	"resonate/reconcile"
)

// A node that only receives publishes nothing of what is done in its folder. What differs there from what is agreed is held, as it
// is, and told: it is in no tree, so trees become equal all the same, and nobody waits for it. The user may have it undone (revert).
// A peer's newer version of such a path goes in over it, and what stood there goes to the history, as it does when it is undone: a
// backup follows what it is a backup of, and nothing is lost. A path of which the newer version says nothing new stays held.

// keptLocal is the kind of a held change that was made on a node that only receives.
const keptLocal = "local"

// errOnlyReceives tells that what is held here cannot be let out.
var errOnlyReceives = errors.New("this node only receives, and publishes nothing: undo it with resonate held revert, or run without -mode receive")

// rests tells whether a held change stays as it is until the user has it undone: nobody waits for that.
func (h *heldChange) rests() bool { return h != nil && h.kind == keptLocal && !h.reinstated }

// local tells whether a held change is one that was made on a node that only receives.
func (h *heldChange) local() bool { return h != nil && h.kind == keptLocal }

// holdLocal holds what was changed here, where that is not to be published. It returns false if c is no such change, or none at all.
func (r *Replica) holdLocal(c *change) bool {
	if r.o.Mode != Receive || c.implied {
		return false
	}
	r.completed(c)
	agreed := r.tree.Get(c.path)
	if r.unseenHere(c) {
		agreed = nil
	}
	if reconcile.Publish(agreed, c.attrs, reconcile.Author{}) == nil {
		delete(r.held, c.path)
		return false
	}
	c.data = nil // it travels nowhere
	h := r.held[c.path]
	if h == nil {
		h = &heldChange{change: c, kind: keptLocal, since: time.Now()}
		r.held[c.path] = h
		r.tellHeld(c.path)
		r.log.Debug("changed here, and held: this node only receives", "path", c.path)
	}
	h.change = c
	r.resume(c.path) // a peer's version that waits goes in over it
	return true
}

// holdsAsFound tells whether a file is as it was when what it holds was held: it need not be read again.
func (r *Replica) holdsAsFound(path string, info beneath.Info, scan bool) bool {
	h := r.held[path]
	return h.rests() && h.attrs != nil && sameDisk(h.disk, info) && !r.unread(h.disk, info, !scan) &&
		(scan || h.disk.Checked-h.disk.MTime > int64(racy))
}

// holdsContent tells whether what is held at path is a file with just the content that an entry says: then that need not be fetched.
func (r *Replica) holdsContent(path string, e *merkle.Entry) bool {
	h := r.held[path]
	if !h.local() || h.attrs == nil || h.attrs.Kind != merkle.File || e.Kind != merkle.File || h.attrs.Content != e.Content {
		return false
	}
	info, err := r.root.Lstat(path)
	return err == nil && sameDisk(h.disk, info) && h.disk.Checked-h.disk.MTime > int64(racy)
}

// staysHeld tells whether a plan leaves what is held at a path as it is: it is about versions alone.
func (r *Replica) staysHeld(path string, mine *merkle.Entry, plan reconcile.Plan) bool {
	return r.held[path] != nil && mine != nil && plan.Entry != nil && plan.Entry.ContentHash() == mine.ContentHash()
}

// undoInWay undoes what was done here at a path that a peer's version needs as a directory. It returns true if that is to be waited
// for.
func (r *Replica) undoInWay(dir string) bool {
	h := r.held[dir]
	if !h.local() {
		return false
	}
	e, isDir := r.tree.Get(dir), r.diskNow(dir).Kind == merkle.Dir
	switch {
	case isDir && e.IsDir():
		return false
	case e.Live(): // a file that makes way is kept beside it, and so it must be here
		r.reinstate(dir)
		return true
	case len(r.incoming[dir]) > 0:
		return true
	case isDir:
		delete(r.held, dir)
		return false
	}
	return !r.dismiss(dir)
}

// dismissBelow takes what is held below a path out of the way of what is to stand there.
func (r *Replica) dismissBelow(path string) {
	if r.o.Mode != Receive {
		return
	}
	covers := below(path)
	var which []string
	for p, h := range r.held {
		if h.local() && p != path && covers(p) && !r.tree.Get(p).Live() {
			which = append(which, p)
		}
	}
	r.dismissAll(which)
}

// dismissAll dismisses paths, what lies in a directory before it, and returns how many are gone.
func (r *Replica) dismissAll(paths []string) (n int) {
	slices.SortFunc(paths, func(a, b string) int { return strings.Compare(b, a) })
	for _, path := range paths {
		if r.dismiss(path) {
			n++
		}
	}
	return n
}

// dismiss takes away what is held at a path of which nothing is agreed: a file goes to the history, a directory that is empty by now
// goes, any other stays. It returns false where something is still there.
func (r *Replica) dismiss(path string) bool {
	err := r.inWritable(path, func() error {
		if r.diskNow(path).Kind == merkle.Dir {
			return r.root.RemoveDir("revert.rmdir", path)
		}
		return r.keep(path, path)
	})
	if ignoreMissing(err) != nil {
		r.log.Warn("what is held here stays", "path", path, "cause", err)
		return false
	}
	delete(r.held, path)
	r.problem(path, "", "")
	r.leftLess(path)
	r.resume(path)
	return true
}

// lookAtHeld looks at what is held and gone, after a scan: nothing that a scan compares with tells of it.
func (r *Replica) lookAtHeld(dir string) {
	covers := below(dir)
	for path, h := range r.held {
		if h.rests() && h.attrs != nil && covers(path) {
			if _, err := r.root.Lstat(path); absent(err) {
				r.look(path, true)
			}
		}
	}
}
