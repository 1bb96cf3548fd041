package index

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/encoding/protowire"

	"resonate/merkle"
)

// rootID is the directory ID of the folder itself.
const rootID = 1

// The buckets and the keys of the state bucket; part of the format.
var (
	stateBucket   = []byte("state")
	recordsBucket = []byte("records")
	blocksBucket  = []byte("blocks")

	metaKey     = []byte("meta")
	countersKey = []byte("counters")
)

// counters are kept beside the records.
type counters struct {
	last  uint64 // directory ID given out
	count uint64 // of records, those with an ID alone included
}

// Field numbers of counters; part of the format.
const (
	countersLast  = 1 // varint
	countersCount = 2 // varint
)

var countersShape = shape{types: []protowire.Type{varint, varint}}

// A table is the records as one transaction sees them.
type table struct {
	state, records, blocks *bbolt.Bucket
	counters
	dirs map[string]uint64 // IDs of directories by path, as far as they were asked for
}

func attach(tx *bbolt.Tx) *table {
	return &table{
		state:   tx.Bucket(stateBucket),
		records: tx.Bucket(recordsBucket),
		blocks:  tx.Bucket(blocksBucket),
		dirs:    make(map[string]uint64),
	}
}

// begin attaches to a database that has been created.
func begin(tx *bbolt.Tx) (*table, error) {
	t := attach(tx)
	if t.state == nil || t.records == nil || t.blocks == nil {
		return nil, fmt.Errorf("%w: a database, but no index", ErrDamaged)
	}
	message, err := unseal(countersKey, t.state.Get(countersKey))
	if err != nil {
		return nil, err
	}
	err = countersShape.fields(message, func(f merkle.Field) error {
		switch f.Number {
		case countersLast:
			t.last = f.Uint
		case countersCount:
			t.count = f.Uint
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%w: counters: %w", ErrDamaged, err)
	}
	return t, nil
}

func (t *table) writeCounters() error {
	value := merkle.AppendUint(unsealed(16), countersLast, t.last)
	value = merkle.AppendUint(value, countersCount, t.count)
	return t.state.Put(countersKey, seal(countersKey, value))
}

func (t *table) readMeta() (Meta, error) {
	message, err := unseal(metaKey, t.state.Get(metaKey))
	if err != nil {
		return Meta{}, err
	}
	m, err := decodeMeta(message)
	if err != nil && !errors.Is(err, ErrNewer) {
		err = fmt.Errorf("%w: meta: %w", ErrDamaged, err)
	}
	return m, err
}

func (t *table) writeMeta(m Meta) error {
	return t.state.Put(metaKey, seal(metaKey, appendMeta(unsealed(256), m)))
}

func makeKey(dir uint64, name string) []byte {
	k := make([]byte, 0, 8+len(name))
	return append(binary.BigEndian.AppendUint64(k, dir), name...)
}

// get returns the message stored under key in the records and the place it holds; nil if there is none.
func (t *table) get(key []byte) ([]byte, place, error) {
	value := t.records.Get(key)
	if value == nil {
		return nil, place{}, nil
	}
	message, err := unseal(key, value)
	if err != nil {
		return nil, place{}, err
	}
	p, err := decodePlace(message)
	if err != nil {
		return nil, place{}, fmt.Errorf("%w: record of key %q: %w", ErrDamaged, key, err)
	}
	return message, p, nil
}

// find returns the key of path, nil if the directory that holds it has no ID.
func (t *table) find(path string) ([]byte, error) {
	dir, name := merkle.SplitPath(path)
	id, err := t.dirID(dir)
	if id == 0 || err != nil {
		return nil, err
	}
	return makeKey(id, name), nil
}

// dirID returns the ID of the directory at path, 0 if it has none.
func (t *table) dirID(path string) (uint64, error) {
	if path == "" {
		return rootID, nil
	}
	if id := t.dirs[path]; id != 0 {
		return id, nil
	}
	key, err := t.find(path)
	if key == nil || err != nil {
		return 0, err
	}
	_, p, err := t.get(key)
	if p.dir != 0 {
		t.dirs[path] = p.dir
	}
	return p.dir, err
}

// hasChildren tells whether something is recorded in the directory with the given ID.
func (t *table) hasChildren(dir uint64) bool {
	prefix := makeKey(dir, "")
	key, _ := t.records.Cursor().Seek(prefix)
	return bytes.HasPrefix(key, prefix)
}
