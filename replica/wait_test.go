package replica

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"resonate/control"
)

func (n *node) wait(path string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(n.t.Context(), timeout)
	defer cancel()
	return n.replica().Wait(ctx, path)
}

func TestWaitReturnsWhenPeersHaveIt(t *testing.T) {
	t.Parallel()
	a, b := startNode(t, "a", nil), startNode(t, "b", nil)
	connect(a, b)
	until(t, "connected", func() bool { return len(a.status().Peers) == 1 })
	for i, row := range []struct{ write, wait string }{{"f", ""}, {"f", "f"}, {"d/e/g", "d"}, {"long", "long"}} {
		content := strings.Repeat(row.write, 1<<(4*i))
		a.write(row.write, content)
		if err := a.wait(row.wait, patience); err != nil {
			t.Fatalf("wait %q: %v", row.wait, err)
		}
		if got := b.tree()[row.write]; got != content {
			t.Errorf("after wait %q: b has %d bytes in %s, want %d", row.wait, len(got), row.write, len(content))
		}
	}
	a.remove("d")
	if err := a.wait("d", patience); err != nil {
		t.Fatalf("wait for a deletion: %v", err)
	}
	if _, there := b.tree()["d/e/g"]; there {
		t.Error("after wait for its deletion, b still has d/e/g")
	}
}

func TestWaitAlone(t *testing.T) {
	t.Parallel()
	n := newNode(t, "n", tree{"f": "f"})
	n.start()
	if err := n.wait("", patience); err != nil { // at once after the start, too
		t.Errorf("wait of a lone node: %v", err)
	}
	if err := n.end(); err != nil {
		t.Fatal(err)
	}
	if err := n.wait("", patience); !errors.Is(err, ErrStopped) {
		t.Errorf("wait of an ended node: got %v, want ErrStopped", err)
	}
}

func TestWaitTimesOut(t *testing.T) {
	t.Parallel()
	base := files(150, "content")
	a, b := startNode(t, "a", base), startNode(t, "b", nil)
	w := connect(a, b)
	holds(t, base, a, b)
	if err := a.wait("", patience); err != nil {
		t.Fatal(err)
	}
	w.cut()
	until(t, "a has noticed", func() bool { return len(a.status().Peers) == 0 })
	err := a.wait("", time.Second)
	if !errors.Is(err, control.ErrTimeout) || !strings.Contains(err.Error(), "no peer is connected") {
		t.Errorf("wait while the peer is cut: got %v, want ErrTimeout and the cause", err)
	}
	w.restore()
	if err := a.wait("", patience); err != nil {
		t.Errorf("wait after the peer is back: %v", err)
	}
	a.atOnce(func() {
		for i := range 5 {
			a.remove("d" + string(rune('0'+i)))
		}
	})
	a.wantHeld("deleted", 150)
	for _, p := range []string{"", "d1", "d1/f001"} {
		err = a.wait(p, 500*time.Millisecond)
		if !errors.Is(err, control.ErrTimeout) || !strings.Contains(err.Error(), "resonate held approve") {
			t.Errorf("wait %q with held changes: got %v, want ErrTimeout and the remedy", p, err)
		}
	}
	a.write("other", "o")
	if err := a.wait("other", patience); err != nil {
		t.Errorf("wait for another path while changes are held: %v", err)
	}
	if got := b.tree()["other"]; got != "o" {
		t.Errorf("other at b: got %q, want o", got)
	}
}
