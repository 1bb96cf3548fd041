package syncproto

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"resonate/merkle"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// envelope returns the frame of m without its length.
func envelope(t testing.TB, m Message) []byte {
	t.Helper()
	frame, err := appendFrame(nil, m, MaxFrame)
	if err != nil {
		t.Fatal(err)
	}
	_, n := protowire.ConsumeVarint(frame)
	return frame[n:]
}

func TestRoundTrip(t *testing.T) {
	for _, s := range samples() {
		got, err := decode(envelope(t, s.m), fresh(s.m))
		if err != nil || !reflect.DeepEqual(got, s.m) {
			t.Errorf("%s: got %.300v, %v; want %.300v", s.name, got, err, s.m)
		}
	}
}

func TestEverySampleKind(t *testing.T) {
	seen := make(map[Kind]bool)
	for _, s := range samples() {
		seen[s.m.kind()] = true
	}
	for k := range Kind(64) {
		_, control := newControl(k).(*Unknown)
		_, block := newBlock(k).(*Unknown)
		if known := !control || !block; known != seen[k] || known != (kindNames[k] != "") {
			t.Errorf("%v: known %v, sampled %v, named %q", k, known, seen[k], kindNames[k])
		}
	}
}

// The golden file has a line for each sample: its name, and its envelope in hexadecimal.
func TestGolden(t *testing.T) {
	const path = "testdata/messages.hex"
	var got bytes.Buffer
	for _, s := range samples() {
		if !strings.HasSuffix(s.name, "-extreme") && s.name != "askentries" { // those are only long
			fmt.Fprintf(&got, "%s %s\n", s.name, hex.EncodeToString(envelope(t, s.m)))
		}
	}
	if *update {
		if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(bytes.NewReader(want))
	lines.Buffer(nil, 1<<20)
	for line := range strings.Lines(got.String()) {
		if lines.Scan(); lines.Text()+"\n" != line {
			t.Errorf("the format has changed:\ngot  %swant %s", line, lines.Text())
		}
	}
	if lines.Scan() {
		t.Errorf("golden file has more: %s", lines.Text())
	}
}

func TestUnknownFieldsAreSkipped(t *testing.T) {
	for _, s := range samples() {
		body := s.m.append(nil)
		body = merkle.AppendUint(body, 1000, 7)
		body = merkle.AppendBytes(body, 1001, "from a newer resonate")
		got, err := decode(appendMessage(nil, protowire.Number(s.m.kind()), func(b []byte) []byte {
			return append(b, body...)
		}), fresh(s.m))
		if err != nil || !reflect.DeepEqual(got, s.m) {
			t.Errorf("%s: got %.300v, %v; want %.300v", s.name, got, err, s.m)
		}
	}
}

func TestTruncatedIsMalformed(t *testing.T) {
	for _, s := range samples() {
		frame := envelope(t, s.m)
		for n := 0; n < len(frame); n += 1 + n/200 {
			if _, err := decode(frame[:n], fresh(s.m)); !errors.Is(err, merkle.ErrFormat) {
				t.Fatalf("%s, %d of %d bytes: got %v, want ErrFormat", s.name, n, len(frame), err)
			}
		}
	}
}

// Every known field refuses what is of another wire type. No message has a field of the type fixed32.
func TestWireTypes(t *testing.T) {
	for _, s := range samples() {
		err := merkle.Fields(s.m.append(nil), func(f merkle.Field) error {
			bad := protowire.AppendTag(nil, f.Number, protowire.Fixed32Type)
			bad = protowire.AppendFixed32(bad, 1)
			m := fresh(s.m)(s.m.kind())
			if err := merkle.Fields(bad, m.field); !errors.Is(err, merkle.ErrFormat) {
				t.Errorf("%s field %d: got %v, want ErrFormat", s.name, f.Number, err)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func TestRefused(t *testing.T) {
	one := merkle.Block{Size: 1}
	big := fileEntry(hash(1), 1, 1)
	big.Xattrs = []merkle.Xattr{{Name: "user.x", Value: make([]byte, merkle.MaxEntry)}}
	announce := func(a Announcement) Message { return &Announcements{[]Announcement{a}} }
	level := func(l merkle.Level) Message { return &Levels{[]merkle.Level{l}} }
	items := func(names ...string) (l merkle.Level) {
		for _, n := range names {
			l.Items = append(l.Items, merkle.Item{Name: n})
		}
		return l
	}
	rows := []sample{
		{"hello of nobody", &Hello{}},
		{"long name", &Hello{Node: node(1), Name: strings.Repeat("n", MaxText+1)}},
		{"long software", &Hello{Node: node(1), Software: strings.Repeat("n", MaxText+1)}},
		{"member without ID", &Hello{Node: node(1), Members: []Known{{}}}},
		{"member without ID in root", &Root{Members: []Known{{}}}},
		{"announcement without path", announce(Announcement{Entry: dirEntry(1)})},
		{"path with NUL", announce(Announcement{Path: "a\x00", Entry: dirEntry(1)})},
		{"path too long", announce(Announcement{Path: longest + "p", Entry: dirEntry(1)})},
		{"entry too large", announce(Announcement{Path: "a", Entry: big})},
		{"too many blocks", announce(Announcement{Path: "a", Entry: dirEntry(1), Blocks: manyBlocks(MaxBlocks + 1)})},
		{"block count", announce(Announcement{Path: "a", Entry: dirEntry(1), Blocks: manyBlocks(2), BlockCount: 1})},
		{"long content", announce(Announcement{Path: "a", Entry: dirEntry(1), Data: make([]byte, MaxInline+1)})},
		{"difference to nothing", announce(Announcement{Path: "a", Entry: dirEntry(1), Difference: &Difference{Edits: []Edit{{Count: 1}}}})},
		{"no difference", announce(Announcement{Path: "a", Entry: dirEntry(1), Difference: &Difference{Base: hash(1)}})},
		{"difference without blocks", announce(Announcement{Path: "a", Entry: dirEntry(1), Difference: &Difference{Base: hash(1), Edits: []Edit{{}}}})},
		{"difference of too many", announce(Announcement{Path: "a", Entry: dirEntry(1), Difference: &Difference{Base: hash(1), Edits: slices.Repeat([]Edit{{Count: 1}}, maxEdits+1)}})},
		{"move from nowhere", &Move{To: "a", Stamp: 1}},
		{"move to nowhere", &Move{From: "a", Stamp: 1}},
		{"move without stamp", &Move{From: "a", To: "b"}},
		{"removal of nothing", &RemoveAll{Stamp: 1}},
		{"removal without stamp", &RemoveAll{Path: "a"}},
		{"too many numbers", &Ack{make([]uint64, MaxAcks+1)}},
		{"too many places", &AskLevels{make([]merkle.Place, MaxPlaces+1)}},
		{"no nibble", &AskLevels{[]merkle.Place{{Prefix: "\x10"}}}},
		{"place with NUL", &AskLevels{[]merkle.Place{{Dir: "\x00"}}}},
		{"too many levels", &Levels{make([]merkle.Level, MaxPlaces+1)}},
		{"too many items", level(merkle.Level{Items: make([]merkle.Item, merkle.MaxItems+1)})},
		{"unsorted items", level(items("b", "a"))},
		{"item twice", level(items("a", "a"))},
		{"item without name", level(items(""))},
		{"item with slash", level(items("a/b"))},
		{"long item", level(items(strings.Repeat("n", MaxName+1)))},
		{"item too deep", level(merkle.Level{Place: merkle.Place{Dir: longest}, Items: items("a").Items})},
		{"list and branches", level(merkle.Level{Items: items("a").Items, Branches: new([16]merkle.Hash)})},
		{"trie without end", level(merkle.Level{
			Place: merkle.Place{Prefix: strings.Repeat("\x01", 63)}, Branches: new([16]merkle.Hash),
		})},
		{"too many paths", &AskEntries{slices.Repeat([]string{"a"}, MaxPaths+1)}},
		{"entry path with NUL", &AskEntries{[]string{"a", "\x00"}}},
		{"subtree path with NUL", &AskSubtrees{[]string{"a", "\x00"}}},
		{"offer of nothing", &Offer{Name: hash(1)}},
		{"offer without name", &Offer{Path: "a"}},
		{"offer of less than nothing", &Offer{Path: "a", Name: hash(1), Size: -1}},
		{"offer of too many blocks", &Offer{Path: "a", Name: hash(1), Size: 1 << 40, Blocks: manyBlocks(MaxOffered + 1)}},
		{"too many members", &Members{Set: make([]byte, MaxMembers+1)}},
		{"offer from beyond the end", &Offer{Path: "a", Name: hash(1), Size: merkle.MinBlock, From: 3}},
		{"list of nothing", &ListRequest{}},
		{"list without status", &ListReply{Last: true}},
		{"empty piece", &ListReply{Status: OK}},
		{"gone and more", &ListReply{Status: Gone, Edits: []Edit{{Count: 1}}}},
		{"edit of nothing", &ListReply{Status: OK, Edits: []Edit{{}}}},
		{"edit of both", &ListReply{Status: OK, Edits: []Edit{{Count: 1, New: manyBlocks(1)}}}},
		{"too many edits", &ListReply{Status: OK, Edits: make([]Edit, maxEdits+1)}},
		{"too many new blocks", &ListReply{Status: OK, Edits: []Edit{{New: manyBlocks(MaxBlocks)}, {New: manyBlocks(1)}}}},
		{"too many wants", &BlockRequest{Wants: make([]Want, MaxWants+1)}},
		{"want of no path", &BlockRequest{Wants: []Want{{Block: one}}}},
		{"want of no bytes", &BlockRequest{Wants: []Want{{Path: "a"}}}},
		{"want of too much", &BlockRequest{Wants: []Want{{Path: "a", Block: merkle.Block{Size: merkle.MaxBlock + 1}}}}},
		{"want before the file", &BlockRequest{Wants: []Want{{Path: "a", Block: one, Offset: -1}}}},
		{"block without status", &BlockReply{}},
		{"block too long", &BlockReply{Status: OK, Data: make([]byte, merkle.MaxBlock+1)}},
	}
	for _, row := range rows {
		if _, err := appendFrame(nil, row.m, MaxFrame); !errors.Is(err, merkle.ErrFormat) {
			t.Errorf("%s, sent: got %v, want ErrFormat", row.name, err)
		}
		raw := appendMessage(nil, protowire.Number(row.m.kind()), row.m.append)
		m, err := decode(raw, fresh(row.m))
		if !errors.Is(err, merkle.ErrFormat) {
			t.Errorf("%s, received: got %.300v, %v; want ErrFormat", row.name, m, err)
		}
	}
}

// An element of a list may be refused only for its number, so a peer can send it as often as the frame has room.
func TestListsAreBoundedWhileDecoding(t *testing.T) {
	rows := map[Kind][]byte{
		KindAnnouncements: {announcementsItem<<3 | 2, 0},
		KindAskEntries:    {askPath<<3 | 2, 1, 'a'},
		KindAskSubtrees:   {askPath<<3 | 2, 1, 'a'},
		KindAskLevels:     {askPlace<<3 | 2, 0},
		KindLevels:        {levelsLevel<<3 | 2, 0},
		KindListReply:     {listEdit<<3 | 2, 0},
		KindBlockRequest:  {requestWant<<3 | 2, 0},
	}
	for kind, element := range rows {
		raw := appendMessage(nil, protowire.Number(kind), func(b []byte) []byte {
			return append(b, bytes.Repeat(element, 1<<20/len(element))...)
		})
		var err error
		allocated := allocatedBy(func() { _, err = decode(raw, fresh(&Unknown{kind})) })
		if !errors.Is(err, merkle.ErrFormat) || allocated > 16<<20 {
			t.Errorf("%v: got %v with %d bytes allocated, want ErrFormat with less than 16 MiB", kind, err, allocated)
		}
	}
}

func TestNumbersOutOfRange(t *testing.T) {
	rows := []struct {
		m   Message
		num protowire.Number
		u   uint64
	}{
		{&Hello{}, helloProtocol, 1 << 32}, {&ListReply{}, listStatus, 256}, {&BlockReply{}, replyStatus, 257},
	}
	for _, row := range rows {
		err := merkle.Fields(merkle.AppendUint(nil, row.num, row.u), row.m.field)
		if !errors.Is(err, merkle.ErrFormat) {
			t.Errorf("%v: got %v for %d, want ErrFormat", row.m.kind(), err, row.u)
		}
	}
}

func TestEnvelope(t *testing.T) {
	accept := envelope(t, &Accept{})
	rows := []struct {
		name  string
		frame []byte
		want  Message // nil: malformed
	}{
		{"empty", nil, nil},
		{"two fields", append(bytes.Clone(accept), accept...), nil},
		{"varint", []byte{byte(KindAccept) << 3, 1}, nil},
		{"group", []byte{byte(KindAccept)<<3 | 3}, nil},
		{"field 0", []byte{2, 0}, nil},
		{"unknown kind", merkle.AppendBytes(nil, 99, "whatever"), &Unknown{99}},
		{"block message", envelope(t, &ListRequest{Path: "a"}), &Unknown{KindListRequest}},
		{"highest kind", merkle.AppendBytes(nil, protowire.MaxValidNumber, "x"), &Unknown{Kind(protowire.MaxValidNumber)}},
	}
	for _, row := range rows {
		got, err := decode(row.frame, newControl)
		if row.want == nil && !errors.Is(err, merkle.ErrFormat) {
			t.Errorf("%s: got %v, %v; want ErrFormat", row.name, got, err)
		}
		if row.want != nil && (err != nil || !reflect.DeepEqual(got, row.want)) {
			t.Errorf("%s: got %v, %v; want %v", row.name, got, err, row.want)
		}
	}
}

func TestByeIsCut(t *testing.T) {
	m, err := decode(envelope(t, &Bye{strings.Repeat("ä", MaxReason)}), newControl)
	want := strings.Repeat("ä", MaxReason/2)
	if err != nil || m.(*Bye).Reason != want {
		t.Errorf("got %d bytes, %v; want %d", len(m.(*Bye).Reason), err, len(want))
	}
	m, err = decode(envelope(t, &Bye{"x" + strings.Repeat("ä", MaxReason)}), newControl)
	if want := "x" + strings.Repeat("ä", MaxReason/2-1); err != nil || m.(*Bye).Reason != want {
		t.Errorf("got %q, %v; want no half character", m.(*Bye).Reason[MaxReason-4:], err)
	}
	long := merkle.AppendBytes(nil, byeReason, strings.Repeat("r", MaxReason+1))
	if m, err := decode(merkle.AppendBytes(nil, protowire.Number(KindBye), long), newControl); !errors.Is(err, merkle.ErrFormat) {
		t.Errorf("got %v, %v; want ErrFormat", m, err)
	}
}

func TestSplitAnnouncements(t *testing.T) {
	var list []Announcement
	for i := range 500 {
		a := Announcement{Seq: uint64(i), Path: fmt.Sprint("file", i), Entry: fileEntry(hash(byte(i)), 5, 7)}
		if i%50 == 20 {
			a.Blocks = manyBlocks(300)
		}
		if i == 77 {
			a.Blocks = manyBlocks(MaxBlocks)
		}
		list = append(list, a)
	}
	const most = 16 << 10
	var got []Announcement
	frames := 0
	for m := range SplitAnnouncements(list, most) {
		frames++
		if n := len(envelope(t, m)); n > most && len(m.List) > 1 || len(m.List) == 0 {
			t.Errorf("frame %d has %d bytes in %d announcements", frames, n, len(m.List))
		}
		got = append(got, m.List...)
	}
	if !reflect.DeepEqual(got, list) || frames < 10 || frames > 40 {
		t.Errorf("got %d announcements in %d frames, want %d in 10 to 40", len(got), frames, len(list))
	}
	for range SplitAnnouncements(nil, most) {
		t.Error("message for nothing")
	}
}

// TestSetDifference has a list told as a difference, and made again of it; one of which much is new is not told.
func TestSetDifference(t *testing.T) {
	from := manyBlocks(500)
	list := slices.Clone(from)
	list[250].Hash = hash(7)
	var a Announcement
	a.SetBlocks(list)
	a.SetDifference(hash(1), from, list)
	if a.Difference == nil || a.Difference.Base != hash(1) || len(a.Blocks) > 0 {
		t.Fatalf("got %.300v, want a difference and no list", a)
	}
	size := int64(len(list)) * merkle.MinBlock
	if got, err := a.Difference.List(from, a.BlockCount, size); err != nil || !slices.Equal(got, list) {
		t.Errorf("got %.300v, %v; want the list", got, err)
	}
	if _, err := a.Difference.List(from[:100], a.BlockCount, size); !errors.Is(err, merkle.ErrFormat) {
		t.Errorf("made of another list: got %v, want ErrFormat", err)
	}
	if _, err := a.Difference.List(from, a.BlockCount, merkle.MinBlock); !errors.Is(err, merkle.ErrFormat) {
		t.Errorf("for a file too short: got %v, want ErrFormat", err)
	}
	for i := range announcedBlocks + 1 {
		list[i].Hash = hash(8)
	}
	a = Announcement{}
	if a.SetDifference(hash(1), from, list); a.Difference != nil {
		t.Errorf("much is new: got %d edits, want none", len(a.Difference.Edits))
	}
}

func TestSetBlocks(t *testing.T) {
	for _, row := range []struct{ blocks, told int }{{1, 1}, {announcedBlocks, announcedBlocks}, {announcedBlocks + 1, 0}} {
		var a Announcement
		a.SetBlocks(manyBlocks(row.blocks))
		if len(a.Blocks) != row.told || a.BlockCount != uint64(row.blocks) {
			t.Errorf("list of %d: got %d blocks and count %d, want %d and %d", row.blocks, len(a.Blocks), a.BlockCount, row.told, row.blocks)
		}
	}
}
