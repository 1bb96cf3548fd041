package replica

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"resonate/beneath"
	"resonate/control"
	"resonate/ignore"
	"resonate/merkle"
	"resonate/reconcile"
)

// What is ignored here follows one rule: what happens to it on disk never changes the tree, and what peers do to it changes
// the tree, never the disk. So all trees become equal, whatever each machine ignores, and nothing is deleted anywhere because
// somebody ignores it. A path that was agreed before stays agreed; an entry whose record says that nothing is on disk is
// "not here", and is fetched once no rule is about it any more. A record is marked while its path is ignored (ignored):
// what is missing then was not deleted, as far as others are concerned.

// errIgnoredInTheWay tells that what is ignored here stands where a peer's version is to go.
var errIgnoredInTheWay = errors.New("what stands here is ignored, and is never replaced")

// ignoredBy returns the rule that is about a path, and whether it has it ignored; the zero Rule if none is. A file is named by
// its path in the folder, the machine's own by the absolute path of the file that holds them.
func (r *Replica) ignoredBy(path string, isDir bool) (ignore.Rule, bool) {
	return r.rules.match(path, isDir)
}

// ignores tells whether a path is ignored here: by a rule; or as the rule file that stayed behind, with what it has ignored,
// in a directory that was deleted elsewhere.
func (r *Replica) ignores(path string, isDir bool) bool {
	return r.rules.ignored(path, isDir) || (isRuleFile(path) && r.staysBehind(path))
}

func isRuleFile(path string) bool {
	return path == ignore.Name || strings.HasSuffix(path, "/"+ignore.Name)
}

// staysBehind tells whether the directory of path stands here although it is not agreed any more.
func (r *Replica) staysBehind(path string) bool {
	dir, _ := merkle.SplitPath(path)
	if dir == "" || r.diskAt(dir).Kind != merkle.Dir {
		return false
	}
	e := r.tree.Get(dir)
	return !e.Live() && (e != nil || r.left[dir])
}

// ignoresKnown tells whether what is recorded at a path, or else agreed, is ignored here.
func (r *Replica) ignoresKnown(path string) bool {
	kind := merkle.Kind(0)
	if rec := r.records[path]; rec != nil {
		kind = rec.disk().Kind
	}
	if e := r.tree.Get(path); kind == 0 && e != nil {
		kind = e.Kind
	}
	return r.ignores(path, kind == merkle.Dir)
}

// ignoresIncoming tells whether a peer's version of a path is about what is ignored here.
func (r *Replica) ignoresIncoming(in *incoming) bool {
	if in.theirs.Live() {
		return r.rules.ignored(in.path, in.theirs.IsDir())
	}
	return r.ignoresKnown(in.path)
}

// foundIgnored handles a path at which something ignored stands.
func (r *Replica) foundIgnored(path string, info beneath.Info, scan bool) {
	if len(r.incoming[path]) == 0 {
		r.problem(path, "", "")
	}
	if have := r.diskAt(path).Kind; have != 0 && (have == merkle.Dir) != (info.Kind == beneath.Dir) && !r.ignoresKnown(path) {
		r.foundMissing(path, scan) // what was synced is gone; what stands in its place is another matter
		return
	}
	r.cover(path)
	if rec := r.records[path]; info.Kind == beneath.Dir || (rec != nil && rec.disk().Kind == merkle.Dir) {
		for below := range r.tree.All(path) {
			r.cover(below)
		}
	}
	r.resume(path)
}

// cover marks a path as ignored: what was found there and not let out yet is not, and what is found from now on is no change.
func (r *Replica) cover(path string) {
	delete(r.changes, path)
	if h := r.held[path]; h != nil {
		delete(r.held, path)
		if h.reinstated {
			r.withdraw(path)
		}
	}
	if rec := r.records[path]; rec != nil && rec.disk().Kind != 0 && !rec.ignored {
		rec.ignored, rec.suspect = true, false
		r.touch(path)
	}
}

// missingIgnored handles a path at which nothing stands, where rules are or were about it. It returns false if that is to be
// looked at as a deletion.
func (r *Replica) missingIgnored(path string) bool {
	r.leftLess(path)
	rec := r.records[path]
	if r.ignoresKnown(path) {
		r.cover(path)
		r.resume(path)
		return true
	}
	delete(r.left, path)
	if rec != nil && rec.ignored {
		r.dropDisk(path)
	}
	if rec == nil || rec.disk().Kind == 0 {
		r.unchanged(path)
		r.fetchAbsent(path)
		return true
	}
	return false
}

// leftLess notes that something has gone from a directory that stayed although it was deleted elsewhere: it can go, perhaps.
func (r *Replica) leftLess(path string) {
	if dir, _ := merkle.SplitPath(path); r.left[dir] {
		r.linger[dir] = true
		r.wakeIn(0)
	}
}

// uncover takes the mark off a path that is not ignored any more and found on disk. It returns true where nobody has changed
// what was there before, and a newer version takes its place.
func (r *Replica) uncover(path string, info beneath.Info) bool {
	rec := r.records[path]
	if rec == nil || (!rec.ignored && !rec.behind) {
		return false
	}
	rec.ignored = false
	r.touch(path)
	if !rec.behind {
		return false
	}
	if !sameDisk(rec.disk(), info) || !r.tree.Get(path).Live() {
		r.dropDisk(path)
		return false
	}
	r.fetchAbsent(path)
	r.resume(path)
	return true
}

// fetchAbsent has what is agreed of a path put here, where it is not here because it was ignored.
func (r *Replica) fetchAbsent(path string) {
	e := r.tree.Get(path)
	if !e.Live() || len(r.incoming[path]) > 0 || !r.wanted(path) {
		return
	}
	blocks, _ := r.blockList(path)
	if blocks.Root() != e.Content { // of an earlier version
		blocks = nil
	}
	r.take(&incoming{path: path, theirs: e, blocks: blocks, absent: true})
}

// wanted tells whether what is agreed of a path belongs here: not if its directory was deleted, which is said to be so only of
// what was ignored, where it was ignored.
func (r *Replica) wanted(path string) bool {
	dir, _ := merkle.SplitPath(path)
	return dir == "" || r.tree.Get(dir).Live()
}

// unseenHere tells whether a change was made without knowledge of what is agreed at its path: that was not here, because it was
// ignored. The two then meet like versions of two nodes.
func (r *Replica) unseenHere(c *change) bool {
	mine := r.tree.Get(c.path)
	switch {
	case c.attrs == nil || !mine.Live() || r.diskAt(c.path).Kind != 0:
		return false
	case c.attrs.Kind != mine.Kind:
		return true
	}
	return mine.Kind != merkle.Dir && (c.attrs.Content != mine.Content || c.attrs.Target != mine.Target)
}

// agreeUnseen makes a plan for what is ignored here agreed, and leaves the disk alone. A conflict copy is made by who has the
// content.
func (r *Replica) agreeUnseen(in *incoming, plan reconcile.Plan) {
	if plan.Entry == nil {
		return
	}
	mine, rec := r.tree.Get(in.path), r.records[in.path]
	switch {
	case rec == nil || rec.disk().Kind == 0 || mine.ContentHash() == plan.Entry.ContentHash():
	case plan.Entry.Kind != rec.disk().Kind:
		r.dropDisk(in.path)
	case rec.disk().Kind != merkle.Dir:
		rec.ignored, rec.behind = true, true
		rec.setBlocks(nil)
		r.touch(in.path)
	}
	in.hint = 0
	r.finish(in, plan.Entry)
}

// refreshRules has a directory's rule file read again, and what follows from it done.
func (r *Replica) refreshRules(dir string) {
	changed, err := r.rules.refresh(dir)
	path := merkle.Join(dir, ignore.Name)
	switch {
	case err != nil:
		r.badRules[path] = true
		r.problem(path, "its rules cannot be used: "+err.Error(), "make it a readable file of at most 1 MiB; what was known of it still counts")
	case r.badRules[path]:
		delete(r.badRules, path)
		r.problem(path, "", "")
	}
	if changed {
		r.rulesChanged(dir)
	}
}

// rulesChanged follows a change of the rules for what lies below a directory: what waits is judged again at once, and all that
// is there when it has been compared anew.
func (r *Replica) rulesChanged(dir string) {
	covers := below(dir)
	for path, c := range r.changes {
		if covers(path) && r.ignoresChange(c) {
			r.cover(path)
		}
	}
	for path, h := range r.held {
		if covers(path) && r.ignoresChange(h.change) {
			r.cover(path)
		}
	}
	r.spoilBuilds(dir)
	for path := range r.incoming {
		if covers(path) {
			r.resume(path)
		}
	}
	if dir == "" {
		dir = "."
	}
	r.watcher.Recheck(dir)
}

// ignoresChange tells whether what was found at a path is ignored.
func (r *Replica) ignoresChange(c *change) bool {
	if c.attrs != nil {
		return r.ignores(c.path, c.attrs.Kind == merkle.Dir)
	}
	return r.ignoresKnown(c.path)
}

// ignoresPart tells whether something at or below from is ignored here, or would be as part of to ("": there is no such): then
// what a peer did to all of it at once is done path by path, and what was done here is told so.
func (r *Replica) ignoresPart(from, to string) bool {
	is := func(path string, isDir bool) bool {
		return r.ignoresKnown(path) || (to != "" && r.rules.ignored(to+path[len(from):], isDir))
	}
	found := is(from, r.tree.Get(from).IsDir())
	for path, e := range r.tree.All(from) {
		if found {
			break
		}
		found = e.Live() && is(path, e.IsDir())
	}
	if to != "" {
		r.rules.forget(to) // rules come along with what is moved there
	}
	return found
}

// hasLive tells whether something lives below a directory that is not ignored here: that alone keeps it agreed.
func (r *Replica) hasLive(dir string) bool {
	if !r.tree.HasLive(dir) {
		return false
	}
	for path, e := range r.tree.All(dir) {
		if e.Live() && !r.ignores(path, e.IsDir()) {
			return true
		}
	}
	return false
}

// rulesLinger is how long the deletion of a rule file by a peer waits for that of its directory.
const rulesLinger = 150 * time.Millisecond

// awaitRules returns how long the deletion of a rule file still waits. Were it applied before that of the directory, what it
// has ignored would pass for something new, and bring the directory back.
func (r *Replica) awaitRules(in *incoming, now time.Time) time.Duration {
	if in.theirs.Live() || !isRuleFile(in.path) || r.diskAt(in.path).Kind == 0 {
		return 0
	}
	return in.came.Add(rulesLinger).Sub(now)
}

// rulesAlone tells whether a directory holds nothing but a rule file.
func (r *Replica) rulesAlone(dir string) bool {
	entries, err := r.root.ReadDir(dir)
	return err == nil && len(entries) == 1 && entries[0].Name == ignore.Name
}

// removeLeft removes a directory that is not agreed any more, with the rule file that stayed behind in it, if nothing else is
// there.
func (r *Replica) removeLeft(dir string) error {
	if file := merkle.Join(dir, ignore.Name); r.rulesAlone(dir) && !r.tree.Get(file).Live() {
		if err := r.keep(file, file); err != nil {
			return err
		}
	}
	return r.removeDir(dir)
}

// toldLeft is what is told of a directory that stays although it was deleted elsewhere.
const toldLeft = "deleted elsewhere, but it holds what is ignored, held, or cannot be synchronised, which stays"

// leaveDir notes that a directory stays that was deleted elsewhere.
func (r *Replica) leaveDir(dir string) {
	r.left[dir] = true
	r.problem(dir, toldLeft, "remove it when you do not need what is in it; or keep it")
}

// findLeft finds the directories that stand here and are not agreed, as an earlier run has left them.
func (r *Replica) findLeft() {
	for path, rec := range r.records {
		if rec.disk().Kind == merkle.Dir && !r.tree.Get(path).Live() {
			r.left[path] = true
		}
	}
}

// lingerLeft has the directories that stayed looked at again: what was in them may be gone.
func (r *Replica) lingerLeft() {
	for dir := range r.left {
		if r.records[dir] == nil || r.diskAt(dir).Kind != merkle.Dir || r.tree.Get(dir).Live() {
			r.endLeft(dir)
			continue
		}
		r.linger[dir] = true
	}
}

// endLeft notes that a directory is gone, or agreed again. A rule file that stayed behind in it is one like any other now.
func (r *Replica) endLeft(dir string) {
	if !r.left[dir] {
		return
	}
	delete(r.left, dir)
	r.problem(dir, "", "")
	r.look(merkle.Join(dir, ignore.Name), true)
}

// Ignored implements control.Daemon.
func (r *Replica) Ignored(context.Context) ([]control.Pattern, error) {
	var out []control.Pattern
	for _, p := range r.rules.ownPatterns() {
		out = append(out, control.Pattern{Pattern: p})
	}
	return out, nil
}

// Ignore implements control.Daemon.
func (r *Replica) Ignore(ctx context.Context, patterns []string) (int, error) {
	for _, p := range patterns {
		if p == "" || p[0] == '#' || strings.ContainsAny(p, "\n\r\x00") || ignore.Parse("", []byte(p)).Len() == 0 {
			return 0, fmt.Errorf("%q is no pattern: it can match nothing: %w", p, control.ErrBadArgument)
		}
	}
	return r.changeOwn(ctx, func() (int, error) { return r.rules.addOwn(patterns) })
}

// Unignore implements control.Daemon.
func (r *Replica) Unignore(ctx context.Context, patterns []string) (int, error) {
	return r.changeOwn(ctx, func() (int, error) { return r.rules.removeOwn(patterns) })
}

func (r *Replica) changeOwn(ctx context.Context, change func() (int, error)) (n int, err error) {
	doErr := r.do(ctx, func() {
		if n, err = change(); n > 0 {
			r.rulesChanged("")
		}
	})
	return n, errors.Join(doErr, err)
}
