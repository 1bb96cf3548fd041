package watcher

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
)

func TestPendingCollapses(t *testing.T) {
	fill := func(p *pending, dir string, n int) {
		for i := range n {
			p.add(filepath.Join(dir, fmt.Sprint(i)))
		}
	}
	tests := []struct {
		name   string
		fill   func(p *pending)
		paths  int
		rescan []string
	}{
		{"nothing", func(*pending) {}, 0, nil},
		{"below the limit", func(p *pending) { fill(p, "d", perDirMax) }, perDirMax, nil},
		{"one directory", func(p *pending) { fill(p, "d", perDirMax+1); p.add("d/x/y"); p.add("e"); p.add("d") }, 2, []string{"d"}},
		{"root", func(p *pending) { p.add("d/x"); fill(p, ".", perDirMax+1) }, 0, []string{"."}},
		{"many directories", func(p *pending) {
			p.add("top")
			for i := range pendingMax / 1000 {
				fill(p, fmt.Sprintf("a/%d", i), 1000)
			}
			fill(p, "b/x", 1000)
		}, 1, []string{"a", "b"}},
		{"nested rescans", func(p *pending) { p.addRescan("a/b"); p.addRescan("a"); p.addRescan("ab") }, 0, []string{"a", "ab"}},
		{"many rescans", func(p *pending) {
			for i := range rescanMax + 1 {
				p.addRescan(fmt.Sprint(i))
			}
		}, 0, []string{"."}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newPending()
			tt.fill(&p)
			sum := 0
			for _, names := range p.dirs {
				sum += len(names)
			}
			if p.n != sum {
				t.Errorf("counts %d names, has %d", p.n, sum)
			}
			b := p.take()
			if len(b.Paths) != tt.paths || !slices.Equal(b.Rescan, tt.rescan) {
				t.Errorf("got %d paths, rescan %q, want %d, %q", len(b.Paths), b.Rescan, tt.paths, tt.rescan)
			}
			if !p.empty() || !slices.IsSorted(b.Paths) {
				t.Errorf("empty after take: %v, sorted: %v", p.empty(), slices.IsSorted(b.Paths))
			}
		})
	}
}
