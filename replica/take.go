package replica

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"resonate/beneath"
	"resonate/index"
	"resonate/merkle"
	"resonate/reconcile"
	"resonate/syncproto"
)

// An incoming is a version of a path that a peer has announced, on its way in.
type incoming struct {
	path   string
	theirs *merkle.Entry
	hint   int64
	blocks merkle.BlockList // nil: to be asked for
	data   []byte           // of a small file, where it travelled along
	count  uint64           // of blocks, as the peer tells; 0: not told
	differ *syncproto.Difference
	below  uint64  // of a directory: how many entries live below it at the peer
	from   []*peer // who have it, the newest last
	word   *peer   // by whose word it is forgotten
	acks   []ack   // to be answered when it is dealt with

	forgotten bool // theirs is what is agreed here, and is to be deleted: a peer has long done so
	absent    bool // theirs is what is agreed already, and not here: it was ignored
	reinstate bool // theirs is what is agreed already: what was held here is undone
	refit     bool // theirs is what is agreed already: what is here has other metadata
	apart     bool // and shares its inode with other names, which keep it
	unmerged  bool // it was looked at under a lock, or there is none: it meets what is here as versions meet

	aside func(temp string, err error) // it is in no queue: called by the loop when it was fetched, or not; nil: it is

	fetching bool      // or gathered, to be put in place with its directory
	alone    bool      // not to be gathered again
	job      *fetchJob // the last one that fetched it
	temp     string    // whole and checked, once fetched
	linked   bool      // temp is another name of a file that is here
	disk     index.Disk
	fetched  merkle.BlockList

	came  time.Time // when it was announced
	tries int
	local int       // how often it met a change made here
	after time.Time // not before
	busy  time.Time // since when somebody has the file here open for writing
}

// An ack answers an announcement, or an operation once all that follows from it is dealt with.
type ack struct {
	to   *peer
	seq  uint64
	left *int // how many still have a part in it; nil: it is this one's alone
}

// applying is the loop's state of what comes in.
type applying struct {
	incoming map[string][]*incoming   // by path, the first one being worked on
	ready    map[string]bool          // paths to go on with in this turn
	waiting  map[string][]string      // directory -> paths that wait for something to change there
	later    map[string]time.Time     // paths to be tried again at a time
	linger   map[string]bool          // directories that were deleted by a peer but hold something live
	left     map[string]bool          // directories that were deleted by a peer and stay, for what else they hold
	badRules map[string]bool          // rule files that cannot be used
	hints    map[string]bool          // directories whose mtime is to be set when all is in
	timed    map[string]beneath.Info  // how directories were left whose mtime was set
	arriving map[merkle.Hash][]string // by content: the paths of files on their way in
	received reception                // since nothing was last under way
}

// A reception counts what comes in, for the progress line.
type reception struct {
	since        time.Time
	files, total int   // dealt with; announced
	bytes, sum   int64 // the same
}

func (a *applying) init() {
	a.incoming = make(map[string][]*incoming)
	a.ready = make(map[string]bool)
	a.waiting = make(map[string][]string)
	a.later = make(map[string]time.Time)
	a.linger = make(map[string]bool)
	a.left = make(map[string]bool)
	a.badRules = make(map[string]bool)
	a.hints = make(map[string]bool)
	a.timed = make(map[string]beneath.Info)
	a.arriving = make(map[merkle.Hash][]string)
}

// arrives notes (or no more, when it is over) what in brings.
func (a *applying) arrives(in *incoming, begins bool) {
	e := in.theirs
	if e.Kind != merkle.File || e.Size == 0 {
		return
	}
	paths := a.arriving[e.Content]
	if begins {
		paths = append(paths, in.path)
	} else if i := slices.Index(paths, in.path); i >= 0 {
		paths = slices.Delete(paths, i, i+1)
	}
	if a.arriving[e.Content] = paths; len(paths) == 0 {
		delete(a.arriving, e.Content)
	}
}

// maxArrival is how long a deletion waits for the same content to have come under another name.
const maxArrival = 30 * time.Second

// awaits returns the path that a deletion waits for: the content to be deleted is on its way in under that name, too. So there
// is no moment at which what was moved elsewhere has neither name here; and it need not be fetched.
func (r *Replica) awaits(in *incoming, mine *merkle.Entry) (string, bool) {
	if in.theirs.Live() || !mine.Live() || mine.Kind != merkle.File || time.Since(in.came) > maxArrival {
		return "", false
	}
	return r.arrivesElsewhere(in.path, mine.Content)
}

// arrivesElsewhere returns another path under which a content is on its way in.
func (a *applying) arrivesElsewhere(path string, content merkle.Hash) (string, bool) {
	paths := a.arriving[content]
	i := slices.IndexFunc(paths, func(p string) bool { return p != path })
	if i < 0 {
		return "", false
	}
	return paths[i], true
}

// errChangedHere tells that a path is not as recorded: what was found there is published first.
var errChangedHere = errors.New("changed here meanwhile")

// errBusy tells that somebody has the file open for writing.
var errBusy = errors.New("open for writing")

// A waitError tells that something at another path must happen first.
type waitError struct{ for_ string }

func (w waitError) Error() string { return "waits for " + w.for_ }

// maxBusy is how long a peer's version waits for a writer here to close the file.
const maxBusy = 10 * time.Second

// take begins with a version that a peer has announced.
func (r *Replica) take(in *incoming) {
	in.came = time.Now()
	noteLink(r.coming, in.path, in.theirs)
	r.meetStamps(in.theirs.Version.Vector)
	queue := r.incoming[in.path]
	if n := len(queue); n > 0 {
		last := queue[n-1]
		switch order := in.theirs.Version.Vector.Compare(last.theirs.Version.Vector); {
		case last.reinstate:
		case order == merkle.Same && in.theirs.Hash() == last.theirs.Hash(), order == merkle.Before:
			last.acks = append(last.acks, in.acks...)
			if order == merkle.Same {
				last.from = append(last.from, in.from...)
				r.addSources(last)
				last.after = time.Time{}
			}
			r.resume(in.path)
			return
		case order == merkle.After && !last.fetching && last.temp == "":
			in.acks = append(in.acks, last.acks...)
			queue[n-1] = in
			r.arrives(last, false)
			r.arrives(in, true)
			r.resume(in.path)
			return
		}
	}
	r.incoming[in.path] = append(queue, in)
	r.arrives(in, true)
	if r.received.total == 0 {
		r.received.since = time.Now()
	}
	r.received.total++
	r.received.sum += in.theirs.Size
	r.resume(in.path)
}

// reinstate has what is agreed at path put in again; what stands there goes to the history.
func (r *Replica) reinstate(path string) {
	h := r.held[path]
	if h == nil || h.reinstated {
		return
	}
	h.reinstated = true
	r.fetchAgain(path)
}

// fetchAgain has what is agreed at path fetched from a peer and put in.
func (r *Replica) fetchAgain(path string) {
	e := r.tree.Get(path)
	blocks, err := r.blockList(path)
	if err != nil || blocks.Root() != e.Content { // the list is damaged: the peer's own is asked for
		blocks = nil
	}
	in := &incoming{path: path, theirs: e, blocks: blocks, reinstate: true, came: time.Now()}
	r.incoming[path] = append([]*incoming{in}, r.incoming[path]...)
	r.arrives(in, true)
	r.resume(path)
}

// withdraw gives up reinstating path.
func (r *Replica) withdraw(path string) {
	for _, in := range slices.Clone(r.incoming[path]) {
		if in.reinstate {
			if in.temp != "" && !in.fetching {
				r.removeOrLeave("apply.unneeded", in.temp)
			}
			r.drop(in)
		}
	}
	r.resume(path)
}

// resume has the loop go on, in this turn, with what waits at path, and with what waits elsewhere for path to change.
func (r *Replica) resume(path string) {
	if len(r.incoming[path]) > 0 {
		r.ready[path] = true
	}
	waiting := r.waiting[path]
	delete(r.waiting, path)
	for _, w := range waiting {
		r.ready[w] = true
	}
}

// goOn works on all that is ready: parents before children, and what is to be deleted the other way round, so that they
// need not wait for each other.
func (r *Replica) goOn(now time.Time) {
	for path, at := range r.later {
		if !at.After(now) {
			delete(r.later, path)
			r.resume(path)
		} else {
			r.wakeIn(at.Sub(now))
		}
	}
	for len(r.ready) > 0 {
		paths := slices.Sorted(maps.Keys(r.ready))
		clear(r.ready)
		var deleted []string
		for _, path := range paths {
			if queue := r.incoming[path]; len(queue) > 0 && !queue[0].theirs.Live() {
				deleted = append(deleted, path)
			} else {
				r.advance(path, now)
			}
		}
		for _, path := range slices.Backward(deleted) {
			r.advance(path, now)
		}
	}
	if len(r.incoming) == 0 && r.received.total > 0 {
		r.received = reception{}
	}
}

// advance works on the versions that wait for a path, until one of them has to wait.
func (r *Replica) advance(path string, now time.Time) {
	for len(r.incoming[path]) > 0 {
		in := r.incoming[path][0]
		if in.fetching {
			return
		}
		if r.outdated(in) {
			r.dealtWith(in)
			continue
		}
		if r.unpublished(path) && !in.reinstate && !r.yields(path) {
			return
		}
		if wait := r.awaitRules(in, now); wait > 0 {
			in.after = now.Add(wait)
		}
		if in.after.After(now) {
			r.later[path] = in.after
			r.wakeIn(in.after.Sub(now))
			return
		}
		if err := r.step(in); err != nil {
			r.blocked(in, err, now)
			return
		}
		if in.fetching {
			return
		}
		r.dealtWith(in)
	}
}

// outdated tells whether an incoming version need not be waited for any more: the next in the queue has seen it, or nobody
// who announced it is left, or nothing is to come in for now. Who has it will announce it again; who went down before writing it down has never had it.
func (r *Replica) outdated(in *incoming) bool {
	for _, next := range r.incoming[in.path][1:] {
		if next.theirs.Version.Vector.Compare(in.theirs.Version.Vector) == merkle.After {
			return true
		}
	}
	if in.reinstate || in.absent || in.refit {
		return false
	}
	wanted := in.temp != "" || len(in.from) == 0 || slices.ContainsFunc(in.from, func(p *peer) bool { return r.peers[p.id] == p })
	if wanted && r.paused == nil {
		return false
	}
	for _, p := range r.peers {
		p.diffed = [2]merkle.Hash{} // others who told an older version may have to be asked again
		p.askAgain(in.path)
	}
	return true
}

// yields tells whether what is held at path lets a peer's version replace it: a suspect file that nobody else has ever seen, what is
// being undone, or what was changed where nothing is published.
func (r *Replica) yields(path string) bool {
	h := r.held[path]
	return h != nil && (h.kind == "suspect" || h.local() || h.reinstated) && r.changes[path] == nil && r.hashing[path] == nil
}

// step does the next thing with an incoming version. When it returns nil and is not fetching, it is dealt with.
func (r *Replica) step(in *incoming) error {
	mine := r.tree.Get(in.path)
	if in.theirs.Kind > merkle.Tombstone {
		return fmt.Errorf("%s: a newer resonate made it", in.theirs.Kind)
	}
	if mine == nil && r.bygone(in.theirs) {
		return nil
	}
	if mine == nil && reconcile.Forgotten(in.path, in.theirs, r.seen, r.horizon) {
		return nil
	}
	if in.forgotten {
		return r.forget(in, mine)
	}
	plan := reconcile.Merge(in.path, mine, in.theirs)
	h := r.held[in.path]
	undone := h != nil && !h.rests()
	if in.absent && (mine.Hash() != in.theirs.Hash() || r.diskAt(in.path).Kind != 0 || !r.wanted(in.path)) {
		return nil // it came another way, or is not to come any more
	}
	if in.refit && (mine == nil || mine.Hash() != in.theirs.Hash() || r.asAgreed(r.diskAt(in.path), mine) && !r.leaves(in.path)) {
		return nil
	}
	switch {
	case in.absent || in.reinstate || in.refit || (undone && mine != nil && mine.Hash() == in.theirs.Hash()):
		plan = reconcile.Plan{Entry: mine}
	case plan.Entry == nil && plan.Copy == nil:
		if in.hint != 0 && mine.IsDir() {
			r.hint(in.path, in.hint)
		}
		return nil
	case plan.Copy == nil && r.staysHeld(in.path, mine, plan):
		r.noteTaken(in, plan.Entry)
		r.agree(in.path, plan.Entry, nil)
		return nil
	}
	if r.ignoresIncoming(in) {
		return r.apply(in, plan)
	}
	if shelved, err := r.shelves(in, plan); shelved || err != nil {
		return err
	}
	if path, ok := r.awaits(in, mine); ok {
		return waitError{path}
	}
	if r.meets(in, mine, plan, time.Now()) {
		return waitError{in.path}
	}
	if gathered, err := r.gathers(in, mine, plan); gathered || err != nil {
		return err
	}
	if err := r.makeWay(in); err != nil {
		return err
	}
	if r.beginBuild(in, mine, plan) {
		return nil
	}
	if r.needsContent(in, mine, plan) && in.temp == "" {
		if err := r.asRecorded(in); err != nil {
			return err
		}
		linked, err := r.linkFor(in, plan)
		if err != nil {
			return err
		}
		if !linked {
			return r.fetch(in)
		}
	}
	return r.apply(in, plan)
}

// needsContent tells whether the plan wants bytes that are not at the path already.
func (r *Replica) needsContent(in *incoming, mine *merkle.Entry, plan reconcile.Plan) bool {
	e, path := plan.Entry, in.path
	if plan.Copy == in.theirs {
		path = plan.CopyPath
		mine = r.tree.Get(path)
		e = reconcile.Merge(plan.CopyPath, mine, plan.Copy).Entry
	}
	if e == nil || e.Kind != merkle.File {
		return false
	}
	here := mine != nil && !in.reinstate && !in.absent && !in.apart && r.held[path] == nil && merkle.SameContent(e, mine) &&
		r.diskAt(path).Kind == merkle.File && !r.partsFrom(path, e)
	return !here && !r.holdsContent(path, e)
}

// makeWay sees to it that the directory of a live version is there. Where something else was agreed in its place, that
// moves aside: a live entry implies its parents.
func (r *Replica) makeWay(in *incoming) error {
	dir, _ := merkle.SplitPath(in.path)
	if dir == "" || !in.theirs.Live() {
		return nil
	}
	if r.undoInWay(dir) {
		return waitError{dir}
	}
	if rec := r.records[dir]; rec != nil && rec.disk().Kind == merkle.Dir {
		return nil
	}
	if len(r.incoming[dir]) > 0 || r.unpublished(dir) {
		return waitError{dir}
	}
	parent := r.tree.Get(dir)
	if !parent.Live() { // not announced, or deleted meanwhile: it is implied
		above := &incoming{path: dir, theirs: &merkle.Entry{Attributes: merkle.Attributes{Kind: merkle.Dir}}}
		if err := r.makeWay(above); err != nil {
			return err
		}
		return r.implyDir(dir)
	}
	if parent.IsDir() { // agreed, but not there: gone from disk, unseen yet, or never made
		if r.look(dir, false); r.unpublished(dir) {
			return waitError{dir}
		}
		return r.implyDir(dir)
	}
	by, err := r.author()
	if err != nil {
		return err
	}
	plan := reconcile.MakeWay(dir, parent, &merkle.Attributes{Kind: merkle.Dir, Mode: defaultDirMode, Owner: r.ownOwner()}, by)
	if err := r.apply(&incoming{path: dir, theirs: plan.Entry}, plan); err != nil {
		return err
	}
	r.stamped(by)
	return nil
}

// forget takes in a deletion whose tombstone was dropped everywhere else: it becomes one of this node's.
func (r *Replica) forget(in *incoming, mine *merkle.Entry) error {
	if !mine.Live() || mine.Hash() != in.theirs.Hash() {
		return nil // it changed meanwhile
	}
	by, err := r.author()
	if err != nil {
		return err
	}
	if err := r.apply(in, reconcile.Plan{Entry: reconcile.Publish(mine, nil, by)}); err != nil {
		return err
	}
	r.stamped(by)
	return nil
}

// defaultDirMode is that of a directory of which only what lies in it is known.
const defaultDirMode = 0o755

// waitAgain is after what time a version looks again for what it waits for.
const waitAgain = time.Second

// blocked notes why an incoming version cannot go on, and when it is tried again.
func (r *Replica) blocked(in *incoming, err error, now time.Time) {
	var wait waitError
	switch {
	case errors.As(err, &wait):
		if !slices.Contains(r.waiting[wait.for_], in.path) {
			r.waiting[wait.for_] = append(r.waiting[wait.for_], in.path)
		}
		if r.later[in.path].IsZero() { // what it waits for may have been over before it began to wait
			r.later[in.path] = now.Add(waitAgain)
			r.wakeIn(waitAgain)
		}
		return
	case absent(err): // a directory went from under it, or somebody removed the temporary file
		dir, _ := merkle.SplitPath(in.path)
		r.look(dir, false)
		r.look(in.path, false)
		if _, gone := r.root.Lstat(in.temp); in.temp != "" && absent(gone) {
			in.temp, in.linked = "", false
		}
		in.local++
		in.after = now.Add(min(time.Millisecond<<min(in.local, 12), 2*time.Second))
	case errors.Is(err, errChangedHere): // what was found is published first, if it can be read
		in.local++
		in.after = now.Add(min(time.Millisecond<<min(in.local, 12), 2*time.Second))
	case errors.Is(err, errNoSource): // a new session has it tried again
		in.tries++
		in.after = now.Add(30 * time.Second)
	case nameRefused(err) && r.doubt(in.path): // perhaps the name cannot be had here
		in.after = now
	case errors.Is(err, errBusy):
		if in.busy.IsZero() {
			in.busy = now
		}
		in.after = now.Add(20 * time.Millisecond)
	default:
		in.tries++
		delay := min(200*time.Millisecond<<min(in.tries, 8), 30*time.Second)
		in.after = now.Add(delay)
		r.problem(in.path, "the peers' version cannot be put in place: "+err.Error(), remedyFor(err))
	}
	r.later[in.path] = in.after
	r.wakeIn(in.after.Sub(now))
}

// dealtWith ends an incoming version.
func (r *Replica) dealtWith(in *incoming) {
	r.problem(in.path, "", "")
	r.received.files++
	r.received.bytes += in.theirs.Size
	if in.temp != "" && !r.handOver(in) {
		r.unneeded(in)
	}
	for _, a := range in.acks {
		if a.left != nil {
			if *a.left--; *a.left > 0 {
				continue
			}
		}
		a.to.acks = append(a.to.acks, a.seq)
	}
	r.drop(in)
	dir, _ := merkle.SplitPath(in.path)
	r.passedBy(in)
	r.resume(in.path)
	r.resume(dir)
}

// drop takes an incoming version out of its queue.
func (r *Replica) drop(in *incoming) {
	r.arrives(in, false)
	r.landed(in)
	queue := slices.DeleteFunc(r.incoming[in.path], func(o *incoming) bool { return o == in })
	if len(queue) == 0 {
		delete(r.incoming, in.path)
	} else {
		r.incoming[in.path] = queue
	}
}
