package replica

import (
	"maps"
	"slices"
	"strings"
	"time"

	"resonate/beneath"
	"resonate/merkle"
)

// settle does what has to wait until all is in: directories that a peer deleted although something lives in them are
// made known again, and mtimes of directories are set.
func (r *Replica) settle(now time.Time) {
	if r.working() || r.anyChange() || len(r.hashing) > 0 {
		return
	}
	if wait := settleDelay - now.Sub(r.lastChange); (len(r.linger) > 0 || len(r.hints) > 0) && wait > 0 {
		r.wakeIn(wait)
		return
	}
	if len(r.linger) > 0 && r.asking() {
		return
	}
	for _, dir := range slices.SortedFunc(maps.Keys(r.linger), func(a, b string) int { return len(b) - len(a) }) {
		if !anyKey(r.changes, below(dir)) { // it may wait for a lock, and is what lives there
			r.endLinger(dir)
		}
	}
	for dir := range r.hints {
		r.setHint(dir)
	}
	clear(r.hints)
	clear(r.inline)
}

// asking asks every peer whose tree is another for what it has otherwise, unless it was asked already, and tells whether
// answers are on their way: a directory that was implied may be known there.
func (r *Replica) asking() bool {
	for _, p := range r.peers {
		if p.root != r.tree.Root().State {
			r.startDiff(p)
		}
	}
	return r.anyDiff()
}

// settleDelay is how long nothing must have changed before settle acts.
const settleDelay = 100 * time.Millisecond

// endLinger makes a directory known again that a peer deleted, because something lives in it; or removes it, because
// nothing does any more.
func (r *Replica) endLinger(dir string) {
	delete(r.linger, dir)
	rec := r.records[dir]
	if rec == nil || rec.disk().Kind != merkle.Dir || r.tree.Get(dir).Live() {
		r.endLeft(dir)
		return
	}
	if r.hasLive(dir) {
		disk := rec.disk()
		attrs := r.dirAttributes(dir, &disk)
		r.changed(&change{path: dir, attrs: attrs, disk: disk, implied: true})
		r.wakeIn(0)
		return
	}
	if err := r.removeLeft(dir); err != nil {
		r.log.Debug("directory stays", "path", dir, "cause", err)
		r.leaveDir(dir)
		return
	}
	r.dropDisk(dir)
	r.endLeft(dir)
	r.leftLess(dir)
	r.resume(dir)
}

// endLingerBelow removes what lingers below a directory in which nothing lives, so that it can go itself.
func (r *Replica) endLingerBelow(dir string) {
	var below []string
	for path := range r.linger {
		if strings.HasPrefix(path, dir+"/") {
			below = append(below, path)
		}
	}
	slices.Sort(below)
	for _, path := range slices.Backward(below) {
		r.endLinger(path)
	}
}

// hint notes a directory's mtime as a peer has it.
func (r *Replica) hint(dir string, mtime int64) {
	if rec := r.record(dir); rec.hint() != mtime {
		rec.setHint(mtime)
		r.touch(dir)
	}
	r.hints[dir] = true
}

func (r *Replica) setHint(dir string) {
	rec := r.records[dir]
	if rec == nil || rec.hint() == 0 || rec.disk().Kind != merkle.Dir {
		return
	}
	if info, err := r.root.Lstat(dir); err == nil && info.Kind == beneath.Dir && info.MTime != rec.hint() {
		if err := r.root.SetMTime("apply.hint", dir, rec.hint()); err != nil { // a hint: nothing depends on it
			r.log.Debug("mtime of a directory cannot be set", "path", dir, "cause", err)
		} else if after, err := r.root.Lstat(dir); err == nil {
			r.timed[dir] = after
		}
	}
}

// timedHere tells whether an event of the directory that info is of is that of its mtime being set here, and nothing has happened in
// it since: its ctime would tell.
func (r *Replica) timedHere(dir string, info beneath.Info) bool {
	after, ok := r.timed[dir]
	return ok && info.Inode == after.Inode && info.CTime == after.CTime && info.MTime == after.MTime && info.Mode == after.Mode
}
