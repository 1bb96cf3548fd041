// Package index keeps what resonate knows of a folder on disk: the records of all paths in one file, and a log of the
// swaps that are about to happen.
//
// The file is a bbolt database: copy-on-write pages and two fsyncs a transaction, so that a crash at any instruction
// leaves the last committed state, and there is no recovery code here. It is a cache that a scan of the folder can
// rebuild, save for the agreed versions. bbolt does not check its pages; every value carries a CRC32C over its key and
// itself, and the number of records is kept, so that damage is told (ErrDamaged) and never read as knowledge.
//
// # Layout
//
// Bucket "records" holds a record for each path, bucket "blocks" the block lists of more than one block, so that
// reading all records does not read them. Both have the same keys: the ID of the directory (8 bytes, big-endian; the
// folder itself is 1), then the name. A directory gets its ID when something below it is first recorded, and its own
// record holds it. So a renamed directory is one record under another key, its ID kept: nothing below it changes. A
// renamed file takes its block list with it, under the same new key.
//
// A path below which something is recorded, while nothing is known of the path itself, has a record with an ID alone.
//
// Bucket "state" holds "meta" (Meta) and "counters" (the last directory ID given out, the number of records). All
// values are protobuf messages (block lists: see merkle.BlockList) behind the CRC32C of key and message, 4 bytes in
// little-endian order. Unknown fields are skipped, and dropped when the value is written again; a format in which
// that would lose something must raise Meta.Format.
package index

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

var (
	// ErrInUse is wrapped by the error of Open when another process has the index open.
	ErrInUse = errors.New("in use by another process")

	// ErrDamaged is wrapped by errors about a file that is not a sound index. A scan rebuilds the index.
	ErrDamaged = errors.New("index damaged")

	// ErrNewer is wrapped by the error of Open when a newer resonate wrote the index.
	ErrNewer = errors.New("index was written by a newer resonate")
)

// format is the version of the layout. An index of a higher one is refused.
const format = 1

// lockWait is how long Open waits for a process that may just be ending.
const lockWait = 200 * time.Millisecond

// An Index is an open index file. Its methods are safe for concurrent use.
type Index struct {
	path     string
	readOnly bool
	file     *os.File // the one that db has open
	db       *bbolt.DB

	writing sync.Mutex // held during Commit

	mu     sync.Mutex
	meta   Meta
	broken error // what made the database unusable: its locks may never be free again
	closed bool
}

// Open opens the index at path and creates it, readable by its owner only, if there is none; the directory must
// exist. Errors wrap ErrInUse, ErrDamaged, ErrNewer or the error of the file system.
func Open(path string) (*Index, error) {
	x := &Index{path: path}
	err := x.guard(x.open)
	switch {
	case err == nil:
		return x, nil
	case errors.Is(err, ErrInUse):
		err = fmt.Errorf("%w: does resonate already run on this folder?", err)
	case errors.Is(err, ErrDamaged):
		err = fmt.Errorf("%w (move the file away, and a scan rebuilds it)", err)
	case errors.Is(err, ErrNewer):
		err = fmt.Errorf("%w: start that version, or move the file away, and a scan rebuilds it", err)
	}
	_ = x.Close()
	return nil, fmt.Errorf("open index %s: %w", path, err)
}

func (x *Index) open() error {
	options := &bbolt.Options{
		Timeout:      lockWait,
		FreelistType: bbolt.FreelistMapType,
		NoStatistics: true,
		ReadOnly:     x.readOnly,
		OpenFile: func(name string, flag int, mode os.FileMode) (file *os.File, err error) {
			file, err = os.OpenFile(name, flag, mode)
			x.file = file
			return file, err
		},
	}
	db, err := bbolt.Open(x.path, 0o600, options)
	if err != nil {
		return openError(err)
	}
	x.db = db
	fresh, err := x.inspect()
	switch {
	case err != nil || !fresh:
		return err
	case x.readOnly:
		return fs.ErrNotExist
	}
	return x.create()
}

// openError sorts the errors of bbolt, which has sentinels for some, into those of this package.
func openError(err error) error {
	var errno syscall.Errno
	var pathErr *fs.PathError
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return ErrInUse
	case errors.As(err, &errno), errors.As(err, &pathErr):
		return err
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// inspect reads the meta record, or tells that the database is fresh: nothing was ever committed to it.
func (x *Index) inspect() (fresh bool, err error) {
	info, err := x.file.Stat()
	if err != nil {
		return false, err
	}
	err = x.db.View(func(tx *bbolt.Tx) error {
		if tx.Size() > info.Size() {
			return fmt.Errorf("%w: file of %d bytes is cut short, %d expected", ErrDamaged, info.Size(), tx.Size())
		}
		if name, _ := tx.Cursor().First(); name == nil {
			fresh = true
			return nil
		}
		t, err := begin(tx)
		if err != nil {
			return err
		}
		x.meta, err = t.readMeta()
		return err
	})
	return fresh, err
}

// create makes the buckets and persists the directory that names the file.
func (x *Index) create() error {
	x.meta = Meta{Format: format}
	err := x.db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{stateBucket, recordsBucket, blocksBucket} {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		t := attach(tx)
		t.counters = counters{last: rootID}
		if err := t.writeMeta(x.meta); err != nil {
			return err
		}
		return t.writeCounters()
	})
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(x.path))
}

// syncDir makes the names in dir survive a loss of power.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Close closes the file, once running calls have ended. Further calls of Close do nothing.
func (x *Index) Close() error {
	x.mu.Lock()
	broken, closed := x.broken, x.closed
	x.closed = true
	x.mu.Unlock()
	switch {
	case closed || x.file == nil:
		return nil
	case broken != nil || x.db == nil: // db.Close might wait for ever; the lock goes with the file
		if err := x.file.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			return fmt.Errorf("close index %s: %w", x.path, err)
		}
		return nil
	}
	if err := x.db.Close(); err != nil {
		return fmt.Errorf("close index %s: %w", x.path, err)
	}
	return nil
}

// Meta returns the meta record as of the last commit.
func (x *Index) Meta() Meta {
	x.mu.Lock()
	defer x.mu.Unlock()
	m := x.meta
	m.Members = slices.Clone(m.Members)
	return m
}

// guard calls f, which uses the database. bbolt reads a memory map, and trusts it: pages that are cut off or cannot be
// read are a fault, garbage in them a panic. Both become ErrDamaged here, and all later calls fail in the same way.
func (x *Index) guard(f func() error) (err error) {
	x.mu.Lock()
	err = x.broken
	x.mu.Unlock()
	if err != nil {
		return err
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if foreign, ok := p.(callbackPanic); ok {
			panic(foreign.value)
		}
		err = fmt.Errorf("%w: %v", ErrDamaged, p)
		x.mu.Lock()
		x.broken = err
		x.mu.Unlock()
	}()
	return f()
}

// A callbackPanic is a panic of the caller's function, which is no sign of damage.
type callbackPanic struct{ value any }
