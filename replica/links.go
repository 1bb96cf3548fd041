package replica

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"resonate/merkle"
	"resonate/reconcile"
)

// Hard links: all names of one file share an ID in their entries (merkle.Attributes.Link), given when a second name is first seen. The
// kernel tells of a change under the name by which it was made, so whoever publishes looks at the others, too; and whoever
// applies makes a link to a name that is there already. Where there are no links, each name is a file of its own, and keeps its ID.

// linking is the loop's state of hard links. All maps may name paths that have gone on since: what is found in them is looked at.
type linking struct {
	linked map[merkle.Hash]map[string]bool // by ID, the paths agreed to be names of one file
	coming map[merkle.Hash]map[string]bool // by ID, the paths of versions that were announced
	inodes map[uint64]map[string]bool      // by inode, the paths recorded there that had an ID
}

func (l *linking) init() {
	l.linked = make(map[merkle.Hash]map[string]bool)
	l.coming = make(map[merkle.Hash]map[string]bool)
	l.inodes = make(map[uint64]map[string]bool)
}

// noteLink notes that e, of path, is one name of a file that has several.
func noteLink(links map[merkle.Hash]map[string]bool, path string, e *merkle.Entry) {
	if e == nil || e.Link.IsZero() {
		return
	}
	if links[e.Link] == nil {
		links[e.Link] = make(map[string]bool)
	}
	links[e.Link][path] = true
}

// siblings returns the other names that path shares an inode with here, by what is agreed and recorded, in order.
func (r *Replica) siblings(path string) (out []string) {
	mine, inode := r.tree.Get(path), r.diskAt(path).Inode
	if mine == nil || mine.Link.IsZero() || inode == 0 {
		return nil
	}
	for q := range r.linked[mine.Link] {
		if e := r.tree.Get(q); e == nil || e.Link != mine.Link {
			delete(r.linked[mine.Link], q)
		} else if d := r.diskAt(q); q != path && d.Kind == merkle.File && d.Inode == inode {
			out = append(out, q)
		}
	}
	if len(r.linked[mine.Link]) == 0 {
		delete(r.linked, mine.Link)
	}
	slices.Sort(out)
	return out
}

// noteInode notes that path, of which e is agreed, is recorded at an inode that other names may have, too.
func (l *linking) noteInode(inode uint64, path string, e *merkle.Entry) {
	if e.Link.IsZero() {
		return
	}
	if l.inodes[inode] == nil {
		l.inodes[inode] = make(map[string]bool)
	}
	l.inodes[inode][path] = true
}

// strangers returns the names that share an inode with path here and are agreed to be another file.
func (r *Replica) strangers(path string) (out []string) {
	mine, inode := r.tree.Get(path), r.diskAt(path).Inode
	if !mine.Live() {
		return nil
	}
	for q := range r.inodes[inode] {
		e, d := r.tree.Get(q), r.diskAt(q)
		switch {
		case d.Kind != merkle.File || d.Inode != inode:
			delete(r.inodes[inode], q)
		case q != path && e.Live() && e.Link != mine.Link:
			out = append(out, q)
		}
	}
	if len(r.inodes[inode]) == 0 {
		delete(r.inodes, inode)
	}
	return out
}

// leaves tells whether path is to become a file of its own for the sake of a stranger: that with the smaller ID keeps the inode.
func (r *Replica) leaves(path string) bool {
	mine := r.tree.Get(path)
	return slices.ContainsFunc(r.strangers(path), func(q string) bool {
		other := r.tree.Get(q)
		return bytes.Compare(other.Link[:], mine.Link[:]) < 0
	})
}

// joinLinks gives the changes of files with several names the ID that these share, and adds the same change of the other names. It is
// one pass over all records for all files of a turn whose names are not known yet.
func (r *Replica) joinLinks() {
	if r.o.Mode == Receive {
		return // that two names are one file here is not told
	}
	names := make(map[uint64][]string) // by inode
	found := make(map[uint64]*change)
	fresh := make(map[*change]bool) // the others have waited, and may be of how the file was before
	unknown := false
	for _, c := range r.changes {
		if c.links < 2 || c.attrs == nil || c.joined {
			continue
		}
		c.joined, fresh[c] = true, true
		inode := c.disk.Inode
		names[inode] = append(names[inode], c.path)
		found[inode] = c
		siblings := r.siblings(c.path)
		if r.diskAt(c.path).Inode != inode || len(siblings) == 0 {
			unknown = true
		}
		names[inode] = append(names[inode], siblings...)
	}
	if unknown {
		for path, rec := range r.records {
			if found[rec.disk().Inode] != nil && rec.disk().Kind == merkle.File {
				names[rec.disk().Inode] = append(names[rec.disk().Inode], path)
			}
		}
	}
	for path, c := range r.changes { // names that it has got and that wait, of which no record tells yet
		if !fresh[c] && c.attrs != nil && found[c.disk.Inode] != nil {
			names[c.disk.Inode] = append(names[c.disk.Inode], path)
		}
	}
	for inode, paths := range names {
		slices.Sort(paths)
		r.joinLink(found[inode], slices.Compact(paths), fresh)
	}
}

// joinLink makes paths, of which c is one that was found to have changed, names of one file. What was found fresh is as c says.
func (r *Replica) joinLink(c *change, paths []string, fresh map[*change]bool) {
	var id merkle.Hash
	for _, path := range paths {
		if e := r.tree.Get(path); e.Live() && id.IsZero() && r.diskAt(path).Inode == c.disk.Inode {
			id = e.Link
		}
	}
	if id.IsZero() {
		fillRandom(id[:])
	}
	for _, path := range paths {
		switch own := r.changes[path]; {
		case own != nil && own.attrs != nil && own.disk.Inode == c.disk.Inode && fresh[own]:
			own.attrs.Link = id
		case own != nil && own.attrs != nil && own.disk.Inode == c.disk.Inode:
			r.changedAlike(path, c, id)
		case own == nil && r.hashing[path] == nil && r.held[path] == nil:
			r.changedAlike(path, c, id)
		}
	}
}

// changedAlike notes for another name of the file that c was found at what c says.
func (r *Replica) changedAlike(path string, c *change, id merkle.Hash) {
	info, err := r.root.Lstat(path)
	if err != nil || info.Inode != c.disk.Inode || info.MTime != c.disk.MTime || info.Size != c.disk.Size {
		r.look(path, c.scan)
		return
	}
	mine := r.tree.Get(path)
	alike := &change{path: path, disk: c.disk, ctime: info.CTime, links: c.links, joined: true, scan: c.scan, blocks: c.blocks, data: c.data}
	switch {
	case mine.Live() && mine.Kind == merkle.File && mine.Content == c.attrs.Content:
		alike.blocks, alike.data, alike.keepBlocks = nil, nil, true
	case c.keepBlocks:
		r.look(path, c.scan)
		return
	}
	attrs := *c.attrs
	attrs.Link = id
	alike.attrs = &attrs
	r.changed(alike)
}

// linkFor makes a link for what is to come in, where another of its names is here with all that it says; in then has it as its
// temporary file. A waitError tells that such a name is on its way.
func (r *Replica) linkFor(in *incoming, plan reconcile.Plan) (bool, error) {
	e := plan.Entry
	if in.reinstate || plan.Copy == in.theirs || e.Link.IsZero() {
		return false, nil
	}
	if linked, err := r.linkTo(in, e); linked || err != nil {
		return linked, err
	}
	for path := range r.coming[e.Link] {
		queue := r.incoming[path]
		if len(queue) == 0 || queue[0].theirs.Link != e.Link {
			delete(r.coming[e.Link], path)
			continue
		}
		mine := r.tree.Get(path)
		here := mine.Live() && mine.Content == e.Content && r.diskAt(path).Kind == merkle.File
		if first := queue[0]; path != in.path && first.theirs.Content == e.Content && (first.fetching || first.temp != "" || here) {
			return false, waitError{path}
		}
	}
	if len(r.coming[e.Link]) == 0 {
		delete(r.coming, e.Link)
	}
	return false, nil
}

// linkTo makes a temporary file that is another name of a file here which is all that e says; where links are refused, there is none. A
// waitError tells that such a file is being looked at.
func (r *Replica) linkTo(in *incoming, e *merkle.Entry) (bool, error) {
	for path := range r.linked[e.Link] {
		linked, err := r.linkWith(in, e, path)
		if errors.Is(err, errNoLink) {
			r.log.Debug("hard link cannot be made", "path", in.path, "to", path, "cause", err)
			return false, nil
		}
		if linked || err != nil {
			return linked, err
		}
	}
	return false, nil
}

// errNoLink tells that the file system refuses a link.
var errNoLink = errors.New("no hard link")

// linkWith is linkTo for one path; where links are refused, an error that wraps errNoLink tells why.
func (r *Replica) linkWith(in *incoming, e *merkle.Entry, path string) (bool, error) {
	other, disk := r.tree.Get(path), r.diskAt(path)
	if path == in.path || !other.Live() || !sameFile(other, e) || disk.Kind != merkle.File || !r.asAgreed(disk, other) ||
		disk.Inode == r.diskAt(in.path).Inode || r.held[path] != nil {
		return false, nil
	}
	if r.unpublished(path) {
		return false, waitError{path}
	}
	blocks, known := r.blocksFor(in.path, path, e)
	if !known {
		return false, nil
	}
	temp := r.tempName()
	if err := r.root.Link("apply.link", path, temp); err != nil {
		return false, fmt.Errorf("%w: %w", errNoLink, err)
	}
	in.temp, in.linked = temp, true
	if info, err := r.root.Lstat(temp); err != nil || !sameDisk(disk, info) {
		r.unneeded(in)
		in.temp, in.linked = "", false
		return false, nil
	}
	in.disk, in.fetched = disk, blocks
	return true, nil
}

// blocksFor returns the blocks of what e says, which is to become a link to the file at from. A conflict copy may have no list (nil)
// until it is read again: then it has none as a link, either.
func (r *Replica) blocksFor(path, from string, e *merkle.Entry) (merkle.BlockList, bool) {
	for _, p := range []string{from, path} {
		if blocks, err := r.blockList(p); err == nil && blocks.Root() == e.Content {
			return blocks, true
		}
	}
	mine := r.tree.Get(path)
	return nil, mine.Live() && mine.Content == e.Content && r.diskAt(path).Kind == merkle.File
}

// sameFile tells whether two entries may be names of one file: they share an ID, and differ in nothing that an inode holds.
func sameFile(a, b *merkle.Entry) bool {
	return a.Link == b.Link && a.Content == b.Content && a.Kind == b.Kind && a.Mode == b.Mode && a.MTime == b.MTime &&
		a.Owner == b.Owner && merkle.SameXattrs(a.Xattrs, b.Xattrs)
}

// joins tells whether a path that holds the right content is to become another name of a file here, and makes that link.
func (r *Replica) joins(p *putting) (bool, error) {
	if p.entry.Kind != merkle.File || p.entry.Link.IsZero() || p.metadata || p.in.temp != "" || p.in.reinstate {
		return false, nil
	}
	return r.linkTo(p.in, p.entry)
}

// partsFrom tells whether a path is to become a file of its own that shares its inode with others here.
func (r *Replica) partsFrom(path string, e *merkle.Entry) bool {
	return e.Kind == merkle.File && e.Link.IsZero() && len(r.siblings(path)) > 0
}

// alsoAt notes for the names that share an inode with path that its metadata were set.
func (r *Replica) alsoAt(path string) {
	from := r.diskAt(path)
	for _, q := range r.siblings(path) {
		rec := r.record(q)
		disk := from
		disk.Refused = rec.disk().Refused
		rec.setDisk(disk)
		r.touch(q)
	}
}

// lookBeyond looks at the other names of a file that path is no name of any more: what was done to it under that name has raised no event
// for them. It is called while the record of path is still that of the file.
func (r *Replica) lookBeyond(path string) {
	inode := r.diskAt(path).Inode
	names := r.siblings(path)
	for q := range r.inodes[inode] { // of which path is one that is not agreed to be yet
		if d := r.diskAt(q); q != path && d.Kind == merkle.File && d.Inode == inode && !slices.Contains(names, q) {
			names = append(names, q)
		}
	}
	for _, q := range names {
		if info, err := r.root.Lstat(q); err == nil && info.Inode == inode {
			r.found(q, info, false)
		}
	}
}
