package quorum

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// quick is a pace at which tests do not take long.
var quick = pace{
	raft: 200 * time.Millisecond, beat: 60 * time.Millisecond, idle: 400 * time.Millisecond, calm: 200 * time.Millisecond,
	short: 2 * time.Second, long: 5 * time.Second, commit: 50 * time.Millisecond, retry: 20 * time.Millisecond,
}

// patience is how long a test waits for what must come.
const patience = time.Minute

// ledger is a machine: the list of what was applied.
type ledger struct {
	mu         sync.Mutex
	lines      []string // of each command, the generation and the beginning
	said       []string
	index      uint64
	generation uint64
}

func (l *ledger) Apply(index uint64, command []byte) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	if index <= l.index {
		panic(fmt.Sprintf("index %d after %d", index, l.index))
	}
	l.index = index
	if len(command) <= 20 && slices.Contains(l.said, string(command)) { // proposed again, as the result was unknown
		return []byte("again")
	}
	l.said = append(l.said, string(command[:min(len(command), 21)]))
	l.lines = append(l.lines, fmt.Sprintf("%d:%s", l.generation, clip(string(command), 20)))
	return fmt.Appendf(nil, "line %d", len(l.lines))
}

func (l *ledger) Raise(generation uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.generation = generation
}

func (l *ledger) Snapshot() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := binary.BigEndian.AppendUint64(nil, l.index)
	for _, line := range l.lines {
		b = append(append(b, line...), '\n')
	}
	return b
}

func (l *ledger) Restore(b []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines, l.said, l.index, l.generation = nil, nil, 0, 0
	if b == nil {
		return nil
	}
	if len(b) < 8 {
		return errors.New("short")
	}
	l.index = binary.BigEndian.Uint64(b)
	for line := range bytes.Lines(b[8:]) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		l.lines = append(l.lines, string(line))
		_, command, _ := strings.Cut(string(line), ":")
		l.said = append(l.said, command)
	}
	return nil
}

func (l *ledger) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines)
}

// A testNode is one node of a testNet.
type testNode struct {
	net     *testNet
	id      NodeID
	dir     string
	machine *ledger
	fault   func(string) error
	*Quorum // nil while it is down
}

// A testNet joins nodes by pipes.
type testNet struct {
	t    testing.TB
	pace pace
	log  *slog.Logger

	mu    sync.Mutex
	nodes map[NodeID]*testNode
	cut   map[[2]NodeID]bool // who cannot reach whom, in either order
	mute  map[[2]NodeID]bool // the same, but nobody is told: what is sent does not come
	pipes map[*pipe]struct{}
	most  int               // streams between two nodes, in either direction; 0: any number
	held  chan struct{}     // nothing is sent before it is closed; nil: all is
	sent  map[[2]NodeID]int // messages, in either direction
	bytes int
}

// pipe is one end of a stream, which knows whose it is.
type pipe struct {
	net.Conn
	net  *testNet
	ends [2]NodeID
}

func (p *pipe) Write(b []byte) (int, error) {
	p.net.mu.Lock()
	mute := p.net.mute[p.ends]
	p.net.sent[p.ends]++
	p.net.bytes += len(b)
	held := p.net.held
	p.net.mu.Unlock()
	if held != nil {
		<-held
	}
	if mute {
		return len(b), nil
	}
	return p.Conn.Write(b)
}

func (p *pipe) Close() error {
	p.net.mu.Lock()
	delete(p.net.pipes, p)
	p.net.mu.Unlock()
	return p.Conn.Close()
}

func newNet(t testing.TB, names ...NodeID) *testNet {
	n := &testNet{
		t: t, pace: quick, nodes: make(map[NodeID]*testNode), cut: make(map[[2]NodeID]bool), mute: make(map[[2]NodeID]bool),
		pipes: make(map[*pipe]struct{}), sent: make(map[[2]NodeID]int), log: slog.New(slog.DiscardHandler),
	}
	if os.Getenv("QUORUM_LOG") != "" {
		n.log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	dir := t.TempDir()
	for _, name := range names {
		n.nodes[name] = &testNode{net: n, id: name, dir: filepath.Join(dir, string(name)), machine: new(ledger)}
		n.open(name)
	}
	t.Cleanup(func() {
		for _, name := range names {
			n.kill(name)
		}
	})
	return n
}

func key(a, b NodeID) [2]NodeID { return [2]NodeID{min(a, b), max(a, b)} }

// open starts a node.
func (n *testNet) open(name NodeID) *testNode {
	n.t.Helper()
	node := n.nodes[name]
	q, err := open(Config{Dir: node.dir, Node: name, Machine: node.machine, Dial: n.dialler(name), Log: n.log.With("node", name)}, n.pace, func(op string) error {
		n.mu.Lock()
		f := node.fault
		n.mu.Unlock()
		if f == nil {
			return nil
		}
		return f(op)
	})
	if err != nil {
		n.t.Fatal(err)
	}
	n.mu.Lock()
	node.Quorum = q
	n.mu.Unlock()
	return node
}

func (n *testNet) setFault(name NodeID, f func(string) error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.nodes[name].fault = f
}

// kill stops a node: its streams are cut first, as when its process dies.
func (n *testNet) kill(name NodeID) {
	n.mu.Lock()
	node := n.nodes[name]
	q := node.Quorum
	node.Quorum = nil
	n.mu.Unlock()
	n.hangUp(func(ends [2]NodeID) bool { return slices.Contains(ends[:], name) })
	if q == nil {
		return
	}
	if err := q.Close(); err != nil {
		n.t.Errorf("close %s: %v", name, err)
	}
}

func (n *testNet) hangUp(which func([2]NodeID) bool) {
	n.mu.Lock()
	var out []*pipe
	for p := range n.pipes {
		if which(p.ends) {
			out = append(out, p)
		}
	}
	n.mu.Unlock()
	for _, p := range out {
		p.Close()
	}
}

// part cuts the links between nodes of different groups, and mends those within one.
func (n *testNet) part(groups ...[]NodeID) {
	n.mu.Lock()
	group := make(map[NodeID]int)
	for g, names := range groups {
		for _, name := range names {
			group[name] = g + 1
		}
	}
	for a := range n.nodes {
		for b := range n.nodes {
			n.cut[key(a, b)] = group[a] != group[b]
		}
	}
	cut := make(map[[2]NodeID]bool)
	for k, v := range n.cut {
		cut[k] = v
	}
	n.mu.Unlock()
	n.hangUp(func(ends [2]NodeID) bool { return cut[ends] })
}

func (n *testNet) dialler(from NodeID) func(context.Context, NodeID) (io.ReadWriteCloser, error) {
	return func(_ context.Context, to NodeID) (io.ReadWriteCloser, error) {
		ends := key(from, to)
		n.mu.Lock()
		there := n.nodes[to]
		if there == nil || there.Quorum == nil || n.nodes[from].Quorum == nil && from != to || n.cut[ends] {
			n.mu.Unlock()
			return nil, fmt.Errorf("%s cannot be reached", to)
		}
		open := 0
		for p := range n.pipes {
			if p.ends == ends {
				open++
			}
		}
		if n.most != 0 && open >= 2*n.most { // each has two ends
			n.mu.Unlock()
			return nil, fmt.Errorf("%s serves no more streams", to)
		}
		q := there.Quorum
		a, b := net.Pipe()
		near, far := &pipe{a, n, ends}, &pipe{b, n, ends}
		n.pipes[near], n.pipes[far] = struct{}{}, struct{}{}
		n.mu.Unlock()
		if err := q.Accept(from, far); err != nil {
			near.Close()
			far.Close()
			return nil, fmt.Errorf("%s refuses: %w", to, err)
		}
		return near, nil
	}
}

// wait waits until ok, which tells what is missing.
func wait(t testing.TB, ok func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		<-tick.C
	}
}

// talk waits until so many more messages have gone between two nodes.
func (n *testNet) talk(a, b NodeID, more int) {
	n.t.Helper()
	begin := -1
	wait(n.t, func() error {
		n.mu.Lock()
		defer n.mu.Unlock()
		got := n.sent[key(a, b)]
		if begin < 0 {
			begin = got
		}
		if got-begin < more {
			return fmt.Errorf("%d messages between %s and %s, want %d", got-begin, a, b, more)
		}
		return nil
	})
}

// pause lets d pass, in which things may happen.
func pause(d time.Duration) { <-time.After(d) }

// leader waits until one of the nodes leads.
func (n *testNet) leader(names ...NodeID) *testNode {
	n.t.Helper()
	var found *testNode
	wait(n.t, func() error {
		for _, name := range names {
			n.mu.Lock()
			node := n.nodes[name]
			up := node.Quorum != nil
			n.mu.Unlock()
			if up && node.Status().Leading {
				found = node
				return nil
			}
		}
		return fmt.Errorf("none of %v leads", names)
	})
	return found
}

// cluster founds a table at the first of the nodes, and makes all of them voters.
func (n *testNet) cluster(names ...NodeID) *testNode {
	n.t.Helper()
	first := n.nodes[names[0]]
	if err := first.Found(); err != nil {
		n.t.Fatal(err)
	}
	n.leader(names[0])
	for _, name := range names[1:] {
		s := first.Status()
		if err := n.nodes[name].Follow(s.Table, s.Generation); err != nil {
			n.t.Fatal(err)
		}
	}
	n.vote(first, names...)
	return first
}

// vote makes nodes the voters, at the leader, or at who leads instead if a busy machine has made that another.
func (n *testNet) vote(leader *testNode, names ...NodeID) {
	n.t.Helper()
	n.atLeader(leader, func(q *Quorum) error {
		ctx, cancel := context.WithTimeout(context.Background(), patience/4)
		defer cancel()
		return q.SetVoters(ctx, names)
	})
}

// propose has a node take in a command, or who leads instead.
func propose(t testing.TB, node *testNode, command string) (index uint64, reply string) {
	t.Helper()
	node.net.atLeader(node, func(q *Quorum) error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		i, r, err := q.Propose(ctx, []byte(command))
		index, reply = i, string(r)
		return err
	})
	return index, reply
}

// atLeader does something at a node or, while it cannot be done there, at the nodes that lead the same table.
func (n *testNet) atLeader(node *testNode, do func(*Quorum) error) {
	n.t.Helper()
	first, table := node.Quorum, node.Status().Table
	wait(n.t, func() error {
		if first != nil {
			q := first
			first = nil
			if err := do(q); err == nil {
				return nil
			}
		}
		n.mu.Lock()
		var all []*Quorum
		for _, other := range n.nodes {
			if other.Quorum != nil {
				all = append(all, other.Quorum)
			}
		}
		n.mu.Unlock()
		err := errors.New("nobody leads")
		for _, q := range all {
			if s := q.Status(); s.Leading && s.Table == table {
				if err = do(q); err == nil {
					return nil
				}
			}
		}
		return err
	})
}

// agree waits until all nodes have applied the same, and want commands at that.
func (n *testNet) agree(want []string, names ...NodeID) {
	n.t.Helper()
	wait(n.t, func() error {
		for _, name := range names {
			if got := n.nodes[name].machine.all(); !slices.Equal(got, want) {
				return fmt.Errorf("%s has applied %q, want %q", name, got, want)
			}
		}
		return nil
	})
}
