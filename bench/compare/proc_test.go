package main

import (
	"slices"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	const text = "4711 (a (b) c) S 12 4711 4711 0 -1 4194560 1 2 3 4 10 20 300 4000 20 0 5 0 987654 1 2\n"
	got, err := parseStat([]byte(text))
	if want := (procStat{4711, 12, 43300 * time.Millisecond, 987654}); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for _, bad := range []string{"", "1 (x", ")(", "1 (x) S 1 2 3", "x" + text, "1 (x) S 2 3 4 5 6 7 8 9 1 2 3 a 5 6 7 8 9 1 2 3"} {
		if got, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("parseStat(%q) = %+v, want an error", bad, got)
		}
	}
}

func TestDescendants(t *testing.T) {
	all := []procStat{{pid: 1}, {pid: 9, parent: 3}, {pid: 3, parent: 2}, {pid: 2, parent: 1}, {pid: 4, parent: 2}, {pid: 5, parent: 1}}
	var got []int
	for _, s := range descendants(all, []int{2, 3, 77}) {
		got = append(got, s.pid)
	}
	slices.Sort(got)
	if want := []int{2, 3, 4, 9}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestParseCounters(t *testing.T) {
	pss, err := parsePSS([]byte("55d0-7ffc ---p 00000000 00:00 0   [rollup]\nRss:   900 kB\nPss:    12 kB\nPss_Dirty:  3 kB\n"))
	if err != nil || pss != 12<<10 {
		t.Errorf("PSS: got %d, %v, want %d", pss, err, 12<<10)
	}
	busy, err := parseBusy([]byte("cpu  100 20 30 4000 500 6 7 8 90 0\ncpu0 1 2\n"))
	if want := 1710 * time.Millisecond; err != nil || busy != want {
		t.Errorf("busy: got %v, %v, want %v", busy, err, want)
	}
	lo, err := parseLoopback([]byte("Inter-| Receive\n face |bytes packets\n  eth0: 5 6\n    lo:1234 5 0 0\n"))
	if err != nil || lo != 1234 {
		t.Errorf("loopback: got %d, %v, want 1234", lo, err)
	}
	if _, err := parsePSS([]byte("Rss: 1 kB\n")); err == nil {
		t.Error("parsePSS took a text without PSS")
	}
	if _, err := parseBusy([]byte("intr 1 2\n")); err == nil {
		t.Error("parseBusy took a text without CPU times")
	}
	if _, err := parseLoopback([]byte("  eth0: 5 6\n")); err == nil {
		t.Error("parseLoopback took a text without a loopback interface")
	}
}
