package merkle

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"
)

func BenchmarkCut(b *testing.B) {
	data := noise(1, 8<<20)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		for rest := data; len(rest) > 0; {
			rest = rest[Cut(rest):]
		}
	}
}

func BenchmarkSplit(b *testing.B) {
	for _, size := range []int{4 << 10, 8 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			data, buf := noise(1, size), []byte(nil)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				_, buf, _ = Split(bytes.NewReader(data), buf) // a bytes.Reader does not fail
			}
		})
	}
}

// BenchmarkHash tells what a file costs to hash, as one and block by block, and what the blocks' own hashes add.
func BenchmarkHash(b *testing.B) {
	data := noise(1, 8<<20)
	b.Run("8 MiB as one", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			HashBlock(data)
		}
	})
	b.Run("8 MiB in blocks of 128 KiB", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			list := make(BlockList, 0, len(data)/AvgBlock)
			for at := 0; at < len(data); at += AvgBlock {
				list = append(list, Block{HashBlock(data[at : at+AvgBlock]), AvgBlock})
			}
			list.Root()
		}
	})
}

func BenchmarkSplitAt(b *testing.B) {
	data := noise(1, 64<<20)
	for _, workers := range []int{1, runtime.NumCPU()} {
		b.Run(fmt.Sprintf("%d workers", workers), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				_, _ = SplitAt(bytes.NewReader(data), int64(len(data)), workers, nil) // a bytes.Reader does not fail
			}
		})
	}
}

func BenchmarkHashSmall(b *testing.B) {
	b.Run("block of 100 bytes", func(b *testing.B) {
		data := make([]byte, 100)
		b.ReportAllocs()
		for b.Loop() {
			HashBlock(data)
		}
	})
	b.Run("entry", func(b *testing.B) {
		e := fileEntry(1, 1)
		b.ReportAllocs()
		for b.Loop() {
			e.Hash()
		}
	})
}

// benchmarkPaths are 100,000 paths, so many to a directory.
func benchmarkPaths(each int) []string {
	paths := make([]string, 100_000)
	for i := range paths {
		paths[i] = fmt.Sprintf("dir%d/some-file-name-%d.go", i/each, i)
	}
	return paths
}

func buildTree(paths []string) *Tree {
	t := new(Tree)
	for i, path := range paths {
		e := fileEntry(byte(1+i), Stamp(i+1))
		e.MTime = int64(i)
		t.Put(path, e)
	}
	t.Root()
	return t
}

var shapes = []struct {
	name string
	each int
}{{"1 directory", 100_000}, {"1000 directories", 100}}

// BenchmarkTreeBuild tells what a tree of 100,000 entries costs, and what memory an entry takes, path not counted.
func BenchmarkTreeBuild(b *testing.B) {
	for _, shape := range shapes {
		b.Run(shape.name, func(b *testing.B) {
			paths := benchmarkPaths(shape.each)
			var before, after runtime.MemStats
			var tree *Tree
			for b.Loop() {
				tree = nil
				runtime.GC()
				runtime.ReadMemStats(&before)
				tree = buildTree(paths)
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(len(paths)), "B/entry")
			runtime.KeepAlive(tree)
		})
	}
}

// BenchmarkTreeEdit changes one entry of 100,000 and asks for the root.
func BenchmarkTreeEdit(b *testing.B) {
	for _, shape := range shapes {
		b.Run(shape.name, func(b *testing.B) {
			paths := benchmarkPaths(shape.each)
			tree := buildTree(paths)
			e := [2]*Entry{fileEntry(1, 1), fileEntry(2, 2)}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				tree.Put(paths[i*7919%len(paths)], e[i/len(paths)%2])
				tree.Root()
			}
		})
	}
}

// BenchmarkDiff finds one edit among 100,000 entries.
func BenchmarkDiff(b *testing.B) {
	for _, shape := range shapes {
		b.Run(shape.name, func(b *testing.B) {
			paths := benchmarkPaths(shape.each)
			mine, theirs := buildTree(paths), buildTree(paths)
			theirs.Put(paths[54321], fileEntry(9, 9))
			theirs.Root()
			b.ReportAllocs()
			for b.Loop() {
				for ask := []Place{{}}; len(ask) > 0; ask = ask[1:] {
					ask = append(ask, mine.Compare(theirs.Level(ask[0])).Ask...)
				}
			}
		})
	}
}
