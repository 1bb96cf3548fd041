package members

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// A kind is what a statement does; part of the format. Those above kindRename are kept and relayed, and mean nothing yet.
type kind uint64

const (
	kindAdmit   kind = 1 // a key becomes a member
	kindForget  kind = 2 // a node is no member any more
	kindProfile kind = 3 // what the signer is called, and where it listens
	kindRename  kind = 4 // what the cluster calls a member
)

// Field numbers; part of the format.
const (
	signedBody      = 1 // message
	signedSignature = 2 // bytes, 64

	bodyKind   = 1 // varint
	bodySigner = 2 // bytes, 32
	bodySeq    = 3 // varint
	bodyTime   = 4 // varint, microseconds since 1970
	bodyAbout  = 5 // message; what it has depends on the kind

	aboutWhom    = 1 // bytes: the key that is admitted, 32; the ID that is forgotten or named, 16
	aboutName    = 2 // bytes
	aboutAddress = 3 // repeated bytes
	aboutBrought = 4 // bytes: IDs, 16 each
	aboutWitness = 5 // varint: 1

	setStatement = 1 // repeated message
)

var (
	signedShape = shape{types: []protowire.Type{length, length}}
	bodyShape   = shape{types: []protowire.Type{varint, length, varint, varint, length}}
	aboutShape  = shape{types: []protowire.Type{length, length, length, length, varint}, repeated: 1 << aboutAddress}
	setShape    = shape{types: []protowire.Type{length}, repeated: 1 << setStatement}

	// aboutFields are those that a kind may have.
	aboutFields = map[kind]uint64{
		kindAdmit:   1<<aboutWhom | 1<<aboutName,
		kindForget:  1<<aboutWhom | 1<<aboutBrought,
		kindProfile: 1<<aboutName | 1<<aboutAddress | 1<<aboutWitness,
		kindRename:  1<<aboutWhom | 1<<aboutName,
	}
)

const (
	statementDomain = "resonate 2026 member statement\x00"
	setDomain       = "resonate 2026 member set\x00"

	maxNumber = 1 << 57 // of a seq or a time: microseconds until the year 6537, which every format of a date can write
)

// A hash is the SHA-256 over a statement's domain and body: what is signed, and what names the statement.
type hash [sha256.Size]byte

func (h hash) less(other hash) bool { return bytes.Compare(h[:], other[:]) < 0 }

// A Statement is what one node says about members, with its signature. It is well formed, and never changed once made;
// whether the signature is right, Set.Merge tells.
type Statement struct {
	body      []byte // canonical bytes: relayed as they came
	signature [ed25519.SignatureSize]byte
	hash      hash

	kind   kind
	signer Key
	by     ID     // the signer's
	seq    uint64 // the signer's number for it
	time   uint64 // microseconds since 1970, by the signer's clock
	about
}

// An about is what a statement of a known kind says.
type about struct {
	key       Key // that is admitted
	whom      ID  // of key; or that is forgotten or named
	name      string
	addresses []string
	witness   bool // the signer has no folder
	brought   []ID // whom the forgotten node had admitted, as far as the forgetter knew
}

// size is the length in bytes of what append appends.
func (s *Statement) size() int {
	return 1 + protowire.SizeBytes(s.signedSize())
}

func (s *Statement) signedSize() int {
	return 2 + protowire.SizeBytes(len(s.body)) + protowire.SizeBytes(len(s.signature))
}

// append appends s as one field of a set.
func (s *Statement) append(b []byte) []byte {
	b = protowire.AppendVarint(protowire.AppendTag(b, setStatement, length), uint64(s.signedSize()))
	b = appendBytes(b, signedBody, s.body)
	return appendBytes(b, signedSignature, s.signature[:])
}

// verify tells whether the signer signed s.
func (s *Statement) verify() error {
	if !ed25519.Verify(s.signer[:], s.hash[:], s.signature[:]) {
		return fmt.Errorf("statement %d of node %s: wrong signature: %w", s.seq, s.by, ErrFormat)
	}
	return nil
}

// newStatement makes the statement that private signs. What a is about is checked as if it came from elsewhere.
func newStatement(private ed25519.PrivateKey, k kind, seq, time uint64, a about) (*Statement, error) {
	body := appendUint(nil, bodyKind, uint64(k))
	body = appendBytes(body, bodySigner, []byte(private.Public().(ed25519.PublicKey)))
	body = appendUint(body, bodySeq, seq)
	body = appendUint(body, bodyTime, time)
	body = appendBytes(body, bodyAbout, appendAbout(nil, k, a))
	h := hashOf(body)
	return parseStatement(body, ed25519.Sign(private, h[:]))
}

func appendAbout(b []byte, k kind, a about) []byte {
	switch k {
	case kindAdmit:
		b = appendBytes(b, aboutWhom, a.key[:])
	case kindForget, kindRename:
		b = appendBytes(b, aboutWhom, a.whom[:])
	}
	b = appendBytes(b, aboutName, a.name)
	for _, address := range a.addresses {
		b = appendBytes(b, aboutAddress, address)
	}
	var brought []byte
	for _, id := range a.brought {
		brought = append(brought, id[:]...)
	}
	b = appendBytes(b, aboutBrought, brought)
	if a.witness {
		b = appendUint(b, aboutWitness, 1)
	}
	return b
}

func hashOf(body []byte) hash {
	h := sha256.New()
	h.Write([]byte(statementDomain))
	h.Write(body)
	return hash(h.Sum(nil))
}

// Decode reads the statements of an encoded set, at most MaxMessage bytes, which it does not keep. It checks their form, not
// their signatures.
func Decode(b []byte) ([]*Statement, error) {
	if len(b) > MaxMessage {
		return nil, fmt.Errorf("set of members of %d bytes, want at most %d: %w", len(b), MaxMessage, ErrFormat)
	}
	var out []*Statement
	_, err := setShape.fields(b, func(f field) error {
		if len(out) == maxStatements {
			return fmt.Errorf("set of more than %d statements: %w", maxStatements, ErrFormat)
		}
		s, err := decodeStatement(f.bytes)
		if err != nil {
			return fmt.Errorf("statement %d of a set: %w", len(out), err)
		}
		out = append(out, s)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func decodeStatement(b []byte) (*Statement, error) {
	if len(b) > maxStatement {
		return nil, fmt.Errorf("%d bytes, want at most %d: %w", len(b), maxStatement, ErrFormat)
	}
	var body, signature []byte
	_, err := signedShape.fields(b, func(f field) error {
		switch f.number {
		case signedBody:
			body = bytes.Clone(f.bytes)
		case signedSignature:
			signature = f.bytes
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return parseStatement(body, signature)
}

func parseStatement(body, signature []byte) (*Statement, error) {
	s := &Statement{body: body, hash: hashOf(body)}
	if len(signature) != len(s.signature) {
		return nil, fmt.Errorf("signature of %d bytes: %w", len(signature), ErrFormat)
	}
	s.signature = [ed25519.SignatureSize]byte(signature)
	var inside []byte
	_, err := bodyShape.fields(body, func(f field) error {
		switch f.number {
		case bodyKind:
			s.kind = kind(f.uint)
		case bodySigner:
			return setKey(&s.signer, f.bytes)
		case bodySeq:
			s.seq = f.uint
		case bodyTime:
			s.time = f.uint
		case bodyAbout:
			inside = f.bytes
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case s.kind == 0 || s.signer == Key{} || s.seq == 0 || s.time == 0:
		return nil, fmt.Errorf("kind, signer, number or time left out: %w", ErrFormat)
	case s.seq > maxNumber || s.time > maxNumber:
		return nil, fmt.Errorf("number or time too high: %w", ErrFormat)
	case s.signedSize() > maxStatement:
		return nil, fmt.Errorf("statement of %d bytes, want at most %d: %w", s.signedSize(), maxStatement, ErrFormat)
	}
	s.by = s.signer.ID()
	if known, ok := aboutFields[s.kind]; ok {
		s.about, err = parseAbout(s.kind, known, inside)
	}
	return s, err
}

func parseAbout(k kind, may uint64, b []byte) (a about, err error) {
	met, err := aboutShape.fields(b, func(f field) error {
		switch {
		case f.number == aboutWhom && k == kindAdmit:
			err := setKey(&a.key, f.bytes)
			a.whom = a.key.ID()
			return err
		case f.number == aboutWhom:
			return setID(&a.whom, f.bytes)
		case f.number == aboutName:
			a.name = string(f.bytes)
			return checkName(a.name)
		case f.number == aboutAddress && len(a.addresses) == MaxAddresses:
			return fmt.Errorf("more than %d addresses: %w", MaxAddresses, ErrFormat)
		case f.number == aboutAddress:
			a.addresses = append(a.addresses, string(f.bytes))
			return checkAddress(string(f.bytes))
		case f.number == aboutWitness:
			a.witness = f.uint == 1
			return nil
		default:
			a.brought, err = idsOf(f.bytes)
			return err
		}
	})
	if err == nil && (met&^may != 0 || may&(1<<aboutWhom)&^met != 0) {
		err = fmt.Errorf("statement of kind %d has fields that it must not have, or lacks one: %w", k, ErrFormat)
	}
	return a, err
}

func setKey(k *Key, b []byte) error {
	if len(b) != len(k) {
		return fmt.Errorf("key of %d bytes: %w", len(b), ErrFormat)
	}
	*k = Key(b)
	return nil
}

func setID(id *ID, b []byte) error {
	if len(b) != len(id) {
		return fmt.Errorf("node ID of %d bytes: %w", len(b), ErrFormat)
	}
	*id = ID(b)
	return nil
}

func idsOf(b []byte) (ids []ID, err error) {
	if len(b)%IDSize != 0 || len(b)/IDSize > maxAdmits {
		return nil, fmt.Errorf("node IDs of %d bytes: %w", len(b), ErrFormat)
	}
	for ; len(b) > 0; b = b[IDSize:] {
		ids = append(ids, ID(b))
	}
	return ids, nil
}

// checkName tells what is wrong with a name.
func checkName(name string) error {
	switch {
	case len(name) > MaxName:
		return fmt.Errorf("name of %d bytes, want at most %d: %w", len(name), MaxName, ErrFormat)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("name %q has characters that cannot be printed: %w", name, ErrFormat)
	}
	return nil
}

// FitName makes a name of any text: what cannot be printed becomes a space, what is too long is cut.
func FitName(text string) string {
	name := strings.TrimSpace(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, " ")))
	for len(name) > MaxName {
		_, size := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-size]
	}
	return strings.TrimSpace(name)
}

var errAddress = errors.New("want HOST:PORT, in printable ASCII")

// checkAddress tells what is wrong with an address. Whether there is such a host is left to whoever dials.
func checkAddress(address string) error {
	if len(address) > MaxAddress {
		return fmt.Errorf("address of %d bytes, want at most %d: %w", len(address), MaxAddress, ErrFormat)
	}
	colon := strings.LastIndexByte(address, ':')
	if colon <= 0 || strings.ContainsFunc(address, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("address %q: %w: %w", address, errAddress, ErrFormat)
	}
	if port, err := strconv.ParseUint(address[colon+1:], 10, 16); err != nil || port == 0 {
		return fmt.Errorf("address %q: port must be 1 to 65535: %w", address, ErrFormat)
	}
	return nil
}
