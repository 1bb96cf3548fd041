package syncproto

import (
	"io"
	"time"

	"github.com/klauspost/compress/zstd"

	"resonate/merkle"
)

// The codecs of blocks. Part of the format.
const (
	codecNone = 0
	codecZstd = 1
)

// A block is compressed where the stream is slow, and only while that makes the blocks of the file smaller by an eighth.
// A stream of less than 50 MB/s is slow, if packing is twice as fast at least: on faster ones, four of which are in use at
// once, it would be the processor that is short.
const (
	slowStream = 20        // nanoseconds a byte
	packGain   = 8         // a block must get smaller by one part in so many
	packTries  = 2         // blocks in a row that do not, before a file is given up
	meterStart = 512 << 10 // bytes that tell nothing yet: they went into buffers
	meterSpan  = 4 << 20   // bytes over which speed is taken
)

// A meter tells how long bytes take, lately.
type meter struct {
	bytes int64
	took  time.Duration
}

func (m *meter) add(n int, d time.Duration) {
	m.bytes += int64(n)
	m.took += d
	if m.bytes > meterSpan {
		m.bytes /= 2
		m.took /= 2
	}
}

// perByte returns how many nanoseconds a byte takes.
func (m *meter) perByte() float64 { return float64(m.took) / float64(max(m.bytes, 1)) }

// slow tells whether what was written tells of a slow stream.
func (m *meter) slow() bool { return m.bytes >= meterStart && m.perByte() > slowStream }

// A timedWriter measures what is written.
type timedWriter struct {
	w     io.Writer
	meter meter
}

func (t *timedWriter) Write(b []byte) (int, error) {
	start := time.Now()
	n, err := t.w.Write(b)
	t.meter.add(n, time.Since(start))
	return n, err
}

// A packer compresses the blocks of one file after another, where it pays. Its zero value is ready.
type packer struct {
	enc     *zstd.Encoder
	packing meter
	useless int // blocks of this file in a row that it was no use to compress
	out     []byte
}

// reset begins another file.
func (p *packer) reset() { p.useless = 0 }

// pack returns the bytes to send for data, and their codec. They are valid until the next call.
func (p *packer) pack(data []byte, stream *meter) ([]byte, uint32) {
	if !stream.slow() || stream.perByte() < 2*p.packing.perByte() || p.useless >= packTries {
		return data, codecNone
	}
	if p.enc == nil {
		p.enc = newEncoder()
	}
	start := time.Now()
	p.out = p.enc.EncodeAll(data, p.out[:0])
	p.packing.add(len(data), time.Since(start))
	if len(p.out) > len(data)-len(data)/packGain {
		p.useless++
		return data, codecNone
	}
	p.useless = 0
	return p.out, codecZstd
}

// newEncoder returns an encoder of whole blocks. It has no goroutine, and takes 1.3 MB from its first use on.
func newEncoder() *zstd.Encoder {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(merkle.MaxBlock), zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic(err) // of options that are constant
	}
	return enc
}

// An unpacker decompresses blocks. Its zero value is ready.
type unpacker struct {
	dec *zstd.Decoder // has no goroutine, for whole blocks are decoded
	buf []byte
}

// unpack decompresses a block of size bytes. The result has exactly that many, and is valid until the next call;
// otherwise the error is ErrWrongHash. No more memory is taken than for a block and a window of one.
func (u *unpacker) unpack(packed []byte, size int) ([]byte, error) {
	if u.dec == nil {
		dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(merkle.MaxBlock), zstd.WithDecoderMaxWindow(merkle.MaxBlock), zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			panic(err) // of options that are constant
		}
		u.dec = dec
	}
	if cap(u.buf) < size {
		u.buf = make([]byte, size)
	}
	data, err := u.dec.DecodeAll(packed, u.buf[:0:size])
	if err != nil || len(data) != size {
		return nil, ErrWrongHash
	}
	return data, nil
}
