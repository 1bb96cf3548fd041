package quorum

import (
	"bufio"
	"bytes"
	"io"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/encoding/protowire"
)

var sampleConfig = raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{
	{Suffrage: raft.Voter, ID: "a", Address: "1"}, {Suffrage: raft.Nonvoter, ID: "b", Address: "2"},
}})

// sampleRequests are of every kind.
func sampleRequests() []*request {
	return []*request{
		{kind: kindAppend, term: 3, next: 5000},
		{kind: kindAppend, term: 3, index: 7, logTerm: 2, commit: 6, entries: []*raft.Log{
			{Index: 8, Term: 2, Type: raft.LogCommand, Data: []byte("\x01command"), AppendedAt: time.Unix(1, 2)},
			{Index: 9, Term: 3, Type: raft.LogConfiguration, Data: sampleConfig},
			{Index: 10, Term: 3, Type: raft.LogNoop},
		}},
		{kind: kindPreVote, term: 4, index: 7, logTerm: 3},
		{kind: kindVote, term: 4, index: 7, logTerm: 3, flag: true},
		{kind: kindSnapshot, term: 4, index: 7, logTerm: 3, config: sampleConfig, configIndex: 2, size: 1000},
		{kind: kindNow},
		{kind: kindAlive},
	}
}

func TestMessagesAreReadAsWritten(t *testing.T) {
	for _, q := range sampleRequests() {
		if got, err := decodeRequest(q.encode()); err != nil || !reflect.DeepEqual(got, q) {
			t.Errorf("request of kind %d: got %+v, %v, want %+v", q.kind, got, err, q)
		}
	}
	a := answer{term: 1, lastIndex: 2, granted: true, noBackoff: true, reason: "why"}
	if got, err := decodeAnswer(a.encode()); err != nil || got != a {
		t.Errorf("got %+v, %v, want %+v", got, err, a)
	}
	g := greeting{table: tableOf(1), log: LogID{2}, seenLog: LogID{3}, seen: mark{4, 5, 6}, refusal: "no", removed: true}
	if got, err := decodeGreeting(g.encode()); err != nil || got != g {
		t.Errorf("got %+v, %v, want %+v", got, err, g)
	}
}

// What Raft would end the program for does not reach it.
func TestMalformedRequestsAreRefused(t *testing.T) {
	entry := func(e raft.Log) *request {
		return &request{kind: kindAppend, term: 3, index: 7, logTerm: 2, entries: []*raft.Log{&e}}
	}
	many := &request{kind: kindAppend, term: 3}
	for i := range maxEntries + 1 {
		many.entries = append(many.entries, &raft.Log{Index: uint64(i) + 1, Term: 1, Type: raft.LogNoop})
	}
	for name, q := range map[string]*request{
		"no kind":                       {term: 1},
		"an unknown kind":               {kind: 99, term: 1},
		"no term":                       {kind: kindVote},
		"a type that Raft gave up":      entry(raft.Log{Index: 8, Term: 3, Type: raft.LogAddPeerDeprecated}),
		"an unknown type":               entry(raft.Log{Index: 8, Term: 3, Type: 77}),
		"a configuration of garbage":    entry(raft.Log{Index: 8, Term: 3, Type: raft.LogConfiguration, Data: []byte("garbage")}),
		"an entry that does not follow": entry(raft.Log{Index: 9, Term: 3, Type: raft.LogNoop}),
		"an entry of a later term":      entry(raft.Log{Index: 8, Term: 4, Type: raft.LogNoop}),
		"an entry of an earlier term":   entry(raft.Log{Index: 8, Term: 1, Type: raft.LogNoop}),
		"a long command":                entry(raft.Log{Index: 8, Term: 3, Data: make([]byte, MaxCommand+2)}),
		"too many entries":              many,
		"a snapshot of garbage":         {kind: kindSnapshot, term: 1, config: []byte("\x85garbage")},
		"a snapshot without end":        {kind: kindSnapshot, term: 1, config: sampleConfig, size: maxSnapshot + 1},
	} {
		if _, err := decodeRequest(q.encode()); err == nil {
			t.Errorf("%s was taken in", name)
		}
	}
}

// No memory is taken for what has not come, nor for many small things in a message of the greatest size.
func TestWhatPeersSendIsBounded(t *testing.T) {
	long := protowire.AppendVarint(nil, maxRequest+1)
	if _, err := readFrame(bufio.NewReader(bytes.NewReader(long)), maxRequest); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("a frame that is too long: got %v", err)
	}
	taken := func(f func()) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	short := append(protowire.AppendVarint(nil, maxRequest), 1, 2, 3)
	if got := taken(func() {
		if _, err := readFrame(bufio.NewReader(bytes.NewReader(short)), maxRequest); err != io.ErrUnexpectedEOF {
			t.Errorf("a frame that breaks off: got %v, want %v", err, io.ErrUnexpectedEOF)
		}
	}); got > 4*growth {
		t.Errorf("%d bytes were taken for a frame of which 3 have come", got)
	}
	tiny := appendNumber(nil, reqKind, uint64(kindAppend))
	for len(tiny) < maxRequest-2 {
		tiny = append(tiny, reqEntry<<3|2, 0) // an empty entry
	}
	if got := taken(func() {
		if _, err := decodeRequest(tiny); err == nil {
			t.Error("a million entries were taken in")
		}
	}); got > 1<<16 {
		t.Errorf("%d bytes were taken for a million entries", got)
	}
}

func TestEntriesArePartedByNumberAndSize(t *testing.T) {
	var entries []*raft.Log
	for i := range 110 {
		size := 10
		if i > 100 {
			size = maxPart / 3
		}
		entries = append(entries, &raft.Log{Index: uint64(i) + 1, Term: 1, Data: make([]byte, size)})
	}
	var got []*raft.Log
	for rest := entries; len(rest) > 0; {
		var first []*raft.Log
		first, rest = part(rest)
		q := request{kind: kindAppend, term: 1, index: first[0].Index - 1, entries: first}
		if n := len(q.encode()); len(first) == 0 || len(first) > maxEntries || n > maxRequest {
			t.Fatalf("a part of %d entries, %d bytes", len(first), n)
		}
		got = append(got, first...)
	}
	if !reflect.DeepEqual(got, entries) {
		t.Error("the parts are not the whole")
	}
	widest := &request{kind: kindAppend, term: 1 << 62, index: 1 << 61, logTerm: 1, entries: []*raft.Log{
		{Index: 1<<61 + 1, Term: 1 << 62, Data: make([]byte, maxPart)}, {Index: 1<<61 + 2, Term: 1 << 62, Data: make([]byte, MaxCommand+1)},
	}}
	if n := len(widest.encode()); n > maxRequest {
		t.Errorf("the longest request has %d bytes, and %d are taken", n, maxRequest)
	}
}

func TestALogThatFellBackIsFoundOut(t *testing.T) {
	m := mark{term: 5, logTerm: 4, index: 100}
	for _, row := range []struct {
		at   mark
		want bool
	}{
		{m, false}, {mark{6, 4, 100}, false}, {mark{5, 4, 101}, false}, {mark{5, 5, 90}, false},
		{mark{4, 4, 100}, true}, {mark{5, 4, 99}, true}, {mark{6, 3, 200}, true}, {mark{}, true},
	} {
		if got := row.at.behind(m); got != row.want {
			t.Errorf("%+v behind %+v: got %v", row.at, m, got)
		}
		if j := row.at.join(m); j.behind(m) || j.behind(row.at) {
			t.Errorf("%+v joined with %+v is %+v, behind one of them", row.at, m, j)
		}
	}
}

func FuzzDecodeRequest(f *testing.F) {
	for _, q := range sampleRequests() {
		f.Add(q.encode())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := decodeRequest(b)
		if err != nil {
			return
		}
		again, err := decodeRequest(q.encode())
		if err != nil || again.kind != q.kind || len(again.entries) != len(q.entries) || again.size != q.size {
			t.Errorf("read again as %+v, %v, want %+v", again, err, q)
		}
		if q.kind == kindSnapshot {
			raft.DecodeConfiguration(q.config) // panics, were it not checked
		}
	})
}

func FuzzDecodeAnswer(f *testing.F) {
	f.Add((&answer{term: 1, lastIndex: 2, granted: true, noBackoff: true, reason: "why"}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := decodeAnswer(b)
		if err != nil {
			return
		}
		if again, err := decodeAnswer(a.encode()); err != nil || again != a {
			t.Errorf("read again as %+v, %v, want %+v", again, err, a)
		}
	})
}

func FuzzDecodeGreeting(f *testing.F) {
	f.Add((&greeting{table: tableOf(1), log: LogID{2}, seenLog: LogID{3}, seen: mark{4, 5, 6}, refusal: "no", removed: true}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := decodeGreeting(b)
		if err != nil || g.seenLog == (LogID{}) {
			return
		}
		if again, err := decodeGreeting(g.encode()); err != nil || again != g {
			t.Errorf("read again as %+v, %v, want %+v", again, err, g)
		}
	})
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte("\x05hello"))
	f.Add([]byte("\xff\xff\xff\xff\x7f"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := readFrame(bufio.NewReader(bytes.NewReader(b)), 100)
		if err == nil && len(got) > 100 {
			t.Errorf("a frame of %d bytes", len(got))
		}
	})
}
