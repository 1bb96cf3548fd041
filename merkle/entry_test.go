package merkle

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

func testVersion(stamps ...Stamp) Version {
	v := vec(stamps...)
	last := v[len(v)-1]
	return Version{Vector: v, Author: last.Node, Stamp: last.Stamp}
}

// sample is one entry of the rows that the tests share.
type sample struct {
	name  string
	entry *Entry
}

func samples() []sample {
	locked := testVersion(1_760_000_000_000_000, 0, 1_760_000_000_000_001)
	locked.Token = Token{Generation: 3, Index: 1 << 40}
	full := Attributes{
		Kind: File, Mode: 0o4755, Size: 5, MTime: 1_760_000_000_123_456_789, Content: fileDomain.sum([]byte("full")),
		Xattrs: []Xattr{{"user.empty", nil}, {"user.origin", []byte("a\x00b")}},
		Owner:  "alice:users", Link: fileDomain.sum([]byte("link")),
	}
	return []sample{
		{"empty file", &Entry{Attributes: Attributes{Kind: File, Mode: 0o644, Content: BlockList(nil).Root()}, Version: testVersion(1)}},
		{"full file", &Entry{Attributes: full, Version: locked}},
		{"before 1970", &Entry{Attributes: Attributes{Kind: File, Size: 1 << 40, MTime: -1, Content: Hash{1}}, Version: testVersion(2)}},
		{"directory", &Entry{Attributes: Attributes{Kind: Dir, Mode: 0o755}, Version: testVersion(1, 2, 3)}},
		{"symlink", &Entry{Attributes: Attributes{Kind: Symlink, MTime: 7, Target: "../elsewhere"}, Version: testVersion(300)}},
		{"tombstone", &Entry{Attributes: Attributes{Kind: Tombstone}, Version: testVersion(0, 1<<63)}},
		{"unknown kind", &Entry{Attributes: Attributes{Kind: 99, Mode: 0o600}, Version: testVersion(1)}},
	}
}

// newerEntry is a full file as a newer resonate might write it: unknown fields everywhere, attributes last.
func newerEntry() []byte {
	e := samples()[1].entry
	attributes := AppendBytes(AppendUint(nil, 100, 7), 101, "inside")
	attributes = appendAttributes(attributes, e.Attributes)
	version := AppendBytes(appendVersion(nil, e.Version), 50, "in the version")
	b := AppendBytes(nil, 30, "before")
	b = AppendBytes(b, entryVersion, version)
	b = protowire.AppendFixed32(protowire.AppendTag(b, 31, protowire.Fixed32Type), 42)
	b = AppendBytes(b, entryAttributes, attributes)
	return AppendUint(b, 1000, 1)
}

func TestEntryRoundTrip(t *testing.T) {
	for _, s := range samples() {
		t.Run(s.name, func(t *testing.T) {
			b := s.entry.Append(nil)
			got, err := DecodeEntry(b)
			if err != nil {
				t.Fatalf("DecodeEntry: %v", err)
			}
			if !reflect.DeepEqual(got, s.entry) {
				t.Errorf("decoded\n%+v, want\n%+v", got, s.entry)
			}
			if again := got.Append([]byte("x")); string(again) != "x"+string(b) {
				t.Errorf("encoded again %x, want x and %x", again, b)
			}
			if got.Hash() != s.entry.Hash() || got.ContentHash() != s.entry.ContentHash() {
				t.Error("hashes changed on the way")
			}
		})
	}
}

func TestUnknownFieldsAreKept(t *testing.T) {
	b := newerEntry()
	received := bytes.Clone(b)
	e, err := DecodeEntry(received)
	if err != nil {
		t.Fatal(err)
	}
	for i := range received {
		received[i] = 0xff
	}
	if got := e.Append(nil); !bytes.Equal(got, b) {
		t.Errorf("Append = %x, want what came, %x", got, b)
	}
	if e.Hash() != entryDomain.sum(b) {
		t.Error("Hash is not over the bytes that came")
	}
	known := samples()[1].entry
	if !reflect.DeepEqual(e.Attributes, known.Attributes) || !reflect.DeepEqual(e.Version, known.Version) {
		t.Errorf("decoded %+v, want the known fields of %+v", e, known)
	}
	if e.ContentHash() == known.ContentHash() {
		t.Error("unknown attributes are not in the content hash")
	}
}

func TestWithVersionKeepsUnknownFields(t *testing.T) {
	e, err := DecodeEntry(newerEntry())
	if err != nil {
		t.Fatal(err)
	}
	v := testVersion(0, 0, 0, 77)
	w := e.WithVersion(v)
	if !reflect.DeepEqual(w.Version, v) {
		t.Errorf("Version = %+v, want %+v", w.Version, v)
	}
	if w.ContentHash() != e.ContentHash() {
		t.Error("the content hash changed with the version")
	}
	b := w.Append(nil)
	for _, part := range []string{"before", "inside"} {
		if !strings.Contains(string(b), part) {
			t.Errorf("unknown field %q was lost in %q", part, b)
		}
	}
	if strings.Contains(string(b), "in the version") {
		t.Errorf("unknown field of the old version was kept in %q", b)
	}
	again, err := DecodeEntry(b)
	if err != nil || !reflect.DeepEqual(again, w) {
		t.Errorf("decoded again %+v, %v; want %+v", again, err, w)
	}
	plain := samples()[1].entry.WithVersion(v)
	if !reflect.DeepEqual(plain, &Entry{Attributes: samples()[1].entry.Attributes, Version: v}) {
		t.Errorf("WithVersion of an entry made here = %+v", plain)
	}
}

func TestEntryHashes(t *testing.T) {
	all := samples()
	hashes := make(map[Hash]string)
	for _, s := range all {
		for kind, h := range map[string]Hash{"hash": s.entry.Hash(), "content hash": s.entry.ContentHash()} {
			if other, ok := hashes[h]; ok {
				t.Errorf("%s of %s is also %s", kind, s.name, other)
			}
			hashes[h] = kind + " of " + s.name
		}
		other := s.entry.WithVersion(testVersion(0, 0, 9))
		if other.Hash() == s.entry.Hash() || other.ContentHash() != s.entry.ContentHash() {
			t.Errorf("%s: another version must change the hash, and not the content hash", s.name)
		}
	}
	var none *Entry
	if !none.Hash().IsZero() || !none.ContentHash().IsZero() || none.Live() || none.IsDir() {
		t.Error("no entry has a hash or is live")
	}
}

func TestSameContent(t *testing.T) {
	file := Entry{Attributes: Attributes{Kind: File, Content: Hash{1}, Mode: 0o644}}
	link := Entry{Attributes: Attributes{Kind: Symlink, Target: "a"}}
	change := func(e Entry, f func(*Entry)) *Entry { f(&e); return &e }
	for _, row := range []struct {
		name string
		a, b *Entry
		want bool
	}{
		{"metadata", &file, change(file, func(e *Entry) { e.Mode, e.MTime, e.Owner = 0o600, 9, "b:b" }), true},
		{"bytes", &file, change(file, func(e *Entry) { e.Content = Hash{2} }), false},
		{"target", &link, change(link, func(e *Entry) { e.Target = "b" }), false},
		{"kind", &file, change(file, func(e *Entry) { e.Kind = Dir }), false},
	} {
		if got := SameContent(row.a, row.b); got != row.want {
			t.Errorf("%s: SameContent = %v, want %v", row.name, got, row.want)
		}
	}
}

func TestEntriesGolden(t *testing.T) {
	var out strings.Builder
	for _, s := range samples() {
		fmt.Fprintf(&out, "%s\n  bytes   %x\n  hash    %v\n  content %v\n", s.name, s.entry.Append(nil), s.entry.Hash(), s.entry.ContentHash())
	}
	e, err := DecodeEntry(newerEntry())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&out, "with unknown fields\n  bytes   %x\n  hash    %v\n  content %v\n", e.Append(nil), e.Hash(), e.ContentHash())
	golden(t, "entries.golden", out.String())
}

// malformed are entries that must be refused.
func malformed() map[string][]byte {
	version := AppendBytes(nil, entryVersion, appendVersion(nil, testVersion(1)))
	attributes := func(b []byte) []byte { return append(AppendBytes(nil, entryAttributes, b), version...) }
	entry := func(a Attributes) []byte { return attributes(appendAttributes(nil, a)) }
	versioned := func(v Version) []byte {
		return AppendBytes(AppendBytes(nil, entryAttributes, []byte{8, 2}), entryVersion, appendVersion(nil, v))
	}
	good := samples()[1].entry.Append(nil)
	author := testNode(1)
	return map[string][]byte{
		"empty":                nil,
		"truncated":            good[:len(good)-1],
		"bytes after the end":  append(slices.Clone(good), 0x80),
		"no version":           AppendBytes(nil, entryAttributes, []byte{8, 2}),
		"no attributes":        version,
		"two attributes":       append(attributes([]byte{8, 2}), AppendBytes(nil, entryAttributes, []byte{8, 2})...),
		"two versions":         append(attributes([]byte{8, 2}), version...),
		"too large":            append(attributes([]byte{8, 2}), AppendBytes(nil, 9, make([]byte, MaxEntry))...),
		"no kind":              entry(Attributes{Mode: 0o644}),
		"kind 0":               attributes([]byte{8, 0}),
		"kind 256":             attributes([]byte{8, 0x80, 2}),
		"negative size":        entry(Attributes{Kind: File, Size: -1, Content: Hash{1}}),
		"file without content": entry(Attributes{Kind: File}),
		"file of zero content": attributes(AppendBytes([]byte{8, 1}, attrContent, make([]byte, HashSize))),
		"short content":        attributes(AppendBytes([]byte{8, 1}, attrContent, make([]byte, HashSize-1))),
		"long link":            attributes(AppendBytes([]byte{8, 2}, attrLink, make([]byte, HashSize+1))),
		"no target":            entry(Attributes{Kind: Symlink}),
		"long target":          entry(Attributes{Kind: Symlink, Target: strings.Repeat("a", MaxTarget+1)}),
		"target with NUL":      entry(Attributes{Kind: Symlink, Target: "a\x00b"}),
		"xattrs unsorted":      entry(Attributes{Kind: Dir, Xattrs: []Xattr{{Name: "b"}, {Name: "a"}}}),
		"xattrs twice":         entry(Attributes{Kind: Dir, Xattrs: []Xattr{{Name: "a"}, {Name: "a"}}}),
		"xattr without name":   attributes(AppendBytes([]byte{8, 2}, attrXattr, AppendBytes(nil, 2, "value"))),
		"no author":            versioned(Version{Vector: vec(1), Stamp: 1}),
		"no stamp":             versioned(Version{Vector: vec(1), Author: author}),
		"stamp unseen":         versioned(Version{Vector: vec(1), Author: author, Stamp: 2}),
		"author unseen":        versioned(Version{Vector: vec(0, 1), Author: author, Stamp: 1}),
		"vector unsorted":      versioned(Version{Vector: Vector{{testNode(2), 1}, {author, 1}}, Author: author, Stamp: 1}),
	}
}

func TestDecodeEntryRefuses(t *testing.T) {
	for name, b := range malformed() {
		if e, err := DecodeEntry(b); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: DecodeEntry = %+v, %v; want ErrFormat", name, e, err)
		}
	}
}

func TestKindString(t *testing.T) {
	for k, want := range map[Kind]string{File: "file", Dir: "directory", Symlink: "symlink", Tombstone: "deleted", 9: "kind 9"} {
		if got := k.String(); got != want {
			t.Errorf("Kind(%d).String() = %q, want %q", uint8(k), got, want)
		}
	}
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func FuzzDecodeEntry(f *testing.F) {
	for _, s := range samples() {
		f.Add(s.entry.Append(nil))
	}
	f.Add(newerEntry())
	for _, b := range malformed() {
		if len(b) < 1000 {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var e *Entry
		var err error
		if n, most := allocated(func() { e, err = DecodeEntry(b) }), uint64(32<<10+64*len(b)); n > most {
			t.Errorf("decoding %d bytes allocates %d bytes, want at most %d", len(b), n, most)
		}
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("error %v is no ErrFormat", err)
			}
			return
		}
		if got := e.Append(nil); !bytes.Equal(got, b) {
			t.Errorf("decoded %x, encoded %x", b, got)
		}
		w, err := DecodeEntry(e.WithVersion(testVersion(1)).Append(nil))
		if err != nil || w.ContentHash() != e.ContentHash() || !reflect.DeepEqual(w.Attributes, e.Attributes) {
			t.Errorf("with another version %+v, %v; want the attributes of %+v", w, err, e)
		}
	})
}

func TestXattrHash(t *testing.T) {
	a, b := Xattr{"user.a", []byte("1")}, Xattr{"user.b", []byte("2")}
	lists := [][]Xattr{nil, {a}, {b}, {a, b}, {{"user.a", []byte("2")}}, {{"user.a", nil}}}
	for i, x := range lists {
		for j, y := range lists {
			if same := XattrHash(x) == XattrHash(y); same != (i == j) || same != SameXattrs(x, y) {
				t.Errorf("%v and %v: equal hashes %v, same %v, want %v", x, y, same, SameXattrs(x, y), i == j)
			}
		}
	}
	if !XattrHash(nil).IsZero() {
		t.Error("the hash of no attributes is not the zero hash")
	}
	e := &Entry{Attributes: Attributes{Xattrs: lists[3]}}
	if got, want := XattrHash(lists[3]), e.ContentHash(); got != want {
		t.Errorf("XattrHash = %v, want the content hash %v", got, want)
	}
}
