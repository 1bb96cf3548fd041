package beneath

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func BenchmarkDepth4(b *testing.B) {
	dir := b.TempDir()
	const path = "one/two/three/file"
	write(b, dir+"/"+path, "x")
	for _, way := range []struct {
		name string
		open opener
	}{{"platform", openBeneath}, {"walk", walkBeneath}} {
		r := openTest(b, dir, way.open)
		b.Run("Lstat/"+way.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Lstat(path); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("OpenFile/"+way.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f, err := r.OpenFile(path)
				if err != nil {
					b.Fatal(err)
				}
				f.Close()
			}
		})
	}
}

// BenchmarkScan lists 100,000 files in 1,000 directories and asks for what is known of each, as the first look at a folder
// does; and once more without Root, to tell what its safety costs. TMPDIR chooses the file system.
func BenchmarkScan(b *testing.B) {
	dir := b.TempDir()
	for i := range 100_000 {
		path := fmt.Sprintf("%s/dir%d/file%d", dir, i/100, i)
		if i%100 == 0 {
			must(b, os.Mkdir(filepath.Dir(path), 0o755))
		}
		must(b, os.WriteFile(path, nil, 0o644))
	}
	b.Run("Root", func(b *testing.B) {
		r, err := Open(dir)
		must(b, err)
		defer r.Close()
		for b.Loop() {
			if n := scanRoot(b, r, "."); n != 101_000 {
				b.Fatalf("found %d names, want 101000", n)
			}
		}
	})
	b.Run("WalkDir", func(b *testing.B) {
		for b.Loop() {
			must(b, filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
				if err == nil {
					_, err = d.Info()
				}
				return err
			}))
		}
	})
}

// scanRoot counts the names at and below dir.
func scanRoot(b *testing.B, r *Root, dir string) int {
	names, err := r.ReadDir(dir)
	must(b, err)
	count := len(names)
	for _, e := range names {
		path := filepath.Join(dir, e.Name)
		info, err := r.Lstat(path)
		must(b, err)
		if info.Kind == Dir {
			count += scanRoot(b, r, path)
		}
	}
	return count
}
