package replica

import (
	"errors"
	"fmt"
	"time"

	"resonate/beneath"
	"resonate/index"
	"resonate/merkle"
)

// land renames a build into place, and makes agreed what is in it. Where anything has come in between, it is let go.
func (r *Replica) land(b *build) {
	err := b.err
	if err == nil {
		err = r.landable(b)
	}
	if err == nil {
		err = r.putBuild(b)
	}
	if err != nil {
		r.log.Debug("not put in place as a whole", "path", b.top, "cause", err)
		r.takeApart(b)
		r.letGo(b)
		return
	}
	r.leaveBuild(b)
	r.landBuilt(b)
}

// landable tells what stands against a build, if anything does: it must not have changed what the paths are to become.
func (r *Replica) landable(b *build) error {
	dir, _ := merkle.SplitPath(b.top)
	if b.spoiled || (dir != "" && r.diskAt(dir).Kind != merkle.Dir) {
		return errChangedHere
	}
	for _, w := range b.built {
		path := w.in.path
		rec, mine := r.records[path], r.tree.Get(path)
		if r.unpublished(path) || (rec != nil && rec.disk().Kind != 0) || (mine != w.mine && mine.Hash() != w.mine.Hash()) {
			return fmt.Errorf("%s: %w", path, errChangedHere)
		}
	}
	return nil
}

// putBuild renames a build into place. The intents for all that is in it are written down at once: the rename is what tells after a
// crash whether they came to be.
func (r *Replica) putBuild(b *build) error {
	intents := make([]index.Intent, 0, len(b.built))
	for _, w := range b.built {
		if w.err != nil {
			continue
		}
		i := index.Intent{Path: w.in.path, Entry: w.entry, Disk: w.disk, Hint: w.in.hint, Blocks: w.blocks}
		if w.mine != nil {
			i.Old = w.mine.Content
		}
		if w.entry.IsDir() {
			i.Disk = index.Disk{Kind: merkle.Dir}
		} else {
			i.Temp = w.temp
			r.own.add(w.in.path, w.disk)
		}
		intents = append(intents, i)
	}
	if err := r.appendIntents(intents...); err != nil {
		return err
	}
	return r.inWritable(b.top, func() error { return r.root.Move("build.land", b.temp, b.top) })
}

// landBuilt makes what is in a build agreed, now that it is in place. What could not be part of it goes on by itself.
func (r *Replica) landBuilt(b *build) {
	now := time.Now()
	for _, w := range b.built {
		if w.err == nil {
			w.disk.Looked = now.UnixNano()
			r.setDisk(w.in.path, w.disk, w.blocks)
		}
	}
	for _, w := range b.built {
		in := w.in
		in.fetching = false
		switch {
		case w.err != nil:
			r.log.Debug("not put in place with its directory", "path", in.path, "cause", w.err)
			if in.alone = true; errors.Is(w.err, errOtherBytes) {
				in.data = nil
			}
			r.resume(in.path)
		case w.late:
			in.alone = true
			r.advance(in.path, now)
		default:
			if w.entry.Kind == merkle.File { // that of a symlink was made anew
				in.temp = ""
			}
			r.finish(in, w.entry)
			r.dealtWith(in)
		}
	}
}

// letGo has everything in a build that is not in place go on by itself.
func (r *Replica) letGo(b *build) {
	r.leaveBuild(b)
	b.closed = true
	b.built[0].in.alone = true
	for _, w := range b.built {
		w.in.fetching = false
		r.resume(w.in.path)
	}
}

// leaveBuild forgets a build.
func (r *Replica) leaveBuild(b *build) {
	delete(r.builds, b.top)
	for _, w := range b.built {
		if r.within[w.in.path] == b {
			delete(r.within, w.in.path)
		}
	}
}

// takeApart makes temporary files of those in a build that was written and cannot be put in place, and removes the rest of it.
func (r *Replica) takeApart(b *build) {
	for _, w := range b.built {
		if w.entry.Kind != merkle.File || w.err != nil || w.disk.Kind == 0 {
			continue
		}
		temp := r.tempName() + partial
		err := r.inWritable(w.temp, func() error { return r.root.Move("build.apart", w.temp, temp) })
		if err == nil {
			w.in.temp, w.in.disk, w.in.fetched = temp, w.disk, w.blocks
		} else if w.in.temp != "" {
			w.in.temp = "" // it went there; it is fetched again
		}
	}
	if err := r.removeTree(b.temp); err != nil && !absent(err) {
		r.log.Warn("a temporary directory cannot be removed: it goes at the next start", "path", b.temp, "cause", err)
	}
}

// removeTree removes a directory of ours with all that is in it, none of which was ever in place.
func (r *Replica) removeTree(dir string) error {
	info, err := r.root.Lstat(dir)
	if err != nil {
		return err
	}
	if info.Mode&0o700 != 0o700 {
		if err := r.root.Chmod("build.chmod", dir, 0o700); err != nil {
			return err
		}
	}
	stats, err := r.root.StatDir(dir)
	if err != nil {
		return err
	}
	for _, s := range stats {
		path := merkle.Join(dir, s.Name)
		switch {
		case s.Err != nil:
			err = s.Err
		case s.Info.Kind == beneath.Dir:
			err = r.removeTree(path)
		default:
			err = r.root.Remove("build.remove", path)
		}
		if err != nil {
			return err
		}
	}
	return r.root.RemoveDir("build.remove", dir)
}
