package index

import (
	"bytes"
	"fmt"

	"go.etcd.io/bbolt"

	"resonate/merkle"
)

// Load calls each with every record, a directory before what lies in it, and ends with the first error of each. It
// reads one state of the index; commits meanwhile do not show, and may have to wait. Therefore each must not call
// Commit or Close.
func (x *Index) Load(each func(path string, r Record) error) error {
	calling := func(path string, r Record) error {
		defer func() {
			if p := recover(); p != nil {
				panic(callbackPanic{p})
			}
		}()
		return each(path, r)
	}
	var failed error // of each, handed on as it is
	err := x.view(func(t *table) error {
		return t.load(func(path string, r Record) error {
			failed = calling(path, r)
			return failed
		})
	})
	if err != nil && failed == nil {
		return fmt.Errorf("load index %s: %w", x.path, err)
	}
	return failed
}

// view calls f with the records as they are now.
func (x *Index) view(f func(*table) error) error {
	return x.guard(func() error {
		return x.db.View(func(tx *bbolt.Tx) error {
			t, err := begin(tx)
			if err != nil {
				return err
			}
			return f(t)
		})
	})
}

// A listing is a walk through the records, directory by directory.
type listing struct {
	*table
	each    func(path string, r Record) error
	todo    []directory
	visited uint64
	path    []byte // scratch
}

type directory struct {
	id   uint64
	path string
}

func (t *table) load(each func(path string, r Record) error) error {
	l := listing{table: t, each: each, todo: []directory{{rootID, ""}}}
	c := t.records.Cursor()
	for len(l.todo) > 0 {
		last := len(l.todo) - 1
		dir := l.todo[last]
		l.todo = l.todo[:last]
		prefix := makeKey(dir.id, "")
		for key, value := c.Seek(prefix); bytes.HasPrefix(key, prefix); key, value = c.Next() {
			if err := l.visit(dir.path, key, value); err != nil {
				return err
			}
		}
	}
	if l.visited != t.count {
		return fmt.Errorf("%w: %d records found, %d expected", ErrDamaged, l.visited, t.count)
	}
	return nil
}

func (l *listing) visit(dir string, key, value []byte) error {
	if l.visited++; l.visited > l.count { // also ends a circle of directories
		return fmt.Errorf("%w: more than the %d records expected", ErrDamaged, l.count)
	}
	path := l.join(dir, key[8:])
	message, err := unseal(key, value)
	if err != nil {
		return err
	}
	r, p, err := decodeStored(message)
	if err != nil {
		return fmt.Errorf("%w: record of %q: %w", ErrDamaged, path, err)
	}
	if p.dir != 0 {
		l.todo = append(l.todo, directory{p.dir, path})
	}
	if !p.record {
		return nil
	}
	return l.each(path, r)
}

// join is merkle.Join.
func (l *listing) join(dir string, name []byte) string {
	l.path = l.path[:0]
	if dir != "" {
		l.path = append(append(l.path, dir...), '/')
	}
	return string(append(l.path, name...))
}

// Blocks returns the block list that is kept for path, nil if there is none (an empty file has none).
func (x *Index) Blocks(path string) (merkle.BlockList, error) {
	var list merkle.BlockList
	err := x.view(func(t *table) (err error) {
		list, err = t.readBlocks(path)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read blocks of %q from index %s: %w", path, x.path, err)
	}
	return list, nil
}

func (t *table) readBlocks(path string) (merkle.BlockList, error) {
	key, err := t.find(path)
	if key == nil || err != nil {
		return nil, err
	}
	_, p, err := t.get(key)
	if err != nil {
		return nil, err
	}
	return t.listOf(key, p)
}

// listOf returns the block list of the record under key, which holds p.
func (t *table) listOf(key []byte, p place) (merkle.BlockList, error) {
	if p.apart == 0 {
		return p.block, nil
	}
	message, err := unseal(key, t.blocks.Get(key))
	if err != nil {
		return nil, err
	}
	list, err := merkle.DecodeBlockList(message)
	if err == nil && uint64(len(list)) != p.apart {
		err = fmt.Errorf("%d blocks, %d expected: %w", len(list), p.apart, merkle.ErrFormat)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: block list: %w", ErrDamaged, err)
	}
	return list, nil
}
