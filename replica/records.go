package replica

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"resonate/audit"
	"resonate/index"
	"resonate/merkle"
)

// commitDelay is how long agreed changes gather before they are written down together.
const commitDelay = 100 * time.Millisecond

// committing is the state of writing down in groups.
type committing struct {
	due     time.Time
	running bool
	failed  error // why the last group could not be written
}

func fillRandom(b []byte) { rand.Read(b) }

// load opens the index and the intents, and takes over what they tell.
func (r *Replica) load() error {
	if err := r.openIndex(); err != nil {
		return err
	}
	meta := r.index.Meta()
	r.stamps = stamps{last: meta.Reserved, reserved: meta.Reserved, reserve: r.reserve, clock: time.Now}
	r.stamps.floor = max(meta.Reserved, merkle.Stamp(time.Now().UnixMicro()))
	r.seen, r.horizon = meta.Seen, meta.Horizon
	for _, k := range meta.Members {
		r.members[k.Node] = k.Seen
		r.meetStamps(k.Seen)
	}
	r.meetStamps(nil) // the records may know higher ones of this node's own
	r.unclean = !meta.Clean && meta.Boot != "" && meta.Boot != r.bootID()
	r.before = meta.Boot
	r.commit.due = time.Now() // from now on the end is unclean, until it comes
	dir := filepath.Join(r.place.state, "intents")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	intents, left, err := index.OpenIntents(dir)
	if err != nil {
		return err
	}
	r.intents = intents
	if err := r.index.Commit(nil, r.meta(false)); err != nil { // from now on the run has not ended cleanly
		return err
	}
	r.openAudit()
	if err := r.recover(left); err != nil {
		return err
	}
	r.dropTombstones()
	r.findLeft()
	r.compareAgreed(maps.Keys(r.records), time.Now())
	for path := range r.left {
		r.linger[path] = true
	}
	return nil
}

// openIndex opens the index and loads the records. A damaged one is mended: what cannot be read is found again by the scan,
// and what peers have is joined. One of which nothing can be read is set aside.
func (r *Replica) openIndex() (err error) {
	path := filepath.Join(r.place.state, "index.db")
	for range 2 {
		if r.index, err = index.Open(path); err == nil {
			err = r.loadRecords()
		}
		if !errors.Is(err, index.ErrDamaged) {
			break
		}
		if r.index != nil {
			r.index.Close()
		}
		if failed := setAside(path, err, r.log); failed != nil {
			return failed
		}
	}
	if errors.Is(err, index.ErrInUse) {
		return fmt.Errorf("folder %s is in use by another resonate: %w", r.root.Name(), err)
	}
	return err
}

// loadRecords takes over all records.
func (r *Replica) loadRecords() error {
	err := r.readIndex()
	if !errors.Is(err, index.ErrDamaged) {
		return err
	}
	flaws, err := r.index.Mend()
	if err != nil {
		return err
	}
	r.log.Error("the index is damaged: what cannot be read of it is dropped and found again by a scan; nothing is deleted",
		"values", len(flaws), "first", flaws[0].Cause)
	clear(r.records)
	r.tree = merkle.Tree{}
	return r.readIndex()
}

// readIndex has the records taken over as they are read: reading them takes as long as putting them in their places.
func (r *Replica) readIndex() error {
	type item struct {
		path string
		index.Record
	}
	const batch = 512
	read, done := make(chan []item, 4), make(chan struct{})
	go func() {
		defer close(done)
		for list := range read {
			for _, it := range list {
				r.loadRecord(it.path, it.Record)
			}
		}
	}()
	list := make([]item, 0, batch)
	err := r.index.Load(func(path string, rec index.Record) error {
		if list = append(list, item{path, rec}); len(list) == batch {
			read <- list
			list = make([]item, 0, batch)
		}
		return nil
	})
	read <- list
	close(read)
	<-done
	return err
}

func (r *Replica) loadRecord(path string, rec index.Record) {
	known := r.newRecord()
	known.load(rec)
	r.records[path] = known
	r.worked++
	r.tellRefused(path, rec.Disk)
	if len(rec.Before) > 0 {
		r.branched[path] = true
	}
	if rec.Entry != nil {
		r.tree.Put(path, rec.Entry)
		noteLink(r.linked, path, rec.Entry)
		r.meetStamps(rec.Entry.Version.Vector)
	}
}

// setAside moves a damaged index away.
func setAside(path string, cause error, log *slog.Logger) error {
	aside := fmt.Sprintf("%s.damaged-%s", path, time.Now().UTC().Format("20060102T150405"))
	log.Error("the index is damaged: it is set aside and built anew; nothing is deleted", "cause", cause, "aside", aside)
	return os.Rename(path, aside)
}

// meetStamps remembers the highest stamp of every node.
func (r *Replica) meetStamps(v merkle.Vector) {
	for _, c := range v {
		if c.Stamp > r.highest[c.Node] {
			r.highest[c.Node] = c.Stamp
		}
	}
	if s := r.highest[r.self]; s > r.stamps.last {
		r.stamps.above(s)
	}
}

// meta returns what is to be kept about the replica as a whole.
func (r *Replica) meta(clean bool) *index.Meta {
	boot := r.bootID()
	if r.unclean { // until it is known what is suspect, a second crash changes nothing
		boot, clean = r.before, false
	}
	m := &index.Meta{
		Node: r.self, Boot: boot, Clean: clean, Reserved: r.stamps.reserved,
		Seen: r.seen, Horizon: r.horizon,
	}
	for _, n := range sortedNodes(r.members) {
		m.Members = append(m.Members, index.Known{Node: n, Seen: r.members[n]})
	}
	return m
}

func sortedNodes[V any](m map[merkle.NodeID]V) []merkle.NodeID {
	return slices.SortedFunc(maps.Keys(m), func(a, b merkle.NodeID) int { return slices.Compare(a[:], b[:]) })
}

// reserve puts a new high-water mark of stamps on disk.
func (r *Replica) reserve(mark merkle.Stamp) error {
	m := r.index.Meta() // not what has been seen since: that goes with the records, in one transaction
	m.Node, m.Boot, m.Clean, m.Reserved = r.self, r.bootID(), false, mark
	return r.index.Commit(nil, &m)
}

// record returns the record of a path, made where there is none.
func (r *Replica) record(path string) *record {
	rec := r.records[path]
	if rec == nil {
		rec = r.newRecord()
		r.records[path] = rec
	}
	return rec
}

// setDisk notes what a path looks like on disk: from now on, finding it so is no change.
func (r *Replica) setDisk(path string, d index.Disk, blocks merkle.BlockList) {
	rec := r.record(path)
	if blocks != nil {
		r.rememberList(path)
	}
	rec.setDisk(d)
	rec.setBlocks(blocks)
	rec.suspect, rec.ignored, rec.behind = false, false, false
	r.tellRefused(path, d)
	r.touch(path)
}

// touch has the record of path written down with the next group.
func (r *Replica) touch(path string) {
	r.dirty[path], r.anew[path] = true, true
	r.noteForMark(path)
	r.worked++
	if r.commit.due.IsZero() {
		r.commit.due = time.Now().Add(commitDelay)
	}
}

// commitWhenDue starts writing down a group, when there is one and none is under way.
func (r *Replica) commitWhenDue(now time.Time) {
	if r.commit.running || r.commit.due.IsZero() {
		return
	}
	if wait := r.commit.due.Sub(now); wait > 0 {
		r.wakeIn(wait)
		return
	}
	changes := r.gather()
	meta := r.meta(false)
	done, err := r.intents.Rotate()
	if err != nil {
		r.commitEnded(fmt.Errorf("rotate intents: %w", err), changes)
		return
	}
	r.commit.running = true
	r.workers.Go(func() {
		err := r.writeGroup(changes, meta, done)
		r.post(func() { r.commitEnded(err, changes) })
	})
}

// writeGroup makes a group durable: first the folder's file system, then the index, then the intents are superfluous. Before that,
// what was noted of it is in the audit; if that fails, it is tried again, and told, elsewhere.
func (r *Replica) writeGroup(changes []index.Change, meta *index.Meta, done func() error) error {
	if err := r.writeAudit(); err != nil {
		r.log.Debug("the audit is not written before the index", "cause", err)
	}
	if err := r.root.At("commit.sync"); err != nil {
		return err
	}
	if err := r.root.SyncFS(); err != nil {
		return fmt.Errorf("sync %s: %w", r.root.Name(), err)
	}
	if err := r.root.At("commit.index"); err != nil {
		return err
	}
	if err := r.index.Commit(changes, meta); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	if err := r.root.At("commit.intents"); err != nil {
		return err
	}
	return done()
}

// gather takes all dirty records for a group.
func (r *Replica) gather() []index.Change {
	changes := make([]index.Change, 0, len(r.dirty))
	for path := range r.dirty {
		changes = append(changes, r.toIndex(path))
	}
	clear(r.dirty)
	r.commit.due = time.Time{}
	return changes
}

// toIndex returns what the index is to hold of path.
func (r *Replica) toIndex(path string) index.Change {
	c := index.Change{Path: path}
	e := r.tree.Get(path)
	if rec := r.records[path]; rec != nil || e != nil {
		if rec == nil {
			rec = &record{}
		}
		c.Record = &index.Record{Entry: e, Disk: rec.disk(), Hint: rec.hint(), Suspect: rec.suspect, Ignored: rec.ignored, Behind: rec.behind, Before: rec.before()}
		c.Blocks = rec.blocks()
		c.KeepBlocks = rec.blocks() == nil && e.Live() && e.Kind == merkle.File && e.Size > 0
	}
	return c
}

// commitEnded goes on after a group. One that failed stays to be written, and is told.
func (r *Replica) commitEnded(err error, changes []index.Change) {
	r.commit.running = false
	if err == nil {
		if r.commit.failed != nil {
			r.problem(StateDir, "", "")
		}
		r.commit.failed = nil
		for _, c := range changes { // long lists lie in the index from now on
			if rec := r.records[c.Path]; rec != nil && len(rec.blocks()) > maxListInMemory && !r.dirty[c.Path] {
				rec.setBlocks(nil)
			}
		}
		if len(r.dirty) > 0 && r.commit.due.IsZero() {
			r.commit.due = time.Now().Add(commitDelay)
		}
		return
	}
	r.commit.failed = err
	r.problem(StateDir, "state cannot be written: "+err.Error(), "free space, or make the state directory "+r.place.state+" writable")
	for _, c := range changes {
		r.dirty[c.Path] = true
		if rec := r.records[c.Path]; rec != nil && rec.blocks() == nil {
			rec.setBlocks(c.Blocks)
		}
	}
	r.commit.due = time.Now().Add(2 * time.Second)
}

// finalCommit writes down what is left when Run ends; clean tells that the files are as the records say.
func (r *Replica) finalCommit(clean bool) error {
	if clean {
		r.note(audit.Record{Kind: audit.Ended})
	}
	changes := r.gather()
	done, err := r.intents.Rotate()
	if err != nil {
		return err
	}
	return r.writeGroup(changes, r.meta(clean), done)
}

// blockList returns the blocks of the file agreed at path.
func (r *Replica) blockList(path string) (merkle.BlockList, error) {
	if rec := r.records[path]; rec != nil && rec.blocks() != nil {
		return rec.blocks(), nil
	}
	return r.index.Blocks(path)
}
