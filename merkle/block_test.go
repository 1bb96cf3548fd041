package merkle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func noise(seed uint64, n int) []byte {
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	b := make([]byte, n)
	rand.NewChaCha8(key).Read(b) // never fails
	return b
}

// cutAll is what Split must return, from the whole data in memory.
func cutAll(data []byte) (l BlockList) {
	for len(data) > 0 {
		n := Cut(data)
		l = append(l, Block{HashBlock(data[:n]), uint32(n)})
		data = data[n:]
	}
	return l
}

// randomReader reads up to most bytes at a time, at times none.
type randomReader struct {
	r    io.Reader
	rand *rand.Rand
	most int
}

func (r randomReader) Read(b []byte) (int, error) {
	return r.r.Read(b[:min(len(b), r.rand.IntN(r.most))])
}

func TestSplitEqualsCut(t *testing.T) {
	long := slices.Concat(noise(1, 1<<20), make([]byte, 2*MaxBlock), noise(2, 12345))
	readers := map[string]func(io.Reader) io.Reader{
		"whole":        func(r io.Reader) io.Reader { return r },
		"one byte":     iotest.OneByteReader,
		"half":         iotest.HalfReader,
		"data and EOF": iotest.DataErrReader,
		"small":        func(r io.Reader) io.Reader { return randomReader{r, rand.New(rand.NewPCG(1, 1)), 5000} },
		"large":        func(r io.Reader) io.Reader { return randomReader{r, rand.New(rand.NewPCG(2, 2)), 3 << 20} },
	}
	buffers := []int{0, MinBlock + 1, MaxBlock, 4*MaxBlock - 1, 9 * MaxBlock}
	for name, wrap := range readers {
		t.Run(name, func(t *testing.T) {
			data := long
			if name == "one byte" {
				data = long[:600<<10]
			}
			want := cutAll(data)
			for _, size := range buffers {
				got, buf, err := Split(wrap(bytes.NewReader(data)), make([]byte, size))
				if err != nil || !slices.Equal(got, want) {
					t.Errorf("buffer of %d: Split = %v, %v; want %v", size, sizes(got), err, sizes(want))
				}
				if most := max(size, 4*MaxBlock); len(buf) > most {
					t.Errorf("buffer of %d grew to %d, want at most %d", size, len(buf), most)
				}
			}
		})
	}
}

func TestSplitReusesBuffer(t *testing.T) {
	_, buf, err := Split(bytes.NewReader(make([]byte, 100)), nil)
	if err != nil || len(buf) != MinBlock {
		t.Errorf("a small file leaves a buffer of %d, %v; want %d", len(buf), err, MinBlock)
	}
	for i, size := range []int{1 << 20, 0, 5, 3 << 20, MinBlock, 100} {
		data := noise(uint64(i), size)
		var got BlockList
		if got, buf, err = Split(bytes.NewReader(data), buf); err != nil || !slices.Equal(got, cutAll(data)) {
			t.Errorf("file %d: Split = %v, %v; want %v", i, sizes(got), err, sizes(cutAll(data)))
		}
	}
}

func TestSplitTellsReadErrors(t *testing.T) {
	broken := errors.New("broken")
	r := io.MultiReader(bytes.NewReader(make([]byte, 1<<20)), iotest.ErrReader(broken))
	l, buf, err := Split(r, nil)
	if l != nil || buf == nil || !errors.Is(err, broken) {
		t.Errorf("Split = %v, buffer of %d, %v; want no list, the buffer, %v", l, len(buf), err, broken)
	}
}

func sizes(l BlockList) (out []uint32) {
	for _, b := range l {
		out = append(out, b.Size)
	}
	return out
}

func TestBlockSizes(t *testing.T) {
	data := noise(3, 24<<20)
	l := cutAll(data)
	if got := l.Size(); got != int64(len(data)) {
		t.Errorf("Size() = %d, want %d", got, len(data))
	}
	for i, b := range l[:len(l)-1] {
		if b.Size <= MinBlock || b.Size > MaxBlock {
			t.Errorf("block %d has %d bytes, want more than %d and up to %d", i, b.Size, MinBlock, MaxBlock)
		}
	}
	if average := len(data) / len(l); average < AvgBlock*3/4 || average > AvgBlock*3/2 {
		t.Errorf("average of %d blocks is %d bytes, want about %d", len(l), average, AvgBlock)
	}
}

func TestEdges(t *testing.T) {
	random := noise(4, MaxBlock)
	for _, row := range []struct {
		name string
		data []byte
		want []uint32
	}{
		{"empty", nil, nil},
		{"one byte", random[:1], []uint32{1}},
		{"exactly MinBlock", random[:MinBlock], []uint32{MinBlock}},
		{"zeros of exactly MaxBlock", make([]byte, MaxBlock), []uint32{MaxBlock}},
		{"zeros of one more", make([]byte, MaxBlock+1), []uint32{MaxBlock, 1}},
		{"zeros", make([]byte, 3*MaxBlock+7), []uint32{MaxBlock, MaxBlock, MaxBlock, 7}},
	} {
		got, _, err := Split(bytes.NewReader(row.data), nil)
		if err != nil || !slices.Equal(sizes(got), row.want) {
			t.Errorf("%s: Split = %v, %v; want %v", row.name, sizes(got), err, row.want)
		}
	}
	if got := Cut(random); got != Cut(append(random, 1, 2, 3)) {
		t.Errorf("Cut = %d, and another with more than MaxBlock bytes", got)
	}
}

// cutByTheRule is Cut as docs/formats.md has it, byte after byte.
func cutByTheRule(data []byte) int {
	n := min(len(data), MaxBlock)
	var h uint64
	for i := MinBlock; i < n; i++ {
		h = h<<1 + gear[data[i]]
		if bits := h >> 49; bits == 0 && (i >= AvgBlock || h>>45 == 0) {
			return i + 1
		}
	}
	return n
}

func TestCutFollowsTheRule(t *testing.T) {
	check := func(what string, data []byte) {
		if got, want := Cut(data), cutByTheRule(data); got != want {
			t.Errorf("%s, %d bytes: Cut = %d, want %d", what, len(data), got, want)
		}
	}
	data := noise(11, 4<<20)
	for len(data) > 0 {
		check("noise", data)
		check("end of a file", data[:min(len(data), Cut(data)+len(data)%3)])
		data = data[Cut(data):]
	}
	for seed := range uint64(20) {
		check("runs", runs(seed, MaxBlock))
	}
}

// TestRollAtTwoPlaces finds what one place alone finds, with masks that are met in either half of a round, or in both.
func TestRollAtTwoPlaces(t *testing.T) {
	data := noise(12, 200_000)
	for bits := range 14 {
		mask := ^uint64(0) << (64 - bits - 1)
		for start := 0; start < len(data); start += 997 {
			rest := data[start:min(len(data), start+5*lane+start%lane)]
			h, n, found := roll(uint64(start), rest, mask)
			wantH, want, wantFound := rollOn(uint64(start), rest, mask)
			if n != want || found != wantFound || !found && h != wantH {
				t.Fatalf("%d bits, from %d: roll = %d, %v; want %d, %v", bits+1, start, n, found, want, wantFound)
			}
		}
	}
}

func TestInsertionChangesFirstBlocks(t *testing.T) {
	data := noise(5, 4<<20)
	before := cutAll(data)
	after := cutAll(append([]byte("ten bytes "), data...))
	have := make(map[Hash]bool)
	for _, b := range before {
		have[b.Hash] = true
	}
	changed := 0
	for _, b := range after {
		if !have[b.Hash] {
			changed++
		}
	}
	if changed == 0 || changed > 2 || len(before) < 16 {
		t.Errorf("an insertion at the start changed %d of %d blocks, want 1 or 2", changed, len(before))
	}
	if before.Root() == after.Root() {
		t.Error("the file hash did not change")
	}
}

func TestBlocksGolden(t *testing.T) {
	var out strings.Builder
	for _, n := range []int{0, 1, MinBlock, 4 << 20} {
		l := cutAll(stream(n))
		fmt.Fprintf(&out, "stream of %d bytes: %v\n", n, l.Root())
		for _, b := range l {
			fmt.Fprintf(&out, "  %6d %v\n", b.Size, b.Hash)
		}
	}
	golden(t, "blocks.golden", out.String())
}

func TestBlockListRoundTrip(t *testing.T) {
	for _, n := range []int{0, 1, 1 << 20} {
		l := cutAll(noise(6, n))
		b := l.Append(nil)
		if len(b) != blockSize*len(l) {
			t.Errorf("%d blocks take %d bytes, want %d each", len(l), len(b), blockSize)
		}
		got, err := DecodeBlockList(b)
		if err != nil || !slices.Equal(got, l) {
			t.Errorf("DecodeBlockList = %v, %v; want %v", got, err, l)
		}
	}
}

func TestDecodeBlockListRefuses(t *testing.T) {
	good := BlockList{{Hash{1}, 7}}.Append(nil)
	for name, b := range map[string][]byte{
		"short":     good[:blockSize-1],
		"long":      append(slices.Clone(good), 0),
		"no bytes":  BlockList{{Hash{1}, 7}, {Hash{2}, 0}}.Append(nil),
		"too large": BlockList{{Hash{1}, MaxBlock + 1}}.Append(nil),
	} {
		if l, err := DecodeBlockList(b); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: DecodeBlockList = %v, %v; want ErrFormat", name, l, err)
		}
	}
}

func FuzzDecodeBlockList(f *testing.F) {
	f.Add([]byte{})
	f.Add(cutAll(noise(7, 300<<10)).Append(nil))
	f.Add(BlockList{{Hash{1}, 0}}.Append(nil))
	f.Add(make([]byte, blockSize+1))
	f.Fuzz(func(t *testing.T, b []byte) {
		var l BlockList
		var err error
		if n, most := allocated(func() { l, err = DecodeBlockList(b) }), uint64(16<<10+2*len(b)); n > most {
			t.Errorf("decoding %d bytes allocates %d bytes, want at most %d", len(b), n, most)
		}
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("error %v is no ErrFormat", err)
			}
			return
		}
		if got := l.Append(nil); !bytes.Equal(got, b) {
			t.Errorf("decoded %x, encoded %x", b, got)
		}
	})
}
