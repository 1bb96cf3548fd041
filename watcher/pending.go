package watcher

import (
	"maps"
	"path"
	"slices"
	"strings"
)

// A Batch is what may have changed since it was last reported. Paths are relative to the root and slash-separated.
type Batch struct {
	// Paths at which something else may stand now than was reported before: created, changed, removed, renamed. Once each,
	// parents first, never the root itself. What is there is for the reader to see:
	//   - nothing: all that was known at and below the path is gone.
	//   - a directory: what was known in it and is not in it any more is gone, too. It may be another directory than before,
	//     and nobody can name what the old one took along. All that is in a new directory is reported, at every depth.
	Paths []string
	// Rescan names directories ("." is the root) whose whole subtree must be compared again. None is below another.
	Rescan []string
}

const (
	// perDirMax pending paths in one directory become one rescan of it.
	perDirMax = 8192
	// pendingMax pending paths become rescans of the top-level directories that they are in.
	pendingMax = 128 * 1024
	// rescanMax rescans become one of the whole folder.
	rescanMax = 8192
)

// pending is the batch that grows while the reader is busy. Its size is bounded by the constants above.
type pending struct {
	dirs   map[string]map[string]struct{} // names by directory; never empty
	rescan map[string]struct{}
	n      int // names in dirs
}

func newPending() pending {
	return pending{dirs: make(map[string]map[string]struct{}), rescan: make(map[string]struct{})}
}

func (p *pending) empty() bool { return p.n == 0 && len(p.rescan) == 0 }

func (p *pending) add(rel string) {
	if p.covered(rel) {
		return
	}
	dir, name := path.Dir(rel), path.Base(rel)
	names := p.dirs[dir]
	if names == nil {
		names = make(map[string]struct{})
		p.dirs[dir] = names
	}
	if _, ok := names[name]; ok {
		return
	}
	names[name] = struct{}{}
	p.n++
	switch {
	case len(names) > perDirMax:
		p.addRescan(dir)
	case p.n > pendingMax:
		p.collapse()
	}
}

func (p *pending) addRescan(dir string) {
	if _, ok := p.rescan[dir]; ok || p.covered(dir) {
		return
	}
	if len(p.rescan) >= rescanMax {
		dir = "."
	}
	if dir == "." {
		*p = newPending()
	}
	p.rescan[dir] = struct{}{}
	p.n -= len(p.dirs[dir])
	delete(p.dirs, dir)
}

// collapse trades all paths below the top level for rescans.
func (p *pending) collapse() {
	for dir := range p.dirs {
		if dir != "." {
			top, _, _ := strings.Cut(dir, "/")
			p.n -= len(p.dirs[dir])
			delete(p.dirs, dir)
			p.addRescan(top)
		}
	}
}

// covered tells whether a directory above the path is to be rescanned.
func (p *pending) covered(rel string) bool {
	if len(p.rescan) == 0 {
		return false
	}
	for rel != "." {
		rel = path.Dir(rel)
		if _, ok := p.rescan[rel]; ok {
			return true
		}
	}
	return false
}

// take empties p into a batch. Sorted by bytes, a directory comes before what is in it.
func (p *pending) take() Batch {
	b := Batch{Paths: make([]string, 0, p.n)}
	for dir, names := range p.dirs {
		for name := range names {
			if rel := path.Join(dir, name); !p.covered(rel) {
				b.Paths = append(b.Paths, rel)
			}
		}
	}
	slices.Sort(b.Paths)
	for _, dir := range slices.Sorted(maps.Keys(p.rescan)) {
		if !p.covered(dir) {
			b.Rescan = append(b.Rescan, dir)
		}
	}
	*p = newPending()
	return b
}
