package replica

import "resonate/merkle"

// ownContent is the loop's state of what is on the own disk and may spare fetching.
type ownContent struct {
	parts map[string]*keptPart   // by the tag of their path
	twins map[merkle.Hash]string // a path of each content from minTwin on; nil: to be built when it is asked for
	stale int                    // how many of twins may be of no use

	oldLists oldLists
}

// minTwin is the size of a file in bytes from which on it is remembered where its content is: a copy of it costs nothing
// to send. For smaller ones the memory would be worth more.
const minTwin = 64 << 10

// twin returns a path that holds the content of e on disk; "" if none is known.
func (r *Replica) twin(e *merkle.Entry) string {
	if e.Size < minTwin {
		return ""
	}
	if r.twins == nil {
		r.twins, r.stale = make(map[merkle.Hash]string), 0
		for path, e := range r.tree.All("") {
			r.noteContent(path, e)
		}
	}
	path := r.twins[e.Content]
	there := r.tree.Get(path)
	if path == "" || !there.Live() || there.Kind != merkle.File || there.Content != e.Content || r.diskAt(path).Kind != merkle.File {
		return ""
	}
	return path
}

// noteContent remembers that path has the content of e from now on.
func (r *Replica) noteContent(path string, e *merkle.Entry) {
	if r.twins == nil || e.Kind != merkle.File || e.Size < minTwin {
		return
	}
	r.twins[e.Content] = path
	if r.stale++; r.stale > len(r.records)+1024 { // of paths that have changed since
		r.twins = nil
	}
}
