package replica

import (
	"time"

	"resonate/control"
	"resonate/index"
	"resonate/merkle"
)

// mend puts right what differs at a path, or sets going what does, and says so in d.
func (c *checker) mend(it checked, d *control.Difference) error {
	if d.What == "blocks" {
		return c.mendList(it, d)
	}
	if d.What == "unreadable" {
		d.Repair = makeReadable
		return nil
	}
	if !c.live {
		c.mendAlone(it, d)
		return nil
	}
	if d.What == "content" && it.content == nil { // found earlier
		var err error
		if _, it.content, err = c.read(it.path); err != nil {
			d.Repair = makeReadable
			return c.broken
		}
	}
	return c.loop(func() {
		switch d.What {
		case "content":
			d.Repair, d.Mended = c.r.mendContent(it)
		case "record":
			d.Repair, d.Mended = c.r.mendRecord(it)
		default:
			c.r.look(it.path, false)
			d.Repair, d.Mended = "published as a change", c.r.unpublished(it.path)
			if c.r.held[it.path].local() {
				d.Repair = "held: it was made here, and this node only receives"
			}
		}
	})
}

// mendList makes a new block list from the file, where that holds what was agreed.
func (c *checker) mendList(it checked, d *control.Difference) error {
	info, list, err := c.read(it.path)
	if err != nil || !sameDisk(it.disk, info) || list.Root() != it.entry.Content {
		d.Repair = "the file itself is not as it was agreed: check it with -read"
		return c.broken
	}
	return c.loop(func() {
		rec := c.r.records[it.path]
		if !merkle.SameEntry(c.r.tree.Get(it.path), it.entry) || rec == nil || rec.disk() != it.disk {
			return
		}
		rec.setBlocks(list)
		if c.live {
			c.r.touch(it.path)
		} else {
			c.fixes = append(c.fixes, c.r.toIndex(it.path))
		}
		d.Repair, d.Mended = "made anew from the file", true
	})
}

// mendContent has the agreed content fetched again for a file that holds something else although nobody wrote to it. What it
// holds goes to the history then; it is never published, unless the user approves it.
func (r *Replica) mendContent(it checked) (done string, mended bool) {
	rec := r.records[it.path]
	if rec == nil || !merkle.SameEntry(r.tree.Get(it.path), it.entry) || r.unpublished(it.path) {
		return "it changed meanwhile: check again", false
	}
	if it.content.Root() == it.entry.Content {
		r.look(it.path, true)
		return "it holds what was agreed by now: recorded anew", true
	}
	attrs := it.entry.Attributes
	attrs.Content = it.content.Root()
	r.held[it.path] = &heldChange{
		change: &change{path: it.path, attrs: &attrs, disk: diskOf(it.info), blocks: it.content, scan: true},
		kind:   "suspect", since: time.Now(),
	}
	r.suspected(rec)
	r.touch(it.path)
	r.reinstate(it.path)
	return r.fromPeers("what is here goes to the history, and what was agreed is fetched again from a peer")
}

// suspected marks the record of a file whose content is not to be trusted: whatever its stat says, it is read again, and not
// published.
func (r *Replica) suspected(rec *record) {
	rec.suspect = true
	rec.inode = 0
}

// fromPeers adds to what was done that it takes a peer, where none is connected.
func (r *Replica) fromPeers(done string) (string, bool) {
	if len(r.peers) == 0 {
		return done + ", as soon as one is connected", false
	}
	return done, true
}

// mendRecord makes the record of a path anew from what is there; what was agreed and is not there is fetched again.
func (r *Replica) mendRecord(it checked) (done string, mended bool) {
	if r.unpublished(it.path) || len(r.incoming[it.path]) > 0 {
		return "it changed meanwhile: check again", false
	}
	r.dropDisk(it.path)
	if it.entry.Live() && it.info.Kind == 0 {
		r.fetchAgain(it.path)
		return r.fromPeers("fetched again from a peer")
	}
	r.look(it.path, false)
	return "recorded anew", true
}

// mendAlone notes in the index what the daemon is to put right when it starts: it scans the folder then.
func (c *checker) mendAlone(it checked, d *control.Difference) {
	r := c.r
	rec := r.records[it.path]
	switch d.What {
	case "content":
		r.suspected(rec)
		d.Repair = "marked: once the daemon runs, what is here goes to the history, and what was agreed is fetched again from a peer"
	case "record":
		if rec != nil {
			rec.setDisk(index.Disk{})
		}
		if it.entry.Live() && it.info.Kind == 0 {
			d.Repair = "check again once the daemon runs, and peers are connected"
			return
		}
		d.Repair = "recorded anew when the daemon starts"
	default:
		d.Repair, d.Mended = "published as a change when the daemon starts", true
		return
	}
	c.fixes = append(c.fixes, r.toIndex(it.path))
	d.Mended = true
}
