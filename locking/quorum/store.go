package quorum

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
)

// segmentSize is what a file of the log takes of the disk from its beginning, in bytes. The library's 64 MiB are for servers.
const segmentSize = 2 << 20

// A DiskError tells that the log cannot be written or read. The node votes for nothing meanwhile, and tries again by itself.
type DiskError struct {
	Dir string
	Err error
}

func (e *DiskError) Error() string {
	return fmt.Sprintf("lock log %s: %v: this node has no vote until that is mended (is there space on the disk?)", e.Dir, e.Err)
}

func (e *DiskError) Unwrap() error { return e.Err }

// store is the log and the votes on disk. Raft ends the program where the term cannot be written, or an entry not be read; so
// the first failure is the last: nothing is written any more, what Raft would not survive waits, and who owns the store is
// told. He cuts the streams, lets go with release, and ends Raft, which has promised nothing to anybody meanwhile.
type store struct {
	dir      string
	wal      *wal.WAL
	fault    func(op string) error // of tests: fails an operation before it is tried
	broken   func()                // called once
	released chan struct{}
	once     sync.Once

	mu  sync.Mutex
	err *DiskError
}

var (
	_ raft.LogStore          = (*store)(nil)
	_ raft.StableStore       = (*store)(nil)
	_ raft.MonotonicLogStore = (*store)(nil)
)

// openStore opens the log in dir, which is made if need be.
func openStore(dir string, log hclog.Logger, fault func(string) error, broken func()) (*store, error) {
	s := &store{dir: dir, fault: fault, broken: broken, released: make(chan struct{})}
	err := s.try("open")
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err == nil {
		err = syncDir(filepath.Dir(dir))
	}
	if err == nil {
		s.wal, err = wal.Open(dir, wal.WithLogger(log), wal.WithSegmentSize(segmentSize))
	}
	if err != nil {
		return nil, &DiskError{dir, err}
	}
	return s, nil
}

func (s *store) try(op string) error {
	if s.fault == nil {
		return nil
	}
	return s.fault(op)
}

// release lets Raft end: what waits returns. It may be called again.
func (s *store) release() { s.once.Do(func() { close(s.released) }) }

func (s *store) close() error { return s.wal.Close() }

// failed notes a failure, and returns it as what the store fails with from now on.
func (s *store) failed(err error) error {
	s.mu.Lock()
	first := s.err == nil
	if first {
		s.err = &DiskError{s.dir, err}
	}
	err = s.err
	s.mu.Unlock()
	if first {
		s.broken()
	}
	return err
}

// problem returns what the store has failed with, nil if it has not.
func (s *store) problem() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		return nil
	}
	return s.err
}

// write does a write, unless one has failed before.
func (s *store) write(op string, do func() error) error {
	if err := s.problem(); err != nil {
		return err
	}
	err := s.try(op)
	if err == nil {
		err = do()
	}
	if err != nil {
		return s.failed(fmt.Errorf("%s: %w", op, err))
	}
	return nil
}

func (s *store) IsMonotonic() bool           { return true }
func (s *store) FirstIndex() (uint64, error) { return s.wal.FirstIndex() }
func (s *store) LastIndex() (uint64, error)  { return s.wal.LastIndex() }
func (s *store) StoreLog(l *raft.Log) error  { return s.StoreLogs([]*raft.Log{l}) }
func (s *store) Get(key []byte) ([]byte, error) {
	return s.wal.Get(key)
}

func (s *store) GetUint64(key []byte) (uint64, error) { return s.wal.GetUint64(key) }

func (s *store) StoreLogs(logs []*raft.Log) error {
	return s.write("append entries", func() error { return s.wal.StoreLogs(logs) })
}

func (s *store) DeleteRange(from, to uint64) error {
	return s.write("drop entries", func() error { return s.wal.DeleteRange(from, to) })
}

func (s *store) Set(key, value []byte) error {
	return s.write("write vote", func() error { return s.wal.Set(key, value) })
}

// SetUint64 never fails, as Raft would end the program: it waits for release. What is done about the term after that reaches
// nobody, and no vote of it can be written.
func (s *store) SetUint64(key []byte, value uint64) error {
	if s.write("write term", func() error { return s.wal.SetUint64(key, value) }) != nil {
		<-s.released
	}
	return nil
}

// GetLog fails only with raft.ErrLogNotFound: whatever else befalls it waits for release, and then gives an entry that
// changes nothing.
func (s *store) GetLog(index uint64, l *raft.Log) error {
	err := s.problem()
	if err == nil {
		if err = s.try("read entry"); err == nil {
			err = s.wal.GetLog(index, l)
		}
		if err == nil {
			err = checkEntry(l)
		}
		if err == nil || errors.Is(err, raft.ErrLogNotFound) {
			return err
		}
		s.failed(fmt.Errorf("read entry %d: %w", index, err))
	}
	<-s.released
	*l = raft.Log{Index: index, Type: raft.LogNoop}
	return nil
}
