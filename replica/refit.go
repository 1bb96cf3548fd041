package replica

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"resonate/beneath"
	"resonate/index"
	"resonate/merkle"
)

// Names that share an inode have their versions each for itself, and these come in one by one: for a moment, what was set through one
// name is not what is agreed of another, and a conflict copy may rest on an inode that was set otherwise meanwhile. So whatever is
// recorded anew is compared with what is agreed, and where they still differ when the path has come to rest, the agreed is put in
// again: metadata where they are, a file of its own where others share the inode and say otherwise, another name of a file where all
// names are agreed to be one.

// refitting is the loop's state of what is recorded and may not be what is agreed.
type refitting struct {
	anew  map[string]bool      // paths that were recorded anew in this turn
	unfit map[string]time.Time // paths at which another thing is recorded than is agreed -> when to see to it
	tried map[string]attempts  // for which entries that was done: what they say cannot be had here
	links map[merkle.Hash]bool // files with several names, of which one was recorded anew since all was at rest
}

// attempts are those to have what an entry says.
type attempts struct {
	entry merkle.Hash
	n     int
}

// maxAttempts is how often another name of a file is tried to be made, while somebody is at work on it.
const maxAttempts = 20

func (f *refitting) init() {
	f.anew = make(map[string]bool)
	f.unfit = make(map[string]time.Time)
	f.tried = make(map[string]attempts)
	f.links = make(map[merkle.Hash]bool)
}

// asAgreed tells whether what is recorded of a path has the metadata that an entry says, as far as they could be set here.
func (r *Replica) asAgreed(d index.Disk, e *merkle.Entry) bool {
	const everywhere = 0o1777 // setuid and setgid go by themselves when others change
	switch {
	case e.Kind != merkle.Symlink && (d.Mode^e.Mode)&everywhere != 0, e.Kind != merkle.Dir && d.MTime != e.MTime:
		return false
	case d.Looked == 0 || d.Refused != "":
		return true
	case e.Kind != merkle.Symlink && d.XattrHash != merkle.XattrHash(e.Xattrs):
		return false
	case !r.o.KeepOwner || e.Owner == "" || d.Owner == "":
		return true
	}
	uid, gid, err := r.owners.ids(e.Owner)
	return err != nil || d.Owner == fmt.Sprintf("%d:%d", uid, gid)
}

// agreedFit returns what is agreed and recorded of path, if these are to be one.
func (r *Replica) agreedFit(path string) (*merkle.Entry, index.Disk, bool) {
	e, rec := r.tree.Get(path), r.records[path]
	if !e.Live() || rec == nil || rec.behind || rec.ignored || rec.suspect || rec.kind != e.Kind || r.held[path] != nil {
		return nil, index.Disk{}, false
	}
	return e, rec.disk(), true
}

// noteUnfit notes which of what was recorded anew is not what is agreed.
func (r *Replica) noteUnfit(now time.Time) {
	if len(r.anew) == 0 {
		return
	}
	r.compareAgreed(maps.Keys(r.anew), now)
	if len(r.unfit) > 0 {
		r.wakeIn(settleDelay)
	}
	if len(r.anew) > 1000 { // a map stays as large as it ever was
		r.anew = make(map[string]bool)
		return
	}
	clear(r.anew)
}

// compareAgreed notes at which of the paths another thing is recorded than is agreed.
func (r *Replica) compareAgreed(paths iter.Seq[string], now time.Time) {
	links := make(map[merkle.Hash]bool)
	for path := range paths {
		e, disk, ok := r.agreedFit(path)
		switch {
		case !ok:
			delete(r.tried, path)
			continue
		case !r.asAgreed(disk, e), r.leaves(path):
			r.noteUnfitAt(path, e, now)
		case e.Link.IsZero():
			delete(r.tried, path)
		}
		if e.Kind == merkle.File {
			r.noteInode(disk.Inode, path, e)
			for _, q := range r.strangers(path) {
				if r.leaves(q) {
					r.noteUnfitAt(q, r.tree.Get(q), now)
				}
			}
		}
		if !e.Link.IsZero() {
			links[e.Link] = true
		}
	}
	r.compareNames(links, now)
	maps.Copy(r.links, links)
}

// compareNames notes which names of files are to share an inode with others and do not.
func (r *Replica) compareNames(links map[merkle.Hash]bool, now time.Time) {
	for link := range links {
		for path, first := range r.firstNames(link) {
			switch {
			case r.diskAt(path).Inode != r.diskAt(first).Inode:
				r.noteUnfitAt(path, r.tree.Get(path), now)
			case r.unfit[path].IsZero():
				delete(r.tried, path)
			}
		}
	}
}

func (r *Replica) noteUnfitAt(path string, e *merkle.Entry, now time.Time) {
	if !r.givenUp(path, e) {
		r.unfit[path] = now.Add(settleDelay)
	}
}

// givenUp tells whether what e says of path cannot be had here.
func (r *Replica) givenUp(path string, e *merkle.Entry) bool {
	t := r.tried[path]
	return t.n >= maxAttempts && t.entry == e.Hash()
}

// firstNames returns for the names of files that share the given ID, and are here as agreed, the first name of the same file: all of
// them are to share an inode.
func (r *Replica) firstNames(link merkle.Hash) map[string]string {
	names := make(map[string]string)
	var firsts []string // one for each file: names of which different things are agreed are not one
	for _, path := range slices.Sorted(maps.Keys(r.linked[link])) {
		e, disk, ok := r.agreedFit(path)
		if !ok || e.Link != link || !r.asAgreed(disk, e) {
			continue
		}
		i := slices.IndexFunc(firsts, func(first string) bool { return sameFile(r.tree.Get(first), e) })
		if i < 0 {
			i, firsts = len(firsts), append(firsts, path)
		}
		names[path] = firsts[i]
	}
	return names
}

// refit puts in again what is agreed where something else was left, once nothing is under way there.
func (r *Replica) refit(now time.Time) {
	if !r.scanned {
		return
	}
	for path, at := range r.unfit {
		if wait := at.Sub(now); wait > 0 {
			r.wakeIn(wait)
			continue
		}
		if r.held[path].rests() { // looked at again when it is undone
			delete(r.unfit, path)
			continue
		}
		if r.underWay(path) {
			r.unfit[path] = now.Add(settleDelay)
			r.wakeIn(settleDelay)
			continue
		}
		delete(r.unfit, path)
		r.refitAt(path)
	}
	r.compareAtRest(now)
}

// compareAtRest looks once more at the names of files, when nothing is under way any more: what they were compared with may have been
// on its way itself.
func (r *Replica) compareAtRest(now time.Time) {
	if len(r.links) == 0 || !r.restful() {
		return
	}
	if wait := settleDelay - now.Sub(r.lastChange); wait > 0 {
		r.wakeIn(wait)
		return
	}
	links := r.links
	r.links = make(map[merkle.Hash]bool)
	r.compareNames(links, now)
	r.wakeIn(0) // peers may be told the root now
}

// underWay tells whether something changes at path, or at another name of its file.
func (r *Replica) underWay(path string) bool {
	if r.unpublished(path) || len(r.incoming[path]) > 0 {
		return true
	}
	e := r.tree.Get(path)
	if !e.Live() || e.Link.IsZero() {
		return false
	}
	for q := range r.linked[e.Link] {
		if other := r.tree.Get(q); other.Live() && other.Link == e.Link && (r.unpublished(q) || len(r.incoming[q]) > 0) && r.held[q] == nil {
			return true
		}
	}
	return false
}

// refitAt puts in again what is agreed at path.
func (r *Replica) refitAt(path string) {
	e, disk, ok := r.agreedFit(path)
	if !ok || r.givenUp(path, e) {
		return
	}
	first := r.firstNames(e.Link)[path]
	fit, leaves := r.asAgreed(disk, e), r.leaves(path)
	if fit && !leaves && (first == "" || r.diskAt(first).Inode == disk.Inode) {
		return
	}
	info, err := r.root.Lstat(path)
	if err != nil || !sameDisk(disk, info) || !r.attributesAsRecorded(path, info) {
		r.look(path, false) // it is recorded anew, or published; or it was as recorded after all
		r.tryAgain(path, e, 1)
		return
	}
	if fit && !leaves {
		r.rejoin(path, first, e)
		return
	}
	r.tried[path] = attempts{e.Hash(), maxAttempts}
	r.log.Debug("put in again: not all was as agreed", "path", path)
	blocks, err := r.blockList(path)
	if err != nil || blocks.Root() != e.Content {
		blocks = nil
	}
	in := &incoming{path: path, theirs: e, blocks: blocks, refit: true, apart: info.Kind == beneath.File && info.Links > 1, came: time.Now()}
	r.incoming[path] = []*incoming{in}
	r.arrives(in, true)
	r.resume(path)
}

// rejoin makes path another name of the file first.
func (r *Replica) rejoin(path, first string, e *merkle.Entry) {
	in := &incoming{path: path, theirs: e}
	linked, err := r.linkWith(in, e, first)
	if linked {
		if err = r.asRecorded(in); err == nil {
			err = r.putOver(&putting{in: in, entry: e}, r.diskAt(path))
		}
		if in.temp != "" {
			r.unneeded(in)
		}
	}
	if linked && err == nil {
		return
	}
	r.log.Debug("hard link cannot be made", "path", path, "to", first, "cause", err)
	if errors.Is(err, errNoLink) && !absent(err) {
		r.tryAgain(path, e, maxAttempts)
		return
	}
	r.look(first, false) // somebody is at work on one of them
	r.tryAgain(path, e, 1)
}

// tryAgain counts attempts at what e says of path, and has path come up again unless there were too many.
func (r *Replica) tryAgain(path string, e *merkle.Entry, n int) {
	tried := attempts{e.Hash(), n}
	if t := r.tried[path]; t.entry == tried.entry {
		tried.n += t.n
	}
	if r.tried[path] = tried; tried.n < maxAttempts {
		r.unfit[path] = time.Now().Add(waitAgain)
	}
}
