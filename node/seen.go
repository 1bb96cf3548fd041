package node

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"resonate/members"
	"resonate/syncproto/sshconn"
)

// seen tells when the members were last connected, also before this start. It is safe for concurrent use.
type seen struct {
	path string

	mu      sync.Mutex
	last    map[string]time.Time // by the node's ID
	now     []string             // who is connected, sorted
	written time.Time
	wrote   []string // who was connected then
	news    bool     // somebody was connected since
}

// The file is written when somebody has come or gone, and now and then for the case that this node is killed.
const (
	seenSoonest = time.Minute
	seenLatest  = time.Hour
	maxSeen     = 1024 // nodes that are remembered, the latest
)

func (n *Node) seenPath() string { return filepath.Join(n.replica.State(), "seen") }

// loadSeen reads what an earlier run has written. What is missing or cannot be read was not seen.
func loadSeen(path string) (*seen, error) {
	s := &seen{path: path, last: make(map[string]time.Time)}
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read when members were seen: %w", err)
	}
	s.parse(text)
	return s, nil
}

// parse passes over lines that it does not know.
func (s *seen) parse(text []byte) {
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() && len(s.last) < maxSeen {
		id, when, _ := strings.Cut(lines.Text(), " ")
		if at, err := time.Parse(time.RFC3339, when); err == nil {
			s.last[id] = at
		}
	}
}

func (s *seen) text() []byte {
	ids := slices.SortedFunc(maps.Keys(s.last), func(a, b string) int { return s.last[b].Compare(s.last[a]) })
	var b bytes.Buffer
	for _, id := range ids[:min(len(ids), maxSeen)] {
		fmt.Fprintln(&b, id, s.last[id].UTC().Format(time.RFC3339))
	}
	return b.Bytes()
}

// note takes in who is connected now, and writes it down if it is time; at the end in any case, unless nothing is new.
func (s *seen) note(peers []sshconn.PeerState, now time.Time, end bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = nil
	for _, p := range peers {
		if p.Session != nil {
			id := shortID(p.ID).String()
			s.last[id], s.now = now, append(s.now, id)
		}
	}
	slices.Sort(s.now)
	s.news = s.news || len(s.now) > 0
	passed, changed := now.Sub(s.written), !slices.Equal(s.now, s.wrote)
	if due := end || changed && passed >= seenSoonest || passed >= seenLatest; !due || !s.news {
		return nil
	}
	s.written, s.wrote, s.news = now, slices.Clone(s.now), false
	return members.ReplaceFile(s.path, s.text())
}

// at returns when a node that is not connected was last seen; the time that the caller knows where there is none.
func (s *seen) at(id string, known time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last, ok := s.last[id]; ok {
		return last
	}
	return known
}
