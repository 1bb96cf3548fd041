package replica

import (
	"errors"
	"fmt"

	"resonate/index"
	"resonate/merkle"
)

// smallWriters write files whose bytes came with their announcements, beside the loop.
const smallWriters = 2

// errOtherBytes tells that the bytes that came with an announcement are not those of the version announced.
var errOtherBytes = errors.New("the bytes that came along are another version's")

// writeSmallFrom writes the files of a queue, each of which has all its bytes, until the queue is closed.
func (r *Replica) writeSmallFrom(q *jobQueue) {
	for {
		w := q.take()
		if w == nil {
			return
		}
		batch := w.batch
		disks := make([]index.Disk, len(batch))
		errs := make([]error, len(batch))
		for i, j := range batch {
			disks[i], errs[i] = r.writeSmall(j)
		}
		r.post(func() {
			for i, j := range batch {
				r.fetched(j, disks[i], errs[i])
			}
		})
	}
}

// writeSmall writes one file. It keeps the name of a partial one until it displaces something: where nothing stands, it
// goes in under that.
func (r *Replica) writeSmall(j *fetchJob) (disk index.Disk, err error) {
	j.blocks = merkle.BlockList{}
	if len(j.data) > 0 {
		j.blocks = merkle.BlockList{{Hash: merkle.HashBlock(j.data), Size: uint32(len(j.data))}}
	}
	if j.blocks.Root() != j.entry.Content || j.blocks.Size() != j.entry.Size {
		return disk, fmt.Errorf("%s: %w", j.path, errOtherBytes)
	}
	j.temp += partial
	f, err := r.root.Create("fetch.create", j.temp, 0o600)
	if err != nil {
		return disk, err
	}
	if len(j.data) > 0 {
		err = writeSparse(f, j.data, 0)
	}
	if err == nil {
		disk, err = r.dress(f, j.entry)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		if gone := r.root.Remove("fetch.remove", j.temp); gone != nil && !absent(gone) {
			r.post(func() { r.leave(j.temp, "", gone) })
		}
	}
	return disk, err
}
