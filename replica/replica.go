// Package replica keeps one folder on one machine in step with its peers: it scans, publishes, applies, and keeps a
// history. It acts, and holds no algorithm: what follows from two versions is decided in reconcile, what a tree is in
// merkle, what goes over the wire in syncproto.
//
// One goroutine, the loop, owns all that is known of the folder (tree, records, queues) and makes every change to it;
// what takes time (hashing, fetching, writing to disk in groups) runs beside it and hands its result back as a function
// to be run by the loop. A path goes through these stages, each in a file of its own: look (what is there now?),
// publish (it changed here), announce (tell the peers); or take (a peer has another version), fetch, apply. Whatever
// is displaced goes to the history. What the loop has done is written down in groups, behind it.
package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"resonate/beneath"
	"resonate/control"
	"resonate/index"
	"resonate/merkle"
	"resonate/reconcile"
	"resonate/syncproto/sshconn"
	"resonate/watcher"
)

// Options say which folder, and how. Dir, StateHome and Log must be set.
type Options struct {
	Dir            string
	Mode           Mode
	Partition      Partition
	Witness        bool   // Dir is nobody's: this node takes part without files, and Mode is Send
	Policy         Policy // what is done about conflicts
	KeepOwner      bool   // keep owner and group, setuid and setgid bits, and capabilities; needs root
	Fresh          bool   // begin anew: what was agreed before is forgotten, nothing is deleted
	Version        string
	Burst          reconcile.Burst
	HistoryAge     time.Duration                                // how long displaced files are kept; 0: for ever
	HistorySize    int64                                        // how many bytes of them; 0: any
	StateHome      string                                       // $XDG_STATE_HOME
	RuntimeDir     string                                       // $XDG_RUNTIME_DIR, or ""
	Network        func() (listen string, peers []control.Peer) // for the status; nil: none
	Met            func(ctx context.Context, link Link)         // called when a session was accepted, on a goroutine of its own; must return when ctx ends; nil: nothing
	Resumed        func()                                       // called when a pause has ended; must not block; nil: nothing
	MembersChanged func()                                       // called by the loop when the set of members has changed; must not block; nil: nothing
	Log            *slog.Logger
	Fault          func(beneath.Label) error // for tests: fails a file operation, or ends the process at it
	BootID         string                    // for tests: "" is the kernel's
}

// ErrStopped is wrapped by the error with which Run ends when the folder must not be touched any more.
var ErrStopped = errors.New("stopped: the folder must not be touched")

// A stopError says why, in its own words, and is ErrStopped.
type stopError struct {
	text  string
	cause error
}

func (e *stopError) Error() string   { return e.text }
func (e *stopError) Unwrap() []error { return []error{ErrStopped, e.cause} }

// A Replica is one folder on one machine. Make it with Open, and Run it once.
type Replica struct {
	o       Options
	log     *slog.Logger
	place   *place
	root    *beneath.Root
	index   *index.Index
	intents *index.Intents
	watcher *watcher.Watcher
	self    merkle.NodeID
	boot    [16]byte // this process, for hellos
	started time.Time

	calls   chan func()   // run by the loop, in order
	ended   chan struct{} // closed when the loop has ended
	workers sync.WaitGroup
	ctx     context.Context // ends with Run
	stop    context.CancelCauseFunc

	rules     *rules
	own       ownFiles
	hashJobs  chan []hashJob // of events
	scanJobs  chan []hashJob // of scans: no more of them than readers, so that the rest gathers
	disk      diskTurn
	splitting sync.Mutex // held by who reads a long file on all processors
	offers    offers
	temporary tempNames
	shown     shownModes    // of files that are marked as locked
	receiving chan struct{} // contents of scripts
	questions chan struct{} // scripts for which peers are asked
	owners    owners
	abandoned bool // Run ended before all was written down

	state // owned by the loop
}

// state is what the loop owns: no other goroutine touches it.
type state struct {
	tree    merkle.Tree
	records map[string]*record
	spare   []record        // made ahead
	dirty   map[string]bool // records to be committed
	worked  int             // as muchWork counts, since the last rest
	stamps  stamps
	seen    merkle.Vector // all changes up to here are in the tree
	horizon merkle.Vector
	members map[merkle.NodeID]merkle.Vector // what each has told it has seen
	highest map[merkle.NodeID]merkle.Stamp  // the highest stamp met anywhere

	publishing
	gating
	rebasing
	keeping
	knowing
	applying
	gathering
	linking
	shelving
	refitting
	peering
	membership
	auditing
	ownContent
	prefetching
	marking

	paused     *pause              // nil: it is not
	leftovers  map[string]leftover // by temporary file
	commit     committing
	problems   map[string]*control.Problem
	refused    map[string]*control.Problem // what of a path cannot be had here, though the rest is
	waiters    []*waiter
	timer      *time.Timer
	due        time.Time // when timer fires; zero: never
	lastChange time.Time // of anything agreed
	lastMarker time.Time // when the marker was last looked at
}

// maxListInMemory is the longest block list kept in memory.
const maxListInMemory = 1

// Open claims the folder and opens what is known of it. A folder that another daemon has, that lies inside another
// synced one, that cannot be written, or whose marker is gone is refused with the remedy.
func Open(o Options) (*Replica, error) {
	if o.Witness {
		o.Mode = Send
	}
	p, err := claim(o)
	if err != nil {
		return nil, err
	}
	r := &Replica{
		o: o, log: o.Log, place: p, root: p.root, self: p.marker.node, started: time.Now(),
		calls: make(chan func(), 256), ended: make(chan struct{}),
		hashJobs: make(chan []hashJob, 64), scanJobs: make(chan []hashJob, hashers()), disk: usualTurn(),
		receiving: make(chan struct{}, maxReceiving), questions: make(chan struct{}, maxAsking),
	}
	r.ctx, r.stop = context.WithCancelCause(context.Background())
	r.records = make(map[string]*record)
	r.dirty = make(map[string]bool)
	r.members = make(map[merkle.NodeID]merkle.Vector)
	r.highest = make(map[merkle.NodeID]merkle.Stamp)
	r.leftovers = make(map[string]leftover)
	r.problems = make(map[string]*control.Problem)
	r.refused = make(map[string]*control.Problem)
	r.publishing.init(o.Burst)
	r.rebasing.init()
	r.keeping.init(p.state)
	r.applying.init()
	r.gathering.init()
	r.linking.init()
	r.shelving.init()
	r.refitting.init()
	r.peering.init()
	r.parts = make(map[string]*keptPart)
	r.underway = make(map[merkle.Hash]string)
	r.prefetches = make(map[string]*fetchJob)
	r.offers.pause = offerPause
	fillRandom(r.boot[:])
	if r.rules, err = newRules(p.root, p.state); err != nil {
		r.closeFiles()
		return nil, err
	}
	r.learnNames()
	if err := errors.Join(r.loadMembers(), r.loadMarks(), r.load(), r.openShelf(), r.loadPause()); err != nil {
		r.closeFiles()
		return nil, err
	}
	return r, nil
}

// Identity returns the node's key.
func (r *Replica) Identity() *sshconn.Identity { return r.place.identity }

// Node returns the node's ID.
func (r *Replica) Node() merkle.NodeID { return r.self }

// State returns the directory of the node's state.
func (r *Replica) State() string { return r.place.state }

// SocketPath returns where this daemon is to listen for commands.
func (r *Replica) SocketPath() string {
	if r.o.RuntimeDir != "" {
		return filepath.Join(r.o.RuntimeDir, "resonate", r.self.String()+".sock")
	}
	return filepath.Join(r.place.state, "control.sock")
}

// Run keeps the folder in step until ctx ends (nil), or until it must not be touched any more (an error that wraps
// ErrStopped) or the disk fails. It waits for all that it started; sessions handed to Serve end with it.
func (r *Replica) Run(ctx context.Context) error {
	defer r.stop(nil)
	defer context.AfterFunc(ctx, func() { r.stop(context.Cause(ctx)) })()
	defer r.closeFiles()
	defer close(r.ended)
	if err := r.place.replaceSmall(controlPath, r.SocketPath()+"\n"); err != nil {
		return err
	}
	if err := r.place.recordPlace(); err != nil {
		return err
	}
	w, err := watcher.New(watcher.Options{
		Root: r.root.Name(), Skip: isOurs, Ignore: func(dir string) bool { return r.rules.ignored(dir, true) }, Busy: r.busyWriting, Own: r.own.has, Sentinel: watchDir, Log: r.log,
		Exact: r.exactNames(),
	})
	if err != nil {
		return err
	}
	r.watcher = w
	r.workers.Go(func() {
		if err := w.Run(r.ctx); err != nil && r.ctx.Err() == nil {
			r.stop(&stopError{fmt.Sprintf("watch %s: %v", r.root.Name(), err), err})
		}
	})
	r.startHashers()
	for range smallWriters {
		r.workers.Go(func() { r.writeSmallFrom(r.fetchLocal) })
	}
	r.startScan("", true)
	r.workers.Go(r.trimHistoryNowAndThen)
	r.loop()
	r.unmarkAtEnd()
	err = context.Cause(r.ctx)
	if ctx.Err() != nil {
		err = nil
	}
	return errors.Join(err, r.end(err == nil))
}

// endTime bounds how long the end of Run may take.
const endTime = 800 * time.Millisecond

// end waits for all goroutines and writes down what is left. A disk that takes too long is not waited for: the intents
// tell the next run what this one would have written.
func (r *Replica) end(clean bool) error {
	r.endPeers()
	done := make(chan error, 1)
	go func() {
		r.drainWorkers()
		done <- r.finalCommit(clean)
	}()
	select {
	case err := <-done:
		return err
	case <-time.After(endTime):
		r.log.Warn("the disk is busy: the rest is written down at the next start")
		r.abandoned = true
		go func() { // ends with the disk's work, or the process
			<-done
			r.giveBack()
		}()
		return nil
	}
}

// loop runs what is handed to it, one thing at a time, until the context ends.
func (r *Replica) loop() {
	r.timer = time.NewTimer(time.Hour)
	defer r.timer.Stop()
	r.wakeIn(markerInterval)
	for {
		select {
		case <-r.ctx.Done():
			return
		case f := <-r.calls:
			f()
		case b := <-r.watcher.Batches():
			r.observe(b)
		case <-r.timer.C:
			r.due = time.Time{}
		}
		r.takeReady()
		r.turn(time.Now())
	}
}

// takeReady goes on with what is ready, for a few milliseconds at most, so that one turn serves many.
func (r *Replica) takeReady() {
	for end := time.Now().Add(3 * time.Millisecond); time.Now().Before(end); {
		select {
		case f := <-r.calls:
			f()
		case b := <-r.watcher.Batches():
			r.observe(b)
		default:
			return
		}
	}
}

// turn ends each round of the loop: what was gathered is let out, and what is due is done.
func (r *Replica) turn(now time.Time) {
	if now.Sub(r.lastMarker) >= markerInterval {
		r.lastMarker = now
		r.checkMarker()
		if r.idle() {
			r.own.forget()
		}
	}
	r.wakeIn(markerInterval - now.Sub(r.lastMarker))
	if r.scanned && now.Sub(r.lastScan) >= rescanInterval && r.scans == 0 {
		r.startScan("", false)
	}
	if r.scanned && r.unclean && len(r.hashing) == 0 {
		r.unclean = false // what changes from now on, somebody changed
	}
	r.endPause(now)
	r.tendBarriers(now)
	r.tendPermits(now)
	r.flush(now)
	r.tendRebases()
	r.endPermits()
	r.retryShelved()
	r.closeBuilds(now)
	r.refit(now)
	r.goOn(now)
	r.settle(now)
	r.noteUnfit(now)
	r.clearLeftovers(now)
	r.clearShelf()
	r.keepBases(now)
	r.dropOldParts(now)
	r.tendMarks(now)
	r.talk(now)
	r.commitWhenDue(now)
	r.writeAuditWhenDue(now)
	r.rest(now)
	r.answerWaiters()
}

// markerInterval is how often the folder is looked at for being there at all, beside each time that matters.
const markerInterval = 2 * time.Second

// checkMarker stops the replica when the folder has been unmounted, replaced or emptied of its marker: what is missing
// then was not deleted.
func (r *Replica) checkMarker() bool {
	err := r.root.InPlace()
	if err == nil {
		_, err = r.root.Lstat(markerPath)
	}
	if err == nil {
		_ = r.root.Pin(tmpDir) // where that fails, it is found anew each time, or whoever needs it tells
		return true
	}
	if r.ctx.Err() == nil {
		r.stop(&stopError{fmt.Sprintf("folder %s: its marker is gone (%v): was a disk unmounted, or the folder emptied or replaced? "+
			"Nothing was taken for a deletion. Put it back, and start again", r.root.Name(), err), err})
	}
	return false
}

// wakeIn makes the loop turn again after d at the latest.
func (r *Replica) wakeIn(d time.Duration) {
	due := time.Now().Add(d)
	if r.due.IsZero() || due.Before(r.due) {
		r.due = due
		r.timer.Reset(d)
	}
}

// post hands f to the loop. It must not be called by the loop itself. When the loop has ended, f is dropped.
func (r *Replica) post(f func()) {
	select {
	case r.calls <- f:
	case <-r.ended:
	}
}

// do has the loop run f, and waits for it.
func (r *Replica) do(ctx context.Context, f func()) error {
	done := make(chan struct{})
	call := func() { defer close(done); f() }
	select {
	case r.calls <- call:
	case <-r.ended:
		return ErrStopped
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-done:
		return nil
	case <-r.ended:
		return ErrStopped
	}
}

// drainWorkers waits for all goroutines, dropping what they still hand in.
func (r *Replica) drainWorkers() {
	done := make(chan struct{})
	go func() {
		r.workers.Wait()
		close(done)
	}()
	for {
		select {
		case <-r.calls:
		case <-done:
			return
		}
	}
}

// Close gives the folder back where Run is never called.
func (r *Replica) Close() { r.closeFiles() }

func (r *Replica) closeFiles() {
	if r.abandoned {
		return // still in use: given back when the disk has done its work
	}
	r.giveBack()
}

// giveBack closes all files, and lets go of the folder.
func (r *Replica) giveBack() {
	if r.intents != nil {
		r.intents.Close()
	}
	if r.index != nil {
		r.index.Close()
	}
	if r.audit != nil {
		r.audit.Close()
	}
	r.closeBases()
	r.closeMarks()
	r.place.release()
}

// problem notes what cannot be synchronised, for the user; a cause of "" clears it.
func (r *Replica) problem(path, cause, remedy string) {
	if cause == "" {
		if !r.badRules[path] {
			delete(r.problems, path)
		}
		return
	}
	if old := r.problems[path]; old != nil && old.Cause == cause {
		return
	}
	r.problems[path] = &control.Problem{Path: path, Cause: cause, Remedy: remedy, Since: time.Now()}
	r.log.Warn("cannot be synchronised", "path", path, "cause", cause, "remedy", remedy)
}

// bootID returns what names this boot of the machine; "" where the system does not tell.
func (r *Replica) bootID() string {
	if r.o.BootID != "" {
		return r.o.BootID
	}
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id))
}
