package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// editBudget bounds the time for all edits of one kind; a tool that takes seconds for each makes fewer.
const editBudget = time.Minute

// edits changes single files here and there, with pauses as a person makes, and times each until it is visible on the other
// side.
func edits(ctx context.Context, s *series, p *pair) error {
	all, err := list(p.a)
	if err != nil {
		return err
	}
	var files []string
	for _, path := range slices.Sorted(maps.Keys(all)) {
		if strings.HasSuffix(path, ".go") && all[path].Mode().IsRegular() {
			files = append(files, path)
		}
	}
	r := rand.New(noise(2))
	for _, kind := range []struct {
		title string
		write func(string, []byte) error
	}{{"Edit by rename", replace}, {"Edit in place", overwrite}} {
		took, err := editSome(ctx, s, p, r, kind.title, files, kind.write)
		if err != nil {
			return err
		}
		for _, rank := range []int{50, 95} {
			s.report.add(fmt.Sprintf("%s to visible, p%d, ms", kind.title, rank), p.tool.name, percentile(took, rank))
		}
	}
	if difference, err := compare(p.a, p.b); err != nil || difference != "" {
		return fmt.Errorf("after the edits the folders differ: %s%w", difference, err)
	}
	return nil
}

// editSome edits files picked at random, and returns what each edit took until it was visible, in milliseconds.
func editSome(ctx context.Context, s *series, p *pair, r *rand.Rand, title string, files []string, write func(string, []byte) error) ([]float64, error) {
	var took []float64
	for end := time.Now().Add(editBudget); len(took) < s.size.edits && time.Now().Before(end); {
		path := files[r.IntN(len(files))]
		d, err := edit(ctx, p, path, write, fmt.Appendf(nil, "// %s %d\n", title, r.Uint64()), r.IntN(2000))
		if err != nil {
			return nil, fmt.Errorf("%s of %s: %w", title, path, err)
		}
		took = append(took, d.Seconds()*1000)
		if err := pauseFor(ctx, 100*time.Millisecond+time.Duration(r.IntN(300))*time.Millisecond); err != nil {
			return nil, err
		}
	}
	return took, nil
}

// edit writes a file that begins with token and is so much longer, and times it.
func edit(ctx context.Context, p *pair, path string, write func(string, []byte) error, token []byte, more int) (time.Duration, error) {
	content := append(slices.Clip(token), strings.Repeat("/", more)...)
	begin := time.Now()
	if err := p.changed(ctx, write(filepath.Join(p.a, path), content)); err != nil {
		return 0, err
	}
	if err := p.await(ctx, editTime, lookOften, reads(filepath.Join(p.b, path), 0, token)); err != nil {
		return 0, err
	}
	return time.Since(begin), nil
}
