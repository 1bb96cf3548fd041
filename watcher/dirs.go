package watcher

import (
	"io/fs"
	"path"
	"syscall"
)

// identity tells one directory from another, whatever it is called.
type identity struct{ dev, ino uint64 }

func identify(fi fs.FileInfo) identity {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return identity{}
	}
	return identity{uint64(st.Dev), uint64(st.Ino)}
}

// dirs is the set of watched directories. Invariants: the parent of a member is a member; what fsnotify watches, the
// sentinel apart, is here under the same path; no identity is here twice.
type dirs struct {
	byPath map[string]*dir
	byID   map[identity]string
}

type dir struct {
	id   identity
	kids map[string]struct{} // names of the members in it
}

func newDirs() dirs {
	return dirs{byPath: make(map[string]*dir), byID: make(map[identity]string)}
}

func (d *dirs) len() int { return len(d.byPath) }

func (d *dirs) has(rel string) bool { return d.byPath[rel] != nil }

func (d *dirs) is(rel string, id identity) bool {
	e := d.byPath[rel]
	return e != nil && e.id == id
}

// at returns the path under which a directory is watched.
func (d *dirs) at(id identity) (rel string, ok bool) {
	rel, ok = d.byID[id]
	return rel, ok
}

func (d *dirs) put(rel string, id identity) {
	d.byPath[rel] = &dir{id: id}
	d.byID[id] = rel
	if rel == "." {
		return
	}
	parent := d.byPath[path.Dir(rel)]
	if parent.kids == nil {
		parent.kids = make(map[string]struct{})
	}
	parent.kids[path.Base(rel)] = struct{}{}
}

// drop removes the members at and below a path, each after those in it, and calls gone with the path of each.
func (d *dirs) drop(rel string, gone func(rel string)) {
	e := d.byPath[rel]
	if e == nil {
		return
	}
	for kid := range e.kids {
		d.drop(path.Join(rel, kid), gone)
	}
	delete(d.byPath, rel)
	delete(d.byID, e.id)
	if rel != "." {
		delete(d.byPath[path.Dir(rel)].kids, path.Base(rel))
	}
	gone(rel)
}
