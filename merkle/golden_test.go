package merkle

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files: a change of a format that is fixed for good")

// golden compares got with testdata/name.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s changed: nodes of other versions would no longer agree\ngot:\n%swant:\n%s", path, got, want)
	}
}

// stream returns n bytes that look random and that any language can make again: the SHA-256 hashes of 0, 1, 2, ...
// as 8 bytes little-endian, one after the other.
func stream(n int) []byte {
	var b bytes.Buffer
	for i := uint64(0); b.Len() < n; i++ {
		h := sha256.Sum256(binary.LittleEndian.AppendUint64(nil, i))
		b.Write(h[:])
	}
	return b.Bytes()[:n]
}
