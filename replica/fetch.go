package replica

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"resonate/index"
	"resonate/merkle"
	"resonate/syncproto"
)

// nearStreams and farStreams are over how many block streams at once a peer is asked: one nearer than farRTT, and others. A stream
// works on a part of a long file, or on a batch of small ones, and asks for the next when that has come: the longer an
// answer takes, the more of them it takes to keep the line busy.
const (
	nearStreams = 4
	farStreams  = 12
	farRTT      = 20 * time.Millisecond
)

// A fetchJob is one file to be had from peers.
type fetchJob struct {
	in     *incoming
	path   string // where the peers have it
	entry  *merkle.Entry
	blocks merkle.BlockList // nil: to be asked for
	data   []byte
	temp   string
	file   *os.File
	dense  bool       // something else may be in the file: zeros are written, too
	long   *longFetch // nil: it is fetched with others, in a batch
	from   *peer      // who offered it, where it is prefetched
}

// errNoSource tells that no peer that has a file is connected.
var errNoSource = errors.New("no peer that has it is connected")

// fetch has the content of an incoming version fetched: a small file from the last peer that announced it and is still
// there, a long one from all of them.
func (r *Replica) fetch(in *incoming) error {
	e := in.theirs
	job := &fetchJob{in: in, path: in.path, entry: e, blocks: in.blocks, data: in.data, temp: r.tempName()}
	if e.Size == 0 || int64(len(in.data)) == e.Size {
		if !r.fetchLocal.put(job) {
			return ErrStopped
		}
		in.fetching = true
		return nil
	}
	peers := r.sources(in)
	if len(peers) == 0 {
		return errNoSource
	}
	if err := r.awaitPrefetch(in.path, e.Content); err != nil {
		return err
	}
	if twin := r.twin(e); len(job.blocks) != 1 || twin != "" {
		if path, ok := r.sameUnderway(in); ok {
			return waitError{path}
		}
		r.fetchLong(job, peers, twin)
	}
	if !peers[0].jobs.put(job) {
		if job.long != nil { // what an earlier try has left is for the next one
			r.keepParts(job, nil)
			r.landed(in)
		}
		return errNoSource
	}
	in.fetching, in.job = true, job
	return nil
}

// sources returns the connected peers to ask: those that announced it, the last one first; or for what is reinstated
// any one.
func (r *Replica) sources(in *incoming) []*peer {
	var out []*peer
	for _, p := range slices.Backward(in.from) {
		if r.peers[p.id] == p && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	if len(out) > 0 || len(r.peers) == 0 {
		return out
	}
	nodes := sortedNodes(r.peers) // another may have it by now; a different one at each try
	return []*peer{r.peers[nodes[in.tries%len(nodes)]]}
}

// reach has a peer that is found to be far asked over more streams, all of which are opened at once: with the first work for them, that
// would cost it a round trip.
func (r *Replica) reach(p *peer) {
	if p.far || p.link.RTT() < farRTT {
		return
	}
	p.far = true
	p.jobs.openAhead()
	for range farStreams - nearStreams {
		r.workers.Go(func() { r.fetchFrom(p.jobs, p.open) })
	}
}

// fetchFrom works on the jobs of a queue over one block stream, until the queue is closed.
func (r *Replica) fetchFrom(q *jobQueue, open func() (io.ReadWriteCloser, error)) {
	var f *syncproto.Fetcher
	tried := false // to open a stream
	for {
		w := q.take(tried)
		if w == nil {
			break
		}
		if f == nil {
			tried = true
			stream, err := open()
			if err != nil {
				r.fetchedNothing(q, w, err)
				continue
			}
			f = syncproto.NewFetcher(stream)
		}
		var err error
		switch {
		case w.nothing():
		case w.long == nil:
			err = r.fetchBatch(f, w.batch)
		case w.blocks == nil:
			err = r.prepareLong(q, f, w.long)
		default:
			err = r.fetchPart(q, f, w.long, w.blocks)
		}
		if err != nil {
			f.Close()
			f = nil
		}
	}
	if f != nil {
		f.Close()
	}
	r.abandon(q)
}

// fetchedNothing gives work back for which there is no stream.
func (r *Replica) fetchedNothing(q *jobQueue, w *work, err error) {
	if w.long != nil {
		r.release(q, w.long, w.blocks, err)
		return
	}
	r.post(func() {
		for _, j := range w.batch {
			r.fetched(j, index.Disk{}, err)
		}
	})
}

// fetchBatch fetches a batch and hands the outcome of each to the loop. The error is that of the stream.
func (r *Replica) fetchBatch(f *syncproto.Fetcher, batch []*fetchJob) error {
	var wants []syncproto.Want
	var whose []*fetchJob
	failed := make(map[*fetchJob]error)
	for _, j := range batch {
		if err := r.beginFile(j); err != nil {
			failed[j] = err
			continue
		}
		offset := int64(0)
		for _, b := range j.blocks {
			if !isHole(b) {
				wants = append(wants, syncproto.Want{Path: j.path, Content: j.entry.Content, Offset: offset, Block: b})
				whose = append(whose, j)
			}
			offset += int64(b.Size)
		}
	}
	var err error
	if len(wants) > 0 {
		err = f.Blocks(wants, func(i int, data []byte, err error) error {
			j := whose[i]
			if err == nil && failed[j] == nil {
				err = j.write(data, wants[i].Offset)
				r.receivedBytes.Add(int64(len(data)))
			}
			if err != nil && failed[j] == nil {
				failed[j] = err
			}
			return nil
		})
	}
	disks := make([]index.Disk, len(batch))
	for i, j := range batch {
		disks[i], failed[j] = r.endFile(j, cmp.Or(failed[j], err))
	}
	r.post(func() {
		for i, j := range batch {
			r.fetched(j, disks[i], failed[j])
		}
	})
	return err
}

// beginFile opens the temporary file of a job of a batch.
func (r *Replica) beginFile(j *fetchJob) (err error) {
	if err := j.checkList(); err != nil {
		return err
	}
	j.file, err = r.root.Create("fetch.create", j.temp+partial, 0o600)
	return err
}

// checkList checks that the block list is that of the entry.
func (j *fetchJob) checkList() error {
	if j.blocks.Root() != j.entry.Content || j.blocks.Size() != j.entry.Size {
		return fmt.Errorf("block list of %.200q: %w", j.path, syncproto.ErrWrongHash)
	}
	return nil
}

// write puts data that was checked in its place: all that is fetched or copied into a temporary file goes through here.
func (j *fetchJob) write(data []byte, offset int64) error {
	if j.dense {
		_, err := j.file.WriteAt(data, offset)
		return err
	}
	return writeSparse(j.file, data, offset)
}

// dress gives a temporary file that has all its bytes the metadata of its entry.
func (r *Replica) dress(f *os.File, e *merkle.Entry) (index.Disk, error) {
	if err := r.root.At("fetch.complete"); err != nil {
		return index.Disk{}, err
	}
	return r.finishFile(f, e)
}

// endFile gives a complete temporary file its metadata and its final name. Of any other, that of a long file stays if
// something is in it.
func (r *Replica) endFile(j *fetchJob, err error) (disk index.Disk, _ error) {
	if j.file == nil {
		return disk, err
	}
	if err == nil {
		disk, err = r.dress(j.file, j.entry)
	}
	err = errors.Join(err, j.file.Close())
	if err == nil {
		err = r.root.Move("fetch.whole", j.temp+partial, j.temp)
	}
	if err != nil && !j.hasSome() {
		if gone := r.root.Remove("fetch.remove", j.temp+partial); gone != nil && !absent(gone) {
			r.post(func() { r.leave(j.temp+partial, "", gone) })
		}
	}
	return disk, err
}

// fetched goes on with a version whose content was fetched, or not.
func (r *Replica) fetched(j *fetchJob, disk index.Disk, err error) {
	in := j.in
	in.fetching = false
	in.data = nil
	if j.long != nil {
		r.keepParts(j, err)
		if err != nil {
			r.landed(in)
		}
	}
	switch {
	case in.aside != nil:
		in.aside(j.temp, err)
		return
	case err == nil:
		in.temp, in.disk, in.fetched = j.temp, disk, j.blocks
		r.keepFresh(j.entry.Content, j.data)
	case errors.Is(err, syncproto.ErrGone) || errors.Is(err, context.Canceled):
		in.tries++
		in.after = time.Now().Add(min(20*time.Millisecond<<min(in.tries, 7), 2*time.Second)) // it has another version by now, and will tell
	case errors.Is(err, errOtherBytes): // it changed there while it was announced: it is asked for, or announced anew
	case errors.Is(err, syncproto.ErrClosed):
		in.after = time.Now().Add(50 * time.Millisecond)
	default:
		if r.ctx.Err() == nil {
			r.blocked(in, err, time.Now())
		}
	}
	r.resume(in.path)
}
