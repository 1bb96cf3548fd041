package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A workload is some steps on one pair of folders.
type workload struct {
	name  string
	needs ability // tools that can do less are left out
	run   func(ctx context.Context, s *series, p *pair) error
}

func (w workload) title() string { return w.name }

// workloads holds all of them, in the order in which they are run.
var workloads = []workload{
	{"first", updates, firstFile},
	{"source", copies, sourceTree},
	{"large", copies, largeFile},
	{"directory", updates, wholeDirectory},
	{small, copies, smallFiles},
	{flat, updates, oneDirectory},
	{"both", keepsTwo, bothSides},
	{"conflicts", keepsTwo, conflicts},
}

// small and flat are the workloads that are run once for each number of -files.
const (
	small = "small"
	flat  = "flat"
)

// sizes are how much of everything there is.
type sizes struct {
	large        int64 // bytes
	source       string
	edits        int // of each kind
	moved, stays int // files in the directory that is moved and deleted, and beside it
	created      int // files on each side at once
	conflicts    int
	files        int           // many and small; -files sets it
	shrink       int           // divides -files
	idle         time.Duration // at rest
	patience     time.Duration // with one step
	givesUp      time.Duration // the patience with conflicts, which some tools leave to the user
}

var (
	fullSize = sizes{
		large: 1 << 30, source: "src", edits: 30, moved: 5000, stays: 16000, created: 2000, conflicts: 20, shrink: 1,
		idle: 30 * time.Second, patience: 15 * time.Minute, givesUp: time.Minute,
	}
	quickSize = sizes{
		large: 16 << 20, source: "src/go", edits: 3, moved: 200, stays: 700, created: 100, conflicts: 5, shrink: 100,
		idle: time.Second, patience: time.Minute, givesUp: 10 * time.Second,
	}
)

// A series is one run of this program.
type series struct {
	o       options
	size    sizes
	traffic meter
	notes   io.Writer
	report  *report
	told    []string // tools that were said to be missing
}

// runAll has one tool do one workload, in all its sizes.
func (s *series) runAll(ctx context.Context, w workload, t tool) error {
	if t.ability < w.needs {
		return nil
	}
	if t.missing() {
		if !slices.Contains(s.told, t.name) {
			s.told = append(s.told, t.name)
			fmt.Fprintf(s.notes, "%s is left out: it is not on the PATH\n", t.name)
		}
		return nil
	}
	numbers := s.o.files
	if w.name != small && w.name != flat {
		numbers = numbers[:1]
	}
	for _, n := range numbers {
		s.size.files = max(n/s.size.shrink, filesPerDirectory)
		if err := s.run(ctx, w, t); err != nil {
			return err
		}
	}
	return nil
}

// run has one tool do one workload on folders of its own. Only an end of ctx, or folders that cannot be removed, is an error: what a
// tool does not manage is part of the report.
func (s *series) run(ctx context.Context, w workload, t tool) error {
	s.report.column(t.name)
	fmt.Fprintf(s.notes, "%s %s: %s\n", time.Now().Format(time.TimeOnly), w.name, t.name)
	p, err := newPair(ctx, t, s.o.work, s.o.resonate)
	if err != nil {
		return err
	}
	failed := w.run(ctx, s, p)
	ended := p.end()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case failed != nil:
		fmt.Fprintf(s.notes, "%s failed: %v\n", t.name, failed)
		s.report.fail(t.name, w.name, failed)
		return nil
	}
	return ended
}

// step is timed, with its time and, if asked for, its bytes in the report.
func (s *series) step(ctx context.Context, p *pair, row string, bytes bool, act func() error, want ...condition) error {
	if err := warm(); err != nil {
		return err
	}
	r, err := s.timed(ctx, p, s.size.patience, act, want...)
	if err != nil {
		return fmt.Errorf("%s: %w", row, err)
	}
	s.report.add(row+", s", p.tool.name, r.took.Seconds())
	if bytes && r.wired && p.tool.ability > copies {
		s.report.add(row+", MiB sent", p.tool.name, float64(r.sent)/(1<<20))
	}
	return p.calm(ctx)
}

// firstFile starts on empty folders.
func firstFile(ctx context.Context, s *series, p *pair) error {
	content := []byte("first")
	return s.step(ctx, p, "Start to first file", false, func() error {
		if err := os.WriteFile(filepath.Join(p.a, "first"), content, 0o644); err != nil {
			return err
		}
		return p.begin(ctx)
	}, reads(filepath.Join(p.b, "first"), 0, content))
}

// sourceTree starts with the sources of Go in one folder, and then edits files in it.
func sourceTree(ctx context.Context, s *series, p *pair) error {
	goroot, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("find the sources of Go: %w", err)
	}
	from, err := filepath.EvalSymlinks(filepath.Join(strings.TrimSpace(string(goroot)), s.size.source))
	if err != nil {
		return fmt.Errorf("find the sources of Go: %w", err)
	}
	if err := os.CopyFS(p.a, os.DirFS(from)); err != nil {
		return err
	}
	want, err := mirrored(p.a, p.b)
	if err != nil {
		return err
	}
	err = s.step(ctx, p, "Sources of Go, first sync", true, func() error { return p.begin(ctx) }, want...)
	if err != nil || p.tool.ability < updates {
		return err
	}
	return edits(ctx, s, p)
}

// largeFile starts with one incompressible file, and then makes small changes in it.
func largeFile(ctx context.Context, s *series, p *pair) error {
	here, there := filepath.Join(p.a, "large"), filepath.Join(p.b, "large")
	if err := makeLarge(here, s.size.large); err != nil {
		return err
	}
	begin := func() error { return p.begin(ctx) }
	title := "File of " + formatSize(s.size.large)
	err := s.step(ctx, p, title+", first sync", false, begin, exists(there, s.size.large))
	if err != nil || p.tool.ability < updates {
		return err
	}
	err = s.step(ctx, p, "1 byte changed in its middle", true, func() error {
		f, err := os.OpenFile(here, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err := f.WriteAt([]byte{'!'}, s.size.large/2); err != nil {
			return err
		}
		return p.changed(ctx, f.Close())
	}, reads(there, s.size.large/2, []byte{'!'}))
	if err != nil {
		return err
	}
	head := []byte("ten bytes.")
	aside := filepath.Join(p.root, "inserted") // made before the time begins
	if err := prepend(head, here, aside); err != nil {
		return err
	}
	return s.step(ctx, p, "10 bytes inserted at its start", true, func() error {
		return p.changed(ctx, os.Rename(aside, here))
	}, exists(there, s.size.large+int64(len(head))), reads(there, 0, head))
}

// changed has a tool push that needs it, after a change that ended with err.
func (p *pair) changed(ctx context.Context, err error) error {
	if err != nil {
		return err
	}
	return p.push(ctx)
}

// prepend writes head and the content of from to a new file.
func prepend(head []byte, from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.Create(to)
	if err != nil {
		return err
	}
	defer dst.Close()
	if _, err := dst.Write(head); err != nil {
		return err
	}
	if _, err := io.Copy(dst, src); err != nil {
		return err
	}
	return dst.Close()
}

// wholeDirectory moves and then deletes a directory with less than a quarter of the folder's files: tools ask back when much goes at
// once.
func wholeDirectory(ctx context.Context, s *series, p *pair) error {
	if err := makeFiles(filepath.Join(p.a, "old"), s.size.moved); err != nil {
		return err
	}
	if err := makeFiles(filepath.Join(p.a, "stays"), s.size.stays); err != nil {
		return err
	}
	want, err := mirrored(p.a, p.b)
	if err != nil {
		return err
	}
	if _, err := s.timed(ctx, p, s.size.patience, func() error { return p.begin(ctx) }, want...); err != nil {
		return err
	}
	if err := p.calm(ctx); err != nil {
		return err
	}
	before, after := filepath.Join(p.a, "old"), filepath.Join(p.a, "new")
	want, err = mirrored(before, filepath.Join(p.b, "new"))
	if err != nil {
		return err
	}
	title := fmt.Sprintf("Directory of %d files renamed", s.size.moved)
	err = s.step(ctx, p, title, true, func() error {
		return p.changed(ctx, os.Rename(before, after))
	}, append(want, absent(filepath.Join(p.b, "old")))...)
	if err != nil {
		return err
	}
	return s.step(ctx, p, "And deleted", false, func() error {
		return p.changed(ctx, os.RemoveAll(after))
	}, absent(filepath.Join(p.b, "new")))
}

func formatSize(n int64) string {
	if n >= 1<<30 {
		return fmt.Sprintf("%d GiB", n>>30)
	}
	return fmt.Sprintf("%d MiB", n>>20)
}
