package replica

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"resonate/beneath"
	"resonate/control"
	"resonate/merkle"
	"resonate/reconcile"
)

// A conflict is ended by what a user could do in the folder: renames. So all that follows is published as ordinary changes, and a
// crash in between leaves both versions where a user finds them.

// maxPlainNames is how many names are tried for a conflict copy that is to become an ordinary file.
const maxPlainNames = 1000

// Resolve implements control.Resolver.
func (r *Replica) Resolve(ctx context.Context, path string, keep control.Keep) (control.Resolved, error) {
	c, err := r.oneConflict(ctx, path)
	if err == nil && keep == control.KeepTheirs {
		err = oneCopy(c)
	}
	done := control.Resolved{Path: c.Path, Keep: string(keep), Copies: []control.ResolvedCopy{}}
	if err != nil {
		return done, err
	}
	doErr := r.do(ctx, func() {
		for _, v := range c.Copies {
			now := ""
			if err = r.copyThere(v.Path); err == nil {
				now, err = r.resolve(c.Path, v, keep)
			}
			if err != nil {
				err = fmt.Errorf("resolve %s: %w", v.Path, err)
				return
			}
			done.Copies = append(done.Copies, control.ResolvedCopy{Path: v.Path, Now: now})
		}
	})
	if doErr == nil && err == nil {
		r.log.Info("conflict resolved", "path", c.Path, "keep", string(keep))
	}
	return done, errors.Join(doErr, err)
}

// copyThere tells whether a conflict copy is on disk.
func (r *Replica) copyThere(path string) error {
	info, err := r.root.Lstat(path)
	switch {
	case absent(err):
		return errors.New("it is not on this disk: resonate why tells the cause")
	case err == nil && info.Kind == beneath.Dir:
		return errors.New("it is a directory now: move it away first")
	}
	return err
}

// resolve ends what one copy has to do with a conflict, and returns its new name, if it gets one.
func (r *Replica) resolve(path string, v control.ConflictVersion, keep control.Keep) (now string, err error) {
	switch keep {
	case control.KeepMine:
		err = r.keep(v.Path, v.Path)
	case control.KeepTheirs:
		now, err = path, r.putCopy(v.Path, path)
	case control.KeepBoth:
		now, err = r.makePlain(path, v)
	}
	r.look(v.Path, false) // whatever has come of it; what is gone first
	if now != "" {
		r.look(now, false)
	}
	return now, err
}

// putCopy gives a conflict copy the name of what it is a copy of; what stands there goes to the history. Until it is there, the two
// have only changed their names.
func (r *Replica) putCopy(file, path string) error {
	info, err := r.root.Lstat(path)
	switch {
	case absent(err):
		return r.root.Move("resolve.move", file, path)
	case err != nil:
		return err
	case info.Kind == beneath.Dir:
		return fmt.Errorf("%s is a directory now: move it away first, or keep both", path)
	}
	if err := r.root.Exchange("resolve.exchange", file, path); err != nil {
		return err
	}
	if err := r.keep(file, path); err != nil {
		return errors.Join(err, r.root.Exchange("resolve.back", file, path))
	}
	return nil
}

// makePlain gives a conflict copy a name as other files have one, which is free.
func (r *Replica) makePlain(path string, v control.ConflictVersion) (string, error) {
	for n := range maxPlainNames {
		to := reconcile.PlainPath(path, cmp.Or(v.Name, v.Node), n+1)
		if r.tree.Get(to).Live() {
			continue
		}
		if err := r.root.Move("resolve.plain", v.Path, to); !errors.Is(err, fs.ErrExist) {
			return to, err
		}
	}
	return "", fmt.Errorf("%d names such as %s are taken: rename it yourself", maxPlainNames, reconcile.PlainPath(path, cmp.Or(v.Name, v.Node), 1))
}

// ResolveMerged implements control.Resolver.
func (r *Replica) ResolveMerged(ctx context.Context, c control.Conflict, merged io.Reader) (control.Resolved, error) {
	if c.Mine == nil || len(c.Copies) != 1 {
		return control.Resolved{}, fmt.Errorf("merge %s: want what has the name, and one copy: %w", c.Path, control.ErrBadArgument)
	}
	theirs := c.Copies[0]
	known, err := r.oneConflict(ctx, theirs.Path)
	if err == nil && known.Path != c.Path {
		err = fmt.Errorf("%s is no conflict copy of %s: %w", theirs.Path, c.Path, control.ErrBadArgument)
	}
	done := control.Resolved{Path: c.Path, Keep: "merged", Copies: []control.ResolvedCopy{{Path: theirs.Path}}}
	if err != nil {
		return done, err
	}
	temp := r.tempName()
	if err := r.writeMerged(temp, c.Path, merged); err != nil {
		return done, fmt.Errorf("merge %s: %w", c.Path, err)
	}
	doErr := r.do(ctx, func() {
		if err = errors.Join(r.stillIs(c.Path, c.Mine.Hash), r.stillIs(theirs.Path, theirs.Hash)); err != nil {
			r.removeOrLeave("resolve.unneeded", temp)
			return
		}
		if err = r.putBack(temp, c.Path); err == nil {
			err = r.keep(theirs.Path, theirs.Path)
		}
		r.look(theirs.Path, false)
		r.look(c.Path, false)
	})
	if doErr == nil && err == nil {
		r.log.Info("conflict resolved", "path", c.Path, "keep", "merged")
	}
	return done, errors.Join(doErr, err)
}

// stillIs checks that a file is as it was when its content was read.
func (r *Replica) stillIs(path, hash string) error {
	e := r.tree.Get(path)
	info, err := r.root.Lstat(path)
	if err != nil || !e.Live() || e.Kind != merkle.File || e.Content.String() != hash || r.unpublished(path) || !sameDisk(r.diskAt(path), info) {
		return fmt.Errorf("%s has changed meanwhile, and nothing was done: look at it again", path)
	}
	return nil
}

// writeMerged writes what is to stand at path to a temporary file, with the attributes of what stands there.
func (r *Replica) writeMerged(temp, path string, merged io.Reader) error {
	from, err := r.root.OpenFile(path)
	if err != nil {
		return err
	}
	defer from.Close()
	info, err := r.fstat(from)
	if err != nil {
		return err
	}
	to, err := r.root.Create("resolve.create", temp+partial, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, merged)
	err = errors.Join(err, r.copyAttributes(to, from, info), beneath.FchmodMTime(to, info.Mode, time.Now().UnixNano()), to.Close())
	if err == nil {
		err = r.root.Move("resolve.whole", temp+partial, temp)
	}
	if err != nil {
		_ = r.root.Remove("resolve.remove", temp+partial)
	}
	return err
}
