package replica

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"syscall"

	"resonate/beneath"
	"resonate/index"
	"resonate/merkle"
	"resonate/reconcile"
)

// A name that is agreed may be one that this disk cannot have: the file system takes it for another that stands there (FOO and foo,
// or the two forms of an accented letter), or refuses it. Such an entry is shelved: it is agreed like any other, so that all trees become
// equal, and told to the user, but not on disk; its record says so, as it says what else of a path cannot be had. Its content lies on the shelf,
// from where it goes to other nodes, and into its place once the name is free. Which of two twins is on disk is this node's own
// affair. Nothing is ever published of what is shelved, for what stands nowhere cannot change.

// refusedName notes that the path itself cannot be had here.
const refusedName = "name"

// shelfDir holds the contents of what is shelved, each named by its hash.
const shelfDir = StateDir + "/shelf"

// shelving is the loop's state of what is agreed and cannot be on this disk.
type shelving struct {
	folds     bool                 // the file system takes different names for one
	refuses   bool                 // it refuses some names
	doubted   map[string]bool      // names that it may refuse although they look plain
	shelved   map[string]string    // path -> what stands in its way, "" if it is refused; of an earlier run, once it was scanned
	freed     map[string]bool      // paths at which something has gone
	again     map[string]bool      // shelved paths to be tried again
	onShelf   map[merkle.Hash]bool // contents
	cluttered bool                 // perhaps some of them are not needed any more
}

func (s *shelving) init() {
	s.shelved = make(map[string]string)
	s.doubted = make(map[string]bool)
	s.freed = make(map[string]bool)
	s.again = make(map[string]bool)
	s.onShelf = make(map[merkle.Hash]bool)
}

// learnNames finds out how the file system takes names. What cannot be found out is taken to be as it should.
func (r *Replica) learnNames() {
	folds, err := r.root.FoldsNames("shelf.probe", tmpDir)
	if err != nil {
		r.log.Warn("it cannot be found out how names are taken here", "dir", r.root.Name(), "cause", err)
	}
	if r.folds = folds; folds {
		r.root.ExactNames(StateDir)
		r.log.Info("this file system takes names for one that differ in case or in their form of Unicode", "dir", r.root.Name())
	}
	for _, name := range []string{"a:b", "a\x01", "a.", "\u00e9", "\xff", strings.Repeat("n", 255)} {
		r.refuses = r.refuses || r.refusal(name) != nil
	}
}

// exactNames returns what tells, from any goroutine, whether what is found at a path is spelled so; nil where it always is.
func (r *Replica) exactNames() func(path string) bool {
	if !r.folds {
		return nil
	}
	return func(path string) bool {
		var other *beneath.OtherSpelling
		_, err := r.root.Lstat(path)
		return !errors.As(err, &other)
	}
}

// openShelf finds out what is on the shelf. After an unclean boot, what is there may not be what its name says.
func (r *Replica) openShelf() error {
	entries, err := r.root.ReadDir(shelfDir)
	if absent(err) {
		return nil
	}
	var buf []byte
	for _, e := range entries {
		b, _ := hex.DecodeString(e.Name)
		if len(b) != len(merkle.Hash{}) {
			continue
		}
		hash := merkle.Hash(b)
		if r.unclean {
			var found merkle.Hash
			if found, buf, err = r.contentOf(onShelf(hash), buf); err != nil || found != hash {
				r.removeOrLeave("shelf.remove", onShelf(hash))
				continue
			}
		}
		r.onShelf[hash], r.cluttered = true, true
	}
	return nil
}

// isShelved tells whether what is agreed of a path cannot be on this disk.
func (r *Replica) isShelved(path string) bool {
	rec := r.records[path]
	return rec != nil && rec.disk().Kind == 0 && saysShelved(rec.disk())
}

func saysShelved(d index.Disk) bool { return slices.Contains(refusedNames(d), refusedName) }

// nameRefused tells whether an error may be about a name.
func nameRefused(err error) bool {
	return errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EILSEQ) || errors.Is(err, syscall.ENAMETOOLONG)
}

// refusal tries whether the file system has a name, and returns why not.
func (r *Replica) refusal(name string) error {
	at := tmpDir + "/" + name
	f, err := r.root.Create("shelf.probe", at, 0o600)
	if err != nil {
		if nameRefused(err) {
			return err
		}
		return nil // whatever else it is, the name need not be why
	}
	_ = f.Close() // nothing was written
	if r.folds {
		entries, _ := r.root.ReadDir(tmpDir)
		if !slices.ContainsFunc(entries, func(e beneath.Entry) bool { return e.Name == name }) {
			err = errOtherwise
		}
	}
	r.removeOrLeave("shelf.probe", at)
	return err
}

// plainName tells whether every file system has a name like this one.
func plainName(name string) bool {
	plain := func(c rune) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-_. ", c)
	}
	return len(name) <= 100 && !strings.HasSuffix(name, ".") && !strings.HasSuffix(name, " ") &&
		!strings.ContainsFunc(name, func(c rune) bool { return !plain(c) })
}

// doubt notes that a path could not be put in place, perhaps because of its name. It returns false if that was noted before.
func (r *Replica) doubt(path string) (news bool) {
	for name := range strings.SplitSeq(path, "/") {
		news = news || !r.doubted[name]
		r.doubted[name] = true
	}
	r.refuses = true
	return news
}

// errOtherwise tells that a name is not kept as it was given.
var errOtherwise = errors.New("it would be spelled otherwise")

// An obstacle is why a path cannot be on this disk.
type obstacle struct {
	path string // it, or a directory above it
	twin string // what stands in its way; "": the name is refused
	err  error  // why it is
}

// obstacle returns what keeps a path, which is not on disk, from being there; nil: nothing that is known.
func (r *Replica) obstacle(path string) *obstacle {
	if !r.folds && !r.refuses {
		return nil
	}
	var other *beneath.OtherSpelling
	if _, err := r.root.Lstat(path); errors.As(err, &other) && r.diskAt(other.Asked).Kind == 0 {
		return &obstacle{path: other.Asked, twin: other.Found}
	}
	if !r.refuses {
		return nil
	}
	for end := 0; end < len(path); {
		start := end
		if end = len(path); start > 0 {
			start++
		}
		if i := strings.IndexByte(path[start:], '/'); i >= 0 {
			end = start + i
		}
		if r.diskAt(path[:end]).Kind != 0 {
			continue
		}
		name := path[start:end]
		if plainName(name) && !r.doubted[name] {
			continue
		}
		if err := r.refusal(name); err != nil {
			return &obstacle{path: path[:end], err: err}
		}
	}
	return nil
}

// shelves makes a plan agreed whose outcome cannot be on this disk. It returns false where nothing stands against that.
func (r *Replica) shelves(in *incoming, plan reconcile.Plan) (bool, error) {
	e := plan.Entry
	if !e.Live() || r.diskAt(in.path).Kind != 0 {
		return false, nil
	}
	o := r.obstacle(in.path)
	if o == nil {
		return false, nil
	}
	mine := r.tree.Get(in.path)
	if e.Kind == merkle.File && e.Size > 0 && e.Content == in.theirs.Content && !r.onShelf[e.Content] &&
		(!in.absent || len(r.peers) > 0) {
		if in.temp == "" {
			return true, r.fetch(in)
		}
		if err := r.putOnShelf(in, e.Content); err != nil {
			return true, err
		}
	}
	rec := r.record(in.path)
	switch {
	case in.fetched != nil && in.fetched.Root() == e.Content:
		rec.setBlocks(in.fetched)
	case mine == nil || mine.Content != e.Content:
		rec.setBlocks(nil)
	}
	rec.setDisk(index.Disk{Refused: refusedName + "\x00"})
	rec.suspect, rec.ignored, rec.behind = false, false, false
	r.touch(in.path)
	r.shelved[in.path] = o.twin
	r.cluttered = true
	r.tellShelved(in.path, o)
	in.hint = 0
	r.finish(in, e)
	return true, nil
}

// putOnShelf takes the content of in, which was fetched, to the shelf.
func (r *Replica) putOnShelf(in *incoming, content merkle.Hash) error {
	err := r.root.MkdirAll("shelf.mkdir", shelfDir, 0o700)
	if err == nil {
		err = r.root.Move("shelf.put", in.temp, onShelf(content))
	}
	if errors.Is(err, fs.ErrExist) {
		r.removeOrLeave("apply.unneeded", in.temp)
		err = nil
	}
	if err != nil {
		return err
	}
	in.temp = ""
	r.onShelf[content] = true
	return nil
}

// onShelf returns where a content lies on the shelf.
func onShelf(content merkle.Hash) string { return path.Join(shelfDir, content.String()) }

// shelvedRemedy is what a user can do about what is shelved.
const shelvedRemedy = "rename it, or leave it: it is kept, and sent on"

// tellShelved tells the user, of the topmost path that cannot be here.
func (r *Replica) tellShelved(at string, o *obstacle) {
	if at != o.path {
		delete(r.refused, at)
	}
	cause := fmt.Sprintf("not here: %s and %s are one name on this disk", o.path, o.twin)
	if o.twin == "" {
		cause = "not here: this disk has no such name: " + o.err.Error()
	}
	r.tellPartly(o.path, cause, shelvedRemedy)
}

// whyShelved returns why a path cannot be here.
func (r *Replica) whyShelved(path string) string {
	if o := r.obstacle(path); o != nil && o.twin != "" {
		return fmt.Sprintf("%s and %s are one name on this disk", o.path, o.twin)
	}
	return "this disk has no such name"
}

// unshelve notes that a path is not shelved any more: it is on disk now, or deleted.
func (r *Replica) unshelve(path string) {
	if _, ok := r.shelved[path]; ok {
		delete(r.shelved, path)
		r.cluttered = true
	}
}

// free notes that what stood at a path has gone: what it was in the way of may be put there.
func (r *Replica) free(path string) {
	if len(r.shelved) > 0 {
		r.freed[path] = true
		r.wakeIn(0)
	}
}

// foundOtherwise follows what was found not to be at a path, for which err is. Events tell of a file by the spelling that somebody has
// used: it may stand there spelled otherwise, or have gone.
func (r *Replica) foundOtherwise(path string, err error, scan bool) {
	r.free(path)
	var other *beneath.OtherSpelling
	switch {
	case scan || !r.folds:
	case errors.As(err, &other):
		r.look(other.Respelled(path), false)
	case r.diskAt(path).Kind == 0:
		dir, _ := merkle.SplitPath(path)
		r.foundGoneLike(dir)
	}
}

// foundGoneLike looks for what was known in a directory and is gone, by one listing.
func (r *Replica) foundGoneLike(dir string) {
	entries, err := r.root.ReadDir(cmp.Or(dir, "."))
	if err != nil {
		return // that is found by itself
	}
	there := make(map[string]bool, len(entries))
	for _, e := range entries {
		there[e.Name] = true
	}
	var gone []string
	for name := range r.tree.Children(dir) {
		if path := merkle.Join(dir, name); !there[name] && r.diskAt(path).Kind != 0 {
			gone = append(gone, path)
		}
	}
	for _, path := range gone {
		r.look(path, false)
	}
}

// relocateShelved has what was shelved at path tried at there, to where it was moved, and what was shelved because of it tried again.
func (r *Replica) relocateShelved(path, there string) {
	r.free(path)
	if r.isShelved(path) {
		r.dropDisk(path)
		r.again[there] = true
		r.wakeIn(0)
	}
}

// retryShelved has put in place what nothing stands against any more.
func (r *Replica) retryShelved() {
	if len(r.freed) > 0 {
		for path, twin := range r.shelved {
			if r.freed[twin] {
				r.again[path] = true
			}
		}
		clear(r.freed)
	}
	for _, path := range slices.Sorted(maps.Keys(r.again)) {
		if len(r.incoming[path]) == 0 { // else it is tried when that is done, which may come to nothing
			delete(r.again, path)
			r.fetchAbsent(path)
		}
	}
}

// clearShelf removes from the shelf what nobody here needs any more. Whoever wrote it has it, or what displaced it there.
func (r *Replica) clearShelf() {
	if !r.cluttered || !r.scanned || len(r.incoming) > 0 {
		return
	}
	r.cluttered = false
	if len(r.onShelf) == 0 {
		return
	}
	needed := make(map[merkle.Hash]bool)
	for path, e := range r.tree.All("") {
		if e.Live() && e.Kind == merkle.File && r.diskAt(path).Kind == 0 {
			needed[e.Content] = true
		}
	}
	for content := range r.onShelf {
		if !needed[content] {
			delete(r.onShelf, content)
			r.removeOrLeave("shelf.remove", onShelf(content))
		}
	}
}

// contentAt returns where the content agreed of a path is on this disk, and whether it is.
func (r *Replica) contentAt(path string, e *merkle.Entry) (string, bool) {
	if r.onShelf[e.Content] && r.diskAt(path).Kind == 0 {
		return onShelf(e.Content), true
	}
	return path, r.diskAt(path).Kind == merkle.File
}
