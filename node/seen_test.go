package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"resonate/control"
	"resonate/syncproto/sshconn"
)

// TestSeen follows who is connected by the minute, and what is written of it.
func TestSeen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seen")
	s, err := loadSeen(path)
	if err != nil {
		t.Fatal(err)
	}
	a, b := sshconn.NodeID{1}, sshconn.NodeID{2}
	idA, idB := shortID(a).String(), shortID(b).String()
	begin := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	at := func(minute float64) time.Time { return begin.Add(time.Duration(minute * float64(time.Minute))) }
	for _, step := range []struct {
		minute    float64
		connected []sshconn.NodeID
		end       bool
		written   string // of a; "" nothing
	}{
		{0, nil, false, ""},
		{0.1, []sshconn.NodeID{a}, false, "03:00:06"},
		{0.5, []sshconn.NodeID{a, b}, false, ""}, // too soon
		{0.9, []sshconn.NodeID{a}, false, ""},
		{1.2, nil, false, "03:00:54"}, // gone, and a minute has passed
		{5, nil, false, ""},
		{70, nil, false, ""}, // nobody came
		{71, []sshconn.NodeID{a}, false, "04:11:00"},
		{100, []sshconn.NodeID{a}, false, ""},
		{131, []sshconn.NodeID{a}, false, "05:11:00"}, // an hour has passed
		{131.5, []sshconn.NodeID{a}, false, ""},
		{131.6, nil, true, "05:11:30"},
		{131.7, nil, true, ""},
	} {
		os.Remove(path)
		var peers []sshconn.PeerState
		for _, id := range step.connected {
			peers = append(peers, sshconn.PeerState{ID: id, Session: new(sshconn.Session)})
		}
		if err := s.note(peers, at(step.minute), step.end); err != nil {
			t.Fatal(err)
		}
		text, _ := os.ReadFile(path)
		if want := idA + " 2026-01-02T" + step.written + "Z\n"; step.written == "" && len(text) > 0 || step.written != "" && !strings.Contains(string(text), want) {
			t.Errorf("minute %v: written %q, want %q in it", step.minute, text, step.written)
		}
		if step.end && step.written != "" {
			if s, err = loadSeen(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	other := time.Unix(1, 0)
	if got := s.at(idA, other); !got.Equal(at(131.5)) {
		t.Errorf("a after a restart: seen at %v, want %v", got, at(131.5))
	}
	if got := s.at(idB, other); !got.Equal(at(0.5)) {
		t.Errorf("b after a restart: seen at %v, want %v", got, at(0.5))
	}
	if got := s.at("nobody", other); !got.Equal(other) {
		t.Errorf("a stranger: seen at %v, want %v", got, other)
	}
}

// TestSinceWhenOutlivesTheProcess: a member that is away is so since it was last seen, not since this node's start.
func TestSinceWhenOutlivesTheProcess(t *testing.T) {
	a, b := newMachine(t, "a", nil), newMachine(t, "b", nil)
	b.joins(a)
	allKnow(t, "a b", a, b)
	connected := func() control.Member {
		list, err := a.Members(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return list[len(list)-1]
	}
	eventually(t, "b to be connected", func() string {
		if m := connected(); m.State != "connected" {
			return m.State
		}
		return ""
	})
	a.wake() // it looks who is there
	eventually(t, "b to be seen", func() string {
		if a.seen.at(connected().ID, time.Time{}).IsZero() {
			return "not seen"
		}
		return ""
	})
	b.end()
	a.end()
	again := time.Now()
	a.start()
	eventually(t, "b to be away", func() string {
		m := connected()
		if m.Since == nil || m.State == "connected" {
			return "it is " + m.State
		}
		if !m.Since.Before(again) {
			t.Fatalf("after a restart: %s since %v, want it so since before %v", m.State, m.Since, again)
		}
		return ""
	})
}

func FuzzParseSeen(f *testing.F) {
	f.Add([]byte("azq3m7fldapwo4w7zsdptfto7e 2026-01-02T03:04:05Z\nx\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s := &seen{last: make(map[string]time.Time)}
		s.parse(text)
		if len(s.last) > maxSeen {
			t.Errorf("%d nodes, want at most %d", len(s.last), maxSeen)
		}
		again := &seen{last: make(map[string]time.Time)}
		again.parse(s.text())
		if len(again.last) != len(s.last) {
			t.Errorf("read again: %d nodes, want %d", len(again.last), len(s.last))
		}
	})
}
