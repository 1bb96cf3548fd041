package index

import (
	"errors"
	"os/signal"
	"strings"
	"syscall"
	"testing"
)

// TestPartialAppend lets a write end half-way, as on a full disk: what was written of it is cut off again.
func TestPartialAppend(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir)
	appendPaths(t, l, "a")

	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	limited := syscall.Rlimit{Cur: uint64(l.size) + 100, Max: before.Max}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limited); err != nil {
		t.Fatal(err)
	}
	err := l.Append(Intent{Path: strings.Repeat("x", 5000)})
	if restored := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before); restored != nil {
		t.Fatal(restored)
	}
	if !errors.Is(err, syscall.EFBIG) {
		t.Errorf("Append beyond the limit: error %v, want %v", err, syscall.EFBIG)
	}
	if info, err := l.file.Stat(); err != nil || info.Size() != l.size {
		t.Errorf("log of %d bytes, %v, want %d", info.Size(), err, l.size)
	}
	appendPaths(t, l, "b")
	openLog(t, dir, "a", "b")
}
