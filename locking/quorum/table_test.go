package quorum

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func sampleRecord() *record {
	return &record{
		table: tableOf(1), generation: 2, seen: 3, log: LogID{4}, founded: true, alone: true, shared: true, lapsed: tableOf(5),
		place: place{6, 7}, marks: map[NodeID]known{"b": {LogID{8}, mark{9, 10, 11}}, "c": {LogID{12}, mark{13, 14, 15}}},
	}
}

func TestTheRecordIsReadAsWritten(t *testing.T) {
	dir := t.TempDir()
	want := sampleRecord()
	if err := want.save(dir, "a"); err != nil {
		t.Fatal(err)
	}
	if got, err := loadRecord(dir, "a"); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if _, err := loadRecord(dir, "b"); err == nil || !strings.Contains(err.Error(), "move it away") {
		t.Errorf("another node's: got %v, want an error with the remedy", err)
	}
	path := filepath.Join(dir, recordName)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		b[i] ^= 1
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := loadRecord(dir, "a"); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("byte %d is wrong: got %v, want an error that names the file", i, err)
		}
		b[i] ^= 1
	}
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add(sampleRecord().encode("a"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRecord(b, "a")
		if err != nil {
			return
		}
		if again, err := decodeRecord(r.encode("a"), "a"); err != nil || !reflect.DeepEqual(again, r) {
			t.Errorf("read again as %+v, %v, want %+v", again, err, r)
		}
	})
}

func FuzzOpenSnapshot(f *testing.F) {
	f.Add([]byte("\x05state"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if g, state, err := openSnapshot(b); err == nil && (g > maxGeneration || len(state) >= len(b)) {
			t.Errorf("generation %d, %d bytes of %d", g, len(state), len(b))
		}
	})
}
