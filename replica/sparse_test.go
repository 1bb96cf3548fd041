package replica

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"resonate/merkle"
)

// allocated returns how many bytes a file takes on disk.
func allocated(t testing.TB, full string) int64 {
	t.Helper()
	info, err := os.Stat(full)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Blocks * 512
}

// hasHoles skips a test where the file system for tests allocates what was never written.
func hasHoles(t testing.TB) {
	t.Helper()
	full := filepath.Join(t.TempDir(), "sparse")
	writeFile(t, full, "")
	if err := os.Truncate(full, 1<<20); err != nil || allocated(t, full) > 64<<10 {
		skip(t, "the file system of %s has no holes: %v", full, err)
	}
}

func TestWriteSparse(t *testing.T) {
	hasHoles(t)
	random := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, 64*page)
	for range 12 { // some pages with data, some of them with a single byte
		at := random.IntN(len(data) - page)
		for i := range random.IntN(page) + 1 {
			data[at+i] = byte(random.IntN(256))
		}
	}
	for _, size := range []int{0, 1, page - 1, page, page + 1, 10*page + 17, len(data)} {
		for _, piece := range []int{100, page, 3*page + 5, len(data)} {
			t.Run(fmt.Sprintf("%d bytes in pieces of %d", size, piece), func(t *testing.T) {
				f, err := os.Create(filepath.Join(t.TempDir(), "f"))
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				for _, i := range random.Perm((size + piece - 1) / piece) {
					part := data[i*piece : min((i+1)*piece, size)]
					if err := writeSparse(f, part, int64(i*piece)); err != nil {
						t.Fatal(err)
					}
				}
				if err := endSparse(f, int64(size)); err != nil {
					t.Fatal(err)
				}
				if got, err := os.ReadFile(f.Name()); err != nil || !bytes.Equal(got, data[:size]) {
					t.Errorf("read %d bytes, %v, want the %d that were written", len(got), err, size)
				}
			})
		}
	}
}

func TestHolesAreLeftOut(t *testing.T) {
	hasHoles(t)
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data := make([]byte, 256*page)
	data[100*page+3] = 1
	if err := writeSparse(f, data, 0); err != nil {
		t.Fatal(err)
	}
	if err := endSparse(f, int64(len(data))); err != nil {
		t.Fatal(err)
	}
	if got, want := allocated(t, f.Name()), int64(4*page); got > want {
		t.Errorf("%d bytes are allocated, want at most %d", got, want)
	}
}

func TestIsHole(t *testing.T) {
	list, _, err := merkle.Split(bytes.NewReader(make([]byte, 3*merkle.MaxBlock+5)), nil)
	if err != nil || len(list) != 4 {
		t.Fatalf("Split = %d blocks, %v, want 4", len(list), err)
	}
	for i, want := range []bool{true, true, true, false} {
		if got := isHole(list[i]); got != want {
			t.Errorf("block %d: isHole = %v, want %v", i, got, want)
		}
	}
	if isHole(merkle.Block{Hash: list[0].Hash, Size: 5}) {
		t.Error("a block of another size passes for a hole")
	}
}

// TestSparseFile has a file of 8 MiB with 128 KiB of data travel: it takes no more on the other side's disk, and next to no more on the
// way. So does what is restored from the history.
func TestSparseFile(t *testing.T) {
	hasHoles(t)
	a, b := newNode(t, "a", nil), startNode(t, "b", nil)
	const size, some = 8 << 20, 128 << 10
	data := make([]byte, some)
	for i := range data {
		data[i] = byte(rand.IntN(255) + 1)
	}
	f, err := os.Create(a.path("sparse"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(data, 3<<20+5); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		t.Fatal(err)
	}
	a.start()
	connect(a, b)
	converged(t, a, b)
	if got, want := b.r.Load().receivedBytes.Load(), int64(2*merkle.MaxBlock+some); got > want {
		t.Errorf("%d bytes came in, want at most %d", got, want)
	}
	b.remove("sparse")
	holds(t, tree{}, a, b)
	list, err := a.replica().History(t.Context(), "sparse")
	if err != nil || len(list) != 1 {
		t.Fatalf("history = %v, %v, want one file", list, err)
	}
	if _, err := a.replica().Restore(t.Context(), "sparse", time.Time{}); err != nil {
		t.Fatal(err)
	}
	converged(t, a, b)
	for _, n := range []*node{a, b} {
		eventually(t, "the file is at "+n.name, func() string {
			if info, err := os.Stat(n.path("sparse")); err != nil || info.Size() != size {
				return fmt.Sprint("not there: ", err)
			}
			return ""
		})
		if got, want := allocated(t, n.path("sparse")), int64(2*some); got > want {
			t.Errorf("%s: %d bytes are allocated, want at most %d", n.name, got, want)
		}
	}
}
