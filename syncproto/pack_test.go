package syncproto

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"

	"resonate/merkle"
)

// zstdOf compresses data as whoever means harm may do it: with any window, whatever its size.
func zstdOf(t testing.TB, data []byte) []byte {
	t.Helper()
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer enc.Close()
	return enc.EncodeAll(data, nil)
}

// A slowConn takes its time for each byte that is written.
type slowConn struct {
	net.Conn
	perByte time.Duration
	written int
}

func (c *slowConn) Write(b []byte) (int, error) {
	time.Sleep(c.perByte * time.Duration(len(b)))
	c.written += len(b)
	return c.Conn.Write(b)
}

func TestBlocksArePackedWhereItPays(t *testing.T) {
	var text strings.Builder
	for i := 0; text.Len() < 6<<20; i++ {
		fmt.Fprintf(&text, "line %d of a text that says the same again and again\n", i*i)
	}
	for _, row := range []struct {
		name        string
		data        []byte
		perByte     time.Duration
		least, most int // bytes sent, in percent
	}{
		{"text over a slow stream", []byte(text.String()), 100 * time.Nanosecond, 5, 50},
		{"text over a fast stream", []byte(text.String()), time.Nanosecond, 100, 101},
		{"noise over a slow stream", randomData(1, 6<<20), 100 * time.Nanosecond, 100, 101},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := newMemSource()
				wants := src.add(t, "f", row.data)
				a, b := net.Pipe()
				conn := &slowConn{Conn: b, perByte: row.perByte}
				served := make(chan error, 1)
				go func() { served <- Serve(conn, src) }()
				f := NewFetcher(a)
				var got []byte
				err := f.Blocks(wants, func(_ int, data []byte, err error) error {
					got = append(got, data...)
					return err
				})
				if err != nil || !bytes.Equal(got, row.data) {
					t.Errorf("got %d of %d bytes, %v", len(got), len(row.data), err)
				}
				f.Close()
				<-served
				if p := conn.written * 100 / len(row.data); p < row.least || p > row.most {
					t.Errorf("%d%% of the bytes were sent, want %d to %d", p, row.least, row.most)
				}
			})
		})
	}
}

// TestPackGivesUp sees no more blocks of a file compressed when that was of no use.
func TestPackGivesUp(t *testing.T) {
	var p packer
	slow := &meter{bytes: 1 << 20, took: time.Hour} // far slower than any compressor, on however busy a machine
	text, noise := bytes.Repeat([]byte("text"), 1000), randomData(1, 4000)
	for i, step := range []struct {
		data  []byte
		codec uint32
	}{{text, 1}, {noise, 0}, {text, 1}, {noise, 0}, {noise, 0}, {text, 0}, {text, 0}} {
		if data, codec := p.pack(step.data, slow); codec != step.codec || (codec == 0) != bytes.Equal(data, step.data) {
			t.Errorf("block %d: got %d of %d bytes with codec %d, want %d", i, len(data), len(step.data), codec, step.codec)
		}
	}
	p.reset()
	if _, codec := p.pack(text, slow); codec != codecZstd {
		t.Error("the next file is not tried again")
	}
	if _, codec := p.pack(text, &meter{bytes: meterStart - 1, took: time.Second}); codec != codecNone {
		t.Error("compressed before the speed is known")
	}
}

func TestUnpackRefuses(t *testing.T) {
	const size = 146_000
	good := make([]byte, size)
	bomb := zstdOf(t, make([]byte, 64<<20))
	for name, packed := range map[string][]byte{
		"bomb":         bomb,
		"one too many": zstdOf(t, make([]byte, size+1)),
		"too few":      zstdOf(t, make([]byte, size-1)),
		"two frames":   append(zstdOf(t, good), zstdOf(t, good)...),
		"cut off":      zstdOf(t, good)[:10],
		"garbage":      []byte("garbage"),
		"nothing":      nil,
	} {
		var u unpacker
		var err error
		if n := allocatedBy(func() { _, err = u.unpack(packed, size) }); n > 2*merkle.MaxBlock {
			t.Errorf("%s: %d bytes allocated", name, n)
		}
		if !errors.Is(err, ErrWrongHash) {
			t.Errorf("%s: got %v, want ErrWrongHash", name, err)
		}
	}
	if data, err := new(unpacker).unpack(zstdOf(t, good), size); err != nil || !bytes.Equal(data, good) {
		t.Errorf("got %d bytes, %v", len(data), err)
	}
}

// FuzzUnpack has a peer send anything for a block.
func FuzzUnpack(f *testing.F) {
	f.Add(zstdOf(f, []byte("some text, some text, some text")), uint32(31))
	f.Add(zstdOf(f, make([]byte, 1<<20)), uint32(1<<19))
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0xff}, uint32(5))
	var u unpacker
	f.Fuzz(func(t *testing.T, packed []byte, n uint32) {
		size := int(n%merkle.MaxBlock) + 1
		data, err := u.unpack(packed, size)
		if err == nil && len(data) != size || err != nil && !errors.Is(err, ErrWrongHash) {
			t.Errorf("got %d bytes of %d, %v", len(data), size, err)
		}
		if n := cap(u.buf); n > merkle.MaxBlock {
			t.Errorf("buffer of %d bytes for %d", n, size)
		}
	})
}
