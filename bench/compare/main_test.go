package main

import (
	"io"
	"os"
	"strings"
	"testing"
)

func TestParseRefuses(t *testing.T) {
	for _, args := range [][]string{{"more"}, {"-files", "1"}, {"-files", "1000,x"}, {"-unknown"}} {
		if _, err := parse(args, io.Discard); err == nil {
			t.Errorf("parse(%q) took it", args)
		}
	}
	if _, err := pick(workloads, []string{"first", "last"}); err == nil || !strings.Contains(err.Error(), `"last" is unknown`) {
		t.Errorf("pick of an unknown name: %v", err)
	}
}

// TestCp runs a workload from end to end with the simplest of the tools.
func TestCp(t *testing.T) {
	o, err := parse([]string{"-tools", "cp", "-cases", "small", "-files", "20000,10000", "-quick"}, os.Stderr)
	must(t, err)
	o.work = t.TempDir()
	var out, notes strings.Builder
	must(t, measure(t.Context(), o, noTraffic, &out, &notes))
	if got := out.String(); !strings.Contains(got, "| 200 small files, first sync, s | 0.") || !strings.Contains(got, "| 100 small files, ") {
		t.Errorf("got:\n%s\nnotes:\n%s", got, &notes)
	}
	if left, err := os.ReadDir(o.work); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestCrew ends what was started, and notices what ended by itself.
func TestCrew(t *testing.T) {
	log, err := os.Create(t.TempDir() + "/log")
	must(t, err)
	defer log.Close()
	c := crew{log: log}
	must(t, c.spawn("sleep", "100"))
	must(t, c.alive())
	must(t, c.spawn("sleep", "forever and a day"))
	<-c.running[1].ended
	if err := c.alive(); err == nil || !strings.Contains(err.Error(), "sleep has ended unasked") {
		t.Errorf("alive: %v", err)
	}
	ended := c.running[0].ended
	must(t, c.stop())
	select {
	case <-ended:
	default:
		t.Error("stop left a process behind")
	}
}
