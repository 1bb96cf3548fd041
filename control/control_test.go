package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a daemon that answers with what it holds and notes what it was asked.
type fake struct {
	status   Status
	kept     []Kept
	held     []Held
	page     TreePage
	why      Why
	reports  []CheckReport
	patterns []Pattern
	paused   Paused
	err      error
	block    bool // Wait blocks until its ctx ends
	feed     Feed

	conflicts []Conflict
	resolved  Resolved
	text      []byte

	mu    sync.Mutex
	asked []string
}

var _ Daemon = (*fake)(nil)

func (f *fake) note(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, fmt.Sprintf(format, args...))
}

func (f *fake) Status(context.Context) (Status, error) { return f.status, f.err }

func (f *fake) Wait(ctx context.Context, path string) error {
	f.note("wait %q", path)
	if f.block {
		<-ctx.Done()
		return fmt.Errorf("b1 still lacks 3 files: %w", ctx.Err())
	}
	return f.err
}

func (f *fake) History(_ context.Context, path string) ([]Kept, error) {
	f.note("history %q", path)
	return f.kept, f.err
}

func (f *fake) Restore(_ context.Context, path string, at time.Time) (Kept, error) {
	f.note("restore %q %s", path, at.UTC().Format(time.RFC3339Nano))
	if f.err != nil {
		return Kept{}, f.err
	}
	return f.kept[0], nil
}

func (f *fake) Held(context.Context) ([]Held, error) { return f.held, f.err }

func (f *fake) Approve(_ context.Context, paths []string) (int, error) {
	f.note("approve %q", paths)
	return len(paths), f.err
}

func (f *fake) Revert(_ context.Context, paths []string) (int, error) {
	f.note("revert %q", paths)
	return len(paths), f.err
}

func (f *fake) Tree(_ context.Context, q TreeQuery) (TreePage, error) {
	f.note("tree %+v", q)
	return f.page, f.err
}

func (f *fake) Why(_ context.Context, path string) (Why, error) {
	f.note("why %q", path)
	return f.why, f.err
}

func (f *fake) Check(_ context.Context, o CheckOptions, report func(CheckReport) error) error {
	f.note("check %+v", o)
	for _, r := range f.reports {
		if err := report(r); err != nil {
			return err
		}
	}
	return f.err
}

func (f *fake) Pause(_ context.Context, length time.Duration) (Paused, error) {
	f.note("pause %v", length)
	return f.paused, f.err
}

func (f *fake) Resume(context.Context) (bool, error) {
	f.note("resume")
	return true, f.err
}

func (f *fake) Events(ctx context.Context, report func(Event) error) error {
	if f.err != nil {
		return f.err
	}
	return f.feed.Listen(ctx, report)
}

func (f *fake) Audit(context.Context) (AuditPlace, error) {
	return AuditPlace{"/state", 2, "full"}, f.err
}

func (f *fake) Ignored(context.Context) ([]Pattern, error) { return f.patterns, f.err }

func (f *fake) Ignore(_ context.Context, patterns []string) (int, error) {
	f.note("ignore %q", patterns)
	return len(patterns), f.err
}

func (f *fake) Unignore(_ context.Context, patterns []string) (int, error) {
	f.note("unignore %q", patterns)
	return len(patterns), f.err
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// start serves f at socket until the test ends and returns a client.
func start(t *testing.T, socket string, f *fake) *Client {
	t.Helper()
	ln, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, ln, f, nil, nil, nil, quiet()) }()
	c, err := Dial(ctx, socket)
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
	return c
}

// socketName is a short path; t.TempDir's own may be longer than a socket address.
func socketName(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ctl")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

func fullStatus() Status {
	at := time.Date(2026, 11, 2, 3, 4, 5, 678, time.UTC)
	return Status{
		Version: "v1", Node: "abc", NodeID: "SHA256:abc", Started: at, PID: 42,
		Folder: Folder{Path: "/tmp/test1", ID: "f1", Shared: true}, Listen: "127.0.0.1:1234", State: "in sync",
		Roots: Roots{State: "aa", Content: "bb"}, Files: 1, Directories: 2, Symlinks: 3, Bytes: 4,
		Peers: []Peer{{ID: "p", Name: "nas", Address: "h:1", State: "away", Since: at, NextTry: &at, RTTMillis: 0.5,
			InSync: true, ToSend: Work{1, 2}, ToReceive: Work{3, 4}, Error: "refused"}},
		MessagesSent: 1, MessagesReceived: 2, BytesSent: 3, BytesReceived: 4, KeepalivesSent: 5, KeepalivesReceived: 6,
		Held: []Held{{"a\xff", "deleted", "burst", "approve", at}}, HeldMore: 7,
		Problems: []Problem{{"b\xfe", "no permission", "chmod", at}}, ProblemsMore: 8,
		Untaken: []Untaken{{"c\xfd", "nas"}}, UntakenMore: 11, Mode: "send", Paused: &Paused{at, &at},
		Watch:    Watch{Mode: "mixed", Directories: 9, Uncovered: []string{"x"}, Cause: "limit", Remedy: "sysctl", Overflows: 10},
		Progress: &Progress{"scan", 1, 2, 3, 4, 5.5, 6.5},
	}
}

func TestRoundTrip(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	f := &fake{
		status: fullStatus(),
		kept:   []Kept{{"n\xc3.txt", at, 7, at, "deleted", ".resonate/history/n\xc3.txt"}},
		held:   []Held{{"a", "rewritten", "c", "r", at}},

		patterns: []Pattern{{"*.log"}, {"\xff/"}},
		paused:   Paused{at, &at},
	}
	c := start(t, socketName(t), f)
	ctx := t.Context()

	if got, err := c.Status(ctx); err != nil || !reflect.DeepEqual(got, f.status) {
		t.Errorf("Status: got %+v, %v\nwant %+v", got, err, f.status)
	}
	if got, err := c.History(ctx, "n\xc3.txt"); err != nil || !reflect.DeepEqual(got, f.kept) {
		t.Errorf("History: got %+v, %v, want %+v", got, err, f.kept)
	}
	if got, err := c.Restore(ctx, "n\xc3.txt", at); err != nil || got != f.kept[0] {
		t.Errorf("Restore: got %+v, %v, want %+v", got, err, f.kept[0])
	}
	if _, err := c.Restore(ctx, "a b/&=?", time.Time{}); err != nil {
		t.Errorf("Restore of the newest: %v", err)
	}
	if got, err := c.Held(ctx); err != nil || !reflect.DeepEqual(got, f.held) {
		t.Errorf("Held: got %+v, %v, want %+v", got, err, f.held)
	}
	if got, err := c.Approve(ctx, []string{"x", "y\xff"}); err != nil || got != 2 {
		t.Errorf("Approve: got %d, %v, want 2", got, err)
	}
	if got, err := c.Revert(ctx, nil); err != nil || got != 0 {
		t.Errorf("Revert: got %d, %v, want 0", got, err)
	}
	if got, err := c.Ignored(ctx); err != nil || !reflect.DeepEqual(got, f.patterns) {
		t.Errorf("Ignored: got %+v, %v, want %+v", got, err, f.patterns)
	}
	if got, err := c.Ignore(ctx, []string{"a b", "!y\xff"}); err != nil || got != 2 {
		t.Errorf("Ignore: got %d, %v, want 2", got, err)
	}
	if got, err := c.Unignore(ctx, []string{"x"}); err != nil || got != 1 {
		t.Errorf("Unignore: got %d, %v, want 1", got, err)
	}
	if got, err := c.Pause(ctx, 90*time.Second); err != nil || !reflect.DeepEqual(got, f.paused) {
		t.Errorf("Pause: got %+v, %v, want %+v", got, err, f.paused)
	}
	if got, err := c.Resume(ctx); err != nil || !got {
		t.Errorf("Resume: got %v, %v, want that it was paused", got, err)
	}
	if err := c.Wait(ctx, "d"); err != nil {
		t.Errorf("Wait: %v", err)
	}
	want := []string{
		`history "n\xc3.txt"`, `restore "n\xc3.txt" 2026-01-02T03:04:05.000000006Z`, `restore "a b/&=?" 0001-01-01T00:00:00Z`,
		`approve ["x" "y\xff"]`, `revert []`,
		`ignore ["a b" "!y\xff"]`, `unignore ["x"]`, "pause 1m30s", "resume", `wait "d"`,
	}
	if !reflect.DeepEqual(f.asked, want) {
		t.Errorf("the daemon was asked\n%q\nwant\n%q", f.asked, want)
	}
}

func TestEmptyListsAreNotNull(t *testing.T) {
	socket := socketName(t)
	c := start(t, socket, &fake{})
	for _, route := range []string{routeStatus, routeHistory, routeHeld, routeIgnored} {
		resp, err := c.http.Get("http://resonate" + route)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if bytes.Contains(body, []byte("null")) {
			t.Errorf("%s: got %s, want [] for empty lists", route, body)
		}
	}
}

func TestErrorsSurvive(t *testing.T) {
	f := &fake{}
	c := start(t, socketName(t), f)
	for _, sent := range []error{ErrNotFound, ErrTimeout, ErrBadArgument, ErrPaused, errors.New("disk is full")} {
		f.err = fmt.Errorf("restore a.txt: %w", sent)
		_, err := c.Restore(t.Context(), "a.txt", time.Time{})
		if err == nil || err.Error() != f.err.Error() {
			t.Errorf("%v: got %q, want the daemon's words %q", sent, err, f.err)
		}
		for _, kind := range []error{ErrNotFound, ErrTimeout, ErrBadArgument, ErrPaused} {
			if got, want := errors.Is(err, kind), sent == kind; got != want {
				t.Errorf("errors.Is(%q, %q): got %v, want %v", err, kind, got, want)
			}
		}
	}
}

func TestWaitTimeoutTellsWhatIsMissing(t *testing.T) {
	c := start(t, socketName(t), &fake{block: true})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err := c.Wait(ctx, "")
	if !errors.Is(err, ErrTimeout) || !strings.Contains(err.Error(), "still lacks 3 files") {
		t.Errorf("got %v, want ErrTimeout with the daemon's reason", err)
	}
}

func TestWaitCancelled(t *testing.T) {
	c := start(t, socketName(t), &fake{block: true})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	cancel()
	if err := c.Wait(ctx, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func TestServeEndsCallsInProgress(t *testing.T) {
	socket := socketName(t)
	ln, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	f := &fake{block: true}
	served, waited := make(chan error, 1), make(chan error, 1)
	go func() { served <- Serve(ctx, ln, f, nil, nil, nil, quiet()) }()
	c, err := Dial(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go func() { waited <- c.Wait(t.Context(), "") }()
	eventually(t, func() bool { f.mu.Lock(); defer f.mu.Unlock(); return len(f.asked) == 1 })
	began := time.Now()
	cancel()
	if err := <-served; err != nil {
		t.Errorf("Serve: got %v, want nil", err)
	}
	if err := <-waited; err == nil {
		t.Error("Wait: got nil from a daemon that ended, want an error")
	}
	if d := time.Since(began); d > 900*time.Millisecond {
		t.Errorf("ending took %v, want less than a second", d)
	}
	if _, err := os.Lstat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket after the end: got %v, want it gone", err)
	}
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !ok(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("condition not reached in 5 s")
		}
	}
}

func TestMalformedRequests(t *testing.T) {
	c := start(t, socketName(t), &fake{})
	rows := []struct {
		name, method, route, body string
		want                      int
	}{
		{"no such call", "GET", "/v1/none", "", 404},
		{"wrong method", "GET", routeApprove, "", 405},
		{"restore of nothing", "POST", routeRestore, "", 400},
		{"bad time", "POST", routeRestore, "path=a&at=noon", 400},
		{"bad timeout", "POST", routeWait, "timeout=soon", 400},
		{"bad escape", "POST", routeWait, "path=%zz", 400},
		{"too large", "POST", routeApprove, "path=" + strings.Repeat("x", maxBodyBytes), 400},
		{"long header", "GET", routeHistory + "?path=" + strings.Repeat("x", 4*maxHeaderBytes), "", 431},
	}
	for _, row := range rows {
		req, _ := http.NewRequestWithContext(t.Context(), row.method, "http://resonate"+row.route, strings.NewReader(row.body))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := c.http.Do(req)
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		resp.Body.Close()
		if resp.StatusCode != row.want {
			t.Errorf("%s: got %d, want %d", row.name, resp.StatusCode, row.want)
		}
	}
}

func TestSocketMode(t *testing.T) {
	socket := filepath.Join(socketName(t)+"dir", "s")
	start(t, socket, &fake{})
	for path, want := range map[string]os.FileMode{socket: 0o600, filepath.Dir(socket): 0o700} {
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := st.Mode().Perm(); got != want {
			t.Errorf("mode of %s: got %o, want %o", path, got, want)
		}
	}
}

func TestLongPath(t *testing.T) {
	long := filepath.Join(filepath.Dir(socketName(t)), strings.Repeat("d", 90), strings.Repeat("e", 90), "s")
	if runtime.GOOS != "linux" {
		if _, err := Listen(long); !errors.Is(err, errTooLong) {
			t.Errorf("got %v, want errTooLong", err)
		}
		return
	}
	c := start(t, long, &fake{status: Status{Node: "far"}})
	if got, err := c.Status(t.Context()); err != nil || got.Node != "far" {
		t.Errorf("Status over a path of %d bytes: got %q, %v, want far", len(long), got.Node, err)
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	socket := socketName(t)
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	if _, err := Dial(t.Context(), socket); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("Dial to a dead daemon's socket: got %v, want ErrNoDaemon", err)
	}
	c := start(t, socket, &fake{status: Status{Node: "new"}})
	if got, err := c.Status(t.Context()); err != nil || got.Node != "new" {
		t.Errorf("Status after replacing: got %q, %v, want new", got.Node, err)
	}
}

func TestLiveSocketIsRefused(t *testing.T) {
	socket := socketName(t)
	c := start(t, socket, &fake{status: Status{Node: "first"}})
	if _, err := Listen(socket); !errors.Is(err, ErrInUse) {
		t.Errorf("second Listen: got %v, want ErrInUse", err)
	}
	if got, err := c.Status(t.Context()); err != nil || got.Node != "first" {
		t.Errorf("Status of the first afterwards: got %q, %v, want first", got.Node, err)
	}
}

func TestForeignFileIsNotReplaced(t *testing.T) {
	socket := socketName(t)
	if err := os.WriteFile(socket, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(socket); err == nil {
		t.Error("Listen over a regular file: got nil, want an error")
	}
	if got, err := os.ReadFile(socket); err != nil || string(got) != "mine" {
		t.Errorf("the file afterwards: got %q, %v, want it untouched", got, err)
	}
}

func TestCloseLeavesAnothersSocket(t *testing.T) {
	socket := socketName(t)
	ln, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(socket); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(socket, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if _, err := os.Lstat(socket); err != nil {
		t.Errorf("what another put in the socket's place: got %v, want it kept", err)
	}
}

func TestDialNobody(t *testing.T) {
	if _, err := Dial(t.Context(), socketName(t)); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("got %v, want ErrNoDaemon", err)
	}
}
