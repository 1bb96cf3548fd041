package reconcile

import (
	"bytes"
	"time"
)

// A FolderID names a shared folder.
type FolderID [16]byte

// A Folder is what a node tells of its folder's identity.
type Folder struct {
	ID     FolderID
	Shared bool      // the ID is final: the folder was shared under it
	Since  time.Time // when it was first shared
}

// youth is how long after first being shared two folders may still be joined, the smaller ID winning: so several pairs
// that are started at once, and find each other a moment later, become one folder.
const youth = 2 * time.Minute

// JoinFolders decides under which ID two folders become one, the same on both sides: of two unshared ones the smaller
// wins; shared wins over unshared; two shared ones are refused (ok false), unless both were shared only just now.
func JoinFolders(a, b Folder, now time.Time) (id FolderID, ok bool) {
	smaller := a.ID
	if bytes.Compare(b.ID[:], a.ID[:]) < 0 {
		smaller = b.ID
	}
	switch {
	case a.ID == b.ID:
		return a.ID, true
	case a.Shared && !b.Shared:
		return a.ID, true
	case b.Shared && !a.Shared:
		return b.ID, true
	case !a.Shared:
		return smaller, true
	}
	return smaller, now.Sub(a.Since) < youth && now.Sub(b.Since) < youth
}
