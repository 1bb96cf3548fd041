package merkle

import (
	"fmt"
	"io"
	"sync"
)

// Split reads r to its end and returns its blocks. buf is scratch space; a small one is grown to the file's need, and
// what it grew to is returned for the next call.
func Split(r io.Reader, buf []byte) (BlockList, []byte, error) {
	return splitUntil(r, buf, -1)
}

// splitUntil is Split that ends with the block that reaches, or passes, limit bytes; negative: at the end of r.
func splitUntil(r io.Reader, buf []byte, limit int64) (BlockList, []byte, error) {
	if cap(buf) < MinBlock {
		buf = make([]byte, MinBlock)
	}
	buf = buf[:cap(buf)]
	var list BlockList
	var done int64
	start, end := 0, 0
	for eof := false; ; {
		for !eof && end-start < MaxBlock {
			if end == len(buf) {
				buf, start, end = makeRoom(buf, start, end)
			}
			n, err := r.Read(buf[end:])
			end += n
			if err == io.EOF {
				eof = true
			} else if err != nil {
				return nil, buf, err
			}
		}
		if start == end || limit >= 0 && done >= limit {
			return list, buf, nil
		}
		n := Cut(buf[start:end])
		list = append(list, Block{HashBlock(buf[start : start+n]), uint32(n)})
		start += n
		done += int64(n)
	}
}

// makeRoom moves buf[start:end] to the front, into a larger buffer if it fills this one.
func makeRoom(buf []byte, start, end int) ([]byte, int, int) {
	to := buf
	if start < len(buf)/2 && len(buf) < 4*MaxBlock {
		to = make([]byte, min(4*len(buf), 4*MaxBlock))
	}
	n := copy(to, buf[start:end])
	return to, 0, n
}

// Regions of a long file are cut at the same time: each as if a block began where it does, which is seldom so, but the
// cuts fall into step after a few blocks. What is before that is cut again. Sizes in bytes.
const (
	minRegion = 4 << 20
	maxRegion = 64 << 20
)

// scratch are the buffers of SplitAt.
var scratch = sync.Pool{New: func() any { return new(make([]byte, 4*MaxBlock)) }}

// SplitAt returns the blocks of the first size bytes of r, which are those that Split finds, on up to workers goroutines.
// They have ended when it returns; each has a buffer of 2 MiB. Where r ends before size the error is
// io.ErrUnexpectedEOF.
func SplitAt(r io.ReaderAt, size int64, workers int) (BlockList, error) {
	region := min(max((size/int64(max(workers, 1))+MaxBlock-1)/MaxBlock*MaxBlock, minRegion), maxRegion)
	regions := make([]BlockList, max((size+region-1)/region, 1))
	errs := make([]error, len(regions))
	var wg sync.WaitGroup
	var mu sync.Mutex
	next := 0
	for range min(max(workers, 1), len(regions)) {
		wg.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				mu.Unlock()
				if i >= len(regions) {
					return
				}
				start := int64(i) * region
				regions[i], errs[i] = splitFrom(r, start, size, region)
				if errs[i] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return stitch(r, size, region, regions)
}

// splitFrom cuts r from start on, until region bytes are reached, as if a file of size bytes went on there.
func splitFrom(r io.ReaderAt, start, size, region int64) (BlockList, error) {
	buf := scratch.Get().(*[]byte)
	defer scratch.Put(buf)
	list, _, err := splitUntil(io.NewSectionReader(r, start, size-start), *buf, region)
	if err != nil {
		return nil, err
	}
	if list.Size() < min(region, size-start) {
		return nil, fmt.Errorf("split %d bytes: %w", size, io.ErrUnexpectedEOF)
	}
	return list, nil
}

// stitch joins the lists of regions. Where one begins inside the last block of those before, blocks are cut until a cut
// falls on one of its own.
func stitch(r io.ReaderAt, size, region int64, regions []BlockList) (BlockList, error) {
	list := regions[0]
	at := list.Size()
	for i, rest := range regions[1:] {
		start := int64(i+1) * region
		for at < size && at < start+region {
			for len(rest) > 0 && start < at {
				start += int64(rest[0].Size)
				rest = rest[1:]
			}
			if start == at && len(rest) > 0 {
				list = append(list, rest...)
				at += rest.Size()
				break
			}
			one, err := splitFrom(r, at, size, 1)
			if err != nil {
				return nil, err
			}
			list = append(list, one...)
			at += one.Size()
		}
	}
	return list, nil
}
