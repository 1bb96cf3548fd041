package main

import (
	"flag"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	rows := []struct {
		name     string
		args     string
		env      map[string]string
		operands []string
		dir      string
		json     bool
	}{
		{name: "flags first", args: "-dir d -json p", operands: []string{"p"}, dir: "d", json: true},
		{name: "flags last", args: "p q -json --dir=d", operands: []string{"p", "q"}, dir: "d", json: true},
		{name: "between", args: "p -dir d q", operands: []string{"p", "q"}, dir: "d"},
		{name: "dashes end flags", args: "p -- -json -dir", operands: []string{"p", "-json", "-dir"}},
		{name: "a value that looks like the end", args: "-dir -- p", operands: []string{"p"}, dir: "--"},
		{name: "a lone dash", args: "- -json", operands: []string{"-"}, json: true},
		{name: "switch with a value", args: "-json=false p", operands: []string{"p"}, env: map[string]string{"RESONATE_JSON": "true"}},
		{name: "variable", args: "p", operands: []string{"p"}, dir: "e", env: map[string]string{"RESONATE_DIR": "e"}},
		{name: "flag over variable", args: "-dir d", dir: "d", env: map[string]string{"RESONATE_DIR": "e"}},
	}
	for _, row := range rows {
		set := flag.NewFlagSet("x", flag.ContinueOnError)
		dir, asJSON := dirFlag(set), jsonFlag(set)
		operands, err := parse(set, strings.Fields(row.args), func(name string) string { return row.env[name] })
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		if !reflect.DeepEqual(operands, row.operands) || *dir != row.dir || *asJSON != row.json {
			t.Errorf("%s: got operands %q, dir %q, json %v; want %q, %q, %v", row.name, operands, *dir, *asJSON, row.operands, row.dir, row.json)
		}
	}
}

func TestUnknownFlag(t *testing.T) {
	rows := map[string]string{
		"-dir d -peers a:1": "-peers", "--prot=1 x": "--prot=1", "-dir -peers": "", "-json status -nope": "", "-- -nope": "", "-h x": "",
	}
	for args, want := range rows {
		if got := unknownFlag(strings.Fields(args), commands()); got != want {
			t.Errorf("%q: got %q, want %q", args, got, want)
		}
	}
}

func TestSplitCommand(t *testing.T) {
	rows := []struct{ args, name, rest string }{
		{"status -json", "status", "-json"},
		{"-dir d status", "status", "-dir d"},
		{"-dir=d -json status p", "status", "-dir=d -json p"},
		{"-dir status", "", "-dir status"},
		{"-dir d -peer a:1 -fresh", "", "-dir d -peer a:1 -fresh"},
		{"-- status", "", "-- status"},
	}
	for _, row := range rows {
		name, rest := splitCommand(strings.Fields(row.args), commands())
		if got := strings.Join(rest, " "); name != row.name || got != row.rest {
			t.Errorf("%q: got %q and %q, want %q and %q", row.args, name, got, row.name, row.rest)
		}
	}
}

// splitCommand must know which flags take a value before it knows the command.
func TestFlagsTakeValuesAlike(t *testing.T) {
	first := map[string]string{}
	valued := map[string]bool{}
	for _, cmd := range commands() {
		cmd.flags().VisitAll(func(f *flag.Flag) {
			if by, ok := first[f.Name]; ok && valued[f.Name] == isSwitch(f) {
				t.Errorf("-%s takes a value in one of %s and %s, and none in the other", f.Name, by, cmd.name)
			}
			first[f.Name], valued[f.Name] = cmd.name, !isSwitch(f)
		})
	}
}

func TestParseDuration(t *testing.T) {
	rows := []struct {
		in   string
		want time.Duration
		ok   bool
	}{
		{"90s", 90 * time.Second, true}, {"7d", 7 * day, true}, {"1.5d", 36 * time.Hour, true}, {"1d12h", 36 * time.Hour, true},
		{"0", 0, true}, {"2h30m", 150 * time.Minute, true}, {"d", 0, false}, {"7", 0, false}, {"", 0, false}, {"1e300d", 0, false}, {"-1d", 0, false},
	}
	for _, row := range rows {
		got, err := parseDuration(row.in)
		if (err == nil) != row.ok || got != row.want {
			t.Errorf("%q: got %v, %v; want %v, ok %v", row.in, got, err, row.want, row.ok)
		}
	}
}

func TestSessionLength(t *testing.T) {
	rows := map[string]bool{"5s": true, "30s": true, "10m": true, "4.9s": false, "10m1s": false, "0": false, "-30s": false, "1d": false, "30": false, "": false}
	for in, want := range rows {
		var got sessionLength
		if err := got.Set(in); (err == nil) != want || want && got.String() != in {
			t.Errorf("%q: got %v, %v; want ok %v", in, got.String(), err, want)
		}
	}
}

func TestFormatDurationIsReadBack(t *testing.T) {
	for _, want := range []string{"30d", "1m", "1h", "1h30m", "90ms", "20s", "10m", "10h"} {
		d, err := parseDuration(want)
		if got := formatDuration(d); err != nil || got != want {
			t.Errorf("%q: got %q, %v", want, got, err)
		}
	}
}

func TestSize(t *testing.T) {
	rows := map[string]size{"10GiB": 10 << 30, "500MB": 500e6, "1.5 KiB": 1536, "0": 0, "7": 7, "2k": -1, "-1": -1, "9000000TiB": -1, "": -1, "GiB": -1}
	for in, want := range rows {
		var got size
		if err := got.Set(in); err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("%q: got %d, want %d", in, got, want)
		}
	}
}

func TestBurst(t *testing.T) {
	rows := []struct {
		in   string
		want burst
		ok   bool
	}{
		{"100/50%", burst{files: 100, share: 0.5}, true}, {"0/0%", burst{}, true}, {"off", burst{off: true}, true}, {"5/12.5%", burst{files: 5, share: 0.125}, true},
		{"100", burst{}, false}, {"100/50", burst{}, false}, {"-1/50%", burst{}, false}, {"1/101%", burst{}, false}, {"1/NaN%", burst{}, false},
	}
	for _, row := range rows {
		var got burst
		err := got.Set(row.in)
		if (err == nil) != row.ok || got != row.want {
			t.Errorf("%q: got %+v, %v; want %+v, ok %v", row.in, got, err, row.want, row.ok)
		}
		if row.ok && got.String() != row.in {
			t.Errorf("%q is written %q", row.in, got.String())
		}
	}
}

func TestCheckAddress(t *testing.T) {
	rows := map[string]bool{
		"localhost:1": true, "10.0.0.1:7373": true, "[::1]:65535": true, "[fe80::1%eth0]:1": true,
		"localhost": false, ":1": false, "h:": false, "h:0": false, "h:65536": false, "h:http": false, "::1:1": false, "u@h:1": false, "": false,
	}
	for in, want := range rows {
		if err := checkAddress(in); (err == nil) != want {
			t.Errorf("%q: got %v, want ok %v", in, err, want)
		}
	}
}

func TestParseTime(t *testing.T) {
	zone := time.FixedZone("X", 2*3600)
	now := time.Date(2026, 11, 2, 12, 0, 0, 0, zone)
	rows := map[string]time.Time{
		"":                     {},
		"2026-01-02T15:04:05Z": time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC),
		"2026-01-02 15:04:05":  time.Date(2026, 1, 2, 15, 4, 5, 0, zone),
		"2026-01-02 15:04":     time.Date(2026, 1, 2, 15, 4, 0, 0, zone),
		"2026-01-02":           time.Date(2026, 1, 2, 0, 0, 0, 0, zone),
		"2h":                   now.Add(-2 * time.Hour),
		"7d":                   now.Add(-7 * day),
	}
	for in, want := range rows {
		if got, err := parseTime(in, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: got %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"noon", "-2h", "2026-13-01"} {
		if got, err := parseTime(in, now); err == nil {
			t.Errorf("%q: got %v, want an error", in, got)
		}
	}
}

func TestFindHomes(t *testing.T) {
	env := map[string]string{"HOME": "/home/u", "XDG_STATE_HOME": "relative", "XDG_CONFIG_HOME": "/c", "XDG_RUNTIME_DIR": "run"}
	got, err := findHomes(func(name string) string { return env[name] })
	if want := (homes{state: "/home/u/.local/state", config: "/c"}); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}
