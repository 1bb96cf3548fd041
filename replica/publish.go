package replica

import (
	"context"
	"slices"
	"strings"
	"time"

	"resonate/beneath"
	"resonate/control"
	"resonate/index"
	"resonate/merkle"
	"resonate/reconcile"
)

// A change is what was found at a path and is not as recorded.
type change struct {
	path       string
	attrs      *merkle.Attributes // nil: nothing stands there any more
	disk       index.Disk
	ctime      int64 // of a file, as it was found; 0: not known
	blocks     merkle.BlockList
	keepBlocks bool // the content is as before
	data       []byte
	scan       bool
	reinstated bool    // held changes: being undone
	judged     bool    // it was found to be no part of a burst, or the user wants it
	told       bool    // the peers are told of it as part of a larger operation
	implied    bool    // of a directory: not made here, but needed by what lives in it
	links      uint64  // of a file: how many names it has
	joined     bool    // the other names are seen to
	reading    int     // of a new directory: how many files in it are being read, for which it waits
	read       int     // how many ever were
	under      *change // of the directory that it is in, where that has changed, too
	meeting    bool    // nothing has changed: what is agreed here meets a peer's version, and that is seen to under a lock
	waited     bool    // it was found in an earlier turn, and may be of how things were then
	rebase     *rebase // what it is about to become, with a peer's version; nil: what it is
}

// hashState is that of a file being read.
type hashState struct {
	again   bool         // it changed meanwhile
	info    beneath.Info // as it was found
	waiting []*change    // of new directories above it
}

// A heldChange waits for the user's word.
type heldChange struct {
	*change
	kind  string // "deleted", "rewritten", "suspect", keptLocal, keptLocked
	since time.Time
	cause string // of keptLocked
}

// publishing is the loop's state of what changed here and is not let out yet.
type publishing struct {
	changes     map[string]*change // to be let out at the end of the turn
	hashing     map[string]*hashState
	hashQueue   []hashJob // of events
	scanQueue   []hashJob
	held        map[string]*heldChange
	guard       reconcile.Guard
	guarded     time.Time // when the last deletion or rewrite was found
	draining    bool      // all events up to now are being waited for
	drainedUpTo time.Time // all events up to then have been seen
	scans       int       // under way
	scanned     bool      // the first scan has seen the whole folder
	lastScan    time.Time // when the whole folder was last seen
	unclean     bool      // after an unclean boot, until the first scan has ended: what it finds differing is suspect
	before      string    // then: which boot it was
	rescan      map[string]bool
	gone        map[uint64]string // inode -> path, of what changes says to have gone; may be out of date
	inline      map[string][]byte // bytes of small files just published, to travel with their announcement
}

func (p *publishing) init(b reconcile.Burst) {
	p.changes = make(map[string]*change)
	p.hashing = make(map[string]*hashState)
	p.held = make(map[string]*heldChange)
	p.rescan = make(map[string]bool)
	p.gone = make(map[uint64]string)
	p.inline = make(map[string][]byte)
	p.guard.Burst = b
}

// unpublished tells whether something was found at path that is not let out yet.
func (r *Replica) unpublished(path string) bool {
	return r.changes[path] != nil || r.hashing[path] != nil || r.held[path] != nil
}

// changed notes a change, to be let out at the end of the turn.
func (r *Replica) changed(c *change) {
	if r.ignoresChange(c) {
		r.cover(c.path)
		r.resume(c.path)
		return
	}
	switch h := r.held[c.path]; {
	case h == nil, h.rests():
	case h.reinstated:
		return
	default:
		h.change = c // it stays held, as it is now
		return
	}
	if rec := r.records[c.path]; c.scan && (r.unclean || (rec != nil && rec.suspect)) && r.suspect(c) {
		return
	}
	if r.holdLocal(c) {
		return
	}
	if r.guards(c) {
		r.guarded = time.Now()
	}
	dir, _ := merkle.SplitPath(c.path)
	c.under = r.changes[dir]
	r.changes[c.path] = c
}

// guards tells whether c is one of the changes of which too many at once are held: it deletes or rewrites content.
func (r *Replica) guards(c *change) bool {
	mine := r.tree.Get(c.path)
	if !mine.Live() || mine.Kind == merkle.Dir {
		return false
	}
	return c.attrs == nil || c.attrs.Kind != mine.Kind || c.attrs.Content != mine.Content || c.attrs.Target != mine.Target
}

// flush lets out what has gathered, unless it is a burst of deletions or rewrites.
func (r *Replica) flush(now time.Time) {
	if len(r.changes) == 0 {
		clear(r.gone)
		return
	}
	defer func() {
		for _, c := range r.changes {
			c.waited = true
		}
	}()
	r.joinLinks()
	var guarded []*change
	root := r.tree.Root()
	waiting := reconcile.Waiting{Last: r.guarded, Total: root.Files + root.Symlinks}
	for _, c := range r.changes {
		if c.judged || c.waits() || r.awaitsLock(c.path) || !r.guards(c) {
			continue
		}
		guarded = append(guarded, c)
		if c.attrs == nil {
			waiting.Deletions++
		} else {
			waiting.Rewrites++
		}
	}
	verdict, again := r.guard.Judge(waiting, now)
	if verdict == reconcile.Hold { // unless the files are only elsewhere now
		waiting.Deletions -= r.movedAway(guarded)
		verdict, again = r.guard.Judge(waiting, now)
	}
	if len(guarded) > 0 && !r.scanned && r.guard.Burst != (reconcile.Burst{}) {
		verdict, again = reconcile.Wait, time.Second // judged as a whole, when the folder has been seen as a whole
	}
	if verdict == reconcile.Go && waiting.Deletions > 0 && r.guard.Burst != (reconcile.Burst{}) && !r.drained() {
		verdict, again = reconcile.Wait, maxDrain
	}
	if len(guarded) > 0 && !r.checkMarker() {
		return
	}
	switch verdict {
	case reconcile.Wait:
		r.wakeIn(again)
		r.letOut(func(c *change) bool { return !c.waits() && (c.judged || !r.guards(c) && c.attrs != nil) })
		return
	case reconcile.Hold:
		r.hold(guarded, now)
	}
	for _, c := range guarded {
		c.judged = true
	}
	r.guard.Passed(waiting.Deletions+waiting.Rewrites, now)
	r.letOut(func(c *change) bool { return !c.waits() })
}

// maxDrain bounds how long deletions wait for what the watcher has not handed over yet.
const maxDrain = 100 * time.Millisecond

// drained tells whether all that happened in the folder up to a moment after the last deletion was found has been seen. Else it
// sees to that: on a busy machine the rest of a burst may be late.
func (r *Replica) drained() bool {
	if r.drainedUpTo.After(r.guarded) {
		return true
	}
	if r.draining {
		return false
	}
	r.draining = true
	begun := time.Now()
	r.workers.Go(func() {
		ctx, cancel := context.WithTimeout(r.ctx, maxDrain)
		defer cancel()
		if err := r.watcher.Flush(ctx); err != nil {
			r.log.Debug("deletions go on without all events", "cause", err)
		}
		r.post(func() { r.draining, r.drainedUpTo = false, begun })
	})
	return false
}

// movedAway counts the deletions whose file is there under another name.
func (r *Replica) movedAway(guarded []*change) (n int) {
	type file struct {
		inode       uint64
		size, mtime int64
	}
	there := make(map[file]bool)
	for path, rec := range r.records {
		if c := r.changes[path]; rec.disk().Kind != merkle.Dir && (c == nil || c.attrs != nil) {
			there[file{rec.disk().Inode, rec.disk().Size, rec.disk().MTime}] = true
		}
	}
	for _, c := range r.changes {
		if c.attrs != nil {
			there[file{c.disk.Inode, c.disk.Size, c.disk.MTime}] = true
		}
	}
	for _, h := range r.hashing {
		there[file{h.info.Inode, h.info.Size, h.info.MTime}] = true
	}
	for _, c := range guarded {
		if d := r.diskAt(c.path); c.attrs == nil && there[file{d.Inode, d.Size, d.MTime}] {
			n++
		}
	}
	return n
}

// hold keeps changes back until the user has decided. Directories that went with the files are kept back with them.
func (r *Replica) hold(guarded []*change, now time.Time) {
	for _, c := range r.changes {
		kind := ""
		switch {
		case c.judged:
			continue
		case c.attrs == nil:
			kind = "deleted"
		case slices.Contains(guarded, c):
			kind = "rewritten"
		default:
			continue
		}
		r.held[c.path] = &heldChange{change: c, kind: kind, since: now}
		delete(r.changes, c.path)
	}
	r.tellEvent(control.Event{Kind: control.EventHeld, Count: uint64(len(guarded)), Cause: heldAsBurst})
	r.log.Warn("many files were deleted or rewritten at once: held, not sent to any peer",
		"files", len(guarded), "remedy", "look with resonate held, then resonate held approve or resonate held revert")
}

// letOut publishes the gathered changes that which selects, as one operation: one stamp.
func (r *Replica) letOut(which func(*change) bool) {
	r.joinLinks()
	var out []*change
	var otherwise []string
	for path, c := range r.changes {
		switch {
		case !which(c) || r.awaitsLock(path):
			continue
		case c.waited && !r.stillSo(c):
			otherwise = append(otherwise, path)
		default:
			out = append(out, c)
		}
		delete(r.changes, path)
	}
	defer func() {
		for _, path := range otherwise {
			r.look(path, false)
		}
	}()
	out, token, uses := r.cleared(out, time.Now())
	if len(out) == 0 {
		return
	}
	defer r.endUses(uses)
	by, err := r.author()
	by.Token = token
	if err != nil {
		for _, c := range out {
			r.changes[c.path] = c
		}
		r.problem(StateDir, "state cannot be written: "+err.Error(), "free space on the disk of "+r.place.state)
		r.wakeIn(time.Second)
		return
	}
	slices.SortFunc(out, publishOrder)
	removals := r.removals(out, by)
	for _, c := range out {
		r.publish(c, by)
	}
	for _, op := range removals {
		r.tellAll(op, nil)
		r.noteOperation(op, nil)
	}
	for _, c := range out {
		r.resume(c.path)
	}
}

// stillSo tells whether a path is as it was found. That a new file has gone with its directory, nobody tells but the event of that, and by
// then the file may not have been agreed yet.
func (r *Replica) stillSo(c *change) bool {
	info, err := r.root.Lstat(c.path)
	switch {
	case c.meeting, c.implied, r.folds: // of the first, a rebase looks itself; with the last, what stands there may be what another name is of
		return true
	case c.attrs == nil:
		return absent(err) || err == nil && (kindOf(info.Kind) == 0 || r.ignores(c.path, info.Kind == beneath.Dir)) // which are not synchronised
	}
	// A peer's version of another name of the file may have changed its attributes.
	return err == nil && sameDisk(c.disk, info) && (c.ctime == 0 || c.ctime == info.CTime)
}

// publishOrder puts creations first, a directory before what lies in it; then deletions, the other way round.
func publishOrder(a, b *change) int {
	switch {
	case a.attrs != nil && b.attrs == nil:
		return -1
	case a.attrs == nil && b.attrs != nil:
		return 1
	case a.attrs == nil:
		return strings.Compare(b.path, a.path)
	}
	return strings.Compare(a.path, b.path)
}

// author returns who makes a change now: this node, with its next stamp.
func (r *Replica) author() (reconcile.Author, error) {
	stamp, err := r.stamps.next()
	return reconcile.Author{Node: r.self, Stamp: stamp}, err
}

// maxInline is how many files' bytes are kept for their announcements.
const maxInline = 256

// publish makes a change known: first to the tree, then to the peers; on disk it is already.
func (r *Replica) publish(c *change, by reconcile.Author) {
	if err := r.root.At("publish"); err != nil {
		r.problem(c.path, "cannot be published: "+err.Error(), "it is tried again")
		r.changes[c.path] = c
		r.wakeIn(time.Second)
		return
	}
	r.completed(c)
	if r.publishRebased(c, by) {
		return
	}
	agreed := r.tree.Get(c.path)
	unseen := r.unseenHere(c)
	if unseen {
		for _, in := range r.incoming[c.path] {
			in.absent = false
		}
		r.take(&incoming{path: c.path, theirs: agreed})
		agreed = nil
	}
	e := reconcile.Publish(agreed, c.attrs, by)
	if c.attrs == nil {
		r.dropDisk(c.path)
	} else {
		blocks := c.blocks
		if rec := r.records[c.path]; c.keepBlocks && rec != nil {
			blocks = rec.blocks()
		}
		r.setDisk(c.path, c.disk, blocks)
	}
	if e == nil {
		return
	}
	r.stamped(by)
	r.noteBefore(c.path, agreed, e)
	r.keepFresh(e.Content, c.data)
	if c.told {
		r.agreeUntold(c.path, e)
	} else {
		r.agree(c.path, e, nil)
		r.notePublished(c.path, e)
	}
	r.carryAlong(c.path, c.data)
	r.log.Debug("published", "path", c.path, "kind", e.Kind.String())
}

// carryAlong has the bytes of a small file that was just published travel with its announcement.
func (r *Replica) carryAlong(path string, data []byte) {
	if len(data) == 0 {
		return
	}
	if len(r.inline) >= maxInline {
		clear(r.inline) // those who have not been told yet will ask
	}
	r.inline[path] = data
}

// stamped notes that all this node's changes up to that stamp are in the tree. It goes with agree, in one turn: at no time
// may a node claim to have seen what is not in its tree.
func (r *Replica) stamped(by reconcile.Author) { r.seen = r.seen.With(by.Node, by.Stamp) }

// dropDisk notes that nothing stands at path any more.
func (r *Replica) dropDisk(path string) {
	if rec := r.records[path]; rec != nil {
		*rec = record{}
		r.tellRefused(path, rec.disk())
		r.touch(path)
		r.free(path)
	}
}

// bygone tells whether e is a tombstone that every member has seen: there is no need to keep it.
func (r *Replica) bygone(e *merkle.Entry) bool {
	return e.Kind == merkle.Tombstone && r.horizon.Covers(e.Version.Vector)
}

// agree makes e what is agreed of path, and has all peers told but those who have it.
func (r *Replica) agree(path string, e *merkle.Entry, from *peer) {
	r.agreeUntold(path, e)
	for _, p := range r.peers {
		if p != from {
			p.tell(path, true)
		}
	}
}

// agreeUntold makes e what is agreed of path; the peers are told of it as part of something larger.
func (r *Replica) agreeUntold(path string, e *merkle.Entry) {
	r.tree.Put(path, e)
	noteLink(r.linked, path, e)
	if r.bygone(e) {
		r.tree.Remove(path)
	}
	r.meetStamps(e.Version.Vector)
	r.touch(path)
	r.lastChange = time.Now()
	delete(r.inline, path)
	r.noteContent(path, e)
	r.keepLater(path, e)
}

// suspect decides over a change that the first scan after an unclean boot has found: what a crash of the machine left
// is not published as an edit or a deletion. The peers' version goes in; without any peer, there is none to ask.
func (r *Replica) suspect(c *change) bool {
	mine := r.tree.Get(c.path)
	same := mine != nil && c.attrs != nil && c.attrs.Kind == mine.Kind && c.attrs.Content == mine.Content && c.attrs.Target == mine.Target
	known := r.records[c.path] != nil && r.records[c.path].suspect // what a check found damaged stays so
	alone := len(r.members) == 0 && !r.place.marker.folder.Shared && !known
	if same || alone || (mine == nil && c.attrs == nil) || (!mine.Live() && r.o.Mode == Receive) {
		return false
	}
	r.held[c.path] = &heldChange{change: c, kind: "suspect", since: time.Now()}
	r.tellHeld(c.path)
	r.record(c.path).suspect = true
	r.touch(c.path)
	if mine.Live() {
		r.reinstate(c.path)
	}
	return true
}

// heldList returns what is held, for the user.
func (r *Replica) heldList() []control.Held {
	out := make([]control.Held, 0, len(r.held))
	for path, h := range r.held {
		out = append(out, h.item(path))
	}
	slices.SortFunc(out, func(a, b control.Held) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// heldAsBurst is why a burst is held.
const heldAsBurst = "many files were deleted or rewritten at once"

// item describes what is held at path, for the user.
func (h *heldChange) item(path string) control.Held {
	item := control.Held{Path: path, Kind: h.kind, Since: h.since}
	switch h.kind {
	case keptLocal:
		item.Cause = "made here, and this node only receives"
		item.Remedy = "resonate held revert, or run without -mode receive"
	case keptLocked:
		item.Cause, item.Remedy = "being undone: "+h.cause, "wait for a peer that has it"
		return item
	case "suspect":
		item.Cause = "the machine went down without warning, or the disk is failing, and this is not what was agreed; the peers' version goes in as soon as one is there"
		item.Remedy = "wait for a peer, or resonate held approve " + path
	default:
		item.Cause = heldAsBurst
		item.Remedy = "resonate held approve, or resonate held revert"
	}
	if h.reinstated && h.kind != "suspect" {
		item.Cause = "being reverted: waits for a peer that has it"
		item.Remedy = "wait for a peer"
	}
	return item
}

// approve lets out held changes: those of the given paths and below, or all that are not being reverted.
func (r *Replica) approve(paths []string) (n int, err error) {
	if r.o.Mode == Receive {
		return 0, errOnlyReceives
	}
	approved := make(map[*change]bool)
	for path, h := range r.held {
		reverting := h.reinstated && h.kind != "suspect" && len(paths) == 0
		if selects(paths, path) && !reverting {
			delete(r.held, path)
			r.withdraw(path)
			r.changes[path] = h.change
			h.judged, approved[h.change] = true, true
		}
	}
	r.letOut(func(c *change) bool { return approved[c] })
	return len(approved), nil
}

// revert undoes held changes: what was agreed goes in again, what stands there now goes to the history.
func (r *Replica) revert(paths []string) (n int) {
	var which, anew []string
	for path, h := range r.held {
		switch {
		case !selects(paths, path):
		case r.tree.Get(path).Live():
			which = append(which, path)
		case h.local():
			anew = append(anew, path)
		}
	}
	n = r.dismissAll(anew) // first: it may lie in a directory that is to be a file again
	slices.Sort(which)
	for _, path := range which {
		r.reinstate(path)
	}
	return n + len(which)
}
