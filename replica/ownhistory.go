package replica

import (
	"slices"

	"resonate/control"
	"resonate/merkle"
)

// What a peer sends may have stood at the path before: it was restored, or an edit taken back. Its blocks are then taken from
// the history, where much is missing otherwise. Which blocks a kept file has is found by cutting it anew, which is faster
// than most networks.
const (
	minFromKept = 1 << 20 // bytes missing from which on the history is looked at
	maxFromKept = 4       // a kept file has at most so many times the bytes that are missing: the rest of it is read in vain
	keptTried   = 2       // kept versions of a path, the newest
)

// addKept adds to places what the kept versions of the path of j have of its blocks.
func (r *Replica) addKept(j *fetchJob, places map[merkle.Hash]blockCopy, have []bool) {
	if j.missing(places, have) < minFromKept {
		return
	}
	for _, k := range r.keptVersions(j.path) {
		if missing := j.missing(places, have); missing < minFromKept || k.Size > maxFromKept*missing {
			continue
		}
		f, err := r.root.OpenFile(k.File)
		if err != nil {
			continue // it was trimmed
		}
		list, err := r.splitLong(cancelReader{f, r, false}, k.Size, nil)
		if err != nil {
			_ = f.Close() // was only read
			continue
		}
		j.long.own.add(f, list, places, func(int) bool { return true })
	}
}

// missing returns how many bytes of a job are neither in its file nor in places.
func (j *fetchJob) missing(places map[merkle.Hash]blockCopy, have []bool) (n int64) {
	for i, b := range j.blocks {
		if _, ok := places[b.Hash]; !ok && !have[i] {
			n += int64(b.Size)
		}
	}
	return n
}

// keptVersions returns the newest files that the history keeps of a path.
func (r *Replica) keptVersions(path string) (kept []control.Kept) {
	err := r.kept(path, func(k control.Kept) error {
		if k.Path == path && k.Kind == merkle.File.String() {
			kept = append(kept, k)
		}
		return nil
	})
	if err != nil {
		r.log.Debug("history cannot be read", "path", path, "cause", err)
	}
	slices.SortFunc(kept, func(a, b control.Kept) int { return b.Time.Compare(a.Time) })
	return kept[:min(len(kept), keptTried)]
}
