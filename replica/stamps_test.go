package replica

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"resonate/merkle"
)

func TestStamps(t *testing.T) {
	now := time.UnixMicro(1_000_000)
	var marks []merkle.Stamp
	full := errors.New("disk full")
	var fail error
	s := stamps{clock: func() time.Time { return now }, reserve: func(m merkle.Stamp) error {
		if fail == nil {
			marks = append(marks, m)
		}
		return fail
	}}
	want := func(want merkle.Stamp, reservations int) {
		t.Helper()
		got, err := s.next()
		if err != nil || got != want || len(marks) != reservations {
			t.Fatalf("next: got %d, %v after %d reservations, want %d after %d", got, err, len(marks), want, reservations)
		}
		if s.last > marks[len(marks)-1] {
			t.Fatalf("stamp %d is above what is reserved, %d", s.last, marks[len(marks)-1])
		}
	}
	want(1_000_000, 1)
	want(1_000_001, 1)
	now = now.Add(-time.Hour)
	want(1_000_002, 1)
	now = now.Add(2 * time.Hour)
	want(merkle.Stamp(now.UnixMicro()), 2)
	s.above(s.last + 5)
	want(merkle.Stamp(now.UnixMicro())+6, 2)
	s.above(3)
	want(merkle.Stamp(now.UnixMicro())+7, 2)
	s.above(math.MaxUint64) // as a liar tells
	want(merkle.Stamp(now.UnixMicro())+8, 2)
	fail = full
	now = now.Add(time.Hour)
	if got, err := s.next(); !errors.Is(err, full) {
		t.Fatalf("next without reservation: got %d, %v, want the error", got, err)
	}
	fail = nil
	want(merkle.Stamp(now.UnixMicro()), 3)
}

// stopClock makes a node's wall clock stand still long ago, so that its stamps come from its state alone.
func (n *node) stopClock() {
	n.tune = func(r *Replica) { r.stamps.clock = func() time.Time { return time.Unix(1, 0) } }
}

func TestStampsAfterACrash(t *testing.T) {
	t.Parallel()
	a := newNode(t, "a", nil)
	a.stopClock()
	a.start()
	a.write("f", "1")
	until(t, "published", func() bool { return a.entry("f") != nil })
	var before, reserved merkle.Stamp
	a.inLoop(func(r *Replica) { before, reserved = r.stamps.last, r.stamps.reserved })
	a.kill()
	a.write("f", "2")
	a.start()
	until(t, "published again", func() bool { e := a.entry("f"); return e != nil && e.Version.Stamp > before })
	if got := a.entry("f").Version.Stamp; got <= reserved {
		t.Errorf("stamp after the crash: got %d, want above what was reserved, %d", got, reserved)
	}
}

// copyState copies a node's state directory.
func copyState(t testing.TB, from, to string) {
	t.Helper()
	if err := errors.Join(os.RemoveAll(to), os.CopyFS(to, os.DirFS(from))); err != nil {
		t.Fatal(err)
	}
	keys, _ := filepath.Glob(filepath.Join(to, "resonate", "*", "key"))
	for _, k := range keys {
		if err := os.Chmod(k, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStampsAfterStateWasRestored(t *testing.T) {
	for _, row := range []struct {
		name      string
		connected bool // before the next edit
	}{{"a peer tells first", true}, {"edited before a peer tells", false}} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a, b := newNode(t, "a", tree{"f": "1"}), startNode(t, "b", nil)
			a.stopClock()
			a.start()
			w := connect(a, b)
			holds(t, tree{"f": "1"}, a, b)
			w.cut()
			backup := filepath.Join(t.TempDir(), "backup")
			if err := a.end(); err != nil {
				t.Fatal(err)
			}
			copyState(t, a.o.StateHome, backup)
			a.start()
			w.restore()
			for _, c := range []string{"2", "3"} {
				a.write("f", c)
				holds(t, tree{"f": c}, a, b)
			}
			w.cut()
			seen := b.entry("f").Version.Stamp
			if err := a.end(); err != nil {
				t.Fatal(err)
			}
			copyState(t, backup, a.o.StateHome)
			a.start()
			if row.connected {
				w.restore()
				until(t, "connected", func() bool { return len(b.status().Peers) == 1 })
				tr := converged(t, a, b)
				if tr["f"] != "3" {
					t.Errorf("after the restored state met the peer: got %v, want 3", tr)
				}
				a.write("f", "4")
				eventually(t, "the edit is at b", func() string { return b.tree().diff(a.tree()) })
				if e := b.entry("f"); e.Version.Stamp <= seen {
					t.Errorf("stamp of the edit: got %d, want above %d, which b has seen", e.Version.Stamp, seen)
				}
				if got := converged(t, a, b)["f"]; got != "4" {
					t.Errorf("f: got %q, want 4", got)
				}
				return
			}
			a.write("f", "other")
			a.flushed()
			w.restore()
			eventually(t, "both are equal", func() string { return b.tree().diff(a.tree()) })
			converged(t, a, b)
			for _, c := range []string{"other", "3"} { // one of them may look as if it had seen the other
				if !a.keeps(c) && !b.keeps(c) {
					t.Errorf("%q is lost: %v, histories %v and %v", c, a.tree(), a.history(), b.history())
				}
			}
		})
	}
}

func TestStampsThatWereGiven(t *testing.T) {
	now := time.UnixMicro(1_000_000)
	s := stamps{last: 900, floor: 1000, clock: func() time.Time { return now }, reserve: func(merkle.Stamp) error { return nil }}
	s.clock = func() time.Time { return time.UnixMicro(0) } // it was set back: they are given below the floor
	low, _ := s.next()
	s.clock = func() time.Time { return now }
	high, _ := s.next()
	want := func(stamp merkle.Stamp, wantYes, wantPerhaps bool) {
		t.Helper()
		if yes, perhaps := s.gave(stamp); yes != wantYes || (!yes && perhaps != wantPerhaps) {
			t.Errorf("stamp %d: got %v, %v, want %v, %v", stamp, yes, perhaps, wantYes, wantPerhaps)
		}
	}
	want(low, true, false)
	want(low-1, false, true)
	want(high, true, false)
	want(high+1, false, false)
	want(high-1, false, false)
	for range 2 * maxGiven {
		if _, err := s.next(); err != nil {
			t.Fatal(err)
		}
	}
	want(s.last, true, false)
	want(s.last+1, false, false)
	want(high, false, true) // too long ago to be sure
	if len(s.given) > 2*maxGiven {
		t.Errorf("%d stamps are remembered, want at most %d", len(s.given), 2*maxGiven)
	}
}
