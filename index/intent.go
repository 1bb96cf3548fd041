package index

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"google.golang.org/protobuf/encoding/protowire"

	"resonate/merkle"
)

// An Intent is what a swap is about to do.
type Intent struct {
	Path   string           // where the swap happens
	Entry  *merkle.Entry    // what comes in
	Old    merkle.Hash      // content hash of what stood there; zero: nothing
	Disk   Disk             // of the temporary file before the swap
	Hint   int64            // a directory's mtime, nanoseconds since 1970
	Blocks merkle.BlockList // of what comes in; of a file of more than 65,536 blocks (some 8 GiB) they are left out
	Temp   string           // relative path of the temporary file, which holds the displaced content after an exchange
	Kept   string           // where in the history the displaced file goes; empty: nowhere
	From   string           // of a move: the path from which all of it comes; Disk is then that of what moves
}

// Bounds of one intent.
const (
	maxIntent       = 4 << 20  // bytes of the message
	maxIntentBlocks = 64 << 10 // blocks; 2.25 MiB
)

// intentHead is the length of what stands before a message: its length and its CRC32C, 4 bytes each, little-endian.
const intentHead = 8

// Field numbers; part of the format.
const (
	intentPath   = 1 // bytes
	intentEntry  = 2 // bytes: the canonical bytes of the entry
	intentOld    = 3 // bytes
	intentDisk   = 4 // message, as in a record
	intentHint   = 5 // fixed64
	intentBlocks = 6 // bytes
	intentTemp   = 7 // bytes
	intentKept   = 8 // bytes
	intentFrom   = 9 // bytes
)

var intentShape = shape{types: []protowire.Type{length, length, length, length, fixed, length, length, length, length}}

func appendIntent(b []byte, i Intent) []byte {
	var scratch [512]byte
	b = merkle.AppendBytes(b, intentPath, i.Path)
	if i.Entry != nil {
		b = merkle.AppendBytes(b, intentEntry, i.Entry.Append(scratch[:0]))
	}
	b = appendHash(b, intentOld, i.Old)
	b = merkle.AppendBytes(b, intentDisk, appendDisk(scratch[:0], i.Disk))
	b = appendFixed(b, intentHint, i.Hint)
	b = merkle.AppendBytes(b, intentBlocks, i.Blocks.Append(scratch[:0]))
	b = merkle.AppendBytes(b, intentTemp, i.Temp)
	b = merkle.AppendBytes(b, intentKept, i.Kept)
	return merkle.AppendBytes(b, intentFrom, i.From)
}

// decodeIntent reads what appendIntent wrote. It keeps no reference to b, and drops unknown fields.
func decodeIntent(b []byte) (i Intent, err error) {
	err = intentShape.fields(b, func(f merkle.Field) (err error) {
		switch f.Number {
		case intentPath:
			i.Path = string(f.Bytes)
		case intentEntry:
			i.Entry, err = merkle.DecodeEntry(f.Bytes)
		case intentOld:
			err = setHash(&i.Old, f.Bytes)
		case intentDisk:
			i.Disk, err = decodeDisk(f.Bytes)
		case intentHint:
			i.Hint = int64(f.Uint)
		case intentBlocks:
			i.Blocks, err = merkle.DecodeBlockList(f.Bytes)
		case intentTemp:
			i.Temp = string(f.Bytes)
		case intentKept:
			i.Kept = string(f.Bytes)
		case intentFrom:
			i.From = string(f.Bytes)
		}
		return err
	})
	if err == nil && i.Path == "" {
		err = fmt.Errorf("intent without path: %w", merkle.ErrFormat)
	}
	return i, err
}

// frameIntent appends the log record of i.
func frameIntent(b []byte, i Intent) ([]byte, error) {
	if len(i.Blocks) > maxIntentBlocks {
		i.Blocks = nil
	}
	start := len(b)
	out := appendIntent(append(b, make([]byte, intentHead)...), i)
	message := out[start+intentHead:]
	if len(message) > maxIntent {
		return b[:start], fmt.Errorf("intent of %d bytes, at most %d allowed", len(message), maxIntent)
	}
	if _, err := decodeIntent(message); err != nil { // nobody would find it after a crash
		return b[:start], err
	}
	binary.LittleEndian.PutUint32(out[start:], uint32(len(message)))
	binary.LittleEndian.PutUint32(out[start+4:], crc32.Checksum(message, castagnoli))
	return out, nil
}

// readIntents reads log records up to the first that is torn: cut off, or of a wrong checksum. What stands behind it
// has no known beginning, and is ignored. A record that is whole but makes no sense is skipped. r holds size bytes;
// no more than these are allocated for a record, whatever its head says.
func readIntents(r io.Reader, size int64) []Intent {
	var intents []Intent
	in := bufio.NewReader(r)
	for size >= intentHead {
		var head [intentHead]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			break
		}
		size -= intentHead
		n := int64(binary.LittleEndian.Uint32(head[:]))
		if n == 0 || n > min(size, maxIntent) { // 0: blocks of zeros, as a loss of power leaves them
			break
		}
		message := make([]byte, n)
		if _, err := io.ReadFull(in, message); err != nil {
			break
		}
		size -= n
		if crc32.Checksum(message, castagnoli) != binary.LittleEndian.Uint32(head[4:]) {
			break
		}
		if i, err := decodeIntent(message); err == nil {
			intents = append(intents, i)
		}
	}
	return intents
}
