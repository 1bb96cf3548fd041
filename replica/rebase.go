package replica

import (
	"errors"
	"math"
	"slices"
	"time"

	"resonate/index"
	"resonate/locking"
	"resonate/merkle"
	"resonate/reconcile"
	"resonate/textmerge"
)

// Rebase: a change that has its lock, and was made without having seen a version that a peer has told, is made one with that before anybody
// sees it. By the policy, the two are merged; or one of them keeps the name, and the other is kept beside it, or in the history. What comes of
// it has seen both. What is agreed here and meets such a version, because both were made while no lock was to be had, goes the same way, as a
// change that changes nothing (meeting).

// Times of a rebase.
const (
	rebaseTime    = 10 * time.Second // how long a change waits under its lock for what it needs
	rebaseAgain   = 20 * time.Millisecond
	mergePatience = 3 * time.Second // how long who cannot merge two versions waits for somebody who can
	maxMerges     = 2               // texts that are merged at a time
)

// An outcome is what a rebase has come to.
type outcome int

const (
	undecided outcome = iota
	plain             // the change goes out as it is: versions meet
	onTop             // the change, with metadata of the peer's version, on top of that
	beside            // the same, and the peer's version is kept beside it
	merged            // a merged text
	theirs            // the peer's content, with metadata of the change
)

// A rebase is a change on its way to be made one with a peer's version, under a lock.
type rebase struct {
	c       *change
	in      *incoming
	base    *merkle.Entry // what both were made of; nil: not known, or not needed
	plan    reconcile.Plan
	since   time.Time
	used    bool // a delegation is in use until it is over
	outcome outcome
	merging bool

	attrs merkle.Attributes // of what is merged
	made  *incoming         // the merged file, in a temporary one
}

// rebasing is the loop's state of rebases.
type rebasing struct {
	rebases map[string]*rebase // by path
	mergers int                // goroutines that merge
}

func (s *rebasing) init() { s.rebases = make(map[string]*rebase) }

// meets tells whether a conflict of what is agreed here with a peer's version waits: for the lock under which this node sees to it, or
// for another node that can merge the two where this one cannot.
func (r *Replica) meets(in *incoming, mine *merkle.Entry, plan reconcile.Plan, now time.Time) bool {
	disk := r.diskAt(in.path)
	if plan.Copy == nil || in.unmerged || in.reinstate || r.o.Policy == Copy || r.o.Mode != Both || r.held[in.path] != nil || disk.Kind != mine.Kind {
		return false
	}
	if mine.IsDir() || in.theirs.IsDir() || r.locks == nil || !r.sharesLocks() {
		return false
	}
	if r.o.Policy == Merge && (!mergeable(&mine.Attributes, in.theirs) || !reconcile.Related(mine, in.theirs)) {
		return false
	}
	if r.lockState(now) != lockable { // who was alone until now has none, or gives up asking for some
		return r.patient(in, lockGather, now)
	}
	if r.o.Policy == Merge {
		if merges, again := r.mergesMet(in, mine); !merges {
			return again > 0 && r.patient(in, again, now)
		}
	}
	r.changes[in.path] = &change{path: in.path, attrs: &mine.Attributes, disk: disk, keepBlocks: true, meeting: true, judged: true, joined: true}
	r.wakeIn(0)
	return true
}

// patient has a version that waits for locks, or for another node, looked at again after a while; false: it has waited long enough.
func (r *Replica) patient(in *incoming, again time.Duration, now time.Time) bool {
	wait := min(again, mergePatience-now.Sub(in.came))
	if wait > 0 {
		in.after = now.Add(wait)
		r.later[in.path] = in.after
		r.wakeIn(wait)
	}
	return wait > 0
}

// mergesMet tells whether this node tries to merge a peer's version with what is agreed here; if not, after what time that may be
// otherwise, or another may have done it; 0: nobody will.
func (r *Replica) mergesMet(in *incoming, mine *merkle.Entry) (merges bool, again time.Duration) {
	base := r.baseOf(in.path, in.theirs)
	switch {
	case base != nil && (base.Content == mine.Content || base.Content == in.theirs.Content):
		return true, 0
	case r.looksBinary(in.path):
		return false, 0
	case r.baseThere(base):
		return true, 0
	case base != nil && time.Since(in.came) > mergePatience: // in the history, perhaps
		return true, 0
	case !r.bases.Opened():
		return false, rebaseAgain
	}
	return false, mergePatience
}

// mergeable tells whether two files may be texts that can be merged, as far as that can be told without their contents.
func mergeable(mine *merkle.Attributes, theirs *merkle.Entry) bool {
	return mine.Kind == merkle.File && theirs.Kind == merkle.File && mine.Size <= textmerge.MaxBytes && theirs.Size <= textmerge.MaxBytes &&
		mine.Link.IsZero() && theirs.Link.IsZero()
}

// baseThere tells whether the content of a base is at hand. In the history it may be, too.
func (r *Replica) baseThere(base *merkle.Entry) bool {
	return base != nil && (base.Size == 0 || r.fresh[base.Content] != nil || r.bases.Has(base.Content))
}

// looksBinary tells whether the file at a path is no text, by its beginning.
func (r *Replica) looksBinary(path string) bool {
	f, err := r.root.OpenFile(path)
	if err != nil {
		return false
	}
	defer f.Close()
	begin := make([]byte, 8000)
	n, _ := f.Read(begin)
	return slices.Contains(begin[:n], 0)
}

// unmet gives up seeing to a conflict under a lock.
func (r *Replica) unmet(c *change) {
	if r.changes[c.path] == c {
		delete(r.changes, c.path)
	}
	for _, in := range r.incoming[c.path] {
		in.unmerged = true
	}
	r.resume(c.path)
}

// rebaseFirst tells whether a change that has its lock waits for a rebase. When that is over, the change knows its outcome. used tells that a
// delegation is in use for the change; where it returns true it takes care of that.
func (r *Replica) rebaseFirst(c *change, token merkle.Token, used bool, now time.Time) bool {
	b := r.rebases[c.path]
	if b != nil && (b.c != c || !slices.Contains(r.incoming[c.path], b.in)) {
		r.endRebase(c.path)
		b = nil
	}
	if b == nil {
		if b = r.beginRebase(c, token, now); b == nil {
			return false
		}
		r.rebases[c.path] = b
	}
	if r.advanceRebase(b, now); b.outcome != undecided {
		c.rebase = b
		return false
	}
	switch {
	case used && b.used:
		r.endUses(onlyPath(c.path)) // one is enough
	case used:
		b.used = true
	}
	r.wakeIn(min(rebaseTime-now.Sub(b.since), time.Second))
	return true
}

// beginRebase returns the rebase that a change needs; nil: none.
func (r *Replica) beginRebase(c *change, token merkle.Token, now time.Time) *rebase {
	mine := r.tree.Get(c.path)
	queue := r.incoming[c.path]
	if len(queue) == 0 || r.o.Policy == Copy || r.o.Mode != Both || c.attrs == nil || c.told || c.links > 1 || !mine.Live() || mine.IsDir() ||
		r.held[c.path] != nil || r.unseenHere(c) || token == (merkle.Token{}) {
		return nil
	}
	r.completed(c)
	e := mine
	if !c.meeting {
		e = reconcile.Publish(mine, c.attrs, reconcile.Author{Node: r.self, Stamp: math.MaxInt64, Token: token})
	}
	for i, in := range slices.Backward(queue) {
		seen := func(next *incoming) bool {
			return next.theirs.Version.Vector.Compare(in.theirs.Version.Vector) == merkle.After
		}
		if e == nil || in.reinstate || in.absent || in.refit || in.forgotten || slices.ContainsFunc(queue[i+1:], seen) {
			continue
		}
		if plan := reconcile.Merge(c.path, e, in.theirs); plan.Copy != nil || plan.Entry != nil && r.redressed(c.path, in.theirs) {
			b := &rebase{c: c, in: in, plan: plan, since: now}
			r.judgeRebase(b, mine)
			return b
		}
	}
	return nil
}

// redressed tells whether a peer's version has other metadata than what it was made of, and the same content: beside what holds another
// content it would be lost.
func (r *Replica) redressed(path string, theirs *merkle.Entry) bool {
	if r.o.Policy != Merge || theirs.Kind != merkle.File {
		return false
	}
	base := r.baseOf(path, theirs)
	return base != nil && base.Content == theirs.Content && !reconcile.SameMetadata(&base.Attributes, &theirs.Attributes)
}

// judgeRebase finds out, by the policy, what a rebase is to come to, as far as that is known at once.
func (r *Replica) judgeRebase(b *rebase, mine *merkle.Entry) {
	c, v := b.c, b.in.theirs
	b.attrs = *c.attrs
	if r.o.Policy == Latest {
		switch {
		case v.IsDir() || c.attrs.Kind == merkle.Dir:
			b.outcome = plain
		case !c.meeting || b.plan.Copy == v:
			b.outcome = onTop
		case v.Kind != merkle.File:
			b.outcome = theirs
		}
		return
	}
	b.base = r.baseOf(c.path, v)
	if b.base == nil || !mergeable(c.attrs, v) {
		b.outcome = plain
		return
	}
	if v.Content == b.base.Content {
		b.attrs, b.outcome = reconcile.MergeMetadata(&b.base.Attributes, c.attrs, &v.Attributes), onTop
	}
}

// advanceRebase goes on with a rebase: fetch, then merge.
func (r *Replica) advanceRebase(b *rebase, now time.Time) {
	switch in := b.in; {
	case b.outcome != undecided || b.merging || in.fetching:
	case now.Sub(b.since) > rebaseTime:
		r.log.Debug("not merged in time", "path", b.c.path)
		b.outcome = plain
	case in.temp == "":
		if in.after.After(now) {
			r.wakeIn(in.after.Sub(now))
			return
		}
		var wait waitError
		if err := r.fetch(in); errors.As(err, &wait) {
			r.wakeIn(rebaseAgain)
		} else if err != nil {
			r.log.Debug("not merged", "path", b.c.path, "cause", err)
			b.outcome = plain
		}
	case b.base == nil || b.base.Content == b.c.attrs.Content: // by the policy, or because metadata alone was changed here
		b.outcome = theirs
	case r.mergers < maxMerges:
		r.mergers++
		b.merging = true
		fresh, temp := r.fresh[b.base.Content], in.temp // which may be handed on meanwhile: then it is not found, or is not what it was
		attrs := *b.c.attrs                             // another rebase of the change may begin before this is over
		r.workers.Go(func() {
			m, err := r.mergeTexts(b, &attrs, fresh, temp)
			r.post(func() { r.textsMerged(b, m, err) })
		})
	}
}

// A mergedText is what came of a merge: a temporary file, or nothing where it is what stands there already.
type mergedText struct {
	attrs  merkle.Attributes
	temp   string
	disk   index.Disk
	blocks merkle.BlockList
	text   []byte
	theirs []byte // what the peer's version holds
}

// mergeTexts merges what stands at a path, of which attrs tells, with a peer's version of it, which is in a temporary file, beside the loop.
func (r *Replica) mergeTexts(b *rebase, attrs *merkle.Attributes, fresh []byte, theirs string) (m mergedText, err error) {
	path, v := b.c.path, b.in.theirs
	base, err := r.baseText(path, b.base, fresh)
	if err != nil {
		return m, err
	}
	mine, err := r.readText(path, attrs.Content, attrs.Size)
	if err != nil {
		return m, err
	}
	other, err := r.readText(theirs, v.Content, v.Size)
	if err != nil {
		return m, err
	}
	text, err := textmerge.Merge(base, mine, other)
	if err != nil {
		return m, err
	}
	m.text, m.theirs = text, other
	m.attrs = reconcile.MergeMetadata(&b.base.Attributes, attrs, &v.Attributes)
	if m.blocks, _, err = merkle.Split(newBytesReader(text), nil); err != nil {
		return m, err
	}
	m.attrs.Size, m.attrs.Content = int64(len(text)), m.blocks.Root()
	if m.attrs.Content == attrs.Content {
		return m, nil
	}
	if m.blocks == nil {
		m.blocks = merkle.BlockList{}
	}
	m.attrs.MTime = max(time.Now().UnixNano(), v.MTime, attrs.MTime)
	m.temp = r.tempName() + partial
	disk, made, err := r.writeWhole(m.temp, &merkle.Entry{Attributes: m.attrs}, text)
	if m.disk = disk; err != nil && made {
		r.removeMerged(m.temp)
	}
	return m, err
}

// removeMerged removes a merged file that is not to go in. It may be called from any goroutine but the loop.
func (r *Replica) removeMerged(temp string) {
	if err := r.root.Remove("rebase.remove", temp); err != nil && !absent(err) {
		r.post(func() { r.leave(temp, "", err) })
	}
}

// textsMerged goes on with a rebase whose texts were merged, or not.
func (r *Replica) textsMerged(b *rebase, m mergedText, err error) {
	r.mergers--
	b.merging = false
	r.wakeIn(0)
	switch over := r.rebases[b.c.path] != b; {
	case over:
		if m.temp != "" && err == nil {
			r.removeOrLeave("rebase.remove", m.temp)
		}
	case errors.Is(err, textmerge.ErrConflict), errors.Is(err, textmerge.ErrBinary), errors.Is(err, textmerge.ErrTooLarge):
		r.log.Debug("not merged", "path", b.c.path, "cause", err)
		if b.outcome = beside; b.plan.Copy != b.in.theirs {
			b.outcome = plain
		}
	case errors.Is(err, errChangedHere):
		r.endRebase(b.c.path)
		r.look(b.c.path, false)
	case err != nil:
		r.log.Debug("not merged", "path", b.c.path, "cause", err)
		b.outcome = plain
	case m.temp == "":
		b.attrs, b.outcome = m.attrs, onTop
	default:
		r.keepFresh(b.in.theirs.Content, m.theirs)
		r.keepFresh(m.attrs.Content, m.text)
		b.attrs, b.outcome = m.attrs, merged
		b.made = &incoming{path: b.c.path, temp: m.temp, disk: m.disk, fetched: m.blocks, from: b.in.from, busy: b.in.busy}
	}
}

// endRebase forgets the rebase of a path, if there is one.
func (r *Replica) endRebase(path string) {
	b := r.rebases[path]
	if b == nil {
		return
	}
	delete(r.rebases, path)
	b.c.rebase = nil
	if b.used {
		r.endUses(onlyPath(path))
	}
	if b.made != nil && b.made.temp != "" {
		r.removeOrLeave("rebase.remove", b.made.temp)
	}
}

// tendRebases ends those of changes that are not there any more.
func (r *Replica) tendRebases() {
	for path, b := range r.rebases {
		if r.changes[path] != b.c {
			r.endRebase(path)
		}
	}
}

// rebasingUnder tells whether a rebase still needs what p has.
func (r *Replica) rebasingUnder(p *permit) bool {
	for path, b := range r.rebases {
		if p.covers(path) && r.changes[path] == b.c {
			return true
		}
	}
	return false
}

// publishRebased lets out what a change has become. It returns false if it goes out as it is.
func (r *Replica) publishRebased(c *change, by reconcile.Author) bool {
	b := c.rebase
	if b == nil && !c.meeting {
		return false
	}
	if b == nil || b.outcome == plain || by.Token == (merkle.Token{}) {
		r.endRebase(c.path)
		if c.meeting {
			r.unmet(c)
		}
		return c.meeting
	}
	err := r.putRebased(b, by)
	switch {
	case err == nil:
		r.endRebase(c.path)
	case errors.Is(err, errBusy):
		if b.in.busy.IsZero() {
			b.in.busy = time.Now()
		}
		if b.made != nil {
			b.made.busy = b.in.busy
		}
		r.changes[c.path] = c
		r.wakeIn(rebaseAgain)
	case errors.Is(err, errChangedHere): // what was found there comes as a change of its own
		r.endRebase(c.path)
	default:
		r.log.Warn("what was merged cannot be put in place: both versions are kept", "path", c.path, "cause", err)
		r.endRebase(c.path)
		if c.meeting {
			r.unmet(c)
		}
		return c.meeting
	}
	return true
}

// putRebased brings the disk to what a rebase has come to, and makes that agreed.
func (r *Replica) putRebased(b *rebase, by reconcile.Author) error {
	c, in, mine := b.c, b.in, r.tree.Get(b.c.path)
	if info, err := r.root.Lstat(c.path); err != nil || !sameDisk(c.disk, info) {
		r.look(c.path, false)
		return errChangedHere
	}
	if r.hashing[c.path] != nil { // what is being read was found before, and would undo what is put in place now
		return errChangedHere
	}
	attrs := b.attrs
	e := reconcile.Rebase(mine, in.theirs, &attrs, by)
	switch b.outcome {
	case beside:
		plan := reconcile.Plan{Copy: in.theirs, CopyPath: b.plan.CopyPath}
		if err := r.applyCopyOfTheirs(in, plan); err != nil {
			return err
		}
		r.recordAsFound(c)
	case onTop:
		if err := r.putMetadataOver(b, e); err != nil {
			return err
		}
	case merged:
		b.made.theirs = e
		if err := r.put(&putting{in: b.made, entry: e, over: c}); err != nil {
			return err
		}
	case theirs:
		var err error
		if e, err = r.putTheirs(b, mine, by); err != nil {
			return err
		}
	}
	r.agreeRebased(b, e, mine, by)
	return nil
}

// recordAsFound has what was found of a change be what is recorded.
func (r *Replica) recordAsFound(c *change) {
	blocks := c.blocks
	if rec := r.records[c.path]; c.keepBlocks && rec != nil {
		blocks = rec.blocks()
	}
	r.setDisk(c.path, c.disk, blocks)
}

// putMetadataOver gives what stands there the metadata of e.
func (r *Replica) putMetadataOver(b *rebase, e *merkle.Entry) error {
	if reconcile.SameMetadata(&e.Attributes, b.c.attrs) {
		r.recordAsFound(b.c)
		return nil
	}
	if err := r.put(&putting{in: &incoming{path: b.c.path, theirs: e}, entry: e, metadata: true, over: b.c}); err != nil {
		return err
	}
	if !b.c.keepBlocks { // those recorded are of what was there before
		r.setDisk(b.c.path, r.diskAt(b.c.path), b.c.blocks)
	}
	return nil
}

// putTheirs puts the peer's content in, and then the metadata that the change is about.
func (r *Replica) putTheirs(b *rebase, mine *merkle.Entry, by reconcile.Author) (*merkle.Entry, error) {
	v := b.in.theirs
	e := reconcile.Rebase(mine, v, &v.Attributes, by)
	if err := r.put(&putting{in: b.in, entry: e, over: b.c}); err != nil || b.base == nil {
		return e, err
	}
	attrs := reconcile.MergeMetadata(&b.base.Attributes, b.c.attrs, &v.Attributes)
	attrs.Size, attrs.MTime, attrs.Content = v.Size, v.MTime, v.Content
	if reconcile.SameMetadata(&attrs, &v.Attributes) {
		return e, nil
	}
	dressed := reconcile.Rebase(mine, v, &attrs, by)
	if err := r.put(&putting{in: &incoming{path: b.c.path, theirs: dressed}, entry: dressed, metadata: true}); err != nil {
		r.log.Warn("a change of metadata alone is lost", "path", b.c.path, "cause", err)
		return e, nil
	}
	return dressed, nil
}

// agreeRebased makes agreed what a rebase has come to, and lets it out.
func (r *Replica) agreeRebased(b *rebase, e, mine *merkle.Entry, by reconcile.Author) {
	path := b.c.path
	r.stamped(by)
	r.noteBefore(path, mine, e)
	if b.outcome == merged {
		r.noteBefore(path, b.in.theirs, e)
	}
	r.agree(path, e, nil)
	r.notePublished(path, e)
	switch b.outcome {
	case merged:
		r.log.Info("merged with a peer's change", "path", path)
	case beside: // noteConflict has told
	default:
		r.log.Info("a peer's change was seen to", "path", path, "policy", r.o.Policy.String())
	}
}

// onlyPath is the scope of one path, as endUses has it.
func onlyPath(path string) []locking.Scope { return []locking.Scope{onePath(path)} }
