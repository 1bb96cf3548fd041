package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	instrument = instrumentFromEnv // daemons in tests are this binary, executed again
	lockerOf = lockerFromEnv
	testscript.Main(noLeaks{m}, map[string]func(){"resonate": main})
}

// atOnce is how many tests run at once, unless -parallel says it: most wait most of the time, for daemons and for
// what is to happen after a while.
const atOnce = 4

// moreAtOnce has at least atOnce tests run at once.
func moreAtOnce() error {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if given || runtime.GOMAXPROCS(0) >= atOnce {
		return nil
	}
	return flag.Set("test.parallel", strconv.Itoa(atOnce))
}

// noLeaks fails a test run that leaves goroutines behind.
type noLeaks struct{ m *testing.M }

func (n noLeaks) Run() int {
	// Where hangups are ignored, as under nohup(1), the daemons that tests start would ignore them, too. What this process takes notice of is
	// as usual in those.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	if err := moreAtOnce(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := n.m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// TestScripts runs the command line as users do; see testdata/script. "exits N CMD..." runs a command and
// demands its exit code; "waitfor FILE" waits until a file is there.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			program, err := exec.LookPath("resonate")
			if err != nil {
				return err
			}
			e.Setenv("BIN", filepath.Dir(program)) // for scripts that want nothing else in PATH
			e.Setenv("HOME", e.WorkDir+"/home")
			e.Setenv("GORACE", "atexit_sleep_ms=0") // a second for each command otherwise
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "waitfor": waitFor},
	})
}

// exits runs args[1:] and checks that it ends with the code args[0].
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	got := "0"
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		code, ok := err.(interface{ ExitCode() int })
		if !ok {
			ts.Fatalf("run %q: %v", args[1:], err)
		}
		got = fmt.Sprint(code.ExitCode())
	}
	if got != args[0] {
		ts.Fatalf("%q: got exit code %s, want %s", args[1:], got, args[0])
	}
}

// waitFor waits until the file args[0] is there.
func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: waitfor FILE")
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); ; <-tick.C {
		if _, err := os.Stat(ts.MkAbs(args[0])); err == nil {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%s is not there after 20 s", args[0])
		}
	}
}
