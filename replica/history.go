package replica

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"resonate/beneath"
	"resonate/control"
	"resonate/merkle"
)

// The history holds what was displaced or deleted, as plain files: .resonate/history/PATH~TIME, TIME being when it was
// displaced, in UTC to the microsecond. A directory that was deleted with all that was in it is kept as it was under such a
// name.
const keptLayout = "20060102T150405.000000Z"

// keptMark separates a kept file's name from its time.
const keptMark = "~"

// trimInterval is how often the history is brought back within its bounds.
const trimInterval = 10 * time.Minute

// keptPath returns where the history keeps what is displaced from p at the time at. Names that would grow beyond 255
// bytes are cut and tagged with a hash of the whole.
func keptPath(p string, at time.Time) string {
	dir, name := merkle.SplitPath(p)
	return path.Join(historyDir, dir, keptName(name)+keptMark+at.UTC().Format(keptLayout))
}

func keptName(name string) string {
	const most = 255 - len(keptMark) - len(keptLayout)
	if len(name) <= most {
		return name
	}
	whole := merkle.HashBlock([]byte(name))
	return strings.ToValidUTF8(name[:most-17], "") + keptMark + hex.EncodeToString(whole[:8])
}

// parseKept splits the name of a kept file.
func parseKept(name string) (base string, at time.Time, ok bool) {
	i := strings.LastIndex(name, keptMark)
	if i < 0 {
		return "", at, false
	}
	at, err := time.Parse(keptLayout, name[i+len(keptMark):])
	return name[:i], at, err == nil
}

// keep moves what lies at from, displaced from the path p, to the history, and returns where it is.
func (r *Replica) keep(from, p string) error {
	for at := time.Now(); ; at = at.Add(time.Microsecond) {
		to := keptPath(p, at)
		if err := r.root.MkdirAll("history.mkdir", path.Dir(to), 0o700); err != nil {
			return err
		}
		err := r.root.Move("history.move", from, to)
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
}

// kept yields all that the history keeps of p and below, "" for everything.
func (r *Replica) kept(p string, each func(control.Kept) error) error {
	dir, name := merkle.SplitPath(p)
	if p == "" {
		return r.keptBelow("", each)
	}
	if err := r.keptIn(dir, func(k control.Kept) error {
		base := merkle.Join(dir, keptName(name))
		if rest, ok := strings.CutPrefix(k.Path, base); ok && (rest == "" || rest[0] == '/') {
			k.Path = p + rest // a long name is kept under a shortened one
			return each(k)
		}
		return nil
	}); err != nil {
		return err
	}
	if err := r.keptWithin(p, each); err != nil {
		return err
	}
	return r.keptBelow(p, each)
}

// keptWithin yields what was kept of p and below with a directory above it.
func (r *Replica) keptWithin(p string, each func(control.Kept) error) error {
	for above, _ := merkle.SplitPath(p); above != ""; above, _ = merkle.SplitPath(above) {
		dir, name := merkle.SplitPath(above)
		entries, err := r.root.ReadDir(path.Join(historyDir, dir))
		if err != nil {
			if absent(err) {
				continue
			}
			return err
		}
		for _, e := range entries {
			if base, at, ok := parseKept(e.Name); ok && base == keptName(name) {
				if err := r.keptWhole(path.Join(historyDir, dir, e.Name)+p[len(above):], p, at, each); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// keptWhole yields what lies at file, which was displaced from p at a time, and all below it.
func (r *Replica) keptWhole(file, p string, at time.Time, each func(control.Kept) error) error {
	info, err := r.root.Lstat(file)
	if err != nil {
		return ignoreMissing(err)
	}
	if info.Kind != beneath.Dir {
		return each(control.Kept{
			Path: p, Time: at, Size: info.Size, MTime: time.Unix(0, info.MTime), Kind: kindOf(info.Kind).String(), File: file,
		})
	}
	entries, err := r.root.ReadDir(file)
	if err != nil {
		return ignoreMissing(err)
	}
	for _, e := range entries {
		if err := r.keptWhole(path.Join(file, e.Name), merkle.Join(p, e.Name), at, each); err != nil {
			return err
		}
	}
	return nil
}

// keptIn yields what was displaced from names in dir.
func (r *Replica) keptIn(dir string, each func(control.Kept) error) error {
	entries, err := r.root.ReadDir(path.Join(historyDir, dir))
	if err != nil {
		return ignoreMissing(err)
	}
	for _, e := range entries {
		base, at, ok := parseKept(e.Name)
		if !ok {
			continue
		}
		if err := r.keptWhole(path.Join(historyDir, dir, e.Name), merkle.Join(dir, base), at, each); err != nil {
			return err
		}
	}
	return nil
}

func (r *Replica) keptBelow(dir string, each func(control.Kept) error) error {
	if err := r.keptIn(dir, each); err != nil {
		return err
	}
	entries, err := r.root.ReadDir(path.Join(historyDir, dir))
	if err != nil {
		return ignoreMissing(err)
	}
	for _, e := range entries {
		sub := merkle.Join(dir, e.Name)
		if _, _, whole := parseKept(e.Name); whole {
			continue
		}
		if info, err := r.root.Lstat(path.Join(historyDir, sub)); err != nil || info.Kind != beneath.Dir {
			continue
		}
		if err := r.keptBelow(sub, each); err != nil {
			return err
		}
	}
	return nil
}

func ignoreMissing(err error) error {
	if absent(err) {
		return nil
	}
	return err
}

// History implements control.Daemon.
func (r *Replica) History(_ context.Context, p string) ([]control.Kept, error) {
	var out []control.Kept
	err := r.kept(p, func(k control.Kept) error {
		out = append(out, k)
		return nil
	})
	slices.SortFunc(out, func(a, b control.Kept) int {
		if c := strings.Compare(a.Path, b.Path); c != 0 {
			return c
		}
		return b.Time.Compare(a.Time)
	})
	return out, err
}

// Restore implements control.Daemon. It copies, so that the history keeps what it has; what stands at the path goes to
// the history in its turn, and the restored file is published like any edit.
func (r *Replica) Restore(ctx context.Context, p string, at time.Time) (control.Kept, error) {
	all, err := r.History(ctx, p)
	if err != nil {
		return control.Kept{}, err
	}
	chosen := chooseKept(all, at)
	if len(chosen) == 0 {
		return control.Kept{}, fmt.Errorf("%s: no version of that time is kept, unless it is the one that is there now: resonate history %s lists them: %w", p, p, control.ErrNotFound)
	}
	sum := control.Kept{Path: p, Kind: "directory", Time: at}
	for _, k := range chosen {
		if err := r.restore(ctx, k); err != nil {
			return control.Kept{}, fmt.Errorf("restore %s: %w", k.Path, err)
		}
		sum.Size += k.Size
		if k.MTime.After(sum.MTime) {
			sum.MTime = k.MTime
		}
	}
	if len(chosen) == 1 && chosen[0].Path == p {
		return chosen[0], nil
	}
	return sum, nil
}

// chooseKept picks for every path the file that stood there at the given time: the one displaced next after it. Without
// a time it is the newest kept one. all is sorted by path, the newest
// first.
func chooseKept(all []control.Kept, at time.Time) (out []control.Kept) {
	for _, k := range all {
		last := len(out) - 1
		switch same := last >= 0 && out[last].Path == k.Path; {
		case at.IsZero() && !same:
			out = append(out, k)
		case at.IsZero() || k.Time.Before(at):
		case same:
			out[last] = k
		default:
			out = append(out, k)
		}
	}
	return out
}

func (r *Replica) restore(ctx context.Context, k control.Kept) error {
	temp := r.tempName()
	if err := r.copyKept(k, temp); err != nil {
		return err
	}
	var err error
	doErr := r.do(ctx, func() {
		if err = r.putBack(temp, k.Path); err == nil {
			r.look(k.Path, false)
		}
	})
	return errors.Join(doErr, err)
}

// copyKept copies a kept file to temp.
func (r *Replica) copyKept(k control.Kept, temp string) error {
	if k.Kind == merkle.Symlink.String() {
		target, err := r.root.Readlink(k.File)
		if err != nil {
			return err
		}
		return r.root.Symlink("restore.symlink", target, temp)
	}
	from, err := r.root.OpenFile(k.File)
	if err != nil {
		return err
	}
	defer from.Close()
	info, err := r.fstat(from)
	if err != nil {
		return err
	}
	to, err := r.root.Create("restore.create", temp+partial, 0o600)
	if err != nil {
		return err
	}
	err = copySparse(to, from)
	err = errors.Join(err, r.copyAttributes(to, from, info), beneath.FchmodMTime(to, info.Mode, info.MTime), to.Close())
	if err == nil {
		err = r.root.Move("restore.whole", temp+partial, temp)
	}
	if err != nil {
		_ = r.root.Remove("restore.remove", temp+partial)
	}
	return err
}

// putBack puts temp at p; what stands there goes to the history.
func (r *Replica) putBack(temp, p string) error {
	if dir, _ := merkle.SplitPath(p); dir != "" {
		if err := r.root.MkdirAll("restore.mkdir", dir, 0o755); err != nil {
			return err
		}
	}
	err := r.root.Move("restore.move", temp, p)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	var other *beneath.OtherSpelling
	switch info, err := r.root.Lstat(p); {
	case err == nil && info.Kind == beneath.Dir:
		return fmt.Errorf("%s is a directory now: move it away first", p)
	case errors.As(err, &other):
		r.removeOrLeave("restore.remove", temp)
		return fmt.Errorf("%s and %s are one name on this disk: move %s away first", other.Asked, other.Found, other.Found)
	}
	if err := r.root.Exchange("restore.exchange", temp, p); err != nil {
		return err
	}
	return r.keep(temp, p)
}

// trimHistoryNowAndThen keeps the history within its bounds of age and size.
func (r *Replica) trimHistoryNowAndThen() {
	tick := time.NewTicker(trimInterval)
	defer tick.Stop()
	for {
		if err := r.trimHistory(time.Now()); err != nil {
			r.log.Warn("history cannot be trimmed", "cause", err)
		}
		select {
		case <-tick.C:
		case <-r.ctx.Done():
			return
		}
	}
}

// trimHistory removes what is older than HistoryAge, then the oldest until HistorySize is kept.
func (r *Replica) trimHistory(now time.Time) error {
	if r.o.HistoryAge == 0 && r.o.HistorySize == 0 {
		return nil
	}
	var all []control.Kept
	var size int64
	if err := r.kept("", func(k control.Kept) error {
		all = append(all, k)
		size += k.Size
		return nil
	}); err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b control.Kept) int { return a.Time.Compare(b.Time) })
	for _, k := range all {
		old := r.o.HistoryAge > 0 && now.Sub(k.Time) > r.o.HistoryAge
		if !old && (r.o.HistorySize == 0 || size <= r.o.HistorySize) {
			break
		}
		remove := func() error { return r.root.Remove("history.trim", k.File) }
		if err := r.inWritable(k.File, remove); err != nil { // what was kept with its directory may lie in a read-only one
			return err
		}
		size -= k.Size
		for dir := path.Dir(k.File); dir != historyDir; dir = path.Dir(dir) {
			if r.inWritable(dir, func() error { return r.root.RemoveDir("history.trim", dir) }) != nil {
				break // not empty
			}
		}
	}
	return nil
}
