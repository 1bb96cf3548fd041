package sshconn

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"
)

// PublicKey is a key as SSH has it; other packages need not know the library for that.
type PublicKey = ssh.PublicKey

// NodeID names a node: the SHA-256 of its public key in SSH's wire form
// (RFC 4253 section 6.6), that is, the fingerprint that `ssh-keygen -lf` prints.
type NodeID [sha256.Size]byte

func idOf(key ssh.PublicKey) NodeID { return sha256.Sum256(key.Marshal()) }

// String gives the fingerprint as OpenSSH writes it: "SHA256:" and unpadded base64.
func (id NodeID) String() string {
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(id[:])
}

// Short gives 7 characters of lower case base32, fit for file names and for
// telling a handful of nodes apart; it identifies nothing by itself.
func (id NodeID) Short() string {
	return strings.ToLower(base32.StdEncoding.EncodeToString(id[:5]))[:7]
}

// MarshalText gives what String gives, for JSON and structured logs.
func (id NodeID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// compare orders node IDs; the smaller of two decides which of their
// connections is kept.
func (id NodeID) compare(other NodeID) int { return bytes.Compare(id[:], other[:]) }

// Identity is a node's Ed25519 key: its host key where it listens, and its
// client key where it dials. It is immutable.
type Identity struct {
	private ed25519.PrivateKey
	signer  ssh.Signer
	id      NodeID
}

const (
	keyComment     = "resonate"
	maxKeyFileSize = 64 << 10
)

// LoadOrCreateIdentity reads the private key at path, in OpenSSH's format, and
// creates it (mode 0600, its folder 0700) where there is none. Of several
// processes that create it at once, all get the same key. A file that others
// can read is refused: its key may already be known to them.
func LoadOrCreateIdentity(path string) (*Identity, error) {
	id, err := loadIdentity(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("create key folder: %w", err)
	}
	unlock, err := lockFolder(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("create key %s: %w", path, err)
	}
	defer unlock()
	id, err = loadIdentity(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	return createIdentity(path)
}

func createIdentity(path string) (*Identity, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("create key %s: %w", path, err)
	}
	block, err := ssh.MarshalPrivateKey(private, keyComment)
	if err != nil {
		return nil, fmt.Errorf("encode key %s: %w", path, err)
	}
	if err := replaceFile(path, pem.EncodeToMemory(block)); err != nil {
		return nil, fmt.Errorf("write key %s: %w", path, err)
	}
	return newIdentity(private)
}

func loadIdentity(path string) (*Identity, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open key: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("stat key %s: %w", path, err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("open key %s: mode %04o lets others use it: run chmod 600 %[1]s", path, info.Mode().Perm())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFileSize))
	if err != nil {
		return nil, fmt.Errorf("read key %s: %w", path, err)
	}
	raw, err := ssh.ParseRawPrivateKey(data)
	if err != nil {
		return nil, fmt.Errorf("read key %s: %w: restore it, or move it away to start as a new node", path, err)
	}
	private, ok := raw.(*ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("read key %s: not an Ed25519 key: move it away to start as a new node", path)
	}
	return newIdentity(*private)
}

func newIdentity(private ed25519.PrivateKey) (*Identity, error) {
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return nil, fmt.Errorf("use key: %w", err)
	}
	return &Identity{private: private, signer: signer, id: idOf(signer.PublicKey())}, nil
}

// Private gives the private half, to sign other things than SSH's with it.
func (i *Identity) Private() ed25519.PrivateKey { return i.private }

// ID gives the node's ID.
func (i *Identity) ID() NodeID { return i.id }

// PublicKey gives the public half, as TrustFile.Add takes it.
func (i *Identity) PublicKey() ssh.PublicKey { return i.signer.PublicKey() }

// AuthorizedKey gives the public key as one line of an authorized_keys file,
// without the newline (sshd(8), AUTHORIZED_KEYS FILE FORMAT).
func (i *Identity) AuthorizedKey() string {
	return strings.TrimSuffix(string(ssh.MarshalAuthorizedKey(i.signer.PublicKey())), "\n")
}
