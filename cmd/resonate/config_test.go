package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// configured reads a configuration of the given text, as a daemon with these arguments and variables would.
func configured(args string, env map[string]string, text string) (*settings, []problem, error) {
	s := newSettings()
	get := func(name string) string { return env[name] }
	if _, err := parse(s.set, strings.Fields(args), get); err != nil {
		return nil, nil, err
	}
	s.noteOrigins(get)
	return s, s.parseConfig("/x.toml", text, "/home/u"), nil
}

func TestFlagsOverVariablesOverFile(t *testing.T) {
	s, problems, err := configured("-port 1 -peer flag:1", map[string]string{"RESONATE_PORT": "2", "RESONATE_LISTEN": "::1", "RESONATE_HOLD": ""}, `
port = 3
peer = ["file:1", "file:2"]
listen = "0.0.0.0"
dir = "~/shared"
hold = "5/1%"
`)
	if err != nil || len(problems) > 0 {
		t.Fatal(err, problems)
	}
	want := map[string]string{
		"port": "1, flag 0", "peer": "flag:1, flag 0", "listen": "::1, variable 0", "dir": "/home/u/shared, file 5", "hold": "5/1%, file 6",
		"history-age": "30d, default 0", "keep-owner": "false, default 0",
	}
	for _, one := range s.describe() {
		got := fmt.Sprintf("%s, %s %d", one.Value, one.From, one.Line)
		if w, ok := want[one.Key]; ok && got != w {
			t.Errorf("%s: got %s, want %s", one.Key, got, w)
		}
		delete(want, one.Key)
	}
	if len(want) > 0 {
		t.Errorf("not told of: %v", want)
	}
}

func TestWhatIsWrongWithAConfiguration(t *testing.T) {
	rows := []struct{ name, text, want string }{
		{"unknown key", "dir = \"/d\"\nprot = 1", "/x.toml:2: prot: there is no such key: want one of conflict, dir, discover, history-age,"},
		{"a typo in the name", "history_age = \"7d\"", "/x.toml:1: history_age: there is no such key"},
		{"number in quotes", "port = \"7\"", "/x.toml:1: port: want a number, without quotes"},
		{"fraction", "port = 7.5", "/x.toml:1: port: invalid value \"7.5\": want a number from 0 to 65535"},
		{"number out of range", "\n\nport = 70000", "/x.toml:3: port: invalid value \"70000\": want a number from 0 to 65535"},
		{"text without quotes", "listen = 5", "/x.toml:1: listen: want a text in quotes"},
		{"number for a time", "history-age = 7", "/x.toml:1: history-age: invalid value \"7\": want a duration such as 90s, 2h30m or 7d"},
		{"session out of range", "session = \"11m\"", "/x.toml:1: session: invalid value \"11m\": want from 5s to 10m, such as 30s"},
		{"switch in quotes", "log-json = \"true\"", "/x.toml:1: log-json: want true or false, without quotes"},
		{"number in a list", "peer = [\"a:1\", 3]", "/x.toml:1: peer: want a list of texts in quotes"},
		{"list for a text", "dir = [\"/a\"]", "/x.toml:1: dir: want a text in quotes"},
		{"bad address", "peer = [\"a:1\",\n\"b\"]", "/x.toml:1: peer: invalid value \"b\": the port is missing; want HOST:PORT, such as b:7373"},
		{"relative folder", "dir = \"shared\"", "/x.toml:1: dir: invalid value \"shared\": want a path from the root, or from ~/"},
		{"somebody's home", "dir = \"~other/x\"", "/x.toml:1: dir: invalid value \"~other/x\""},
		{"no folder", "dir = \"\"", "/x.toml:1: dir: invalid value \"\""},
		{"fresh", "fresh = true", "/x.toml:1: fresh: it would begin anew at every start: give it as a flag, once"},
		{"config", "config = \"other\"", "/x.toml:1: config: there is no such key"},
		{"section", "port = 1\n[peer]\na = 1", "/x.toml:2: peer: want a list of texts"},
		{"dotted key", "port = 1\nlog.level = \"debug\"", "/x.toml:2: log: there is no such key"},
		{"twice", "port = 1\n\nport = 1", "/x.toml:3: port: Key 'port' has already been defined; put the line right"},
		{"not closed", "dir = \"/d\nport = 1", "/x.toml:1: dir: strings cannot contain newlines; put the line right"},
		{"date", "dir = 2026-01-01", "/x.toml:1: dir: want a text in quotes"},
		{"a flag wins, and it is wrong all the same", "keep-owner = 1", "/x.toml:1: keep-owner: want true or false"},
		{"empty", "", ""},
		{"good", "dir = \"/d\" # of this machine\npeer = \"a:1, b:2\"\nhistory-size = 0\nlog-level = \"debug\"", ""},
	}
	for _, row := range rows {
		_, problems, err := configured("-keep-owner", nil, row.text)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range problems {
			got = append(got, p.Error())
		}
		switch {
		case row.want == "" && len(got) > 0, row.want != "" && (len(got) != 1 || !strings.Contains(got[0], row.want)):
			t.Errorf("%s: got %q, want %q", row.name, got, row.want)
		}
		if err := configError(problems); err != nil && exitCode(err) != exitUsage {
			t.Errorf("%s: exit code %d, want %d", row.name, exitCode(err), exitUsage)
		}
	}
}

func TestAllThatIsWrongIsToldAtOnce(t *testing.T) {
	_, problems, err := configured("", nil, "nope = 1\nport = \"x\"\ndir = \"/d\"\nhold = \"half\"")
	if err != nil || len(problems) != 3 || problems[0].line != 1 || problems[1].line != 2 || problems[2].line != 4 {
		t.Errorf("got %v, %v, want problems on the lines 1, 2 and 4", problems, err)
	}
}

// Whatever a flag can say, a file can, and as resonate config writes it.
func TestSettingsAreReadBackAsWritten(t *testing.T) {
	given := map[string]string{
		"dir": "/a \"b\"\\c\n\tü\x7f", "port": "0", "listen": "fe80::1", "peer": "a:1,[::1]:2", "hold": "off", "history-age": "1h30m",
		"history-size": "1234567891", "session": "1m30s", "conflict": "latest", "keep-owner": "true", "log-level": "WARN", "log-json": "true",
	}
	s := newSettings()
	s.set.VisitAll(func(f *flag.Flag) {
		if text, ok := given[f.Name]; ok {
			if err := f.Value.Set(text); err != nil {
				t.Errorf("%s: %v", f.Name, err)
			}
		}
	})
	shown := renderConfig(shownConfig{File: "/x.toml", Settings: s.describe()})
	again, problems, err := configured("", nil, shown)
	if err != nil || len(problems) > 0 {
		t.Fatalf("%v %v in\n%s", err, problems, shown)
	}
	for _, f := range again.describe() {
		if want := s.set.Lookup(f.Key).Value.String(); f.Value != want {
			t.Errorf("%s: got %q, want %q", f.Key, f.Value, want)
		}
	}
	if _, err := quotedText("\xff"); err == nil {
		t.Error("a name that is not UTF-8 was written")
	}
}

func TestSizeIsWrittenExactly(t *testing.T) {
	for _, n := range []size{0, 1, 1023, 1 << 10, 1500, 1_500_000, 10 << 30, 1<<40 + 1, 5e9, 1<<62 + 1} {
		var got size
		if err := got.Set(n.String()); n < 1<<53 && (err != nil || got != n) {
			t.Errorf("%d is written %s and read %d, %v", n, n.String(), got, err)
		}
	}
	if n := size(10 << 30); n.String() != "10GiB" {
		t.Errorf("10 GiB is written %s", n.String())
	}
}

func TestFilesThatOthersCanWriteAreRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.toml")
	if err := os.WriteFile(path, []byte("port = 1"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := configFile{path: path}
	for mode, wanted := range map[os.FileMode]bool{0o600: true, 0o644: true, 0o664: false, 0o646: false} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, problems := f.read()
		if (len(problems) == 0) != wanted {
			t.Errorf("mode %o: got %v, want it taken: %v", mode, problems, wanted)
		}
		if !wanted && !strings.Contains(problems[0].Error(), "chmod go-w "+path) {
			t.Errorf("mode %o: got %v, want the remedy", mode, problems)
		}
	}
	if os.Geteuid() != 0 {
		return // only root can give a file away
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, 1234, 0); err != nil {
		t.Fatal(err)
	}
	if _, problems := f.read(); len(problems) != 1 || !strings.Contains(problems[0].Error(), "another user") {
		t.Errorf("a file of another user: got %v, want it refused", problems)
	}
}

func TestConfigsThatClash(t *testing.T) {
	var all []*settings
	var got []string
	for _, text := range []string{"dir = \"/a\"\nport = 1", "dir = \"/b\"\nport = 0", "port = 0\ndir = \"/a\"", "dir = \"/c\"\n\nport = 1"} {
		s, problems, err := configured("", nil, text)
		if err != nil || len(problems) > 0 {
			t.Fatal(err, problems)
		}
		for _, p := range s.clashes(all) {
			got = append(got, fmt.Sprintf("%d:%s", p.line, p.key))
		}
		all = append(all, s)
	}
	if want := "2:dir 3:port"; strings.Join(got, " ") != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// FuzzConfig reads any bytes as a configuration: what is wrong has a cause, and what is right is written and read back.
func FuzzConfig(f *testing.F) {
	for _, seed := range []string{"dir = \"~/a\"\nport = 1", "peer = [\"a:1\"]", "a.b = 1", "[[x]]\ny = {z = 1}", "port = 1e9", "\"\" = 1", "hold = \"off\"", "\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, problems, err := configured("", nil, text)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			if p.cause == "" {
				t.Errorf("a problem without a cause: %+v", p)
			}
		}
		if len(problems) > 0 {
			return
		}
		shown := renderConfig(shownConfig{File: "/x.toml", Settings: s.describe()})
		if _, problems, err := configured("", nil, shown); err != nil || len(problems) > 0 {
			t.Errorf("not read back: %v %v\n%s", err, problems, shown)
		}
	})
}
