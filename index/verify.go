package index

import (
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"resonate/merkle"
)

// A Flaw is something in an index that cannot be read, or does not fit the rest.
type Flaw struct {
	Path  string // what is flawed; "" where that cannot be told
	Cause error  // wraps ErrDamaged
}

// Verify reads all of the index: it calls each with every sound record and its block list, a directory before what lies
// in it, and returns what is not sound. Unlike Load it goes on after that. An error is one of each, or means that the
// file as such cannot be read (ErrDamaged). It reads one state of the index, and commits may have to wait: each must
// not call the index, nor wait for who does.
func (x *Index) Verify(each func(path string, r Record, list merkle.BlockList) error) ([]Flaw, error) {
	v := verification{each: func(path string, r Record, list merkle.BlockList) error {
		defer func() {
			if p := recover(); p != nil {
				panic(callbackPanic{p})
			}
		}()
		return each(path, r, list)
	}}
	if err := x.view(func(t *table) error { return v.all(t) }); err != nil {
		return nil, fmt.Errorf("verify index %s: %w", x.path, err)
	}
	return v.flaws, nil
}

// Mend drops from the index what Verify finds flawed, so that all that is left can be read and written, in one
// transaction, and returns what it was. What was dropped is as if it had never been recorded: a scan finds it again. Where
// that is a record, Meta.Seen is forgotten with it: who claims to have seen an entry that it does not have, is taken to
// have deleted it.
func (x *Index) Mend() ([]Flaw, error) {
	x.writing.Lock()
	defer x.writing.Unlock()
	v := verification{each: func(string, Record, merkle.BlockList) error { return nil }}
	meta := x.Meta()
	err := x.guard(func() error {
		return x.db.Update(func(tx *bbolt.Tx) error {
			t, err := begin(tx)
			if err != nil {
				return err
			}
			if err := v.all(t); err != nil {
				return err
			}
			if len(v.bad) > 0 {
				meta.Seen = nil
			}
			return errors.Join(v.drop(), t.writeMeta(meta))
		})
	})
	if err != nil {
		return nil, fmt.Errorf("mend index %s: %w", x.path, err)
	}
	x.mu.Lock()
	x.meta = meta
	x.mu.Unlock()
	return v.flaws, nil
}

// A verification is one walk through an index.
type verification struct {
	*table
	each  func(path string, r Record, list merkle.BlockList) error
	flaws []Flaw

	todo    []directory
	ids     map[uint64]bool // directories met
	reached uint64          // records that a path leads to, flawed ones included
	total   uint64          // records
	highest uint64          // directory ID
	bad     [][]byte        // keys of records to be dropped
	lists   [][]byte        // keys of sound records whose block list is to be dropped
	strays  [][]byte        // keys of block lists that no record has
}

func (v *verification) flaw(path, format string, args ...any) {
	err := fmt.Errorf(format, args...)
	if !errors.Is(err, ErrDamaged) {
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	v.flaws = append(v.flaws, Flaw{path, err})
}

func (v *verification) all(t *table) error {
	v.table, v.ids, v.todo = t, map[uint64]bool{rootID: true}, []directory{{rootID, ""}}
	c := t.records.Cursor()
	for len(v.todo) > 0 {
		last := len(v.todo) - 1
		dir := v.todo[last]
		v.todo = v.todo[:last]
		prefix := makeKey(dir.id, "")
		for key, value := c.Seek(prefix); len(key) >= 8 && string(key[:8]) == string(prefix); key, value = c.Next() {
			v.reached++
			if err := v.record(merkle.Join(dir.path, string(key[8:])), key, value); err != nil {
				return err
			}
		}
	}
	v.unreached()
	v.strayLists()
	if v.total != v.count {
		v.flaw("", "%d records, %d expected", v.total, v.count)
	}
	if v.highest > v.last {
		v.flaw("", "directory ID %d, where %d is the last given out", v.highest, v.last)
	}
	return nil
}

// record looks at one record, and hands it on if it is sound.
func (v *verification) record(path string, key, value []byte) error {
	message, err := unseal(key, value)
	var p place
	var r Record
	if err == nil {
		p, err = decodePlace(message)
	}
	if err == nil && p.record {
		r, err = decodeRecord(message)
	}
	if err == nil && v.ids[p.dir] {
		err = fmt.Errorf("directory ID %d, which another has", p.dir)
	}
	if err != nil {
		v.flaw(path, "record: %w", err)
		v.bad = append(v.bad, key)
		return nil
	}
	if p.dir != 0 {
		v.ids[p.dir] = true
		v.highest = max(v.highest, p.dir)
		v.todo = append(v.todo, directory{p.dir, path})
	}
	list, err := v.listOf(key, p)
	if err != nil {
		v.flaw(path, "%w", err)
		v.lists = append(v.lists, key)
		list = nil
	}
	if !p.record {
		return nil
	}
	return v.each(path, r, list)
}

// unreached finds the records to which no path leads any more.
func (v *verification) unreached() {
	c := v.records.Cursor()
	for key, _ := c.First(); key != nil; key, _ = c.Next() {
		v.total++
		if len(key) <= 8 || !v.ids[binary.BigEndian.Uint64(key)] {
			v.flaw("", "record of a name %q: no directory has its ID", key[min(len(key), 8):])
			v.bad = append(v.bad, key)
		}
	}
}

// strayLists finds the block lists of which no sound record knows.
func (v *verification) strayLists() {
	c := v.blocks.Cursor()
	for key, _ := c.First(); key != nil; key, _ = c.Next() {
		if stored, p, err := v.get(key); err == nil && (stored == nil || p.apart == 0) {
			v.flaw("", "block list of a name %q that no record knows of", key[min(len(key), 8):])
			v.strays = append(v.strays, key)
		}
	}
}

// drop removes what was found to be flawed. Keys are copied first: they point into pages that change.
func (v *verification) drop() error {
	bad, lists, strays := copies(v.bad), copies(v.lists), copies(v.strays)
	for _, key := range strays {
		if err := v.blocks.Delete(key); err != nil {
			return err
		}
	}
	for _, key := range lists {
		if err := v.dropList(key); err != nil {
			return err
		}
	}
	for _, key := range bad {
		if err := errors.Join(v.records.Delete(key), v.blocks.Delete(key)); err != nil {
			return err
		}
	}
	v.count = v.total - uint64(len(bad))
	v.last = max(v.last, v.highest)
	return v.writeCounters()
}

// dropList makes a record one without block list.
func (v *verification) dropList(key []byte) error {
	message, p, err := v.get(key)
	if err != nil {
		return err
	}
	r, err := decodeRecord(message)
	if err != nil {
		return err
	}
	p.block, p.apart = nil, 0
	return errors.Join(v.records.Put(key, seal(key, appendRecord(unsealed(256), r, p))), v.blocks.Delete(key))
}

func copies(keys [][]byte) [][]byte {
	out := make([][]byte, len(keys))
	for i, k := range keys {
		out[i] = append([]byte(nil), k...)
	}
	return out
}

// Read returns what is kept of path: its record, nil if there is none, and its block list.
func (x *Index) Read(path string) (r *Record, list merkle.BlockList, err error) {
	err = x.view(func(t *table) error {
		key, err := t.find(path)
		if key == nil || err != nil {
			return err
		}
		message, p, err := t.get(key)
		if err != nil || !p.record {
			return err
		}
		found, err := decodeRecord(message)
		if err != nil {
			return fmt.Errorf("%w: record: %w", ErrDamaged, err)
		}
		r = &found
		list, err = t.listOf(key, p)
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read %q from index %s: %w", path, x.path, err)
	}
	return r, list, nil
}

// OpenReadOnly opens an index that is there to be looked at: nothing in the file changes, and Commit and Mend fail. Errors
// are those of Open; an index that is not there is fs.ErrNotExist.
func OpenReadOnly(path string) (*Index, error) {
	x := &Index{path: path, readOnly: true}
	if err := x.guard(x.open); err != nil {
		_ = x.Close()
		return nil, fmt.Errorf("open index %s: %w", path, err)
	}
	return x, nil
}

// ReadIntents returns what earlier runs left in the log in dir, as OpenIntents does, and leaves it as it is. Without a log
// there is nothing.
func ReadIntents(dir string) ([]Intent, error) {
	l := &Intents{dir: dir}
	generations, err := listGenerations(dir)
	if err != nil {
		return nil, fmt.Errorf("read intents: %w", err)
	}
	var left []Intent
	for _, g := range generations {
		found, _, err := readGeneration(l.name(g))
		if err != nil {
			return nil, fmt.Errorf("read intents: %w", err)
		}
		left = append(left, found...)
	}
	return left, nil
}
