package locking

import (
	"cmp"
	"strings"
)

// A ScopeKind says what a scope is made of.
type ScopeKind uint8

// The kinds of scopes. Their numbers are part of the format.
const (
	OnePath ScopeKind = 1 // one path, and nothing below it
	Tree    ScopeKind = 2 // a path and everything below it; the empty path: the whole folder
	Name    ScopeKind = 3 // a name that scripts have agreed on; it has nothing to do with paths
)

// A Scope is what a lock is about.
type Scope struct {
	Kind ScopeKind
	Path string // names joined by "/", relative to the folder; of a Name, the name
}

// String returns s for people and logs.
func (s Scope) String() string {
	switch s.Kind {
	case Tree:
		return s.Path + "/"
	case Name:
		return "name:" + s.Path
	}
	return s.Path
}

// below tells whether path lies strictly below the directory dir.
func below(path, dir string) bool {
	if dir == "" {
		return path != ""
	}
	return len(path) > len(dir) && path[len(dir)] == '/' && path[:len(dir)] == dir
}

// Covers tells whether all of o lies in s.
func (s Scope) Covers(o Scope) bool {
	switch {
	case s.Kind == Name || o.Kind == Name:
		return s == o
	case s.Kind == OnePath:
		return s == o
	}
	return s.Path == o.Path || below(o.Path, s.Path)
}

// Overlaps tells whether anything lies in both s and o.
func (s Scope) Overlaps(o Scope) bool {
	if s.Kind == Name || o.Kind == Name {
		return s == o
	}
	return s.Path == o.Path || s.Kind == Tree && below(o.Path, s.Path) || o.Kind == Tree && below(s.Path, o.Path)
}

// Compare orders scopes: paths before names, a directory before what lies in it and that before its next sibling, a path before the
// tree of the same path. Who locks several scopes one by one does it in this order.
func (s Scope) Compare(o Scope) int {
	if s.Kind == Name || o.Kind == Name {
		return cmp.Or(cmp.Compare(s.Kind/Name, o.Kind/Name), cmp.Compare(s.Path, o.Path))
	}
	return cmp.Or(comparePaths(s.Path, o.Path), cmp.Compare(s.Kind, o.Kind))
}

// comparePaths orders paths name by name.
func comparePaths(a, b string) int {
	n := min(len(a), len(b))
	i := 0
	for i < n && a[i] == b[i] {
		i++
	}
	if i == n {
		return cmp.Compare(len(a), len(b))
	}
	switch {
	case a[i] == '/':
		return -1
	case b[i] == '/':
		return 1
	}
	return cmp.Compare(a[i], b[i])
}

// check tells whether s can be locked at all.
func (s Scope) check() error {
	switch s.Kind {
	case Name:
		if s.Path == "" || len(s.Path) > MaxName {
			return malformed("name of %d bytes", len(s.Path))
		}
		return nil
	case Tree:
		if s.Path == "" {
			return nil
		}
	case OnePath:
	default:
		return malformed("scope of kind %d", s.Kind)
	}
	if s.Path == "" || len(s.Path) > MaxPath {
		return malformed("path of %d bytes", len(s.Path))
	}
	start := 0
	for i := 0; i <= len(s.Path); i++ {
		if i < len(s.Path) && s.Path[i] != '/' {
			if s.Path[i] == 0 {
				return malformed("path %.200q with a NUL", s.Path)
			}
			continue
		}
		if name := s.Path[start:i]; name == "" || name == "." || name == ".." {
			return malformed("path %.200q", s.Path)
		}
		start = i + 1
	}
	return nil
}

// checkScopes tells whether scopes are at most limit, right, in order, and each there once.
func checkScopes(scopes []Scope, limit int) error {
	if len(scopes) > limit {
		return malformed("%d scopes", len(scopes))
	}
	for i, s := range scopes {
		if err := s.check(); err != nil {
			return err
		}
		if i > 0 && scopes[i-1].Compare(s) >= 0 {
			return malformed("scopes out of order at %.200q", s.Path)
		}
	}
	return nil
}

// parentDir returns the directory in which path lies; the folder itself is "".
func parentDir(path string) string {
	return path[:max(strings.LastIndexByte(path, '/'), 0)]
}

// commonTree returns the narrowest tree that covers all of the sorted scopes, and false where there is none.
func commonTree(scopes []Scope) (Scope, bool) {
	if len(scopes) == 0 || scopes[0].Kind == Name || scopes[len(scopes)-1].Kind == Name {
		return Scope{}, false
	}
	dir := scopes[0].Path
	if scopes[0].Kind == OnePath {
		dir = parentDir(dir)
	}
	for _, s := range scopes[1:] {
		for dir != "" && s.Path != dir && !below(s.Path, dir) {
			dir = parentDir(dir)
		}
	}
	return Scope{Tree, dir}, true
}

// Around returns the narrowest tree that covers all of the sorted scopes, of which there is one, and none is a name.
func Around(scopes []Scope) Scope {
	s, _ := commonTree(scopes)
	return s
}

// SplitScopes cuts sorted scopes into batches, each of which fits one Acquire. They are to be locked in this order, each when the
// one before is held: as everybody does that, nobody waits in a circle.
func SplitScopes(scopes []Scope) [][]Scope {
	const room = MaxCommand - 4096 // for the other fields
	var out [][]Scope
	start, size := 0, 0
	for i, s := range scopes {
		n := len(s.Path) + 4
		if i > start && (size+n > room || i-start == MaxScopes) {
			out, start, size = append(out, scopes[start:i:i]), i, 0
		}
		size += n
	}
	if start < len(scopes) {
		out = append(out, scopes[start:])
	}
	return out
}
