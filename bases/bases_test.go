package bases

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"resonate/merkle"
)

// text makes a text of a content.
func text(t testing.TB, data string) Text {
	t.Helper()
	list, _, err := merkle.Split(bytes.NewReader([]byte(data)), nil)
	if err != nil {
		t.Fatal(err)
	}
	return Text{list.Root(), []byte(data)}
}

func opened(t testing.TB, s *Store) *Store {
	t.Helper()
	if err := s.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func put(t testing.TB, s *Store, texts ...Text) {
	t.Helper()
	if err := s.Put(texts); err != nil {
		t.Fatal(err)
	}
}

// keeps checks whether s has a text, and that it is the right one.
func keeps(t testing.TB, s *Store, want Text, yes bool) {
	t.Helper()
	got, err := s.Get(want.Hash)
	switch {
	case yes && (err != nil || !bytes.Equal(got, want.Data)):
		t.Errorf("%.20q: got %.20q, %v", want.Data, got, err)
	case !yes && !errors.Is(err, ErrAbsent):
		t.Errorf("%.20q: got %.20q, %v, want none", want.Data, got, err)
	}
}

// noise returns a text that cannot be compressed well.
func noise(t testing.TB, seed uint64, size int) Text {
	r := rand.New(rand.NewPCG(seed, 0))
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(' ' + r.IntN(95))
	}
	return text(t, string(b))
}

func TestTextsAreKept(t *testing.T) {
	dir := t.TempDir()
	s := opened(t, &Store{Dir: dir})
	texts := []Text{text(t, ""), text(t, "a line\n"), noise(t, 1, 100<<10), noise(t, 2, MaxText)}
	put(t, s, texts...)
	put(t, s, texts...) // again
	large := noise(t, 3, MaxText+1)
	put(t, s, large)
	size := s.segments[0].size
	again := &Store{Dir: dir}
	for _, s := range []*Store{s, again} {
		if s == again {
			opened(t, s)
		}
		for _, want := range texts {
			keeps(t, s, want, true)
		}
		keeps(t, s, large, false)
		keeps(t, s, text(t, "never seen"), false)
	}
	put(t, again, text(t, "later"))
	if got := again.segments; len(got) != 1 || got[0].size <= size {
		t.Errorf("segments %v, want one of more than %d", got, size)
	}
	keeps(t, again, text(t, "later"), true)
}

// TestBounds has more texts put than may be kept: the files stay within their bounds, and the newest texts are there.
func TestBounds(t *testing.T) {
	dir := t.TempDir()
	s := opened(t, &Store{Dir: dir, MaxSize: 100 << 10, SegmentSize: 20 << 10, MaxTexts: 300})
	var texts []Text
	for i := range 200 {
		texts = append(texts, noise(t, uint64(i), 2000))
		put(t, s, texts[i])
		size := int64(0)
		files, _ := os.ReadDir(dir)
		for _, f := range files {
			info, _ := f.Info()
			size += info.Size()
		}
		if size > 100<<10 {
			t.Fatalf("after %d texts the files have %d bytes", i+1, size)
		}
	}
	for _, want := range texts[170:] {
		keeps(t, s, want, true)
	}
	keeps(t, s, texts[0], false)
	for i := range 1000 {
		put(t, s, text(t, fmt.Sprintf("small %d", i)))
	}
	if n := len(s.at); n > 300+500 { // one segment of small ones is never dropped while it is the newest
		t.Errorf("%d texts are kept", n)
	}
	keeps(t, s, text(t, "small 999"), true)
}

// TestDamage has bytes on disk changed and cut off: what is damaged is as if it were not kept, and can be kept anew.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	s := opened(t, &Store{Dir: dir})
	first, second, third := noise(t, 1, 1000), noise(t, 2, 1000), noise(t, 3, 1000)
	put(t, s, first)
	put(t, s, second)
	name := filepath.Join(dir, "texts.1")
	file, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(file); at += 1 + at/70*30 { // all of the first head, some of the rest
		broken := bytes.Clone(file)
		broken[at] ^= 0x40
		if err := os.WriteFile(name, broken, 0o600); err != nil {
			t.Fatal(err)
		}
		s := &Store{Dir: dir}
		if err := s.Open(); err != nil {
			t.Fatalf("byte %d changed: %v", at, err)
		}
		for _, want := range []Text{first, second} {
			if got, err := s.Get(want.Hash); err == nil && !bytes.Equal(got, want.Data) {
				t.Fatalf("byte %d changed: got %q", at, got)
			}
		}
		s.Close()
		if at%10 > 0 {
			continue
		}
		if err := s.Open(); err != nil {
			t.Fatal(err)
		}
		put(t, s, third)
		s.Close()
		again := opened(t, &Store{Dir: dir})
		keeps(t, again, third, true)
		again.Close()
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(name, file[:len(file)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	cut := opened(t, &Store{Dir: dir})
	keeps(t, cut, first, true)
	keeps(t, cut, second, false)
	put(t, cut, second)
	keeps(t, cut, second, true)
	cut.Close()
	keeps(t, opened(t, &Store{Dir: dir}), second, true)
}

// FuzzSegment has any bytes for a segment.
func FuzzSegment(f *testing.F) {
	dir := f.TempDir()
	s := opened(f, &Store{Dir: dir})
	put(f, s, text(f, "one\ntwo\n"), noise(f, 1, 100))
	file, err := os.ReadFile(filepath.Join(dir, "texts.1"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(file)
	f.Add([]byte(magic))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		name := filepath.Join(dir, "texts.1")
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		var heads []head
		if _, err := scan(name, func(h head) { heads = append(heads, h) }); err != nil {
			t.Fatal(err)
		}
		s := &Store{Dir: dir}
		if err := s.Open(); err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for _, h := range heads {
			if got, err := s.Get(h.hash); err == nil {
				if hash, err := hashOf(got); err != nil || hash != h.hash {
					t.Errorf("got %q for %v", got, h.hash)
				}
			}
		}
		put(t, s, text(t, "one more"))
		keeps(t, s, text(t, "one more"), true)
	})
}
