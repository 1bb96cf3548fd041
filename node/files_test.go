package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"resonate/beneath"
	"resonate/control"
)

// put puts content at a path through m.
func (m *machine) put(q control.FilePut, content string) (control.FileVersion, bool, error) {
	if q.Wait == 0 {
		q.Wait = 20 * time.Second
	}
	return m.Files().Put(m.t.Context(), q, strings.NewReader(content))
}

// get returns what m says is agreed at a path.
func (m *machine) get(path string) (content string, v control.FileVersion, err error) {
	f, err := m.Files().Open(m.t.Context(), path)
	if err != nil {
		return "", v, err
	}
	defer f.Content.Close()
	b, err := io.ReadAll(f.Content)
	return string(b), f.FileVersion, err
}

// trio starts three machines that all keep the locks.
func trio(t *testing.T, tune ...func(*machine)) []*machine {
	t.Helper()
	a := newMachine(t, "a", nil, tune...)
	dials := func(others ...*machine) []func(*machine) {
		return append(slices.Clone(tune), func(m *machine) {
			for _, o := range others {
				m.peers = append(m.peers, o.address())
			}
		})
	}
	b := newMachine(t, "b", nil, dials(a)...)
	b.joins(a)
	c := newMachine(t, "c", nil, dials(a, b)...)
	c.joins(a)
	ms := []*machine{a, b, c}
	allKnow(t, "a b c", ms...)
	equal(t, ms...)
	eventually(t, "all keep the locks", func() string {
		for _, m := range ms {
			if reached, all := m.desk.Voters(); len(reached) != 3 || all != 3 || !m.desk.Sure() {
				return fmt.Sprintf("%s knows %d of %d", m.name, len(reached), all)
			}
		}
		return ""
	})
	return ms
}

// TestOneCreates has twenty puts of one new path race through three machines: one succeeds, the others are told which.
func TestOneCreates(t *testing.T) {
	t.Parallel()
	ms := trio(t)
	for round := range 5 {
		path := fmt.Sprintf("new %d/f", round)
		const racers = 20
		versions, errs := make([]control.FileVersion, racers), make([]error, racers)
		var wg sync.WaitGroup
		for i := range racers {
			wg.Go(func() {
				var created bool
				versions[i], created, errs[i] = ms[i%3].put(control.FilePut{Path: path, Absent: true}, fmt.Sprintf("content of %d", i))
				if errs[i] == nil && !created {
					t.Errorf("%d succeeded over something", i)
				}
			})
		}
		wg.Wait()
		won := slices.Index(errs, nil)
		if won < 0 {
			t.Fatalf("none succeeded: %v", errs)
		}
		for i, err := range errs {
			var changed *control.ChangedError
			switch {
			case i == won:
			case !errors.As(err, &changed):
				t.Errorf("%d: got %v, want that it lost against %d", i, err, won)
			case changed.Current == nil || changed.Current.Hash != versions[won].Hash || changed.Current.Node != ms[won%3].Replica().Node().String() || changed.Current.Name == "":
				t.Errorf("%d lost against %+v, want %+v", i, changed.Current, versions[won])
			}
		}
		for _, m := range ms {
			m.comes(path, fmt.Sprintf("content of %d", won))
		}
	}
	equal(t, ms...)
	for _, m := range ms {
		if names := m.names(); len(names) != 5 {
			t.Errorf("%s has %q", m.name, names)
		}
	}
}

// TestCountingByCompareAndSwap has six count in one file, through three machines: no count is lost.
func TestCountingByCompareAndSwap(t *testing.T) {
	t.Parallel()
	ms := trio(t)
	if _, created, err := ms[0].put(control.FilePut{Path: "n", Absent: true}, "0"); err != nil || !created {
		t.Fatalf("create: %v, %v", created, err)
	}
	const each = 5
	var lost atomic.Int32
	var wg sync.WaitGroup
	for i := range 6 {
		m := ms[i%3]
		wg.Go(func() {
			for done := 0; done < each && !t.Failed(); {
				text, v, err := m.get("n")
				n, bad := strconv.Atoi(text)
				if err != nil || bad != nil {
					t.Errorf("get through %s: %q, %v", m.name, text, err)
					return
				}
				_, _, err = m.put(control.FilePut{Path: "n", Match: []string{v.Hash}}, strconv.Itoa(n+1))
				var changed *control.ChangedError
				switch {
				case err == nil:
					done++
				case errors.As(err, &changed):
					lost.Add(1)
				default:
					t.Errorf("put through %s: %v", m.name, err)
					return
				}
			}
		})
	}
	wg.Wait()
	for _, m := range ms {
		m.comes("n", strconv.Itoa(6*each))
	}
	equal(t, ms...)
	t.Logf("%d were too late, and tried again", lost.Load())
}

// TestPutOfANodeThatDies has a put fail that the others do not have yet. Then a machine ends between having the lock and putting its content
// in place: the next one's turn comes when its session is over. Then another goes, and the last one has no majority: it writes nothing.
func TestPutOfANodeThatDies(t *testing.T) {
	t.Parallel()
	died := make(chan struct{})
	var stuck, dies atomic.Bool
	ms := trio(t, func(m *machine) {
		m.session = 3 * time.Second
		m.fault = func(l beneath.Label) error {
			switch {
			case l != "apply.new":
			case m.name != "c" && stuck.Load():
				return errors.New("it is stuck")
			case m.name == "c" && dies.CompareAndSwap(true, false):
				go func() { m.end(); close(died) }()
				return errors.New("it dies")
			}
			return nil
		}
	})
	a, b, c := ms[0], ms[1], ms[2]
	stuck.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if v, _, err := c.Files().Put(ctx, control.FilePut{Path: "alone", Absent: true, Wait: time.Minute}, strings.NewReader("c's")); !errors.Is(err, control.ErrTimeout) {
		t.Errorf("a put that nobody else has: got %+v, %v", v, err)
	}
	stuck.Store(false)
	a.comes("alone", "c's")
	b.comes("alone", "c's")

	if _, err := c.Replica().Pause(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if _, created, err := b.put(control.FilePut{Path: "meanwhile", Absent: true}, "b's"); err != nil || !created {
		t.Fatalf("while one is paused: %v, %v", created, err)
	}
	if v, _, err := c.put(control.FilePut{Path: "meanwhile", Absent: true, Wait: time.Second}, "c's"); err == nil {
		t.Errorf("on the one that is paused: got %+v", v)
	}
	if _, err := c.Replica().Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	var changed *control.ChangedError
	eventually(t, "when it was resumed", func() string { // its session may have to come back first
		if v, _, err := c.put(control.FilePut{Path: "meanwhile", Absent: true}, "c's"); !errors.As(err, &changed) {
			return fmt.Sprintf("got %+v, %v", v, err)
		}
		return ""
	})

	dies.Store(true)
	if v, _, err := c.put(control.FilePut{Path: "f", Absent: true}, "c's"); err == nil {
		t.Fatalf("the put of the one that died: got %+v", v)
	}
	begun := time.Now()
	if _, created, err := b.put(control.FilePut{Path: "f", Absent: true}, "b's"); err != nil || !created {
		t.Fatalf("the next one: %v, %v", created, err)
	}
	if took := time.Since(begun); took > 15*time.Second {
		t.Errorf("the next one waited for %v", took)
	}
	<-died
	a.comes("f", "b's")
	if _, _, err := a.put(control.FilePut{Path: "f", Absent: true}, "a's"); !errors.As(err, &changed) {
		t.Errorf("once more: got %v", err)
	}
	b.end()
	if v, _, err := a.put(control.FilePut{Path: "g", Absent: true, Wait: time.Second}, "a's"); !errors.Is(err, control.ErrNoMajority) {
		t.Errorf("without a majority: got %+v, %v", v, err)
	}
	if got := a.names(); !slices.Equal(got, []string{"alone", "f", "meanwhile"}) {
		t.Errorf("there are %q", got)
	}
}

// TestPutMeetsTheUser has scripts put over what a user has written a moment before: only who wants that succeeds, and it is in the history.
func TestPutMeetsTheUser(t *testing.T) {
	t.Parallel()
	a := newMachine(t, "a", map[string]string{"f": "old", "mode": "old"})
	if err := os.Chmod(filepath.Join(a.dir, "mode"), 0o640); err != nil {
		t.Fatal(err)
	}
	a.comesToBe("f", "old")
	_, old, err := a.get("f")
	if err != nil {
		t.Fatal(err)
	}
	a.write("f", "the user's")
	var changed *control.ChangedError
	if _, _, err := a.put(control.FilePut{Path: "f", Match: []string{old.Hash}}, "a script's"); !errors.As(err, &changed) || changed.Current.Hash == old.Hash {
		t.Errorf("over what the user has written: got %v, %+v", err, changed)
	}
	if got := a.read("f"); got != "the user's" {
		t.Errorf("f has %q", got)
	}
	v, created, err := a.put(control.FilePut{Path: "f", Match: []string{"other", changed.Current.Hash}}, "a script's")
	if err != nil || created || a.read("f") != "a script's" || v.Node != a.Replica().Node().String() || v.Token == nil {
		t.Errorf("over just that: got %+v, %v, %v, and %q", v, created, err, a.read("f"))
	}
	kept, err := a.Replica().History(t.Context(), "f")
	if err != nil || len(kept) != 1 {
		t.Fatalf("the history has %+v, %v", kept, err)
	}
	if b, err := os.ReadFile(filepath.Join(a.dir, kept[0].File)); err != nil || string(b) != "the user's" {
		t.Errorf("the history has %q, %v", b, err)
	}
	if _, created, err := a.put(control.FilePut{Path: "mode"}, "new"); err != nil || created {
		t.Errorf("whatever is there: %v, %v", created, err)
	}
	if info, err := os.Stat(filepath.Join(a.dir, "mode")); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the mode is %v, %v", info.Mode(), err)
	}
	if err := os.Remove(filepath.Join(a.dir, "f")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.put(control.FilePut{Path: "f", Match: []string{"*"}}, "too late"); !errors.As(err, &changed) || changed.Current.Kind != "deleted" {
		t.Errorf("over what was deleted: got %v", err)
	}
	if _, created, err := a.put(control.FilePut{Path: "f", Absent: true}, ""); err != nil || !created {
		t.Errorf("where something was deleted: %v, %v", created, err)
	}
}

// comesToBe waits until a content is what m has agreed at a path.
func (m *machine) comesToBe(path, want string) {
	m.t.Helper()
	eventually(m.t, path+" is agreed", func() string {
		if got, _, err := m.get(path); got != want || err != nil {
			return fmt.Sprintf("got %q, %v", got, err)
		}
		return ""
	})
}

// TestPutRefuses has a script name paths at which nothing can be put.
func TestPutRefuses(t *testing.T) {
	t.Parallel()
	a := newMachine(t, "a", map[string]string{"f": "f", ".resonateignore": "*.o\n"})
	if err := errors.Join(os.MkdirAll(filepath.Join(a.dir, "dir", "below"), 0o755), os.Symlink("f", filepath.Join(a.dir, "link"))); err != nil {
		t.Fatal(err)
	}
	a.write("dir/below/g", "g")
	a.comesToBe("dir/below/g", "g")
	for path, want := range map[string]error{
		"": control.ErrBadArgument, "../f": control.ErrBadArgument, "/f": control.ErrBadArgument, "dir/../f": control.ErrBadArgument,
		".resonate/marker": control.ErrBadArgument, ".resonate": control.ErrBadArgument,
		"dir": control.ErrNotAFile, "f/below": control.ErrNotAFile, "link/below": control.ErrNotAFile, "x.o": control.ErrNotSynced,
	} {
		if v, _, err := a.put(control.FilePut{Path: path}, "x"); !errors.Is(err, want) {
			t.Errorf("put %q: got %+v, %v; want %v", path, v, err, want)
		}
	}
	for path, want := range map[string]error{
		"": control.ErrBadArgument, ".resonate/marker": control.ErrBadArgument, "dir": control.ErrNotAFile, "link": control.ErrNotAFile,
		"nothing": control.ErrNoFile, "f/below": control.ErrNoFile, "x.o": control.ErrNoFile,
	} {
		if got, _, err := a.get(path); !errors.Is(err, want) {
			t.Errorf("get %q: got %q, %v; want %v", path, got, err, want)
		}
	}
	if got := a.names(); !slices.Equal(got, []string{".resonateignore", "dir/below/g", "f", "link"}) {
		t.Errorf("there are %q", got)
	}
	if left, err := os.ReadDir(filepath.Join(a.dir, ".resonate", "tmp")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestGetOfWhatIsNotHere asks a machine for what it ignores, and for what it has not heard of yet.
func TestGetOfWhatIsNotHere(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("0123456789abcdef", 1<<16)
	a := newMachine(t, "a", nil)
	b := newMachine(t, "b", nil)
	b.joins(a)
	allKnow(t, "a b", a, b)
	equal(t, a, b)
	lockable(t, a, b)
	if _, err := b.Replica().Ignore(t.Context(), []string{"*.big", "*.small"}); err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string]string{"x.big": long, "x.small": "small", "empty.small": ""} {
		if _, _, err := a.put(control.FilePut{Path: path, Absent: true}, content); err != nil {
			t.Fatalf("put %s: %v", path, err)
		}
		if got, v, err := b.get(path); err != nil || got != content || v.Node != a.Replica().Node().String() {
			t.Errorf("%s: got %d bytes of %+v, %v; want %d", path, len(got), v, err, len(content))
		}
	}
	if got := b.names(); len(got) != 0 {
		t.Errorf("b has %q", got)
	}
	for _, m := range []*machine{a, b} { // one of them keeps the locks
		if _, created, err := m.put(control.FilePut{Path: "by " + m.name, Absent: true}, m.name); err != nil || !created {
			t.Errorf("put through %s: %v, %v", m.name, created, err)
		}
	}
	a.comes("by b", "b")
	b.comes("by a", "a")
	if left, err := os.ReadDir(filepath.Join(b.dir, ".resonate", "tmp")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
