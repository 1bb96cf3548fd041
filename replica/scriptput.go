package replica

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"resonate/beneath"
	"resonate/control"
	"resonate/ignore"
	"resonate/locking"
	"resonate/merkle"
	"resonate/reconcile"
)

// A script puts a content at a path only over what it wants to be there, and of many who try to, in the whole cluster, one succeeds. That
// rests on three things. Whoever puts has the lock of the path. Under it, peers are asked for all they know, among them more than half of the
// nodes that keep the lock table; what is agreed then is compared with what is wanted, and replaced in the same turn of the loop, in which the lock
// is still valid. And a put has succeeded when again more than half of these nodes have it, and the lock was valid all the time: so that the next
// one hears of it, from at least one of them, whoever has gone meanwhile. What somebody writes in the folder is not overwritten: it is let
// out first.

const (
	putTime   = time.Minute     // for all that is done under the lock
	askTime   = 5 * time.Second // of that, for having the newest version known here
	askAgain  = 50 * time.Millisecond
	maxAsking = 32     // puts and gets that ask the peers at a time; a peer bears maxBarriers
	newMode   = 0o644  // of a file where none was
	keptMode  = 0o1777 // of one that is replaced: a program that wrote it would lose the rest
)

// ErrLockLost tells that a lock was lost before anything was done under it.
var ErrLockLost = errors.New("the lock was lost")

// A laterError tells that something is to be waited for.
type laterError struct{ why string }

func (e laterError) Error() string { return e.why }

// PutReceived makes w the newest version of a path, under the lock that token is of and that is in use until it returns: see control.Files. After
// ErrLockLost nothing was done.
func (r *Replica) PutReceived(ctx context.Context, w *Received, q control.FilePut, token locking.Token) (v control.FileVersion, created bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, putTime)
	defer cancel()
	if err := r.askMost(ctx); err != nil {
		return v, false, err
	}
	if created, err = r.putWhenFree(ctx, w, q, token); err != nil {
		return v, false, err
	}
	lost := false
	err = r.await(ctx, func() bool {
		lost = !r.locks.Check(onePath(q.Path), token)
		return lost || r.mostHave(q.Path, w.told)
	})
	if err != nil || lost {
		if err == nil {
			err = ErrLockLost
		}
		return v, false, fmt.Errorf("%s: it stands on this node, but not yet on more than half of those that keep the locks, so it may lose: %w: %w",
			q.Path, control.ErrTimeout, err)
	}
	return w.version, created, nil
}

// ScriptPath checks a path that a script names; PutReceived takes no other.
func ScriptPath(path string) error {
	if isOurs(path) {
		return fmt.Errorf("%s is resonate's own: %w", path, control.ErrBadArgument)
	}
	return cmp.Or(argument(path), noFolder(path))
}

func noFolder(path string) error {
	if path == "" {
		return fmt.Errorf("want a path below the folder: %w", control.ErrBadArgument)
	}
	return nil
}

// askMost has the peers tell all they know, and fails if those who keep the lock table do not, more than half of them. Who has just come is
// compared with first.
func (r *Replica) askMost(ctx context.Context) error {
	for end := time.Now().Add(askTime); ; {
		heard, err := r.askPeers(ctx)
		if err != nil {
			return err
		}
		if err = r.areMost(heard); err == nil || time.Now().After(end) {
			return err
		}
		select {
		case <-time.After(askAgain):
		case <-ctx.Done():
			return err
		}
	}
}

// areMost tells why those nodes, with this one, are not more than half of those who keep the lock table.
func (r *Replica) areMost(heard []merkle.NodeID) error {
	there := map[merkle.NodeID]bool{r.self: true}
	for _, id := range heard {
		there[id] = true
	}
	voters, all := r.locks.Voters()
	n := 0
	for _, v := range voters {
		if there[merkle.NodeID(v)] {
			n++
		}
	}
	if !isMost(n, all) {
		return fmt.Errorf("%d of %d nodes that keep the locks say what they know of the folder: %w", n, all, control.ErrNoMajority)
	}
	return nil
}

// askPeers has the peers tell all they know, and returns who has.
func (r *Replica) askPeers(ctx context.Context) ([]merkle.NodeID, error) {
	select {
	case r.questions <- struct{}{}:
		defer func() { <-r.questions }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	var b *barrier
	ask := func() {
		for _, p := range r.peers {
			if !p.met && p.root != (merkle.Hash{}) {
				r.startDiff(p)
			}
		}
		b = r.askAll()
	}
	if err := r.do(ctx, ask); err != nil {
		return nil, err
	}
	var heard []merkle.NodeID
	err := r.await(ctx, func() bool {
		if b != nil {
			heard = b.heard
		}
		return b.passed()
	})
	return heard, err
}

// mostHave tells whether more than half of the nodes that keep the lock table have what is agreed at path, of which those in told were told.
func (r *Replica) mostHave(path string, told map[*peer]bool) bool {
	voters, all := r.locks.Voters()
	n := 0
	for _, v := range voters {
		p := r.peers[merkle.NodeID(v)]
		switch {
		case merkle.NodeID(v) == r.self, told[p] && !p.owed(below(path)):
			n++
		case p != nil && !p.deaf && !told[p] && r.has(p, &waiter{path: path}, below(path)): // of a later session
			n++
		}
	}
	return isMost(n, all)
}

// isMost tells whether n are more than half of all; of 0, it is not known how many there are.
func isMost(n, all int) bool { return all > 0 && 2*n > all }

// putWhenFree puts w in place as soon as nothing stands against it.
func (r *Replica) putWhenFree(ctx context.Context, w *Received, q control.FilePut, token locking.Token) (created bool, err error) {
	for {
		var mine *merkle.Entry
		if doErr := r.do(ctx, func() { mine, err = r.mayPut(q) }); doErr != nil {
			return false, doErr
		}
		if err == nil {
			err = w.dress(mine)
		}
		if err == nil {
			doErr := r.do(ctx, func() { created, err = r.putNow(w, q, mine, token) })
			if doErr != nil {
				return false, doErr
			}
		}
		var later laterError
		if !errors.As(err, &later) {
			return created, err
		}
		select {
		case <-time.After(awaitStep):
		case <-ctx.Done():
			return false, fmt.Errorf("%s: nothing was put: %w: %w: %w", q.Path, later, control.ErrTimeout, context.Cause(ctx))
		}
	}
}

// mayPut tells why q cannot be put now, or at all; and otherwise what it replaces.
func (r *Replica) mayPut(q control.FilePut) (*merkle.Entry, error) {
	if err := r.takesPart(q.Path); err != nil {
		return nil, err
	}
	for dir, _ := merkle.SplitPath(q.Path); dir != ""; dir, _ = merkle.SplitPath(dir) {
		if e := r.tree.Get(dir); e.Live() && !e.IsDir() {
			return nil, fmt.Errorf("%s is a %s, and no directory: %w", dir, e.Kind, control.ErrNotAFile)
		}
	}
	mine := r.tree.Get(q.Path)
	if mine.IsDir() || r.tree.HasLive(q.Path) {
		return nil, fmt.Errorf("%s is a directory: %w", q.Path, control.ErrNotAFile)
	}
	if r.diskAt(q.Path).Kind == 0 {
		if o := r.obstacle(q.Path); o != nil {
			return nil, fmt.Errorf("%s cannot be on this disk as it is spelled: %w", q.Path, control.ErrNotSynced)
		}
	}
	if now := r.versionOf(mine); !q.Wants(now) {
		return nil, &control.ChangedError{Path: q.Path, Current: now}
	}
	return mine, nil
}

// takesPart tells why what is agreed at path is not known for sure, or cannot be changed, on this node.
func (r *Replica) takesPart(path string) error {
	h := r.held[path]
	switch {
	case r.o.Mode != Both:
		return fmt.Errorf("this node runs with -mode %s: %w", r.o.Mode, control.ErrNotSynced)
	case r.paused != nil:
		return control.ErrPaused
	case r.ignores(path, false):
		return fmt.Errorf("%s is ignored by the rule %s: %w", path, r.ignoreRule(path), control.ErrNotSynced)
	case h != nil:
		return fmt.Errorf("%s was changed here, and is held: %s: %w", path, h.item(path).Cause, control.ErrNotSynced)
	}
	return r.unsettled(path)
}

// unsettled tells what is to be waited for before it is known what stands at path.
func (r *Replica) unsettled(path string) error {
	switch {
	case !r.scanned:
		return laterError{"the folder is still being scanned"}
	case r.unpublished(path):
		return laterError{"it was changed here, and that is not let out yet"}
	case len(r.incoming[path]) > 0:
		return laterError{"a peer's version is on its way in"}
	}
	return nil
}

// versionOf is an entry as scripts see it.
func (r *Replica) versionOf(e *merkle.Entry) *control.FileVersion {
	if e == nil {
		return nil
	}
	v := e.Version
	by := r.stampOf(v.Author, v.Stamp)
	out := &control.FileVersion{
		Kind: e.Kind.String(), Size: e.Size, Node: by.Node, Name: cmp.Or(by.Name, r.nameKnown(v.Author)), Stamp: by.Stamp, Time: by.Time.UTC(),
	}
	if e.Kind == merkle.File {
		mtime := timeOf(e.MTime).UTC()
		out.Hash, out.MTime = e.Content.String(), &mtime
	}
	if v.Token != (merkle.Token{}) {
		token := control.Token(v.Token)
		out.Token = &token
	}
	return out
}

// dress gives the temporary file what it is to have beside its content in the place of mine, and sees that all of it is on disk.
func (w *Received) dress(mine *merkle.Entry) (err error) {
	w.attrs = merkle.Attributes{
		Kind: merkle.File, Mode: newMode, Size: w.blocks.Size(), MTime: time.Now().UnixNano(), Content: w.blocks.Root(), Owner: w.r.ownOwner(),
	}
	if mine.Live() && mine.Kind == merkle.File {
		w.attrs.Mode, w.attrs.Owner = mine.Mode&keptMode, mine.Owner
		for _, x := range mine.Xattrs {
			if x.Name != beneath.XattrCapability {
				w.attrs.Xattrs = append(w.attrs.Xattrs, x)
			}
		}
	}
	if w.disk, err = w.r.dress(w.file, &merkle.Entry{Attributes: w.attrs}); err == nil {
		err = w.file.Sync()
	}
	return ofScript(err)
}

// putNow replaces mine, and makes that known: in one turn, so that nobody comes in between.
func (r *Replica) putNow(w *Received, q control.FilePut, mine *merkle.Entry, token locking.Token) (created bool, err error) {
	switch now, err := r.mayPut(q); {
	case err != nil:
		return false, err
	case !sameVersion(now, mine):
		return false, laterError{"it has just changed"}
	case !r.locks.Check(onePath(q.Path), token):
		return false, ErrLockLost
	}
	by, err := r.author()
	if err != nil {
		return false, ofScript(err)
	}
	by.Token = merkle.Token(token)
	e := reconcile.Publish(mine, &w.attrs, by)
	if e == nil { // to the nanosecond what is there
		w.version = *r.versionOf(mine)
		return false, nil
	}
	in := &w.in
	in.path, in.theirs, in.temp, in.disk, in.fetched = q.Path, e, w.temp, w.disk, w.blocks
	if err = r.makeWay(in); err == nil {
		err = r.asRecorded(in)
	}
	if err == nil {
		err = r.put(&putting{in: in, entry: e})
	}
	w.temp = in.temp
	if err != nil {
		return false, r.putFailed(in, err)
	}
	r.stamped(by)
	r.agree(q.Path, e, nil)
	r.notePublished(q.Path, e)
	r.carryAlong(q.Path, w.data)
	if dir, name := merkle.SplitPath(q.Path); name == ignore.Name {
		r.refreshRules(dir)
	}
	r.resume(q.Path)
	r.log.Debug("published", "path", q.Path, "kind", e.Kind.String(), "by", "a script")
	w.version, w.told = *r.versionOf(e), make(map[*peer]bool)
	for _, p := range r.peers {
		w.told[p] = !p.deaf
	}
	return !mine.Live(), nil
}

// sameVersion tells whether two entries are one, or both are none.
func sameVersion(a, b *merkle.Entry) bool {
	return a == nil && b == nil || a != nil && b != nil && a.Hash() == b.Hash()
}

// putFailed tells whether what stands in the way of in goes away by itself.
func (r *Replica) putFailed(in *incoming, err error) error {
	var wait waitError
	switch {
	case errors.As(err, &wait):
		return laterError{"something else happens at " + wait.for_}
	case errors.Is(err, errChangedHere):
		return laterError{"it was changed here just now"}
	case errors.Is(err, errBusy):
		if in.busy.IsZero() {
			in.busy = time.Now()
		}
		return laterError{"somebody has it open for writing"}
	case errors.Is(err, errIgnoredInTheWay):
		return fmt.Errorf("%s: something that is ignored here is in the way: %w", in.path, control.ErrNotSynced)
	case absent(err): // a directory went from under it
		dir, _ := merkle.SplitPath(in.path)
		r.look(dir, false)
		return laterError{"its directory has just gone"}
	case errors.Is(err, fs.ErrExist):
		return laterError{"something stands there just now"}
	}
	return fmt.Errorf("put %s: %w", in.path, ofScript(err))
}
