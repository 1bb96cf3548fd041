package control

import (
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxName = 256  // bytes of a name
	maxPath = 4096 // bytes of a path
)

// The words before a resource in its written form. What has none of them is a name.
const (
	prefixName = "name:"
	prefixPath = "path:"
	prefixTree = "tree:"
)

// A Resource is what a lock is about: a name that its users have agreed on, one path, or a path and everything below it. The zero
// Resource is none; where locks are listed it stands for all.
type Resource struct {
	Name  string // has nothing to do with paths; "": it is a path
	Path  string // relative to the folder, with slashes; bytes, as file names are
	Below bool   // and all below Path; with Path "": the whole folder
}

// ParseResource reads the written form of a resource: "path:docs/a.txt" for one path, "tree:docs" for a path and all below it, "tree:" for
// the whole folder, and anything else for a name, save that one which begins with such a word is written after "name:". Errors
// wrap ErrBadArgument.
func ParseResource(s string) (Resource, error) {
	var r Resource
	if rest, ok := strings.CutPrefix(s, prefixPath); ok {
		r.Path = rest
	} else if rest, ok := strings.CutPrefix(s, prefixTree); ok {
		r.Path, r.Below = rest, true
	} else {
		r.Name = strings.TrimPrefix(s, prefixName)
	}
	if err := r.Check(); err != nil {
		return Resource{}, err
	}
	return r, nil
}

// String is the form that ParseResource reads; "" for the zero Resource.
func (r Resource) String() string {
	switch {
	case r.Name != "" && hasWord(r.Name):
		return prefixName + r.Name
	case r.Name != "":
		return r.Name
	case r.Below:
		return prefixTree + r.Path
	case r.Path != "":
		return prefixPath + r.Path
	}
	return ""
}

func hasWord(s string) bool {
	return strings.HasPrefix(s, prefixName) || strings.HasPrefix(s, prefixPath) || strings.HasPrefix(s, prefixTree)
}

// Check tells why r cannot be locked, wrapping ErrBadArgument; nil if it can.
func (r Resource) Check() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("resource: "+format+": %w", append(args, ErrBadArgument)...)
	}
	switch {
	case r.Name != "" && (r.Path != "" || r.Below):
		return bad("it is a name or a path, and not both")
	case r.Name != "":
		switch {
		case len(r.Name) > maxName:
			return bad("the name has %d bytes, at most %d", len(r.Name), maxName)
		case !utf8.ValidString(r.Name) || strings.ContainsFunc(r.Name, unicode.IsControl):
			return bad("name %q has bytes that are not text", r.Name)
		}
		return nil
	case r.Path == "" && r.Below:
		return nil
	case r.Path == "":
		return bad("none is named: want a name, path:PATH, or tree:PATH")
	case len(r.Path) > maxPath:
		return bad("the path has %d bytes, at most %d", len(r.Path), maxPath)
	case strings.ContainsRune(r.Path, 0):
		return bad("path %q has a zero byte", r.Path)
	case path.Clean(r.Path) != r.Path || path.IsAbs(r.Path) || r.Path == "." || r.Path == ".." || strings.HasPrefix(r.Path, "../"):
		return bad("path %q: want one relative to the folder, such as docs/a.txt, without . or .. and without a slash at its end", r.Path)
	}
	return nil
}

// MarshalText writes what String does.
func (r Resource) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads what MarshalText wrote, or nothing.
func (r *Resource) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*r = Resource{}
		return nil
	}
	v, err := ParseResource(string(text))
	if err == nil {
		*r = v
	}
	return err
}
