package audit

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"resonate/merkle"
)

// fullRecord has something in every field.
func fullRecord() Record {
	return Record{
		Kind: Forced, Time: start, Path: "a/\xff", Other: "b", What: merkle.File, Content: ContentHash{1, 2, 3, 4, 5, 6, 7, 8}, Count: 7,
		Author: merkle.NodeID{1}, Stamp: 9, Token: merkle.Token{Generation: 3, Index: 4}, Peer: merkle.NodeID{2}, Claim: Disowned,
		Name: "name", Mode: 2, Cause: "why", Anchor: Hash{5},
	}
}

// TestFormat holds the bytes on disk, which later versions must be able to read.
func TestFormat(t *testing.T) {
	r := fullRecord()
	b := head{first: 258, before: Hash{6}}.append(nil)
	b, hash := appendFrame(b, appendRecord(nil, &r), Hash{6})
	want := "7265736f6e6174652061756469742031" + "0a" + // resonate audit 1, newline
		"0201000000000000" + "06" + strings.Repeat("00", 31) +
		"7e000000" + // length
		"0813" + "108080e2c4f2a29903" + "1a03612fff" + "2001" + "2a1001" + strings.Repeat("00", 15) + "3009" + "3a1002" + strings.Repeat("00", 15) +
		"42080102030405060708" + "4a0162" + "5007" + "5802" + "6003" + "6804" + "72046e616d65" + "7802" + "820103776879" +
		"8a012005" + strings.Repeat("00", 31) + hash.String()
	if got := hex.EncodeToString(b); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got, want := hash.String(), "f79e52f1722e503a2681ed9e04c35ac78c1244a4d7213619f77c456dc93bf3ea"; got != want {
		t.Errorf("hash: got %s, want %s", got, want)
	}
}

func TestMalformedRecords(t *testing.T) {
	for _, row := range []struct {
		name string
		b    []byte
	}{
		{"empty", nil},
		{"without kind", merkle.AppendBytes(nil, fieldPath, "p")},
		{"a kind too large", merkle.AppendUint(nil, fieldKind, 256)},
		{"a short author", merkle.AppendBytes(merkle.AppendUint(nil, fieldKind, 1), fieldAuthor, "short")},
		{"a long path", merkle.AppendBytes(merkle.AppendUint(nil, fieldKind, 1), fieldPath, strings.Repeat("p", maxPath+1))},
		{"cut off", []byte{8}},
	} {
		if _, err := decodeRecord(row.b); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: got %v, want %v", row.name, err, ErrFormat)
		}
	}
	newer := protowire.AppendBytes(protowire.AppendTag(merkle.AppendUint(nil, fieldKind, 200), 99, protowire.BytesType), []byte("new"))
	if r, err := decodeRecord(newer); err != nil || r.Kind != 200 || r.Kind.String() != "kind 200" {
		t.Errorf("a record of a newer version: got %v, %v, want kind 200", r.Kind, err)
	}
}

func TestTooLongTextsAreCut(t *testing.T) {
	r := Record{Kind: Published, Path: strings.Repeat("p", maxPath+1), Other: strings.Repeat("p", maxPath), Name: strings.Repeat("p", maxPath), Cause: strings.Repeat("p", maxCause+1)}
	b := appendRecord(nil, &r)
	if got, err := decodeRecord(b); err != nil || len(got.Path) != maxPath || len(got.Cause) != maxCause || len(b) > maxRecord {
		t.Errorf("got %d and %d bytes in %d, %v, want %d and %d in at most %d", len(got.Path), len(got.Cause), len(b), err, maxPath, maxCause, maxRecord)
	}
}

func FuzzDecodeRecord(f *testing.F) {
	full := fullRecord()
	f.Add(appendRecord(nil, &full))
	f.Add([]byte{8, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRecord(b)
		if err != nil {
			return
		}
		again, err := decodeRecord(appendRecord(nil, &r))
		if r.Author == r.Peer {
			r.Author = merkle.NodeID{}
		}
		if r.Time.UnixMicro() < 0 {
			return // the writer has none of these
		}
		if err != nil || again != r {
			t.Errorf("got %+v, %v\nwant %+v", again, err, r)
		}
	})
}

func FuzzReadSegment(f *testing.F) {
	full := fullRecord()
	b, hash := appendFrame(head{first: 1}.append(nil), appendRecord(nil, &full), Hash{})
	b, _ = appendFrame(b, appendRecord(nil, &full), hash)
	f.Add(b)
	f.Add(b[:len(b)-5])
	f.Add(append(slices.Clone(b), make([]byte, 100)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		w, n := walk{final: true}, 0
		good, _, err := w.segment(bytes.NewReader(b), int64(len(b)), func(Item) error { n++; return nil })
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if good > int64(len(b)) || n > 0 && good == 0 {
			t.Fatalf("%d of %d bytes are good, with %d records", good, len(b), n)
		}
		if w.broken == nil && w.torn == 0 && good != int64(len(b)) {
			t.Fatalf("%d of %d bytes are good, and nothing is told of the rest", good, len(b))
		}
	})
}
