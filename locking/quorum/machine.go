package quorum

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// A Machine is what the log drives: the same commands, in the same order, on every voter. Its calls never overlap, and must
// not call the Quorum.
type Machine interface {
	// Apply takes in the command at index; what it returns is for who proposed it. It may keep command. An index is greater
	// than those before, and not always the next.
	Apply(index uint64, command []byte) (reply []byte)
	// Raise tells the generation that what is applied from now on belongs to. It is told in the order of the log, and again
	// after Restore.
	Raise(generation uint64)
	// Snapshot returns the whole state, in memory that is not changed any more.
	Snapshot() []byte
	// Restore replaces the whole state by that of a snapshot, or, for nil, by that of a new table. It may keep snapshot.
	Restore(snapshot []byte) error
}

// What an entry of the log holds: a byte that tells which, then a command, or a generation as a uvarint. A snapshot is the
// generation as a uvarint, then the machine's.
const (
	entryCommand = 1
	entryRaise   = 2
)

func commandEntry(command []byte) []byte { return append([]byte{entryCommand}, command...) }

func raiseEntry(generation uint64) []byte {
	return binary.AppendUvarint([]byte{entryRaise}, generation)
}

// drive lets Raft drive a machine.
type drive struct {
	machine    Machine
	generation atomic.Uint64
	applied    atomic.Uint64 // index
	grown      atomic.Int64  // bytes of entries since the last snapshot
	full       func()        // it is time for one
	committed  atomic.Pointer[raft.Configuration]
	configured func() // there is another
}

var (
	_ raft.FSM                = (*drive)(nil)
	_ raft.ConfigurationStore = (*drive)(nil)
)

// maxGrown is how much is logged between snapshots, in bytes.
const maxGrown = 8 << 20

// reset lets the machine begin with an empty table.
func (d *drive) reset() error {
	if err := d.machine.Restore(nil); err != nil {
		return fmt.Errorf("begin an empty table: %w", err)
	}
	return nil
}

// Apply returns a []byte, nil where the entry is no command.
func (d *drive) Apply(l *raft.Log) any {
	defer d.applied.Store(l.Index)
	if d.grown.Add(int64(len(l.Data))) > maxGrown {
		d.grown.Store(0)
		d.full()
	}
	if len(l.Data) == 0 {
		return nil
	}
	switch rest := l.Data[1:]; l.Data[0] {
	case entryCommand:
		return d.machine.Apply(l.Index, rest)
	case entryRaise:
		g, n := binary.Uvarint(rest)
		if n == len(rest) && n > 0 && g > d.generation.Load() && g <= maxGeneration {
			d.generation.Store(g)
			d.machine.Raise(g)
		}
	}
	return nil // an entry of a later version changes nothing: all nodes of this version agree on that
}

// StoreConfiguration hears of configurations that are committed.
func (d *drive) StoreConfiguration(_ uint64, c raft.Configuration) {
	d.committed.Store(&c)
	d.configured()
}

func (d *drive) Snapshot() (raft.FSMSnapshot, error) {
	d.grown.Store(0)
	return snapshot(append(binary.AppendUvarint(nil, d.generation.Load()), d.machine.Snapshot()...)), nil
}

func (d *drive) Restore(r io.ReadCloser) error {
	b, err := io.ReadAll(io.LimitReader(r, maxSnapshot+1))
	if err != nil {
		return fmt.Errorf("read snapshot: %w", err)
	}
	g, state, err := openSnapshot(b)
	if err != nil {
		return err
	}
	if err := d.machine.Restore(state); err != nil {
		return fmt.Errorf("restore snapshot: %w", err)
	}
	d.generation.Store(g)
	d.machine.Raise(g)
	return nil
}

// openSnapshot returns the generation and the machine's state, which is never nil.
func openSnapshot(b []byte) (uint64, []byte, error) {
	if len(b) > maxSnapshot {
		return 0, nil, malformed("a snapshot of more than %d bytes", maxSnapshot)
	}
	g, n := binary.Uvarint(b)
	if n <= 0 || g > maxGeneration {
		return 0, nil, malformed("a snapshot's generation")
	}
	return g, b[n:], nil
}

type snapshot []byte

func (s snapshot) Persist(sink raft.SnapshotSink) error {
	if _, err := sink.Write(s); err != nil {
		sink.Cancel()
		return err
	}
	return sink.Close()
}

func (snapshot) Release() {}
