package replica

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"resonate/beneath"
	"resonate/control"
	"resonate/index"
	"resonate/merkle"
)

// A checker proves what is known of a folder against the folder. With a daemon it runs beside the loop, which it asks
// for a page of what is known at a time. What differs then may only be late, on its way in or out: it is looked at again
// once all that happened before has been taken in, and counts if it still stands as it did.
type checker struct {
	r      *Replica
	ctx    context.Context
	o      control.CheckOptions
	report func(control.CheckReport) error
	loop   func(f func()) error // runs f where the replica's state may be used
	live   bool                 // a loop runs, beside which the check does
	left   map[string][]index.Intent
	moved  []string       // from where and to where moves were under way that are not in the index yet
	fixes  []index.Change // to be committed when no loop is there to do it

	sum   control.CheckSummary
	total merkle.Summary
	told  time.Time // when progress was last reported
	begun time.Time
	buf   []byte

	broken error // of report, while a file was being read
}

// A checked is one path as it is known and as it is.
type checked struct {
	path    string
	entry   *merkle.Entry
	disk    index.Disk // as recorded
	suspect bool
	ignored bool             // or shelved
	left    bool             // a directory that stays although it was deleted elsewhere
	holds   bool             // something may be known below it
	info    beneath.Info     // as it is; zero: nothing is there
	err     error            // why that cannot be told
	content merkle.BlockList // of a file whose content differs: as it is
}

// A finding is how a path differs.
type finding struct{ what, expected, found string }

// checkPage is how many names of a directory are compared at a time.
const checkPage = 512

// maxRounds is how often a path that differs in another way each time is looked at again: somebody is at work on it.
const maxRounds = 10

// Check implements control.Daemon.
func (r *Replica) Check(ctx context.Context, o control.CheckOptions, report func(control.CheckReport) error) error {
	c := &checker{
		r: r, ctx: ctx, o: o, report: report, live: true, begun: time.Now(),
		loop: func(f func()) error { return r.do(ctx, f) },
	}
	if err := c.until(func() bool { return r.scanned }); err != nil {
		return err
	}
	if err := c.checkIndex(); err != nil {
		return err
	}
	return c.checkFolder()
}

// checkFolder compares the whole folder with what is known, and ends with the summary.
func (c *checker) checkFolder() error {
	if err := c.loop(func() { c.total = c.r.tree.Root() }); err != nil {
		return err
	}
	if err := c.dir(""); err != nil {
		return err
	}
	return c.report(control.CheckReport{Summary: &c.sum})
}

// until waits until cond, which is asked in the loop, holds.
func (c *checker) until(cond func() bool) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		var done bool
		if err := c.loop(func() { done = cond() }); err != nil || done {
			return err
		}
		select {
		case <-tick.C:
		case <-c.ctx.Done():
			return context.Cause(c.ctx)
		}
		if err := c.progress(); err != nil {
			return err
		}
	}
}

// dir compares what lies in a directory with what is known to lie in it, name by name, and then looks into those below.
func (c *checker) dir(dir string) error {
	names, err := c.list(dir)
	if err != nil {
		return c.found(checked{path: dir, err: err}, &finding{"unreadable", "a directory that can be listed", err.Error()})
	}
	var dirs []string
	for after, more := "", true; more; {
		var known []string
		last := ""
		if err := c.loop(func() { known, last, more = c.r.knownIn(dir, after) }); err != nil {
			return err
		}
		n := len(names)
		if more {
			n, _ = slices.BinarySearch(names, last+"\x00")
		}
		page := slices.Compact(sorted(append(known, names[:n]...)))
		names, after = names[n:], last
		below, err := c.page(dir, page)
		if err != nil {
			return err
		}
		dirs = append(dirs, below...)
	}
	for _, d := range dirs {
		if err := c.dir(d); err != nil {
			return err
		}
	}
	return nil
}

func sorted(names []string) []string {
	slices.Sort(names)
	return names
}

// list returns the names in a directory, sorted; none where it is not there.
func (c *checker) list(dir string) ([]string, error) {
	at := dir
	if at == "" {
		at = "."
	}
	entries, err := c.r.root.ReadDir(at)
	if absent(err) && dir != "" {
		return nil, nil
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		if !isOurs(merkle.Join(dir, e.Name)) {
			names = append(names, e.Name)
		}
	}
	return sorted(names), err
}

// knownIn returns a page of the names that are known in a directory: those after a name, up to last.
func (r *Replica) knownIn(dir, after string) (known []string, last string, more bool) {
	l := merkle.Listing{Path: dir, Depth: 1, Deleted: true}
	if after != "" {
		l.After = merkle.Join(dir, after)
	}
	for path := range r.tree.List(l) {
		if len(known) == checkPage {
			return known, last, true
		}
		_, last = merkle.SplitPath(path)
		known = append(known, last)
	}
	return known, last, false
}

// page compares some names of a directory, and returns the paths of the directories among them.
func (c *checker) page(dir string, names []string) (dirs []string, err error) {
	var differ, files []checked
	for part := range slices.Chunk(names, checkPage) {
		items := make([]checked, 0, len(part))
		if err := c.loop(func() {
			for _, name := range part {
				items = append(items, c.r.recorded(merkle.Join(dir, name)))
			}
		}); err != nil {
			return nil, err
		}
		for i := range items {
			it := &items[i]
			it.look(c.r.root)
			if !it.ignored && c.r.rules.ignored(it.path, it.info.Kind == beneath.Dir) {
				it.ignored = true
			}
			if it.ignored {
				continue
			}
			c.count(it)
			if it.info.Kind == beneath.Dir || it.holds {
				dirs = append(dirs, it.path)
			}
			switch {
			case c.differs(*it) != nil:
				differ = append(differ, *it)
			case it.entry.Live() && it.entry.Kind == merkle.File:
				files = append(files, *it)
			}
		}
	}
	if err := c.settle(differ); err != nil {
		return nil, err
	}
	for _, it := range files {
		if err := c.file(it); err != nil {
			return nil, err
		}
	}
	return dirs, c.progress()
}

// recorded returns what is known of a path.
func (r *Replica) recorded(path string) checked {
	it := checked{path: path, entry: r.tree.Get(path)}
	if rec := r.records[path]; rec != nil {
		it.disk, it.suspect = rec.disk(), rec.suspect
	}
	it.ignored, it.left = r.ignoresKnown(path) || r.isShelved(path), r.left[path]
	it.holds = it.entry.IsDir() || it.disk.Kind == merkle.Dir || r.tree.HasLive(path)
	return it
}

// look adds what stands at the path.
func (it *checked) look(root *beneath.Root) {
	it.info, it.err = root.Lstat(it.path)
	if absent(it.err) {
		it.info, it.err = beneath.Info{}, nil
	}
}

func (c *checker) count(it *checked) {
	switch it.info.Kind {
	case beneath.File:
		c.sum.Files++
	case beneath.Dir:
		c.sum.Directories++
	case beneath.Symlink:
		c.sum.Symlinks++
	}
}

// differs tells how a path is not as it is known; nil if it is.
func (c *checker) differs(it checked) *finding {
	e, d := it.entry, it.disk
	switch {
	case it.err != nil:
		return &finding{"unreadable", "something that can be looked at", it.err.Error()}
	case c.explained(it), it.ignored, it.left:
		return nil
	case !e.Live() && d.Kind == 0:
		if it.info.Kind == 0 || it.info.Kind == beneath.Other {
			return nil
		}
		return &finding{"unknown", "nothing", describeInfo(it.info)}
	case !e.Live():
		return &finding{"record", "an agreed version of what is recorded: " + describeDisk(d), "none"}
	case d.Kind == 0:
		return &finding{"record", "a record of what is on disk: " + describeEntry(e), "none"}
	case d.Kind != e.Kind || (e.Kind == merkle.File && d.Size != e.Size):
		return &finding{"record", "a record of " + describeEntry(e), describeDisk(d)}
	case it.suspect:
		return &finding{"content", "what was agreed", "something else, found earlier: the peers' version is to go in"}
	case it.info.Kind == 0:
		return &finding{"missing", describeDisk(d), "nothing"}
	case d.Kind == merkle.Dir && it.info.Kind == beneath.Dir && d.Mode == it.info.Mode:
		return nil // the directory itself may be another: what lies in it speaks for itself
	case !sameDisk(d, it.info):
		return &finding{"changed", describeDisk(d), describeInfo(it.info)}
	}
	return nil
}

// explained tells whether a path is as a swap left it that is not in the index yet: the next start takes that in.
func (c *checker) explained(it checked) bool {
	if below(c.moved...)(it.path) {
		return true
	}
	return slices.ContainsFunc(c.left[it.path], func(i index.Intent) bool {
		switch {
		case i.Entry == nil: // a conflict copy that the swap has left
			return it.info.Kind != 0
		case i.Entry.Kind == merkle.Tombstone:
			return it.info.Kind == 0
		case i.Entry.Kind == merkle.Dir:
			return it.info.Kind == beneath.Dir
		}
		return it.info.Inode == i.Disk.Inode && it.info.Size == i.Disk.Size && it.info.MTime == i.Disk.MTime
	})
}

// settle looks again at paths that differ, once what happened before has been taken in, and reports those that differ
// as they did.
func (c *checker) settle(differ []checked) error {
	for round := 0; len(differ) > 0 && round < maxRounds; round++ {
		if err := c.takenIn(); err != nil {
			return err
		}
		var again []checked
		for _, it := range differ {
			now, settled, err := c.lookAgain(it.path)
			if err != nil {
				return err
			}
			f := c.differs(now)
			switch {
			case !settled || f == nil:
			case now.sameAs(it):
				if err := c.found(now, f); err != nil {
					return err
				}
			default:
				again = append(again, now)
			}
		}
		differ = again
	}
	return nil
}

// takenIn waits until all that was done in the folder so far has been seen and compared by the loop.
func (c *checker) takenIn() error {
	if !c.live {
		return nil
	}
	if err := c.r.watcher.Flush(c.ctx); err != nil {
		return err
	}
	return c.until(func() bool { return c.r.scans == 0 && len(c.r.rescan) == 0 })
}

// lookAgain looks at one path in the loop. settled tells whether nothing is under way there. A file that somebody has open for
// writing is not: who truncates it may have to wait in the middle of it, when it has its new size and still its old time, and
// no event was raised yet. Whether it is open is asked first, so that what is seen then was finished.
func (c *checker) lookAgain(path string) (it checked, settled bool, err error) {
	err = c.loop(func() {
		busy := c.r.busyWriting(path)
		it = c.r.recorded(path)
		it.look(c.r.root)
		it.ignored = it.ignored || c.r.ignores(path, it.info.Kind == beneath.Dir)
		settled = !busy && !c.r.unpublished(path) && len(c.r.incoming[path]) == 0 && !c.r.linger[path]
	})
	return it, settled, err
}

// sameAs tells whether a path is known, and is, as it was at an earlier look.
func (it checked) sameAs(other checked) bool {
	mine, others := it.disk, other.disk
	mine.Looked, others.Looked = 0, 0
	same := merkle.SameEntry(it.entry, other.entry) && mine == others && it.suspect == other.suspect && (it.err == nil) == (other.err == nil)
	if it.info.Kind == beneath.Dir && it.disk.Kind == merkle.Dir { // what is done in it is nothing to it
		return same && other.info.Kind == beneath.Dir && it.info.Mode == other.info.Mode && it.info.Inode == other.info.Inode
	}
	return same && it.info == other.info
}

// file checks the block list of a file that is as recorded and, if asked to, its content.
func (c *checker) file(it checked) error {
	if err := c.checkList(it); err != nil || !c.o.Read {
		return err
	}
	for range maxRounds {
		if bad, err := c.contentDiffers(&it); !bad {
			return err
		}
		if err := c.takenIn(); err != nil {
			return err
		}
		now, settled, err := c.lookAgain(it.path)
		if err != nil || c.differs(now) != nil || !now.entry.Live() || now.entry.Kind != merkle.File {
			return err // it changed since
		}
		if !settled || !now.sameAs(it) { // perhaps it was only looked at
			it = now
			continue
		}
		if bad, err := c.contentDiffers(&now); !bad {
			return err
		}
		if now.err != nil {
			return c.found(now, &finding{"unreadable", "a file that can be read", now.err.Error()})
		}
		return c.found(now, &finding{"content", "content " + now.entry.Content.String(),
			"content " + now.content.Root().String() + ", while size and time are as recorded"})
	}
	return nil
}

// contentDiffers reads a file, and tells whether that fails, or what it holds is not what was agreed. An error is that of
// the check.
func (c *checker) contentDiffers(it *checked) (bool, error) {
	info, list, err := c.read(it.path)
	switch {
	case c.broken != nil:
		return false, c.broken
	case c.ctx.Err() != nil:
		return false, context.Cause(c.ctx)
	case absent(err), err == nil && !sameDisk(it.disk, info):
		return false, nil // it changed since
	}
	it.err, it.content = err, list
	return err != nil || list.Root() != it.entry.Content, nil
}

// read reads a file into blocks.
func (c *checker) read(path string) (info beneath.Info, list merkle.BlockList, err error) {
	f, err := c.r.root.OpenFile(path)
	if err != nil {
		return info, nil, err
	}
	defer f.Close()
	list, c.buf, err = merkle.Split(checkReader{c, f}, c.buf)
	if err == nil {
		info, err = c.r.fstat(f)
	}
	return info, list, err
}

// A checkReader counts what is read for a check, and ends with it.
type checkReader struct {
	c *checker
	f io.Reader
}

func (r checkReader) Read(p []byte) (int, error) {
	if err := r.c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.f.Read(p)
	r.c.sum.BytesRead += int64(n)
	if r.c.broken = r.c.progress(); r.c.broken != nil {
		return n, r.c.broken
	}
	return n, err
}

// found reports a difference, and has it mended if asked to.
func (c *checker) found(it checked, f *finding) error {
	d := &control.Difference{Path: it.path, What: f.what, Expected: f.expected, Found: f.found}
	if c.o.Repair {
		if err := c.mend(it, d); err != nil {
			return err
		}
	}
	return c.tell(d)
}

func (c *checker) tell(d *control.Difference) error {
	c.sum.Differences++
	if d.Mended {
		c.sum.Mended++
	}
	return c.report(control.CheckReport{Difference: d})
}

// progressInterval is how often a check tells how far it is.
const progressInterval = 200 * time.Millisecond

func (c *checker) progress() error {
	now := time.Now()
	if now.Sub(c.told) < progressInterval {
		return nil
	}
	c.told = now
	p := &control.Progress{What: "check", Files: c.sum.Files, FilesTotal: max(c.total.Files, c.sum.Files), SecondsLeft: -1}
	if c.o.Read {
		p.Bytes, p.BytesTotal = c.sum.BytesRead, max(c.total.Bytes, c.sum.BytesRead)
		if took := now.Sub(c.begun).Seconds(); took > 0.5 && p.Bytes > 0 {
			p.BytesPerSecond = float64(p.Bytes) / took
			p.SecondsLeft = float64(p.BytesTotal-p.Bytes) / p.BytesPerSecond
		}
	}
	return c.report(control.CheckReport{Progress: p})
}

func describeDisk(d index.Disk) string {
	return describe(d.Kind.String(), d.Kind, d.Mode, d.Size, d.MTime, d.Inode)
}

func describeInfo(info beneath.Info) string {
	return describe(info.Kind.String(), kindOf(info.Kind), info.Mode, info.Size, info.MTime, info.Inode)
}

func describe(name string, k merkle.Kind, mode uint32, size, mtime int64, inode uint64) string {
	parts := []string{name}
	if k != merkle.Symlink {
		parts = append(parts, "mode "+octal(mode))
	}
	if k != merkle.Dir {
		parts = append(parts, fmt.Sprintf("%d bytes", size), "changed "+time.Unix(0, mtime).UTC().Format(time.RFC3339Nano), fmt.Sprintf("inode %d", inode))
	}
	return strings.Join(parts, ", ")
}

func describeEntry(e *merkle.Entry) string {
	if e.Kind == merkle.File {
		return fmt.Sprintf("%s, %d bytes", e.Kind, e.Size)
	}
	return e.Kind.String()
}
