package merkle

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
)

// periodic returns data whose cuts need not fall into step: a long run of zeros behind an odd beginning.
func periodic(n int) []byte {
	b := make([]byte, n)
	copy(b, noise(9, 12345))
	return b
}

func TestSplitAtEqualsSplit(t *testing.T) {
	for _, row := range []struct {
		name string
		data []byte
	}{
		{"empty", nil},
		{"one byte", []byte("x")},
		{"one region", noise(1, minRegion)},
		{"one byte more", noise(2, minRegion+1)},
		{"many regions", noise(3, 3*minRegion+12345)},
		{"zeros", make([]byte, 2*minRegion+7)},
		{"never in step", periodic(2*minRegion + 7)},
		{"in step late", slices.Concat(periodic(minRegion+minRegion/2), noise(4, minRegion))},
	} {
		want := cutAll(row.data)
		for _, workers := range []int{0, 3} {
			got, err := SplitAt(bytes.NewReader(row.data), int64(len(row.data)), workers)
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("%s, %d workers: SplitAt = %v, %v; want %v", row.name, workers, sizes(got), err, sizes(want))
			}
		}
	}
}

func TestSplitAtTellsWhatEndsEarly(t *testing.T) {
	data := noise(1, 3*minRegion)
	for _, size := range []int{len(data) + 1, 2 * len(data), 8 * len(data)} {
		if l, err := SplitAt(bytes.NewReader(data), int64(size), 2); l != nil || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d of %d bytes: SplitAt = %v, %v; want ErrUnexpectedEOF", len(data), size, sizes(l), err)
		}
	}
	broken := errors.New("broken")
	if l, err := SplitAt(brokenAt{bytes.NewReader(data), 2 * minRegion, broken}, int64(len(data)), 2); l != nil || !errors.Is(err, broken) {
		t.Errorf("SplitAt = %v, %v; want %v", sizes(l), err, broken)
	}
}

// A brokenAt cannot be read from a place on.
type brokenAt struct {
	r   io.ReaderAt
	at  int64
	err error
}

func (b brokenAt) ReadAt(p []byte, at int64) (int, error) {
	if at+int64(len(p)) > b.at {
		return 0, b.err
	}
	return b.r.ReadAt(p, at)
}

// FuzzStitch cuts data at the same time as one after the other, in regions so small that cuts seldom fall on their
// borders. Data is made of runs: of zeros, noise, or a short pattern.
func FuzzStitch(f *testing.F) {
	f.Add(uint64(1), uint32(3<<20), uint32(1<<20))
	f.Add(uint64(2), uint32(900_000), uint32(MaxBlock))
	f.Add(uint64(7), uint32(5_000_000), uint32(700_001))
	f.Fuzz(func(t *testing.T, seed uint64, size, region uint32) {
		size %= 6 << 20
		region = max(region%(2<<20), MinBlock)
		data := runs(seed, int(size))
		r := bytes.NewReader(data)
		var regions []BlockList
		for start := int64(0); start < int64(size) || start == 0; start += int64(region) {
			l, err := splitFrom(r, start, int64(size), int64(region))
			if err != nil {
				t.Fatal(err)
			}
			regions = append(regions, l)
		}
		got, err := stitch(r, int64(size), int64(region), regions)
		if want := cutAll(data); err != nil || !slices.Equal(got, want) {
			t.Errorf("stitch = %v, %v; want %v", sizes(got), err, sizes(want))
		}
	})
}

func runs(seed uint64, n int) []byte {
	random := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, 0, n)
	for len(b) < n {
		run := min(random.IntN(1<<20)+1, n-len(b))
		switch random.IntN(3) {
		case 0:
			b = append(b, make([]byte, run)...)
		case 1:
			b = append(b, noise(random.Uint64(), run)...)
		default:
			b = append(b, bytes.Repeat(noise(random.Uint64(), 7), run/7+1)[:run]...)
		}
	}
	return b
}
