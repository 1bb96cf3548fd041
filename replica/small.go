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
		w := q.take(true)
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
	if j.blocks, err = listOfSmall(j.path, j.entry, j.data); err != nil {
		return disk, err
	}
	j.temp += partial
	disk, made, err := r.writeWhole(j.temp, j.entry, j.data)
	if err != nil && made {
		if gone := r.root.Remove("fetch.remove", j.temp); gone != nil && !absent(gone) {
			r.post(func() { r.leave(j.temp, "", gone) })
		}
	}
	return disk, err
}

// listOfSmall returns the block list of a small file, if data is what its entry says.
func listOfSmall(path string, e *merkle.Entry, data []byte) (merkle.BlockList, error) {
	list := merkle.BlockList{}
	if len(data) > 0 {
		list = merkle.BlockList{{Hash: merkle.HashBlock(data), Size: uint32(len(data))}}
	}
	if list.Root() != e.Content || list.Size() != e.Size {
		return nil, fmt.Errorf("%s: %w", path, errOtherBytes)
	}
	return list, nil
}

// writeWhole makes the file temp with all that an entry says, and these bytes. made tells that there is such a file, even after
// an error.
func (r *Replica) writeWhole(temp string, e *merkle.Entry, data []byte) (disk index.Disk, made bool, err error) {
	f, err := r.root.Create("fetch.create", temp, 0o600)
	if err != nil {
		return disk, false, err
	}
	if len(data) > 0 {
		err = writeSparse(f, data, 0)
	}
	if err == nil {
		disk, err = r.dress(f, e)
	}
	return disk, true, errors.Join(err, f.Close())
}
