package foldtest

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMount(t *testing.T) {
	backing, dir := t.TempDir(), t.TempDir()
	err := Mount(t, backing, dir, Options{Refuse: ":"})
	if err != nil {
		if os.Getenv("RESONATE_CI") == "1" {
			t.Fatalf("no mounts here: %v", err)
		}
		t.Skipf("no mounts here: %v", err)
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	want := func(name, content string) {
		t.Helper()
		if b, err := os.ReadFile(in(name)); err != nil || string(b) != content {
			t.Errorf("%s holds %q, %v, want %q", name, b, err, content)
		}
	}
	must(os.Mkdir(in("Dir"), 0o755))
	must(os.WriteFile(in("dIR/Caf\u00e9"), []byte("one"), 0o644))
	want("DIR/cafe\u0301", "one")
	must(os.WriteFile(in("dir/CAF\u00c9"), []byte("two"), 0o644))
	want("Dir/Caf\u00e9", "two")
	if names, err := os.ReadDir(in("dir")); err != nil || len(names) != 1 || names[0].Name() != "Caf\u00e9" {
		t.Errorf("Dir holds %v, %v, want the name as it was made", names, err)
	}
	must(os.WriteFile(in("other"), []byte("other"), 0o644))
	for _, to := range []string{"dir/CAF\u00c9", "OTHER"} {
		err := unix.Renameat2(unix.AT_FDCWD, in("other"), unix.AT_FDCWD, in(to), unix.RENAME_NOREPLACE)
		if !errors.Is(err, unix.EEXIST) {
			t.Errorf("rename to %s without replacing: %v, want EEXIST", to, err)
		}
	}
	must(os.Rename(in("other"), in("x")))
	must(os.Rename(in("x"), in("OTHER")))
	want("OTHER", "other")
	if _, err := os.Stat(filepath.Join(backing, "OTHER")); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(in("a:b"), nil, 0o644); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("a refused name: %v, want EINVAL", err)
	}
	must(os.Remove(in("other")))
	if _, err := os.Lstat(filepath.Join(backing, "OTHER")); err == nil {
		t.Error("OTHER is still there")
	}
}
