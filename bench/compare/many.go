package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// smallFiles starts with many small files, and looks at what the tool costs at rest.
func smallFiles(ctx context.Context, s *series, p *pair) error {
	files := s.size.files
	if err := makeFiles(p.a, files); err != nil {
		return err
	}
	want, err := mirrored(p.a, p.b)
	if err != nil {
		return err
	}
	title := fmt.Sprintf("%d small files", files)
	err = s.step(ctx, p, title+", first sync", false, func() error { return p.begin(ctx) }, want...)
	if err != nil || p.tool.ability < keepsTwo {
		return err
	}
	if memory, ok := p.crew.memory(); ok {
		s.report.add(title+", memory of all processes (PSS), MiB", p.tool.name, float64(memory)/(1<<20))
		before := p.crew.cpu()
		if err := pauseFor(ctx, s.size.idle); err != nil {
			return err
		}
		row := fmt.Sprintf("%s, CPU time in %v at rest, s", title, s.size.idle)
		s.report.add(row, p.tool.name, (p.crew.cpu() - before).Seconds())
	}
	if err := editAmong(ctx, s, p, title); err != nil {
		return err
	}
	if err := p.crew.stop(); err != nil {
		return err
	}
	content := []byte("written after the restart")
	return s.step(ctx, p, title+", restart until an edit is through", false, func() error {
		if err := p.begin(ctx); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(p.a, "restarted"), content, 0o644)
	}, reads(filepath.Join(p.b, "restarted"), 0, content))
}

// editAmong edits some of the files in the folder, which has many.
func editAmong(ctx context.Context, s *series, p *pair, title string) error {
	all, err := list(p.a)
	if err != nil {
		return err
	}
	var files []string
	for _, path := range slices.Sorted(maps.Keys(all)) {
		if all[path].Mode().IsRegular() {
			files = append(files, path)
		}
	}
	took, err := editSome(ctx, s, p, rand.New(noise(3)), "edit", files, replace)
	if err == nil {
		s.report.add(title+", edit to visible, p50, ms", p.tool.name, percentile(took, 50))
	}
	return err
}

// oneDirectory is smallFiles with all of them in one directory, and looks at edits alone.
func oneDirectory(ctx context.Context, s *series, p *pair) error {
	dir := filepath.Join(p.a, "all")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for i := range s.size.files {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("file%07d", i)), fmt.Appendf(nil, "file %d\n", i), 0o644); err != nil {
			return err
		}
	}
	want, err := mirrored(p.a, p.b)
	if err != nil {
		return err
	}
	title := fmt.Sprintf("%d files in one directory", s.size.files)
	if err := s.step(ctx, p, title+", first sync", false, func() error { return p.begin(ctx) }, want...); err != nil {
		return err
	}
	return editAmong(ctx, s, p, title)
}

// bothSides makes many files on one side while as many are made on the other.
func bothSides(ctx context.Context, s *series, p *pair) error {
	if err := warmUp(ctx, s, p); err != nil {
		return err
	}
	var want []condition
	for i := range s.size.created {
		dir := fmt.Sprintf("dir%04d", i/filesPerDirectory)
		name := fmt.Sprintf("file%07d", i)
		want = append(want, exists(filepath.Join(p.b, "from a", dir, name), -1), exists(filepath.Join(p.a, "from b", dir, name), -1))
	}
	return s.step(ctx, p, fmt.Sprintf("%d files created on either side at once", s.size.created), false, func() error {
		errs := make([]error, 2)
		var both sync.WaitGroup
		both.Go(func() { errs[0] = makeFiles(filepath.Join(p.a, "from a"), s.size.created) })
		both.Go(func() { errs[1] = makeFiles(filepath.Join(p.b, "from b"), s.size.created) })
		both.Wait()
		if errs[0] != nil {
			return errs[0]
		}
		return errs[1]
	}, want...)
}

// warmUp starts the tool and sees that it works.
func warmUp(ctx context.Context, s *series, p *pair) error {
	if err := makeFiles(p.a, filesPerDirectory); err != nil {
		return err
	}
	want, err := mirrored(p.a, p.b)
	if err != nil {
		return err
	}
	if _, err := s.timed(ctx, p, editTime, func() error { return p.begin(ctx) }, want...); err != nil {
		return err
	}
	return p.calm(ctx)
}

// conflicts writes the same files on both sides, faster than any tool can carry the one to the other, and looks what becomes
// of both contents.
func conflicts(ctx context.Context, s *series, p *pair) error {
	if err := warmUp(ctx, s, p); err != nil {
		return err
	}
	path := func(i int) string { return filepath.Join("dir0000", fmt.Sprintf("file%07d", i)) }
	var written []string
	begin := time.Now()
	for i := range s.size.conflicts {
		for _, dir := range []string{p.a, p.b} {
			content := fmt.Sprintf("%d written in %s", i, filepath.Base(dir))
			if err := overwrite(filepath.Join(dir, path(i)), []byte(content)); err != nil {
				return err
			}
			written = append(written, content)
		}
	}
	title := fmt.Sprintf("%d conflicts", s.size.conflicts)
	equal := func() bool { // a tool that leaves conflicts to the user never makes them so
		difference, err := compare(p.a, p.b)
		return err == nil && difference == ""
	}
	if err := p.await(ctx, s.size.givesUp, lookSeldom, equal); err == nil {
		s.report.add(title+", folders equal again, s", p.tool.name, time.Since(begin).Seconds())
	} else if ctx.Err() != nil {
		return err
	}
	if err := p.calm(ctx); err != nil {
		return err
	}
	unequal := 0
	for i := range s.size.conflicts {
		here, errHere := os.ReadFile(filepath.Join(p.a, path(i)))
		there, errThere := os.ReadFile(filepath.Join(p.b, path(i)))
		if errHere != nil || errThere != nil || string(here) != string(there) {
			unequal++
		}
	}
	s.report.add(title+", files left different", p.tool.name, float64(unequal))
	lost, err := missing(written, p.a, p.b)
	s.report.add(fmt.Sprintf("%s, contents in no folder any more, of %d", title, len(written)), p.tool.name, float64(lost))
	return err
}

// missing counts the contents that no file below the directories has.
func missing(contents []string, dirs ...string) (int, error) {
	there := make(map[string]bool)
	for _, dir := range dirs {
		all, err := list(dir)
		if err != nil {
			return 0, err
		}
		for path, info := range all {
			if !info.Mode().IsRegular() {
				continue
			}
			text, err := os.ReadFile(filepath.Join(dir, path))
			if err != nil {
				return 0, err
			}
			there[strings.TrimSpace(string(text))] = true
		}
	}
	n := 0
	for _, c := range contents {
		if !there[c] {
			n++
		}
	}
	return n, nil
}
