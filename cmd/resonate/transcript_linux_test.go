package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// locksDoc has sessions in it: a line that begins with the name of a machine and "$ " is a command there, and stands above what it prints.
const locksDoc = "../../docs/locks.md"

// TestLocksSessions runs the commands that docs/locks.md shows, in the order in which they stand there, each in a shell of its machine, and
// compares what they print with what the document says. -update has the document say what is printed now, where that differs.
func TestLocksSessions(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	if _, err := exec.LookPath("bash"); err != nil {
		skip(t, "bash")
	}
	text, err := os.ReadFile(locksDoc)
	if err != nil {
		t.Fatal(err)
	}
	doc := readTranscript(string(text))
	three, two := doc.commands("Take-over")
	if len(three) < 20 || len(two) < 2 {
		t.Fatalf("%s has %d commands on three machines, and %d on two", locksDoc, len(three), len(two))
	}
	playTranscript(t, three, startLockers(t, 3, 3))
	playTranscript(t, two, startLockers(t, 2, 1, "-session", "5s"))
	if *update {
		if err := os.WriteFile(locksDoc, []byte(doc.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// A passage is a line of a document, or a command in it with what that prints.
type passage struct {
	line             string
	machine, command string // "": no command
	section          string // the heading above it
	prints           string // lines, not indented
}

// A transcript is a document with commands in it.
type transcript []*passage

var typedLine = regexp.MustCompile(`^    ([a-z]+)\$ (.*)\n$`)

func readTranscript(text string) (doc transcript) {
	section := ""
	for line := range strings.Lines(text) {
		if _, heading, found := strings.Cut(line, "# "); found && strings.HasPrefix(line, "#") {
			section = strings.TrimSpace(heading)
		}
		p := &passage{line: line, section: section}
		typed := typedLine.FindStringSubmatch(line)
		if typed != nil {
			p.machine, p.command = typed[1], typed[2]
		} else if printed, found := strings.CutPrefix(line, "    "); found && len(doc) > 0 && doc[len(doc)-1].command != "" {
			doc[len(doc)-1].prints += printed
			continue
		}
		doc = append(doc, p)
	}
	return doc
}

// commands returns the commands outside of a section, and those in it.
func (t transcript) commands(section string) (outside, inside []*passage) {
	for _, p := range t {
		switch {
		case p.command == "":
		case p.section == section:
			inside = append(inside, p)
		default:
			outside = append(outside, p)
		}
	}
	return outside, inside
}

func (t transcript) String() string {
	var b strings.Builder
	for _, p := range t {
		b.WriteString(p.line)
		for line := range strings.Lines(p.prints) {
			b.WriteString("    " + line)
		}
	}
	return b.String()
}

// What the machines and their users are called in the document, and "work" the folder that they share.
var (
	machineNames = []string{"laptop", "desktop", "server"}
	machineUsers = []string{"anna", "ben", "carl"}
)

// A machine is a daemon with a shell in its folder.
type machine struct {
	*daemon
	t       *testing.T
	shell   io.Writer   // what is written there is typed
	printed chan string // pieces that end with a newline, or with the mark
	names   *strings.Replacer
}

// promptMark is what a shell prints when a command has ended.
const promptMark = "\x1e\n"

// looks are commands that change nothing: they are run again until others have done what the document says that they see.
var looks = regexp.MustCompile(`^resonate (locks|cluster|status)( \S+)?$`)

// playTranscript runs commands on nodes, and compares. With -update each passage then has what was printed.
func playTranscript(t *testing.T, commands []*passage, nodes []*daemon) {
	machines := map[string]*machine{}
	prepareFolder(t, nodes)
	for i := range nodes {
		machines[machineNames[i]] = openShell(t, i, nodes)
	}
	for _, p := range commands {
		m := machines[p.machine]
		if m == nil {
			t.Fatalf("%s: there is no such machine for %q", locksDoc, p.command)
		}
		var got string
		asShown := func() bool { return unchanging(got) == unchanging(p.prints) }
		_ = eventually(time.Minute, func() error {
			if got = m.run(p.command); !asShown() && looks.MatchString(p.command) {
				return errors.New("not yet")
			}
			return nil
		})
		if asShown() {
			continue
		}
		if !*update {
			t.Errorf("%s$ %s: got\n%s\n%s shows\n%s\nrewrite it with -update, if that is right", p.machine, p.command, got, locksDoc, p.prints)
		}
		p.prints = got
	}
}

// prepareFolder makes what the document's commands lock, and programs that they run.
func prepareFolder(t *testing.T, nodes []*daemon) {
	t.Helper()
	c := nodes[0].c
	for _, dir := range []string{"thesis", "film"} {
		if err := os.Mkdir(filepath.Join(nodes[0].dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range map[string]string{"report.odt": "figures\n", "thesis/chapter1": "It was a dark night.\n", "film/scene1": "Enter.\n"} {
		if err := os.WriteFile(filepath.Join(nodes[0].dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(c.root, "render"), []byte("#!/bin/sh\nexec sleep 60\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	c.mustAgree()
}

// openShell starts a shell for one of the nodes.
func openShell(t *testing.T, which int, nodes []*daemon) *machine {
	t.Helper()
	d := nodes[which]
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", "--noprofile", "--norc")
	cmd.Dir, cmd.SysProcAttr = d.dir, detached()
	cmd.Env = append(d.environment(), "PATH="+filepath.Dir(d.c.program(exe))+":"+os.Getenv("PATH"))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	m := &machine{daemon: d, t: t, shell: in, printed: make(chan string, 1000), names: documentNames(t, which, nodes)}
	go func() {
		defer close(m.printed)
		for r := bufio.NewReader(out); ; {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			m.printed <- line
		}
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // with what it runs
		for range m.printed {                               // until all of that has ended
		}
		_ = cmd.Wait()
	})
	return m
}

// documentNames replaces users and machines by those of the document, as one of the nodes writes them.
func documentNames(t *testing.T, which int, nodes []*daemon) *strings.Replacer {
	t.Helper()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	me := userName(os.Getenv)
	pairs := []string{me + " on this machine", machineUsers[which] + " on this machine"}
	for i, d := range nodes {
		name := host + ":" + d.name
		pairs = append(pairs, me+" on "+name, machineUsers[i]+" on "+machineNames[i]+":work", name, machineNames[i]+":work")
	}
	return strings.NewReplacer(pairs...)
}

// run runs a command, and returns what is printed meanwhile, in the document's names. The daemon is ended and started here: no service is installed.
func (m *machine) run(command string) string {
	m.t.Helper()
	switch command {
	case "systemctl --user stop resonate@work":
		m.stop()
		return ""
	case "systemctl --user start resonate@work":
		m.start(envLocks + "=" + clusterLocks)
		m.c.until(time.Minute, func() error {
			q, err := m.client.Quorum(m.t.Context())
			if err == nil && (!q.Majority || q.Leader == "") {
				err = fmt.Errorf("no locks: %+v", q)
			}
			return err
		})
		return ""
	case "poweroff -f":
		m.kill()
		return ""
	}
	if _, err := fmt.Fprintf(m.shell, "%s\ncode=$?; printf '\\036\\n'; (exit $code)\n", command); err != nil {
		m.t.Fatal(err)
	}
	var out strings.Builder
	for late := time.After(time.Minute); ; {
		select {
		case piece, open := <-m.printed:
			if !open {
				m.t.Fatalf("the shell of %s has ended: %s", m.name, &out)
			}
			if before, ended := strings.CutSuffix(piece, promptMark); ended {
				return m.names.Replace(out.String() + before)
			}
			out.WriteString(piece)
		case <-late:
			m.t.Fatalf("%s: %q runs still; it has printed %s", m.name, command, &out)
		}
	}
}

// unchanging takes out of what commands print what is not the same in two runs.
func unchanging(printed string) string {
	for _, c := range []struct{ what, by string }{
		{`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`, "TIME"},
		{`since TIME \([0-9a-z ]+\)`, "since TIME (SPAN)"},
		{`generation \d+`, "generation N"},
		{`(?m)^\d+ nodes? keeps? \d+ scopes? ready, .*\n`, ""}, // until somebody asks
		{`(\S) {2,}`, "$1  "},                                  // columns, with other names in them
	} {
		printed = regexp.MustCompile(c.what).ReplaceAllString(printed, c.by)
	}
	return printed
}
