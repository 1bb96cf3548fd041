package quorum

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// place is where a log lies: a copy of it lies elsewhere. The file is the one that holds the votes.
type place struct{ device, inode uint64 }

const (
	logPrefix = "log-"
	votesFile = "wal-meta.db" // as raft-wal calls it
)

func logDir(dir string, id LogID) string { return filepath.Join(dir, logPrefix+id.String()) }

// placeOf returns where the log in dir lies.
func placeOf(dir string) (place, error) {
	info, err := os.Stat(filepath.Join(dir, votesFile))
	if err != nil {
		return place{}, fmt.Errorf("look at lock log: %w", err)
	}
	st := info.Sys().(*syscall.Stat_t)
	return place{uint64(st.Dev), uint64(st.Ino)}, nil
}

// sweep removes the logs in dir but the one to keep: those that dissolved, or were found to be old copies.
func sweep(dir string, keep LogID) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list lock logs: %w", err)
	}
	for _, e := range entries {
		name := e.Name()
		if !strings.HasPrefix(name, logPrefix) || name == filepath.Base(logDir(dir, keep)) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("remove an earlier lock log: %w", err)
		}
	}
	return nil
}
