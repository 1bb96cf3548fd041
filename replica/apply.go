package replica

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"resonate/beneath"
	"resonate/ignore"
	"resonate/index"
	"resonate/merkle"
	"resonate/reconcile"
)

// apply puts a plan into effect: on disk, in the records, in the tree. It changes nothing at a path that is not as
// recorded: what a person did there is published first (errChangedHere).
func (r *Replica) apply(in *incoming, plan reconcile.Plan) error {
	if r.ignoresIncoming(in) {
		r.agreeUnseen(in, plan)
		return nil
	}
	if err := r.asRecorded(in); err != nil {
		return err
	}
	if plan.Copy != nil && plan.Copy == in.theirs {
		return r.applyCopyOfTheirs(in, plan)
	}
	put := putting{in: in, entry: plan.Entry, copyPath: plan.CopyPath, copy: plan.Copy}
	if plan.Copy != nil && r.held[in.path] != nil { // what is to be kept beside it is not here: who has it joins the two
		put = putting{in: in, entry: in.theirs}
	}
	if err := r.put(&put); err != nil {
		return err
	}
	r.finish(in, put.entry)
	return nil
}

// finish makes what was put in place the agreed version.
func (r *Replica) finish(in *incoming, e *merkle.Entry) {
	if in.reinstate || r.held[in.path] != nil {
		delete(r.held, in.path)
		delete(r.changes, in.path)
		r.touch(in.path)
	}
	if !in.reinstate && !in.absent && !in.refit {
		var from *peer
		if len(in.from) > 0 && e == in.theirs {
			from = in.from[len(in.from)-1]
		}
		r.noteTaken(in, e)
		r.agree(in.path, e, from)
	}
	if in.hint != 0 && e.IsDir() {
		r.hint(in.path, in.hint)
	}
	if dir, name := merkle.SplitPath(in.path); name == ignore.Name {
		r.refreshRules(dir)
	}
	if e.IsDir() {
		r.endLeft(in.path)
	}
	if c, ok := reconcile.ParseCopy(in.path); ok && reconcile.IsCopy(in.path, e) {
		r.noteBase(in.path, c.Path, e)
	}
	r.log.Debug("applied", "path", in.path, "kind", e.Kind.String())
	if dir, _ := merkle.SplitPath(in.path); r.records[dir] != nil && r.records[dir].hint() != 0 {
		r.hints[dir] = true
	}
}

// applyCopyOfTheirs handles the conflict that this node's version wins: theirs goes beside it.
func (r *Replica) applyCopyOfTheirs(in *incoming, plan reconcile.Plan) error {
	beside := &incoming{
		path: plan.CopyPath, theirs: plan.Copy, from: in.from, temp: in.temp, disk: in.disk, fetched: in.fetched,
	}
	copyPlan := reconcile.Merge(beside.path, r.tree.Get(beside.path), beside.theirs)
	if copyPlan.Entry != nil {
		if r.unpublished(beside.path) && !r.yields(beside.path) {
			return waitError{beside.path}
		}
		err := r.apply(beside, copyPlan)
		in.temp, in.disk = beside.temp, beside.disk // a symlink may have been made for it, which the next try takes
		if err != nil {
			return err
		}
		r.noteConflict(in, plan.CopyPath, plan.Copy)
	}
	if plan.Entry == nil {
		return nil
	}
	mine := r.tree.Get(in.path)
	if r.staysHeld(in.path, mine, plan) {
		r.noteTaken(in, plan.Entry)
		r.agree(in.path, plan.Entry, nil)
		return nil
	}
	if err := r.put(&putting{in: in, entry: plan.Entry, metadata: mine != nil && merkle.SameContent(mine, plan.Entry)}); err != nil {
		return err
	}
	r.finish(in, plan.Entry)
	return nil
}

// asRecorded checks that a path is on disk as the record says.
func (r *Replica) asRecorded(in *incoming) error {
	if in.reinstate || r.held[in.path] != nil {
		return nil // what differs here is known, and to be displaced
	}
	have := r.diskAt(in.path)
	if have.Kind == 0 && r.scanned && (in.theirs.Kind == merkle.File || in.theirs.Kind == merkle.Symlink) {
		return nil // nothing is replaced by what goes in there; before the first scan has come by, the very same may stand there
	}
	info, err := r.root.Lstat(in.path)
	switch {
	case absent(err):
		if have.Kind == 0 {
			return nil
		}
	case err != nil:
		return err
	case (sameDisk(have, info) || have.Kind == merkle.Dir && info.Kind == beneath.Dir && have.Mode == info.Mode) &&
		r.attributesAsRecorded(in.path, info):
		return nil
	}
	if err := r.otherHere(in.path); err != errIgnoredInTheWay || in.theirs.Live() || have.Kind != 0 {
		return err
	}
	return nil // there is nothing of it to be taken away
}

// otherHere looks at a path that is not as recorded, and returns why nothing can be put there.
func (r *Replica) otherHere(path string) error {
	r.look(path, false)
	if now := r.diskNow(path); now.Kind != 0 && r.ignores(path, now.Kind == merkle.Dir) {
		return errIgnoredInTheWay
	}
	return errChangedHere
}

// diskAt returns what of the agreed version is on disk.
func (r *Replica) diskAt(path string) index.Disk {
	if rec := r.records[path]; rec != nil && !rec.behind {
		return rec.disk()
	}
	return index.Disk{}
}

// A putting is one replacement of what stands at a path.
type putting struct {
	in       *incoming
	entry    *merkle.Entry // what is to stand there
	copyPath string        // where the displaced goes as a conflict copy; "": to the history
	copy     *merkle.Entry // what is to be agreed there
	metadata bool          // content stays, whatever the temporary file of in holds
	over     *change       // what stands there, where that is not what is recorded: it is part of the entry
}

// put brings the disk from what is recorded at the path to what the entry says, and the record with it.
func (r *Replica) put(p *putting) error {
	path, e := p.in.path, p.entry
	have := r.diskAt(path)
	if rec := r.records[path]; p.in.absent && rec != nil {
		have = rec.disk() // of an earlier version, perhaps
	}
	if p.in.reinstate || r.held[path] != nil {
		have = r.diskNow(path)
	}
	if p.over != nil {
		have = p.over.disk
	}
	switch {
	case e.Kind == merkle.Tombstone && have.Kind == 0:
		if r.isShelved(path) || r.diskAt(path).Kind != 0 { // it had gone already
			r.dropDisk(path)
		}
		return nil
	case e.Kind == merkle.Tombstone && have.Kind == merkle.Dir:
		if r.held[path].local() && !r.tree.Get(path).IsDir() {
			r.dismissBelow(path)
		}
		return r.putNoDir(p)
	case e.Kind == merkle.Tombstone:
		return r.putNothing(p, have)
	case e.Kind == merkle.Dir && have.Kind == merkle.Dir:
		return r.putMode(p, have)
	case e.Kind == merkle.Dir:
		return r.putDir(p, have)
	case have.Kind == merkle.Dir:
		if r.hasLive(path) {
			return r.besideDir(p)
		}
		r.endLingerBelow(path)
		r.dismissBelow(path)
		if err := r.intend(p, "", index.Disk{}); err != nil {
			return err
		}
		if err := r.removeDir(path); err != nil {
			r.lookInside(path)
			return fmt.Errorf("%s: a directory that holds what is not synchronised is in the way: %w", path, err)
		}
		r.dropDisk(path)
		return r.putNew(p, index.Disk{})
	case have.Kind == 0:
		return r.putNew(p, have)
	case p.metadata || (r.sameOnDisk(p, have) && !r.partsFrom(path, e)):
		linked, err := r.joins(p)
		if err != nil {
			return err
		}
		if linked {
			return r.putOver(p, have)
		}
		return r.putMetadata(p, have)
	}
	return r.putOver(p, have)
}

// sameOnDisk tells whether the path holds the entry's content already.
func (r *Replica) sameOnDisk(p *putting, have index.Disk) bool {
	mine := r.tree.Get(p.in.path)
	if h := r.held[p.in.path]; h != nil {
		return r.holdsContent(p.in.path, p.entry)
	}
	if p.over != nil {
		return p.over.attrs.Content == p.entry.Content
	}
	return !p.in.reinstate && !p.in.absent && !p.in.apart && mine != nil && have.Kind == p.entry.Kind && merkle.SameContent(mine, p.entry)
}

func (r *Replica) diskNow(path string) index.Disk {
	info, err := r.root.Lstat(path)
	if err != nil {
		return index.Disk{}
	}
	disk := diskOf(info)
	if a, err := r.attributesAt(path); err == nil && disk.Kind != 0 {
		a.on(&disk)
	}
	return disk
}

// intend writes down what is about to happen to a path, so that after a crash the outcome is known for what it is.
func (r *Replica) intend(p *putting, temp string, disk index.Disk) error {
	i := index.Intent{Path: p.in.path, Entry: p.entry, Disk: disk, Hint: p.in.hint, Temp: temp, Kept: p.copyPath}
	if mine := r.tree.Get(p.in.path); mine != nil {
		i.Old = mine.Content
	}
	if p.over != nil {
		i.Old = p.over.attrs.Content
	}
	if len(p.in.fetched) <= maxIntentBlocks {
		i.Blocks = p.in.fetched
	}
	return r.appendIntent(i)
}

// appendIntent writes an intent to the log.
func (r *Replica) appendIntent(i index.Intent) error { return r.appendIntents(i) }

// appendIntents writes intents to the log, all or none.
func (r *Replica) appendIntents(intents ...index.Intent) error {
	if err := r.root.At("apply.intent"); err != nil {
		return err
	}
	return r.intents.Append(intents...)
}

// maxIntentBlocks is the longest block list that an intent carries; a longer file is read again after a crash.
const maxIntentBlocks = 1024

// inWritable runs an operation in the directory of path. Where that directory's own mode forbids it, because a user
// made it read-only, it is made writable for the moment.
func (r *Replica) inWritable(path string, op func() error) error {
	err := op()
	dir, _ := merkle.SplitPath(path)
	if dir == "" || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	info, statErr := r.root.Lstat(dir)
	if statErr != nil || info.Kind != beneath.Dir || info.Mode&0o300 == 0o300 {
		return err
	}
	if r.root.Chmod("apply.unlock", dir, info.Mode|0o300) != nil {
		return err
	}
	err = op()
	if back := r.root.Chmod("apply.relock", dir, info.Mode); back != nil {
		err = errors.Join(err, back)
	}
	return err
}

// remedyFor tells what a user can do about an error of the file system.
func remedyFor(err error) string {
	switch {
	case errors.Is(err, errIgnoredInTheWay):
		return "move what stands there away; it is tried again by itself"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "free some space; it is tried again by itself"
	case errors.Is(err, fs.ErrPermission):
		return "make the directory writable for this user; it is tried again by itself"
	case errors.Is(err, syscall.EROFS):
		return "mount the file system writable; it is tried again by itself"
	case errors.Is(err, syscall.ENAMETOOLONG), errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.EILSEQ):
		return "rename it where it was made: the file system here has no such names; until then it is tried again by itself"
	}
	return "it is tried again by itself"
}
