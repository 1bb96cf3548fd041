package beneath

import (
	"errors"
	"strings"
)

// The bounds of Valid, in bytes.
const (
	MaxPath    = 64 << 10
	MaxElement = 255
)

// ErrInvalidPath is what all errors of Valid are.
var ErrInvalidPath = errors.New("invalid path")

// invalid is an ErrInvalidPath with its reason.
type invalid string

func (e invalid) Error() string   { return "invalid path: " + string(e) }
func (e invalid) Is(t error) bool { return t == ErrInvalidPath }

// Valid tells whether path follows the rule for every path, in particular one that comes from a peer: elements joined by single
// slashes, none of them empty, "." or ".." or longer than MaxElement, no NUL, and no more than MaxPath in all. So it is neither
// empty nor absolute, and there is one way to write it. Nothing else is asked: names are bytes. The error does not repeat the path.
func Valid(path string) error {
	switch {
	case path == "":
		return invalid("it is empty")
	case len(path) > MaxPath:
		return invalid("it is longer than 65536 bytes")
	case path[0] == '/':
		return invalid("it is absolute")
	case strings.IndexByte(path, 0) >= 0:
		return invalid("it contains a NUL byte")
	}
	for more := true; more; {
		var element string
		element, path, more = strings.Cut(path, "/")
		switch {
		case element == "":
			return invalid("it has an empty element")
		case element == "." || element == "..":
			return invalid("it has an element that is a dot or two")
		case len(element) > MaxElement:
			return invalid("it has an element longer than 255 bytes")
		}
	}
	return nil
}

// validDir is Valid for where a directory is meant, which may be the root.
func validDir(path string) error {
	if path == "." {
		return nil
	}
	return Valid(path)
}
