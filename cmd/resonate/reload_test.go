package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// configure writes the daemon's configuration, and has it started with that, on a free port, from now on.
func (d *daemon) configure(text string) {
	d.c.t.Helper()
	file := filepath.Join(d.c.root, d.name+".toml")
	if err := os.WriteFile(file, fmt.Appendf(nil, "dir = %q\n%s", d.dir, text), 0o600); err != nil {
		d.c.t.Fatal(err)
	}
	if !d.bare {
		d.bare, d.args = true, []string{"-config", file, "-port", "0"}
	}
}

func (d *daemon) signal(s syscall.Signal) {
	d.c.t.Helper()
	if err := d.cmd.Process.Signal(s); err != nil {
		d.c.t.Fatal(err)
	}
}

// logged counts the lines of the log that have a text.
func (d *daemon) logged(text string) int {
	log, err := os.ReadFile(d.log)
	if err != nil {
		d.c.t.Fatal(err)
	}
	return strings.Count(string(log), text)
}

func TestReload(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.add("a")
	a.configure("log-level = \"warn\"\nhistory-age = \"7d\"\n")
	a.args = append(a.args, "-history-age", "8d")
	s := supervise(a, patience)
	s.tells("READY=1")
	first := a.cmd.Process.Pid

	// What can change does, at once; over what is given as a flag the file has no say.
	if n := a.logged("level=INFO"); n > 0 {
		t.Errorf("at log level warn, %d lines are informational", n)
	}
	a.configure("log-level = \"debug\"\nhistory-age = \"9d\"\n")
	a.signal(syscall.SIGHUP)
	a.logs("level=INFO", "configuration read", "file="+c.root+"/a.toml", "changed=log-level")
	s.tells("RELOADING=1\nMONOTONIC_USEC=")
	s.until(func() error {
		if last := s.all[len(s.all)-1]; last != "READY=1" && !strings.HasPrefix(last, "STATUS=alone") {
			return fmt.Errorf("after the reload it tells %q", last)
		}
		return nil
	})
	a.write("f", "f")
	a.logs("level=DEBUG", "msg=published", "path=f")

	// What cannot is named. What was said before is not said again.
	a.configure("log-level = \"debug\"\nlisten = \"127.0.0.2\"\nhold = \"1/1%\"\nhistory-age = \"9d\"\n")
	a.signal(syscall.SIGHUP)
	a.logs("level=WARN", "need a restart", `settings="hold listen"`)
	if n := a.logged("need a restart"); n != 1 {
		t.Errorf("a restart was asked for %d times, want once", n)
	}

	// What is wrong changes nothing, and is told.
	a.configure("log-level = \"warn\"\nhold = \"half\"\n")
	a.signal(syscall.SIGHUP)
	a.logs("level=ERROR", "the configuration is wrong; what was counts on", "a.toml:3: hold: invalid value")
	s.tells("; the configuration is wrong, and what was counts on: " + c.root + "/a.toml:3: hold: invalid value")
	if err := os.Remove(filepath.Join(c.root, "a.toml")); err != nil {
		t.Fatal(err)
	}
	a.signal(syscall.SIGHUP)
	a.logs("level=ERROR", "a.toml: it does not exist")
	a.write("g", "g")
	a.logs("level=DEBUG", "msg=published", "path=g")

	// Put right, it is taken again.
	a.configure("")
	s.all = nil
	a.signal(syscall.SIGHUP)
	a.logs("configuration read", "changed=log-level")
	s.until(func() error {
		if len(s.all) == 0 || s.all[len(s.all)-1] != "STATUS=alone, 2 files, 2 B" {
			return fmt.Errorf("it tells %q", s.all)
		}
		return nil
	})
	if s.starts != 1 || a.cmd.Process.Pid != first {
		t.Errorf("started %d times, want once", s.starts)
	}
	if err := a.connect(); err != nil {
		t.Fatal(err)
	}
	a.stop()
}

// A restart puts into effect what waited for it.
func TestFileIsReadAtTheStart(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.add("a")
	a.start()
	b := c.add("b")
	b.configure("")
	b.start()
	b.stop()
	b.configure(fmt.Sprintf("peer = [\"127.0.0.1:%d\"]\n", a.port))
	b.start()
	a.write("f", "f")
	b.holds("f", "f")
}

// Without a file there is nothing to be read again: the signal ends the daemon, as a terminal does that goes away.
func TestHangupEndsADaemonWithoutAFile(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.add("a")
	a.start()
	a.signal(syscall.SIGHUP)
	<-a.ended
	if code := a.cmd.ProcessState.ExitCode(); code != exitDone {
		t.Errorf("got exit code %d, want %d", code, exitDone)
	}
}

// What apply cannot do is told, and not taken for done.
func TestSettingThatCannotBeApplied(t *testing.T) {
	s, _, err := configured("", nil, "")
	if err != nil {
		t.Fatal(err)
	}
	r := newReloader(s, nil, nil, nil, nil, nil)
	refuse, calls := true, 0
	r.ways = map[string]func(*settings) error{"hold": func(*settings) error {
		if calls++; refuse {
			return errors.New("not now")
		}
		return nil
	}}
	next, _, err := configured("", nil, "hold = \"1/1%\"")
	if err != nil {
		t.Fatal(err)
	}
	if applied, later, err := r.apply(next); err == nil || !strings.Contains(err.Error(), "set hold to 1/1%: not now") || len(applied)+len(later) > 0 {
		t.Errorf("got %v, %v, %v, want the error", applied, later, err)
	}
	refuse = false
	if applied, _, err := r.apply(next); err != nil || len(applied) != 1 {
		t.Errorf("the next time: got %v, %v, want it applied", applied, err)
	}
	if applied, _, err := r.apply(next); err != nil || len(applied) != 0 || calls != 2 {
		t.Errorf("once more: got %v, %v, and %d calls in all, want nothing done", applied, err, calls)
	}
}
