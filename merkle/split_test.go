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
			var told BlockList
			got, err := SplitAt(bytes.NewReader(row.data), int64(len(row.data)), workers, func(l BlockList) { told = append(told, l...) })
			if err != nil || !slices.Equal(got, want) || !slices.Equal(told, want) {
				t.Errorf("%s, %d workers: SplitAt = %v, %v, and told %v; want %v", row.name, workers, sizes(got), err, sizes(told), sizes(want))
			}
		}
	}
}

func TestSplitAtTellsWhatEndsEarly(t *testing.T) {
	data := noise(1, 3*minRegion)
	for _, size := range []int{len(data) + 1, 2 * len(data), 8 * len(data)} {
		if l, err := SplitAt(bytes.NewReader(data), int64(size), 2, nil); l != nil || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d of %d bytes: SplitAt = %v, %v; want ErrUnexpectedEOF", len(data), size, sizes(l), err)
		}
	}
	broken := errors.New("broken")
	if l, err := SplitAt(brokenAt{bytes.NewReader(data), 2 * minRegion, broken}, int64(len(data)), 2, nil); l != nil || !errors.Is(err, broken) {
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
		count := int((int64(size) + int64(region) - 1) / int64(region))
		s := stitching{r: r, size: int64(size), region: int64(region), ready: make([]BlockList, count)}
		for _, i := range rand.New(rand.NewPCG(seed, 2)).Perm(count) { // in whatever order they become ready
			l, err := splitFrom(r, int64(i)*s.region, s.size, s.region)
			if err == nil {
				err = s.add(i, l)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if want := cutAll(data); !slices.Equal(s.list, want) {
			t.Errorf("got %v; want %v", sizes(s.list), sizes(want))
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
