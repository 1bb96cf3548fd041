package replica

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"resonate/control"
)

// pause pauses a node for so long, 0 for no end.
func (n *node) pause(length time.Duration) control.Paused {
	n.t.Helper()
	p, err := n.replica().Pause(n.t.Context(), length)
	if err != nil {
		n.t.Fatalf("pause %s: %v", n.name, err)
	}
	return p
}

func (n *node) resume() {
	n.t.Helper()
	if was, err := n.replica().Resume(n.t.Context()); err != nil || !was {
		n.t.Fatalf("resume %s: got %v, %v, want that it was paused", n.name, was, err)
	}
}

// wantPaused waits until a node is paused, or no more.
func (n *node) wantPaused(want bool) {
	n.t.Helper()
	eventually(n.t, "paused or not", func() string {
		if s := n.status(); (s.State == "paused") != want || (s.Paused != nil) != want {
			return fmt.Sprintf("%s is %s, %v", n.name, s.State, s.Paused)
		}
		return ""
	})
}

func TestPauseEndsAllExchange(t *testing.T) {
	t.Parallel()
	a, b := startNode(t, "a", tree{"f": "f"}), startNode(t, "b", nil)
	connect(a, b)
	holds(t, tree{"f": "f"}, a, b)
	waited := make(chan error, 1)
	b.pause(0)
	b.wantPaused(true)
	until(t, "the peer has left", func() bool { return len(a.status().Peers) == 0 })
	go func() { waited <- b.wait("", patience) }()
	a.write("f", "by a")
	a.write("from-a", "a")
	b.write("f", "by b")
	b.write("from-b", "b")
	a.flushed()
	b.flushed()
	if err := <-waited; !errors.Is(err, control.ErrPaused) {
		t.Errorf("wait while paused: got %v, want ErrPaused", err)
	}
	if e := b.entry("from-b"); !e.Live() {
		t.Error("what is done in a paused folder is not agreed there")
	}
	if da, db := a.tree().diff(tree{"f": "by a", "from-a": "a"}), b.tree().diff(tree{"f": "by b", "from-b": "b"}); da+db != "" {
		t.Errorf("while paused: at a %s, at b %s", da, db)
	}
	until(t, "sessions are refused, with the reason", func() bool { return strings.Contains(a.log.String(), ":b is paused") })

	b.resume()
	b.wantPaused(false)
	tr := converged(t, a, b)
	if tr["from-a"] != "a" || tr["from-b"] != "b" || len(tr.copies()) != 1 {
		t.Errorf("after it was resumed: got %q, want both nodes' files, and one conflict copy", tr)
	}
	if was, err := b.replica().Resume(t.Context()); was || err != nil {
		t.Errorf("resume again: got %v, %v, want that it was not paused", was, err)
	}
}

// What is on its way in when a pause begins does not come, and is not acknowledged.
func TestPauseStopsWhatIsOnItsWay(t *testing.T) {
	t.Parallel()
	a, b := startNode(t, "a", nil), startNode(t, "b", nil)
	connect(a, b)
	until(t, "connected", func() bool { return len(a.status().Peers) == 1 })
	fetched, paused := make(chan struct{}), make(chan struct{})
	b.once("fetch.whole", func() {
		close(fetched)
		<-paused
	})
	content := strings.Repeat("long enough to be fetched ", 10_000)
	a.write("f", content)
	<-fetched
	b.pause(0)
	close(paused)
	until(t, "nothing is on its way", func() (idle bool) {
		b.inLoop(func(r *Replica) { idle = len(r.incoming) == 0 })
		return idle
	})
	if tr := b.tree(); len(tr) > 0 {
		t.Errorf("while paused: got %v, want nothing", tr)
	}
	b.resume()
	holds(t, tree{"f": content}, a, b)
}

func TestPauseEndsAtItsTime(t *testing.T) {
	t.Parallel()
	a, b := startNode(t, "a", nil), startNode(t, "b", nil)
	connect(a, b)
	p := b.pause(time.Hour)
	if p.Until == nil || p.Until.Sub(p.Since) != time.Hour {
		t.Errorf("pause for an hour: got %v until %v", p.Since, p.Until)
	}
	again := b.pause(300 * time.Millisecond)
	if !again.Since.Equal(p.Since) || !again.Until.Before(*p.Until) {
		t.Errorf("another end: got %v until %v, want it since %v", again.Since, again.Until, p.Since)
	}
	a.write("f", "f")
	a.flushed()
	b.wantPaused(false)
	holds(t, tree{"f": "f"}, a, b)
	if _, err := b.replica().Pause(t.Context(), -time.Second); !errors.Is(err, control.ErrBadArgument) {
		t.Errorf("pause for less than nothing: got %v, want ErrBadArgument", err)
	}
}

func TestPauseOutlivesTheProcess(t *testing.T) {
	t.Parallel()
	n := startNode(t, "n", tree{"f": "f"})
	before := n.pause(0)
	n.kill()
	n.start()
	n.wantPaused(true)
	if got := n.status().Paused; !got.Since.Equal(before.Since) || got.Until != nil {
		t.Errorf("after a restart: got %+v, want %+v", got, before)
	}
	n.resume()
	if err := n.end(); err != nil {
		t.Fatal(err)
	}
	n.start()
	n.wantPaused(false)

	n.pause(time.Millisecond) // over when the next one starts, or before
	if err := n.end(); err != nil {
		t.Fatal(err)
	}
	n.start()
	n.wantPaused(false)
	if err := n.end(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(n.replica().place.state, pauseFile)
	if err := os.WriteFile(name, []byte("since when\x00?\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n.start() // what cannot be read is somebody's wish all the same
	n.wantPaused(true)
}

func TestPauseIsWrittenAsItIsRead(t *testing.T) {
	at := time.Date(2026, 11, 2, 3, 4, 5, 678, time.UTC)
	for _, p := range []pause{{since: at}, {since: at, until: at.Add(time.Hour)}} {
		if got := parsePause(p.String(), time.Time{}); got != p {
			t.Errorf("got %v, want %v", got, p)
		}
	}
	if got := parsePause("", at); got != (pause{since: at}) {
		t.Errorf("of an empty file: got %v, want a pause since it was written", got)
	}
}

func FuzzParsePause(f *testing.F) {
	f.Add("since 2026-11-02T03:04:05Z\nuntil 2026-11-02T03:04:05.000000001+01:00\n")
	f.Add("until")
	f.Fuzz(func(t *testing.T, text string) {
		p := parsePause(text, time.Unix(1, 0))
		if again := parsePause(p.String(), time.Time{}); !again.since.Equal(p.since) || !again.until.Equal(p.until) {
			t.Errorf("%q: got %v, and %v when it was written again", text, p, again)
		}
	})
}

// TestResumedIsTold: whoever dials hears of the end of a pause, by the user's word or at its time.
func TestResumedIsTold(t *testing.T) {
	t.Parallel()
	n := newNode(t, "n", nil)
	var told atomic.Int32
	n.o.Resumed = func() { told.Add(1) }
	n.start()
	n.pause(0)
	n.resume()
	if got := told.Load(); got != 1 {
		t.Errorf("after resume: told %d times, want once", got)
	}
	n.pause(time.Millisecond)
	until(t, "the pause has ended", func() bool { return told.Load() == 2 })
}
