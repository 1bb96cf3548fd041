package replica

import (
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"resonate/beneath"
	"resonate/ignore"
	"resonate/merkle"
)

// scanBatch is how many entries a scan hands to the loop at a time.
const scanBatch = 1024

// rescanInterval is how often the whole folder is compared with the records although nothing was reported: writes through
// a memory map, through another hard link, or below a mount raise no event.
const rescanInterval = 10 * time.Minute

// A listing is one directory as a scan has seen it.
type listing struct {
	dir     string
	entries []beneath.Stat
}

// startScan has everything below dir compared with the records: by what stat tells, without reading content. Scans run
// one after the other; the first one is that of the whole folder.
func (r *Replica) startScan(dir string, first bool) {
	if r.scans > 0 {
		r.rescan[dir] = true
		return
	}
	r.scans++
	begun := time.Now()
	ready := r.watcher.Ready()
	r.workers.Go(func() {
		if first {
			select { // once all is watched, nothing changes unseen behind the scan
			case <-ready:
			case <-r.ctx.Done():
				return
			}
		}
		s := &scan{r: r}
		s.dir(dir)
		s.send()
		r.post(func() { r.scanEnded(dir, first, begun) })
	})
}

func (r *Replica) scanEnded(dir string, first bool, begun time.Time) {
	r.scans--
	if dir == "" {
		r.lastScan = time.Now()
		r.lingerLeft()
	}
	r.lookAtHeld(dir)
	if first {
		r.scanned = true
		r.log.Info("folder scanned", "dir", r.root.Name(), "took", time.Since(begun).Round(time.Millisecond))
	}
	if len(r.rescan) > 0 {
		next := slices.Sorted(maps.Keys(r.rescan))[0]
		if r.rescan[""] {
			clear(r.rescan)
			next = ""
		}
		delete(r.rescan, next)
		r.startScan(next, false)
	}
}

// A scan is one walk over a part of the folder, in a goroutine of its own.
type scan struct {
	r       *Replica
	batch   []listing
	entries int
}

// dir lists one directory, and then those in it.
func (s *scan) dir(dir string) {
	if s.r.ctx.Err() != nil || (dir != "" && s.r.rules.ignored(dir, true)) {
		return
	}
	at := dir
	if at == "" {
		at = "."
	}
	names, err := s.statDir(at)
	if err != nil {
		s.failed(dir, err)
		return
	}
	l := listing{dir: dir, entries: names}
	var dirs []string
	for _, e := range names {
		path := merkle.Join(dir, e.Name)
		if e.Err != nil {
			s.failed(path, e.Err)
		}
		if e.Info.Kind == beneath.Dir && !isOurs(path) {
			dirs = append(dirs, path)
		}
	}
	s.batch = append(s.batch, l)
	if s.entries += len(l.entries); s.entries >= scanBatch {
		s.send()
	}
	for _, d := range dirs {
		s.dir(d)
	}
}

// statDir lists a directory, behind all others who want something of the disk.
func (s *scan) statDir(dir string) ([]beneath.Stat, error) {
	defer s.r.disk.last()()
	return s.r.root.StatDir(dir)
}

// makeReadable is the remedy for what cannot be read.
const makeReadable = "make it readable for this user"

// unreadable tells whether a directory could not be listed when last tried.
func (r *Replica) unreadable(dir string) bool {
	p := r.problems[dir]
	return p != nil && p.Remedy == makeReadable
}

func (s *scan) failed(path string, err error) {
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	s.r.post(func() {
		if s.r.unknown(path) { // its listing does not come
			s.r.look(path, true)
		}
		s.r.problem(path, err.Error(), makeReadable)
	})
}

// send hands what was listed to the loop.
func (s *scan) send() {
	batch := s.batch
	s.batch, s.entries = nil, 0
	if len(batch) > 0 {
		s.r.post(func() {
			for _, l := range batch {
				s.r.compare(l)
			}
		})
	}
}

// compare compares a listing with the records. What differs is looked at again, since it may be late; but for a file that is
// new, which is opened in any case.
func (r *Replica) compare(l listing) {
	if r.unreadable(l.dir) {
		r.problem(l.dir, "", "")
	}
	r.worked += len(l.entries) // which leave garbage
	if r.unknown(l.dir) {
		r.look(l.dir, true)
	}
	seen := make(map[string]bool, len(l.entries))
	for _, e := range l.entries {
		seen[e.Name] = true
		if e.Name == ignore.Name {
			r.refreshRules(l.dir)
		}
	}
	r.compareMissing(l, seen) // first: what is gone may be what is found under another name
	for _, e := range l.entries {
		path := merkle.Join(l.dir, e.Name)
		switch rec := r.records[path]; {
		case isOurs(path):
		case r.ignores(path, e.Info.Kind == beneath.Dir):
			r.foundIgnored(path, e.Info, true)
		case rec == nil && e.Info.Kind == beneath.File:
			r.found(path, e.Info, true)
		case e.Info.Kind == beneath.Dir && r.lookLater(path):
		case rec == nil || rec.ignored || rec.behind || !sameDisk(rec.disk(), e.Info) || r.unread(rec.disk(), e.Info, false):
			r.look(path, true)
		}
	}
}

// lookLater tells whether a directory is looked at when its own listing comes: so a new one is let out with what lies in it. Not
// while something has gone, which may be what it is.
func (r *Replica) lookLater(dir string) bool {
	return len(r.gone) == 0 && r.unknown(dir)
}

// unknown tells whether nothing is known of a path, not even that it has changed.
func (r *Replica) unknown(path string) bool {
	return path != "" && r.records[path] == nil && r.changes[path] == nil
}

// compareMissing looks at what was known in a directory and is not listed.
func (r *Replica) compareMissing(l listing, seen map[string]bool) {
	var missing []string
	for name := range r.tree.Names(l.dir) {
		if !seen[name] {
			missing = append(missing, merkle.Join(l.dir, name))
		}
	}
	slices.SortFunc(missing, strings.Compare)
	for _, path := range missing {
		r.look(path, true)
	}
}
