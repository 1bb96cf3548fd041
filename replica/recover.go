package replica

import (
	"path"
	"strings"

	"resonate/beneath"
	"resonate/control"
	"resonate/index"
	"resonate/merkle"
	"resonate/reconcile"
)

// recover takes over what an earlier run had begun and not written to the index: swaps that happened become what they
// were meant to be, and every temporary file is looked at before it goes.
func (r *Replica) recover(intents []index.Intent) error {
	for n, i := range intents {
		if err := r.recoverIntent(i, intents[n+1:]); err != nil {
			return err
		}
	}
	return r.clearTemporary()
}

// whereNow returns where that is by now which stood at path before the moves among later.
func (r *Replica) whereNow(path string, later []index.Intent) string {
	for n, i := range later {
		if i.From == "" || pathAllowed(i.Path) != nil || !below(i.From)(path) {
			continue
		}
		info, err := r.root.Lstat(r.whereNow(i.Path, later[n+1:]))
		if err == nil && kindOf(info.Kind) == i.Disk.Kind && info.Inode == i.Disk.Inode {
			path = i.Path + path[len(i.From):]
		}
	}
	return path
}

// recoverIntent takes over what one intent tells; later are those that came after it.
func (r *Replica) recoverIntent(i index.Intent, later []index.Intent) error {
	if pathAllowed(i.Path) != nil || i.Entry == nil {
		return nil
	}
	now := r.whereNow(i.Path, later)
	if now != i.Path && r.tree.Get(now).Live() {
		return nil // the move is in the index already, and so is what came before
	}
	info, err := r.root.Lstat(now)
	if err = ignoreMissing(err); err != nil {
		return err
	}
	switch {
	case i.From != "":
		r.recoverMove(i, info)
		return nil
	case i.Entry.Kind == merkle.Tombstone && i.Disk.Kind == merkle.Dir:
		r.recoverRemoval(i, info)
		return nil
	}
	before := r.diskAt(i.Path)
	info = r.finishMetadata(i, info, before)
	happened := false
	switch i.Entry.Kind {
	case merkle.Tombstone:
		happened = info.Kind == 0
	case merkle.Dir:
		happened = info.Kind == beneath.Dir
	default:
		happened = info.Kind != 0 && info.Inode == i.Disk.Inode && info.Size == i.Disk.Size && info.MTime == i.Disk.MTime &&
			(i.Temp != "" || info.Mode == i.Disk.Mode)
	}
	if r.madeWay(i, info, before) && r.root.Mkdir("recover.mkdir", i.Path, i.Entry.Mode&r.appliedMode()) == nil {
		info, err = r.root.Lstat(i.Path)
		happened = err == nil
	}
	mine := r.tree.Get(i.Path)
	switch {
	case happened:
		r.recoverEntry(i, info)
	case info.Kind == 0 && before.Kind == merkle.Dir && i.Temp == "": // gone to make way for what did not come
		if err := r.root.Mkdir("recover.mkdir", i.Path, before.Mode); err != nil { // it is found to be gone, then
			r.log.Debug("directory cannot be made again", "path", i.Path, "cause", err)
		}
		return nil
	case info.Kind == 0 && before.Kind != 0 && i.Entry.Kind == merkle.Dir:
		away, err := r.root.Lstat(i.Temp)
		if err == nil && sameDisk(before, away) && r.root.Move("recover.back", i.Temp, i.Path) == nil {
			return nil
		}
	}
	if err := r.recoverTemp(i, before); err != nil {
		return err
	}
	if happened {
		r.recoverCopy(i, mine, before)
	}
	return nil
}

// madeWay tells whether the file or symlink at the path of an intent was taken away for a directory that was not made any more: had a
// user removed it, it would not be kept.
func (r *Replica) madeWay(i index.Intent, info beneath.Info, before index.Disk) bool {
	if info.Kind != 0 || i.Entry.Kind != merkle.Dir || (before.Kind != merkle.File && before.Kind != merkle.Symlink) {
		return false
	}
	if i.Temp == "" { // that is written down when the way is free
		return true
	}
	found := false
	err := r.kept(i.Path, func(k control.Kept) error {
		kept, err := r.root.Lstat(k.File)
		found = found || (err == nil && k.Path == i.Path && sameDisk(before, kept))
		return nil
	})
	if pathAllowed(i.Kept) == nil {
		kept, err := r.root.Lstat(i.Kept)
		found = found || (err == nil && sameDisk(before, kept))
	}
	return found && err == nil
}

// recoverMove makes a move agreed that has happened.
func (r *Replica) recoverMove(i index.Intent, info beneath.Info) {
	if r.respelled(i) {
		info, _ = r.root.Lstat(i.Path)
	}
	e := r.tree.Get(i.From)
	done := info.Kind != 0 && kindOf(info.Kind) == i.Disk.Kind && info.Inode == i.Disk.Inode
	if !done || pathAllowed(i.From) != nil || !e.Live() || r.diskAt(i.From).Inode != i.Disk.Inode || r.tree.Get(i.Path).Live() {
		return
	}
	if _, err := r.root.Lstat(i.From); !absent(err) {
		return
	}
	r.relocate(i.From, i.Path, madeBy(i.Entry.Version))
	r.noteRecovered(i.Path, i.From, i.Entry)
}

// recoverRemoval makes the deletion of a directory and all below it agreed that has happened.
func (r *Replica) recoverRemoval(i index.Intent, info beneath.Info) {
	away, err := r.root.Lstat(i.Temp)
	if err != nil || !strings.HasPrefix(i.Temp, historyDir+"/") || away.Inode != i.Disk.Inode || info.Kind != 0 ||
		!r.tree.Get(i.Path).Live() || r.diskAt(i.Path).Inode != i.Disk.Inode {
		return
	}
	r.removed(i.Path, madeBy(i.Entry.Version))
	r.noteRecovered(i.Path, "", i.Entry)
}

func madeBy(v merkle.Version) reconcile.Author {
	return reconcile.Author{Node: v.Author, Stamp: v.Stamp, Token: v.Token}
}

// recoverCopy makes the conflict copy that a swap has left beside the path agreed: found by a scan, it would pass for a
// new file of this node's. loser is what was agreed at the path before.
func (r *Replica) recoverCopy(i index.Intent, loser *merkle.Entry, before index.Disk) {
	if pathAllowed(i.Kept) != nil || !loser.Live() || reconcile.ConflictPath(i.Path, loser) != i.Kept || r.tree.Get(i.Kept) != nil {
		return
	}
	info, err := r.root.Lstat(i.Kept)
	if err != nil || !sameDisk(before, info) {
		return
	}
	r.noteRecovered(i.Kept, "", loser)
	r.tree.Put(i.Kept, loser)
	noteLink(r.linked, i.Kept, loser)
	r.setDisk(i.Kept, before, nil)
}

// finishMetadata sets what an intent was to set of mode and mtime alone, where the crash came in between: it is not to
// pass for a user's change. What a user has set since stays.
func (r *Replica) finishMetadata(i index.Intent, info beneath.Info, before index.Disk) beneath.Info {
	applied := r.appliedMode()
	mode := i.Entry.Mode & applied
	mine := r.tree.Get(i.Path)
	switch {
	case mine != nil && i.Entry.Version.Vector.Compare(mine.Version.Vector) == merkle.Before: // done long ago
		return info
	case i.Entry.Kind != kindOf(info.Kind) || i.Temp != "" || i.Disk.Kind == 0: // that one made way for what came next
		return info
	case i.Entry.Kind == merkle.Dir:
		if info.Mode&applied == mode || (before.Kind == merkle.Dir && info.Mode != before.Mode) {
			return info
		}
	case info.Inode != before.Inode || info.Size != before.Size || (info.Mode != before.Mode && info.Mode|unlocked != i.Disk.Mode|unlocked) ||
		(info.MTime != before.MTime && info.MTime != i.Disk.MTime):
		return info
	}
	var err error
	if i.Entry.Kind != merkle.Symlink && info.Mode&applied != mode {
		err = r.root.Chmod("recover.chmod", i.Path, mode)
	}
	if i.Entry.Kind != merkle.Dir && info.MTime != i.Disk.MTime && err == nil {
		err = r.root.SetMTime("recover.mtime", i.Path, i.Disk.MTime)
	}
	if now, statErr := r.root.Lstat(i.Path); err == nil && statErr == nil {
		return now
	}
	return info
}

// recoverEntry makes the outcome of a swap agreed, unless the index knows something newer.
func (r *Replica) recoverEntry(i index.Intent, info beneath.Info) {
	mine := r.tree.Get(i.Path)
	plan := reconcile.Merge(i.Path, mine, i.Entry)
	if plan.Entry == nil && (mine == nil || mine.Hash() != i.Entry.Hash()) {
		return
	}
	if plan.Entry != nil {
		r.noteRecovered(i.Path, "", i.Entry)
		r.tree.Put(i.Path, i.Entry)
		noteLink(r.linked, i.Path, i.Entry)
		r.meetStamps(i.Entry.Version.Vector)
	}
	switch i.Entry.Kind {
	case merkle.Tombstone:
		r.dropDisk(i.Path)
	case merkle.Dir:
		disk := diskOf(info)
		if mode := i.Entry.Mode & r.appliedMode(); disk.Mode&r.appliedMode() != mode {
			disk.Mode = mode // a user has changed it since
		}
		r.recoverAttributes(i, mine, &disk)
		r.setDisk(i.Path, disk, nil)
	default:
		disk, blocks := i.Disk, i.Blocks
		switch {
		case i.Temp == "" && (len(blocks) == 0 || blocks.Root() != i.Entry.Content): // the content is as before
			blocks = r.record(i.Path).blocks()
		case blocks == nil:
			blocks = merkle.BlockList{}
		}
		r.recoverAttributes(i, mine, &disk)
		r.setDisk(i.Path, disk, blocks)
		if r.unclean {
			r.records[i.Path].inode = 0 // its name may have come to the disk before its content: it is read again
		}
	}
	r.record(i.Path).setHint(i.Hint)
	r.touch(i.Path)
}

// recoverTemp deals with the temporary file of a swap: the one that was to come in is superfluous; one that came out is
// kept where it was meant to be. One that is not what was recorded is a person's own, made in that instant: it goes
// back, or beside.
func (r *Replica) recoverTemp(i index.Intent, before index.Disk) error {
	if !strings.HasPrefix(i.Temp, tmpDir+"/") {
		return nil
	}
	info, err := r.root.Lstat(i.Temp)
	if err != nil {
		return ignoreMissing(err)
	}
	switch {
	case i.Disk.Inode != 0 && info.Inode == i.Disk.Inode:
		return r.root.Remove("recover.remove", i.Temp)
	case before.Kind != 0 && !sameDisk(before, info) && !r.displaces(i):
		if r.root.Move("recover.back", i.Temp, i.Path) == nil {
			return nil
		}
		own := &merkle.Entry{Version: merkle.Version{Author: r.self, Stamp: merkle.Stamp(info.MTime / 1000)}}
		if r.root.Move("recover.beside", i.Temp, reconcile.ConflictPath(i.Path, own)) == nil {
			return nil
		}
	case i.Kept != "" && pathAllowed(i.Kept) == nil:
		if r.root.Move("recover.copy", i.Temp, i.Kept) == nil {
			return nil
		}
	}
	return r.keep(i.Temp, i.Path)
}

// displaces tells whether the temporary file of an intent holds what was to be displaced, which was not in the index yet: a change
// that what came in is made of.
func (r *Replica) displaces(i index.Intent) bool {
	mine := r.tree.Get(i.Path)
	if i.Old.IsZero() || mine.Live() && mine.Content == i.Old {
		return false
	}
	hash, _, err := r.contentOf(i.Temp, nil)
	return err == nil && hash == i.Old
}

// clearTemporary removes what never held anybody's content, or holds what is in the tree; the rest goes to the history
// as lost+found. What was fetched of a long file stays for the next try.
func (r *Replica) clearTemporary() error {
	entries, err := r.root.ReadDir(tmpDir)
	if err != nil {
		return err
	}
	var known map[merkle.Hash]bool
	var buf []byte
	for _, e := range entries {
		name := path.Join(tmpDir, e.Name)
		if r.recoverPart(name) {
			continue
		}
		info, err := r.root.Lstat(name)
		if err != nil {
			return err
		}
		if info.Kind == beneath.Dir && strings.HasSuffix(e.Name, partial) { // a build that was never in place
			if err := r.removeTree(name); err != nil {
				return err
			}
			continue
		}
		if !strings.HasSuffix(e.Name, partial) {
			if known == nil {
				known = r.contents()
			}
			var hash merkle.Hash
			if hash, buf, err = r.contentOf(name, buf); err == nil && !known[hash] {
				if err := r.keep(name, "lost+found/"+e.Name); err != nil {
					return err
				}
				continue
			}
		}
		if err := r.root.Remove("recover.remove", name); err != nil {
			return err
		}
	}
	return nil
}

// contents returns the hashes of all files agreed.
func (r *Replica) contents() map[merkle.Hash]bool {
	known := make(map[merkle.Hash]bool)
	for _, e := range r.tree.All("") {
		if e.Kind == merkle.File {
			known[e.Content] = true
		}
	}
	return known
}

func (r *Replica) contentOf(name string, buf []byte) (merkle.Hash, []byte, error) {
	f, err := r.root.OpenFile(name)
	if err != nil {
		return merkle.Hash{}, buf, err
	}
	defer f.Close()
	list, buf, err := merkle.Split(f, buf)
	return list.Root(), buf, err
}
