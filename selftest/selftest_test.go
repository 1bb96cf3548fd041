package selftest

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"resonate/control"
	"resonate/control/locktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A fakeDaemon answers what it is told to.
type fakeDaemon struct {
	control.Daemon
	status func() control.Status
	why    control.Why
	tree   control.TreePage
}

func (d *fakeDaemon) Status(context.Context) (control.Status, error) { return d.status(), nil }
func (d *fakeDaemon) Why(context.Context, string) (control.Why, error) {
	return d.why, nil
}
func (d *fakeDaemon) Tree(context.Context, control.TreeQuery) (control.TreePage, error) {
	return d.tree, nil
}

// peers returns the status of a node with a root and peers in the given states.
func peers(root string, list ...control.Peer) control.Status {
	for i := range list {
		list[i].ID, list[i].Name, list[i].State = strings.Repeat(string(rune('a'+i)), 20), "nas", "connected"
	}
	return control.Status{Mode: "both", Roots: control.Roots{State: root}, Peers: list}
}

// newTester opens a tester on a folder of its own.
func newTester(t *testing.T, d *fakeDaemon, l control.Locker) *Tester {
	t.Helper()
	before := d.status
	d.status = func() control.Status { return peers("r", control.Peer{}) }
	s, err := Open(t.Context(), Config{Folder: t.TempDir(), Daemon: d, Locker: l, Owner: "anna", Length: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	d.status = before
	return s
}

// check fails the test unless these flags are set, with words for some and none for none.
func (t *Tester) check(tt *testing.T, want Flags) {
	tt.Helper()
	if t.flags != want || (len(t.findings) == 0) != (want == 0) {
		tt.Errorf("flags: got %v %q, want %v", t.flags, t.findings, want)
	}
}

func TestFlags(t *testing.T) {
	for _, row := range []struct {
		flags Flags
		want  string
	}{
		{0, "0x000000"},
		{TwoHolders, "0x000001"}, {TokenFell, "0x000002"}, {LockLost, "0x000004"}, {Starved, "0x000008"},
		{Hindered, "0x000100"}, {LeftOver, "0x000200"},
		{NotArrived, "0x010000"}, {TreesDiffer, "0x020000"}, {OtherFiles, "0x040000"},
		{TwoHolders | TokenFell | LeftOver | OtherFiles, "0x040203"},
	} {
		got, err := json.Marshal(Report{Flags: row.flags})
		if row.flags.String() != row.want || err != nil || !strings.Contains(string(got), `"error_flags":"`+row.want+`"`) {
			t.Errorf("got %v and %s (%v), want %s", row.flags, got, err, row.want)
		}
	}
}

func TestLatency(t *testing.T) {
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(100-i) * time.Millisecond
	}
	for _, row := range []struct {
		took []time.Duration
		want Latency
	}{
		{nil, Latency{}},
		{[]time.Duration{3 * time.Millisecond}, Latency{1, 3, 3, 3}},
		{[]time.Duration{4 * time.Millisecond, 2 * time.Millisecond}, Latency{2, 2, 4, 4}},
		{[]time.Duration{1500 * time.Microsecond, time.Millisecond, 2 * time.Millisecond}, Latency{3, 1.5, 2, 2}},
		{hundred, Latency{100, 50, 95, 99}},
		{append([]time.Duration{time.Second}, hundred...), Latency{101, 51, 96, 100}},
	} {
		if got := latencyOf(row.took); got != row.want {
			t.Errorf("got %+v, want %+v", got, row.want)
		}
	}
}

func TestPrize(t *testing.T) {
	at := time.Now()
	after := func(ms int) time.Time { return at.Add(time.Duration(ms) * time.Millisecond) }
	had := func(token uint64, asked, got int) taken {
		return taken{control.Lock{Token: control.Token{Generation: 1, Index: token}}, after(asked), after(got)}
	}
	p := &prize{}
	if broken, other := p.enter(1, had(5, 0, 1)); broken != 0 || other != 0 {
		t.Errorf("the first: got %v, %d; want nothing broken", broken, other)
	}
	p.leave(1, after(10))
	if broken, _ := p.enter(2, had(6, 4, 13)); broken != 0 {
		t.Errorf("the next: got %v, want nothing broken", broken)
	}
	if broken, other := p.enter(3, had(7, 4, 14)); broken != TwoHolders || other != 2 {
		t.Errorf("one beside another: got %v, %d; want %v, 2", broken, other, TwoHolders)
	}
	p.leave(2, after(15)) // another is in
	if broken, _ := p.enter(4, had(7, 16, 17)); broken != TwoHolders|TokenFell {
		t.Errorf("one with the same token beside another: got %v, want %v", broken, TwoHolders|TokenFell)
	}
	p.leave(4, after(20))
	if broken, _ := p.enter(5, had(6, 30, 31)); broken != TokenFell {
		t.Errorf("one with a lower token: got %v, want %v", broken, TokenFell)
	}
	if broken, _ := p.enter(6, had(9, 40_000, 40_001)); broken != 0 {
		t.Errorf("one after another whose time was over: got %v, want nothing broken", broken)
	}
	p.leave(6, after(40_010))
	p.enter(7, had(10, 40_020, 40_021))
	if want := []time.Duration{3 * time.Millisecond}; len(p.waits) != 1 || p.waits[0] != want[0] {
		t.Errorf("hand-overs: got %v, want %v: of those who had asked before", p.waits, want)
	}
}

func TestOpenRefusesWhatCannotBeTested(t *testing.T) {
	table := locktest.New("nas")
	lost := locktest.New("nas")
	lost.SetMajority(false)
	receives := peers("r", control.Peer{})
	receives.Mode = "receive"
	for _, row := range []struct {
		name   string
		status control.Status
		locks  control.Locker
		want   error // nil: any
	}{
		{"no peer", peers("r"), table, ErrNoPeer},
		{"one that takes nothing", peers("r", control.Peer{SendsOnly: true}), table, ErrNoPeer},
		{"paused", control.Status{Paused: &control.Paused{}}, table, control.ErrPaused},
		{"no majority", peers("r", control.Peer{}), lost, control.ErrNoMajority},
		{"receives", receives, table, nil},
	} {
		d := &fakeDaemon{status: func() control.Status { return row.status }}
		_, err := Open(t.Context(), Config{Daemon: d, Locker: row.locks})
		if err == nil || row.want != nil && !errors.Is(err, row.want) {
			t.Errorf("%s: got %v, want %v", row.name, err, row.want)
		}
	}
}

func TestTreesAreCompared(t *testing.T) {
	changes := 0
	for _, row := range []struct {
		name   string
		status func() control.Status
		equal  int
		flags  Flags
		most   time.Duration
	}{
		{"equal", func() control.Status {
			return peers("r", control.Peer{InSync: true}, control.Peer{InSync: true}, control.Peer{SendsOnly: true})
		}, 2, 0, 0},
		{"one after the other", func() control.Status {
			changes++
			return peers("r", control.Peer{InSync: changes%2 == 0}, control.Peer{InSync: changes%2 == 1})
		}, 2, 0, time.Second},
		{"different", func() control.Status { return peers("r", control.Peer{InSync: true}, control.Peer{}) }, 1, TreesDiffer, rootsStill + time.Second},
		{"something on its way", func() control.Status {
			return peers("r", control.Peer{InSync: true}, control.Peer{ToSend: control.Work{Files: 1}})
		}, 1, 0, rootsPatience + time.Second},
		{"changing all the time", func() control.Status {
			changes++
			return peers(string(rune(changes)), control.Peer{InSync: true}, control.Peer{})
		}, 1, 0, rootsPatience + time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newTester(t, &fakeDaemon{status: row.status}, locktest.New("nas"))
				begun := time.Now()
				equal, among, err := s.compareRoots(t.Context())
				if err != nil || equal != row.equal || among != 2 {
					t.Errorf("got %d of %d, %v; want %d of 2", equal, among, err, row.equal)
				}
				if took := time.Since(begun); took > row.most {
					t.Errorf("it took %v, want %v at most", took, row.most)
				}
				s.check(t, row.flags)
			})
		})
	}
}

func TestFilesAreCompared(t *testing.T) {
	here := func(size int, has string) control.Why {
		return control.Why{
			Agreed: &control.Agreed{Kind: "file", Size: int64(size)},
			Peers:  []control.PeerHas{{ID: "b", Connected: true, Has: "yes"}, {ID: "c", Connected: true, Has: has}, {ID: "d", Has: "not known"}},
		}
	}
	size := len(content("file0.txt", 1))
	for _, row := range []struct {
		name    string
		why     control.Why
		content string // "": as it was written
		flags   Flags
	}{
		{"everywhere", here(size, "yes"), "", 0},
		{"not at a peer", here(size, "no"), "", NotArrived},
		{"an earlier version", here(size-1, "yes"), "", NotArrived},
		{"not let out", control.Why{Cause: "changed here"}, "", NotArrived},
		{"at no peer", control.Why{Agreed: here(size, "").Agreed}, "", NotArrived},
		{"other content", here(size, "yes"), "of somebody else", OtherFiles},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newTester(t, &fakeDaemon{why: row.why}, locktest.New("nas"))
				if err := os.Mkdir(s.onDisk(""), 0o755); err != nil {
					t.Fatal(err)
				}
				if _, err := s.edit("file0.txt", true); err != nil {
					t.Fatal(err)
				}
				if row.content != "" {
					if err := os.WriteFile(s.onDisk("file0.txt"), []byte(row.content), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				if err := s.compareFile(t.Context(), "file0.txt"); err != nil {
					t.Fatal(err)
				}
				s.check(t, row.flags)
			})
		})
	}
}

func TestNamesAreCompared(t *testing.T) {
	d := &fakeDaemon{}
	s := newTester(t, d, locktest.New("nas"))
	for _, path := range []string{"", "/file0.txt", "/file1.txt", "/file2.txt", "/file3.txt"} {
		d.tree.Entries = append(d.tree.Entries, control.TreeEntry{Path: s.name + path})
	}
	if err := s.compareNames(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.check(t, 0)
	d.tree.Entries = append(d.tree.Entries, control.TreeEntry{Path: s.name + "/file3.conflict-abc.txt"})
	if err := s.compareNames(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.check(t, OtherFiles)
}

// TestLocksAreLetGo leaves a lock behind, whose answer nobody took, and one of somebody else.
func TestLocksAreLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := locktest.New("nas")
		s := newTester(t, &fakeDaemon{}, table)
		theirs := control.LockRequest{Resource: control.Resource{Name: "resonate-selftest-other/x"}, TTL: time.Hour}
		for _, q := range []control.LockRequest{s.request(s.lockName("x")), theirs} {
			if _, err := table.Lock(t.Context(), q); err != nil {
				t.Fatal(err)
			}
		}
		begun := time.Now()
		if err := s.letGo(t.Context()); err != nil || time.Since(begun) >= lockTTL {
			t.Errorf("got %v after %v, want nothing of this run before %v", err, time.Since(begun), lockTTL)
		}
		list, err := table.Locks(t.Context(), control.Resource{})
		if err != nil || len(list) != 1 || list[0].Resource != theirs.Resource {
			t.Errorf("left: %+v, %v; want that of the other alone", list, err)
		}
	})
}

// A brokenLocker fails as it is told to.
type brokenLocker struct {
	*locktest.Table
	lock, unlock error
}

func (l *brokenLocker) Lock(ctx context.Context, q control.LockRequest) (control.Lock, error) {
	if l.lock != nil {
		return control.Lock{}, l.lock
	}
	return l.Table.Lock(ctx, q)
}

func (l *brokenLocker) Unlock(ctx context.Context, id string) error {
	if l.unlock != nil {
		return l.unlock
	}
	return l.Table.Unlock(ctx, id)
}

func TestFailuresOfLocks(t *testing.T) {
	for _, row := range []struct {
		name         string
		lock, unlock error
		held         time.Duration
		flags        Flags
		err          error
	}{
		{"all well", nil, nil, 0, 0, nil},
		{"lost", nil, control.ErrNotHeld, 0, LockLost, nil},
		{"not there", nil, control.ErrNotFound, 0, LockLost, nil},
		{"lost after its time", nil, control.ErrNotHeld, lockTTL, Hindered, nil},
		{"not let go", nil, control.ErrNoMajority, 0, Hindered, nil},
		{"held for ever", &control.HeldError{}, nil, 0, Starved, errSkipped},
		{"not granted", control.ErrNoMajority, nil, 0, Hindered, errSkipped},
		{"no daemon", control.ErrNoDaemon, nil, 0, 0, control.ErrNoDaemon},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newTester(t, &fakeDaemon{}, &brokenLocker{locktest.New("nas"), row.lock, row.unlock})
				l, err := s.lock(t.Context(), s.request(s.lockName("x")))
				if !errors.Is(err, row.err) {
					t.Errorf("got %v, want %v", err, row.err)
				}
				if err == nil {
					time.Sleep(row.held) // in a bubble: no time passes
					s.unlock(t.Context(), l)
				}
				s.check(t, row.flags)
			})
		})
	}
}

// TestContest has a good table, and one that lets two in, for whoever asks.
func TestContest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTester(t, &fakeDaemon{}, locktest.New("nas"))
		c, handOver, err := s.contest(t.Context(), time.Now().Add(200*time.Millisecond))
		if err != nil || c.Workers*10 != c.Names*14 || c.Locks < 200 || handOver.Count < 20 || handOver.Count >= c.Locks {
			t.Errorf("got %+v, %+v, %v; want 14 workers on 10 names, and some of many locks handed over", c, handOver, err)
		}
		s.check(t, 0)
	})
	synctest.Test(t, func(t *testing.T) {
		s := newTester(t, &fakeDaemon{}, sharing{locktest.New("nas")})
		if _, _, err := s.contest(t.Context(), time.Now().Add(200*time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if s.flags&TwoHolders == 0 || s.flags&^(TwoHolders|TokenFell) != 0 {
			t.Errorf("flags: got %v, want %v", s.flags, TwoHolders)
		}
		if len(s.findings) > 2*mostAlike {
			t.Errorf("%d findings are told, want a few", len(s.findings))
		}
	})
}

// sharing gives everybody a share of what should be his alone.
type sharing struct{ *locktest.Table }

func (l sharing) Lock(ctx context.Context, q control.LockRequest) (control.Lock, error) {
	q.Shared = true
	return l.Table.Lock(ctx, q)
}
