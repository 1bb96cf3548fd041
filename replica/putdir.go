package replica

import (
	"errors"
	"io/fs"
	"syscall"
	"time"

	"resonate/beneath"
	"resonate/index"
	"resonate/merkle"
	"resonate/reconcile"
)

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
	disk := r.diskAt(p.in.path)
	plan := reconcile.MakeWay(p.in.path, p.entry, r.dirAttributes(p.in.path, &disk), by)
	beside := &incoming{path: plan.CopyPath, theirs: plan.Copy, from: p.in.from, temp: p.in.temp, disk: p.in.disk, fetched: p.in.fetched}
	err = r.apply(beside, reconcile.Plan{Entry: plan.Copy})
	p.in.temp, p.in.disk = beside.temp, beside.disk // a symlink may have been made for it, which the next try takes
	if err != nil {
		return err
	}
	p.entry = plan.Entry
	r.stamped(by)
	return nil
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
	err := r.inWritable(path, func() error { return r.root.Mkdir("apply.mkdir", path, p.entry.Mode&r.appliedMode()) })
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := r.root.Lstat(path)
	if err != nil {
		return err
	}
	if info.Kind != beneath.Dir {
		return r.otherHere(path)
	}
	disk := diskOf(info)
	r.setDisk(path, disk, nil) // should the rest fail, this was no user
	if err := r.putAttributes(applyLabels, path, p.entry, &disk); err != nil {
		return err
	}
	r.setDisk(path, disk, nil)
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
		if err := r.otherHere(dir); errors.Is(err, errIgnoredInTheWay) {
			return err
		}
		return waitError{dir}
	}
	disk := diskOf(info)
	implied := &merkle.Entry{Attributes: merkle.Attributes{Kind: merkle.Dir, Mode: defaultDirMode}}
	if err := r.putAttributes(applyLabels, dir, implied, &disk); err != nil { // it may have inherited an ACL
		return err
	}
	r.setDisk(dir, disk, nil)
	r.linger[dir] = true
	return nil
}

// putNoDir removes a directory that a peer deleted. One in which something lives lingers: a directory's tombstone loses
// to what lies in it.
func (r *Replica) putNoDir(p *putting) error {
	path := p.in.path
	if !r.hasLive(path) {
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

// putMode sets a directory's mode and attributes.
func (r *Replica) putMode(p *putting, have index.Disk) error {
	path, applied := p.in.path, r.appliedMode()
	delete(r.linger, path)
	mode, attributes := p.entry.Mode&applied, r.differsIn(have, p.entry)
	if mode == have.Mode&applied && !attributes {
		r.setDisk(path, have, nil)
		return nil
	}
	if err := r.intend(p, "", index.Disk{Kind: merkle.Dir}); err != nil {
		return err
	}
	if mode != have.Mode&applied {
		if err := r.root.Chmod("apply.chmod", path, mode); err != nil {
			return err
		}
		have.Mode = mode
		r.setDisk(path, have, nil) // should the rest fail, this was no user
	}
	if attributes {
		if err := r.putAttributes(applyLabels, path, p.entry, &have); err != nil {
			r.leftHalfway(path)
			return err
		}
	}
	r.setDisk(path, have, nil)
	return nil
}
