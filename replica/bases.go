package replica

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"resonate/bases"
	"resonate/beneath"
	"resonate/control"
	"resonate/index"
	"resonate/merkle"
	"resonate/reconcile"
	"resonate/textmerge"
)

// A merge needs what both sides were made of. So the contents of small text files are kept as they are agreed: those that pass through memory
// at once, all others when nothing is to be done, the one last changed last. Which of them a change was made of, its record tells.

const (
	keepDelay   = 500 * time.Millisecond // how long nothing must have changed before files are read to be kept
	keepFiles   = 64                     // that are read at a time
	keepBytes   = 1 << 20                // the same
	maxFresh    = 1 << 20                // bytes that wait in memory to be kept
	keptListing = 2 * bases.DefaultMaxTexts
)

// keeping is the loop's state of what is to be kept.
type keeping struct {
	bases      *bases.Store
	opening    bool                   // the store is about to be opened, or was
	fresh      map[merkle.Hash][]byte // not in the store yet
	freshBytes int
	unkept     map[string]bool // paths whose content is perhaps not kept
	listed     []string        // the same, found when this run began; the last one is kept last
	listing    bool            // that is found out, or was
	reading    bool
	branched   map[string]bool // paths whose records have earlier versions
}

func (k *keeping) init(state string) {
	k.bases = &bases.Store{Dir: filepath.Join(state, "bases")}
	k.fresh = make(map[merkle.Hash][]byte)
	k.unkept = make(map[string]bool)
	k.branched = make(map[string]bool)
}

// merges tells whether this node ever needs bases.
func (r *Replica) merges() bool { return r.o.Policy == Merge && r.o.Mode == Both && len(r.members) > 0 }

// mayBeBase tells whether the content of an entry is one to be kept, as far as that can be told without it.
func mayBeBase(e *merkle.Entry) bool {
	return e.Live() && e.Kind == merkle.File && e.Size > 0 && e.Size <= bases.MaxText
}

// keepFresh keeps a content that is in memory anyway.
func (r *Replica) keepFresh(h merkle.Hash, data []byte) {
	if !r.merges() || len(data) == 0 || len(data) > bases.MaxText || r.freshBytes+len(data) > maxFresh || r.fresh[h] != nil || textmerge.Check(data) != nil {
		return
	}
	r.fresh[h] = bytes.Clone(data) // it may be part of a large message
	r.freshBytes += len(data)
}

// keepLater has what is agreed at path kept when there is time.
func (r *Replica) keepLater(path string, e *merkle.Entry) {
	if !r.listing || !mayBeBase(e) { // before that it is found with all others
		return
	}
	if len(r.unkept) >= keptListing {
		clear(r.unkept)
		r.listing, r.listed = false, nil // all are looked through again
	}
	r.unkept[path] = true
}

// noteBefore remembers that what is agreed at path is about to give way to what was changed here.
func (r *Replica) noteBefore(path string, old, now *merkle.Entry) {
	if len(r.members) == 0 || !old.Live() || old.Kind != merkle.File || merkle.SameContent(old, now) {
		return
	}
	rec := r.record(path)
	rec.setBefore(reconcile.Before(rec.before(), old, r.horizon, index.MaxBefore))
	r.branched[path] = true
	r.touch(path)
}

// dropBefore forgets earlier versions of what everybody has seen.
func (r *Replica) dropBefore() {
	for path := range r.branched {
		rec, e := r.records[path], r.tree.Get(path)
		if rec != nil && e != nil && !r.horizon.Covers(e.Version.Vector) {
			continue
		}
		delete(r.branched, path)
		if _, isCopy := reconcile.ParseCopy(path); isCopy {
			continue // a tool of the user's may ask for it, whoever has seen the copy
		}
		if rec != nil && rec.before() != nil {
			rec.setBefore(nil)
			r.touch(path)
		}
	}
}

// baseOf returns the version that both what is changed at path and theirs were made of; nil: none is known.
func (r *Replica) baseOf(path string, theirs *merkle.Entry) *merkle.Entry {
	before := r.record(path).before()
	return reconcile.Base(append(before[:len(before):len(before)], r.tree.Get(path)), theirs)
}

// noteBase remembers what a conflict copy and what has the name, at path, were both made of, if that is known.
func (r *Replica) noteBase(copyPath, path string, loser *merkle.Entry) {
	rec, mine := r.records[copyPath], r.tree.Get(path)
	if rec == nil || rec.before() != nil || !mine.Live() {
		return
	}
	before := append(slices.Clone(r.record(path).before()), mine)
	before = slices.DeleteFunc(before, func(e *merkle.Entry) bool { return sameOperation(e, loser) || merkle.SameContent(e, loser) })
	if base := reconcile.Base(before, loser); base != nil {
		rec.setBefore([]*merkle.Entry{base})
		r.touch(copyPath)
	}
}

// ConflictBase implements control.Resolver.
func (r *Replica) ConflictBase(ctx context.Context, path string, w io.Writer) error {
	c, err := r.oneConflict(ctx, path)
	if err == nil {
		err = oneCopy(c)
	}
	if err != nil {
		return err
	}
	var base *merkle.Entry
	var fresh []byte
	if err := r.do(ctx, func() {
		if rec := r.records[c.Copies[0].Path]; rec != nil && len(rec.before()) > 0 {
			base = rec.before()[0]
			fresh = r.fresh[base.Content]
		}
	}); err != nil {
		return err
	}
	if base == nil {
		return fmt.Errorf("what %s was made of is not known: %w", path, control.ErrNotFound)
	}
	text, err := r.baseText(c.Path, base, fresh)
	if errors.Is(err, bases.ErrAbsent) {
		return fmt.Errorf("%s: %w: %w", path, err, control.ErrNotFound)
	}
	if err == nil {
		_, err = w.Write(text)
	}
	return err
}

// keepBases keeps what is to be kept, when nothing else is to be done.
func (r *Replica) keepBases(now time.Time) {
	if !r.merges() || r.reading || !r.scanned {
		return
	}
	if !r.opening {
		r.opening, r.reading = true, true
		r.workers.Go(r.openBases)
		return
	}
	if len(r.fresh)+len(r.unkept)+len(r.listed) == 0 && r.listing || !r.idle() || !r.bases.Opened() {
		return
	}
	if wait := keepDelay - now.Sub(r.lastChange); wait > 0 {
		r.wakeIn(wait)
		return
	}
	r.reading = true
	if !r.listing {
		r.listing = true
		r.workers.Go(r.listBases)
		return
	}
	fresh, files := r.fresh, r.nextUnkept()
	r.workers.Go(func() {
		err := r.keepTexts(fresh, files)
		r.post(func() {
			r.reading = false
			if err != nil {
				r.log.Debug("contents cannot be kept for merges", "cause", err)
			}
			for h, data := range fresh {
				r.freshBytes -= len(data)
				delete(r.fresh, h)
			}
			r.wakeIn(0)
		})
	})
	r.fresh = maps.Clone(fresh) // what comes meanwhile does not disturb who writes
}

// openBases opens the store.
func (r *Replica) openBases() {
	err := r.bases.Open()
	r.post(func() {
		if r.reading = false; err != nil {
			r.log.Warn("no contents are kept for merges: changes of one file at once make conflict copies", "cause", err)
		}
		r.wakeIn(0)
	})
}

// closeBases ends writing.
func (r *Replica) closeBases() {
	if err := r.bases.Close(); err != nil {
		r.log.Debug("close what is kept for merges", "cause", err)
	}
}

// An unkept is a file that may have to be kept.
type unkept struct {
	path    string
	content merkle.Hash
	size    int64
}

// nextUnkept takes the next files that are to be read.
func (r *Replica) nextUnkept() (files []unkept) {
	size := int64(0)
	take := func(path string) bool {
		if e := r.tree.Get(path); mayBeBase(e) && r.diskAt(path).Kind == merkle.File && !r.unpublished(path) {
			files = append(files, unkept{path, e.Content, e.Size})
			size += e.Size
		}
		return len(files) < keepFiles && size < keepBytes
	}
	for len(r.listed) > 0 {
		path := r.listed[0]
		if r.listed = r.listed[1:]; !r.unkept[path] && !take(path) {
			return files
		}
	}
	r.listed = nil
	for path := range r.unkept {
		delete(r.unkept, path)
		if !take(path) {
			break
		}
	}
	return files
}

// keepTexts reads files and keeps those that are texts, and what came along in memory.
func (r *Replica) keepTexts(fresh map[merkle.Hash][]byte, files []unkept) error {
	defer r.disk.last()()
	var texts []bases.Text
	for _, f := range files {
		if fresh[f.content] != nil || r.bases.Has(f.content) {
			continue
		}
		data, err := r.readText(f.path, f.content, f.size)
		if err == nil {
			texts = append(texts, bases.Text{Hash: f.content, Data: data})
		}
		if r.ctx.Err() != nil {
			return nil
		}
	}
	for h, data := range fresh {
		texts = append(texts, bases.Text{Hash: h, Data: data})
	}
	return r.bases.Put(texts)
}

// readText reads a file below the root that is to have this content, and to be a text.
func (r *Replica) readText(path string, content merkle.Hash, size int64) ([]byte, error) {
	f, err := r.root.OpenFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := beneath.Fstat(f)
	if err != nil {
		return nil, err
	}
	if info.Size != size || size > textmerge.MaxBytes {
		return nil, fmt.Errorf("%s: %w", path, errChangedHere)
	}
	data, err := io.ReadAll(io.LimitReader(f, size+1))
	if err != nil {
		return nil, err
	}
	if err := textmerge.Check(data); err != nil {
		return nil, err
	}
	list, _, err := merkle.Split(newBytesReader(data), nil)
	if err == nil && list.Root() != content {
		err = fmt.Errorf("%s: %w", path, errChangedHere)
	}
	return data, err
}

// listBases finds the files whose contents are to be kept, the last changed last: as many as may be kept, and of as many bytes.
func (r *Replica) listBases() {
	type candidate struct {
		unkept
		stamp merkle.Stamp
	}
	var found []candidate
	newest := func() {
		slices.SortFunc(found, func(a, b candidate) int { return cmp.Compare(b.stamp, a.stamp) })
		found = found[:min(len(found), bases.DefaultMaxTexts)]
	}
	part := merkle.Listing{}
	for more := true; more; {
		err := r.do(r.ctx, func() {
			n := 0
			more = false
			for path, e := range r.tree.List(part) {
				if n++; n > listStep {
					more = true
					break
				}
				part.After = path
				if mayBeBase(e) && !r.bases.Has(e.Content) {
					found = append(found, candidate{unkept{path, e.Content, e.Size}, e.Version.Origin().Stamp})
				}
			}
		})
		if err != nil {
			return
		}
		if len(found) > keptListing {
			newest()
		}
	}
	newest()
	var listed []string
	for size := int64(0); len(listed) < len(found) && size+found[len(listed)].size <= bases.DefaultMaxSize; {
		size += found[len(listed)].size
		listed = append(listed, found[len(listed)].path)
	}
	slices.Reverse(listed)
	r.post(func() {
		r.listed, r.reading = listed, false
		r.wakeIn(0)
	})
}

// baseText returns the content of a base: from memory (where it is handed in), the store, or the history. It may be called from any goroutine.
func (r *Replica) baseText(path string, base *merkle.Entry, fresh []byte) ([]byte, error) {
	if fresh != nil {
		return fresh, nil
	}
	if base.Size == 0 {
		return []byte{}, nil
	}
	if text, err := r.bases.Get(base.Content); err == nil {
		return text, nil
	}
	err := fmt.Errorf("what both were made of is not known any more: %w", bases.ErrAbsent)
	for _, k := range r.keptVersions(path) {
		if text, readErr := r.readText(k.File, base.Content, base.Size); readErr == nil {
			return text, nil
		}
	}
	return nil, err
}
