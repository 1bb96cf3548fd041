package replica

import "resonate/merkle"

// A new directory is let out together with what was found in it, as one operation, so that peers can have all of it at once: its
// change waits while small files in it, or below, are being read for the first time. Long files are not waited for, nor more than
// maxBuild in all, so that a large tree is let out bit by bit.

// waitsForReading has the changes of new directories above a file that is about to be read wait for that; they are returned.
func (r *Replica) waitsForReading(path string, size int64) (waiting []*change) {
	if size > maxBuilt {
		return nil
	}
	for dir, _ := merkle.SplitPath(path); dir != ""; dir, _ = merkle.SplitPath(dir) {
		c := r.changes[dir]
		if c == nil || c.attrs == nil || c.attrs.Kind != merkle.Dir || r.tree.Get(dir).Live() {
			break
		}
		c.reading++
		c.read++
		waiting = append(waiting, c)
	}
	return waiting
}

// wasRead notes that a file for which changes waited was read.
func wasRead(waiting []*change) {
	for _, c := range waiting {
		c.reading--
	}
}

// waits tells whether a change waits for files to be read, or is below one that does.
func (c *change) waits() bool {
	for ; c != nil; c = c.under {
		if c.reading > 0 && c.read <= maxBuild {
			return true
		}
	}
	return false
}
