package replica

import (
	"errors"
	"slices"
	"sync"

	"resonate/merkle"
	"resonate/syncproto"
)

// A piece of a long file that one stream fetches at a time has a sixteenth of what is left, within these bounds of blocks
// (some 146 KB each): small files are asked for in between, and at the end all streams are done at about the same time.
const (
	minPiece = 8
	maxPiece = 56
)

// A longFetch is what the streams of all peers that have a long file know of fetching it together. One of them prepares
// it: it sees which blocks are on the own disk. The others are then fetched by whichever stream is free.
type longFetch struct {
	own     ownPlaces // where blocks may be on the own disk
	offsets []int64   // of each block in the file; set by who prepares it, before anything is claimed

	mu      sync.Mutex
	sources []*jobQueue // of the peers that may be asked
	dropped []*jobQueue // of those that may not, any more
	ruined  bool        // by an error of this node's own
	begun   bool        // somebody prepares it, or has
	ended   bool
	open    bool        // it is being prefetched: more may be offered
	active  int         // goroutines at work on it
	todo    []int       // blocks to be fetched that nobody is at
	have    []bool      // blocks that are in the temporary file; nil before it is prepared
	repeats []blockCopy // blocks to be copied from there when all others are in
	err     error       // the first that came in the way

	seen    map[merkle.Hash]bool // blocks that were offered; nil: it is a file that was announced
	content merkle.Hash          // of what is prefetched, once all of it was offered; the loop's
}

// fetchLong makes a job one of a long file, to be fetched from peers.
func (r *Replica) fetchLong(j *fetchJob, peers []*peer, twin string) {
	l := &longFetch{own: ownPlaces{twin: twin, kept: r.takePart(j.path, j.entry.Content)}}
	if rec := r.records[j.path]; rec != nil {
		l.own.base = rec.blocks()
	}
	slices.SortStableFunc(peers, func(a, b *peer) int { return int(a.link.RTT() - b.link.RTT()) }) // the nearest prepares
	for _, p := range peers {
		l.sources = append(l.sources, p.jobs)
	}
	j.temp += "-" + partTag(j.path)
	j.long = l
	r.underway[j.entry.Content] = j.path
}

// addSources has a long file that is being fetched asked of those, too, that have announced it since.
func (r *Replica) addSources(in *incoming) {
	if !in.fetching || in.job == nil || in.job.long == nil {
		return
	}
	l := in.job.long
	for _, p := range r.sources(in) {
		l.mu.Lock()
		fresh := !l.ended && !l.ruined && !slices.Contains(l.sources, p.jobs) && !slices.Contains(l.dropped, p.jobs)
		if fresh {
			l.sources = append(l.sources, p.jobs)
		}
		l.mu.Unlock()
		if fresh {
			p.jobs.put(in.job)
		}
	}
}

// claim gives work on a long file to a stream of q's peer. more tells whether there is more.
func (j *fetchJob) claim(q *jobQueue) (w *work, more bool) {
	l := j.long
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.ended || !slices.Contains(l.sources, q):
		return nil, false
	case !l.begun:
		l.begun = true
		l.active++
		return &work{long: j}, false
	case len(l.todo) == 0:
		return nil, false
	}
	n := min(max(len(l.todo)/16, minPiece), maxPiece, len(l.todo))
	w = &work{long: j, blocks: l.todo[:n:n]}
	l.todo = l.todo[n:]
	l.active++
	return w, len(l.todo) > 0
}

// release ends what claim began: left is what was not fetched. err is why: the peer of q is not asked for this file any
// more. Without any other, or after an error of this node's own, the job ends.
func (r *Replica) release(q *jobQueue, j *fetchJob, left []int, err error) {
	l := j.long
	l.mu.Lock()
	l.active--
	l.todo = append(l.todo, left...)
	if l.have == nil {
		l.begun = false // another is to prepare it
	}
	l.mu.Unlock()
	if err != nil {
		l.drop(q, err)
	}
	r.goOnLong(j)
}

// drop takes a peer's queue off the sources because of err; nil: all of them, for err is of this node's own.
func (l *longFetch) drop(q *jobQueue, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
	}
	if q == nil {
		l.ruined = true
	}
	l.dropped = append(l.dropped, q)
	l.sources = slices.DeleteFunc(l.sources, func(s *jobQueue) bool { return s == q || q == nil })
}

// goOnLong hands what is left of a long file to the streams, or ends it.
func (r *Replica) goOnLong(j *fetchJob) {
	l := j.long
	l.mu.Lock()
	waits := len(l.todo) > 0 || !l.begun
	sources := slices.Clone(l.sources)
	l.mu.Unlock()
	if waits {
		for _, q := range sources {
			if !q.put(j) {
				l.drop(q, syncproto.ErrClosed)
			}
		}
	}
	l.mu.Lock()
	idle := !l.ended && l.active == 0
	whole := l.begun && len(l.todo) == 0 && !l.open
	repeats := l.repeats
	if idle && whole && len(repeats) > 0 && !l.ruined {
		l.repeats, l.active = nil, 1
		l.mu.Unlock()
		r.repeatBlocks(j, repeats)
		return
	}
	end := idle && (whole || len(l.sources) == 0)
	if end {
		l.ended = true
	}
	err := l.err
	if whole && !l.ruined {
		err = nil
	} else if err == nil {
		err = errNoSource
	}
	l.mu.Unlock()
	switch {
	case end && l.seen != nil:
		r.closePrefetch(j, err)
	case end:
		disk, err := r.endFile(j, err)
		l.own.close()
		r.post(func() { r.fetched(j, disk, err) })
	}
}

// repeatBlocks copies the blocks that occur again in a file, and goes on.
func (r *Replica) repeatBlocks(j *fetchJob, repeats []blockCopy) {
	missed, err := r.copyOwn(j, repeats)
	if err != nil {
		j.long.drop(nil, err)
	}
	r.release(nil, j, missed, nil)
}

// abandon deals with the long files in the queue of a peer that has left: they are asked of others, if there are.
func (r *Replica) abandon(q *jobQueue) {
	for _, j := range q.drain() {
		j.long.drop(q, syncproto.ErrClosed)
		r.goOnLong(j)
	}
}

// prepareLong gets the block list of a long file where it did not come along, and sees which blocks are on the own disk.
// These are copied, while streams fetch the others. The error is that of the stream.
func (r *Replica) prepareLong(q *jobQueue, f *syncproto.Fetcher, j *fetchJob) error {
	l := j.long
	err := r.listLong(f, j)
	if err != nil {
		r.release(q, j, nil, err)
		return streamError(err)
	}
	copies, todo, err := r.matchOwn(j)
	if err != nil {
		l.drop(nil, err)
		r.release(q, j, nil, nil)
		return nil
	}
	l.mu.Lock()
	l.todo = todo
	l.mu.Unlock()
	if len(copies) > 0 {
		r.goOnLong(j)
	}
	missed, err := r.copyOwn(j, copies)
	if err != nil {
		l.drop(nil, err)
	}
	r.release(q, j, missed, nil)
	return nil
}

// streamError returns err if it is of the stream, and not what the peer said about one file.
func streamError(err error) error {
	for _, e := range []error{syncproto.ErrGone, syncproto.ErrFailed, syncproto.ErrWrongHash} {
		if errors.Is(err, e) {
			return nil
		}
	}
	return err
}

// listLong sees to the block list.
func (r *Replica) listLong(f *syncproto.Fetcher, j *fetchJob) (err error) {
	own := &j.long.own
	if own.base == nil {
		own.base, _ = r.index.Blocks(j.path) // without it, more is asked for
	}
	if len(j.blocks) == 0 && own.twin != "" {
		if list, err := r.index.Blocks(own.twin); err == nil && list.Root() == j.entry.Content {
			j.blocks = list
		}
	}
	if kept := own.kept; len(j.blocks) == 0 && kept != nil && kept.content == j.entry.Content {
		j.blocks = kept.list
	}
	if len(j.blocks) == 0 {
		j.blocks = j.listTold()
	}
	if len(j.blocks) == 0 {
		if j.blocks, err = f.List(j.path, j.entry.Content, j.entry.Size, own.base); err != nil {
			return err
		}
	}
	if err := j.checkList(); err != nil {
		j.blocks = nil
		return err
	}
	return nil
}

// listTold returns the block list that was told as the difference to that of what stands here; nil: none was, or something else stands here.
func (j *fetchJob) listTold() merkle.BlockList {
	told, base := j.in.differ, j.long.own.base
	if told == nil || base.Root() != told.Base {
		return nil
	}
	list, err := told.List(base, j.in.count, j.entry.Size)
	if err != nil || list.Root() != j.entry.Content || list.Size() != j.entry.Size {
		return nil // it is asked for
	}
	return list
}

// fetchPart fetches some blocks of a long file. The error is that of the stream.
func (r *Replica) fetchPart(q *jobQueue, f *syncproto.Fetcher, j *fetchJob, blocks []int) error {
	l := j.long
	wants := make([]syncproto.Want, len(blocks))
	l.mu.Lock()
	for i, n := range blocks {
		wants[i] = syncproto.Want{Path: j.path, Content: j.entry.Content, Offset: l.offsets[n], Block: j.blocks[n]}
	}
	l.mu.Unlock()
	var left []int
	var refused, own error // by the peer; an error of this node
	next := 0
	err := f.Blocks(wants, func(i int, data []byte, err error) error {
		next = i + 1
		switch {
		case err != nil:
			refused = err
		case own == nil:
			if own = j.write(data, wants[i].Offset); own == nil {
				l.got(blocks[i])
				r.receivedBytes.Add(int64(len(data)))
				return nil
			}
		}
		left = append(left, blocks[i])
		return nil
	})
	left = append(left, blocks[next:]...)
	if own != nil {
		l.drop(nil, own)
	}
	if refused == nil {
		refused = err
	}
	r.release(q, j, left, refused)
	return err
}

// got notes that a block is in the temporary file.
func (l *longFetch) got(block int) {
	l.mu.Lock()
	l.have[block] = true
	l.mu.Unlock()
}

// hasSome tells whether there is anything in the temporary file that is worth keeping.
func (j *fetchJob) hasSome() bool { return j.long != nil && slices.Contains(j.long.have, true) }

// begin sets what there is to know of the blocks, before any is fetched.
func (j *fetchJob) begin(have []bool) {
	l := j.long
	offset := int64(0)
	for _, b := range j.blocks {
		l.offsets = append(l.offsets, offset)
		offset += int64(b.Size)
	}
	l.mu.Lock()
	l.have = have
	l.mu.Unlock()
}
