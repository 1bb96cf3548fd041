package replica

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"resonate/control"
	"resonate/merkle"
	"resonate/reconcile"
	"resonate/textmerge"
)

// A conflict copy is known by its name: a node that has only been told of the file cannot tell it otherwise, and a user who
// edits it does not end the conflict.

// listStep is how many paths are looked at in one turn of the loop.
const listStep = 4096

// Conflicts implements control.Resolver.
func (r *Replica) Conflicts(ctx context.Context, path string) ([]control.Conflict, error) {
	if err := argument(path); err != nil {
		return nil, err
	}
	copies := make(map[string][]string) // by what they are copies of
	if path != "" {                     // it may be a file, or a copy itself
		dir, _ := merkle.SplitPath(path)
		if err := r.findCopies(ctx, merkle.Listing{Path: dir, Depth: 1}, copies); err != nil {
			return nil, err
		}
	}
	if err := r.findCopies(ctx, merkle.Listing{Path: path}, copies); err != nil {
		return nil, err
	}
	covers := below(path)
	var list []control.Conflict
	err := r.do(ctx, func() {
		for of, paths := range copies {
			if covers(of) || slices.ContainsFunc(paths, covers) {
				if c := r.conflict(of, paths); len(c.Copies) > 0 {
					list = append(list, c)
				}
			}
		}
	})
	slices.SortFunc(list, func(a, b control.Conflict) int { return cmp.Compare(a.Path, b.Path) })
	return list, err
}

// findCopies adds the conflict copies in a part of the tree to found.
func (r *Replica) findCopies(ctx context.Context, part merkle.Listing, found map[string][]string) error {
	for more := true; more; {
		err := r.do(ctx, func() {
			n := 0
			more = false
			for path, e := range r.tree.List(part) {
				if n++; n > listStep {
					more = true
					break
				}
				part.After = path
				if c, ok := reconcile.ParseCopy(path); ok && e.Live() && !e.IsDir() {
					of := r.copyOf(c)
					found[of] = append(found[of], path)
				}
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// copyOf returns the path that a conflict copy is of. Where the name was cut, that is a live neighbour's, if one fits.
func (r *Replica) copyOf(c reconcile.CopyName) string {
	if !c.Cut || r.tree.Get(c.Path).Live() {
		return c.Path
	}
	dir, _ := merkle.SplitPath(c.Path)
	for name, e := range r.tree.Children(dir) {
		if path := merkle.Join(dir, name); e.Live() && c.Of(path) {
			return path
		}
	}
	return c.Path
}

// conflict describes what stands at a path and its copies, as far as these are still there.
func (r *Replica) conflict(path string, copies []string) control.Conflict {
	out := control.Conflict{Path: path, Copies: []control.ConflictVersion{}}
	if e := r.tree.Get(path); e.Live() {
		made := e.Version.Origin()
		mine := r.conflictVersion(path, e, made.Node.Short(), made.Stamp)
		out.Mine = &mine
	}
	slices.Sort(copies)
	for _, p := range slices.Compact(copies) {
		c, ok := reconcile.ParseCopy(p)
		if e := r.tree.Get(p); ok && e.Live() {
			out.Copies = append(out.Copies, r.conflictVersion(p, e, c.Node, c.Stamp))
		}
	}
	slices.SortStableFunc(out.Copies, func(a, b control.ConflictVersion) int { return a.Time.Compare(b.Time) })
	return out
}

func (r *Replica) conflictVersion(path string, e *merkle.Entry, node string, stamp merkle.Stamp) control.ConflictVersion {
	t := r.treeEntry(path, e)
	return control.ConflictVersion{
		Path: path, Node: node, Name: r.nameOfShort(node), Time: time.UnixMicro(int64(stamp)), Kind: t.Kind, Size: t.Size, MTime: t.MTime,
		Hash: t.Hash, Target: t.Target,
	}
}

// nameOfShort returns what a node is called of which only the short ID is known; "" where that is not known.
func (r *Replica) nameOfShort(short string) string {
	for _, m := range r.cluster.List() {
		if n := merkle.NodeID(m.ID); n.Short() == short {
			return cmp.Or(m.Name, r.nameOf(n))
		}
	}
	return ""
}

// oneConflict returns the conflict of which path is a version; where it is that of a copy, with no other copy.
func (r *Replica) oneConflict(ctx context.Context, path string) (control.Conflict, error) {
	list, err := r.Conflicts(ctx, path)
	if err != nil {
		return control.Conflict{}, err
	}
	for _, c := range list {
		for _, v := range c.Copies {
			if v.Path == path {
				c.Copies = []control.ConflictVersion{v}
				return c, nil
			}
		}
	}
	for _, c := range list {
		if c.Path == path {
			return c, nil
		}
	}
	return control.Conflict{}, fmt.Errorf("%s: no conflict copy is known of it: resonate conflicts lists those that are: %w", path, control.ErrNotFound)
}

// oneCopy refuses a conflict with several copies.
func oneCopy(c control.Conflict) error {
	if len(c.Copies) == 1 {
		return nil
	}
	var names []string
	for _, v := range c.Copies {
		names = append(names, v.Path)
	}
	return fmt.Errorf("%s has %d conflict copies: name the one that is meant: %s: %w", c.Path, len(names), strings.Join(names, ", "), control.ErrBadArgument)
}

// Conflict implements control.Resolver.
func (r *Replica) Conflict(ctx context.Context, path string) (control.Conflict, error) {
	c, err := r.oneConflict(ctx, path)
	if err != nil {
		return c, err
	}
	if c.Mine != nil {
		c.Mine.Text = r.whetherText(*c.Mine)
	}
	for i, v := range c.Copies {
		c.Copies[i].Text = r.whetherText(v)
	}
	return c, nil
}

// whetherText reads a version: "yes", or why it cannot be compared; "" where it is no file.
func (r *Replica) whetherText(v control.ConflictVersion) string {
	if v.Kind != merkle.File.String() {
		return ""
	}
	if _, err := r.textOf(&v); err != nil {
		return err.Error()
	}
	return "yes"
}

// textOf reads a version as a text, of which there is not more than can be compared.
func (r *Replica) textOf(v *control.ConflictVersion) ([]byte, error) {
	if v.Kind != merkle.File.String() {
		return nil, fmt.Errorf("%s is a %s: only files can be compared: %w", v.Path, v.Kind, control.ErrBadArgument)
	}
	f, err := r.root.OpenFile(v.Path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, textmerge.MaxBytes+1))
	if err != nil {
		return nil, err
	}
	return text, textmerge.Check(text)
}

// ConflictDiff implements control.Resolver.
func (r *Replica) ConflictDiff(ctx context.Context, path string, w io.Writer) error {
	c, err := r.oneConflict(ctx, path)
	if err != nil {
		return err
	}
	name, mine := "/dev/null", []byte(nil)
	if c.Mine != nil {
		if mine, err = r.textOf(c.Mine); err != nil {
			return fmt.Errorf("compare %s: %w", c.Mine.Path, err)
		}
		name = c.Mine.Path
	}
	for _, v := range c.Copies {
		theirs, err := r.textOf(&v)
		if err != nil {
			return fmt.Errorf("compare %s: %w", v.Path, err)
		}
		diff, err := textmerge.Unified(name, mine, v.Path, theirs)
		if err == nil && len(diff) > 0 {
			_, err = w.Write(diff)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// ConflictText implements control.Resolver.
func (r *Replica) ConflictText(ctx context.Context, path string, w io.Writer) error {
	c, err := r.oneConflict(ctx, path)
	if err != nil {
		return err
	}
	if c.Path == path && c.Mine == nil {
		return fmt.Errorf("%s: nothing stands there now: %w", path, control.ErrNotFound)
	}
	f, err := r.root.OpenFile(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}
