package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"resonate/beneath"
	"resonate/index"
	"resonate/merkle"
	"resonate/syncproto"
)

// Each peer is asked over fetchStreams block streams at once. A stream works on one long file, or on a batch of small
// ones: up to batchFiles files of one block each and batchBytes bytes.
const (
	fetchStreams = 4
	batchFiles   = 64
	batchBytes   = 2 << 20
)

// A fetchJob is one file to be had from a peer.
type fetchJob struct {
	in     *incoming
	path   string // where the peer has it
	entry  *merkle.Entry
	blocks merkle.BlockList // nil: to be asked for
	data   []byte
	base   merkle.BlockList // of what stands here
	temp   string
	file   *os.File
}

// errNoSource tells that no peer that has a file is connected.
var errNoSource = errors.New("no peer that has it is connected")

// fetch has the content of an incoming version fetched from the last peer that announced it and is still there.
func (r *Replica) fetch(in *incoming) error {
	e := in.theirs
	job := &fetchJob{in: in, path: in.path, entry: e, blocks: in.blocks, data: in.data, temp: r.tempName()}
	if e.Size == 0 || (int64(len(in.data)) == e.Size && e.Size > 0) {
		if !r.fetchLocal.put(job) {
			return ErrStopped
		}
		in.fetching = true
		return nil
	}
	p := r.source(in)
	if p == nil {
		return errNoSource
	}
	if len(job.blocks) == 0 {
		job.base, _ = r.blockList(in.path)
	}
	if !p.jobs.put(job) {
		return errNoSource
	}
	in.fetching = true
	return nil
}

// source returns a connected peer to ask: the one that announced it last, or for what is reinstated any.
func (r *Replica) source(in *incoming) *peer {
	for i := len(in.from) - 1; i >= 0; i-- {
		if p := in.from[i]; r.peers[p.id] == p {
			return p
		}
	}
	var any *peer
	for _, n := range sortedNodes(r.peers) { // another may have it by now; a different one at each try
		if p := r.peers[n]; any == nil || in.tries%len(r.peers) > 0 {
			any = p
		}
	}
	return any
}

// jobQueue hands fetch jobs to the streams of a peer. It is safe for concurrent use.
type jobQueue struct {
	mu     sync.Mutex
	cond   sync.Cond
	jobs   []*fetchJob
	closed bool
}

func newJobQueue() *jobQueue {
	q := &jobQueue{}
	q.cond.L = &q.mu
	return q
}

// put adds a job; false when the queue is closed already.
func (q *jobQueue) put(j *fetchJob) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.jobs = append(q.jobs, j)
	q.cond.Signal()
	return true
}

// take waits for work: one long file, or a batch of small ones; nil when the queue is closed.
func (q *jobQueue) take() []*fetchJob {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.jobs) == 0 && !q.closed {
		q.cond.Wait()
	}
	if q.closed {
		return nil
	}
	n, bytes := 0, int64(0)
	for n < len(q.jobs) && n < batchFiles && q.jobs[n].small() && bytes < batchBytes {
		bytes += q.jobs[n].entry.Size
		n++
	}
	n = max(n, 1)
	batch := q.jobs[:n:n]
	q.jobs = q.jobs[n:]
	return batch
}

// close ends take, and returns what was never taken.
func (q *jobQueue) close() []*fetchJob {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	left := q.jobs
	q.jobs = nil
	q.cond.Broadcast()
	return left
}

func (j *fetchJob) small() bool { return len(j.blocks) == 1 || len(j.data) > 0 || j.entry.Size == 0 }

// fetchFrom works on the jobs of a queue over one block stream, until the queue is closed.
func (r *Replica) fetchFrom(q *jobQueue, open func() (io.ReadWriteCloser, error)) {
	var f *syncproto.Fetcher
	for {
		batch := q.take()
		if batch == nil {
			break
		}
		if f == nil {
			stream, err := open()
			if err != nil {
				r.fetchedAll(batch, err)
				continue
			}
			f = syncproto.NewFetcher(stream)
		}
		if err := r.fetchBatch(f, batch); err != nil {
			f.Close()
			f = nil
		}
	}
	if f != nil {
		f.Close()
	}
}

func (r *Replica) fetchedAll(batch []*fetchJob, err error) {
	r.post(func() {
		for _, j := range batch {
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
		if err := r.beginFile(f, j); err != nil {
			failed[j] = err
			continue
		}
		offset := int64(0)
		for _, b := range j.blocks {
			wants = append(wants, syncproto.Want{Path: j.path, Content: j.entry.Content, Offset: offset, Block: b})
			whose = append(whose, j)
			offset += int64(b.Size)
		}
	}
	var err error
	if len(wants) > 0 {
		err = f.Blocks(wants, func(i int, data []byte, err error) error {
			j := whose[i]
			if err == nil && failed[j] == nil {
				_, err = j.file.WriteAt(data, wants[i].Offset)
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
		if err != nil && failed[j] == nil {
			failed[j] = err
		}
		disks[i], failed[j] = r.endFile(j, failed[j])
	}
	r.post(func() {
		for i, j := range batch {
			r.fetched(j, disks[i], failed[j])
		}
	})
	return err
}

// beginFile opens the temporary file of a job, and gets its block list where that did not come along.
func (r *Replica) beginFile(f *syncproto.Fetcher, j *fetchJob) (err error) {
	if len(j.blocks) == 0 {
		j.blocks, err = f.List(j.path, j.entry.Content, j.entry.Size, j.base)
	}
	if err == nil && (j.blocks.Root() != j.entry.Content || j.blocks.Size() != j.entry.Size) {
		err = fmt.Errorf("block list of %.200q: %w", j.path, syncproto.ErrWrongHash)
	}
	if err != nil {
		return err
	}
	j.file, err = r.root.Create("fetch.create", j.temp+partial, 0o600)
	return err
}

// dress gives a temporary file that has all its bytes the metadata of its entry.
func (r *Replica) dress(f *os.File, e *merkle.Entry) (index.Disk, error) {
	if err := r.root.At("fetch.complete"); err != nil {
		return index.Disk{}, err
	}
	if err := beneath.FchmodMTime(f, e.Mode&appliedMode, e.MTime); err != nil {
		return index.Disk{}, err
	}
	info, err := beneath.Fstat(f)
	return diskOf(info), err
}

// endFile gives a complete temporary file its metadata and its final name, and removes any other.
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
	if err != nil {
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
	switch {
	case err == nil:
		in.temp, in.disk, in.fetched = j.temp, disk, j.blocks
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

// A blockSource serves this node's files to a peer.
type blockSource struct{ r *Replica }

// OpenContent implements syncproto.Source.
func (s blockSource) OpenContent(path string, content merkle.Hash) (syncproto.Content, error) {
	if beneath.Valid(path) != nil || isOurs(path) {
		return nil, syncproto.ErrGone
	}
	var has bool
	err := s.r.do(s.r.ctx, func() {
		e := s.r.tree.Get(path)
		has = e.Live() && e.Kind == merkle.File && e.Content == content && s.r.diskAt(path).Kind == merkle.File
	})
	if err != nil || !has {
		return nil, syncproto.ErrGone
	}
	f, err := s.r.root.OpenFile(path)
	if err != nil {
		return nil, syncproto.ErrGone
	}
	return f, nil
}

// List implements syncproto.Source.
func (s blockSource) List(path string, content merkle.Hash) (list merkle.BlockList, err error) {
	f, err := s.OpenContent(path, content)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if doErr := s.r.do(s.r.ctx, func() { list, err = s.r.blockList(path) }); doErr != nil {
		return nil, syncproto.ErrGone
	}
	if err == nil && list.Root() == content {
		return list, nil
	}
	list, _, err = merkle.Split(io.NewSectionReader(f, 0, 1<<62), nil) // not at hand: a conflict copy, or after a crash
	if err != nil || list.Root() != content {
		return nil, syncproto.ErrGone
	}
	return list, nil
}
