package replica

import (
	"errors"
	"slices"
	"syscall"
	"time"

	"resonate/merkle"
	"resonate/syncproto"
)

// What a peer offers is prefetched: as a long file, from that peer alone, into a temporary file that becomes a kept part.
// When the file is announced the prefetch ends, and the fetch goes on in the same temporary file (openPart). An offer is
// believed for nothing else: each block is checked by its hash, and what is fetched of a file that is never announced is
// dropped as any part is.

// prefetching is the loop's state of what is being prefetched.
type prefetching struct {
	prefetches map[string]*fetchJob // by path, until the last block has come; at most one of a peer goes on
}

// handleOffer takes in what a peer tells of a file that it is reading.
func (r *Replica) handleOffer(p *peer, m *syncproto.Offer) error {
	if err := pathAllowed(m.Path); err != nil {
		return err
	}
	if j := p.prefetch; j != nil && (j.path != m.Path || j.entry.Content != m.Name) {
		r.endPrefetch(j)
		p.prefetch = nil
	}
	if p.prefetch == nil && m.From == 0 && len(m.Blocks) > 0 && r.wantsOffer(m) {
		r.startPrefetch(p, m)
	}
	j := p.prefetch
	if j == nil {
		return nil
	}
	if len(m.Blocks) == 0 || m.From != uint64(len(j.blocks)) || !j.extend(m.Blocks) {
		r.endPrefetch(j)
		p.prefetch = nil
		return nil
	}
	p.jobs.put(j) // where that is closed, the session ends
	return nil
}

// wantsOffer tells whether what is offered is to be prefetched: it is new here, nothing was kept of it, it is not ignored, and there is room for
// twice as much.
func (r *Replica) wantsOffer(m *syncproto.Offer) bool {
	if r.prefetches[m.Path] != nil || r.parts[partTag(m.Path)] != nil || len(r.incoming[m.Path]) > 0 ||
		r.tree.Get(m.Path).Live() || r.rules.ignored(m.Path, false) {
		return false
	}
	if _, err := r.root.Lstat(m.Path); !absent(err) || len(r.keptVersions(m.Path)) > 0 { // that may be made again
		return false
	}
	for _, queue := range r.incoming {
		if slices.ContainsFunc(queue, func(in *incoming) bool { return in.theirs.Size == m.Size }) {
			return false // it may be the same under another name
		}
	}
	free, err := r.root.Free()
	return err == nil && uint64(m.Size) <= free/2
}

// startPrefetch begins with what a peer offers. The name of the offer stands for the hash of the file.
func (r *Replica) startPrefetch(p *peer, m *syncproto.Offer) {
	j := &fetchJob{
		path: m.Path, temp: r.tempName() + "-" + partTag(m.Path), from: p,
		entry: &merkle.Entry{Attributes: merkle.Attributes{Kind: merkle.File, Size: m.Size, Content: m.Name}},
		long:  &longFetch{sources: []*jobQueue{p.jobs}, begun: true, open: true, have: []bool{}, seen: make(map[merkle.Hash]bool)},
	}
	var err error
	if j.file, err = r.root.Create("offer.create", j.temp+partial, 0o600); err != nil {
		r.log.Debug("an offer is not prefetched", "path", m.Path, "cause", err)
		return
	}
	r.prefetches[j.path], p.prefetch = j, j
}

// extend adds blocks to what is being prefetched; false if no file of its size has them. A block that occurs again is
// fetched once.
func (j *fetchJob) extend(list merkle.BlockList) bool {
	l := j.long
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(j.blocks)+len(list) > maxOffer {
		return false
	}
	at := int64(0)
	if n := len(j.blocks) - 1; n >= 0 {
		at = l.offsets[n] + int64(j.blocks[n].Size)
	}
	for _, b := range list {
		n := len(j.blocks)
		if at+int64(b.Size) > j.entry.Size || n > 0 && j.blocks[n-1].Size <= merkle.MinBlock { // only the last is so short
			return false
		}
		j.blocks, l.offsets, l.have = append(j.blocks, b), append(l.offsets, at), append(l.have, isHole(b))
		if !l.have[n] && !l.seen[b.Hash] {
			l.seen[b.Hash] = true
			l.todo = append(l.todo, n)
		}
		at += int64(b.Size)
	}
	if at == j.entry.Size {
		l.content = j.blocks.Root()
	}
	return true
}

// endPrefetch has no more blocks asked for. Those that were come still; then it is over (prefetched).
func (r *Replica) endPrefetch(j *fetchJob) {
	j.long.mu.Lock()
	j.long.open, j.long.todo = false, nil
	j.long.mu.Unlock()
	r.workers.Go(func() { r.goOnLong(j) })
}

// awaitPrefetch ends a prefetch of the file at path with the given content, which may have been offered under another name. What
// is still to be waited for it returns as a waitError.
func (r *Replica) awaitPrefetch(path string, content merkle.Hash) error {
	j := r.prefetches[path]
	for _, other := range r.prefetches {
		if j == nil && other.long.content == content {
			j = other
		}
	}
	if j == nil {
		return nil
	}
	if j.from.prefetch == j {
		j.from.prefetch = nil
		r.endPrefetch(j)
	}
	return waitError{j.path}
}

// closePrefetch ends a prefetch beside the loop.
func (r *Replica) closePrefetch(j *fetchJob, err error) {
	err = errors.Join(err, j.file.Close())
	r.post(func() { r.prefetched(j, err) })
}

// prefetched keeps what a prefetch has brought for the fetch.
func (r *Replica) prefetched(j *fetchJob, err error) {
	delete(r.prefetches, j.path)
	if j.from.prefetch == j {
		j.from.prefetch = nil
	}
	full := errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
	if j.hasSome() && !full {
		r.addPart(partTag(j.path), &keptPart{
			temp: j.temp, since: time.Now(), content: j.long.content, list: j.blocks, have: j.long.have,
			offered: true, sparse: !j.long.ruined,
		})
	} else {
		r.removeOrLeave("offer.remove", j.temp+partial)
	}
	r.resume(j.path)
}
