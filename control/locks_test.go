package control_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"resonate/control"
	"resonate/control/locktest"
)

// folder is a daemon of which only the state is asked.
type folder struct{ control.Daemon }

func (folder) Status(context.Context) (control.Status, error) {
	return control.Status{Node: "abc", Version: "v1", State: "in sync"}, nil
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// socketClient serves l on a socket until the test ends, and returns a client.
func socketClient(t *testing.T, l control.Locker) (*control.Client, string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "ctl") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	ln, err := control.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- control.Serve(ctx, ln, folder{}, nil, l, nil, quiet()) }()
	c, err := control.Dial(ctx, socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve after its context ended: got %v, want nil", err)
		}
	})
	return c, socket
}

// The table that other tests stand on keeps the contract, and so does a client of one.
func TestLocker(t *testing.T) {
	t.Run("table", func(t *testing.T) {
		table := locktest.New("nas")
		locktest.Test(t, func(*testing.T) control.Locker { return table })
	})
	t.Run("client", func(t *testing.T) {
		c, _ := socketClient(t, locktest.New("nas"))
		locktest.Test(t, func(*testing.T) control.Locker { return c })
	})
}

// told is a Locker that answers with what it holds.
type told struct {
	control.Locker
	lock   control.Lock
	quorum control.Quorum
	err    error
	asked  control.LockRequest
}

func (f *told) Lock(_ context.Context, q control.LockRequest) (control.Lock, error) {
	f.asked = q
	return f.lock, f.err
}

func (f *told) Renew(context.Context, string, time.Duration) (control.Lock, error) {
	return f.lock, f.err
}
func (f *told) Unlock(context.Context, string) error { return f.err }

func (f *told) Cached(_ context.Context, path string, times int) ([]time.Duration, error) {
	return []time.Duration{time.Duration(len(path)), time.Duration(times)}, f.err
}

func (f *told) Quorum(context.Context) (control.Quorum, error)   { return f.quorum, f.err }
func (f *told) TakeOver(context.Context) (control.Quorum, error) { return f.quorum, f.err }

func someLock() control.Lock {
	at := time.Date(2026, 11, 2, 3, 4, 5, 678, time.UTC)
	return control.Lock{
		ID: "id", Resource: control.Resource{Path: "docs/a\xff", Below: true}, Mode: "permit", Permits: 3, Token: control.Token{Generation: 2, Index: 1 << 60},
		Node: "SHA256:abc", Host: "nas", Mine: true, Owner: "anna", Why: "quarterly figures", Since: at, Expires: &at, Session: true, State: "waiting",
		Position: 4, Delegated: true,
	}
}

// A request, a lock and a quorum arrive whole.
func TestLocksOverTheSocket(t *testing.T) {
	f := &told{lock: someLock(), quorum: control.Quorum{
		Line: "locks are granted", Majority: true, Leader: "nas", Generation: 7, Held: 1, Waiting: 2,
		Voters: []control.Voter{{ID: "SHA256:abc", Name: "nas", Self: true, Leader: true, Connected: true, Witness: true}},
	}}
	c, _ := socketClient(t, f)
	want := control.LockRequest{
		RequestID: "0123456789abcdef", Resource: control.Resource{Path: "a\xfe\nb"}, Batch: true, TTL: 90 * time.Second, Wait: time.Minute,
		Session: true, Owner: "anna", Why: "a&b=c",
	}
	got, err := c.Lock(t.Context(), want)
	if err != nil || !reflect.DeepEqual(got, f.lock) {
		t.Errorf("lock: got %+v, %v; want %+v", got, err, f.lock)
	}
	if f.asked != want {
		t.Errorf("request: got %+v, want %+v", f.asked, want)
	}
	if _, err := c.Lock(t.Context(), control.LockRequest{Resource: control.Resource{Name: "n"}, TTL: time.Minute, Shared: true}); err != nil || !f.asked.Shared {
		t.Errorf("shared: got %+v, %v", f.asked, err)
	}
	for _, call := range []func(context.Context) (control.Quorum, error){c.Quorum, c.TakeOver} {
		if got, err := call(t.Context()); err != nil || !reflect.DeepEqual(got, f.quorum) {
			t.Errorf("quorum: got %+v, %v; want %+v", got, err, f.quorum)
		}
	}
}

// What was asked of Cached, and its answer, arrive whole, and what cannot be right does not.
func TestCachedOverTheSocket(t *testing.T) {
	c, _ := socketClient(t, &told{})
	want := []time.Duration{6, 12} // the bytes of the path, and how often
	if got, err := c.Cached(t.Context(), "a b/\xff&", 12); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	for path, times := range map[string]int{"a": 0, "b": control.MaxCached + 1, "../c": 1, "": 1} {
		if _, err := c.Cached(t.Context(), path, times); !errors.Is(err, control.ErrBadArgument) {
			t.Errorf("%q, %d times: got %v, want %v", path, times, err, control.ErrBadArgument)
		}
	}
}

// What a caller can tell apart it can on the other side, too.
func TestLockErrorsKeepTheirIdentity(t *testing.T) {
	held := &control.HeldError{Resource: control.Resource{Name: "x"}, Holders: []control.Lock{someLock()}, Waiting: 3}
	f := &told{}
	c, _ := socketClient(t, f)
	q := control.LockRequest{Resource: control.Resource{Name: "x"}, TTL: time.Minute}
	for _, want := range []error{
		control.ErrNotHeld, control.ErrNoMajority, control.ErrQueueFull, control.ErrNoLocks, control.ErrTimeout, control.ErrNotFound,
		control.ErrBadArgument, held,
	} {
		f.err = errors.Join(errors.New("in front"), want)
		_, err := c.Lock(t.Context(), q)
		got := (*control.HeldError)(nil)
		switch {
		case errors.As(want, &got) && (!errors.As(err, &got) || !reflect.DeepEqual(got, held) || !errors.Is(err, control.ErrHeldElsewhere)):
			t.Errorf("got %#v, want %#v", err, held)
		case want != held && !errors.Is(err, want):
			t.Errorf("got %v, want %v", err, want)
		}
	}
}

// A node without locks says so to each call.
func TestNoLocks(t *testing.T) {
	c, _ := socketClient(t, nil)
	ctx := t.Context()
	_, lock := c.Lock(ctx, control.LockRequest{Resource: control.Resource{Name: "x"}, TTL: time.Minute})
	_, renew := c.Renew(ctx, "x", time.Minute)
	_, force := c.Force(ctx, control.Resource{Name: "x"}, "")
	_, list := c.Locks(ctx, control.Resource{})
	_, cached := c.Cached(ctx, "x", 1)
	_, quorum := c.Quorum(ctx)
	_, takeOver := c.TakeOver(ctx)
	for i, err := range []error{lock, renew, force, list, cached, quorum, takeOver, c.Unlock(ctx, "x"), c.Watch(ctx, "x")} {
		if !errors.Is(err, control.ErrNoLocks) {
			t.Errorf("call %d: got %v, want %v", i, err, control.ErrNoLocks)
		}
	}
}

// What cannot be right is refused before the table sees it.
func TestLockRequestsAreChecked(t *testing.T) {
	c, _ := socketClient(t, &told{})
	good := control.LockRequest{Resource: control.Resource{Name: "x"}, TTL: time.Minute}
	if _, err := c.Lock(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*control.LockRequest){
		"no resource":      func(q *control.LockRequest) { q.Resource = control.Resource{} },
		"no TTL":           func(q *control.LockRequest) { q.TTL = 0 },
		"long TTL":         func(q *control.LockRequest) { q.TTL = control.MaxTTL + 1 },
		"long wait":        func(q *control.LockRequest) { q.Wait = control.MaxWait + 1 },
		"wait below 0":     func(q *control.LockRequest) { q.Wait = -1 },
		"permits":          func(q *control.LockRequest) { q.Permits = control.MaxPermits + 1 },
		"permits below 0":  func(q *control.LockRequest) { q.Permits = -1 },
		"shared permits":   func(q *control.LockRequest) { q.Permits, q.Shared = 1, true },
		"short request ID": func(q *control.LockRequest) { q.RequestID = "1" },
		"long request ID":  func(q *control.LockRequest) { q.RequestID = strings.Repeat("1", 129) },
		"request ID":       func(q *control.LockRequest) { q.RequestID = "0123456789 abcdef" },
		"long owner":       func(q *control.LockRequest) { q.Owner = strings.Repeat("a", 257) },
		"long why":         func(q *control.LockRequest) { q.Why = strings.Repeat("a", 1025) },
	} {
		q := good
		spoil(&q)
		if _, err := c.Lock(t.Context(), q); !errors.Is(err, control.ErrBadArgument) {
			t.Errorf("%s: got %v, want %v", name, err, control.ErrBadArgument)
		}
	}
}

// gone is a Locker that grants when its caller is gone already.
type gone struct {
	control.Locker
	entered  chan struct{}
	unlocked chan string
}

func (f *gone) Lock(ctx context.Context, _ control.LockRequest) (control.Lock, error) {
	close(f.entered)
	<-ctx.Done()
	return control.Lock{ID: "late"}, nil
}

func (f *gone) Unlock(_ context.Context, id string) error {
	f.unlocked <- id
	return nil
}

// A grant that comes when nobody is there to take it is given back.
func TestLateGrantIsGivenBack(t *testing.T) {
	f := &gone{entered: make(chan struct{}), unlocked: make(chan string, 1)}
	c, _ := socketClient(t, f)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-f.entered
		cancel()
	}()
	if _, err := c.Lock(ctx, control.LockRequest{Resource: control.Resource{Name: "x"}, TTL: time.Minute}); err == nil {
		t.Error("got a lock, want an error")
	}
	select {
	case id := <-f.unlocked:
		if id != "late" {
			t.Errorf("unlocked %q, want late", id)
		}
	case <-time.After(20 * time.Second):
		t.Error("nothing was unlocked")
	}
}

func TestParseResource(t *testing.T) {
	for in, want := range map[string]control.Resource{
		"payment-42":      {Name: "payment-42"},
		"payment:42":      {Name: "payment:42"},
		"docs/a.txt":      {Name: "docs/a.txt"}, // without the word it is a name
		"name:x":          {Name: "x"},
		"name:path:x":     {Name: "path:x"},
		"path:docs/a":     {Path: "docs/a"},
		"path:a\xff":      {Path: "a\xff"},
		"path:...":        {Path: "..."},
		"tree:docs":       {Path: "docs", Below: true},
		"tree:":           {Below: true},
		"Zürich, a b":     {Name: "Zürich, a b"},
		"path: ":          {Path: " "},
		"name:name:tree:": {Name: "name:tree:"},
	} {
		got, err := control.ParseResource(in)
		if err != nil || got != want {
			t.Errorf("%q: got %+v, %v; want %+v", in, got, err, want)
		}
	}
	for _, in := range []string{
		"", "name:", "path:", "path:/a", "path:a/", "path:a//b", "path:.", "path:..", "path:../a", "path:a/../b", "path:a/./b", "tree:/", "tree:a/",
		"path:a\x00", "a\nb", "a\xff", strings.Repeat("a", 257), "path:" + strings.Repeat("a", 4097),
	} {
		if got, err := control.ParseResource(in); !errors.Is(err, control.ErrBadArgument) {
			t.Errorf("%.20q: got %+v, %v; want %v", in, got, err, control.ErrBadArgument)
		}
	}
}

// Tokens are as great as their texts.
func TestToken(t *testing.T) {
	list := []control.Token{{}, {0, 1}, {0, 10}, {0, 1 << 63}, {1, 0}, {9, 9}, {10, 0}, {1 << 63, 0}}
	for i, a := range list {
		for j, b := range list {
			want := cmpInts(i, j)
			if got, text := a.Compare(b), strings.Compare(a.String(), b.String()); got != want || text != want {
				t.Errorf("%v and %v: got %d, as text %d; want %d", a, b, got, text, want)
			}
		}
		if got, err := control.ParseToken(a.String()); err != nil || got != a {
			t.Errorf("%v: got %v, %v", a, got, err)
		}
	}
	for _, text := range []string{"", "1.1", "x", strings.Repeat("f", 33), list[3].String() + "0", "+000000000000001.0000000000000001"} {
		if got, err := control.ParseToken(text); !errors.Is(err, control.ErrBadArgument) {
			t.Errorf("%q: got %v, %v; want %v", text, got, err, control.ErrBadArgument)
		}
	}
}

func cmpInts(a, b int) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// What is parsed is written as what is parsed to the same, and cannot lead out of the folder.
func FuzzParseResource(f *testing.F) {
	for _, seed := range []string{"x", "name:tree:", "path:a/b", "tree:", "path:../a", "path:a\xff", "tree:a/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		r, err := control.ParseResource(in)
		if err != nil {
			return
		}
		if again, err := control.ParseResource(r.String()); err != nil || again != r {
			t.Errorf("%q: %+v is written %q, and read as %+v, %v", in, r, r, again, err)
		}
		if r.Path != "" && !filepath.IsLocal(r.Path) {
			t.Errorf("%q: path %q leads out", in, r.Path)
		}
		l, err := json.Marshal(control.Lock{Resource: r})
		var back control.Lock
		if err := errors.Join(err, json.Unmarshal(l, &back)); err != nil || back.Resource != r {
			t.Errorf("%q: as JSON %s, read as %+v, %v", in, l, back.Resource, err)
		}
	})
}
