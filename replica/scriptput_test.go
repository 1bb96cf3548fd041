package replica

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"resonate/control"
	"resonate/locking"
	"resonate/locking/desk"
)

// withLocks gives n a lock table of its own at each start.
func withLocks(n *node) {
	n.tune = func(r *Replica) {
		d, err := desk.Open(desk.Config{Dir: n.t.TempDir(), Node: locking.NodeID(r.Node()), Host: n.name, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			n.t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- d.Run(ctx) }()
		n.t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				n.t.Error(err)
			}
		})
		r.UseLocks(d)
	}
}

// put puts content at a path of n.
func (n *node) put(q control.FilePut, content string) (v control.FileVersion, created bool, err error) {
	n.t.Helper()
	d, scope := n.replica().locks, onePath(q.Path)
	until(n.t, "there are locks", d.Sure)
	told := make(chan desk.Asked, 8)
	if _, err := d.Ask([]locking.Scope{scope}, 0, func(a desk.Asked) { told <- a }); err != nil {
		n.t.Fatal(err)
	}
	a := <-told
	if a.Grant == nil {
		n.t.Fatalf("no lock of %s: %+v", q.Path, a)
	}
	defer d.EndUse(scope)
	w, err := n.replica().Receive(n.t.Context(), strings.NewReader(content))
	if err != nil {
		n.t.Fatal(err)
	}
	defer w.Discard()
	return n.replica().PutReceived(n.t.Context(), w, q, a.Grant.Token)
}

// A node is killed the moment that a put was answered: what was put is what is agreed after the restart, and no edit of somebody.
func TestPutSurvivesAKill(t *testing.T) {
	a := newNode(t, "a", tree{"f": "old"})
	withLocks(a)
	a.start()
	a.flushed()
	a.committed()
	want := make(map[string]string)
	for _, path := range []string{"f", "new/g"} {
		if _, _, err := a.put(control.FilePut{Path: path}, "content of "+path); err != nil {
			t.Fatalf("put %s: %v", path, err)
		}
		want[path] = a.entry(path).Hash().String()
	}
	a.kill()
	a.start()
	a.flushed()
	for path, hash := range want {
		if e := a.entry(path); e == nil || e.Hash().String() != hash {
			t.Errorf("%s: got %+v, want %s", path, e, hash)
		}
	}
	if got := a.history()["f"]; len(got) != 1 || got[0] != "old" {
		t.Errorf("the history of f has %q", got)
	}
}

// A put asks the peers for all they know, and what they say counts once they are met.
func TestPutAsksThePeers(t *testing.T) {
	a, b := newNode(t, "a", tree{"f": "old"}), startNode(t, "b", nil)
	withLocks(a)
	a.start()
	connect(a, b)
	converged(t, a, b)
	var before, after uint64
	a.inLoop(func(r *Replica) { before = r.barrier })
	if _, _, err := a.put(control.FilePut{Path: "f"}, "new"); err != nil {
		t.Fatal(err)
	}
	if a.inLoop(func(r *Replica) { after = r.barrier }); after == before {
		t.Error("nobody was asked")
	}
	var asked *barrier
	a.inLoop(func(r *Replica) {
		for _, p := range r.peers {
			p.met = false
		}
		asked = r.askAll()
		for p, was := range asked.silent {
			if p.met = true; was {
				t.Error("a peer was asked of which it is not known what it had when its session began")
			}
		}
	})
	heard := 0
	until(t, "the peer has answered", func() (passed bool) {
		a.inLoop(func(*Replica) { passed, heard = asked.passed(), len(asked.heard) })
		return passed
	})
	if heard != 1 {
		t.Errorf("%d count, want the one", heard)
	}
}
