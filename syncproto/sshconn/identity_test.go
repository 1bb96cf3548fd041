package sshconn

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
)

func TestIdentityIsCreatedOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "id_ed25519")
	ids := make([]*Identity, 8)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			var err error
			if ids[i], err = LoadOrCreateIdentity(path); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	for _, id := range ids {
		if id.ID() != ids[0].ID() {
			t.Errorf("ID: got %s, want %s", id.ID(), ids[0].ID())
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := info.Mode().Perm(), fs.FileMode(0o600); got != want {
		t.Errorf("mode: got %o, want %o", got, want)
	}
	left, _ := os.ReadDir(filepath.Dir(path))
	if len(left) != 1 {
		t.Errorf("files in the folder: got %v, want the key alone", left)
	}
}

func TestIdentityRefusals(t *testing.T) {
	rows := []struct {
		name  string
		spoil func(path string) error
		want  string
	}{
		{"readable by the group", func(p string) error { return os.Chmod(p, 0o640) }, "chmod 600"},
		{"readable by others", func(p string) error { return os.Chmod(p, 0o604) }, "chmod 600"},
		{"empty", func(p string) error { return os.Truncate(p, 0) }, "move it away"},
		{"damaged", func(p string) error { return os.Truncate(p, 100) }, "move it away"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key")
			if _, err := LoadOrCreateIdentity(path); err != nil {
				t.Fatal(err)
			}
			if err := row.spoil(path); err != nil {
				t.Fatal(err)
			}
			_, err := LoadOrCreateIdentity(path)
			if err == nil || !strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("error: got %v, want one with %q and the path", err, row.want)
			}
		})
	}
}

func TestNodeIDForms(t *testing.T) {
	id := newTestIdentity(t)
	if got, want := id.ID().String(), ssh.FingerprintSHA256(id.PublicKey()); got != want {
		t.Errorf("String: got %q, want %q", got, want)
	}
	if got := (NodeID{}).Short(); got != "aaaaaaa" {
		t.Errorf("Short of zero: got %q, want aaaaaaa", got)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(id.AuthorizedKey()))
	if err != nil || !bytes.Equal(key.Marshal(), id.PublicKey().Marshal()) {
		t.Errorf("AuthorizedKey: got %q, which reads as %v, %v", id.AuthorizedKey(), key, err)
	}
	if strings.Contains(id.AuthorizedKey(), "\n") {
		t.Error("AuthorizedKey has a newline")
	}
}
