package replica

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"time"

	"resonate/beneath"
	"resonate/index"
	"resonate/merkle"
	"resonate/reconcile"
)

// appliedMode is the part of an entry's mode that is set on disk: never setuid or setgid.
const appliedMode = 0o1777

// apply puts a plan into effect: on disk, in the records, in the tree. It changes nothing at a path that is not as
// recorded: what a person did there is published first (errChangedHere).
func (r *Replica) apply(in *incoming, plan reconcile.Plan) error {
	if err := r.asRecorded(in); err != nil {
		return err
	}
	if plan.Copy != nil && plan.Copy == in.theirs {
		return r.applyCopyOfTheirs(in, plan)
	}
	put := putting{in: in, entry: plan.Entry, copyPath: plan.CopyPath, copy: plan.Copy}
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
	if !in.reinstate {
		var from *peer
		if len(in.from) > 0 && e == in.theirs {
			from = in.from[len(in.from)-1]
		}
		r.agree(in.path, e, from)
	}
	if in.hint != 0 && e.IsDir() {
		r.hint(in.path, in.hint)
	}
	if dir, _ := merkle.SplitPath(in.path); r.records[dir] != nil && r.records[dir].hint != 0 {
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
		if r.unpublished(beside.path) {
			return waitError{beside.path}
		}
		if err := r.apply(beside, copyPlan); err != nil {
			return err
		}
		in.temp = beside.temp
		r.log.Info("conflict: both are kept", "path", in.path, "copy", plan.CopyPath)
	}
	if plan.Entry == nil {
		return nil
	}
	mine := r.tree.Get(in.path)
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
	info, err := r.root.Lstat(in.path)
	switch {
	case absent(err):
		if have.Kind == 0 {
			return nil
		}
	case err != nil:
		return err
	case sameDisk(have, info):
		return nil
	case have.Kind == merkle.Dir && info.Kind == beneath.Dir && have.Mode == info.Mode:
		return nil
	}
	r.look(in.path, false)
	return errChangedHere
}

func (r *Replica) diskAt(path string) index.Disk {
	if rec := r.records[path]; rec != nil {
		return rec.disk
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
}

// put brings the disk from what is recorded at the path to what the entry says, and the record with it.
func (r *Replica) put(p *putting) error {
	path, e := p.in.path, p.entry
	have := r.diskAt(path)
	if p.in.reinstate || r.held[path] != nil {
		have = r.diskNow(path)
	}
	switch {
	case e.Kind == merkle.Tombstone && have.Kind == 0:
		return nil
	case e.Kind == merkle.Tombstone && have.Kind == merkle.Dir:
		return r.putNoDir(p)
	case e.Kind == merkle.Tombstone:
		return r.putNothing(p, have)
	case e.Kind == merkle.Dir && have.Kind == merkle.Dir:
		return r.putMode(p, have)
	case e.Kind == merkle.Dir:
		return r.putDir(p, have)
	case have.Kind == merkle.Dir:
		if r.tree.HasLive(path) {
			return r.besideDir(p)
		}
		r.endLingerBelow(path)
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
	case p.metadata || r.sameOnDisk(p, have):
		return r.putMetadata(p, have)
	}
	return r.putOver(p, have)
}

// sameOnDisk tells whether the path holds the entry's content already.
func (r *Replica) sameOnDisk(p *putting, have index.Disk) bool {
	mine := r.tree.Get(p.in.path)
	return !p.in.reinstate && mine != nil && have.Kind == p.entry.Kind && merkle.SameContent(mine, p.entry)
}

func (r *Replica) diskNow(path string) index.Disk {
	info, err := r.root.Lstat(path)
	if err != nil {
		return index.Disk{}
	}
	return diskOf(info)
}

// besideDelay is how long a version that replaces a directory waits for what lies in it to be deleted, too: peers see
// and tell that one by one.
const besideDelay = 5 * settleDelay

// besideDir handles a version that replaces a directory in which something lives. That may be on its way out; if it is
// not when all else is in, the directory stays, and what should have replaced it is kept beside it.
func (r *Replica) besideDir(p *putting) error {
	for below, e := range r.tree.All(p.in.path) {
		if e.Live() && (len(r.incoming[below]) > 0 || r.unpublished(below)) {
			return waitError{below}
		}
	}
	if time.Since(r.lastChange) < settleDelay || time.Since(p.in.came) < besideDelay || r.anyDiff() {
		r.later[p.in.path] = time.Now().Add(settleDelay)
		r.wakeIn(settleDelay)
		return waitError{p.in.path}
	}
	by, err := r.author()
	if err != nil {
		return err
	}
	plan := reconcile.MakeWay(p.in.path, p.entry, r.diskAt(p.in.path).Mode, by)
	beside := &incoming{path: plan.CopyPath, theirs: plan.Copy, from: p.in.from, temp: p.in.temp, disk: p.in.disk, fetched: p.in.fetched}
	if err := r.apply(beside, reconcile.Plan{Entry: plan.Copy}); err != nil {
		return err
	}
	p.in.temp = beside.temp
	p.entry = plan.Entry
	r.stamped(by)
	return nil
}

// intend writes down what is about to happen to a path, so that after a crash the outcome is known for what it is.
func (r *Replica) intend(p *putting, temp string, disk index.Disk) error {
	i := index.Intent{Path: p.in.path, Entry: p.entry, Disk: disk, Hint: p.in.hint, Temp: temp, Kept: p.copyPath}
	if mine := r.tree.Get(p.in.path); mine != nil {
		i.Old = mine.Content
	}
	if len(p.in.fetched) <= maxIntentBlocks {
		i.Blocks = p.in.fetched
	}
	if err := r.root.At("apply.intent"); err != nil {
		return err
	}
	return r.intents.Append(i)
}

// maxIntentBlocks is the longest block list that an intent carries; a longer file is read again after a crash.
const maxIntentBlocks = 1024

// tempFor returns the whole temporary file that is to go in: the fetched one, or a new symlink.
func (r *Replica) tempFor(p *putting) (string, index.Disk, error) {
	if p.entry.Kind == merkle.File {
		if p.in.temp == "" {
			return "", index.Disk{}, fmt.Errorf("%s: content is missing", p.in.path)
		}
		return p.in.temp, p.in.disk, nil
	}
	if p.in.temp != "" { // made at an earlier try
		return p.in.temp, p.in.disk, nil
	}
	temp := r.tempName()
	if err := r.root.Symlink("apply.symlink", p.entry.Target, temp); err != nil {
		return "", index.Disk{}, err
	}
	if err := r.root.SetMTime("apply.mtime", temp, p.entry.MTime); err != nil {
		r.removeOrLeave("apply.unneeded", temp)
		return "", index.Disk{}, err
	}
	info, err := r.root.Lstat(temp)
	p.in.temp, p.in.disk = temp, diskOf(info)
	return temp, p.in.disk, err
}

// putNew puts a file or symlink where nothing stands.
func (r *Replica) putNew(p *putting, _ index.Disk) error {
	temp, disk, err := r.tempFor(p)
	if err != nil {
		return err
	}
	if err := r.intend(p, temp, disk); err != nil {
		return err
	}
	err = r.inWritable(p.in.path, func() error { return r.root.Move("apply.new", temp, p.in.path) })
	if errors.Is(err, fs.ErrExist) {
		r.look(p.in.path, false)
		return errChangedHere
	}
	if err != nil {
		return err
	}
	p.in.temp = ""
	r.setDisk(p.in.path, disk, p.in.fetched)
	return nil
}

// putOver swaps a file or symlink for another, looks at what came out, and keeps that.
func (r *Replica) putOver(p *putting, have index.Disk) error {
	path := p.in.path
	if err := r.notBusy(p.in, path); err != nil {
		return err
	}
	temp, disk, err := r.tempFor(p)
	if err != nil {
		return err
	}
	if err := r.intend(p, temp, disk); err != nil {
		return err
	}
	swap := func() error { return r.root.Exchange("apply.swap", temp, path) }
	if err := r.inWritable(path, swap); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			r.look(path, false)
			return errChangedHere
		}
		return err
	}
	if err := r.cameOut(p.in, temp, have); err != nil {
		if back := swap(); back != nil {
			r.keepOrLeave(temp, path)
			return errors.Join(err, back)
		}
		r.look(path, false)
		return err
	}
	p.in.temp = ""
	r.setDisk(path, disk, p.in.fetched)
	return r.putAside(p, temp, have)
}

// cameOut checks that what a swap brought out is what was recorded: otherwise a person wrote it in that instant, or is
// about to.
func (r *Replica) cameOut(in *incoming, temp string, have index.Disk) error {
	info, err := r.root.Lstat(temp)
	if err != nil {
		return err
	}
	if !sameDisk(have, info) {
		return errChangedHere
	}
	return r.notBusy(in, temp)
}

// notBusy makes a version wait while somebody has the file that it replaces open for writing, for a time.
func (r *Replica) notBusy(in *incoming, path string) error {
	if !in.busy.IsZero() && time.Since(in.busy) > maxBusy {
		return nil
	}
	if r.busyWriting(path) {
		return errBusy
	}
	return nil
}

// putAside takes the displaced file to where it is kept: beside the path as a conflict copy, or in the history.
func (r *Replica) putAside(p *putting, temp string, displaced index.Disk) error {
	if p.copyPath == "" {
		r.keepOrLeave(temp, p.in.path)
		return nil
	}
	err := r.root.Move("apply.copy", temp, p.copyPath)
	if err != nil { // it is there already, or cannot be: the bytes are kept all the same
		r.log.Warn("conflict copy cannot be made: it is kept in the history", "path", p.copyPath, "cause", err)
		r.keepOrLeave(temp, p.in.path)
		return nil
	}
	blocks, _ := r.blockListBefore(p)
	if r.tree.Get(p.copyPath) == nil {
		r.setDisk(p.copyPath, displaced, blocks)
		r.agree(p.copyPath, p.copy, nil)
	} else {
		r.look(p.copyPath, false)
	}
	r.log.Info("conflict: both are kept", "path", p.in.path, "copy", p.copyPath)
	return nil
}

// blockListBefore returns the blocks of the displaced file, where they are at hand; else it is read again.
func (r *Replica) blockListBefore(p *putting) (merkle.BlockList, error) {
	if p.copy.Kind != merkle.File {
		return nil, nil
	}
	list, err := r.index.Blocks(p.in.path)
	if err != nil || list.Root() != p.copy.Content {
		return nil, err
	}
	return list, nil
}

// putNothing takes away a file or symlink.
func (r *Replica) putNothing(p *putting, have index.Disk) error {
	path := p.in.path
	if err := r.notBusy(p.in, path); err != nil {
		return err
	}
	temp := r.tempName()
	if err := r.intend(p, temp, index.Disk{}); err != nil {
		return err
	}
	err := r.inWritable(path, func() error { return r.root.Move("apply.away", path, temp) })
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			r.look(path, false)
			return errChangedHere
		}
		return err
	}
	if err := r.cameOut(p.in, temp, have); err != nil {
		if back := r.root.Move("apply.back", temp, path); back != nil {
			r.keepOrLeave(temp, path)
			return errors.Join(err, back)
		}
		r.look(path, false)
		return err
	}
	r.dropDisk(path)
	return r.putAside(p, temp, have)
}

// putDir makes a directory, where nothing or something else stands.
func (r *Replica) putDir(p *putting, have index.Disk) error {
	if have.Kind != 0 {
		if err := r.putNothing(p, have); err != nil {
			return err
		}
	}
	path := p.in.path
	if err := r.intend(p, "", index.Disk{Kind: merkle.Dir}); err != nil {
		return err
	}
	err := r.inWritable(path, func() error { return r.root.Mkdir("apply.mkdir", path, p.entry.Mode&appliedMode) })
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := r.root.Lstat(path)
	if err != nil {
		return err
	}
	if info.Kind != beneath.Dir {
		r.look(path, false)
		return errChangedHere
	}
	r.setDisk(path, diskOf(info), nil)
	return nil
}

// implyDir makes a directory of which only what lies in it is known.
func (r *Replica) implyDir(dir string) error {
	err := r.inWritable(dir, func() error { return r.root.Mkdir("apply.mkdir", dir, defaultDirMode) })
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := r.root.Lstat(dir)
	if err != nil {
		return err
	}
	if info.Kind != beneath.Dir {
		r.look(dir, false)
		return waitError{dir}
	}
	r.setDisk(dir, diskOf(info), nil)
	r.linger[dir] = true
	return nil
}

// putNoDir removes a directory that a peer deleted. One in which something lives lingers: a directory's tombstone loses
// to what lies in it.
func (r *Replica) putNoDir(p *putting) error {
	path := p.in.path
	if !r.tree.HasLive(path) {
		err := r.intend(p, "", index.Disk{})
		if err == nil {
			err = r.removeDir(path)
		}
		if err == nil {
			r.dropDisk(path)
			return nil
		}
		if !errors.Is(err, syscall.ENOTEMPTY) && !errors.Is(err, fs.ErrExist) {
			return err
		}
		r.lookInside(path)
	}
	r.linger[path] = true
	return nil
}

func (r *Replica) removeDir(path string) error {
	err := r.inWritable(path, func() error { return r.root.RemoveDir("apply.rmdir", path) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// lookInside looks at all that lies directly in a directory: something is there that was not known.
func (r *Replica) lookInside(dir string) {
	entries, err := r.root.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		r.look(merkle.Join(dir, e.Name), false)
	}
}

// putMode sets a directory's mode.
func (r *Replica) putMode(p *putting, have index.Disk) error {
	path := p.in.path
	delete(r.linger, path)
	if mode := p.entry.Mode & appliedMode; mode != have.Mode&appliedMode {
		if err := r.intend(p, "", index.Disk{Kind: merkle.Dir}); err != nil {
			return err
		}
		if err := r.root.Chmod("apply.chmod", path, mode); err != nil {
			return err
		}
		have.Mode = mode
	}
	r.setDisk(path, have, nil)
	return nil
}

// putMetadata sets mode and mtime of what holds the right content already.
func (r *Replica) putMetadata(p *putting, have index.Disk) error {
	path, e := p.in.path, p.entry
	goal := have
	goal.MTime = e.MTime
	if e.Kind == merkle.File {
		goal.Mode = have.Mode&^appliedMode | e.Mode&appliedMode
	}
	if err := r.intend(p, "", goal); err != nil {
		return err
	}
	if goal.Mode != have.Mode {
		if err := r.root.Chmod("apply.chmod", path, goal.Mode&appliedMode); err != nil {
			return err
		}
		r.record(path).disk.Mode = goal.Mode // should the rest fail, this was no user
	}
	if e.MTime != have.MTime {
		if err := r.root.SetMTime("apply.mtime", path, e.MTime); err != nil {
			return err
		}
	}
	info, err := r.root.Lstat(path)
	if err != nil {
		return err
	}
	if info.Inode != have.Inode || info.Size != have.Size {
		r.look(path, false)
		return errChangedHere
	}
	disk := diskOf(info)
	if e.MTime != have.MTime {
		disk.Checked = disk.MTime // a write in this very instant would not show: the next event has it read again
	}
	rec := r.record(path)
	rec.disk = disk
	r.touch(path)
	return nil
}

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
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "free some space; it is tried again by itself"
	case errors.Is(err, fs.ErrPermission):
		return "make the directory writable for this user; it is tried again by itself"
	case errors.Is(err, syscall.EROFS):
		return "mount the file system writable; it is tried again by itself"
	case errors.Is(err, syscall.ENAMETOOLONG):
		return "rename it to a shorter name where it was made"
	}
	return "it is tried again by itself"
}
