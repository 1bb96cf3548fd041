package index

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/bbolt"

	"resonate/merkle"
)

// A Change is what a path is to have in the index from now on.
type Change struct {
	Path       string           // below the folder; the folder itself has no record
	Record     *Record          // nil, or zero: nothing is known of the path any more. What lies below it stays
	Blocks     merkle.BlockList // of the content; nil: none is kept
	KeepBlocks bool             // leave the list as it is stored; Blocks is not looked at
}

// Commit applies the changes in their order, and sets the meta record unless meta is nil, in one transaction (two
// fsyncs). Reserved never goes down, whichever of two commits comes last. After an error the index is as before; where the disk itself failed it may, when opened again, be as
// after. Directories that have no record yet need not be recorded first.
func (x *Index) Commit(changes []Change, meta *Meta) error {
	if len(changes) == 0 && meta == nil {
		return nil
	}
	x.writing.Lock()
	defer x.writing.Unlock()
	var kept Meta
	if meta != nil {
		kept = *meta
		kept.Reserved = max(kept.Reserved, x.Meta().Reserved)
		kept.Format = format
		kept.Members = slices.Clone(kept.Members)
		if _, err := decodeMeta(appendMeta(nil, kept)); err != nil {
			return fmt.Errorf("commit meta to index %s: %w", x.path, err)
		}
	}
	err := x.guard(func() error {
		return x.db.Update(func(tx *bbolt.Tx) error { return commit(tx, changes, meta != nil, kept) })
	})
	if err != nil {
		return fmt.Errorf("commit to index %s: %w", x.path, err)
	}
	if meta != nil {
		x.mu.Lock()
		x.meta = kept
		x.mu.Unlock()
	}
	return nil
}

func commit(tx *bbolt.Tx, changes []Change, withMeta bool, meta Meta) error {
	t, err := begin(tx)
	if err != nil {
		return err
	}
	for _, c := range changes {
		if err := t.apply(c); err != nil {
			return fmt.Errorf("record %q: %w", c.Path, err)
		}
	}
	if withMeta {
		if err := t.writeMeta(meta); err != nil {
			return err
		}
	}
	return t.writeCounters()
}

func (t *table) apply(c Change) error {
	if c.Path == "" || strings.HasPrefix(c.Path, "/") || strings.HasSuffix(c.Path, "/") || strings.Contains(c.Path, "//") {
		return errors.New("path with an empty name")
	}
	if c.Record == nil || c.Record.zero() {
		return t.remove(c.Path)
	}
	dir, name := merkle.SplitPath(c.Path)
	id, err := t.makeDir(dir)
	if err != nil {
		return err
	}
	key := makeKey(id, name)
	stored, p, err := t.get(key)
	if err != nil {
		return err
	}
	if stored == nil {
		t.count++
	}
	if !c.KeepBlocks {
		if p, err = t.setBlocks(key, p, c.Blocks); err != nil {
			return err
		}
	}
	value := appendRecord(unsealed(256), *c.Record, p)
	if _, err := decodeRecord(value[sealSize:]); err != nil { // it would pass for damage at the next start
		return err
	}
	return t.records.Put(key, seal(key, value))
}

// setBlocks stores list where it belongs, and returns p with it.
func (t *table) setBlocks(key []byte, p place, list merkle.BlockList) (place, error) {
	before := p.apart
	p.block, p.apart = nil, 0
	switch {
	case len(list) > 1:
		p.apart = uint64(len(list))
		return p, t.blocks.Put(key, seal(key, list.Append(unsealed(64*len(list)))))
	case len(list) == 1:
		p.block = list
	}
	if before > 0 {
		return p, t.blocks.Delete(key)
	}
	return p, nil
}

// makeDir returns the ID of the directory at path, which is given one if it has none.
func (t *table) makeDir(path string) (uint64, error) {
	if id, err := t.dirID(path); id != 0 || err != nil {
		return id, err
	}
	dir, name := merkle.SplitPath(path)
	above, err := t.makeDir(dir)
	if err != nil {
		return 0, err
	}
	key := makeKey(above, name)
	stored, _, err := t.get(key)
	if err != nil {
		return 0, err
	}
	if stored == nil {
		t.count++
	}
	t.last++
	value := append(unsealed(len(stored)+16), stored...)
	value = merkle.AppendUint(value, recordDir, t.last) // it has none yet
	t.dirs[path] = t.last
	return t.last, t.records.Put(key, seal(key, value))
}

// remove makes path unknown. Its place stays while something is recorded below it.
func (t *table) remove(path string) error {
	key, err := t.find(path)
	if key == nil || err != nil {
		return err
	}
	stored, p, err := t.get(key)
	if stored == nil || err != nil {
		return err
	}
	if p, err = t.setBlocks(key, p, nil); err != nil {
		return err
	}
	if err := t.records.Put(key, seal(key, appendRecord(unsealed(16), Record{}, p))); err != nil {
		return err
	}
	return t.prune(path)
}

// prune drops the place of path, and those above it, while they hold nothing.
func (t *table) prune(path string) error {
	for ; path != ""; path, _ = merkle.SplitPath(path) {
		key, err := t.find(path)
		if err != nil {
			return err
		}
		_, p, err := t.get(key)
		if err != nil || p.record || p.dir != 0 && t.hasChildren(p.dir) {
			return err
		}
		if err := t.records.Delete(key); err != nil {
			return err
		}
		t.count--
		delete(t.dirs, path)
	}
	return nil
}
