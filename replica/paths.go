package replica

import (
	"fmt"
	"slices"
	"strings"

	"resonate/beneath"
	"resonate/merkle"
)

// isOurs tells whether a path is resonate's own.
func isOurs(path string) bool {
	return path == StateDir || strings.HasPrefix(path, StateDir+"/")
}

// pathAllowed tells whether a peer may speak of a path: it leads nowhere outside the folder, nor into our own state.
func pathAllowed(path string) error {
	if err := beneath.Valid(path); err != nil {
		return fmt.Errorf("path %.200q: %w", path, err)
	}
	if isOurs(path) {
		return fmt.Errorf("path %.200q is resonate's own: %w", path, merkle.ErrFormat)
	}
	return nil
}

// below returns what tells whether a path is one of some, or below one of them; "" is the folder, and all is below it.
func below(paths ...string) func(string) bool {
	return func(path string) bool {
		return slices.ContainsFunc(paths, func(p string) bool {
			return p == "" || (strings.HasPrefix(path, p) && (len(path) == len(p) || path[len(p)] == '/'))
		})
	}
}

// selects tells whether a user who named paths, or none for all, means path.
func selects(paths []string, path string) bool { return len(paths) == 0 || below(paths...)(path) }
