package members

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
)

// A File keeps a Set in the node's state directory. It is safe for concurrent use within one process; a folder has one.
type File struct {
	Path string

	mu sync.Mutex // held while it is written, so that an older set never replaces a newer one
}

const (
	fileMagic = "resonate members 1\n"

	fileKey = 1 // bytes: the own key, 32
	fileSet = 2 // message

	maxFile = len(fileMagic) + sha256.Size + MaxMessage + 100
)

var fileShape = shape{types: []protowire.Type{length, length}}

// Load reads the set of the node whose key private is. Without a file, that is one that knows nobody else. A file that is
// damaged, of another node, or that others can write is an error with the remedy, never an empty set: who was forgotten
// would be forgotten no more.
func (f *File) Load(private ed25519.PrivateKey) (*Set, error) {
	s := New(private)
	b, err := f.read()
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	if err := s.restore(b); err != nil {
		return nil, fmt.Errorf("read members %s: %w: restore it from a backup, or move it away and be invited again", f.Path, err)
	}
	return s, nil
}

func (f *File) read() ([]byte, error) {
	file, err := os.Open(f.Path)
	if err != nil {
		return nil, fmt.Errorf("open members: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("stat members %s: %w", f.Path, err)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return nil, fmt.Errorf("use members %s: mode %04o lets others change it: restore it from a backup, or run chmod 600 %[1]s",
			f.Path, info.Mode().Perm())
	}
	b, err := io.ReadAll(io.LimitReader(file, int64(maxFile)+1))
	if err != nil {
		return nil, fmt.Errorf("read members %s: %w", f.Path, err)
	}
	return b, nil
}

// Save writes the set as it is by then: whole, in place of the file that was there, and safe from a loss of power when it
// returns.
func (f *File) Save(s *Set) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := ReplaceFile(f.Path, s.store()); err != nil {
		return fmt.Errorf("write members %s: %w", f.Path, err)
	}
	return nil
}

// store returns what a file of s holds.
func (s *Set) store() []byte {
	v := s.current.Load()
	message := appendBytes(nil, fileKey, v.self[:])
	return sealed(appendBytes(message, fileSet, v.kept.encode()))
}

func sealed(message []byte) []byte {
	sum := sha256.Sum256(message)
	return append(append([]byte(fileMagic), sum[:]...), message...)
}

// restore takes in what store gave. The set is new.
func (s *Set) restore(b []byte) error {
	rest, ok := bytes.CutPrefix(b, []byte(fileMagic))
	if !ok || len(b) > maxFile || len(rest) < sha256.Size {
		return fmt.Errorf("neither whole nor of a version that is known: %w", ErrFormat)
	}
	message := rest[sha256.Size:]
	if sha256.Sum256(message) != [sha256.Size]byte(rest) {
		return fmt.Errorf("wrong checksum: %w", ErrFormat)
	}
	var key Key
	var set []byte
	_, err := fileShape.fields(message, func(f field) error {
		switch f.number {
		case fileKey:
			return setKey(&key, f.bytes)
		case fileSet:
			set = f.bytes
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case key != s.Key():
		return fmt.Errorf("it is of node %s, and this is node %s: %w", key.ID(), s.Key().ID(), ErrFormat)
	}
	statements, err := Decode(set)
	if err != nil {
		return err
	}
	_, err = s.Merge(statements)
	return err
}

// ReplaceFile puts a file (0600) of a node's state in the place of the one that was there: whole, and safe from a loss of power when it
// returns.
func ReplaceFile(path string, data []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
