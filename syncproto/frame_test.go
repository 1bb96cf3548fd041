package syncproto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"testing"
	"testing/iotest"

	"go.uber.org/goleak"

	"resonate/merkle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// allocatedBy returns how many bytes f allocates, with what else happens meanwhile.
func allocatedBy(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestFrames(t *testing.T) {
	sizes := []int{0, 1, 127, 128, streamBuffer - 1, streamBuffer, streamBuffer + 1, 1 << 20, MaxFrame, 3, 200000}
	var stream []byte
	for i, n := range sizes {
		stream = binary.AppendUvarint(stream, uint64(n))
		stream = append(stream, bytes.Repeat([]byte{byte(i + 1)}, n)...)
	}
	for name, r := range map[string]io.Reader{
		"at once": bytes.NewReader(stream), "halved": iotest.HalfReader(bytes.NewReader(stream)),
	} {
		reader := newFrameReader(r)
		for i, n := range sizes {
			got, err := reader.next(MaxFrame)
			if err != nil || !bytes.Equal(got, bytes.Repeat([]byte{byte(i + 1)}, n)) {
				t.Fatalf("%s: frame %d: got %d bytes, %v; want %d", name, i, len(got), err, n)
			}
		}
		if _, err := reader.next(MaxFrame); err != io.EOF {
			t.Errorf("%s: got %v at the end, want io.EOF", name, err)
		}
	}
}

func TestFrameErrors(t *testing.T) {
	broken := errors.New("broken")
	rows := []struct {
		name string
		r    io.Reader
		want error
	}{
		{"cut in length", bytes.NewReader([]byte{0x80}), io.ErrUnexpectedEOF},
		{"cut before body", bytes.NewReader([]byte{2}), io.ErrUnexpectedEOF},
		{"cut in body", bytes.NewReader([]byte{2, 1}), io.ErrUnexpectedEOF},
		{"endless length", bytes.NewReader(bytes.Repeat([]byte{0x80}, 20)), merkle.ErrFormat},
		{"endless length, cut", bytes.NewReader(bytes.Repeat([]byte{0x80}, 10)), merkle.ErrFormat},
		{"broken", iotest.ErrReader(broken), broken},
		{"broken in body", io.MultiReader(bytes.NewReader([]byte{2, 1}), iotest.ErrReader(broken)), broken},
	}
	for _, row := range rows {
		if _, err := newFrameReader(row.r).next(100); !errors.Is(err, row.want) {
			t.Errorf("%s: got %v, want %v", row.name, err, row.want)
		}
	}
}

func TestFrameTooLong(t *testing.T) {
	rows := []struct {
		stream []byte
		want   TooLong
	}{
		{[]byte{101, byte(KindRoot)<<3 | 2}, TooLong{KindRoot, 101, 100}},
		{[]byte{101}, TooLong{0, 101, 100}},
		{[]byte{255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 0}, TooLong{0, 1<<64 - 1, 100}},
	}
	for _, row := range rows {
		_, err := newFrameReader(bytes.NewReader(row.stream)).next(100)
		var got *TooLong
		if !errors.As(err, &got) || *got != row.want {
			t.Errorf("%v: got %v, want %v", row.stream, err, &row.want)
		}
	}
}

// A length alone costs no memory.
func TestFrameAllocation(t *testing.T) {
	stream := append(binary.AppendUvarint(nil, MaxFrame), make([]byte, 100<<10)...)
	got := allocatedBy(func() {
		if _, err := newFrameReader(bytes.NewReader(stream)).next(MaxFrame); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("got %v, want io.ErrUnexpectedEOF", err)
		}
	})
	if got > 1<<20 {
		t.Errorf("%d bytes allocated for 100 KiB of a frame", got)
	}
}
