package replica

import (
	"slices"
	"sync"
)

// A batch of small files has up to batchFiles files of one block each, and batchBytes bytes.
const (
	batchFiles = 64
	batchBytes = 2 << 20
)

// A work is what a stream does next: a batch of small files, or something of a long one; or nothing, but to be opened.
type work struct {
	batch  []*fetchJob
	long   *fetchJob
	blocks []int // to be fetched; nil: the long file is to be prepared
}

func (w *work) nothing() bool { return w.batch == nil && w.long == nil }

// A jobQueue hands fetch jobs to the streams of a peer. Long files take turns, with each other and with batches of small
// ones, and may stand in the queues of several peers. It is safe for concurrent use.
type jobQueue struct {
	mu     sync.Mutex
	cond   sync.Cond
	jobs   []*fetchJob
	ahead  bool // streams are opened before there is work for them
	closed bool
}

func newJobQueue() *jobQueue {
	q := &jobQueue{}
	q.cond.L = &q.mu
	return q
}

// put adds a job, unless it is a long one and there already; false when the queue is closed.
func (q *jobQueue) put(j *fetchJob) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	if j.long == nil {
		q.cond.Signal()
	} else {
		q.cond.Broadcast() // it has work for many
		if slices.Contains(q.jobs, j) {
			return true
		}
	}
	q.jobs = append(q.jobs, j)
	return true
}

// openAhead has all streams opened from now on that were not.
func (q *jobQueue) openAhead() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ahead = true
	q.cond.Broadcast()
}

// take waits for work; nil when the queue is closed. opened tells whether the stream that asks was opened, or that was tried.
func (q *jobQueue) take(opened bool) *work {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		for len(q.jobs) > 0 && !q.closed {
			j := q.jobs[0]
			if j.long == nil {
				return &work{batch: q.batch()}
			}
			q.jobs = q.jobs[1:]
			w, more := j.claim(q)
			if more {
				q.jobs = append(q.jobs, j)
			}
			if w != nil {
				return w
			}
		}
		switch {
		case q.closed:
			return nil
		case q.ahead && !opened:
			return &work{}
		}
		q.cond.Wait()
	}
}

// batch takes the small files at the front.
func (q *jobQueue) batch() []*fetchJob {
	n, bytes := 0, int64(0)
	for n < len(q.jobs) && n < batchFiles && q.jobs[n].long == nil && bytes < batchBytes {
		bytes += q.jobs[n].entry.Size
		n++
	}
	batch := q.jobs[:n:n]
	q.jobs = q.jobs[n:]
	return batch
}

// close ends take, and returns the small files that were never taken. Long ones are left for drain.
func (q *jobQueue) close() (small []*fetchJob) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, j := range q.jobs {
		if j.long == nil {
			small = append(small, j)
		}
	}
	q.jobs = slices.DeleteFunc(q.jobs, func(j *fetchJob) bool { return j.long == nil })
	q.cond.Broadcast()
	return small
}

// drain returns the long files of a queue that is closed, once.
func (q *jobQueue) drain() []*fetchJob {
	q.mu.Lock()
	defer q.mu.Unlock()
	left := q.jobs
	q.jobs = nil
	return left
}
