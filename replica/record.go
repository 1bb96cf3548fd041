package replica

import (
	"resonate/index"
	"resonate/merkle"
)

// A record is what is known of a path beside its entry. A folder of a million files has a million of them: what most paths lack
// lies apart.
type record struct {
	inode           uint64 // this and the next ones as in index.Disk
	size            int64
	mtime           int64
	checked, looked int64
	mode            uint32
	kind            merkle.Kind
	suspect         bool
	ignored         bool // when last looked at: disk is what was there before
	behind          bool // disk is of an earlier version than what is agreed, which came in while the path was ignored
	rare            *rare
}

// rare is what few records have. It is not kept when it is empty.
type rare struct {
	xattrHash      merkle.Hash
	refused, owner string
	hint           int64            // a directory's mtime as announced
	blocks         merkle.BlockList // of a file; nil where the list lies in the index
	before         []*merkle.Entry  // as in index.Record
}

// spareRecords are made at a time: 4 KiB, so that what stays for long does not lie scattered among what does not.
const spareRecords = 63

// newRecord returns an empty record.
func (s *state) newRecord() *record {
	if len(s.spare) == 0 {
		s.spare = make([]record, spareRecords)
	}
	rec := &s.spare[0]
	s.spare = s.spare[1:]
	return rec
}

// load takes over what the index has.
func (rec *record) load(from index.Record) {
	rec.suspect, rec.ignored, rec.behind = from.Suspect, from.Ignored, from.Behind
	rec.setDisk(from.Disk)
	rec.setHint(from.Hint)
	rec.setBefore(from.Before)
}

// disk returns what the path looks like on disk.
func (rec *record) disk() index.Disk {
	d := index.Disk{
		Kind: rec.kind, Mode: rec.mode, Inode: rec.inode, Size: rec.size, MTime: rec.mtime,
		Checked: rec.checked, Looked: rec.looked,
	}
	if rec.rare != nil {
		d.XattrHash, d.Refused, d.Owner = rec.rare.xattrHash, rec.rare.refused, rec.rare.owner
	}
	return d
}

func (rec *record) setDisk(d index.Disk) {
	rec.kind, rec.mode, rec.inode, rec.size, rec.mtime = d.Kind, d.Mode, d.Inode, d.Size, d.MTime
	rec.checked, rec.looked = d.Checked, d.Looked
	more := rec.more()
	more.xattrHash, more.refused, more.owner = d.XattrHash, d.Refused, d.Owner
	rec.setMore(more)
}

// hint returns a directory's mtime as announced, 0 for none.
func (rec *record) hint() int64 { return rec.more().hint }

func (rec *record) setHint(mtime int64) {
	more := rec.more()
	more.hint = mtime
	rec.setMore(more)
}

// blocks returns the block list of a file, nil where it lies in the index.
func (rec *record) blocks() merkle.BlockList { return rec.more().blocks }

func (rec *record) setBlocks(list merkle.BlockList) {
	more := rec.more()
	more.blocks = list
	rec.setMore(more)
}

// before returns what was agreed before, as index.Record has it.
func (rec *record) before() []*merkle.Entry { return rec.more().before }

func (rec *record) setBefore(list []*merkle.Entry) {
	more := rec.more()
	more.before = list
	rec.setMore(more)
}

func (rec *record) more() rare {
	if rec.rare == nil {
		return rare{}
	}
	return *rec.rare
}

func (rec *record) setMore(more rare) {
	switch {
	case more.xattrHash.IsZero() && more.refused == "" && more.owner == "" && more.hint == 0 && more.blocks == nil && more.before == nil:
		rec.rare = nil
	case rec.rare == nil:
		rec.rare = &more
	default:
		*rec.rare = more
	}
}
