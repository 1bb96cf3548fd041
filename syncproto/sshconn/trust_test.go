package sshconn

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestTrustFileConcurrentAdd(t *testing.T) {
	file := TrustFile{filepath.Join(t.TempDir(), "resonate", "trusted_keys")}
	ids := make([]*Identity, 12)
	for i := range ids {
		ids[i] = newTestIdentity(t)
	}
	var wg sync.WaitGroup
	for i := range 2 * len(ids) { // each twice
		wg.Go(func() {
			if err := file.Add(ids[i/2].PublicKey(), fmt.Sprintf("node\n%d", i/2)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i, id := range ids {
		if err := file.Check(id.PublicKey()); err != nil {
			t.Errorf("key %d: got %v, want nil", i, err)
		}
	}
	data, err := os.ReadFile(file.Path)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Count(string(data), "\n"), len(ids); got != want {
		t.Errorf("lines: got %d, want %d", got, want)
	}
	for path, want := range map[string]os.FileMode{file.Path: 0o600, filepath.Dir(file.Path): 0o700} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("mode of %s: got %o, want %o", path, got, want)
		}
	}
}

func TestTrustFileCheck(t *testing.T) {
	id := newTestIdentity(t)
	other := newTestIdentity(t).AuthorizedKey()
	rows := []struct {
		name, text string
		want       bool
	}{
		{"no file", "", false},
		{"its line", id.AuthorizedKey(), true},
		{"after comments and rubbish", "# mine\n\nrubbish here\n" + other + " other\r\n" + id.AuthorizedKey() + " me\n", true},
		{"another's", other, false},
		{"with options", "cert-authority " + id.AuthorizedKey(), false},
		{"commented out", "# " + id.AuthorizedKey(), false},
		{"cut short", id.AuthorizedKey()[:60], false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			file := TrustFile{filepath.Join(t.TempDir(), "keys")}
			if row.text != "" {
				if err := os.WriteFile(file.Path, []byte(row.text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			err := file.Check(id.PublicKey())
			if row.want && err != nil || !row.want && !errors.Is(err, ErrUntrusted) {
				t.Errorf("Check: got %v, want trusted %v", err, row.want)
			}
			if err != nil && (!strings.Contains(err.Error(), id.ID().String()) || !strings.Contains(err.Error(), file.Path)) {
				t.Errorf("error lacks fingerprint or path: %v", err)
			}
		})
	}
}

func TestTrustFileRefusesWhatOthersWrite(t *testing.T) {
	file := TrustFile{filepath.Join(t.TempDir(), "keys")}
	key := newTestIdentity(t).PublicKey()
	if err := file.Add(key, "me"); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []os.FileMode{0o620, 0o602} {
		if err := os.Chmod(file.Path, mode); err != nil {
			t.Fatal(err)
		}
		for name, err := range map[string]error{"Check": file.Check(key), "Add": file.Add(key, "")} {
			if err == nil || errors.Is(err, ErrUntrusted) || !strings.Contains(err.Error(), "chmod 600 "+file.Path) {
				t.Errorf("%s with mode %o: got %v, want the remedy", name, mode, err)
			}
		}
	}
}

func TestTrustFileKeepsLinkAndLines(t *testing.T) {
	dir := t.TempDir()
	file, target := TrustFile{filepath.Join(dir, "keys")}, filepath.Join(dir, "kept")
	if err := os.WriteFile(target, []byte("# by hand, no newline"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("kept", file.Path); err != nil {
		t.Fatal(err)
	}
	id := newTestIdentity(t)
	if err := file.Add(id.PublicKey(), ""); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(target)
	if want := "# by hand, no newline\n" + id.AuthorizedKey() + "\n"; err != nil || string(data) != want {
		t.Errorf("file: got %q, %v, want %q", data, err, want)
	}
	if _, err := os.Readlink(file.Path); err != nil {
		t.Errorf("the link was replaced: %v", err)
	}
}

// FuzzPeerBytes: whatever a peer or the disk holds is read without harm.
func FuzzPeerBytes(f *testing.F) {
	f.Add([]byte("ssh-ed25519 AAAA\n"))
	f.Add(hello{}.bytes())
	f.Add([]byte{1, 0, 0, 0, 2, 'h', 'i'})
	f.Add([]byte("\x00\xff\xff\xff\xff\x1b[2J"))
	_, private := testKey()
	id, err := newIdentity(private)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if trusts(data, id.PublicKey()) && !strings.Contains(string(data), strings.Fields(id.AuthorizedKey())[1][:20]) {
			t.Errorf("a text without the key trusts it: %q", data)
		}
		if h, ok := parseHello(data); ok && string(h.bytes()) != string(data[:tokenSize+instanceSize]) {
			t.Errorf("hello: got %x, want %x", h.bytes(), data)
		}
		for _, r := range parseFarewell(data).Error() {
			if r < ' ' || r == 0x7f {
				t.Errorf("farewell holds %q", r)
			}
		}
	})
}
