package main

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// generatedFiles is the number of files in the tree that stands in where no Go is installed.
const generatedFiles = 3000

// editable bounds the size of the files that the demo edits.
const editable = 256 << 10

// treeSource is where the demo's tree comes from.
type treeSource struct {
	dir   string // "" for a generated one
	title string
}

// goSources finds the sources of the installed Go, which are a good tree: ten thousand real files.
func goSources(ctx context.Context) treeSource {
	generated := treeSource{title: "a generated tree"}
	cmd := exec.CommandContext(ctx, "go", "env", "GOROOT")
	cmd.Dir = os.TempDir()                              // not the go.mod of whoever runs the demo
	cmd.Env = append(os.Environ(), "GOTOOLCHAIN=local") // nothing to be fetched
	out, err := cmd.Output()
	if err != nil {
		return generated
	}
	dir := filepath.Join(strings.TrimSpace(string(out)), "src")
	if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		return generated
	}
	return treeSource{dir: dir, title: dir}
}

// planted is what was put into a folder.
type planted struct {
	files    int      // all of them
	editable []string // those fit to be edited, relative to the folder
}

// plant puts the tree into dir.
func plant(ctx context.Context, dir string, source treeSource) (planted, error) {
	if source.dir == "" {
		return generateTree(ctx, dir)
	}
	return copyTree(ctx, dir, source.dir)
}

// copyTree copies a tree with modes and times, all of it made writable for its owner.
func copyTree(ctx context.Context, dst, src string) (planted, error) {
	var p planted
	err := filepath.WalkDir(src, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		rel, err := filepath.Rel(src, path)
		if err != nil || rel == "." {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		to := filepath.Join(dst, rel)
		switch {
		case e.IsDir():
			return os.Mkdir(to, info.Mode().Perm()|0o700)
		case info.Mode().Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(target, to)
		case !info.Mode().IsRegular():
			return nil
		}
		p.files++
		if info.Size() <= editable {
			p.editable = append(p.editable, rel)
		}
		return copyFile(to, path, info)
	})
	if err != nil {
		return planted{}, fmt.Errorf("copy the tree %s: %w", shown(src), err)
	}
	return p, nil
}

func copyFile(dst, src string, info fs.FileInfo) (err error) {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm()|0o600)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := out.Close(); err == nil {
			err = closeErr
		}
		if err == nil {
			err = os.Chtimes(dst, info.ModTime(), info.ModTime())
		}
	}()
	_, err = io.Copy(out, in)
	return err
}

// generateTree writes a tree of the shape of source code: many small files, some large, a few levels deep.
func generateTree(ctx context.Context, dir string) (planted, error) {
	random := rand.New(rand.NewPCG(1, 2))
	p := planted{files: generatedFiles}
	for i := range generatedFiles {
		if ctx.Err() != nil {
			return planted{}, ctx.Err()
		}
		rel := filepath.Join(fmt.Sprintf("part%02d", i%40), fmt.Sprintf("section%d", i%7), fmt.Sprintf("file%04d.txt", i))
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, rel)), 0o755); err != nil {
			return planted{}, fmt.Errorf("make the tree: %w", err)
		}
		var text strings.Builder
		for range 1 << random.IntN(11) {
			fmt.Fprintf(&text, "line %d of %s\n", random.Uint32(), rel)
		}
		if err := os.WriteFile(filepath.Join(dir, rel), []byte(text.String()), 0o644); err != nil {
			return planted{}, fmt.Errorf("make the tree: %w", err)
		}
		p.editable = append(p.editable, rel)
	}
	return p, nil
}
