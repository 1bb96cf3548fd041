package replica

import (
	"context"
	"fmt"
	"time"

	"resonate/beneath"
	"resonate/control"
	"resonate/merkle"
)

// Tree implements control.Daemon. One page is one turn of the loop.
func (r *Replica) Tree(ctx context.Context, q control.TreeQuery) (page control.TreePage, err error) {
	if err := argument(q.Path); err != nil {
		return page, err
	}
	if q.Limit <= 0 || q.Limit > control.MaxTreePage {
		q.Limit = control.MaxTreePage
	}
	doErr := r.do(ctx, func() { page, err = r.treePage(q) })
	if doErr != nil {
		err = doErr
	}
	return page, err
}

// argument refuses a path that a command cannot mean; "" is the whole folder.
func argument(path string) error {
	if path == "" {
		return nil
	}
	if err := beneath.Valid(path); err != nil {
		return fmt.Errorf("path %.200q: %w: %w", path, err, control.ErrBadArgument)
	}
	return nil
}

func (r *Replica) treePage(q control.TreeQuery) (page control.TreePage, err error) {
	if q.After == "" {
		top := r.tree.Get(q.Path)
		listed := top.Live() || r.tree.HasLive(q.Path) || (q.Deleted && (top != nil || r.tree.Below(q.Path) != merkle.Summary{}))
		if q.Path != "" && !listed {
			return page, fmt.Errorf("%s: nothing is agreed there: %w", q.Path, control.ErrNotFound)
		}
		page.Entries = append(page.Entries, r.treeEntry(q.Path, top))
	}
	for path, e := range r.tree.List(merkle.Listing{Path: q.Path, After: q.After, Depth: q.Depth, Deleted: q.Deleted}) {
		if len(page.Entries) >= q.Limit {
			page.More = true
			break
		}
		page.Entries = append(page.Entries, r.treeEntry(path, e))
	}
	return page, nil
}

// treeEntry describes what is agreed of path; e is nil where that is only implied by what lies below it.
func (r *Replica) treeEntry(path string, e *merkle.Entry) control.TreeEntry {
	if e == nil {
		e = &merkle.Entry{Attributes: merkle.Attributes{Kind: merkle.Dir}}
	}
	out := control.TreeEntry{Path: path, Kind: e.Kind.String(), Size: e.Size, Target: e.Target}
	switch e.Kind {
	case merkle.File:
		out.Mode, out.MTime, out.Hash = octal(e.Mode), timeOf(e.MTime), e.Content.String()
	case merkle.Symlink:
		out.MTime = timeOf(e.MTime)
	case merkle.Dir:
		if e.Mode != 0 {
			out.Mode = octal(e.Mode)
		}
		below := r.tree.Below(path)
		out.Size, out.Below = below.Bytes, &control.Roots{State: below.State.String(), Content: below.Content.String()}
	}
	return out
}

func octal(mode uint32) string { return fmt.Sprintf("%04o", mode) }

// timeOf makes a time of nanoseconds since 1970.
func timeOf(nanoseconds int64) *time.Time {
	t := time.Unix(0, nanoseconds)
	return &t
}
