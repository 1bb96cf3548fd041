package replica

import (
	"fmt"
	"reflect"
	"runtime"
	"testing"
	"time"

	"resonate/index"
	"resonate/merkle"
)

// TestRestGivesMemoryBack has a replica come to rest after much work: block lists that lie in the index leave the memory, and are
// still there when asked for.
func TestRestGivesMemoryBack(t *testing.T) {
	n := startNode(t, "a", tree{"d/f": "content"})
	known := func(r *Replica) bool { rec := r.records["d/f"]; return rec != nil && rec.blocks() != nil }
	eventually(t, "the file to be published", func() (why string) {
		n.inLoop(func(r *Replica) {
			if !known(r) {
				why = "no block list yet"
			}
		})
		return why
	})
	n.inLoop(func(r *Replica) {
		r.worked = muchWork
		r.wakeIn(0)
	})
	eventually(t, "rest", func() (why string) {
		n.inLoop(func(r *Replica) {
			if known(r) || r.worked != 0 {
				why = fmt.Sprintf("block list in memory: %v; worked %d", known(r), r.worked)
			}
		})
		return why
	})
	n.inLoop(func(r *Replica) {
		list, err := r.blockList("d/f")
		if err != nil || list.Root() != r.tree.Get("d/f").Content {
			t.Errorf("block list at rest = %v, %v, want that of the content", list, err)
		}
	})
}

// TestRecordHoldsAll holds that a record gives back what it was given.
func TestRecordHoldsAll(t *testing.T) {
	disk := index.Disk{Kind: merkle.File, Mode: 0o644, Inode: 1, Size: 2, MTime: 3, Checked: 4, Looked: 5}
	full := disk
	full.XattrHash, full.Refused, full.Owner = merkle.Hash{6}, "user.a\x00", "0:0"
	list := merkle.BlockList{{Hash: merkle.Hash{7}, Size: 8}}
	var rec record
	for _, d := range []index.Disk{disk, full, disk} {
		rec.setBlocks(list)
		rec.setHint(9)
		if rec.setDisk(d); rec.disk() != d || rec.hint() != 9 || !reflect.DeepEqual(rec.blocks(), list) {
			t.Errorf("record = %+v, %d, %v, want %+v, 9, %v", rec.disk(), rec.hint(), rec.blocks(), d, list)
		}
		rec.setHint(0)
		if rec.setBlocks(nil); rec.disk() != d || rec.hint() != 0 || rec.blocks() != nil {
			t.Errorf("record without hint and list = %+v, %d, %v, want %+v", rec.disk(), rec.hint(), rec.blocks(), d)
		}
	}
	if rec.rare != nil {
		t.Error("what is rare is kept although there is nothing")
	}
}

// maxFileMemory is how many bytes of memory a file may take, names included.
const maxFileMemory = 280

// fileMemory returns how many bytes of memory what is known of each of n files takes, once they are loaded: entry, record and name.
func fileMemory(n int) float64 {
	const each = 100 // files in a directory, and entries that one operation touched
	r := &Replica{}
	r.records, r.highest = make(map[string]*record), make(map[merkle.NodeID]merkle.Stamp)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	now := time.Now().UnixNano()
	for i := range n {
		node, stamp := merkle.NodeID{1}, merkle.Stamp(1+i/each)
		r.loadRecord(fmt.Sprintf("dir%04d/file%07d", i/each, i), index.Record{
			Entry: &merkle.Entry{
				Attributes: merkle.Attributes{Kind: merkle.File, Mode: 0o644, Size: 100, MTime: now, Content: merkle.Hash{2, byte(i)}},
				Version:    merkle.Version{Vector: merkle.Vector{{Node: node, Stamp: stamp}}, Author: node, Stamp: stamp},
			},
			Disk: index.Disk{Kind: merkle.File, Mode: 0o644, Inode: uint64(i), Size: 100, MTime: now, Checked: now, Looked: now},
		})
	}
	r.tree.Root()
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(r)
	return float64(after.HeapAlloc-before.HeapAlloc) / float64(n)
}

func TestMemoryOfFiles(t *testing.T) {
	if got := fileMemory(20_000); got > maxFileMemory {
		t.Errorf("a file takes %.0f bytes of memory, want at most %d", got, maxFileMemory)
	}
}

// BenchmarkMemory tells what memory each of 100,000 files takes.
func BenchmarkMemory(b *testing.B) {
	var got float64
	for b.Loop() {
		got = fileMemory(100_000)
	}
	b.ReportMetric(got, "B/file")
}
