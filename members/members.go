// Package members tells who belongs to a folder's cluster: a set of statements that members sign and tell each other,
// the codes by which a machine is invited, and the file that keeps the set. All but file.go decides and does not act:
// the clock is handed in.
//
// A Statement is signed by a node's key. It admits a key, forgets a node, tells what the signer is called and where it
// listens, or names a member. Nothing in it says which folder it is about: a node's key belongs to one copy of one
// folder and to nothing else, so that the key says it, also while the folder's ID is not final.
//
// Trust begins at the own key. Three rules make members of statements:
//
//   - Known is who can be reached from the own key through any admissions. Statements are kept of known signers alone.
//   - Forgotten is whom a known node has forgotten. That is never taken back, whatever arrives later and whatever becomes of
//     the forgetter: others may have dropped tombstones that the forgotten node has not seen. It comes back with a new key.
//   - A member is who can be reached through admissions that count, and is not forgotten. All admissions count save those
//     of a forgotten node: of these only the ones that each of its forgetters knew, and therefore names. So whom it had
//     brought in stays, and a stolen key brings in nobody, not even with a number or a time of long ago.
//
// What is kept only grows, or is replaced by what is newer in an order that all agree on. So nodes that admitted each
// other and told each other everything keep the same statements, and know the same members, in whatever order they heard.
//
// The price of the second rule: who holds a stolen key can forget members for as long as one of them has not heard that
// this key is forgotten, and listens to it. Two nodes that forget each other are both forgotten.
package members

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Bounds of what is taken from others and what is said. A set always fits into one message.
const (
	MaxMessage    = 1 << 20 // bytes of an encoded set
	MaxName       = 64      // bytes of a name
	MaxAddresses  = 16      // addresses of a node
	MaxAddress    = 255     // bytes of an address
	maxStatement  = 2 << 10 // bytes of a statement with its signature
	maxStatements = 8192    // statements in a set
	maxAdmits     = 100     // that an honest node signs: as many as one forgetting can name
	maxUnknown    = 32      // statements of unknown kinds, of one signer

	// What is left of a set for forgetting alone, so that who fills it can be forgotten.
	reservedStatements = 512
	reservedBytes      = 128 << 10
)

var (
	// ErrFormat is wrapped by every error about bytes that are not what they should be.
	ErrFormat = errors.New("malformed bytes")
	// ErrForgotten is wrapped where a forgotten node is to be admitted, or the own node is forgotten and is to say something.
	ErrForgotten = errors.New("forgotten")
	// ErrFull is wrapped where a set can take no more statements, save such that forget somebody.
	ErrFull = errors.New("set of members is full")
	// ErrUnknown is wrapped where a statement is to be made about a node that was never heard of.
	ErrUnknown = errors.New("no such member")
)

// IDSize is the length of an ID in bytes.
const IDSize = 16

// An ID names a node: the first 128 bits of the SHA-256 fingerprint of its SSH key (docs/formats.md, "Node IDs").
type ID [IDSize]byte

var idAlphabet = base32.StdEncoding.WithPadding(base32.NoPadding)

// String returns the ID in 26 letters and digits.
func (id ID) String() string { return strings.ToLower(idAlphabet.EncodeToString(id[:])) }

// IsZero tells whether id names no node.
func (id ID) IsZero() bool { return id == ID{} }

// A Key is a node's public Ed25519 key.
type Key [ed25519.PublicKeySize]byte

const sshAlgorithm = "ssh-ed25519"

// Wire returns the key in SSH's wire form (RFC 8709 section 4).
func (k Key) Wire() []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(sshAlgorithm)))
	b = append(b, sshAlgorithm...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(k)))
	return append(b, k[:]...)
}

// ParseKey reads what Wire wrote.
func ParseKey(wire []byte) (k Key, err error) {
	if rest := len(wire) - len(k); rest > 0 {
		k = Key(wire[rest:])
	}
	if string(k.Wire()) != string(wire) {
		return Key{}, fmt.Errorf("node key is no Ed25519 key in SSH's wire form: %w", ErrFormat)
	}
	return k, nil
}

// ID returns the ID of the node whose key k is.
func (k Key) ID() ID {
	sum := k.fingerprint()
	return ID(sum[:IDSize])
}

func (k Key) fingerprint() [sha256.Size]byte { return sha256.Sum256(k.Wire()) }

// A Member is what the set knows of a node that is a member, or was one.
type Member struct {
	ID        ID
	Key       Key
	Name      string   // the name that the cluster gave it, or its own, or the one at its admission; may be empty
	Addresses []string // HOST:PORT, as the node itself tells; none where it cannot be dialled
	Witness   bool     // it has no folder, as it tells itself: nobody waits for it to have seen a change

	AdmittedBy ID        // who admitted it first, as the clocks say; of the first node of a cluster: who came next
	Since      time.Time // when that was; both are zero for the own node as long as nobody else admitted it

	Forgotten   bool
	ForgottenBy ID
	ForgottenAt time.Time
}
