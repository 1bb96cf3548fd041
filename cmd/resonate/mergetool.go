package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"resonate/control"
)

// merge has a tool of the user's make one file of two, on copies of them in a directory of its own, and hands in what it made.
func (q conflictCall) merge(ctx context.Context, folder, tool string) error {
	one, err := q.client.Conflict(ctx, q.path)
	if err != nil {
		return err
	}
	switch {
	case len(one.Copies) > 1:
		return usageError{cause: fmt.Sprintf("%s has %d conflict copies", shown(one.Path), len(one.Copies)),
			remedy: "name the copy that is to be merged with it: resonate conflicts list " + shellWord(one.Path)}
	case one.Mine == nil:
		return stateError{"merge " + shown(one.Path), errors.New("nothing stands there now"), "keep the copy: -keep theirs"}
	case one.Mine.Kind != "file" || one.Copies[0].Kind != "file":
		return stateError{"merge " + shown(one.Path), errors.New("only a file can be merged with a file"), "resolve it with -keep"}
	}
	dir, err := mergeDir(folder)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	files := mergeFilesIn(dir, one.Path)
	if err := q.fetchInto(ctx, files, one); err != nil {
		return fmt.Errorf("merge %s: %w", shown(one.Path), err)
	}
	if err := q.run(ctx, tool, files); err != nil {
		return stateError{"merge " + shown(one.Path), fmt.Errorf("%s: %w", shown(tool), err), "nothing was changed; a tool ends with 0 when it is done"}
	}
	merged, err := os.Open(files.merged)
	if err != nil {
		return stateError{"merge " + shown(one.Path), err, "nothing was changed; the tool is to leave its result at $MERGED"}
	}
	defer merged.Close()
	done, err := q.client.ResolveMerged(ctx, one, merged)
	if err != nil {
		return err
	}
	return q.resolved(done)
}

// mergeDir makes a directory outside of the folder: what lies in that is synchronised.
func mergeDir(folder string) (string, error) {
	dir, err := os.MkdirTemp("", "resonate-merge-")
	if err != nil {
		return "", err
	}
	if _, inside := below(resolved(folder), resolved(dir)); inside {
		return "", errors.Join(stateError{"make a directory for temporary files",
			fmt.Errorf("%s is in the folder", shown(os.TempDir())), "set TMPDIR to one that is not"}, os.Remove(dir))
	}
	return dir, nil
}

// mergeFiles are the paths of what a tool reads and writes.
type mergeFiles struct{ base, mine, theirs, merged string }

// mergeFilesIn names them with the extension of the file, by which tools know what it is.
func mergeFilesIn(dir, path string) mergeFiles {
	ext := filepath.Ext(path)
	if len(ext) > 16 {
		ext = ""
	}
	in := func(name string) string { return filepath.Join(dir, name+ext) }
	return mergeFiles{in("base"), in("mine"), in("theirs"), in("merged")}
}

// fetchInto writes the versions of a conflict to files. The merged one begins as mine.
func (q conflictCall) fetchInto(ctx context.Context, files mergeFiles, one control.Conflict) error {
	var base bytes.Buffer // it is small: it was kept in memory, or is of a text that can be compared
	if err := q.client.ConflictBase(ctx, one.Copies[0].Path, &base); errors.Is(err, control.ErrNotFound) {
		base.Reset()
	} else if err != nil {
		return err
	}
	if err := os.WriteFile(files.base, base.Bytes(), 0o600); err != nil {
		return err
	}
	for _, f := range []struct{ name, path string }{
		{files.mine, one.Mine.Path}, {files.theirs, one.Copies[0].Path}, {files.merged, one.Mine.Path},
	} {
		to, err := os.OpenFile(f.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		err = q.client.ConflictText(ctx, f.path, to)
		if err := errors.Join(err, to.Close()); err != nil {
			return err
		}
	}
	return nil
}

// run has the shell run the tool, which has the terminal to itself. The names of its variables are ours, and those of git's
// mergetools.
func (q conflictCall) run(ctx context.Context, tool string, files mergeFiles) error {
	cmd := exec.CommandContext(ctx, "sh", "-c", tool)
	cmd.Env = append(os.Environ(), "BASE="+files.base, "MINE="+files.mine, "LOCAL="+files.mine, "THEIRS="+files.theirs,
		"REMOTE="+files.theirs, "MERGED="+files.merged)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = q.c.In, q.c.Out, q.c.Err
	if q.json {
		cmd.Stdout = q.c.Err
	}
	return cmd.Run()
}
