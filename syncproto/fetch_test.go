package syncproto

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"resonate/merkle"
)

// A memSource serves files from memory, also their older versions.
type memSource struct {
	mu     sync.Mutex
	files  map[merkle.Hash][]byte // by content, at any path
	paths  map[string]merkle.Hash
	broken map[string]bool // paths that cannot be read
	opened atomic.Int64
	open   atomic.Int64
}

func newMemSource() *memSource {
	return &memSource{
		files: make(map[merkle.Hash][]byte), paths: make(map[string]merkle.Hash), broken: make(map[string]bool),
	}
}

func split(t testing.TB, data []byte) merkle.BlockList {
	t.Helper()
	list, _, err := merkle.Split(bytes.NewReader(data), nil)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// add puts a file there and returns what asks for all of it.
func (s *memSource) add(t testing.TB, path string, data []byte) (wants []Want) {
	t.Helper()
	list := split(t, data)
	content := list.Root()
	s.mu.Lock()
	s.files[content], s.paths[path] = data, content
	s.mu.Unlock()
	offset := int64(0)
	for _, b := range list {
		wants = append(wants, Want{Path: path, Content: content, Offset: offset, Block: b})
		offset += int64(b.Size)
	}
	return wants
}

var errBroken = errors.New("input/output error")

func (s *memSource) data(path string, content merkle.Hash) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	data, ok := s.files[content]
	switch {
	case s.broken[path]:
		return nil, errBroken
	case !ok:
		return nil, fmt.Errorf("open %s: %w", path, ErrGone)
	}
	return data, nil
}

type memContent struct {
	*bytes.Reader
	s *memSource
}

func (c memContent) Close() error { c.s.open.Add(-1); return nil }

func (s *memSource) OpenContent(path string, content merkle.Hash) (Content, error) {
	data, err := s.data(path, content)
	if err != nil {
		return nil, err
	}
	s.opened.Add(1)
	s.open.Add(1)
	return memContent{bytes.NewReader(data), s}, nil
}

func (s *memSource) List(path string, content merkle.Hash) (merkle.BlockList, error) {
	data, err := s.data(path, content)
	if err != nil {
		return nil, err
	}
	list, _, err := merkle.Split(bytes.NewReader(data), nil)
	return list, err
}

// serving calls f with a Fetcher at the other end of which src is served, over a pipe and over TCP.
func serving(t *testing.T, src *memSource, f func(t *testing.T, f *Fetcher)) {
	overStreams(t, func(t *testing.T, a, b net.Conn) {
		served := make(chan error, 1)
		go func() {
			served <- Serve(b, src)
			b.Close()
		}()
		fetcher := NewFetcher(a)
		f(t, fetcher)
		fetcher.Close()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
		if n := src.open.Load(); n != 0 {
			t.Errorf("%d files left open", n)
		}
	})
}

func randomData(seed uint64, n int) []byte {
	data := make([]byte, n)
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	rand.NewChaCha8(key).Read(data)
	return data
}

func TestFetchBlocks(t *testing.T) {
	src := newMemSource()
	var wants []Want
	var all []byte
	add := func(path string, data []byte) {
		wants = append(wants, src.add(t, path, data)...)
		all = append(all, data...)
	}
	for i := range 500 {
		add(fmt.Sprint("small", i), randomData(uint64(i), 1+i*7))
	}
	add("large", randomData(1000, 9<<20))
	add("last", []byte("x"))
	add("last", []byte("another version of it"))
	serving(t, src, func(t *testing.T, f *Fetcher) {
		src.opened.Store(0)
		for range 2 {
			var got []byte
			next := 0
			err := f.Blocks(wants, func(i int, data []byte, err error) error {
				if i != next || err != nil {
					t.Errorf("want %d: got %d, %v", next, i, err)
				}
				next++
				got = append(got, data...)
				return nil
			})
			if err != nil || next != len(wants) || !bytes.Equal(got, all) {
				t.Fatalf("got %d of %d wants, %d of %d bytes, %v", next, len(wants), len(got), len(all), err)
			}
		}
		if n := src.opened.Load(); n != 2*503 {
			t.Errorf("files opened %d times, want once a version and call", n)
		}
		if err := f.Blocks(nil, nil); err != nil {
			t.Errorf("no wants: %v", err)
		}
	})
}

func TestFetchSomeFail(t *testing.T) {
	src := newMemSource()
	wants := src.add(t, "good", []byte("good"))
	wants = append(wants, src.add(t, "gone", []byte("gone"))...)
	wants = append(wants, src.add(t, "cut", []byte("shorter than it was"))...)
	wants = append(wants, src.add(t, "changed", []byte("old"))...)
	wants = append(wants, src.add(t, "broken", []byte("broken"))...)
	wants = append(wants, wants[0])
	delete(src.files, wants[1].Content)
	src.files[wants[2].Content] = []byte("shorter")
	src.files[wants[3].Content] = []byte("new")
	src.broken["broken"] = true
	want := []error{nil, ErrGone, ErrGone, ErrWrongHash, ErrFailed, nil}
	serving(t, src, func(t *testing.T, f *Fetcher) {
		var got []error
		err := f.Blocks(wants, func(i int, data []byte, err error) error {
			got = append(got, err)
			if (err == nil) != (string(data) == "good") {
				t.Errorf("%s: got %q, %v", wants[i].Path, data, err)
			}
			return nil
		})
		if err != nil || len(got) != len(want) {
			t.Fatalf("got %d of %d wants, %v", len(got), len(want), err)
		}
		for i := range want {
			if !errors.Is(got[i], want[i]) || want[i] != nil && !bytes.Contains([]byte(got[i].Error()), []byte(wants[i].Path)) {
				t.Errorf("%s: got %v, want %v", wants[i].Path, got[i], want[i])
			}
		}
	})
}

func TestFetchRefusesMalformedWants(t *testing.T) {
	f := NewFetcher(&halfStream{Reader: bytes.NewReader(nil), closed: make(chan struct{})})
	defer f.Close()
	for _, w := range []Want{{}, {Path: "a"}, {Path: "a", Offset: -1, Block: merkle.Block{Size: 1}}} {
		if err := f.Blocks([]Want{w}, nil); !errors.Is(err, merkle.ErrFormat) {
			t.Errorf("%+v: got %v, want ErrFormat", w, err)
		}
	}
	if _, err := f.List("", hash(1), 1, nil); !errors.Is(err, merkle.ErrFormat) {
		t.Errorf("list of nothing: got %v, want ErrFormat", err)
	}
}

// An error of the callback ends everything, with requests and replies still under way.
func TestFetchAborted(t *testing.T) {
	src := newMemSource()
	wants := src.add(t, "large", randomData(1, 12<<20))
	enough := errors.New("enough")
	overStreams(t, func(t *testing.T, a, b net.Conn) {
		served := make(chan struct{})
		go func() {
			_ = Serve(b, src) // which may or may not notice
			b.Close()
			close(served)
		}()
		f := NewFetcher(a)
		err := f.Blocks(wants, func(i int, _ []byte, _ error) error {
			if i == 3 {
				return enough
			}
			return nil
		})
		if !errors.Is(err, enough) {
			t.Errorf("got %v, want %v", err, enough)
		}
		if err := f.Blocks(wants, nil); !errors.Is(err, enough) {
			t.Errorf("after the end: got %v, want %v", err, enough)
		}
		f.Close()
		<-served
	})
}

func TestFetchClosed(t *testing.T) {
	overStreams(t, func(t *testing.T, a, b net.Conn) {
		defer b.Close()
		f := NewFetcher(a)
		w := Want{Path: "a", Block: merkle.Block{Size: 1}}
		got := make(chan error)
		go func() { got <- f.Blocks([]Want{w, w}, func(int, []byte, error) error { return nil }) }()
		if _, err := newFrameReader(b).next(maxBlockFrame); err != nil { // the call is under way
			t.Fatal(err)
		}
		f.Close()
		if err := <-got; !errors.Is(err, ErrClosed) {
			t.Errorf("got %v, want ErrClosed", err)
		}
		if _, err := f.List("a", hash(1), 1, nil); !errors.Is(err, ErrClosed) {
			t.Errorf("list: got %v, want ErrClosed", err)
		}
		f.Close()
	})
}

// Requests run ahead of the replies, but no further than the window.
func TestFetchIsPipelined(t *testing.T) {
	src := newMemSource()
	wants := src.add(t, "large", randomData(1, 12<<20))
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		f := NewFetcher(a)
		end := make(chan error)
		go func() { end <- f.Blocks(wants, func(int, []byte, error) error { return nil }) }()
		asked := make(chan int, 100)
		go func() {
			defer close(asked)
			for r := newFrameReader(b); ; {
				frame, err := r.next(maxBlockFrame)
				if err != nil {
					return
				}
				m, err := decode(frame, newBlock)
				if err != nil {
					t.Error(err)
					return
				}
				for _, w := range m.(*BlockRequest).Wants {
					asked <- int(w.Block.Size)
				}
			}
		}()
		synctest.Wait() // nothing was answered, and nothing more will be asked
		total := 0
		for range len(asked) {
			total += <-asked
		}
		if total > maxOutstanding || total < maxOutstanding-maxRequest {
			t.Errorf("%d bytes outstanding, want about %d", total, maxOutstanding)
		}
		b.Close()
		if err := <-end; !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("got %v at the end of the stream", err)
		}
		f.Close()
		for range asked {
			t.Error("asked more after the end")
		}
	})
}

func TestFetchList(t *testing.T) {
	src := newMemSource()
	old := randomData(1, 3<<20)
	edited := bytes.Clone(old)
	copy(edited[1<<20:], "an edit in the middle")
	edited = append(edited, "and one at the end"...)
	for name, data := range map[string][]byte{"empty": nil, "small": []byte("x"), "old": old, "edited": edited} {
		src.add(t, name, data)
	}
	base := split(t, old)
	serving(t, src, func(t *testing.T, f *Fetcher) {
		for _, base := range []merkle.BlockList{nil, base, split(t, []byte("unknown to the peer"))} {
			for name, data := range map[string][]byte{"empty": nil, "small": []byte("x"), "old": old, "edited": edited} {
				want := split(t, data)
				got, err := f.List(name, want.Root(), int64(len(data)), base)
				if err != nil || len(got) != len(want) || got.Root() != want.Root() {
					t.Errorf("%s: got %d blocks, %v; want %d", name, len(got), err, len(want))
				}
			}
		}
		if _, err := f.List("old", hash(1), 1, nil); !errors.Is(err, ErrGone) {
			t.Errorf("other content: got %v, want ErrGone", err)
		}
		src.broken["broken"] = true
		if _, err := f.List("broken", hash(1), 1, nil); !errors.Is(err, ErrFailed) {
			t.Errorf("unreadable: got %v, want ErrFailed", err)
		}
		if _, err := f.List("small", src.paths["small"], 2, nil); !errors.Is(err, ErrWrongHash) {
			t.Errorf("wrong size: got %v, want ErrWrongHash", err)
		}
		if _, err := f.List("small", src.paths["small"], 1, nil); err != nil { // the stream is still in order
			t.Error(err)
		}
		if _, err := f.List("old", src.paths["old"], 1, nil); !errors.Is(err, merkle.ErrFormat) {
			t.Errorf("more blocks than bytes: got %v, want ErrFormat", err)
		}
	})
}

// A listSource has one long list, and its predecessor.
type listSource struct{ base, list merkle.BlockList }

func (s *listSource) OpenContent(string, merkle.Hash) (Content, error) { return nil, ErrGone }

func (s *listSource) List(_ string, content merkle.Hash) (merkle.BlockList, error) {
	if content == s.base.Root() {
		return s.base, nil
	}
	return s.list, nil
}

func TestFetchLongList(t *testing.T) {
	base := manyBlocks(3*MaxBlocks + 5)
	for i := range base {
		base[i].Size = merkle.MinBlock + 1
	}
	every := append(merkle.BlockList(nil), base...)
	for i := 0; i < len(every); i += 3 {
		every[i].Hash[0]++
	}
	rows := []struct {
		name       string
		list       merkle.BlockList
		base       merkle.BlockList
		most, less int // bytes over the wire
	}{
		{"whole", base, nil, 500 << 10, 400 << 10},
		{"one left out", append(append(merkle.BlockList{}, base[:7000]...), base[7001:]...), base, 100, 20},
		{"every third changed", every, base, 300 << 10, 100 << 10},
		{"the same", base, base, 100, 10},
	}
	for _, row := range rows {
		a, b := net.Pipe()
		counted := &countingConn{Conn: a}
		served := make(chan error, 1)
		go func() { served <- Serve(b, &listSource{row.base, row.list}) }()
		f := NewFetcher(counted)
		got, err := f.List("a", row.list.Root(), row.list.Size(), row.base)
		if err != nil || !reflect.DeepEqual(got, row.list) {
			t.Errorf("%s: got %d blocks, %v; want %d", row.name, len(got), err, len(row.list))
		}
		if counted.read > row.most || counted.read < row.less {
			t.Errorf("%s: %d bytes over the wire, want %d to %d", row.name, counted.read, row.less, row.most)
		}
		f.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
}

type countingConn struct {
	net.Conn
	read int
}

func (c *countingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.read += n
	return n, err
}
