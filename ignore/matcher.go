package ignore

import "strings"

// A Matcher holds the rules of a folder. A directory's rules are asked for when a path in it is first asked about, and
// never for a directory that is ignored. Not safe for concurrent use.
//
// Of two rules that are about a path, that of the deeper directory counts; in one file, the later line; the machine's own
// count least. Nothing below an ignored directory can be taken in again.
type Matcher struct {
	load func(dir string) *File
	own  *File
	dirs map[string]*directory
}

// A directory is what is known of one: the rules that count in it.
type directory struct {
	lists   []list
	ignored *Rule           // it, or one above it, is ignored by that rule
	kids    map[string]bool // paths of the directories in it that are known
}

// A list is a file's rules, and how many bytes of a path lead to the directory in which it lies.
type list struct {
	file *File
	skip int
}

// New returns a Matcher with the given rules of the machine's own. It calls load once for each directory ("" is the
// folder), until that is forgotten; load returns nil where there are no rules.
func New(own *File, load func(dir string) *File) *Matcher {
	return &Matcher{load: load, own: own, dirs: make(map[string]*directory)}
}

// SetOwn replaces the machine's own rules.
func (m *Matcher) SetOwn(own *File) {
	m.own = own
	clear(m.dirs)
}

// Forget has the rules of dir, and of what lies below, loaded again when they are next needed.
func (m *Matcher) Forget(dir string) {
	d := m.dirs[dir]
	if d == nil {
		return
	}
	for kid := range d.kids {
		m.Forget(kid)
	}
	delete(m.dirs, dir)
	if parent, _ := split(dir); dir != "" {
		delete(m.dirs[parent].kids, dir)
	}
}

// Match tells whether a path is ignored, and the rule that decides: its own, or that of the topmost directory above it that is
// ignored. A rule that is negated decides that it is not; the zero Rule says that none is about it.
func (m *Matcher) Match(path string, isDir bool) (by Rule, ignored bool) {
	dir, name := split(path)
	d := m.at(dir)
	if d.ignored != nil {
		return *d.ignored, true
	}
	if r := d.find(path, name, isDir); r != nil {
		return r.Rule, !r.Negated
	}
	return Rule{}, false
}

// Ignored is Match without the rule.
func (m *Matcher) Ignored(path string, isDir bool) bool {
	dir, name := split(path)
	d := m.at(dir)
	if d.ignored != nil {
		return true
	}
	r := d.find(path, name, isDir)
	return r != nil && !r.Negated
}

// find returns the rule that decides over a path in the directory, nil if there is none.
func (d *directory) find(path, name string, isDir bool) *rule {
	for i := len(d.lists) - 1; i >= 0; i-- {
		if r := d.lists[i].file.find(path[d.lists[i].skip:], name, isDir); r != nil {
			return r
		}
	}
	return nil
}

// at returns the directory of the given path, made where it was not known.
func (m *Matcher) at(path string) *directory {
	if d := m.dirs[path]; d != nil {
		return d
	}
	d := &directory{}
	skip := 0
	if path == "" {
		if m.own.Len() > 0 {
			d.lists = append(d.lists, list{file: m.own})
		}
	} else {
		parent, name := split(path)
		above := m.at(parent)
		if above.ignored != nil {
			return above // nothing below an ignored directory is kept
		}
		if r := above.find(path, name, true); r != nil && !r.Negated {
			d.ignored = &r.Rule
		}
		path = strings.Clone(path) // what it is cut from may be much longer
		if above.kids == nil {
			above.kids = make(map[string]bool)
		}
		above.kids[path] = true
		d.lists, skip = above.lists, len(path)+1
	}
	if d.ignored == nil {
		if file := m.load(path); file.Len() > 0 {
			d.lists = append(d.lists[:len(d.lists):len(d.lists)], list{file, skip})
		}
	}
	m.dirs[path] = d
	return d
}

// split cuts the last name off a path.
func split(path string) (dir, name string) {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)], path[i+1:]
}
