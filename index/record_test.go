package index

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"resonate/merkle"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// node returns a NodeID of one repeated byte.
func node(b byte) merkle.NodeID { return merkle.NodeID(bytes.Repeat([]byte{b}, merkle.NodeIDSize)) }

func hash(s string) merkle.Hash { return merkle.HashBlock([]byte(s)) }

// blocks returns a list of n blocks.
func blocks(n int) merkle.BlockList {
	var l merkle.BlockList
	for i := range n {
		l = append(l, merkle.Block{Hash: hash(strings.Repeat("x", i)), Size: uint32(i + 1)})
	}
	return l
}

// entry returns an entry of the given kind at the given stamp.
func entry(kind merkle.Kind, stamp merkle.Stamp) *merkle.Entry {
	e := &merkle.Entry{Attributes: merkle.Attributes{Kind: kind, Mode: 0o640, MTime: 1_700_000_000_123_456_789}}
	switch kind {
	case merkle.File:
		e.Size, e.Content = 3, hash("abc")
		e.Xattrs = []merkle.Xattr{{Name: "user.tag", Value: []byte{0, 1}}}
	case merkle.Symlink:
		e.Target = "../elsewhere"
	}
	e.Version = merkle.Version{Vector: merkle.Vector{{Node: node(1), Stamp: stamp}, {Node: node(2), Stamp: 9}}, Author: node(1), Stamp: stamp}
	return e
}

var fullDisk = Disk{
	Kind: merkle.File, Mode: 0o644, Inode: 1 << 40, Size: 3, MTime: -5, Checked: 1_700_000_000_000_000_001, XattrHash: hash("x"),
}

// dressedDisk has the fields that came later.
func dressedDisk() Disk {
	d := fullDisk
	d.Looked, d.Refused, d.Owner = 1_700_000_000_000_000_002, "user.a\x00owner\x00", "0:1000"
	return d
}

func fullRecord() Record {
	return Record{Entry: entry(merkle.File, 7), Disk: fullDisk, Hint: -12, Pending: entry(merkle.Tombstone, 8), Suspect: true}
}

func fullMeta() Meta {
	seen := merkle.Vector{{Node: node(1), Stamp: 10}, {Node: node(2), Stamp: 1 << 50}}
	return Meta{
		Node: node(1), Boot: "0c5b7d7c-boot", Clean: true, Reserved: 1 << 51, Seen: seen, Horizon: seen[:1],
		Members: []Known{{node(1), seen}, {node(3), nil}}, Format: format,
	}
}

func fullIntent() Intent {
	return Intent{
		Path: "dir/file \xff", Entry: entry(merkle.File, 7), Old: hash("old"), Disk: fullDisk, Hint: 4, Blocks: blocks(3),
		Temp: ".resonate/tmp/1", Kept: ".resonate/history/1",
	}
}

func TestRecordRoundTrip(t *testing.T) {
	foreign, err := merkle.DecodeEntry(append(entry(merkle.File, 7).Append(nil), 0xfa, 0x01, 1, 'n'))
	if err != nil {
		t.Fatal(err)
	}
	rows := []struct {
		name   string
		record Record
		place  place
	}{
		{"nothing", Record{}, place{}},
		{"place alone", Record{}, place{dir: 7}},
		{"everything", fullRecord(), place{dir: 1 << 60, block: blocks(1), record: true}},
		{"block list apart", Record{Entry: entry(merkle.File, 1)}, place{apart: 3, record: true}},
		{"pending alone", Record{Pending: entry(merkle.Symlink, 1)}, place{record: true}},
		{"suspect alone", Record{Suspect: true}, place{record: true}},
		{"ignored alone", Record{Ignored: true}, place{record: true}},
		{"with earlier versions", Record{Before: []*merkle.Entry{entry(merkle.File, 3), entry(merkle.File, 5)}}, place{record: true}},
		{"ignored, and behind", Record{Ignored: true, Behind: true, Disk: fullDisk}, place{record: true}},
		{"hint alone", Record{Hint: 1}, place{record: true}},
		{"disk alone, negative size", Record{Disk: Disk{Size: -1, Mode: 1<<32 - 1, Kind: 255}}, place{record: true}},
		{"attributes on disk", Record{Disk: dressedDisk()}, place{record: true}},
		{"fields of a newer resonate in the entry", Record{Entry: foreign}, place{record: true}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			b := appendRecord(nil, row.record, row.place)
			r, err := decodeRecord(b)
			if err != nil || !reflect.DeepEqual(r, row.record) {
				t.Errorf("decodeRecord = %+v, %v, want %+v", r, err, row.record)
			}
			p, err := decodePlace(b)
			if err != nil || !reflect.DeepEqual(p, row.place) {
				t.Errorf("decodePlace = %+v, %v, want %+v", p, err, row.place)
			}
		})
	}
}

func TestMetaAndIntentRoundTrip(t *testing.T) {
	for _, want := range []Meta{fullMeta(), {Format: format}} {
		got, err := decodeMeta(appendMeta(nil, want))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("decodeMeta = %+v, %v, want %+v", got, err, want)
		}
	}
	for _, want := range []Intent{fullIntent(), {Path: "p"}} {
		got, err := decodeIntent(appendIntent(nil, want))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("decodeIntent = %+v, %v, want %+v", got, err, want)
		}
	}
}

// TestMalformed holds that what is known must be well formed, and what is unknown is skipped.
func TestMalformed(t *testing.T) {
	uintField := func(num protowire.Number, u uint64) []byte { return merkle.AppendUint(nil, num, u) }
	bytesField := func(num protowire.Number, s string) []byte { return merkle.AppendBytes(nil, num, s) }
	record := func(b []byte) error {
		_, err := decodeRecord(b)
		_, placeErr := decodePlace(b)
		return errors.Join(err, placeErr)
	}
	meta := func(b []byte) error { _, err := decodeMeta(b); return err }
	intent := func(b []byte) error { _, err := decodeIntent(b); return err }
	rows := []struct {
		name   string
		decode func([]byte) error
		bytes  []byte
		want   error
	}{
		{"record cut off", record, []byte{0x0a, 5, 1}, merkle.ErrFormat},
		{"record with a malformed entry", record, bytesField(recordEntry, "x"), merkle.ErrFormat},
		{"record with an entry of the wrong type", record, uintField(recordEntry, 1), merkle.ErrFormat},
		{"record with a hint of the wrong type", record, uintField(recordHint, 1), merkle.ErrFormat},
		{"record with a repeated field", record, append(uintField(recordDir, 1), uintField(recordDir, 1)...), merkle.ErrFormat},
		{"record with a truth value of 2", record, uintField(recordSuspect, 2), merkle.ErrFormat},
		{"record with two blocks inline", record, merkle.AppendBytes(nil, recordBlock, blocks(2).Append(nil)), merkle.ErrFormat},
		{"record with one block apart", record, uintField(recordApart, 1), merkle.ErrFormat},
		{"record with a large kind", record, merkle.AppendBytes(nil, recordDisk, uintField(diskKind, 256)), merkle.ErrFormat},
		{"record with a large mode", record, merkle.AppendBytes(nil, recordDisk, uintField(diskMode, 1<<32)), merkle.ErrFormat},
		{"record with a short hash", record, merkle.AppendBytes(nil, recordDisk, bytesField(diskXattrs, "x")), merkle.ErrFormat},
		{"record with too many earlier versions", record, bytes.Repeat(merkle.AppendBytes(nil, recordBefore, entry(merkle.File, 1).Append(nil)), MaxBefore+1), merkle.ErrFormat},
		{"record with an unknown field", record, bytesField(99, "x"), nil},
		{"meta without format", meta, nil, merkle.ErrFormat},
		{"meta of a newer format", meta, uintField(metaFormat, format+1), ErrNewer},
		{"meta of a newer format, other fields", meta, append(uintField(metaFormat, format+1), bytesField(metaClean, "x")...), ErrNewer},
		{"meta with a short node ID", meta, append(uintField(metaFormat, 1), bytesField(metaNode, "x")...), merkle.ErrFormat},
		{"meta with an empty member", meta, append(uintField(metaFormat, 1), 0x42, 0), merkle.ErrFormat},
		{"meta with an unknown field", meta, append(uintField(metaFormat, 1), bytesField(60, "x")...), nil},
		{"intent without path", intent, uintField(99, 1), merkle.ErrFormat},
		{"intent with a short hash", intent, append(bytesField(intentPath, "p"), bytesField(intentOld, "x")...), merkle.ErrFormat},
		{"intent with an unknown field", intent, append(bytesField(intentPath, "p"), uintField(99, 1)...), nil},
	}
	for _, row := range rows {
		if err := row.decode(row.bytes); !errors.Is(err, row.want) {
			t.Errorf("%s: error %v, want %v", row.name, err, row.want)
		}
	}
}

// TestGolden holds the bytes on disk. Should it fail, the format has changed, and older indexes cannot be read.
func TestGolden(t *testing.T) {
	framed, err := frameIntent(nil, fullIntent())
	if err != nil {
		t.Fatal(err)
	}
	key := makeKey(258, "name")
	rows := []struct {
		name string
		got  []byte
	}{
		{"record", seal(key, appendRecord(unsealed(0), fullRecord(), place{dir: 300, block: blocks(1)}))},
		{"disk", appendDisk(nil, dressedDisk())},
		{"meta", seal(metaKey, appendMeta(unsealed(0), fullMeta()))},
		{"intent", framed},
		{"key", key},
	}
	for _, row := range rows {
		file := filepath.Join("testdata", row.name+".hex")
		got := hex.Dump(row.got)
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("bytes of a %s:\n%swant (%s):\n%s", row.name, got, file, want)
		}
	}
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add(appendRecord(nil, fullRecord(), place{dir: 2, block: blocks(1)}))
	f.Add(appendRecord(nil, Record{Entry: entry(merkle.Dir, 3)}, place{dir: 2}))
	f.Add(appendRecord(nil, Record{}, place{apart: 2}))
	f.Add(appendRecord(nil, Record{Disk: dressedDisk()}, place{}))
	f.Add([]byte{0x0a, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRecord(b)
		p, placeErr := decodePlace(b)
		if err != nil || placeErr != nil {
			return
		}
		again := appendRecord(nil, r, p)
		r2, err := decodeRecord(again)
		p2, placeErr := decodePlace(again)
		if err != nil || placeErr != nil || !bytes.Equal(appendRecord(nil, r2, p2), again) {
			t.Fatalf("%+v %+v became %+v %+v, %v, %v", r, p, r2, p2, err, placeErr)
		}
	})
}

func FuzzDecodeMeta(f *testing.F) {
	f.Add(appendMeta(nil, fullMeta()))
	f.Add(appendMeta(nil, Meta{Format: format}))
	f.Add(appendMeta(nil, Meta{Format: format + 1}))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMeta(b)
		if err != nil {
			return
		}
		again, err := decodeMeta(appendMeta(nil, m))
		if err != nil || !reflect.DeepEqual(again, m) {
			t.Fatalf("%+v became %+v, %v", m, again, err)
		}
	})
}
