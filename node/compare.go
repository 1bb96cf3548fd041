package node

import (
	"strings"

	"resonate/control"
)

// maxExamples is how many paths of each sort a comparison names.
const maxExamples = 10

// A Comparison tells how two trees differ, in files and symbolic links.
type Comparison struct {
	Same      int
	OnlyHere  Paths
	OnlyThere Paths
	Differing Paths
}

// Paths are some paths, of which the first are named.
type Paths struct {
	Count    int
	Examples []string
}

func (p *Paths) add(path string) {
	if p.Count++; len(p.Examples) < maxExamples {
		p.Examples = append(p.Examples, path)
	}
}

// compareTrees compares two trees that are told in the order of control.TreeQuery, page by page.
func compareTrees(here, there func() (control.TreePage, error)) (c Comparison, err error) {
	a, b := &walk{next: here}, &walk{next: there}
	for {
		if err := a.fill(); err != nil {
			return c, err
		}
		if err := b.fill(); err != nil {
			return c, err
		}
		switch order := a.compare(b); {
		case a.done && b.done:
			return c, nil
		case order < 0:
			c.only(&c.OnlyHere, a.take())
		case order > 0:
			c.only(&c.OnlyThere, b.take())
		default:
			c.both(a.take(), b.take())
		}
	}
}

func (c *Comparison) only(where *Paths, e control.TreeEntry) {
	if e.Kind != "directory" {
		where.add(e.Path)
	}
}

func (c *Comparison) both(a, b control.TreeEntry) {
	switch {
	case a.Kind == "directory" && b.Kind == "directory":
	case a.Kind == b.Kind && a.Hash == b.Hash && a.Target == b.Target:
		c.Same++
	default:
		c.Differing.add(a.Path)
	}
}

// A walk goes through a tree.
type walk struct {
	next    func() (control.TreePage, error)
	entries []control.TreeEntry // of this page, that are still to come
	last    bool                // there is no further page
	done    bool
}

// fill sees to it that the next entry is there, unless the walk is done.
func (w *walk) fill() error {
	for len(w.entries) == 0 && !w.done {
		if w.last {
			w.done = true
			return nil
		}
		page, err := w.next()
		if err != nil {
			return err
		}
		w.entries, w.last = page.Entries, !page.More || len(page.Entries) == 0
	}
	return nil
}

func (w *walk) take() control.TreeEntry {
	e := w.entries[0]
	w.entries = w.entries[1:]
	return e
}

// compare tells which of two walks has the next entry: that of a walk that is done comes last.
func (w *walk) compare(o *walk) int {
	switch {
	case w.done && o.done:
		return 0
	case w.done:
		return 1
	case o.done:
		return -1
	}
	return comparePaths(w.entries[0].Path, o.entries[0].Path)
}

// comparePaths orders paths as a tree lists them: names in ascending order, a directory before what lies in it.
func comparePaths(a, b string) int {
	for {
		x, restA, moreA := strings.Cut(a, "/")
		y, restB, moreB := strings.Cut(b, "/")
		if order := strings.Compare(x, y); order != 0 {
			return order
		}
		switch {
		case !moreA && !moreB:
			return 0
		case !moreA:
			return -1
		case !moreB:
			return 1
		}
		a, b = restA, restB
	}
}
