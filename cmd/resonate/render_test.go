package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"resonate/control"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares got with testdata/NAME.golden.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s\n(-update rewrites it)", path, got, want)
	}
}

var noon = time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)

// busyStatus has something of everything.
func busyStatus() control.Status {
	soon := noon.Add(4 * time.Second)
	return control.Status{
		Version: "v0.1.0", Node: "k7f3a", Started: noon.Add(-3*time.Hour - 2*time.Minute), PID: 4711,
		Folder: control.Folder{Path: "/home/u/test1", ID: "f4a1", Shared: true}, Listen: "127.0.0.1:1234", State: "held",
		Roots: control.Roots{State: strings.Repeat("ab", 32), Content: strings.Repeat("cd", 32)},
		Files: 15036, Directories: 1, Symlinks: 2, Bytes: 92_000_000,
		Peers: []control.Peer{
			{ID: "b1c2d", Name: "nas", Address: "10.0.0.2:7373", State: "connected", Since: noon.Add(-50 * time.Hour), RTTMillis: 0.83, InSync: true},
			{ID: "e9", Address: "h:1", State: "connected", Since: noon.Add(-5 * time.Second), ToSend: control.Work{Files: 1, Bytes: 20}, ToReceive: control.Work{Files: 1200, Bytes: 5 << 20}},
			{Address: "localhost:4321", State: "away", Since: noon.Add(-90 * time.Second), NextTry: &soon, Error: "connection refused\x1b[2J"},
		},
		MessagesSent: 1, BytesSent: 20, MessagesReceived: 2000, BytesReceived: 3 << 20, KeepalivesSent: 7, KeepalivesReceived: 8,
		Held:     []control.Held{{Path: "docs/a.txt", Kind: "deleted", Cause: "part of a burst of 120 deletions", Remedy: "resonate held approve docs/a.txt"}},
		HeldMore: 119,
		Problems: []control.Problem{{Path: "evil\x1b]0;x\a name", Cause: "permission denied", Remedy: "chmod u+r it"}},
		Watch:    control.Watch{Mode: "mixed", Directories: 1200, Uncovered: []string{"big"}, Cause: "the kernel's limit of watches is reached", Remedy: "sysctl fs.inotify.max_user_watches=524288", Overflows: 1},
		Progress: &control.Progress{What: "receive", Files: 300, FilesTotal: 1200, Bytes: 1 << 20, BytesTotal: 4 << 20, BytesPerSecond: 512 << 10, SecondsLeft: 6},
	}
}

func TestRenderStatus(t *testing.T) {
	golden(t, "status-busy", renderStatus(busyStatus(), noon))
	golden(t, "status-alone", renderStatus(control.Status{
		Version: "devel", Node: "n", Started: noon, Folder: control.Folder{Path: "/t", ID: "f"}, Listen: "127.0.0.1:7373",
		State: "alone", Files: 1, Watch: control.Watch{Mode: "inotify", Directories: 1},
	}, noon))
}

func TestRenderStatusIsShort(t *testing.T) {
	s := control.Status{Held: make([]control.Held, 1000), HeldMore: 234, Problems: make([]control.Problem, 1000), ProblemsMore: 1}
	text := renderStatus(s, noon)
	for _, want := range []string{"held (1,234)", "and 1,224 more (see: resonate held)", "not synced (1,001)", "and 981 more (see: resonate status -json)"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if lines := strings.Count(text, "\n"); lines > 80 {
		t.Errorf("got %d lines, want what a person reads", lines)
	}
}

func TestRenderModes(t *testing.T) {
	s := control.Status{
		Mode: "send", Untaken: make([]control.Untaken, 11), UntakenMore: 1,
		Peers: []control.Peer{{ID: "p", State: "connected", SendsOnly: true, InSync: true}},
	}
	s.Untaken[0] = control.Untaken{Path: "a\x1b", Peer: "nas"}
	text := renderStatus(s, noon)
	for _, want := range []string{
		"mode       this node only sends", "not taken (12)", "12 changes of peers are not taken: this node only sends", "\"a\\x1b\"  (nas)",
		"and 2 more (see: resonate status -json)", "in sync, only sends",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	s = control.Status{Mode: "witness", Peers: []control.Peer{{ID: "p", State: "connected", SendsOnly: true, Witness: true, InSync: true}}}
	if text := renderStatus(s, noon); !strings.Contains(text, "this node is a witness") || !strings.Contains(text, "in sync, witness") || strings.Contains(text, "only sends") {
		t.Errorf("of a witness among witnesses:\n%s", text)
	}
	list := renderMembers([]control.Member{{Name: "nas", Short: "abc", State: "away", Witness: true}}, noon)
	if want := "nas (abc)                         witness, away\n"; !strings.HasPrefix(list, want) {
		t.Errorf("got %q, want it to begin %q", list, want)
	}
	if text := renderStatus(control.Status{Mode: "both"}, noon); strings.Contains(text, "mode") || strings.Contains(text, "taken") {
		t.Errorf("without a mode: got\n%s", text)
	}
}

func TestRenderPaused(t *testing.T) {
	until := noon.Add(time.Hour)
	for _, row := range []struct {
		paused control.Paused
		want   string
	}{
		{control.Paused{Since: noon.Add(-time.Minute)}, "\n           for 1 min 0 s, until: resonate resume\n"},
		{control.Paused{Since: noon, Until: &until}, "\n           for 0 ms until 2026-11-02 13:00:00, or: resonate resume\n"},
	} {
		if text := renderStatus(control.Status{State: "paused", Paused: &row.paused}, noon); !strings.Contains(text, row.want) {
			t.Errorf("no %q in\n%s", row.want, text)
		}
	}
}

func TestTimedOut(t *testing.T) {
	rows := map[string]string{
		"timed out": "timed out after 2s", "a is held\ntimed out": "timed out after 2s: a is held",
		"ask the daemon: timed out": "timed out after 2s: ask the daemon", "a\nb\ntimed out": "timed out after 2s: a; b",
	}
	for text, want := range rows {
		got := timedOut(errors.New(text), duration(2*time.Second))
		if got.Error() != want || exitCode(got) != exitTimeout {
			t.Errorf("%q: got %q, exit code %d; want %q, %d", text, got, exitCode(got), want, exitTimeout)
		}
	}
}

func TestPrintErrorIndentsLines(t *testing.T) {
	var out bytes.Buffer
	printError(&out, stateError{"a", errors.New("x\ny"), "do z"})
	if want := "resonate: a: x\n  y\n  do z\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestRenderHistory(t *testing.T) {
	kept := []control.Kept{
		{Path: "a.txt", Time: noon, Size: 1200, Kind: "file"},
		{Path: "bad\xffname", Time: noon.Add(-time.Hour), Size: 0, Kind: "deleted"},
	}
	golden(t, "history", renderHistory(kept, time.UTC)+renderHistory(nil, time.UTC))
}

func TestRenderHeldList(t *testing.T) {
	held := []control.Held{
		{Path: "d/a", Kind: "rewritten", Cause: "a burst", Remedy: "look at it", Since: noon},
		{Path: "d/b", Kind: "suspect", Cause: "a crash", Remedy: "wait", Since: noon},
		{Path: "d/c\n", Kind: "deleted", Cause: "a burst", Remedy: "look at it", Since: noon},
	}
	golden(t, "held", renderHeldList(held, time.UTC)+renderHeldList(nil, time.UTC))
}

func TestHeldBelow(t *testing.T) {
	held := []control.Held{{Path: "a"}, {Path: "a/b"}, {Path: "ab"}}
	rows := []struct {
		paths []string
		want  string
	}{{nil, "a a/b ab"}, {[]string{"a"}, "a a/b"}, {[]string{"a/b", "ab", "ab"}, "a/b ab"}, {[]string{""}, "a a/b ab"}, {[]string{"x"}, ""}}
	for _, row := range rows {
		var got []string
		for _, h := range heldBelow(held, row.paths) {
			got = append(got, h.Path)
		}
		if strings.Join(got, " ") != row.want {
			t.Errorf("below %q: got %q, want %q", row.paths, got, row.want)
		}
	}
}

func TestStatusLine(t *testing.T) {
	quiet := control.Status{State: "in sync", Files: 1234, Bytes: 5 << 20, Peers: []control.Peer{{State: "connected"}, {State: "away"}}}
	rows := []struct {
		name   string
		status control.Status
		width  int
		want   string
	}{
		{"quiet", quiet, 80, "in sync, 1,234 files, 5 MiB, 1 of 2 peers"},
		{"alone", control.Status{State: "alone", Files: 1}, 80, "alone, 1 file, 0 B"},
		{"narrow", quiet, 20, "in sync, 1,234 fi.."},
		{"very narrow", quiet, 3, "in"},
		{"no width at all", quiet, 0, ""},
		{"progress", busyStatus(), 120, "receiving  [#####---------------]  25%  300 of 1,200 files  1 MiB of 4 MiB  512 KiB/s  6 s left"},
		{"progress with less room", busyStatus(), 90, "receiving  [##--------]  25%  300 of 1,200 files  1 MiB of 4 MiB  512 KiB/s  6 s left"},
		{"progress with little room", busyStatus(), 73, "receiving  25%  300 of 1,200 files  1 MiB of 4 MiB  512 KiB/s  6 s left"},
		{"progress without totals", control.Status{Progress: &control.Progress{What: "scan", Files: 7, SecondsLeft: -1}}, 80, "scanning  7 files"},
		{"progress past its end", control.Status{Progress: &control.Progress{What: "scan", Files: 9, FilesTotal: 8}}, 80, "scanning  [####################]  100%  9 of 8 files"},
		{"held and problems", control.Status{State: "held", HeldMore: 2, ProblemsMore: 1}, 120, "held, 0 files, 0 B, 2 held (see: resonate held), 1 not synced (see: resonate status)"},
	}
	for _, row := range rows {
		got := statusLine(row.status, row.width)
		if got != row.want {
			t.Errorf("%s: got %q, want %q", row.name, got, row.want)
		}
		if len(got) > 0 && len(got) >= row.width {
			t.Errorf("%s: %d cells do not fit into a terminal of %d", row.name, len(got), row.width)
		}
	}
}

func TestFooterKeepsLogLinesApart(t *testing.T) {
	var out bytes.Buffer
	f := &footer{out: &out}
	fmt.Fprint(f, "first\n")
	f.Draw("in sync")
	f.Draw("in sync")
	fmt.Fprint(f, "second\n")
	f.Draw("")
	fmt.Fprint(f, "third\n")
	want := "first\n" + eraseLine + "in sync" + eraseLine + "second\nin sync" + eraseLine + "third\n"
	if got := out.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFormatBytes(t *testing.T) {
	rows := map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB", 1<<20 - 1: "1 MiB", 10 << 30: "10 GiB", 1<<63 - 1: "8 EiB"}
	for n, want := range rows {
		if got := formatBytes(n); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
}

func TestFormatSpan(t *testing.T) {
	rows := map[time.Duration]string{
		-time.Second: "0 ms", 20 * time.Millisecond: "20 ms", 59 * time.Second: "59 s", 61 * time.Second: "1 min 1 s",
		3*time.Hour + 2*time.Minute: "3 h 2 min", 50 * time.Hour: "2 d 2 h",
	}
	for d, want := range rows {
		if got := formatSpan(d); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
}

func TestShown(t *testing.T) {
	rows := map[string]string{"a b.txt": "a b.txt", "ü": "ü", "": `""`, "a\nb": `"a\nb"`, "\x1b[2J": `"\x1b[2J"`, "x\xff": `"x\xff"`, " a": `" a"`, "a\u202eb": `"a\u202eb"`}
	for in, want := range rows {
		if got := shown(in); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}

func TestShellWord(t *testing.T) {
	rows := map[string]string{"/a/b-1.txt": "/a/b-1.txt", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$HOME": "'$HOME'"}
	for in, want := range rows {
		if got := shellWord(in); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}

func TestExitCode(t *testing.T) {
	rows := []struct {
		err  error
		want int
	}{
		{errors.New("disk is full"), 1},
		{fmt.Errorf("restore a: %w", control.ErrNotFound), 1},
		{usageError{cause: "x"}, 2},
		{fmt.Errorf("wait: %w", control.ErrBadArgument), 2},
		{fmt.Errorf("wait: %w", control.ErrTimeout), 3},
		{stateError{"", fmt.Errorf("%w on x", control.ErrNoDaemon), "start it"}, 5},
	}
	for _, row := range rows {
		if got := exitCode(row.err); got != row.want {
			t.Errorf("%v: got %d, want %d", row.err, got, row.want)
		}
	}
}
