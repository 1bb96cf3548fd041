package replica

import (
	"errors"
	"slices"
	"time"

	"resonate/beneath"
	"resonate/index"
	"resonate/merkle"
	"resonate/reconcile"
	"resonate/syncproto"
)

// An operation is a move, or a recursive deletion, of a path and all below it. It is told as one message. A peer whose tree
// is the same there derives from it what this node did; any other asks for all that it stands for.
type operation struct {
	from, to     string      // to "": deleted
	state, stood merkle.Hash // of the subtrees at from and to, before it
	by           reconcile.Author
	entries      int // how many live ones it was about, once it is done
}

func (o *operation) message(seq uint64) syncproto.Message {
	if o.to == "" {
		return &syncproto.RemoveAll{Seq: seq, Path: o.from, State: o.state, Author: o.by.Node, Stamp: o.by.Stamp, Token: o.by.Token}
	}
	return &syncproto.Move{
		Seq: seq, From: o.from, To: o.to, State: o.state, Stood: o.stood, Author: o.by.Node, Stamp: o.by.Stamp, Token: o.by.Token,
	}
}

// tellAll has an operation told to all peers but the one who told of it.
func (r *Replica) tellAll(op *operation, from *peer) {
	for _, p := range r.peers {
		if p != from {
			p.tellOperation(op)
		}
	}
}

// expand announces all that an operation stands for: the new names first, so that a peer always has one of the two.
func (r *Replica) expand(p *peer, seq uint64) {
	u, ok := p.unacked[seq]
	if !ok || u.op == nil {
		return
	}
	p.acked(seq)
	for _, top := range []string{u.op.to, u.op.from} {
		if top == "" {
			continue
		}
		p.tell(top, false)
		for path := range r.tree.All(top) {
			p.tell(path, false)
		}
	}
	r.lastChange = time.Now()
	r.pump(p)
}

// movedTo finds out whether what stands at path, where nothing is known, is what went from another path: by its inode. If so,
// the move is published, without looking at what lies below: that is looked at by itself.
func (r *Replica) movedTo(path string, info beneath.Info) {
	from, ok := r.gone[info.Inode]
	if !ok {
		return
	}
	now, err := r.root.Lstat(path) // info may be late, and what has happened since may have been seen already
	if err != nil || !r.movable(from, path, now) {
		return
	}
	r.letOut(func(c *change) bool { return c.attrs != nil && !r.guards(c) }) // the directory to which it went may be among them
	token, uses, ok := r.admitMove(from, path, time.Now())
	if !ok {
		return
	}
	defer r.endUses(uses)
	by, err := r.author()
	by.Token = token
	if err == nil {
		err = r.root.At("publish.move")
	}
	if err != nil { // what went and what came is published one by one, when that can be
		r.log.Debug("a move is published in parts", "from", from, "to", path, "cause", err)
		return
	}
	op := &operation{from: from, to: path, state: r.tree.State(from), stood: r.tree.State(path), by: by}
	covers := below(from)
	for p := range r.changes {
		if covers(p) {
			delete(r.changes, p)
		}
	}
	op.entries = r.relocate(from, path, by)
	r.stamped(by)
	r.tellAll(op, nil)
	r.noteOperation(op, nil)
	r.log.Debug("published a move", "from", from, "to", path)
}

// movable tells whether info, found at to, is what was agreed and on disk at from, and gone from there.
func (r *Replica) movable(from, to string, info beneath.Info) bool {
	c, e, d := r.changes[from], r.tree.Get(from), r.diskAt(from)
	switch {
	case r.unclean || c == nil || c.attrs != nil || !e.Live() || below(from)(to) || below(to)(from):
		return false
	case r.inBatch(from) || r.inBatch(to): // that would be an operation of its own
		return false
	case d.Kind != kindOf(info.Kind) || d.Kind != e.Kind || d.Inode != info.Inode:
		return false
	case d.Kind != merkle.Dir && (d.Size != info.Size || d.MTime != info.MTime):
		return false
	case r.diskAt(to).Kind != 0 || r.tree.Get(to).Live() || r.tree.HasLive(to):
		return false
	}
	if r.ignoresPart(from, to) {
		return false
	}
	covers := below(from, to)
	return !anyKey(r.incoming, covers) && !anyKey(r.held, covers) && r.changes[to] == nil && r.hasChildOf(from, to, d.Kind) &&
		r.checkMarker()
}

// hasChildOf tells whether the directory at to holds something that was recorded in from: a new directory may have got the inode of
// one that was removed. Of anything but a directory, size and mtime have told.
func (r *Replica) hasChildOf(from, to string, kind merkle.Kind) bool {
	if kind != merkle.Dir {
		return true
	}
	for name := range r.tree.Children(from) {
		d := r.diskAt(merkle.Join(from, name))
		if d.Kind == 0 {
			continue
		}
		if info, err := r.root.Lstat(merkle.Join(to, name)); err == nil && info.Inode == d.Inode {
			return true
		}
	}
	return false
}

// relocate takes all that is agreed and recorded at and below from to to, as one operation, and returns how many live entries that is.
func (r *Replica) relocate(from, to string, by reconcile.Author) (n int) {
	paths := []string{from}
	for path := range r.tree.All(from) {
		dir, _ := merkle.SplitPath(path)
		for dir != from && r.tree.Get(dir) == nil && !slices.Contains(paths[max(0, len(paths)-64):], dir) { // implied
			paths = append(paths, dir)
			dir, _ = merkle.SplitPath(dir)
		}
		paths = append(paths, path)
	}
	for _, path := range paths {
		there := to + path[len(from):]
		e := r.tree.Get(path)
		rec := r.records[path]
		if e.Live() && e.Kind == merkle.File && rec != nil && rec.blocks() == nil && e.Size > 0 {
			list, _ := r.index.Blocks(path) // they lie under the old name there
			rec.setBlocks(list)
		}
		if e.Live() {
			r.agreeUntold(there, reconcile.Moved(e, r.tree.Get(there), by))
			r.agreeUntold(path, reconcile.Publish(e, nil, by))
			n++
		}
		if rec != nil && rec.disk().Kind != 0 {
			r.records[there] = rec
			r.records[path] = &record{}
			r.touch(there)
			r.touch(path)
		}
		r.relocateMarks(path, there)
	}
	r.rules.forget(from)
	r.rules.forget(to)
	return n
}

// relocateMarks takes along what is noted of a path beside its record.
func (r *Replica) relocateMarks(path, there string) {
	r.problem(path, "", "")
	r.relocateShelved(path, there)
	if r.linger[path] {
		delete(r.linger, path)
		r.linger[there] = true
	}
	if r.hints[path] {
		delete(r.hints, path)
		r.hints[there] = true
	}
	if r.left[path] {
		delete(r.left, path)
		r.left[there] = true
	}
	if r.branched[path] {
		delete(r.branched, path)
		r.branched[there] = true
	}
}

// handleMove does what a peer did: one rename(2) for all of it.
func (r *Replica) handleMove(p *peer, m *syncproto.Move) error {
	if err := errors.Join(pathAllowed(m.From), pathAllowed(m.To)); err != nil {
		return err
	}
	op := &operation{from: m.From, to: m.To, state: m.State, stood: m.Stood, by: author(p, m.Author, m.Stamp, m.Token)}
	if !r.derivable(op) || !r.move(op) {
		r.send(p, &syncproto.Expand{Seq: m.Seq})
		return nil
	}
	r.noteOperation(op, p)
	r.tellAll(op, p)
	p.acks = append(p.acks, m.Seq)
	return nil
}

// author returns who made an operation that p tells of.
func author(p *peer, node merkle.NodeID, stamp merkle.Stamp, token merkle.Token) reconcile.Author {
	if node.IsZero() {
		node = p.id
	}
	return reconcile.Author{Node: node, Stamp: stamp, Token: token}
}

// derivable tells whether what an operation comes to can be derived here: the trees are the same, and nothing else is about to
// change them.
func (r *Replica) derivable(op *operation) bool {
	if r.unclean || !r.scanned || op.by.Node == r.self || r.tree.State(op.from) != op.state || !r.tree.Get(op.from).Live() {
		return false
	}
	covers := below(op.from)
	if op.to != "" {
		covers = below(op.from, op.to)
	}
	return !anyKey(r.incoming, covers) && !anyKey(r.held, covers) && !r.ignoresPart(op.from, op.to)
}

// move renames what stands at the one path to the other, if nothing stands there. What was changed below it here and is not
// published yet comes along, and is published under its new name.
func (r *Replica) move(op *operation) bool {
	rec := r.records[op.from]
	dir, _ := merkle.SplitPath(op.to)
	switch {
	case below(op.from)(op.to), below(op.to)(op.from), r.tree.State(op.to) != op.stood:
		return false
	case r.tree.Get(op.to).Live(), r.tree.HasLive(op.to), r.diskAt(op.to).Kind != 0, r.unpublished(op.to):
		return false
	case rec == nil || rec.disk().Kind != r.tree.Get(op.from).Kind || (dir != "" && r.diskAt(dir).Kind != merkle.Dir):
		return false
	}
	info, err := r.root.Lstat(op.from)
	if err != nil || kindOf(info.Kind) != rec.disk().Kind || info.Inode != rec.disk().Inode {
		return false
	}
	e := reconcile.Moved(r.tree.Get(op.from), r.tree.Get(op.to), op.by)
	intent := index.Intent{Path: op.to, Entry: e, Disk: rec.disk(), From: op.from}
	if r.respells(op) {
		intent.Temp = r.tempName()
	}
	if err := r.appendIntent(intent); err != nil {
		return r.takenApart(op, err)
	}
	if rec.disk().Kind != merkle.Dir {
		r.own.add(op.to, rec.disk())
	}
	err = r.inWritable(op.from, func() error {
		return r.inWritable(op.to, func() error { return r.rename(op, intent.Temp) })
	})
	if err != nil {
		return r.takenApart(op, err)
	}
	op.entries = r.relocate(op.from, op.to, op.by)
	r.meetStamps(e.Version.Vector)
	for _, d := range []string{op.from, op.to} {
		if dir, _ := merkle.SplitPath(d); r.records[dir] != nil && r.records[dir].hint() != 0 {
			r.hints[dir] = true
		}
	}
	r.lookAgain(op)
	r.resume(op.from)
	r.resume(op.to)
	return true
}

// takenApart tells why an operation is not done as one; it is then done in parts, which tell what is in their way.
func (r *Replica) takenApart(op *operation, cause error) bool {
	r.log.Debug("not done as one", "from", op.from, "to", op.to, "cause", cause)
	return false
}

// lookAgain looks under its new name at what was changed here before it was moved.
func (r *Replica) lookAgain(op *operation) {
	covers := below(op.from)
	var again []string
	for path := range r.changes {
		if covers(path) {
			again = append(again, path)
			delete(r.changes, path)
		}
	}
	for path := range r.hashing {
		if covers(path) {
			again = append(again, path)
		}
	}
	for _, path := range again {
		r.look(op.to+path[len(op.from):], false)
	}
}
