package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// sight is all that the demo's judge sees of one entry.
type sight struct {
	mode   fs.FileMode // kind and permissions
	size   int64       // of a file
	mtime  time.Time   // of a file or symlink; a directory's is a hint that nodes need not share
	sum    [sha256.Size]byte
	target string // of a symlink
}

func (s sight) String() string {
	switch {
	case s.mode == 0 && s.mtime.IsZero():
		return "nothing"
	case s.mode.IsDir():
		return s.mode.String()
	case s.target != "":
		return fmt.Sprintf("%v to %s, changed %s", s.mode, shown(s.target), s.mtime.Format(time.RFC3339Nano))
	}
	return fmt.Sprintf("%v %d bytes, sha256 %x, changed %s", s.mode, s.size, s.sum[:4], s.mtime.Format(time.RFC3339Nano))
}

// compareFolders looks at every entry of the folders but resonate's own. It returns the number of entries in
// the first and a line for each path in which the others differ from it.
func compareFolders(ctx context.Context, dirs []string) (entries int, differences []string, err error) {
	all := make([]map[string]sight, len(dirs))
	paths := map[string]bool{}
	for i, dir := range dirs {
		if all[i], err = look(ctx, dir); err != nil {
			return 0, nil, fmt.Errorf("compare the folders: %w", err)
		}
		for path := range all[i] {
			paths[path] = true
		}
	}
	for path := range paths {
		for i := 1; i < len(dirs); i++ {
			if want, got := all[0][path], all[i][path]; want != got {
				differences = append(differences, fmt.Sprintf("%s: in %s %v; in %s %v", shown(path),
					filepath.Base(dirs[0]), want, filepath.Base(dirs[i]), got))
			}
		}
	}
	slices.Sort(differences)
	return len(all[0]), differences, nil
}

// look walks a folder.
func look(ctx context.Context, dir string) (map[string]sight, error) {
	seen := map[string]sight{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil || rel == "." {
			return err
		}
		if rel == markerDir {
			return fs.SkipDir
		}
		seen[rel], err = lookAt(path, e)
		return err
	})
	return seen, err
}

func lookAt(path string, e fs.DirEntry) (sight, error) {
	info, err := e.Info()
	if err != nil {
		return sight{}, err
	}
	if info.IsDir() {
		return sight{mode: info.Mode()}, nil
	}
	s := sight{mode: info.Mode(), mtime: info.ModTime().UTC()}
	switch {
	case info.Mode().Type() == fs.ModeSymlink:
		s.target, err = os.Readlink(path)
	case info.Mode().IsRegular():
		s.size = info.Size()
		s.sum, err = sumFile(path)
	}
	return s, err
}

func sumFile(path string) (sum [sha256.Size]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return sum, err
	}
	h.Sum(sum[:0])
	return sum, nil
}
