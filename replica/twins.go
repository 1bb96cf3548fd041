package replica

import (
	"time"

	"resonate/merkle"
)

// ownContent is the loop's state of what is on the own disk and may spare fetching.
type ownContent struct {
	parts map[string]*keptPart   // by the tag of their path
	twins map[merkle.Hash]string // a path of each content from minTwin on; nil: to be built when it is asked for
	stale int                    // how many of twins may be of no use
	sizes map[int64]bool         // of long files; as twins

	underway map[merkle.Hash]string // by content: the path for which a long file is being fetched, or waits to be put in

	oldLists oldLists
}

// minTwin is the size of a file in bytes from which on it is remembered where its content is: a copy of it costs nothing
// to send. For smaller ones the memory would be worth more.
const minTwin = 64 << 10

// twin returns a path that holds the content of e on disk; "" if none is known.
func (r *Replica) twin(e *merkle.Entry) string {
	if r.onShelf[e.Content] {
		return onShelf(e.Content)
	}
	if e.Size < minTwin {
		return ""
	}
	r.noteContents()
	path := r.twins[e.Content]
	there := r.tree.Get(path)
	if path == "" || !there.Live() || there.Kind != merkle.File || there.Content != e.Content || r.diskAt(path).Kind != merkle.File {
		return ""
	}
	return path
}

// mayBeCopy tells whether a long file of that size is agreed.
func (r *Replica) mayBeCopy(size int64) bool {
	r.noteContents()
	return r.sizes[size]
}

// noteContents remembers where all that is agreed is, unless it does.
func (r *Replica) noteContents() {
	if r.twins != nil {
		return
	}
	r.twins, r.sizes, r.stale = make(map[merkle.Hash]string), make(map[int64]bool), 0
	for path, e := range r.tree.All("") {
		r.noteContent(path, e)
	}
}

// noteContent remembers that path has the content of e from now on.
func (r *Replica) noteContent(path string, e *merkle.Entry) {
	if r.twins == nil || e.Kind != merkle.File || e.Size < minTwin {
		return
	}
	r.twins[e.Content] = path
	if e.Size >= longFile {
		r.sizes[e.Size] = true
	}
	if r.stale++; r.stale > len(r.records)+1024 { // of paths that have changed since
		r.twins, r.sizes = nil, nil
	}
}

// sameUnderway returns the path for which the content that in needs is being fetched already: what comes is had from there. It
// is waited for no longer than a deletion waits.
func (r *Replica) sameUnderway(in *incoming) (string, bool) {
	path, ok := r.underway[in.theirs.Content]
	return path, ok && path != in.path && time.Since(in.came) < maxArrival
}

// landed forgets that the content of in is under way for it: it is in, or will not come.
func (o *ownContent) landed(in *incoming) {
	if c := in.theirs.Content; o.underway[c] == in.path {
		delete(o.underway, c)
	}
}

// handOver gives what was fetched for in, and is not needed there any more, to a version of another path that is the same in all
// but its name: the file was renamed while it was being sent.
func (r *Replica) handOver(in *incoming) bool {
	if in.theirs.Kind != merkle.File || in.theirs.Size == 0 || !in.theirs.Link.IsZero() {
		return false
	}
	for _, path := range r.arriving[in.theirs.Content] {
		queue := r.incoming[path]
		heir := queue[len(queue)-1]
		if heir == in || heir.fetching || heir.temp != "" || !sameFile(heir.theirs, in.theirs) {
			continue
		}
		heir.temp, heir.disk, heir.fetched, in.temp = in.temp, in.disk, in.fetched, ""
		r.resume(path)
		return true
	}
	return false
}
