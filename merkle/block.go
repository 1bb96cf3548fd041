package merkle

import (
	"encoding/binary"
	"fmt"
)

// Sizes of blocks in bytes. They are part of the format, since a file's hash is over its blocks: a file of up to
// MinBlock is one block, longer ones are cut where their content says, AvgBlock apart on average.
const (
	MinBlock = 32 << 10
	AvgBlock = 128 << 10
	MaxBlock = 512 << 10
)

// A Block is a content-defined piece of a file.
type Block struct {
	Hash Hash
	Size uint32 // bytes, 1 to MaxBlock
}

// A BlockList is a file as the sequence of its blocks; empty for an empty file.
type BlockList []Block

// blockSize is the length of an encoded Block: the hash, then the size in little-endian order.
const blockSize = HashSize + 4

// Root returns the file hash: the hash over the encoded list.
func (l BlockList) Root() Hash { return fileDomain.sum(l.Append(nil)) }

// Size returns the length of the file in bytes.
func (l BlockList) Size() (n int64) {
	for _, b := range l {
		n += int64(b.Size)
	}
	return n
}

// Append appends the encoded list: 36 bytes a block.
func (l BlockList) Append(b []byte) []byte {
	for _, block := range l {
		b = append(b, block.Hash[:]...)
		b = binary.LittleEndian.AppendUint32(b, block.Size)
	}
	return b
}

// DecodeBlockList reads what Append wrote.
func DecodeBlockList(b []byte) (BlockList, error) {
	if len(b)%blockSize != 0 {
		return nil, fmt.Errorf("block list of %d bytes: %w", len(b), ErrFormat)
	}
	l := make(BlockList, 0, len(b)/blockSize)
	for ; len(b) > 0; b = b[blockSize:] {
		block := Block{Hash(b[:HashSize]), binary.LittleEndian.Uint32(b[HashSize:])}
		if block.Size == 0 || block.Size > MaxBlock {
			return nil, fmt.Errorf("block of %d bytes: %w", block.Size, ErrFormat)
		}
		l = append(l, block)
	}
	return l, nil
}

// HashBlock returns the name of a block with the given bytes.
func HashBlock(data []byte) Hash { return blockDomain.sum(data) }

// gear is the table of the rolling hash: 256 numbers that look random and are the same everywhere, being the BLAKE3
// output for each byte under a context of its own.
var gear = func() (table [256]uint64) {
	d := newDomain("resonate 2026 gear table")
	for i := range table {
		h := d.sum([]byte{byte(i)})
		table[i] = binary.LittleEndian.Uint64(h[:])
	}
	return table
}()

// The cut masks of FastCDC with normalisation level 2: harder to meet before AvgBlock, easier after it. The gear hash
// shifts left, so its high bits have seen the most bytes.
const (
	maskBefore = (1<<19 - 1) << 45
	maskAfter  = (1<<15 - 1) << 49
)

// Cut returns the length of the first block of data, which must hold MaxBlock bytes or the rest of the file.
// (W. Xia et al., FastCDC, USENIX ATC 2016.)
func Cut(data []byte) int {
	n := min(len(data), MaxBlock)
	if n <= MinBlock {
		return n
	}
	normal := min(n, AvgBlock)
	h, length, found := roll(0, data[MinBlock:normal], maskBefore)
	if found {
		return MinBlock + length
	}
	if _, length, found = roll(h, data[normal:n], maskAfter); found {
		return normal + length
	}
	return n
}

// lane is how many bytes roll takes with one of its two hashes before the next round, and window how many a hash depends on:
// what is older has been shifted out of its 64 bits.
const (
	lane   = 1024
	window = 64
)

// roll takes data into the rolling hash h until the hash has no bit of mask: found, with length bytes taken. It works at
// two places at once, for the processor would otherwise wait for one hash to be ready. The race
// detector sees the bytes as they come from the file; to have it look at each one here again would make half of the work of its tests.
//
//go:norace
func roll(h uint64, data []byte, mask uint64) (_ uint64, length int, found bool) {
	i := 0
	for ; len(data)-i >= 2*lane; i += 2 * lane {
		a, b := data[i:i+lane], data[i+lane:i+2*lane]
		var ahead uint64
		for _, c := range a[lane-window:] {
			ahead = ahead<<1 + gear[c]
		}
		for k := range lane {
			h = h<<1 + gear[a[k]]
			ahead = ahead<<1 + gear[b[k]]
			if h&mask == 0 {
				return h, i + k + 1, true
			}
			if ahead&mask == 0 {
				if h, length, found = rollOn(h, a[k+1:], mask); found {
					return h, i + k + 1 + length, true
				}
				return ahead, i + lane + k + 1, true
			}
		}
		h = ahead
	}
	h, length, found = rollOn(h, data[i:], mask)
	return h, i + length, found
}

// rollOn is roll, at one place.
//
//go:norace
func rollOn(h uint64, data []byte, mask uint64) (_ uint64, length int, found bool) {
	for i, c := range data {
		if h = h<<1 + gear[c]; h&mask == 0 {
			return h, i + 1, true
		}
	}
	return h, len(data), false
}
