package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestCompare(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(dir string) error
		want   string
	}{
		{"equal", func(string) error { return nil }, ""},
		{"missing", func(dir string) error { return os.Remove(filepath.Join(dir, "dir0001", "file0000100")) }, "dir0001/file0000100 is in one only"},
		{"more", func(dir string) error { return os.Mkdir(filepath.Join(dir, "x"), 0o755) }, "x is in one only"},
		{"content", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "link-target"), []byte("other"), 0o644)
		}, "link-target has two contents"},
		{"kind", func(dir string) error {
			os.Remove(filepath.Join(dir, "link"))
			return os.Mkdir(filepath.Join(dir, "link"), 0o755)
		}, "link is of two kinds"},
		{"target", func(dir string) error {
			os.Remove(filepath.Join(dir, "link"))
			return os.Symlink("elsewhere", filepath.Join(dir, "link"))
		}, "link has two contents"},
		{"the tool's own", func(dir string) error { return os.MkdirAll(filepath.Join(dir, ".resonate", "history"), 0o755) }, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			a, b := t.TempDir(), filepath.Join(t.TempDir(), "b")
			must(t, makeFiles(a, 101))
			must(t, os.WriteFile(filepath.Join(a, "link-target"), []byte("mine!"), 0o644))
			must(t, os.Symlink("link-target", filepath.Join(a, "link")))
			must(t, os.CopyFS(b, os.DirFS(a)))
			must(t, row.change(b))
			for _, pair := range [][2]string{{a, b}, {b, a}} {
				if got, err := compare(pair[0], pair[1]); err != nil || got != row.want {
					t.Errorf("got %q, %v, want %q", got, err, row.want)
				}
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
