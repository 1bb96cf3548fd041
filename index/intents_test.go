package index

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"resonate/merkle"
)

// openLog opens the log in dir and holds which paths were left there.
func openLog(t *testing.T, dir string, want ...string) *Intents {
	t.Helper()
	l, left, err := OpenIntents(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // most tests close it themselves
	var got []string
	for _, i := range left {
		got = append(got, i.Path)
	}
	if !slices.Equal(got, want) {
		t.Errorf("intents left: %q, want %q", got, want)
	}
	return l
}

func appendPaths(t *testing.T, l *Intents, paths ...string) {
	t.Helper()
	var intents []Intent
	for _, p := range paths {
		intents = append(intents, Intent{Path: p, Entry: entry(merkle.File, 1)})
	}
	if err := l.Append(intents...); err != nil {
		t.Fatal(err)
	}
}

func logFiles(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func rotate(t *testing.T, l *Intents) (done func() error) {
	t.Helper()
	done, err := l.Rotate()
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func TestIntentsSurvive(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir)
	want := []Intent{fullIntent(), {Path: "b"}, {Path: "c", Entry: entry(merkle.Tombstone, 3)}}
	if err := errors.Join(l.Append(want[:2]...), l.Append(want[2]), l.Append(), l.Sync(), l.Sync()); err != nil {
		t.Fatal(err)
	}
	// The log is not closed: as after a kill.
	again, left, err := OpenIntents(dir)
	if err != nil || !reflect.DeepEqual(left, want) {
		t.Fatalf("intents left: %+v, %v, want %+v", left, err, want)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	openLog(t, dir, want[0].Path, "b", "c")
}

func TestRotate(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir)
	appendPaths(t, l, "a")
	done := rotate(t, l)
	appendPaths(t, l, "b")
	if got, want := logFiles(t, dir), []string{"intents.1", "intents.2"}; !slices.Equal(got, want) {
		t.Errorf("files %q, want %q", got, want)
	}
	later := rotate(t, l)
	appendPaths(t, l, "c")
	if err := done(); err != nil {
		t.Fatal(err)
	}
	if got, want := logFiles(t, dir), []string{"intents.2", "intents.3"}; !slices.Equal(got, want) {
		t.Errorf("files after the first rotation is done %q, want %q", got, want)
	}
	if err := errors.Join(later(), done(), later()); err != nil {
		t.Errorf("done called again: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	openLog(t, dir, "c")
}

// TestCrashBetween holds that a crash between Rotate and done, and crashes in a row, lose nothing.
func TestCrashBetween(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir)
	appendPaths(t, l, "a")
	rotate(t, l)
	appendPaths(t, l, "b")
	for range 3 { // each leaves an empty generation behind
		openLog(t, dir, "a", "b")
		if got := logFiles(t, dir); len(got) != 3 {
			t.Errorf("files %q, want two generations and an empty one", got)
		}
	}
	l = openLog(t, dir, "a", "b")
	appendPaths(t, l, "c")
	l = openLog(t, dir, "a", "b", "c")
	if err := rotate(t, l)(); err != nil {
		t.Fatal(err)
	}
	if got := logFiles(t, dir); len(got) != 1 {
		t.Errorf("files %q, want one", got)
	}
	openLog(t, dir)
}

func TestGenerationsInOrder(t *testing.T) {
	dir := t.TempDir()
	var want []string
	for g := 1; g <= 11; g++ {
		path := fmt.Sprint("p", g)
		framed, err := frameIntent(nil, Intent{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("intents.", g)), framed, 0o600); err != nil {
			t.Fatal(err)
		}
		want = append(want, path)
	}
	strangers := []string{"intents.", "intents.01", "intents.x", "intents.+3", "intents.99999999999999999999", "other.1"}
	for _, name := range strangers {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l := openLog(t, dir, want...)
	if err := rotate(t, l)(); err != nil {
		t.Fatal(err)
	}
	if got := logFiles(t, dir); len(got) != len(strangers)+1 {
		t.Errorf("files %q, want %q and one generation", got, strangers)
	}
}

// TestTornTail cuts a log at each byte: all whole records before the cut are found, and the log can be used.
func TestTornTail(t *testing.T) {
	var log []byte
	var ends []int
	for i := range 4 {
		framed, err := frameIntent(log, Intent{Path: fmt.Sprint("p", i), Entry: entry(merkle.File, 1)})
		if err != nil {
			t.Fatal(err)
		}
		log = framed
		ends = append(ends, len(log))
	}
	dir := t.TempDir()
	for cut := range len(log) + 1 {
		want := 0
		for _, end := range ends {
			if end <= cut {
				want++
			}
		}
		zeros := append(bytes.Clone(log[:cut]), make([]byte, len(log)-cut)...) // as a loss of power may leave it
		for name, b := range map[string][]byte{"cut": log[:cut], "zeroed": zeros} {
			if got := len(readIntents(bytes.NewReader(b), int64(len(b)))); got != want {
				t.Fatalf("log %s at %d: %d intents, want %d", name, cut, got, want)
			}
		}
	}
	cut := ends[2] - 1
	if err := os.WriteFile(filepath.Join(dir, "intents.7"), log[:cut], 0o600); err != nil {
		t.Fatal(err)
	}
	l := openLog(t, dir, "p0", "p1")
	appendPaths(t, l, "new")
	openLog(t, dir, "p0", "p1", "new")
}

func TestDamagedRecords(t *testing.T) {
	frame := func(b []byte, path string) []byte {
		b, err := frameIntent(b, Intent{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	flipped := frame(nil, "a")
	flipped[len(flipped)-1] ^= 1
	senseless := []byte{2, 0, 0, 0, 0, 0, 0, 0, 0x3a, 0}
	senseless = fixChecksum(senseless)
	huge := []byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}
	rows := []struct {
		name string
		log  []byte
		want int
	}{
		{"flipped bit, the rest ignored", frame(flipped, "b"), 0},
		{"whole record without path, skipped", frame(frame(senseless, "a"), "b"), 2},
		{"length beyond the file", append(frame(nil, "a"), huge...), 1},
		{"zeros, the rest ignored", frame(make([]byte, intentHead), "a"), 0},
		{"nothing", nil, 0},
	}
	for _, row := range rows {
		if got := len(readIntents(bytes.NewReader(row.log), int64(len(row.log)))); got != row.want {
			t.Errorf("%s: %d intents, want %d", row.name, got, row.want)
		}
	}
	short := readIntents(bytes.NewReader(frame(nil, "a")), 1<<40) // the file shrank, or cannot be read
	if len(short) != 1 {
		t.Errorf("file shorter than its size says: %d intents, want 1", len(short))
	}
}

// fixChecksum sets the checksum of the one record that b is.
func fixChecksum(b []byte) []byte {
	sum := checksum(nil, b[intentHead:])
	copy(b[4:], []byte{byte(sum), byte(sum >> 8), byte(sum >> 16), byte(sum >> 24)})
	return b
}

func TestIntentBounds(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir)
	list := make(merkle.BlockList, maxIntentBlocks+1)
	for i := range list {
		list[i].Size = 1
	}
	if err := l.Append(Intent{Path: "most", Blocks: list[1:]}, Intent{Path: "more", Blocks: list}); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []Intent{{Path: strings.Repeat("x", maxIntent)}, {Path: ""}, {Path: "p", Entry: new(merkle.Entry)}} {
		if err := l.Append(Intent{Path: "with the bad one"}, bad); err == nil {
			t.Errorf("Append took an intent that could not be read again: path of %d bytes", len(bad.Path))
		}
	}
	_, left, err := OpenIntents(dir)
	if err != nil || len(left) != 2 || len(left[0].Blocks) != maxIntentBlocks || left[1].Blocks != nil {
		t.Errorf("%d intents left, %v, want two, the first with %d blocks, the other with none", len(left), err, maxIntentBlocks)
	}
}

// TestFailedAppend makes a write fail: the log must not take more behind what may be torn.
func TestFailedAppend(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir)
	appendPaths(t, l, "a")
	whole := l.file
	readOnly, err := os.Open(whole.Name())
	if err != nil {
		t.Fatal(err)
	}
	l.file = readOnly // neither write(2) nor ftruncate(2) is allowed on it
	for range 2 {
		if err := l.Append(Intent{Path: "b"}); err == nil {
			t.Error("Append to a file that cannot be written succeeded")
		}
	}
	l.file = whole
	if err := l.Append(Intent{Path: "b"}); err == nil {
		t.Error("Append behind a record that may be torn succeeded")
	}
	rotate(t, l)
	appendPaths(t, l, "c") // a new generation is sound again
	if err := errors.Join(readOnly.Close(), l.Close()); err != nil {
		t.Fatal(err)
	}
	openLog(t, dir, "a", "c")
}

func TestConcurrentAppends(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 50 {
				if err := l.Append(Intent{Path: fmt.Sprint(g, "/", i)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 5 {
		rotate(t, l)
	}
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_, left, err := OpenIntents(dir)
	if err != nil || len(left) != 200 {
		t.Fatalf("%d intents left, %v, want 200", len(left), err)
	}
	next := map[string]int{}
	for _, i := range left {
		g, n, _ := strings.Cut(i.Path, "/")
		if want := fmt.Sprint(next[g]); n != want {
			t.Fatalf("intent %s, want number %s of its goroutine", i.Path, want)
		}
		next[g]++
	}
}

func TestOpenIntentsErrors(t *testing.T) {
	if _, _, err := OpenIntents(filepath.Join(t.TempDir(), "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("OpenIntents in a missing directory: error %v, want %v", err, os.ErrNotExist)
	}
}

func BenchmarkAppendIntent(b *testing.B) {
	l, _, err := OpenIntents(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	i := fullIntent()
	for b.Loop() {
		if err := l.Append(i); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzDecodeIntent(f *testing.F) {
	f.Add(appendIntent(nil, fullIntent()))
	f.Add(appendIntent(nil, Intent{Path: "p"}))
	f.Add([]byte{0x32, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, b []byte) {
		i, err := decodeIntent(b)
		if err != nil {
			return
		}
		again := appendIntent(nil, i)
		i2, err := decodeIntent(again)
		if err != nil || !bytes.Equal(appendIntent(nil, i2), again) {
			t.Fatalf("%+v became %+v, %v", i, i2, err)
		}
	})
}

// A chunkReader fails the test when asked for more at once than the log can hold.
type chunkReader struct {
	t     *testing.T
	limit int
	*bytes.Reader
}

func (r chunkReader) Read(p []byte) (int, error) {
	if len(p) > max(r.limit, 4096) { // 4096: the buffer in between
		r.t.Fatalf("read of %d bytes from a log of %d", len(p), r.limit)
	}
	return r.Reader.Read(p)
}

func FuzzIntentsFile(f *testing.F) {
	one, err := frameIntent(nil, fullIntent())
	if err != nil {
		f.Fatal(err)
	}
	two, err := frameIntent(bytes.Clone(one), Intent{Path: "p"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(one)
	f.Add(two)
	f.Add(two[:len(two)-1])
	f.Add([]byte{0xff, 0xff, 0x3f, 0, 0, 0, 0, 0})
	f.Add(make([]byte, 64))
	f.Fuzz(func(t *testing.T, b []byte) {
		found := readIntents(chunkReader{t, len(b), bytes.NewReader(b)}, int64(len(b)))
		if len(found) > len(b)/intentHead {
			t.Fatalf("%d intents in %d bytes", len(found), len(b))
		}
	})
}
