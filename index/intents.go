package index

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Intents is the append-only log of swaps that are about to happen. It is cut into generations, files of the names
// intents.1, intents.2 and so on, of which only the newest is written to; older ones are removed once the index holds
// what they say. Each is a sequence of records: length of the message and CRC32C of it (4 bytes each, little-endian),
// then the message, a protobuf. Its methods are safe for concurrent use. The lock on the index is to be held: two
// processes must not open one log.
type Intents struct {
	dir string

	mu         sync.Mutex
	file       *os.File
	generation uint64
	size       int64 // of file, bytes
	named      bool  // the directory entry of file is on stable storage
	torn       error // file ends in a torn record that could not be cut off
}

// intentsName comes before the number of a generation.
const intentsName = "intents."

// OpenIntents opens the log in dir, which must exist, and begins a generation. It returns what earlier runs left, in
// the order in which it was appended. A tail that a crash tore off is left out, and so is anything damaged and what
// comes behind it: neither is an error. What was left stays on disk until the first Rotate is done.
func OpenIntents(dir string) (*Intents, []Intent, error) {
	generations, err := listGenerations(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("open intents: %w", err)
	}
	l := &Intents{dir: dir}
	var left []Intent
	for _, g := range generations {
		found, empty, err := readGeneration(l.name(g))
		if err == nil && empty {
			err = os.Remove(l.name(g))
		}
		if err != nil {
			return nil, nil, fmt.Errorf("open intents: %w", err)
		}
		left = append(left, found...)
		l.generation = g
	}
	if err := l.begin(); err != nil {
		return nil, nil, fmt.Errorf("open intents: %w", err)
	}
	return l, left, nil
}

// listGenerations returns the numbers of the files in dir, in ascending order. Other files are none of ours.
func listGenerations(dir string) ([]uint64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var found []uint64
	for _, e := range entries {
		number, ok := strings.CutPrefix(e.Name(), intentsName)
		g, err := strconv.ParseUint(number, 10, 63)
		if ok && err == nil && strconv.FormatUint(g, 10) == number && e.Type().IsRegular() {
			found = append(found, g)
		}
	}
	slices.Sort(found)
	return found, nil
}

func readGeneration(name string) (found []Intent, empty bool, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, false, err
	}
	return readIntents(f, info.Size()), info.Size() == 0, nil
}

func (l *Intents) name(generation uint64) string {
	return filepath.Join(l.dir, intentsName+strconv.FormatUint(generation, 10))
}

// begin opens the next generation in place of the current one, which it leaves open.
func (l *Intents) begin() error {
	next := l.generation + 1
	f, err := os.OpenFile(l.name(next), os.O_WRONLY|os.O_APPEND|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	l.file, l.generation, l.size, l.named, l.torn = f, next, 0, false, nil
	return nil
}

// Append appends intents with one write(2), so that they survive the death of the process once it has returned. They
// survive a loss of power only after Sync, or syncfs(2) of the file system. After an error none is in the log.
func (l *Intents) Append(intents ...Intent) error {
	var b []byte
	for _, i := range intents {
		var err error
		if b, err = frameIntent(b, i); err != nil {
			return fmt.Errorf("append intent for %q: %w", i.Path, err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.torn != nil {
		return fmt.Errorf("append intents: log ends in a torn record: %w", l.torn)
	}
	if _, err := l.file.Write(b); err != nil {
		if cut := l.file.Truncate(l.size); cut != nil { // else a partial record would hide what comes after it
			l.torn = errors.Join(err, cut)
		}
		return fmt.Errorf("append intents: %w", err)
	}
	l.size += int64(len(b))
	return nil
}

// Rotate begins a new generation. It is called while no swap is between its Append and the index, or the one that is
// would be forgotten. done removes all older generations; it is called after the index transaction that covers them,
// and what earlier runs left. It may be called again after an error. If Rotate itself fails, the log goes on, and a
// later Rotate removes what this one would have.
func (l *Intents) Rotate() (done func() error, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.file
	if err := l.begin(); err != nil {
		return nil, fmt.Errorf("rotate intents: %w", err)
	}
	if err := old.Close(); err != nil {
		return nil, fmt.Errorf("rotate intents: %w", err)
	}
	current := l.generation
	return func() error { return l.removeBefore(current) }, nil
}

// removeBefore removes the generations before current, the oldest first: what a crash leaves of them is the newest.
func (l *Intents) removeBefore(current uint64) error {
	generations, err := listGenerations(l.dir)
	if err != nil {
		return fmt.Errorf("remove old intents: %w", err)
	}
	for _, g := range generations {
		if g >= current {
			break
		}
		if err := os.Remove(l.name(g)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove old intents: %w", err)
		}
	}
	return nil
}

// Sync puts what was appended to the current generation on stable storage.
func (l *Intents) Sync() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.file.Sync(); err != nil {
		return fmt.Errorf("sync intents: %w", err)
	}
	if l.named {
		return nil
	}
	if err := syncDir(l.dir); err != nil {
		return fmt.Errorf("sync intents: %w", err)
	}
	l.named = true
	return nil
}

// Close closes the log. What it holds is returned by the next OpenIntents.
func (l *Intents) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.file.Close(); err != nil {
		return fmt.Errorf("close intents: %w", err)
	}
	return nil
}
