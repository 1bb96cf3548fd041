package replica

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"resonate/beneath"
	"resonate/index"
	"resonate/merkle"
)

// attributes are what a file or directory has beside content, mode and times, as it was found on disk.
type attributes struct {
	xattrs []merkle.Xattr
	over   []string // extended attributes that are too large to be synchronised
	owner  string   // "uid:gid", where ownership is kept
	name   string   // the same for an entry
	looked int64    // when reading that began, nanoseconds since 1970
}

// on notes the attributes in what is recorded of a path.
func (a attributes) on(d *index.Disk) {
	d.XattrHash, d.Owner, d.Looked = merkle.XattrHash(a.xattrs), a.owner, a.looked
}

// withAttributes returns d with the attributes that from has.
func withAttributes(d, from index.Disk) index.Disk {
	d.XattrHash, d.Refused, d.Owner, d.Looked = from.XattrHash, from.Refused, from.Owner, from.Looked
	return d
}

// unread tells whether the attributes of what is as recorded otherwise may have changed since they were last looked at. An event
// may be that of a change in the same tick of the clock (racy).
func (r *Replica) unread(d index.Disk, info beneath.Info, event bool) bool {
	since := d.Looked
	if event {
		since -= int64(racy)
	}
	return info.CTime > since || (r.o.KeepOwner && d.Owner == "")
}

// lookedAfter returns when the attributes of a file that was put in place since then count as looked at: in the tick of the clock that
// its ctime tells, if that took no time. A user may have changed them since.
func lookedAfter(then time.Time) int64 {
	return min(time.Now().UnixNano(), then.Add(racy/2).UnixNano())
}

// attributesAt reads the attributes of what stands at path. That includes the owner: what the caller knows may be of long before.
func (r *Replica) attributesAt(path string) (a attributes, err error) {
	a.looked = time.Now().UnixNano()
	info, err := r.root.Lstat(path)
	if err != nil {
		return a, err
	}
	a.name = r.ownerName(info)
	a.owner = r.ownerOnDisk(info)
	if info.Kind == beneath.Symlink {
		return a, nil
	}
	list, over, err := r.root.Xattrs(path)
	a.xattrs, a.over = entryXattrs(list), over
	return a, err
}

// attributesOf is attributesAt for an open file.
func (r *Replica) attributesOf(f *os.File, info beneath.Info) (a attributes, err error) {
	a.looked = time.Now().UnixNano()
	a.owner = r.ownerOnDisk(info)
	list, over, err := beneath.FXattrs(f)
	a.xattrs, a.over = entryXattrs(list), over
	return a, err
}

// attributesDiffer tells whether what stands at path, otherwise as recorded, has other attributes than the record says; attrs and disk,
// which begin as what is agreed and recorded, get those. What this user may not read counts as unchanged.
func (r *Replica) attributesDiffer(path string, info beneath.Info, event bool, attrs *merkle.Attributes, disk *index.Disk) bool {
	if !r.unread(*disk, info, event) {
		return false
	}
	a, err := r.attributesAt(path)
	if err != nil {
		r.log.Debug("attributes cannot be read", "path", path, "cause", err)
		if mine := r.tree.Get(path); mine.Live() && mine.Kind == attrs.Kind {
			attrs.Xattrs, attrs.Owner = mine.Xattrs, mine.Owner
			*disk = withAttributes(*disk, r.diskAt(path))
		}
		return false
	}
	before := *disk
	r.tellOver(path, a.over)
	a.on(disk)
	attrs.Xattrs, attrs.Owner = a.xattrs, a.name
	return disk.XattrHash != before.XattrHash || disk.Owner != before.Owner
}

// lookedAt notes that the attributes of path were found as recorded. Only a scan has that written down: it would have them read again
// at the next start.
func (r *Replica) lookedAt(path string, disk index.Disk, scan bool) {
	if rec := r.records[path]; rec != nil && rec.disk().Looked < disk.Looked {
		rec.looked = disk.Looked
		if scan {
			r.touch(path)
		}
	}
}

// attributesAsRecorded tells whether the attributes at path are as recorded, mode and times aside.
func (r *Replica) attributesAsRecorded(path string, info beneath.Info) bool {
	disk := r.diskAt(path)
	var attrs merkle.Attributes
	return disk.Kind == 0 || !r.attributesDiffer(path, info, false, &attrs, &disk)
}

// completed fills in what a change found here cannot tell, because it never was on this disk: what could not be set here stays
// agreed. What a program that rewrites a file would lose (setuid, setgid, capabilities) goes with the content.
func (r *Replica) completed(c *change) {
	mine := r.tree.Get(c.path)
	if c.attrs == nil || !mine.Live() || mine.Kind != c.attrs.Kind {
		return
	}
	have, rewritten := r.diskAt(c.path), c.attrs.Content != mine.Content
	attrs := *c.attrs
	if attrs.Owner == "" || have.Owner == c.disk.Owner { // not kept here, or as it was left
		attrs.Owner = mine.Owner
	}
	if attrs.Kind == merkle.File && attrs.Link.IsZero() && have.Inode == c.disk.Inode {
		attrs.Link = mine.Link
	}
	if !rewritten {
		attrs.Mode |= mine.Mode &^ r.appliedMode() &^ have.Mode
	}
	c.disk.Refused = ""
	for _, name := range refusedNames(have) {
		i := slices.IndexFunc(mine.Xattrs, func(x merkle.Xattr) bool { return x.Name == name })
		gone := i < 0 || slices.ContainsFunc(attrs.Xattrs, func(x merkle.Xattr) bool { return x.Name == name })
		switch {
		case name == refusedOwner:
			if have.Owner != c.disk.Owner {
				continue
			}
		case gone, rewritten && name == beneath.XattrCapability:
			continue
		default:
			attrs.Xattrs = append(slices.Clip(attrs.Xattrs), mine.Xattrs[i])
		}
		c.disk.Refused += name + "\x00"
	}
	slices.SortFunc(attrs.Xattrs, func(a, b merkle.Xattr) int { return strings.Compare(a.Name, b.Name) })
	c.attrs = &attrs
}

// finishFile gives a complete temporary file, open for writing, all that an entry says beside its content, and returns what the
// record is to say. It may run beside the loop.
func (r *Replica) finishFile(f *os.File, e *merkle.Entry) (index.Disk, error) {
	if err := endSparse(f, e.Size); err != nil {
		return index.Disk{}, err
	}
	info, err := beneath.Fstat(f)
	if err != nil {
		return index.Disk{}, err
	}
	refused, err := r.chownTo(e, info, func(uid, gid uint32) error { return beneath.Fchown(f, uid, gid) })
	if err != nil {
		return index.Disk{}, err
	}
	xattrs, err := r.root.FSetXattrs("fetch.xattrs", f, diskXattrs(e.Xattrs))
	if err != nil {
		return index.Disk{}, err
	}
	if err := beneath.FchmodMTime(f, e.Mode&r.appliedMode(), e.MTime); err != nil {
		return index.Disk{}, err
	}
	if info, err = beneath.Fstat(f); err != nil {
		return index.Disk{}, err
	}
	a := attributes{xattrs: e.Xattrs, owner: r.ownerOnDisk(info), looked: time.Now().UnixNano()}
	if len(e.Xattrs) > 0 {
		if a, err = r.attributesOf(f, info); err != nil {
			return index.Disk{}, err
		}
	}
	disk := diskOf(info)
	a.on(&disk)
	disk.Refused = refused + r.refusals(xattrs)
	return disk, nil
}

// copyAttributes gives a new file the attributes of another, of which info tells: what a kept file has, it could have here.
func (r *Replica) copyAttributes(to, from *os.File, info beneath.Info) error {
	if r.o.KeepOwner {
		if err := beneath.Fchown(to, info.UID, info.GID); err != nil {
			return err
		}
	}
	list, _, err := beneath.FXattrs(from)
	if err == nil {
		_, err = r.root.FSetXattrs("restore.xattrs", to, list)
	}
	return err
}

// differsIn tells whether attributes of what is recorded as have are not as the entry says.
func (r *Replica) differsIn(have index.Disk, e *merkle.Entry) bool {
	if e.Kind == merkle.Symlink {
		return r.o.KeepOwner
	}
	return merkle.XattrHash(e.Xattrs) != have.XattrHash || have.Refused != "" || (r.o.KeepOwner && e.Owner != "")
}

// putAttributes gives what stands at path the attributes that an entry says, times aside: the owner first, since that takes others away;
// then the mode, since an ACL goes beyond it. What cannot be set is noted in disk, which gets what was left.
func (r *Replica) putAttributes(l labels, path string, e *merkle.Entry, disk *index.Disk) error {
	info, err := r.root.Lstat(path)
	if err != nil {
		return err
	}
	disk.Refused, err = r.chownTo(e, info, func(uid, gid uint32) error { return r.root.Chown(l.owner, path, uid, gid) })
	if err != nil {
		return err
	}
	if e.Kind != merkle.Symlink {
		refused, err := r.putModeAndXattrs(l, path, e)
		if err != nil {
			return err
		}
		disk.Refused += r.refusals(refused)
	}
	if info, err = r.root.Lstat(path); err != nil {
		return err
	}
	a, err := r.attributesAt(path)
	if err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	a.on(disk)
	if info.Kind != beneath.Symlink {
		disk.Mode = info.Mode
	}
	return nil
}

// labels are those of the operations that set attributes, in their context.
type labels struct{ owner, xattrs, chmod beneath.Label }

var (
	applyLabels   = labels{"apply.owner", "apply.xattrs", "apply.chmod"}
	recoverLabels = labels{"recover.owner", "recover.xattrs", "recover.chmod"}
)

// leftHalfway notes what is at path after its attributes could not be set in all: that was no user.
func (r *Replica) leftHalfway(path string) {
	rec, now := r.record(path), r.diskNow(path)
	if now.Kind == rec.disk().Kind && now.Inode == rec.disk().Inode {
		rec.setDisk(withAttributes(rec.disk(), now))
		rec.mode = now.Mode
	}
}

func (r *Replica) putModeAndXattrs(l labels, path string, e *merkle.Entry) ([]beneath.RefusedXattr, error) {
	info, err := r.root.Lstat(path)
	if err != nil {
		return nil, err
	}
	if mode := e.Mode & r.appliedMode(); info.Mode&r.appliedMode() != mode {
		if err := r.root.Chmod(l.chmod, path, mode); err != nil {
			return nil, err
		}
		info.Mode = mode
	}
	return r.setXattrs(l, path, info, diskXattrs(e.Xattrs))
}

// setXattrs sets extended attributes. User attributes of what its owner may not write are refused to him: it is made writable for the
// moment.
func (r *Replica) setXattrs(l labels, path string, info beneath.Info, want []beneath.Xattr) ([]beneath.RefusedXattr, error) {
	refused, err := r.root.SetXattrs(l.xattrs, path, want)
	if errors.Is(err, fs.ErrPermission) { // it cannot even be opened
		refused, err = nil, nil
		for _, x := range want {
			refused = append(refused, beneath.RefusedXattr{Name: x.Name, Err: fs.ErrPermission})
		}
	}
	locked := slices.ContainsFunc(refused, func(x beneath.RefusedXattr) bool { return errors.Is(x.Err, fs.ErrPermission) })
	if err != nil || !locked || info.Mode&unlocked == unlocked || r.root.Chmod(l.chmod, path, info.Mode|unlocked) != nil {
		return refused, err
	}
	refused, err = r.root.SetXattrs(l.xattrs, path, want)
	return refused, errors.Join(err, r.root.Chmod(l.chmod, path, info.Mode))
}

// unlocked are the permission bits with which an owner may set user attributes.
const unlocked = 0o600

// appliedMode is the part of an entry's mode that is set on disk: setuid and setgid only where ownership is kept.
func (r *Replica) appliedMode() uint32 {
	if r.o.KeepOwner {
		return 0o7777
	}
	return 0o1777
}

// dirAttributes are what a directory is published with that is there by itself.
func (r *Replica) dirAttributes(dir string, disk *index.Disk) *merkle.Attributes {
	attrs := &merkle.Attributes{Kind: merkle.Dir, Mode: disk.Mode}
	info, err := r.root.Lstat(dir)
	if err != nil || info.Kind != beneath.Dir {
		return attrs
	}
	if a, err := r.attributesAt(dir); err == nil {
		a.on(disk)
		attrs.Xattrs, attrs.Owner = a.xattrs, a.name
	}
	return attrs
}

// recoverAttributes goes on with attributes that an intent was to set, where the crash came in between, and notes in disk what is there.
// mine is what the index knew to be agreed. What a user has set since stays: it is found to differ.
func (r *Replica) recoverAttributes(i index.Intent, mine *merkle.Entry, disk *index.Disk) {
	before := r.diskAt(i.Path)
	switch {
	case i.Temp != "" || i.Entry.Kind == merkle.Symlink:
		return
	case mine != nil && mine.Hash() == i.Entry.Hash(): // it was all done
		*disk = withAttributes(*disk, before)
		return
	}
	list, _, err := r.root.Xattrs(i.Path)
	if err != nil {
		return
	}
	wanted := func(x beneath.Xattr) bool {
		return slices.ContainsFunc(i.Entry.Xattrs, func(w merkle.Xattr) bool {
			return w.Name == x.Name && string(w.Value) == string(x.Value)
		})
	}
	foreign := slices.ContainsFunc(list, func(x beneath.Xattr) bool { return !wanted(x) })
	if before.Kind == i.Entry.Kind && foreign && merkle.XattrHash(entryXattrs(list)) != before.XattrHash {
		disk.XattrHash = merkle.XattrHash(i.Entry.Xattrs)
		return
	}
	mode := disk.Mode
	if err := r.putAttributes(recoverLabels, i.Path, i.Entry, disk); err != nil {
		r.log.Debug("attributes cannot be set", "path", i.Path, "cause", err)
	}
	disk.Mode = mode
}

func entryXattrs(list []beneath.Xattr) []merkle.Xattr {
	var out []merkle.Xattr
	for _, x := range list {
		out = append(out, merkle.Xattr{Name: x.Name, Value: x.Value})
	}
	return out
}

func diskXattrs(list []merkle.Xattr) []beneath.Xattr {
	var out []beneath.Xattr
	for _, x := range list {
		out = append(out, beneath.Xattr{Name: x.Name, Value: x.Value})
	}
	return out
}
