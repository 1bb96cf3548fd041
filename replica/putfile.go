package replica

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"resonate/index"
	"resonate/merkle"
)

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
	disk, err := r.writeLink(temp, p.entry)
	if err != nil {
		r.removeOrLeave("apply.unneeded", temp)
		return "", index.Disk{}, err
	}
	p.in.temp, p.in.disk = temp, disk
	return temp, disk, nil
}

// writeLink makes the symlink temp, with all that an entry says. After an error it may be there.
func (r *Replica) writeLink(temp string, e *merkle.Entry) (index.Disk, error) {
	if err := r.root.Symlink("apply.symlink", e.Target, temp); err != nil {
		return index.Disk{}, err
	}
	if err := r.root.SetMTime("apply.mtime", temp, e.MTime); err != nil {
		return index.Disk{}, err
	}
	info, err := r.root.Lstat(temp)
	disk := diskOf(info)
	if err == nil && r.o.KeepOwner {
		err = r.putAttributes(applyLabels, temp, e, &disk)
	}
	return disk, err
}

// makeWhole takes the ending of a partial file from the temporary file of in, which is about to displace something.
func (r *Replica) makeWhole(in *incoming) error {
	whole, was := strings.CutSuffix(in.temp, partial)
	if !was {
		return nil
	}
	err := r.root.Move("fetch.whole", in.temp, whole)
	if err == nil {
		in.temp = whole
	}
	return err
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
	before := time.Now()
	r.own.add(p.in.path, disk)
	err = r.inWritable(p.in.path, func() error { return r.root.Move("apply.new", temp, p.in.path) })
	if errors.Is(err, fs.ErrExist) {
		return r.otherHere(p.in.path)
	}
	if err != nil {
		return err
	}
	p.in.temp = ""
	disk.Looked = lookedAfter(before)
	r.setDisk(p.in.path, disk, p.in.fetched)
	return nil
}

// putOver swaps a file or symlink for another, looks at what came out, and keeps that.
func (r *Replica) putOver(p *putting, have index.Disk) error {
	path := p.in.path
	if err := r.notBusy(p.in, path); err != nil {
		return err
	}
	if err := r.makeWhole(p.in); err != nil {
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
	before := time.Now()
	r.own.add(path, disk)
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
	r.lookBeyond(path)
	disk.Looked = lookedAfter(before)
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
	r.unmarkAt(temp)
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
	r.noteConflict(p.in, p.copyPath, p.copy)
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
	r.lookBeyond(path)
	r.dropDisk(path)
	return r.putAside(p, temp, have)
}

// putMetadata sets mode and mtime of what holds the right content already.
func (r *Replica) putMetadata(p *putting, have index.Disk) error {
	path, e := p.in.path, p.entry
	r.unmarkAt(path)
	goal := have
	goal.MTime = e.MTime
	if e.Kind == merkle.File {
		goal.Mode = have.Mode&^r.appliedMode() | e.Mode&r.appliedMode()
	}
	attributes, h := r.differsIn(have, e), r.held[path]
	if h != nil && !h.keepBlocks {
		p.in.fetched = h.blocks
	}
	if attributes {
		goal.XattrHash = merkle.XattrHash(e.Xattrs)
	}
	if err := r.intend(p, "", goal); err != nil {
		return err
	}
	if attributes {
		if err := r.putAttributes(applyLabels, path, e, &have); err != nil {
			r.leftHalfway(path)
			return err
		}
		rec := r.record(path)
		rec.setDisk(withAttributes(rec.disk(), have)) // should the rest fail, this was no user
		rec.mode = have.Mode
	}
	if goal.Mode != have.Mode {
		if err := r.root.Chmod("apply.chmod", path, goal.Mode&r.appliedMode()); err != nil {
			return err
		}
		r.record(path).mode = goal.Mode
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
	written := e.MTime == have.MTime && info.MTime != have.MTime // by somebody, since it was looked at
	if info.Inode != have.Inode || info.Size != have.Size || written {
		r.look(path, false)
		return errChangedHere
	}
	disk := diskOf(info)
	if e.MTime != have.MTime {
		disk.Checked = disk.MTime // a write in this very instant would not show: the next event has it read again
	}
	rec := r.record(path)
	disk = withAttributes(disk, have)
	rec.setDisk(disk)
	if h != nil && !h.keepBlocks {
		rec.setBlocks(h.blocks)
	}
	r.tellRefused(path, disk)
	r.touch(path)
	r.alsoAt(path)
	return nil
}
