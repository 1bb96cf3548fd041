package replica

import (
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"resonate/merkle"
)

// ownPlaces is where blocks of a file may be on the own disk. Each block is checked as it is copied, for what lies there
// may be changing.
type ownPlaces struct {
	twin string           // path of a file with the very same content; "": none
	base merkle.BlockList // of what stands at the path itself
	kept *keptPart        // what an earlier try has left; nil: nothing

	files []*os.File // open
}

// close ends the use of what was opened. A kept file whose blocks were copied is needed no more.
func (o *ownPlaces) close() {
	for _, f := range o.files {
		_ = f.Close() // was only read
	}
	o.files = nil
}

// A blockCopy is a block of a long file that is on the own disk.
type blockCopy struct {
	block int
	from  *os.File
	at    int64
	first int // where from is the temporary file itself: the block there
}

// matchOwn opens the temporary file of a long job, where possible the one that an earlier try has left, and finds out
// which blocks to copy and which to fetch. A block that occurs again is fetched once.
func (r *Replica) matchOwn(j *fetchJob) (copies []blockCopy, todo []int, err error) {
	have := make([]bool, len(j.blocks))
	if err := r.openPart(j, have); err != nil {
		return nil, nil, err
	}
	for i, b := range j.blocks {
		have[i] = have[i] || (!j.dense && isHole(b))
	}
	j.begin(have)
	places := j.ownBlocks(r)
	r.addKept(j, places, have)
	for i, b := range j.blocks {
		c, ok := places[b.Hash]
		c.block = i
		switch {
		case have[i]:
			if !ok {
				places[b.Hash] = blockCopy{first: i, from: j.file, at: j.long.offsets[i]}
			}
		case ok && c.from == j.file && !have[c.first]:
			j.long.repeats = append(j.long.repeats, c)
		case ok:
			copies = append(copies, c)
		default:
			places[b.Hash] = blockCopy{first: i, from: j.file, at: j.long.offsets[i]}
			todo = append(todo, i)
		}
	}
	return copies, todo, nil
}

// ownBlocks returns where blocks are, by their hash.
func (j *fetchJob) ownBlocks(r *Replica) map[merkle.Hash]blockCopy {
	own := &j.long.own
	places := make(map[merkle.Hash]blockCopy)
	add := func(path string, list merkle.BlockList, has func(int) bool) {
		if path == "" || len(list) == 0 {
			return
		}
		if f, err := r.root.OpenFile(path); err == nil { // else it is fetched
			own.add(f, list, places, has)
		}
	}
	all := func(int) bool { return true }
	add(own.twin, j.blocks, all)
	add(j.path, own.base, all)
	if p := own.kept; p != nil {
		add(p.temp+partial, p.list, func(i int) bool { return p.have[i] })
	}
	return places
}

// add adds to places those blocks of an open file that it has, by the list of all. The file is closed with o.
func (o *ownPlaces) add(f *os.File, list merkle.BlockList, places map[merkle.Hash]blockCopy, has func(int) bool) {
	o.files = append(o.files, f)
	at := int64(0)
	for i, b := range list {
		if _, ok := places[b.Hash]; !ok && has(i) {
			places[b.Hash] = blockCopy{from: f, at: at}
		}
		at += int64(b.Size)
	}
}

// copyOwn copies blocks from the own disk. It returns those that are not there any more.
func (r *Replica) copyOwn(j *fetchJob, copies []blockCopy) (missed []int, err error) {
	var mu sync.Mutex
	done := make([]bool, len(copies))
	inParallel(len(copies), func(buf []byte, i int) bool {
		failed := r.ctx.Err()
		if failed == nil {
			done[i], failed = j.copyBlock(copies[i], buf[:j.blocks[copies[i].block].Size])
		}
		if failed != nil {
			mu.Lock()
			err = failed
			mu.Unlock()
		}
		return failed == nil
	})
	for i, c := range copies {
		if !done[i] {
			missed = append(missed, c.block)
		}
	}
	return missed, err
}

// copyBlock copies one block, if it is what it should be. The error is that of writing.
func (j *fetchJob) copyBlock(c blockCopy, buf []byte) (ok bool, err error) {
	if _, err := c.from.ReadAt(buf, c.at); err != nil || merkle.HashBlock(buf) != j.blocks[c.block].Hash {
		return false, nil
	}
	if err := j.write(buf, j.long.offsets[c.block]); err != nil {
		return false, err
	}
	j.long.got(c.block)
	return true, nil
}

// inRow is how many blocks a goroutine works on in a row.
const inRow = 16

// blockBuffers hold one block each.
var blockBuffers = sync.Pool{New: func() any { return new([merkle.MaxBlock]byte) }}

// inParallel calls do for each of n blocks, on all processors, with room for a block, until it returns false.
func inParallel(n int, do func(buf []byte, i int) bool) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(runtime.NumCPU(), (n+inRow-1)/inRow) {
		wg.Go(func() {
			buf := blockBuffers.Get().(*[merkle.MaxBlock]byte)
			defer blockBuffers.Put(buf)
			for {
				start := int(next.Add(inRow)) - inRow
				for i := start; i < min(start+inRow, n); i++ {
					if !do(buf[:], i) {
						next.Store(int64(n))
						return
					}
				}
				if start >= n {
					return
				}
			}
		})
	}
	wg.Wait()
}
