package audit

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
	"time"

	"resonate/merkle"
)

// start is when the tests' records begin.
var start = time.UnixMicro(1_800_000_000_000_000)

// newLog returns a log of small segments, and a clock that the test moves.
func newLog(t *testing.T, dir string) (*Log, *time.Time) {
	t.Helper()
	now := start
	l := &Log{Dir: dir, SegmentSize: 600, Clock: func() time.Time { return now }}
	t.Cleanup(func() { _ = l.Close() })
	return l, &now
}

// add writes n records, of paths that begin with prefix.
func add(t *testing.T, l *Log, prefix string, n int) {
	t.Helper()
	for i := range n {
		l.Add(Record{Kind: Published, Path: fmt.Sprintf("%s%d", prefix, i), What: merkle.File, Stamp: merkle.Stamp(i + 1)})
	}
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
}

// read returns all records in dir.
func read(t *testing.T, dir string) ([]Item, Verdict) {
	t.Helper()
	var items []Item
	v, err := Read(dir, func(it Item) error { items = append(items, it); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return items, v
}

// wantSound sees that a log has records with just these paths, whose chain holds.
func wantSound(t *testing.T, dir string, want ...string) Verdict {
	t.Helper()
	items, v := read(t, dir)
	var got []string
	for _, it := range items {
		got = append(got, it.Path)
	}
	if v.Broken != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v\nwant %q, and no break", got, v.Broken, want)
	}
	return v
}

func paths(prefix string, n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("%s%d", prefix, i))
	}
	return out
}

// files returns the segments in dir with their contents.
func files(t *testing.T, dir string) (names []string, contents map[string][]byte) {
	t.Helper()
	segments, err := listSegments(dir)
	if err != nil {
		t.Fatal(err)
	}
	contents = make(map[string][]byte)
	for _, n := range segments {
		name := segmentPath(dir, n)
		if contents[name], err = os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	return names, contents
}

func write(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestLogGoesOnWhereItEnded(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "audit")
	l, _ := newLog(t, dir)
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	add(t, l, "x", 30)
	first := wantSound(t, dir, paths("x", 30)...)
	if names, _ := files(t, dir); len(names) < 3 {
		t.Fatalf("got %d segments, want several", len(names))
	}
	again, _ := newLog(t, dir) // the first one is not closed: as after a kill
	add(t, again, "y", 5)
	v := wantSound(t, dir, append(paths("x", 30), paths("y", 5)...)...)
	if v.First != 1 || v.Last != 35 || v.Head == first.Head || v.Torn != 0 {
		t.Errorf("got %+v, want records 1 to 35 and another head than %v", v, first.Head)
	}
	items, _ := read(t, dir)
	if items[29].Hash != first.Head || items[29].Number != 30 {
		t.Errorf("record 30: got %d, %v, want its hash to be the head that was, %v", items[29].Number, items[29].Hash, first.Head)
	}
}

// TestEveryByteIsProven changes each byte of a log.
func TestEveryByteIsProven(t *testing.T) {
	dir := t.TempDir()
	l, _ := newLog(t, dir)
	add(t, l, "x", 25)
	want, _ := read(t, dir)
	names, contents := files(t, dir)
	for i, name := range names {
		for at := range contents[name] {
			contents[name][at] ^= 0x55
			var got []Item
			w := walk{}
			for n, name := range names {
				w.name, w.final = filepath.Base(name), n == len(names)-1
				_, _, err := w.segment(bytes.NewReader(contents[name]), int64(len(contents[name])), func(it Item) error { got = append(got, it); return nil })
				if err != nil {
					t.Fatal(err)
				}
			}
			w.proveDropped()
			// A length that leads beyond the end looks like a record that was cut off there.
			if torn := i == len(names)-1 && w.torn > 0 && len(got) < len(want); w.broken == nil && !torn {
				t.Fatalf("%s, byte %d: no break is told", filepath.Base(name), at)
			}
			for _, it := range got {
				if w.broken != nil && it.Number < w.broken.Record && it.Path != want[it.Number-1].Path {
					t.Fatalf("%s, byte %d: record %d is %q, and the break is told only at %v", filepath.Base(name), at, it.Number, it.Path, w.broken)
				}
			}
			contents[name][at] ^= 0x55
		}
	}
}

func TestWhatIsTakenOutIsTold(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(t *testing.T, names []string, contents map[string][]byte)
		file   string
		record uint64
		cause  string
	}{
		{"the first segment", func(t *testing.T, names []string, _ map[string][]byte) {
			if err := os.Remove(names[0]); err != nil {
				t.Fatal(err)
			}
		}, "audit.2", 1, "none tells that they were dropped"},
		{"a segment in the middle", func(t *testing.T, names []string, _ map[string][]byte) {
			if err := os.Remove(names[1]); err != nil {
				t.Fatal(err)
			}
		}, "audit.3", 11, "records 11 to 20 are missing"},
		{"a record in the middle", func(t *testing.T, names []string, contents map[string][]byte) {
			frame := int(contents[names[0]][headSize]) + frameSize
			write(t, names[0], slices.Delete(slices.Clone(contents[names[0]]), headSize+frame, headSize+2*frame))
		}, "audit.1", 2, "not what was written"},
		{"the last record of a segment", func(t *testing.T, names []string, contents map[string][]byte) {
			b := contents[names[0]]
			frame := int(b[headSize]) + frameSize
			write(t, names[0], b[:len(b)-frame])
		}, "audit.2", 10, "records 10 to 10 are missing"},
		{"the end of a segment", func(t *testing.T, names []string, contents map[string][]byte) {
			write(t, names[0], contents[names[0]][:len(contents[names[0]])-1])
		}, "audit.1", 10, "though another file follows"},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := t.TempDir()
			l, _ := newLog(t, dir)
			add(t, l, "x", 30)
			names, contents := files(t, dir)
			row.change(t, names, contents)
			_, v := read(t, dir)
			if v.Broken == nil || v.Broken.File != row.file || v.Broken.Record != row.record || !strings.Contains(v.Broken.Cause, row.cause) {
				t.Errorf("got %v, want %s, record %d, %q", v.Broken, row.file, row.record, row.cause)
			}
		})
	}
}

// TestTornTail cuts a log, or has it end in zeros, at each byte of its last two records: that is no forgery, and the next run goes on.
func TestTornTail(t *testing.T) {
	base := t.TempDir()
	l, _ := newLog(t, filepath.Join(base, "whole"))
	add(t, l, "x", 5)
	_, contents := files(t, l.Dir)
	whole := contents[segmentPath(l.Dir, 1)]
	frame := int(whole[headSize]) + frameSize
	for cut := range len(whole) {
		for _, zeros := range []int{0, 64} {
			if cut > 0 && cut < len(whole)-2*frame || zeros > 0 && cut > 0 && whole[cut-1] == 0 {
				continue
			}
			dir := filepath.Join(base, fmt.Sprint(cut, zeros))
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			write(t, segmentPath(dir, 1), append(slices.Clone(whole[:cut]), make([]byte, zeros)...))
			left := 0
			if cut >= headSize {
				left = (cut - headSize) / frame
			}
			v := wantSound(t, dir, paths("x", left)...)
			if at := headSize + left*frame; (cut != at || zeros > 0) && cut+zeros > 0 && v.Torn == 0 {
				t.Errorf("cut at %d, with %d zeros: nothing is told of a torn tail", cut, zeros)
			}
			again, _ := newLog(t, dir)
			add(t, again, "y", 2)
			if v := wantSound(t, dir, append(paths("x", left), "y0", "y1")...); v.Torn != 0 {
				t.Errorf("cut at %d, with %d zeros: %d bytes are torn after the next run", cut, zeros, v.Torn)
			}
			again.Close()
		}
	}
}

// TestDamageIsLeftAsItIs has a run begin on a log whose last segment was changed: what it writes is proven, and the break stays told.
func TestDamageIsLeftAsItIs(t *testing.T) {
	for _, row := range []struct {
		name   string
		at     int // byte that is changed
		broken uint64
	}{{"a record", headSize + 10, 1}, {"the head", 3, 1}} {
		t.Run(row.name, func(t *testing.T) {
			dir := t.TempDir()
			l, _ := newLog(t, dir)
			add(t, l, "x", 5)
			_, contents := files(t, dir)
			name := segmentPath(dir, 1)
			contents[name][row.at] ^= 1
			write(t, name, contents[name])
			again, _ := newLog(t, dir)
			add(t, again, "y", 2)
			items, v := read(t, dir)
			if v.Broken == nil || v.Broken.File != "audit.1" || v.Broken.Record != row.broken {
				t.Errorf("got %v, want a break in audit.1 at %d", v.Broken, row.broken)
			}
			if n := len(items); n < 2 || items[n-2].Path != "y0" || items[n-1].Broken {
				t.Errorf("got %v, want what was written since at the end", items)
			}
			if _, now := files(t, dir); !slices.Equal(now[name], contents[name]) {
				t.Error("the damaged segment was changed")
			}
		})
	}
}

func TestOldRecordsAreDropped(t *testing.T) {
	for _, row := range []struct {
		name string
		tune func(l *Log, now *time.Time)
	}{
		{"size", func(l *Log, _ *time.Time) { l.MaxSize = 1500 }},
		{"age", func(l *Log, now *time.Time) { l.MaxAge = time.Hour; *now = time.Now().Add(2 * time.Hour) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := t.TempDir()
			l, now := newLog(t, dir)
			*now = time.Now()
			add(t, l, "x", 30)
			row.tune(l, now)
			add(t, l, "y", 12)
			items, v := read(t, dir)
			if v.Broken != nil || v.First <= 1 || v.Last < 43 {
				t.Fatalf("got %+v (%v), want what is left to be proven", v, v.Broken)
			}
			if items[0].Number != v.First || items[len(items)-1].Path != "y11" {
				t.Errorf("got records %d to %q, want %d to y11", items[0].Number, items[len(items)-1].Path, v.First)
			}
			if !slices.ContainsFunc(items, func(it Item) bool { return it.Kind == Dropped && it.Count == v.First-1 }) {
				t.Errorf("no record tells that those up to %d were dropped", v.First-1)
			}
			names, _ := files(t, dir)
			if row.name == "size" {
				add(t, l, "z", 100) // what told of the first drop is dropped, too
				if _, v := read(t, dir); v.Broken != nil {
					t.Errorf("after more drops: %v", v.Broken)
				}
				names, _ = files(t, dir)
			}
			if err := os.Remove(names[0]); err != nil {
				t.Fatal(err)
			}
			if _, v := read(t, dir); len(names) > 1 && v.Broken == nil {
				t.Error("another segment was taken out, and that is not told")
			}
		})
	}
}

// TestNothingIsLostWhileTheDiskIsFull has writes fail in different ways.
func TestNothingIsLostWhileTheDiskIsFull(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	write(t, dir, nil) // no directory can be made
	l := &Log{Dir: dir}
	defer l.Close()
	l.Add(Record{Kind: Published, Path: "a"})
	if err := l.Flush(); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v, want an error with the directory", err)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	l.Add(Record{Kind: Published, Path: "b"})
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	good := l.file
	readOnly, err := os.Open(segmentPath(dir, 1))
	if err != nil {
		t.Fatal(err)
	}
	defer readOnly.Close()
	l.file = readOnly
	l.Add(Record{Kind: Published, Path: "c"})
	if err := errors.Join(l.Flush(), l.Flush()); err == nil || l.Waiting() != 1 {
		t.Errorf("got %v, and %d records that wait, want an error and 1", err, l.Waiting())
	}
	l.file = good
	if _, err := good.WriteAt([]byte("left by a failed write"), l.size); err != nil {
		t.Fatal(err)
	}
	for range maxPending + 3 {
		l.Add(Record{Kind: Published, Path: "d"})
	}
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	items, v := read(t, dir)
	last := items[len(items)-1]
	if v.Broken != nil || items[0].Path != "a" || items[1].Path != "b" || items[2].Path != "c" || last.Kind != Lost || last.Count != 4 {
		t.Errorf("got %v %q %q %q and at the end %v %d, want a, b, c and 4 lost", v.Broken, items[0].Path, items[1].Path, items[2].Path, last.Kind, last.Count)
	}
}

// TestManyWriters has goroutines add and flush at once while others read. It is for the race detector.
func TestManyWriters(t *testing.T) {
	dir := t.TempDir()
	l := &Log{Dir: dir, SegmentSize: 4000}
	defer l.Close()
	add(t, l, "first", 1)
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for i := range 50 {
				l.Add(Record{Kind: Applied, Path: fmt.Sprint(g, "/", i)})
				if err := l.Flush(); err != nil {
					t.Error(err)
				}
				if _, err := Read(dir, func(Item) error { return nil }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if items, v := read(t, dir); len(items) != 201 || v.Broken != nil {
		t.Errorf("got %d records, %v, want 201", len(items), v.Broken)
	}
}

func TestReadEndsWithItsReader(t *testing.T) {
	dir := t.TempDir()
	l, _ := newLog(t, dir)
	add(t, l, "x", 3)
	enough := errors.New("enough")
	if _, err := Read(dir, func(Item) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("got %v, want %v", err, enough)
	}
	if _, err := Read(filepath.Join(dir, "none"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: got %v, want %v", err, os.ErrNotExist)
	}
}

func TestCovers(t *testing.T) {
	for _, row := range []struct {
		rec  Record
		path string
		want bool
	}{
		{Record{Path: "d/f"}, "", true},
		{Record{}, "", true},
		{Record{}, "d", false},
		{Record{Path: "d/f"}, "d", true},
		{Record{Path: "d/f"}, "d/f", true},
		{Record{Path: "d/f"}, "d/fg", false},
		{Record{Path: "d/fg"}, "d/f", false},
		{Record{Path: "d"}, "d/f", false},
		{Record{Path: "d", Count: 3}, "d/f", true},
		{Record{Kind: Granted, Path: "d", What: merkle.Dir}, "d/f", true},
		{Record{Kind: Granted, Path: "d", What: merkle.Dir}, "dd", false},
		{Record{Kind: Forced, What: merkle.Dir}, "d/f", true},
		{Record{Kind: Granted, Path: "d"}, "d/f", false},
		{Record{Kind: Granted, Name: "d"}, "d", false},
		{Record{Path: "d", What: merkle.Dir}, "d/f", false},
		{Record{Path: "to", Other: "from", Count: 3}, "from/f", true},
		{Record{Path: "f", Other: "f.conflict"}, "f.conflict", true},
	} {
		if got := row.rec.Covers(row.path); got != row.want {
			t.Errorf("%q (%d entries) is about %q: got %v, want %v", row.rec.Path, row.rec.Count, row.path, got, row.want)
		}
	}
}

// BenchmarkAppliedFiles writes 100,000 records in groups, as a first sync does.
func BenchmarkAppliedFiles(b *testing.B) {
	const count = 100_000
	r := Record{
		Kind: Applied, Path: "some/directory/of/a/project/file-with-a-name.go", What: merkle.File, Content: ContentHash{1},
		Stamp: merkle.Stamp(start.UnixMicro()), Peer: merkle.NodeID{1}, Author: merkle.NodeID{1},
	}
	b.ReportAllocs()
	for b.Loop() {
		l := &Log{Dir: b.TempDir()}
		for i := range count {
			l.Add(r)
			if i%4096 == 0 {
				if err := l.Flush(); err != nil {
					b.Fatal(err)
				}
			}
		}
		if err := errors.Join(l.Flush(), l.Close()); err != nil {
			b.Fatal(err)
		}
		info, err := os.Stat(segmentPath(l.Dir, 1))
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(info.Size()), "bytes-in-first-file")
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*count), "ns/record")
}

func TestRecordsAreEncodedInFull(t *testing.T) {
	want := fullRecord()
	if v := reflect.ValueOf(want); true {
		for i := range v.NumField() {
			if v.Field(i).IsZero() {
				t.Errorf("field %s of the record that is tested is empty", v.Type().Field(i).Name)
			}
		}
	}
	got, err := decodeRecord(appendRecord(nil, &want))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
}
