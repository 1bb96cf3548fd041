package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// makeFolder returns a directory with a marker and a subdirectory.
func makeFolder(t *testing.T) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "test1")
	for _, dir := range []string{filepath.Join(folder, markerDir), filepath.Join(folder, "sub", "deep")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(folder, markerDir, markerFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return folder
}

func TestFindFolderUpwards(t *testing.T) {
	folder := makeFolder(t)
	for _, sub := range []string{"", "sub", "sub/deep"} {
		t.Chdir(filepath.Join(folder, sub))
		if got, err := findFolder(""); err != nil || resolved(got) != resolved(folder) {
			t.Errorf("in %q: got %q, %v; want %q", sub, got, err, folder)
		}
	}
	t.Chdir(t.TempDir())
	var usage usageError
	if got, err := findFolder(""); !errors.As(err, &usage) {
		t.Errorf("outside: got %q, %v; want a usageError", got, err)
	}
}

func TestInFolder(t *testing.T) {
	folder := makeFolder(t)
	outside := filepath.Dir(folder)
	if err := os.Symlink("sub", filepath.Join(folder, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(folder, filepath.Join(outside, "alias")); err != nil {
		t.Fatal(err)
	}
	const wrong = "(refused)"
	rows := []struct{ name, in, operand, want string }{
		{"from the folder", folder, "a.txt", "a.txt"},
		{"from below", folder + "/sub", "a.txt", "sub/a.txt"},
		{"upwards", folder + "/sub/deep", "../../a.txt", "a.txt"},
		{"the folder itself", folder, ".", ""},
		{"absolute", outside, folder + "/x/gone", "x/gone"},
		{"from outside, by its path", outside, "test1/a.txt", "a.txt"},
		{"from outside, by its path in the folder", outside, "sub/a.txt", "sub/a.txt"},
		{"a symlink is itself", folder, "link", "link"},
		{"by another name of the folder", outside, "alias/sub/a.txt", "sub/a.txt"},
		{"another name, as the working directory", outside + "/alias", "a.txt", "a.txt"},
		{"the folder by another name", outside, "alias", ""},
		{"a name that begins with dots", folder, "..a", "..a"},
		{"outside", folder, "../other", wrong},
		{"outside from outside", outside, "../other", wrong},
		{"outside, though not from the top", folder + "/sub", "../../" + filepath.Base(outside) + "/test1/a", wrong},
		{"absolute outside", folder, "/etc/passwd", wrong},
		{"nothing", folder, "", wrong},
	}
	for _, row := range rows {
		t.Chdir(row.in)
		got, err := inFolder(folder, row.operand)
		if err != nil {
			got = wrong
		}
		if got != row.want {
			t.Errorf("%s: got %q (%v), want %q", row.name, got, err, row.want)
		}
	}
}
