package index

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"syscall"
	"testing"

	"go.etcd.io/bbolt"

	"resonate/merkle"
)

const errNotDir = syscall.ENOTDIR

// sample makes an index of some hundred records and returns its bytes and records.
func sample(t *testing.T) ([]byte, map[string]Record) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "index")
	x := open(t, path)
	fill(t, x, 300)
	commitAll(t, x, put("large", merkle.File, blocks(1000)))
	records := load(t, x)
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b, records
}

// used returns the number of bytes that the database in b uses; the rest of the file was allocated ahead.
func used(t *testing.T, b []byte) int {
	t.Helper()
	path := filepath.Join(t.TempDir(), "index")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	x := open(t, path)
	var size int64
	if err := x.db.View(func(tx *bbolt.Tx) error { size = tx.Size(); return nil }); err != nil {
		t.Fatal(err)
	}
	return int(size)
}

// readAll opens an index with the given bytes and reads all of it.
func readAll(t *testing.T, b []byte) (map[string]Record, merkle.BlockList, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "index")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	x, err := Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer x.Close()
	got := make(map[string]Record)
	if err := x.Load(func(p string, r Record) error { got[p] = r; return nil }); err != nil {
		return nil, nil, err
	}
	list, err := x.Blocks("large")
	return got, list, err
}

func TestCutShort(t *testing.T) {
	whole, records := sample(t)
	end := used(t, whole)
	page := os.Getpagesize()
	for size := 0; size < end; size += page / 2 {
		got, _, err := readAll(t, whole[:size])
		switch {
		case size == 0: // bbolt makes an empty file a database
			if err != nil || len(got) != 0 {
				t.Errorf("empty file: %d records, %v, want an empty index", len(got), err)
			}
		case !errors.Is(err, ErrDamaged):
			t.Errorf("file cut to %d of %d bytes: error %v, want %v", size, end, err, ErrDamaged)
		}
	}
	if got, _, err := readAll(t, whole[:end]); err != nil || !reflect.DeepEqual(got, records) {
		t.Errorf("file without what was allocated ahead: %d records, %v, want %d", len(got), err, len(records))
	}
}

// TestCutWhileOpen holds that a fault in the memory map does not end the process, nor hang Close.
func TestCutWhileOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index")
	x := open(t, path)
	fill(t, x, 300)
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := x.Load(func(string, Record) error { return nil }); !errors.Is(err, ErrDamaged) {
			t.Errorf("Load: error %v, want %v", err, ErrDamaged)
		}
		if err := x.Commit([]Change{put("a", merkle.File, nil)}, nil); !errors.Is(err, ErrDamaged) {
			t.Errorf("Commit: error %v, want %v", err, ErrDamaged)
		}
	}
}

func TestCutBeforeCommit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index")
	x := open(t, path)
	fill(t, x, 300)
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if err := x.Commit([]Change{put("a", merkle.File, nil)}, nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("Commit: error %v, want %v", err, ErrDamaged)
	}
	if _, err := x.Blocks("top"); !errors.Is(err, ErrDamaged) {
		t.Errorf("Blocks: error %v, want %v", err, ErrDamaged)
	}
}

// TestGarbledPages overwrites each page, and flips single bytes: what is read is right, or told to be damaged.
func TestGarbledPages(t *testing.T) {
	whole, records := sample(t)
	end, page := used(t, whole), os.Getpagesize()
	check := func(what string, at int, garbled []byte) bool {
		t.Helper()
		got, list, err := readAll(t, garbled)
		if err == nil && (!reflect.DeepEqual(got, records) || len(list) != 1000) {
			t.Errorf("%s at %d: %d records and %d blocks without an error, want %d and 1000", what, at, len(got), len(list), len(records))
		}
		if err != nil && !errors.Is(err, ErrDamaged) {
			t.Errorf("%s at %d: error %v, want %v", what, at, err, ErrDamaged)
		}
		return err != nil
	}
	told := 0
	// Pages 0 and 1 hold the two newest states: without one bbolt falls back to the other, rightly.
	for at := 2 * page; at < end; at += page {
		garbled := append([]byte(nil), whole[:end]...)
		for i := range page {
			garbled[at+i] = 0xa5
		}
		if check("garbled page", at, garbled) {
			told++
		}
	}
	if told == 0 {
		t.Error("no garbled page was noticed")
	}
	r := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		at := 2*page + r.IntN(end-2*page)
		garbled := append([]byte(nil), whole[:end]...)
		garbled[at] ^= 1 << r.IntN(8)
		check("flipped bit", at, garbled)
	}
}

func TestNoIndex(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, make([]byte, 1<<16), 0o600); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(dir, "other")
	db, err := bbolt.Open(other, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("stranger")); return err })
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	rows := []struct {
		name, path string
		want       error
	}{
		{"zeros", text, ErrDamaged},
		{"database of another program", other, ErrDamaged},
		{"directory", dir, syscall.EISDIR},
		{"missing directory", filepath.Join(dir, "missing", "index"), fs.ErrNotExist},
	}
	for _, row := range rows {
		for range 2 { // the second Open finds no lock left behind
			if _, err := Open(row.path); !errors.Is(err, row.want) {
				t.Errorf("%s: error %v, want %v", row.name, err, row.want)
			}
		}
	}
}

func TestNewerFormat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index")
	x := open(t, path)
	err := x.db.Update(func(tx *bbolt.Tx) error { return attach(tx).writeMeta(Meta{Format: format + 1}) })
	if err := errors.Join(err, x.Close()); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := Open(path); !errors.Is(err, ErrNewer) || errors.Is(err, ErrDamaged) {
			t.Errorf("Open: error %v, want %v alone", err, ErrNewer)
		}
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
		t.Errorf("Open changed an index of a newer format, or %v", err)
	}
}

// TestCountIsHeld removes a record behind the index's back: the rest must not pass for all.
func TestCountIsHeld(t *testing.T) {
	x := open(t, filepath.Join(t.TempDir(), "index"))
	fill(t, x, 10)
	err := x.db.Update(func(tx *bbolt.Tx) error {
		records := tx.Bucket(recordsBucket)
		key, _ := records.Cursor().Last()
		return records.Delete(key)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Load(func(string, Record) error { return nil }); !errors.Is(err, ErrDamaged) {
		t.Errorf("Load: error %v, want %v", err, ErrDamaged)
	}
}

// TestCircle makes a directory contain itself, which must end the walk.
func TestCircle(t *testing.T) {
	x := open(t, filepath.Join(t.TempDir(), "index"))
	commitAll(t, x, put("a", merkle.Dir, nil), put("a/b", merkle.Dir, nil), put("a/b/c", merkle.File, nil))
	err := x.db.Update(func(tx *bbolt.Tx) error {
		key := makeKey(2, "b")
		value := appendRecord(unsealed(0), Record{Hint: 1}, place{dir: 2})
		return tx.Bucket(recordsBucket).Put(key, seal(key, value))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Load(func(string, Record) error { return nil }); !errors.Is(err, ErrDamaged) {
		t.Errorf("Load: error %v, want %v", err, ErrDamaged)
	}
}

// TestBlocksApart exchanges a block list for another, and drops it, behind the index's back.
func TestBlocksApart(t *testing.T) {
	x := open(t, filepath.Join(t.TempDir(), "index"))
	commitAll(t, x, put("a", merkle.File, blocks(5)))
	key := makeKey(rootID, "a")
	for name, garble := range map[string]func(*bbolt.Bucket) error{
		"shorter": func(b *bbolt.Bucket) error { return b.Put(key, seal(key, blocks(4).Append(unsealed(0)))) },
		"ragged":  func(b *bbolt.Bucket) error { return b.Put(key, seal(key, append(unsealed(0), 1))) },
		"gone":    func(b *bbolt.Bucket) error { return b.Delete(key) },
	} {
		if err := x.db.Update(func(tx *bbolt.Tx) error { return garble(tx.Bucket(blocksBucket)) }); err != nil {
			t.Fatal(err)
		}
		if list, err := x.Blocks("a"); !errors.Is(err, ErrDamaged) {
			t.Errorf("list %s: %d blocks, error %v, want %v", name, len(list), err, ErrDamaged)
		}
	}
}
