package sshconn

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"golang.org/x/crypto/ssh"
)

// ErrUntrusted is what errors.Is finds where a key is not among the trusted ones.
var ErrUntrusted = errors.New("key is not trusted")

const maxTrustFileSize = 1 << 20

// TrustFile is a file of trusted keys in OpenSSH's authorized_keys format, by
// which the daemons of one user on one machine know each other. A line with
// options grants nothing, since what its options ask for is not done here.
// It is used by several processes at once.
type TrustFile struct{ Path string }

// Add appends a key unless it is there, and creates the file (0600) and its
// folder (0700). Lines that a person wrote stay as they are.
func (t TrustFile) Add(key ssh.PublicKey, comment string) error {
	if err := os.MkdirAll(filepath.Dir(t.Path), 0o700); err != nil {
		return fmt.Errorf("create folder of trusted keys: %w", err)
	}
	path := t.Path
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // replace what a link leads to, not the link
	}
	unlock, err := lockFolder(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("add to trusted keys %s: %w", t.Path, err)
	}
	defer unlock()
	data, err := t.read()
	if err != nil {
		return err
	}
	if trusts(data, key) {
		return nil
	}
	if len(data) > 0 && data[len(data)-1] != '\n' {
		data = append(data, '\n')
	}
	line := bytes.TrimSuffix(ssh.MarshalAuthorizedKey(key), []byte("\n"))
	data = append(data, line...)
	if comment = printable(comment, 200); comment != "" {
		data = append(data, " "+comment...)
	}
	if err := replaceFile(path, append(data, '\n')); err != nil {
		return fmt.Errorf("write trusted keys %s: %w", t.Path, err)
	}
	return nil
}

// Check returns nil if the file has the key. Otherwise the error is
// ErrUntrusted, with the fingerprint and the remedy, or tells why the file
// cannot be used. The file is read each time, so that a key added by another
// process serves at once.
func (t TrustFile) Check(key ssh.PublicKey) error {
	data, err := t.read()
	if err != nil {
		return err
	}
	if trusts(data, key) {
		return nil
	}
	return fmt.Errorf("%w: %s is not in %s: daemons that one user runs on one machine enter themselves there;"+
		" to trust a node elsewhere, add its line: %s", ErrUntrusted, idOf(key), t.Path,
		bytes.TrimSpace(ssh.MarshalAuthorizedKey(key)))
}

func (t TrustFile) read() ([]byte, error) {
	f, err := os.Open(t.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open trusted keys: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("stat trusted keys %s: %w", t.Path, err)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return nil, fmt.Errorf("use trusted keys %s: mode %04o lets others add to it: look through it, then run chmod 600 %[1]s",
			t.Path, info.Mode().Perm())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxTrustFileSize+1))
	if err != nil {
		return nil, fmt.Errorf("read trusted keys %s: %w", t.Path, err)
	}
	if len(data) > maxTrustFileSize {
		return nil, fmt.Errorf("read trusted keys %s: over %d bytes: remove lines that are not needed", t.Path, maxTrustFileSize)
	}
	return data, nil
}

// A NamedKey is a key with what its file says of it.
type NamedKey struct {
	Key     PublicKey
	Comment string
}

// ParseAuthorizedKeys reads Ed25519 keys, a line each, as sshd(8) and `ssh-keygen` write them. Empty lines and comments are passed
// over; anything else that is no such key is an error.
func ParseAuthorizedKeys(text []byte) ([]NamedKey, error) {
	var out []NamedKey
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		key, comment, options, _, err := ssh.ParseAuthorizedKey(line)
		switch {
		case err != nil:
			return nil, fmt.Errorf("read key %q: %w: want a line such as `ssh-ed25519 AAAA... name`", printable(string(line), 40), err)
		case key.Type() != ssh.KeyAlgoED25519:
			return nil, fmt.Errorf("read key %s: it is of type %s: nodes have Ed25519 keys", ssh.FingerprintSHA256(key), key.Type())
		case len(options) > 0:
			return nil, fmt.Errorf("read key %s: it has options, which mean nothing here: take them out", ssh.FingerprintSHA256(key))
		}
		out = append(out, NamedKey{key, comment})
	}
	if len(out) == 0 {
		return nil, errors.New("read keys: there is none: want lines such as `ssh-ed25519 AAAA... name`")
	}
	return out, nil
}

// AuthorizedKey gives a raw Ed25519 key as one line of an authorized_keys file, without the newline.
func AuthorizedKey(key [ed25519.PublicKeySize]byte) string {
	public, err := ssh.NewPublicKey(ed25519.PublicKey(key[:]))
	if err != nil {
		return "" // the library knows the type
	}
	return strings.TrimSuffix(string(ssh.MarshalAuthorizedKey(public)), "\n")
}

// trusts tells whether an authorized_keys text grants a key. Lines that cannot
// be read are skipped, as sshd skips them.
func trusts(text []byte, key ssh.PublicKey) bool {
	want := key.Marshal()
	for len(text) > 0 {
		have, _, options, rest, err := ssh.ParseAuthorizedKey(text)
		if err != nil {
			return false // nothing readable is left
		}
		if len(options) == 0 && bytes.Equal(have.Marshal(), want) {
			return true
		}
		text = rest
	}
	return false
}

// printable makes a text from elsewhere fit for one line of a log or a file: at
// most limit bytes, anything that could steer a terminal replaced by a space.
func printable(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit]
	}
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	return strings.TrimSpace(s)
}
