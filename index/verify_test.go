package index

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"

	"resonate/merkle"
)

// edit changes the database of x behind its back.
func edit(t *testing.T, x *Index, f func(t *table) error) {
	t.Helper()
	err := x.db.Update(func(tx *bbolt.Tx) error {
		tb, err := begin(tx)
		if err != nil {
			return err
		}
		return f(tb)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// spoil flips a byte of a value of b.
func spoil(b *bbolt.Bucket, key []byte) error {
	value := append([]byte(nil), b.Get(key)...)
	value[len(value)-1] ^= 0xff
	return b.Put(key, value)
}

// keyOf returns the key of path.
func keyOf(t *table, path string) []byte {
	key, err := t.find(path)
	if err != nil || key == nil {
		panic("no key of " + path)
	}
	return key
}

func verify(t *testing.T, x *Index) (flaws []Flaw, paths map[string]int) {
	t.Helper()
	paths = make(map[string]int)
	flaws, err := x.Verify(func(p string, _ Record, list merkle.BlockList) error {
		paths[p] = len(list)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range flaws {
		if !errors.Is(f.Cause, ErrDamaged) {
			t.Errorf("flaw of %q: got %v, want one that is ErrDamaged", f.Path, f.Cause)
		}
	}
	return flaws, paths
}

func TestVerifyAndMend(t *testing.T) {
	for _, row := range []struct {
		name   string
		damage func(t *table) error
		flaws  []string // their paths
		left   []string // paths that stay
		seen   bool     // Meta.Seen stays
	}{
		{"sound", func(*table) error { return nil }, nil, []string{"d", "d/f", "d/g", "h"}, true},
		{"a record", func(t *table) error { return spoil(t.records, keyOf(t, "d/f")) }, []string{"d/f"}, []string{"d", "d/g", "h"}, false},
		{
			"a directory", func(t *table) error { return spoil(t.records, keyOf(t, "d")) },
			[]string{"d", "", ""}, []string{"h"}, false,
		},
		{"a block list", func(t *table) error { return spoil(t.blocks, keyOf(t, "d/g")) }, []string{"d/g"}, []string{"d", "d/f", "d/g", "h"}, true},
		{
			"a block list too many", func(t *table) error { return t.blocks.Put(keyOf(t, "h"), t.blocks.Get(keyOf(t, "d/g"))) },
			[]string{""}, []string{"d", "d/f", "d/g", "h"}, true,
		},
		{"the count", func(t *table) error { t.count++; return t.writeCounters() }, []string{""}, []string{"d", "d/f", "d/g", "h"}, true},
		{"the last ID", func(t *table) error { t.last = 1; return t.writeCounters() }, []string{""}, []string{"d", "d/f", "d/g", "h"}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			x := open(t, filepath.Join(t.TempDir(), "index"))
			meta := fullMeta()
			if err := x.Commit([]Change{
				put("d", merkle.Dir, nil), put("d/f", merkle.File, blocks(1)), put("d/g", merkle.File, blocks(5)), put("h", merkle.File, nil),
			}, &meta); err != nil {
				t.Fatal(err)
			}
			edit(t, x, row.damage)
			for _, look := range []func() ([]Flaw, error){
				func() ([]Flaw, error) { f, _ := verify(t, x); return f, nil },
				x.Mend,
			} {
				flaws, err := look()
				if err != nil {
					t.Fatal(err)
				}
				if len(flaws) != len(row.flaws) {
					t.Fatalf("got flaws %v, want of %q", flaws, row.flaws)
				}
				for i, f := range flaws {
					if f.Path != row.flaws[i] {
						t.Errorf("flaw %d is of %q, want of %q", i, f.Path, row.flaws[i])
					}
				}
			}
			flaws, paths := verify(t, x)
			if len(flaws) > 0 {
				t.Errorf("after mending: got flaws %v", flaws)
			}
			if len(paths) != len(row.left) {
				t.Errorf("after mending: got %v, want %q", paths, row.left)
			}
			for _, p := range row.left {
				if _, ok := paths[p]; !ok {
					t.Errorf("after mending: %q is gone", p)
				}
			}
			wantPaths(t, x, row.left...)
			if got := len(x.Meta().Seen) > 0; got != row.seen {
				t.Errorf("after mending: Seen kept: %t, want %t", got, row.seen)
			}
			commitAll(t, x, put("d/f", merkle.File, blocks(3)), put("d/new/n", merkle.File, nil))
			if flaws, _ := verify(t, x); len(flaws) > 0 {
				t.Errorf("after a commit: got flaws %v", flaws)
			}
		})
	}
}

func TestOpenReadOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index")
	if _, err := OpenReadOnly(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no index: got %v, want %v", err, fs.ErrNotExist)
	}
	x := open(t, path)
	commitAll(t, x, put("f", merkle.File, blocks(2)))
	x.Close()
	before, _ := os.ReadFile(path)
	x, err := OpenReadOnly(path)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	if flaws, paths := verify(t, x); len(flaws) > 0 || paths["f"] != 2 {
		t.Errorf("got flaws %v, paths %v", flaws, paths)
	}
	if rec, list, err := x.Read("f"); err != nil || rec == nil || len(list) != 2 {
		t.Errorf("Read: got %v, %d blocks, %v", rec, len(list), err)
	}
	if rec, _, err := x.Read("none/at/all"); err != nil || rec != nil {
		t.Errorf("Read of nothing: got %v, %v", rec, err)
	}
	if err := x.Commit([]Change{put("g", merkle.File, nil)}, nil); err == nil {
		t.Error("Commit: no error")
	}
	if after, _ := os.ReadFile(path); string(before) != string(after) {
		t.Error("the file has changed")
	}
}
