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
	maxRegion = 16 << 20
)

// scratch are the buffers of SplitAt.
var scratch = sync.Pool{New: func() any { return new(make([]byte, 4*MaxBlock)) }}

// SplitAt returns the blocks of the first size bytes of r, which are those that Split finds, on up to workers goroutines.
// They have ended when it returns; each has a buffer of 2 MiB. Where r ends before size the error is
// io.ErrUnexpectedEOF. grown, unless nil, is told each time by which blocks the beginning of the list that is known has
// grown, by one goroutine at a time, while others wait for it.
func SplitAt(r io.ReaderAt, size int64, workers int, grown func(BlockList)) (BlockList, error) {
	region := min(max((size/int64(max(workers, 1))+MaxBlock-1)/MaxBlock*MaxBlock, minRegion), maxRegion)
	count := int(max((size+region-1)/region, 1))
	s := stitching{r: r, size: size, region: region, ready: make([]BlockList, count)}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	next := 0
	take := func() (i int, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		next++
		return next - 1, next <= count && failed == nil
	}
	put := func(i int, list BlockList, err error) {
		mu.Lock()
		defer mu.Unlock()
		before := len(s.list)
		if err == nil && failed == nil {
			err = s.add(i, list)
		}
		if failed == nil {
			failed = err
		}
		if failed == nil && grown != nil && len(s.list) > before {
			grown(s.list[before:len(s.list):len(s.list)])
		}
	}
	for range min(max(workers, 1), count) {
		wg.Go(func() {
			for i, ok := take(); ok; i, ok = take() {
				list, err := splitFrom(r, int64(i)*region, size, region)
				put(i, list, err)
			}
		})
	}
	wg.Wait()
	if failed != nil {
		return nil, failed
	}
	return s.list, nil
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

// A stitching joins the lists of regions, as they become ready, to that of the file.
type stitching struct {
	r            io.ReaderAt
	size, region int64
	ready        []BlockList // of regions that were cut and are not joined yet; none is empty, save that of an empty file
	next         int         // the first region that is not joined
	list         BlockList   // of all before
	at           int64       // where that ends
}

// add takes in the list of region i, and joins what can be joined.
func (s *stitching) add(i int, list BlockList) error {
	s.ready[i] = list
	for s.next < len(s.ready) && s.ready[s.next] != nil {
		rest := s.ready[s.next]
		s.ready[s.next] = nil
		if err := s.join(int64(s.next)*s.region, rest); err != nil {
			return err
		}
		s.next++
	}
	return nil
}

// join joins the list of the region that begins at start. Where that is inside the last block of those before, blocks are
// cut until a cut falls on one of its own.
func (s *stitching) join(start int64, rest BlockList) error {
	end := start + s.region
	for s.at < s.size && s.at < end {
		for len(rest) > 0 && start < s.at {
			start += int64(rest[0].Size)
			rest = rest[1:]
		}
		if start == s.at && len(rest) > 0 {
			s.list = append(s.list, rest...)
			s.at += rest.Size()
			return nil
		}
		one, err := splitFrom(s.r, s.at, s.size, 1)
		if err != nil {
			return err
		}
		s.list = append(s.list, one...)
		s.at += one.Size()
	}
	return nil
}
