package replica

import (
	"path"
	"slices"
	"time"

	"resonate/beneath"
	"resonate/index"
	"resonate/merkle"
	"resonate/reconcile"
	"resonate/syncproto"
)

// minRemoval is how many deletions are told as one.
const minRemoval = 4

// removals finds directories among changes, which are about to be published, of which all that lives in them is deleted: each
// of these is told as one operation. It must be called before the tree changes.
func (r *Replica) removals(out []*change, by reconcile.Author) (ops []*operation) {
	gone := make(map[string]*change)
	var dirs []string
	for _, c := range out {
		if c.attrs == nil {
			gone[c.path] = c
			if r.tree.Get(c.path).IsDir() {
				dirs = append(dirs, c.path)
			}
		}
	}
	if len(gone) < minRemoval {
		return nil
	}
	slices.Sort(dirs)
	for _, dir := range dirs {
		if gone[dir].told {
			continue // as part of one above it
		}
		if parts := r.wholly(dir, gone); len(parts) >= minRemoval {
			for _, c := range parts {
				c.told = true
			}
			ops = append(ops, &operation{from: dir, state: r.tree.State(dir), by: by, entries: len(parts)})
		}
	}
	return ops
}

// wholly returns the deletions at and below dir, if they are of all that lives there; else nil.
func (r *Replica) wholly(dir string, gone map[string]*change) []*change {
	parts := []*change{gone[dir]}
	for path, e := range r.tree.All(dir) {
		if !e.Live() {
			continue
		}
		c := gone[path]
		if c == nil {
			return nil
		}
		parts = append(parts, c)
	}
	return parts
}

// handleRemoveAll takes in the deletion of a path and all below it: as a whole, or where something here stands against that, as
// if each had been told by itself.
func (r *Replica) handleRemoveAll(p *peer, m *syncproto.RemoveAll) error {
	if err := pathAllowed(m.Path); err != nil {
		return err
	}
	op := &operation{from: m.Path, state: m.State, by: author(p, m.Author, m.Stamp, m.Token)}
	if !r.derivable(op) {
		r.send(p, &syncproto.Expand{Seq: m.Seq})
		return nil
	}
	if r.removeWhole(op) {
		r.noteOperation(op, p)
		r.tellAll(op, p)
		p.acks = append(p.acks, m.Seq)
		return nil
	}
	left := 0
	shared := []ack{{to: p, seq: m.Seq, left: &left}}
	doomed := []string{op.from}
	for path, e := range r.tree.All(op.from) {
		if e.Live() {
			doomed = append(doomed, path)
		}
	}
	left = len(doomed)
	for _, path := range doomed {
		e := reconcile.Publish(r.tree.Get(path), nil, op.by)
		p.theirs[path] = e.Hash()
		r.take(&incoming{path: path, theirs: e, from: []*peer{p}, acks: shared})
	}
	return nil
}

// removeWhole takes a directory to the history with all that is in it, if that is just what is recorded.
func (r *Replica) removeWhole(op *operation) bool {
	dir := op.from
	covers := below(dir)
	if r.diskAt(dir).Kind != merkle.Dir || anyKey(r.changes, covers) || anyKey(r.hashing, covers) || !r.wholeAt(dir, dir) {
		return false
	}
	r.unmarkBelow(dir)
	away := keptPath(dir, time.Now())
	intent := index.Intent{
		Path: dir, Entry: reconcile.Publish(r.tree.Get(dir), nil, op.by), Disk: r.diskAt(dir), Temp: away,
	}
	err := r.appendIntent(intent)
	if err == nil {
		err = r.root.MkdirAll("history.mkdir", path.Dir(away), 0o700)
	}
	if err == nil {
		err = r.inWritable(dir, func() error { return r.root.Move("apply.removeall", dir, away) })
	}
	if err != nil {
		return r.takenApart(op, err)
	}
	if !r.wholeAt(dir, away) { // somebody wrote into it in that instant
		if err := r.root.Move("apply.back", away, dir); err == nil {
			return false
		}
	}
	op.entries = r.removed(dir, op.by)
	parent, _ := merkle.SplitPath(dir)
	if r.records[parent] != nil && r.records[parent].hint() != 0 {
		r.hints[parent] = true
	}
	r.resume(dir)
	r.resume(parent)
	return true
}

// removed makes it agreed that a directory and all below it is deleted, and returns of how many entries that is so.
func (r *Replica) removed(dir string, by reconcile.Author) (n int) {
	doomed := []string{dir}
	for path := range r.tree.All(dir) {
		doomed = append(doomed, path)
	}
	for _, path := range doomed {
		r.lookBeyond(path)
	}
	for _, path := range doomed {
		if e := r.tree.Get(path); e.Live() {
			r.agreeUntold(path, reconcile.Publish(e, nil, by))
			n++
		}
		r.dropDisk(path)
		delete(r.linger, path)
		r.problem(path, "", "")
	}
	r.rules.forget(dir)
	return n
}

// wholeAt tells whether what lies in the directory at is what is recorded of dir and below, and nothing else. Who
// has a file in it open for writing goes on writing to what is kept.
func (r *Replica) wholeAt(dir, at string) bool {
	stats, err := r.root.StatDir(at)
	if err != nil {
		return false
	}
	recorded := 0
	for name := range r.tree.Children(dir) {
		if r.diskAt(merkle.Join(dir, name)).Kind != 0 {
			recorded++
		}
	}
	for _, s := range stats {
		path := merkle.Join(dir, s.Name)
		if s.Err != nil || !sameDisk(r.diskAt(path), s.Info) {
			return false
		}
		if s.Info.Kind == beneath.Dir && !r.wholeAt(path, merkle.Join(at, s.Name)) {
			return false
		}
	}
	return recorded == len(stats)
}
