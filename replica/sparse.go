package replica

import (
	"bytes"
	"io"
	"os"
	"sync"

	"resonate/beneath"
	"resonate/merkle"
)

// page is the unit of holes, in bytes: what file systems allocate, nearly all of them.
const page = 4 << 10

var zeroPage [page]byte

// writeSparse writes data at an offset of a new file, and leaves out the pages that are zero: where nothing else was ever written, they
// are holes. endSparse completes the file. Writers of different parts may be at work at once.
func writeSparse(f *os.File, data []byte, offset int64) error {
	for len(data) > 0 {
		n, hole := run(data, offset)
		if !hole {
			if _, err := f.WriteAt(data[:n], offset); err != nil {
				return err
			}
		}
		data, offset = data[n:], offset+int64(n)
	}
	return nil
}

// run returns how many bytes of data, which is to lie at offset, are whole pages of zeros (a hole), or reach up to the next such page.
func run(data []byte, offset int64) (n int, hole bool) {
	for n < len(data) {
		end := min(len(data), n+page-int((offset+int64(n))%page))
		zero := end-n == page && bytes.Equal(data[n:end], zeroPage[:])
		if n > 0 && zero != hole {
			break
		}
		n, hole = end, zero
	}
	return n, hole
}

// copySparse copies a file into a new one.
func copySparse(to *os.File, from io.Reader) error {
	buf := make([]byte, 32*page)
	for offset := int64(0); ; {
		n, err := io.ReadFull(from, buf)
		if err := writeSparse(to, buf[:n], offset); err != nil {
			return err
		}
		offset += int64(n)
		switch {
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			return endSparse(to, offset)
		case err != nil:
			return err
		}
	}
}

// endSparse gives a file that writeSparse has written its size, which holes at its end would leave short.
func endSparse(f *os.File, size int64) error {
	info, err := beneath.Fstat(f)
	if err == nil && info.Size < size {
		err = f.Truncate(size)
	}
	return err
}

// hole is the block that a long run of zeros is cut into.
var hole = sync.OnceValue(func() merkle.Block {
	return merkle.Block{Hash: merkle.HashBlock(make([]byte, merkle.MaxBlock)), Size: merkle.MaxBlock}
})

// isHole tells whether a block is all zeros, and need not be fetched: one of a long run, that is.
func isHole(b merkle.Block) bool { return b.Size == merkle.MaxBlock && b == hole() }
