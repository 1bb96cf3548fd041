package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestCompareFoldersSeesEveryDifference(t *testing.T) {
	rows := []struct {
		name   string
		change func(dir string) error
		want   string // in the line about it; "": there must be none
	}{
		{"nothing", func(string) error { return nil }, ""},
		{"resonate's own", func(d string) error { return os.MkdirAll(filepath.Join(d, markerDir, "x"), 0o755) }, ""},
		{"a directory's time", func(d string) error { return os.Chtimes(filepath.Join(d, "part00"), noon, noon) }, ""},
		{"content", func(d string) error { return rewrite(filepath.Join(d, "part01/section1/file0001.txt")) }, "sha256"},
		{"a file's time", func(d string) error { return os.Chtimes(filepath.Join(d, "part01/section1/file0001.txt"), noon, noon) }, "2026-11-02T12:00:00Z"},
		{"a mode", func(d string) error { return os.Chmod(filepath.Join(d, "part01/section1/file0001.txt"), 0o600) }, "-rw-------"},
		{"missing", func(d string) error { return os.Remove(filepath.Join(d, "part01/section1/file0001.txt")) }, "in b nothing"},
		{"more", func(d string) error { return os.Mkdir(filepath.Join(d, "new"), 0o755) }, "in a nothing"},
		{"a symlink", func(d string) error { return os.Symlink("part00", filepath.Join(d, "link")) }, "to part00"},
	}
	root := t.TempDir()
	a := filepath.Join(root, "a")
	if _, err := generateTree(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	for i := 2; i < 40; i++ { // a small part of it is enough
		if err := os.RemoveAll(filepath.Join(a, fmt.Sprintf("part%02d", i))); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range rows {
		b := filepath.Join(root, "b")
		if err := os.RemoveAll(b); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(b, 0o755); err != nil {
			t.Fatal(err)
		}
		if _, err := copyTree(t.Context(), b, a); err != nil {
			t.Fatal(err)
		}
		if err := row.change(b); err != nil {
			t.Fatal(err)
		}
		_, got, err := compareFolders(t.Context(), []string{a, b})
		switch {
		case err != nil:
			t.Errorf("%s: %v", row.name, err)
		case row.want == "" && len(got) != 0, row.want != "" && len(got) != 1:
			t.Errorf("%s: got %q", row.name, got)
		case row.want != "" && !strings.Contains(got[0], row.want):
			t.Errorf("%s: got %q, want %q in it", row.name, got[0], row.want)
		}
	}
}

// rewrite changes a file's content and nothing else that a stat would tell.
func rewrite(path string) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, []byte(strings.Repeat("x", int(st.Size()))), 0); err != nil {
		return err
	}
	return os.Chtimes(path, st.ModTime(), st.ModTime())
}

func TestApplyEdit(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"a", "state/edits"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(root, "a", "f")
	if err := os.WriteFile(path, []byte("old\n"), 0o751); err != nil {
		t.Fatal(err)
	}
	d := &demo{root: root, out: io.Discard}
	for _, rename := range []bool{true, false} {
		before, _ := os.Stat(path)
		content, began, err := d.apply(edit{&demoNode{name: "a", dir: filepath.Join(root, "a")}, "f", rename})
		if err != nil {
			t.Fatal(err)
		}
		after, _ := os.Stat(path)
		if !holds(path, content) || !strings.HasPrefix(string(content), "old\n") {
			t.Errorf("rename %v: the file does not hold %q", rename, content)
		}
		if got := !os.SameFile(before, after); got != rename {
			t.Errorf("another inode: got %v, want %v", got, rename)
		}
		if after.Mode() != before.Mode() || time.Since(began) > time.Minute {
			t.Errorf("rename %v: got mode %v and began %v, want %v and now", rename, after.Mode(), began, before.Mode())
		}
	}
	if holds(path, []byte("old\n")) {
		t.Error("holds: got true for other content")
	}
}
