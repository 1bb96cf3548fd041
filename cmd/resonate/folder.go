package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"resonate/control"
)

// markerDir is the directory in the folder that is resonate's own, and makes a directory a folder.
const (
	markerDir  = ".resonate"
	markerFile = "marker"
)

// findFolder returns the absolute path of the folder a command speaks of: dir if it is given, else the nearest
// one around the working directory.
func findFolder(dir string) (string, error) {
	if dir != "" {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return "", fmt.Errorf("find folder %s: %w", shown(dir), err)
		}
		return abs, checkDirectory(abs)
	}
	here, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the working directory: %w", err)
	}
	for at := here; ; at = filepath.Dir(at) {
		if hasMarker(at) {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", usageError{
				cause:  fmt.Sprintf("neither %s nor a directory above it is a resonate folder", shown(here)),
				remedy: "name one with -dir",
			}
		}
	}
}

func hasMarker(dir string) bool {
	st, err := os.Lstat(filepath.Join(dir, markerDir, markerFile))
	return err == nil && st.Mode().IsRegular()
}

// checkDirectory tells why dir cannot be a folder, with what to do about it; nil if it can.
func checkDirectory(dir string) error {
	what := "open folder " + shown(dir)
	f, err := os.Open(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return stateError{what, errors.New("it does not exist"), "make it first (mkdir " + shellWord(dir) + "), or name another with -dir"}
	case errors.Is(err, fs.ErrPermission):
		return stateError{what, errors.New("permission denied"), "give yourself access (chmod u+rwx " + shellWord(dir) + "), or run as its owner"}
	case err != nil:
		return stateError{what, err, "name another folder with -dir"}
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return stateError{what, err, "name another folder with -dir"}
	}
	if !st.IsDir() {
		return stateError{what, errors.New("it is not a directory"), "name a directory with -dir"}
	}
	return nil
}

// dialFolder returns a client of the daemon that runs on the folder.
func dialFolder(ctx context.Context, folder string) (*control.Client, error) {
	start := "start it with: resonate -dir " + shellWord(folder)
	none := stateError{"", fmt.Errorf("%w on %s", control.ErrNoDaemon, shown(folder)), start}
	if !hasMarker(folder) {
		return nil, none
	}
	socket, err := controlSocket(folder)
	if errors.Is(err, fs.ErrNotExist) { // no daemon has ever got as far as that
		return nil, none
	}
	if err != nil {
		return nil, fmt.Errorf("find the daemon of %s: %w", shown(folder), err)
	}
	client, err := control.Dial(ctx, socket)
	if errors.Is(err, control.ErrNoDaemon) {
		return nil, none
	}
	return client, err
}

// withDaemon finds the folder and its daemon and hands both to do.
func withDaemon(ctx context.Context, dir string, do func(folder string, client *control.Client) error) error {
	folder, err := findFolder(dir)
	if err != nil {
		return err
	}
	client, err := dialFolder(ctx, folder)
	if err != nil {
		return err
	}
	defer client.Close()
	return do(folder, client)
}

// inFolder turns an operand into a path relative to the folder, with slashes; "" is the folder itself. A
// relative operand is meant from the working directory if that leads into the folder, else from the folder.
// The last element is never resolved: it may be a symlink that is itself meant, or be gone.
func inFolder(folder, operand string) (string, error) {
	if operand == "" {
		return "", usageError{cause: "an empty path names nothing"}
	}
	abs, err := filepath.Abs(operand)
	if err != nil {
		return "", fmt.Errorf("find %s: %w", shown(operand), err)
	}
	for _, candidate := range []struct{ base, path string }{
		{folder, abs},
		{resolved(folder), filepath.Join(resolved(filepath.Dir(abs)), filepath.Base(abs))},
		{resolved(folder), resolved(abs)}, // the folder itself, reached by a symlink
	} {
		if rel, ok := below(candidate.base, candidate.path); ok {
			return rel, nil
		}
	}
	if !filepath.IsAbs(operand) && !insideFolder(folder) {
		if rel, ok := below(folder, filepath.Join(folder, operand)); ok {
			return rel, nil
		}
	}
	return "", usageError{cause: fmt.Sprintf("%s is not in the folder %s", shown(operand), shown(folder)), remedy: "name a path in it"}
}

// insideFolder tells whether the working directory is in the folder.
func insideFolder(folder string) bool {
	here, err := os.Getwd()
	if err != nil {
		return false
	}
	_, ok := below(resolved(folder), resolved(here))
	return ok
}

// below returns path relative to base, with slashes, if it is not outside.
func below(base, path string) (string, bool) {
	rel, err := filepath.Rel(base, path)
	if err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return "", false
	}
	if rel == "." {
		return "", true
	}
	return filepath.ToSlash(rel), true
}

// resolved follows the symlinks in path, as far as it exists.
func resolved(path string) string {
	if r, err := filepath.EvalSymlinks(path); err == nil {
		return r
	}
	parent := filepath.Dir(path)
	if parent == path {
		return path
	}
	return filepath.Join(resolved(parent), filepath.Base(path))
}
