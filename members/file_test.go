package members

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestFile(t *testing.T) {
	dir := t.TempDir()
	file := &File{Path: filepath.Join(dir, "members")}
	s, err := file.Load(keyOf('A'))
	if err != nil || len(s.List()) != 1 {
		t.Fatalf("without a file: got %v, %v; want a new set", s, err)
	}
	s = sampleSet(t)
	if err := file.Save(s); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file.Path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v; want mode 0600", info.Mode(), err)
	}
	got, err := file.Load(keyOf('A'))
	if err != nil {
		t.Fatal(err)
	}
	if got.Digest() != s.Digest() || got.current.Load().last != s.current.Load().last || fmt.Sprint(got.List()) != fmt.Sprint(s.List()) {
		t.Errorf("got %v, want %v", got.List(), s.List())
	}
	if names, _ := os.ReadDir(dir); len(names) != 1 {
		t.Errorf("got %v, want the file alone", names)
	}
}

func TestDamagedFile(t *testing.T) {
	file := &File{Path: filepath.Join(t.TempDir(), "members")}
	whole := sampleSet(t).store()
	check := func(name string, b []byte, by byte) {
		t.Helper()
		if err := os.WriteFile(file.Path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := file.Load(keyOf(by))
		if s != nil || err == nil || !strings.Contains(err.Error(), file.Path) || !strings.Contains(err.Error(), "restore it") {
			t.Errorf("%s: got %v, %v; want path and remedy", name, s, err)
		}
	}
	check("empty", nil, 'A')
	check("of another node", whole, 'B')
	check("of a later version", bytes.Replace(whole, []byte(" 1\n"), []byte(" 2\n"), 1), 'A')
	check("longer", append(slices.Clone(whole), 0), 'A')
	check("half", whole[:len(whole)/2], 'A')
	for i := range whole {
		bad := slices.Clone(whole)
		bad[i] ^= 0x10
		for name, b := range map[string][]byte{"changed at": bad, "cut at": whole[:i]} {
			if err := New(keyOf('A')).restore(b); !errors.Is(err, ErrFormat) {
				t.Errorf("%s byte %d: got %v, want ErrFormat", name, i, err)
			}
		}
	}
}

func TestFileThatOthersCanWrite(t *testing.T) {
	file := &File{Path: filepath.Join(t.TempDir(), "members")}
	if err := file.Save(sampleSet(t)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file.Path, 0o620); err != nil {
		t.Fatal(err)
	}
	if _, err := file.Load(keyOf('A')); err == nil || !strings.Contains(err.Error(), "chmod 600 "+file.Path) {
		t.Errorf("got %v, want the remedy", err)
	}
	if err := (&File{Path: filepath.Join(file.Path, "members")}).Save(sampleSet(t)); err == nil || !strings.Contains(err.Error(), file.Path) {
		t.Errorf("no such folder: got %v, want an error with the path", err)
	}
}

func TestConcurrentUse(t *testing.T) {
	file := &File{Path: filepath.Join(t.TempDir(), "members")}
	s := New(keyOf('A'))
	in := samples(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 20 {
				s.Is(public('B'))
				s.List()
				if _, err := s.Merge(in[:(i+n)%len(in)]); err != nil {
					t.Error(err)
				}
				if _, err := s.Profile(fmt.Sprint(i, n), nil, false, at(n)); err != nil {
					t.Error(err)
				}
				if n%10 == 0 {
					if err := file.Save(s); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	if err := file.Save(s); err != nil {
		t.Fatal(err)
	}
	got, err := file.Load(keyOf('A'))
	if err != nil || got.Digest() != s.Digest() {
		t.Errorf("got %v, want what was saved last", err)
	}
}

// FuzzRestore takes bytes for what stands behind the checksum of a file.
func FuzzRestore(f *testing.F) {
	f.Add(sampleSet(f).store()[len(fileMagic)+32:])
	f.Add(New(keyOf('A')).store()[len(fileMagic)+32:])
	f.Fuzz(func(t *testing.T, message []byte) {
		s := New(keyOf('A'))
		if err := s.restore(sealed(message)); err != nil {
			return
		}
		again := New(keyOf('A'))
		if err := again.restore(s.store()); err != nil || again.Digest() != s.Digest() {
			t.Errorf("stored again: %v", err)
		}
	})
}
