package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// noise gives random bytes, the same for the same seed, which no compression makes smaller.
func noise(seed uint64) io.Reader {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	return rand.NewChaCha8(key)
}

// writeNoise makes a file of noise.
func writeNoise(path string, seed uint64, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.CopyBuffer(f, io.LimitReader(noise(seed), size), make([]byte, pieceSize)); err != nil {
		return err
	}
	return f.Close()
}

// makeTree makes files of up to twice size bytes, a hundred to a directory, and returns how many bytes they have.
func makeTree(top string, seed uint64, files, size int) (sum int64, err error) {
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range files {
		dir := filepath.Join(top, fmt.Sprintf("dir%03d", i/100))
		if i%100 == 0 {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return 0, err
			}
		}
		n := int64(1 + random.IntN(2*size))
		if err := writeNoise(filepath.Join(dir, fmt.Sprintf("file%02d", i%100)), random.Uint64(), n); err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// bring has what lies at a path outside appear in the first folder at once, and returns how long it takes to be in the second.
func bring(ctx context.Context, nodes [2]*node, outside, name string) (time.Duration, error) {
	begin := time.Now()
	if err := os.Rename(outside, filepath.Join(nodes[0].folder, name)); err != nil {
		return 0, err
	}
	err := filepath.WalkDir(filepath.Join(nodes[0].folder, name), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		there := filepath.Join(nodes[1].folder, path[len(nodes[0].folder):])
		return await(ctx, nodes, there, func() bool {
			got, err := os.Lstat(there)
			return err == nil && got.Size() == info.Size()
		})
	})
	return time.Since(begin), err
}

// An edit is something small that a user does, timed until it is seen in the other folder.
type edit struct {
	title string
	do    func(top string, i int) (path string, at int64, mark []byte, err error) // the mark is to be read at a place of that file
}

// edits are what is timed. The files that they change are made by prepareEdits.
var edits = []edit{
	{"new file of 1 KiB", func(top string, i int) (string, int64, []byte, error) {
		path := filepath.Join(top, fmt.Sprintf("new%d", i))
		return path, 0, mark(i), os.WriteFile(path, pad(mark(i), 1<<10), 0o644)
	}},
	{"edit of 1 KiB by rename", func(top string, i int) (string, int64, []byte, error) {
		return replace(filepath.Join(top, "small"), i, 1<<10)
	}},
	{"edit of 1 KiB in place", func(top string, i int) (string, int64, []byte, error) {
		path := filepath.Join(top, "small")
		return path, 0, mark(i), os.WriteFile(path, pad(mark(i), 1<<10), 0o644)
	}},
	{"edit of 30 KiB by rename", func(top string, i int) (string, int64, []byte, error) {
		return replace(filepath.Join(top, "middle"), i, 30<<10)
	}},
	{"edit of 100 KiB by rename", func(top string, i int) (string, int64, []byte, error) {
		return replace(filepath.Join(top, "longer"), i, 100<<10)
	}},
	{"16 bytes in a file of 4 MiB", func(top string, i int) (string, int64, []byte, error) {
		return poke(filepath.Join(top, "long"), i)
	}},
	{"16 bytes in a file of 64 MiB", func(top string, i int) (string, int64, []byte, error) {
		return poke(filepath.Join(top, "large"), i)
	}},
	{"new directory of 20 files", func(top string, i int) (string, int64, []byte, error) {
		aside, dir := filepath.Join(top, "..", "aside"), filepath.Join(top, fmt.Sprintf("dir%d", i))
		if err := os.Mkdir(aside, 0o755); err != nil {
			return "", 0, nil, err
		}
		for k := range 20 {
			if err := os.WriteFile(filepath.Join(aside, fmt.Sprint(k)), pad(mark(i*100+k), 500), 0o644); err != nil {
				return "", 0, nil, err
			}
		}
		return filepath.Join(dir, "19"), 0, mark(i*100 + 19), os.Rename(aside, dir)
	}},
}

// prepareEdits makes the files that are edited.
func prepareEdits(top string) error {
	for name, size := range map[string]int64{"small": 1 << 10, "middle": 30 << 10, "longer": 100 << 10, "long": 4 << 20, "large": 64 << 20} {
		if err := writeNoise(filepath.Join(top, name), uint64(size), size); err != nil {
			return err
		}
	}
	return nil
}

func mark(i int) []byte { return fmt.Appendf(nil, "edit %10d\n", i) }

// pad makes size bytes of a mark, with noise behind it.
func pad(mark []byte, size int) []byte {
	out := make([]byte, size)
	_, _ = io.ReadFull(noise(rand.Uint64()), out) // noise has no end
	copy(out, mark)
	return out
}

// replace writes a file as editors do: aside, then renamed over the old one.
func replace(path string, i, size int) (string, int64, []byte, error) {
	aside := filepath.Join(filepath.Dir(path), "..", "aside")
	if err := os.WriteFile(aside, pad(mark(i), size), 0o644); err != nil {
		return "", 0, nil, err
	}
	return path, 0, mark(i), os.Rename(aside, path)
}

// poke overwrites a few bytes of a file.
func poke(path string, i int) (string, int64, []byte, error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return "", 0, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", 0, nil, err
	}
	at := rand.Int64N(info.Size() - 16)
	_, err = f.WriteAt(mark(i), at)
	return path, at, mark(i), err
}

// timeEdit makes one edit, and returns how long it takes to be seen.
func timeEdit(ctx context.Context, nodes [2]*node, e edit, i int) (time.Duration, error) {
	begin := time.Now()
	path, at, mark, err := e.do(nodes[0].folder, i)
	if err != nil {
		return 0, err
	}
	there := filepath.Join(nodes[1].folder, path[len(nodes[0].folder):])
	err = await(ctx, nodes, there, func() bool { return reads(there, at, mark) })
	return time.Since(begin), err
}

func reads(path string, at int64, want []byte) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	got := make([]byte, len(want))
	_, err = f.ReadAt(got, at)
	return (err == nil || err == io.EOF) && bytes.Equal(got, want)
}
