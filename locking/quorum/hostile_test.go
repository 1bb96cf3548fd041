package quorum

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// visit opens a stream to a node as peer, and greets it.
func visit(t *testing.T, to *testNode, peer NodeID, g greeting) (net.Conn, *bufio.Reader, greeting) {
	t.Helper()
	near, far := net.Pipe()
	t.Cleanup(func() { near.Close() })
	if err := to.Accept(peer, far); err != nil {
		t.Fatal(err)
	}
	if err := writeFrame(near, g.encode()); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(near)
	b, err := readFrame(r, maxGreeting)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeGreeting(b)
	if err != nil {
		t.Fatal(err)
	}
	return near, r, got
}

// ask sends a request on a stream, and returns the answer.
func ask(t *testing.T, c net.Conn, r *bufio.Reader, q *request) (answer, error) {
	t.Helper()
	if err := writeFrame(c, q.encode()); err != nil {
		return answer{}, err
	}
	b, err := readFrame(r, maxAnswer)
	if err != nil {
		return answer{}, err
	}
	return decodeAnswer(b)
}

func TestStreamsOfAnotherTableAreRefused(t *testing.T) {
	t.Parallel()
	n := newNet(t, "a")
	a := n.cluster("a")
	_, _, got := visit(t, a, "x", greeting{table: tableOf(9), log: LogID{1}})
	if !strings.Contains(got.refusal, "its table is") || got.removed {
		t.Errorf("got %+v, want that the table is another", got)
	}
	_, _, got = visit(t, a, "x", greeting{table: a.Status().Table, log: LogID{1}})
	if !got.removed {
		t.Errorf("who is no voter: got %+v, want that it is none", got)
	}
}

// What a member sends that is wrong ends its stream, and nothing else.
func TestWhatIsWrongEndsTheStream(t *testing.T) {
	t.Parallel()
	n := newNet(t, "a", "b", "c")
	a := n.cluster("a", "b", "c")
	propose(t, a, "one")
	b := n.nodes["b"]
	g := greeting{table: b.Status().Table, log: LogID{1}}
	for name, message := range map[string][]byte{
		"garbage": []byte("garbage"),
		"a configuration of garbage": (&request{kind: kindAppend, term: 1 << 40, index: 1, logTerm: 1, entries: []*raft.Log{
			{Index: 2, Term: 1 << 40, Type: raft.LogConfiguration, Data: []byte("garbage")}}}).encode(),
		"a snapshot of garbage": (&request{kind: kindSnapshot, term: 1 << 40, config: []byte("garbage"), size: 10}).encode(),
	} {
		c, r, _ := visit(t, b, "x", g)
		if err := writeFrame(c, message); err != nil {
			t.Fatal(err)
		}
		answered, err := readFrame(r, maxAnswer)
		if err == nil {
			if got, _ := decodeAnswer(answered); got.reason == "" {
				t.Errorf("%s: got %+v, want a refusal", name, got)
			}
			_, err = readFrame(r, maxAnswer)
		}
		if err != io.EOF {
			t.Errorf("%s: the stream ends with %v, want io.EOF", name, err)
		}
	}
	c, r, _ := visit(t, b, "x", g)
	if got, err := ask(t, c, r, &request{kind: kindNow}); err != nil || got.reason == "" {
		t.Errorf("a stranger that wants an election: got %+v, %v, want a refusal", got, err)
	}
	if got, err := ask(t, c, r, &request{kind: kindVote, term: 1 << 40, index: 1 << 40, logTerm: 1 << 40}); err != nil || got.granted {
		t.Errorf("a stranger that wants votes: got %+v, %v, want none", got, err)
	}
	propose(t, n.leader("a", "b", "c"), "two")
	n.agree([]string{"1:one", "1:two"}, "a", "b", "c")
}

func TestStreamsOfOnePeerAreBounded(t *testing.T) {
	t.Parallel()
	n := newNet(t, "a")
	a := n.cluster("a")
	var open []net.Conn
	for range maxCallers {
		near, far := net.Pipe()
		open = append(open, near)
		if err := a.Accept("x", far); err != nil {
			t.Fatal(err)
		}
	}
	near, far := net.Pipe()
	defer near.Close()
	if err := a.Accept("x", far); err == nil || !strings.Contains(err.Error(), "open already") {
		t.Errorf("one too many: got %v", err)
	}
	if err := a.Accept("y", far); err != nil {
		t.Errorf("of another peer: got %v", err)
	}
	open[0].Close()
	wait(t, func() error {
		near, far := net.Pipe()
		open = append(open, near)
		return a.Accept("x", far)
	})
	for _, c := range open {
		c.Close()
	}
}

func TestWithoutALogStreamsAreRefused(t *testing.T) {
	t.Parallel()
	n := newNet(t, "a")
	_, far := net.Pipe()
	if err := n.nodes["a"].Accept("x", far); !errors.Is(err, ErrNoTable) {
		t.Errorf("got %v, want ErrNoTable", err)
	}
}

// A peer that takes a stream and says nothing holds up neither what is asked nor the end.
func TestASilentPeerHoldsUpNothing(t *testing.T) {
	t.Parallel()
	n := newNet(t, "a", "b", "c")
	n.pace.raft = 2 * time.Second // for a busy machine
	n.setIdle(2 * time.Second)
	a := n.cluster("a", "b", "c")
	n.mu.Lock()
	n.mute[key("a", "c")] = true
	n.mu.Unlock()
	for i := range 5 {
		propose(t, a, fmt.Sprint(i)) // with b
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := a.Verify(ctx); err != nil {
		t.Error(err)
	}
	began := time.Now()
	n.kill("a")
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the end took %v", took)
	}
}

// Commands as long as they may be, many at once, are parted into messages that are taken.
func TestLongCommandsAreReplicated(t *testing.T) {
	t.Parallel()
	n := newNet(t, "a", "b", "c")
	n.pace.raft = time.Second // a race detector makes long messages slow
	n.setIdle(2 * time.Second)
	a := n.cluster("a", "b", "c")
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { propose(t, a, string(make([]byte, MaxCommand))) })
	}
	wg.Wait()
	if _, _, err := a.Propose(context.Background(), make([]byte, MaxCommand+1)); err == nil || !strings.Contains(err.Error(), "split it") {
		t.Errorf("a command that is too long: got %v", err)
	}
	n.agree(a.machine.all(), "a", "b", "c")
}

// An idle table says next to nothing.
func TestAnIdleTableIsQuiet(t *testing.T) {
	t.Parallel()
	n := newNet(t, "a", "b", "c")
	n.pace.raft = 2 * time.Second // for a busy machine
	n.setIdle(2 * time.Second)
	a := n.cluster("a", "b", "c")
	propose(t, a, "one")
	n.agree([]string{"1:one"}, "a", "b", "c")
	wait(t, func() error {
		if a.current.Load().transport.interval() != n.pace.idle {
			return errors.New("still in use")
		}
		return nil
	})
	used := a.current.Load().transport.active.Load()
	n.talk("a", "b", 2) // the first heartbeat that promises a long silence
	n.mu.Lock()
	before, term, begun := n.sent[key("a", "b")], a.Status().Term, time.Now()
	n.mu.Unlock()
	n.talk("a", "b", 2)
	n.mu.Lock()
	got, took := n.sent[key("a", "b")]-before, time.Since(begun)
	n.mu.Unlock()
	if most := 4 + 2*int(took/n.pace.idle); got > most { // this goroutine may have come late
		t.Errorf("%d messages in %v, want at most %d: a heartbeat and its answer in each idle interval", got, took, most)
	}
	if s := a.Status(); !s.Leading || s.Term != term {
		t.Errorf("the leader was not believed to live: %+v", s)
	}
	if a.current.Load().transport.active.Load() != used {
		t.Error("somebody did not believe the leader to live, and asked for votes")
	}
}
