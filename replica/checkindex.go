package replica

import (
	"errors"
	"fmt"

	"resonate/control"
	"resonate/index"
	"resonate/merkle"
)

// checkIndex proves the index against what the running daemon knows: each value can be read, and says the same.
func (c *checker) checkIndex() error {
	rootBefore, err := c.rootAtRest()
	if err != nil {
		return err
	}
	var x merkle.Tree
	flaws, err := c.r.index.Verify(func(path string, rec index.Record, _ merkle.BlockList) error {
		if rec.Entry != nil {
			x.Put(path, rec.Entry)
		}
		return c.ctx.Err()
	})
	if errors.Is(err, index.ErrDamaged) {
		return c.tell(&control.Difference{
			What: "index", Expected: "an index that can be read", Found: err.Error(),
			Repair: "end the daemon and start it again: the index is built anew by a scan; nothing is deleted",
		})
	}
	if err == nil {
		err = c.flaws(flaws)
	}
	if err != nil {
		return err
	}
	before := c.sum.Differences
	if err := errors.Join(c.knownNotIndexed(&x), c.indexedNotKnown(&x)); err != nil {
		return err
	}
	rootAfter, err := c.rootAtRest()
	if err != nil || before != c.sum.Differences || len(flaws) > 0 {
		return err
	}
	if got := x.Root().State; rootBefore == rootAfter && !rootBefore.IsZero() && got != rootBefore {
		return c.tell(&control.Difference{
			What: "index", Expected: "records whose tree has the root " + rootBefore.String(), Found: "root " + got.String(),
			Repair: "end the daemon and start it again, and report this: it is a defect of resonate",
		})
	}
	return nil
}

// rootAtRest returns the state root while all of it is written down; zero where something just is not.
func (c *checker) rootAtRest() (root merkle.Hash, err error) {
	err = c.loop(func() {
		if len(c.r.dirty) == 0 && !c.r.commit.running {
			root = c.r.tree.Root().State
		}
	})
	return root, err
}

// flaws reports what cannot be read of the index, and has it written anew.
func (c *checker) flaws(flaws []index.Flaw) error {
	if len(flaws) == 0 {
		return nil
	}
	done, mended := "", false
	if c.o.Repair {
		if _, err := c.r.index.Mend(); err != nil {
			return err
		}
		done, mended = "dropped: the next start scans the folder for it", true
		if c.live {
			done = "written anew from what the daemon knows"
			if err := c.loop(c.r.touchAll); err != nil {
				return err
			}
		}
	}
	for _, f := range flaws {
		d := &control.Difference{
			Path: f.Path, What: "index", Expected: "an index of which every value is as it was written", Found: f.Cause.Error(),
			Repair: done, Mended: mended,
		}
		if err := c.tell(d); err != nil {
			return err
		}
	}
	return nil
}

// touchAll has everything that is known written down again.
func (r *Replica) touchAll() {
	for path := range r.records {
		r.touch(path)
	}
	for path := range r.tree.All("") {
		r.touch(path)
	}
}

// knownNotIndexed finds what the daemon has agreed and the index has not, or otherwise.
func (c *checker) knownNotIndexed(x *merkle.Tree) error {
	for after, more := "", true; more; {
		var differ []string
		more = false
		if err := c.loop(func() {
			n := 0
			for path, e := range c.r.tree.List(merkle.Listing{After: after, Deleted: true}) {
				if n++; n > checkPage {
					more = true
					return
				}
				if after = path; e != nil && !sameEntry(e, x.Get(path)) {
					differ = append(differ, path)
				}
			}
		}); err != nil {
			return err
		}
		if err := c.indexDiffers(differ); err != nil {
			return err
		}
	}
	return nil
}

// indexedNotKnown finds what the index has and the daemon has never agreed.
func (c *checker) indexedNotKnown(x *merkle.Tree) error {
	for after, more := "", true; more; {
		var page, differ []string
		more = false
		for path, e := range x.List(merkle.Listing{After: after, Deleted: true}) {
			if len(page) == checkPage {
				more = true
				break
			}
			if after = path; e != nil {
				page = append(page, path)
			}
		}
		if err := c.loop(func() {
			for _, path := range page {
				if c.r.tree.Get(path) == nil {
					differ = append(differ, path)
				}
			}
		}); err != nil {
			return err
		}
		if err := c.indexDiffers(differ); err != nil {
			return err
		}
	}
	return nil
}

func sameEntry(a, b *merkle.Entry) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Hash() == b.Hash()
}

// indexDiffers looks at some paths again, when nothing of them is just being written down, and reports those of which the
// index says something else than the daemon.
func (c *checker) indexDiffers(paths []string) error {
	for _, path := range paths {
		var known *merkle.Entry
		rec, _, ok, err := c.written(path, func() { known = c.r.tree.Get(path) })
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		var stored *merkle.Entry
		if rec != nil {
			stored = rec.Entry
		}
		if sameEntry(known, stored) {
			continue
		}
		d := &control.Difference{Path: path, What: "index", Expected: describeVersion(known), Found: describeVersion(stored)}
		if c.o.Repair {
			if err := c.loop(func() { c.r.touch(path) }); err != nil {
				return err
			}
			d.Repair, d.Mended = "written anew from what the daemon knows", true
		}
		if err := c.tell(d); err != nil {
			return err
		}
	}
	return nil
}

func describeVersion(e *merkle.Entry) string {
	if e == nil {
		return "no entry"
	}
	return fmt.Sprintf("%s by %s at stamp %d, entry %s", e.Kind, e.Version.Author.Short(), e.Version.Stamp, e.Hash())
}

// written returns what the index has of path, and calls also in the same turn of the loop. ok is false where something about
// path is still to be written down: what the index has of it does not matter then. What cannot be read was reported
// already, and is as if it were not there.
func (c *checker) written(path string, also func()) (rec *index.Record, list merkle.BlockList, ok bool, err error) {
	err = c.until(func() bool {
		if ok = !c.r.dirty[path]; !ok {
			return true
		}
		if c.r.commit.running {
			return false
		}
		rec, list, _ = c.r.index.Read(path)
		also()
		return true
	})
	return rec, list, ok, err
}

// checkList checks the block list that is kept for a file. None at all is no flaw: it is made when somebody asks.
func (c *checker) checkList(it checked) error {
	_, list, _ := c.r.index.Read(it.path)
	sound := func(list merkle.BlockList) bool {
		return len(list) == 0 || (list.Root() == it.entry.Content && list.Size() == it.entry.Size)
	}
	if sound(list) {
		return nil
	}
	same := true
	_, list, ok, err := c.written(it.path, func() { same = merkle.SameEntry(c.r.tree.Get(it.path), it.entry) })
	if err != nil || !ok || !same || sound(list) {
		return err
	}
	return c.found(it, &finding{
		"blocks", fmt.Sprintf("a block list of content %s and %d bytes", it.entry.Content, it.entry.Size),
		fmt.Sprintf("content %s, %d bytes", list.Root(), list.Size()),
	})
}
