// Package merkle is the vocabulary of all of resonate: blocks, entries, versions, the Merkle tree over them, its diff,
// and their canonical bytes. It is pure: it reads no clock, file or socket, and no goroutine of its own outlives a call.
//
// What two nodes have agreed of a path is an Entry. Entries hang in a Tree, whose root hash tells in one comparison
// whether anything is left to exchange; Compare walks down where two trees differ. The bytes defined here are hashed,
// stored and exchanged, so they are fixed for good: docs/formats.md describes them, and golden tests hold them.
package merkle

import (
	"encoding/base32"
	"encoding/hex"
	"errors"
	"sync"

	"github.com/zeebo/blake3"
)

// HashSize is the length of every hash in bytes.
const HashSize = 32

// A Hash is a BLAKE3 hash, derived under a context of its own for each thing that is hashed, so that a hash of one
// thing can never pass for the hash of another. The zero Hash stands for "nothing there".
type Hash [HashSize]byte

// IsZero tells whether h is the zero Hash.
func (h Hash) IsZero() bool { return h == Hash{} }

// String returns h in lower-case hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// NodeIDSize is the length of a NodeID in bytes.
const NodeIDSize = 16

// A NodeID names a node: the first 128 bits of the SHA-256 fingerprint of its SSH key.
type NodeID [NodeIDSize]byte

var idAlphabet = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// String returns the ID in 26 letters and digits.
func (n NodeID) String() string { return idAlphabet.EncodeToString(n[:]) }

// Short returns the first seven characters of the ID, which serve people and conflict names.
func (n NodeID) Short() string { return n.String()[:7] }

// IsZero tells whether n names no node.
func (n NodeID) IsZero() bool { return n == NodeID{} }

// ParseNodeID reads what String wrote.
func ParseNodeID(s string) (NodeID, error) {
	b, err := idAlphabet.DecodeString(s)
	if err != nil || len(b) != NodeIDSize || NodeID(b).String() != s { // the decoder skips line ends and spare bits
		return NodeID{}, errors.New("node ID must be 26 characters of a-z and 2-7")
	}
	return NodeID(b), nil
}

// ErrFormat is wrapped by every error about bytes that are not what they should be.
var ErrFormat = errors.New("malformed bytes")

// A domain hashes one kind of thing under its own BLAKE3 context.
type domain struct{ pool sync.Pool }

func newDomain(context string) *domain {
	return &domain{sync.Pool{New: func() any { return blake3.NewDeriveKey(context) }}}
}

var (
	blockDomain   = newDomain("resonate 2026 block")
	fileDomain    = newDomain("resonate 2026 file: root over blocks")
	entryDomain   = newDomain("resonate 2026 entry")
	contentDomain = newDomain("resonate 2026 entry without version")
	listDomain    = newDomain("resonate 2026 tree: list of names")
	trieDomain    = newDomain("resonate 2026 tree: sixteen branches")
	nameDomain    = newDomain("resonate 2026 tree: place of a name")
)

// sum hashes the concatenation of parts.
func (d *domain) sum(parts ...[]byte) (h Hash) {
	hasher := d.pool.Get().(*blake3.Hasher)
	for _, p := range parts {
		hasher.Write(p)
	}
	hasher.Sum(h[:0])
	hasher.Reset()
	d.pool.Put(hasher)
	return h
}
