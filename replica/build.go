package replica

import (
	"errors"
	"time"

	"resonate/beneath"
	"resonate/index"
	"resonate/merkle"
	"resonate/reconcile"
)

// A new directory of a peer's is gathered: what is announced to lie in it, and below, waits until it is all there. Then it is
// written as a temporary directory, beside the loop, and renamed into place (land.go), so that nobody ever sees a part of it; and
// what is done for each file otherwise (an intent, a rename, an event) is done once. A directory with more in it than maxBuild
// entries is made at once, and those in it are gathered in their turn.
const (
	maxBuild     = 1000             // entries
	maxBytes     = 4 << 20          // bytes of the files in it: half of what a near peer sends before it waits
	maxBuilt     = 1 << 20          // bytes of a file; a longer one comes in by itself, when the directory is there
	gatherPause  = time.Second      // in which nothing came: then what is there goes in
	gatherTime   = 10 * time.Second // since it was begun: likewise
	buildersMost = 2                // directories that are written at a time
)

// gathering is the loop's state of the directories that are being built.
type gathering struct {
	builds   map[string]*build // by path
	within   map[string]*build // by path of every directory in them
	builders chan struct{}     // holds as many tokens as directories are being written; not the loop's alone
}

func (g *gathering) init() {
	g.builds = make(map[string]*build)
	g.within = make(map[string]*build)
	g.builders = make(chan struct{}, buildersMost)
}

// A build is a new directory with what is known to lie in it and below.
type build struct {
	top   string
	temp  string // where it is written
	most  int    // how many paths it will be, as the peer tells
	begun time.Time
	fresh time.Time       // when something last came for it
	built []*built        // a directory before what lies in it; the top one first
	bytes int64           // of the files in built
	met   map[string]bool // paths of built, and of what comes in by itself
	fetch map[string]bool // paths of files that are being fetched for it

	closed  bool // nothing joins it any more
	spoiled bool // other ignore rules count by now
	err     error
}

// A built is one path of a build.
type built struct {
	in    *incoming
	mine  *merkle.Entry // what was agreed before
	entry *merkle.Entry // what is to be
	temp  string

	disk   index.Disk
	blocks merkle.BlockList
	late   bool // a directory whose mode and attributes are set when it is in place
	err    error
}

// gathers has a version wait for its new directory to be put in place with it, or has it fetched for that. It returns false if in
// comes in by itself.
func (r *Replica) gathers(in *incoming, mine *merkle.Entry, plan reconcile.Plan) (bool, error) {
	dir, _ := merkle.SplitPath(in.path)
	b := r.within[dir]
	if b == nil || b.closed || !in.theirs.Live() {
		return false, nil
	}
	if isRuleFile(in.path) { // it is about what comes with it
		r.letGo(b)
		return false, nil
	}
	if !r.fits(in, plan) {
		b.met[in.path] = true
		r.came(b)
		return false, nil
	}
	if e := plan.Entry; e.Kind == merkle.File && e.Size != int64(len(in.data)) && in.temp == "" {
		err := r.fetch(in)
		if errors.As(err, new(waitError)) { // the same content is on its way to another path, which may wait for this build
			b.met[in.path] = true
			r.came(b)
			return false, nil
		}
		b.fetch[in.path] = true
		return true, err
	}
	delete(b.fetch, in.path)
	r.joinBuild(b, in, mine, plan)
	r.came(b)
	return true, nil
}

// fits tells whether what a plan puts at a path can be part of a build: nothing is or was there.
func (r *Replica) fits(in *incoming, plan reconcile.Plan) bool {
	e, rec := plan.Entry, r.records[in.path]
	switch {
	case e == nil || plan.Copy != nil || in.alone || in.reinstate || in.absent || r.held[in.path] != nil:
		return false
	case rec != nil && (rec.disk().Kind != 0 || rec.ignored || rec.behind):
		return false
	case r.folds || r.isShelved(in.path): // two names in it may be one here
		return false
	case r.linger[in.path] || r.left[in.path] || r.problems[in.path] != nil:
		return false
	case e.Kind == merkle.File:
		return e.Size <= maxBuilt && e.Link.IsZero()
	}
	return e.Kind == merkle.Dir || e.Kind == merkle.Symlink
}

// beginBuild begins to gather what lies in a new directory, if the peer has told that there is something.
func (r *Replica) beginBuild(in *incoming, mine *merkle.Entry, plan reconcile.Plan) bool {
	if !in.theirs.IsDir() || in.below == 0 || in.below >= maxBuild || !r.fits(in, plan) || !plan.Entry.IsDir() || r.tree.HasLive(in.path) {
		return false
	}
	b := &build{
		top: in.path, most: int(in.below) + 1, begun: time.Now(), fresh: time.Now(), met: make(map[string]bool), fetch: make(map[string]bool),
	}
	r.builds[b.top] = b
	r.joinBuild(b, in, mine, plan)
	r.resume(b.top) // for those that waited for a directory to come
	r.wakeIn(gatherPause)
	return true
}

// joinBuild makes a version part of a build.
func (r *Replica) joinBuild(b *build, in *incoming, mine *merkle.Entry, plan reconcile.Plan) {
	in.fetching, in.job = true, nil // who tells of it from now on is not asked for it
	b.met[in.path] = true
	b.bytes += plan.Entry.Size
	b.built = append(b.built, &built{in: in, mine: mine, entry: plan.Entry})
	if plan.Entry.IsDir() {
		r.within[in.path] = b
	}
}

// passedBy notes that a version was dealt with by itself: below a directory of a build, perhaps in one that is ignored.
func (r *Replica) passedBy(in *incoming) {
	if len(r.builds) == 0 || !in.theirs.Live() {
		return
	}
	for dir, _ := merkle.SplitPath(in.path); dir != ""; dir, _ = merkle.SplitPath(dir) {
		if b := r.within[dir]; b != nil && !b.closed {
			b.met[in.path] = true
			r.came(b)
			return
		}
	}
}

// came notes that something came for a build, and has it written if all that the peer has told of is there, or enough.
func (r *Replica) came(b *build) {
	b.fresh = time.Now()
	if (len(b.met) >= b.most && len(b.fetch) == 0) || b.bytes >= maxBytes {
		r.closeBuild(b)
	}
}

// closeBuilds has those builds written that have waited long enough.
func (r *Replica) closeBuilds(now time.Time) {
	for _, b := range r.builds {
		switch wait := min(gatherPause-now.Sub(b.fresh), gatherTime-now.Sub(b.begun)); {
		case b.closed:
		case wait > 0:
			r.wakeIn(wait)
		default:
			r.closeBuild(b)
		}
	}
}

// closeBuild has a build written, beside the loop.
func (r *Replica) closeBuild(b *build) {
	b.closed = true
	if len(b.built) == 1 { // nothing that could be seen to be missing
		r.letGo(b)
		return
	}
	b.temp = r.tempName() + partial
	r.workers.Go(func() {
		select {
		case r.builders <- struct{}{}:
			defer func() { <-r.builders }()
		case <-r.ctx.Done():
			return
		}
		r.writeBuild(b)
		r.post(func() { r.land(b) })
	})
}

// spoilBuilds has nothing put in place whole to which rules of dir apply that have changed.
func (r *Replica) spoilBuilds(dir string) {
	for top, b := range r.builds {
		if below(dir)(top) || below(top)(dir) {
			b.spoiled = true
		}
	}
}

// writeBuild writes a build as a temporary directory. What cannot be written is left out of it: that comes in by itself. It runs
// beside the loop.
func (r *Replica) writeBuild(b *build) {
	for _, w := range b.built {
		if b.err = r.ctx.Err(); b.err != nil {
			return
		}
		w.temp = b.temp + w.in.path[len(b.top):]
		if w.err = r.writeBuilt(w); w.err == nil || w.entry.IsDir() {
			continue
		}
		if err := r.root.Remove("build.remove", w.temp); err != nil && !absent(err) {
			b.err = err // it must not come in by way of this
			return
		}
	}
	for i := len(b.built) - 1; i >= 0; i-- { // what is in it goes first: its mode may forbid that, and its ACLs would be inherited
		if w := b.built[i]; w.entry.IsDir() && w.err == nil {
			if b.err = r.dressDir(w, i == 0); b.err != nil {
				return
			}
		}
	}
	b.err = b.built[0].err
}

// writeBuilt makes one path of a build.
func (r *Replica) writeBuilt(w *built) (err error) {
	e, in := w.entry, w.in
	switch {
	case e.IsDir():
		return r.root.Mkdir("build.mkdir", w.temp, 0o700)
	case e.Kind == merkle.Symlink:
		w.disk, err = r.writeLink(w.temp, e)
		return err
	case in.temp != "":
		w.disk, w.blocks = in.disk, in.fetched
		return r.root.Move("build.move", in.temp, w.temp)
	}
	if w.blocks, err = listOfSmall(in.path, e, in.data); err != nil {
		return err
	}
	w.disk, _, err = r.writeWhole(w.temp, e, in.data)
	return err
}

// buildLabels are those of the attributes of directories in a build.
var buildLabels = labels{"build.owner", "build.xattrs", "build.chmod"}

// dressDir gives a directory of a build what its entry says, and its mtime. The top one must stay writable for its owner until it is
// in place: to rename it into another directory changes it (rename(2): EACCES).
func (r *Replica) dressDir(w *built, top bool) error {
	const writable = 0o700
	if w.late = top && w.entry.Mode&writable != writable; !w.late {
		if err := r.putAttributes(buildLabels, w.temp, w.entry, &w.disk); err != nil {
			return err
		}
	}
	if w.in.hint != 0 {
		if err := r.root.SetMTime("build.mtime", w.temp, w.in.hint); err != nil {
			return err
		}
	}
	info, err := r.root.Lstat(w.temp)
	if err != nil {
		return err
	}
	if info.Kind != beneath.Dir {
		return errChangedHere
	}
	w.disk = withAttributes(diskOf(info), w.disk)
	return nil
}
