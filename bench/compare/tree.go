package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// filesPerDirectory is how many files makeFiles puts into one directory.
const filesPerDirectory = 100

// noise gives random bytes, the same for the same seed.
func noise(seed uint64) *rand.ChaCha8 {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	return rand.NewChaCha8(key)
}

// makeLarge writes a file that no compression makes smaller.
func makeLarge(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.CopyBuffer(f, io.LimitReader(noise(1), size), make([]byte, 1<<20)); err != nil {
		return err
	}
	return f.Close()
}

// makeFiles makes n small files, no two with the same content, a hundred to a directory below top.
func makeFiles(top string, n int) error {
	for i := range n {
		dir := filepath.Join(top, fmt.Sprintf("dir%04d", i/filesPerDirectory))
		if i%filesPerDirectory == 0 {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
		}
		content := fmt.Appendf(nil, "%s %d\n", top, i)
		content = append(content, make([]byte, i%1000)...)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("file%07d", i)), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// replace writes a file as editors do: aside, then renamed over the old one.
func replace(path string, content []byte) error {
	aside := filepath.Join(filepath.Dir(path), ".aside~")
	if err := os.WriteFile(aside, content, 0o644); err != nil {
		return err
	}
	return os.Rename(aside, path)
}

// overwrite writes a file in place.
func overwrite(path string, content []byte) error { return os.WriteFile(path, content, 0o644) }

// mirrored wants each file below from to be below to, with its size.
func mirrored(from, to string) ([]condition, error) {
	all, err := list(from)
	var want []condition
	for _, path := range slices.Sorted(maps.Keys(all)) {
		size := int64(-1)
		if info := all[path]; info.Mode().IsRegular() {
			size = info.Size()
		}
		want = append(want, exists(filepath.Join(to, path), size))
	}
	return want, err
}

// isTools tells whether a name in a folder is the tool's own: its marker, or a file that it is about to put in place.
func isTools(name string) bool {
	return name == ".resonate" || name == ".stfolder" || strings.HasPrefix(name, ".unison.") || strings.HasPrefix(name, ".syncthing.")
}

// list gives what is in a folder, by path, without what is the tool's own.
func list(top string) (map[string]fs.FileInfo, error) {
	all := make(map[string]fs.FileInfo)
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case path == top:
			return nil
		case isTools(d.Name()) && d.IsDir():
			return filepath.SkipDir
		case isTools(d.Name()):
			return nil
		}
		name, err := filepath.Rel(top, path)
		if err == nil {
			all[name], err = d.Info()
		}
		return err
	})
	return all, err
}

// compare names the first difference between two folders, in names, kinds or contents; empty: none. What goes away meanwhile is a
// difference too.
func compare(a, b string) (string, error) {
	inA, errA := list(a)
	inB, errB := list(b)
	err := errors.Join(errA, errB)
	if errors.Is(err, fs.ErrNotExist) {
		return "a file went away", nil
	}
	if err != nil {
		return "", err
	}
	buffers := [2][]byte{make([]byte, 1<<20), make([]byte, 1<<20)}
	for _, path := range slices.Sorted(maps.Keys(inA)) {
		x, y := inA[path], inB[path]
		if y == nil {
			return path + " is in one only", nil
		}
		if x.Mode().Type() != y.Mode().Type() {
			return path + " is of two kinds", nil
		}
		same := true
		switch {
		case x.Mode().IsRegular():
			same = x.Size() == y.Size() && sameBytes(filepath.Join(a, path), filepath.Join(b, path), buffers)
		case x.Mode()&fs.ModeSymlink != 0:
			to, _ := os.Readlink(filepath.Join(a, path))
			also, _ := os.Readlink(filepath.Join(b, path))
			same = to == also
		}
		if !same {
			return path + " has two contents", nil
		}
		delete(inB, path)
	}
	for path := range inB {
		return path + " is in one only", nil
	}
	return "", nil
}

// sameBytes tells whether both files can be read and are equal.
func sameBytes(a, b string, buffers [2][]byte) bool {
	f, err := os.Open(a)
	if err != nil {
		return false
	}
	defer f.Close()
	g, err := os.Open(b)
	if err != nil {
		return false
	}
	defer g.Close()
	for {
		n, errF := io.ReadFull(f, buffers[0])
		m, errG := io.ReadFull(g, buffers[1])
		if n != m || !bytes.Equal(buffers[0][:n], buffers[1][:m]) {
			return false
		}
		if errF != nil || errG != nil {
			return ended(errF) && ended(errG)
		}
	}
}

func ended(err error) bool { return err == io.EOF || err == io.ErrUnexpectedEOF }
