package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"resonate/service"
)

// A userSession is a systemd that runs services of a user without privileges, as it would after a login.
type userSession struct {
	t    *testing.T
	root string // has bin/resonate, and home
	pid  int    // of a process that sees what the session sees
}

// sessionUser is nobody's number.
const sessionUser = 12321

// newUserSession starts one. It takes root, systemd, and control groups.
func newUserSession(t *testing.T) *userSession {
	t.Helper()
	needRoot(t)
	for _, tool := range []string{"systemctl", "unshare", "nsenter", "setpriv"} {
		if _, err := exec.LookPath(tool); err != nil {
			skip(t, err.Error())
		}
	}
	u := &userSession{t: t, root: scratch(t)}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(exe)
	err = errors.Join(err, os.Chmod(u.root, 0o755), os.MkdirAll(u.root+"/bin", 0o755), os.MkdirAll(u.root+"/home", 0o755),
		os.WriteFile(u.root+"/bin/resonate", program, 0o755))
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(u.root + "/systemd.log")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command("unshare", "--mount", "sh", "testdata/user-systemd.sh", u.root, fmt.Sprint(sessionUser))
	cmd.Stderr, cmd.SysProcAttr = log, detached()
	hold, err1 := cmd.StdinPipe()
	up, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		hold.Close()
		_ = cmd.Wait()
	})
	if _, err := io.ReadFull(up, make([]byte, 3)); err != nil {
		text, _ := os.ReadFile(u.root + "/systemd.log")
		skip(t, fmt.Sprintf("no systemd can be run for a user: %s", text))
	}
	u.pid = cmd.Process.Pid
	u.until("the session is up", func() error {
		if out, _ := u.run("systemctl", "--user", "is-system-running"); strings.TrimSpace(out) != "running" {
			return fmt.Errorf("it is %s", out)
		}
		return nil
	})
	return u
}

// command is a command line of the user.
func (u *userSession) command(args ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", "--mount", "-t", fmt.Sprint(u.pid), "setpriv", "--reuid", fmt.Sprint(sessionUser),
		"--regid", fmt.Sprint(sessionUser), "--clear-groups", "env", "-i", "-C", u.home(), "HOME="+u.home(), "PATH="+u.root+"/bin:/usr/bin:/bin",
		fmt.Sprintf("XDG_RUNTIME_DIR=/run/user/%d", sessionUser), "GORACE=atexit_sleep_ms=0")
	cmd.Args = append(cmd.Args, args...)
	return cmd
}

// run runs it, and returns what it printed, and its exit code.
func (u *userSession) run(args ...string) (string, int) {
	u.t.Helper()
	cmd := u.command(args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if cmd.ProcessState == nil {
		u.t.Fatal(err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// want runs a command line, given in words, and wants its exit code, and that its output matches all of the patterns.
func (u *userSession) want(code int, words string, patterns ...string) string {
	u.t.Helper()
	out, got := u.run(strings.Fields(words)...)
	if got != code {
		u.t.Errorf("%s: got exit code %d, want %d:\n%s", words, got, code, out)
	}
	for _, p := range patterns {
		if !regexp.MustCompile("(?m)" + p).MatchString(out) {
			u.t.Errorf("%s: got %q, want %q in it", words, out, p)
		}
	}
	return out
}

func (u *userSession) home() string { return filepath.Join(u.root, "home") }

// put writes a file of the user's.
func (u *userSession) put(name, text string) {
	u.t.Helper()
	full := filepath.Join(u.home(), name)
	cmd := u.command("sh", "-c", `mkdir -p "${1%/*}" && cat >"$1"`, "sh", full)
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		u.t.Fatalf("write %s: %v: %s", full, err, out)
	}
}

// get reads one, "" if it is not there.
func (u *userSession) get(name string) string {
	u.t.Helper()
	text, err := os.ReadFile(filepath.Join(u.home(), name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		u.t.Fatal(err)
	}
	return string(text)
}

// property is one of a unit's.
func (u *userSession) property(unit, name string) string {
	out, _ := u.run("systemctl", "--user", "show", unit, "--value", "--property="+name)
	return strings.TrimSpace(out)
}

// until waits for a condition.
func (u *userSession) until(what string, condition func() error) {
	u.t.Helper()
	if err := eventually(time.Minute, condition); err != nil {
		text, _ := os.ReadFile(u.root + "/systemd.log")
		u.t.Fatalf("%s: not after 30 s: %v\n%s", what, err, text[max(0, len(text)-3000):])
	}
}

// becomes waits until a unit's property matches.
func (u *userSession) becomes(unit, name, pattern string) {
	u.t.Helper()
	u.until(unit+" "+name, func() error {
		if got := u.property(unit, name); !regexp.MustCompile(pattern).MatchString(got) {
			return fmt.Errorf("it is %q, want %q", got, pattern)
		}
		return nil
	})
}

// TestServiceUnderSystemd has a real systemd run the service: what the units say is taken as it is meant, and the daemon
// can do its work under it.
func TestServiceUnderSystemd(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	t.Parallel()
	u := newUserSession(t)
	const unit, config = "resonate@my-notes.service", ".config/resonate/my-notes.toml"
	u.put("my+notes/a", "a")

	// It is installed with what the command line says, and is ready when install ends.
	u.want(0, "resonate service install -dir my+notes -port 0", "wrote .*/home/"+config, "wrote .*/home/.config/systemd/user/resonate@.service",
		unit+" is enabled and active: ", "resonate service logs -name my-notes", "loginctl enable-linger")
	u.want(0, "resonate service status -name my-notes", "^service +"+unit+`: active \(running\), enabled$`, "^daemon +alone, 1 file, 1 B$", "^logout +ends it")
	u.want(0, "resonate service status -dir my+notes -json", `"active": "active"`, `"state": "alone"`)
	u.want(0, "resonate service install -dir my+notes", "is enabled and active")
	u.want(1, "resonate service install -dir my+notes -port 5", "it is there, and says something else than -port = 5")

	// What it is denied is denied, and its work is not.
	pid := u.property(unit, "MainPID")
	status, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil || !strings.Contains(string(status), "NoNewPrivs:\t1\n") || !strings.Contains(string(status), "Seccomp:\t2\n") {
		t.Errorf("the daemon is not confined: %v\n%s", err, status)
	}
	u.syncs(u.home() + "/my+notes")
	u.becomes(unit, "StatusText", "^in sync, 3 files, .*, 1 of 1 peer$")

	// It reads its configuration again, and what is wrong with that is told and stops nothing.
	good := u.get(config)
	u.put(config, good+"log-level = \"debug\"\n")
	u.want(0, "systemctl --user reload "+unit)
	u.becomes(unit, "ActiveState", "^active$")
	u.put(config, good+"log-level = \"loud\"\n")
	u.want(0, "systemctl --user reload "+unit)
	u.becomes(unit, "StatusText", `; the configuration is wrong, and what was counts on: .*my-notes.toml:\d+: log-level: invalid value "loud"`)
	u.becomes(unit, "ActiveState", "^active$")
	u.put(config, good)
	u.want(0, "systemctl --user reload "+unit)
	u.becomes(unit, "StatusText", "(peer|alone|away|connected).*$")
	if now := u.property(unit, "MainPID"); now != pid {
		t.Errorf("after reloads the daemon is %s, want %s still", now, pid)
	}

	u.restarts(unit)
	u.ends(unit, config, good)
	u.mounts(config, good)
}

// mounts has the unit for the mount run the daemon: it is free to have fusermount3 mount, and the mount would be seen.
func (u *userSession) mounts(config, text string) {
	u.t.Helper()
	const unit = "resonate-mount@my-notes.service"
	template, err := service.Mount.Text(u.root + "/bin/resonate")
	if err != nil {
		u.t.Fatal(err)
	}
	u.put(config, text)
	u.put(".config/systemd/user/"+service.Mount.File(), template)
	u.want(0, "systemctl --user daemon-reload")
	u.want(0, "systemctl --user start "+unit)
	pid := u.property(unit, "MainPID")
	status, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil || !strings.Contains(string(status), "NoNewPrivs:\t0\n") || !strings.Contains(string(status), "Seccomp:\t0\n") {
		u.t.Errorf("the daemon is confined: %v\n%s", err, status)
	}
	own, err1 := os.Readlink("/proc/" + pid + "/ns/mnt")
	session, err2 := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", u.pid))
	if err := errors.Join(err1, err2); err != nil || own != session {
		u.t.Errorf("the daemon is in the mount namespace %s, the session in %s: %v", own, session, err)
	}
	u.want(0, "systemctl --user stop "+unit)
}

// syncs has another daemon of the user meet the service's, and files go both ways.
func (u *userSession) syncs(folder string) {
	u.t.Helper()
	out := u.want(0, "resonate status -json -dir "+folder)
	listen := regexp.MustCompile(`"listen": "([^"]+)"`).FindStringSubmatch(out)
	u.put("other/b", "b")
	other := u.command("resonate", "-dir", u.home()+"/other", "-port", "0", "-peer", listen[1])
	other.Args = slices.Insert(other.Args, slices.Index(other.Args, "setpriv")+1, "--pdeathsig", "KILL")
	if err := other.Start(); err != nil {
		u.t.Fatal(err)
	}
	u.t.Cleanup(func() {
		_ = other.Process.Kill()
		_ = other.Wait()
	})
	u.put("my+notes/c", "c")
	for _, name := range []string{"my+notes/b", "other/a", "other/c"} {
		u.until(name, func() error {
			if _, err := os.Stat(filepath.Join(u.home(), name)); err != nil {
				return err
			}
			return nil
		})
	}
}

// restarts has the daemon stop to work, and crash: systemd starts it anew both times.
func (u *userSession) restarts(unit string) {
	u.t.Helper()
	u.put(".config/systemd/user/"+unit+".d/soon.conf", "[Service]\nWatchdogSec=5s\nTimeoutAbortSec=1s\nRestartSec=100ms\n")
	u.want(0, "systemctl --user daemon-reload")
	u.want(0, "systemctl --user restart "+unit)
	for i, signal := range []string{"STOP", "QUIT", "KILL"} {
		pid := u.property(unit, "MainPID")
		u.want(0, "kill -"+signal+" "+pid)
		u.becomes(unit, "NRestarts", fmt.Sprint("^", i+1, "$"))
		u.becomes(unit, "SubState", "^running$")
		u.becomes(unit, "StatusText", "^[a-z ]+, 3 files")
		if now := u.property(unit, "MainPID"); now == pid || now == "0" {
			u.t.Errorf("after SIG%s the daemon is %s, want another than %s", signal, now, pid)
		}
	}
	u.want(0, "resonate service status -name my-notes", "restarted 3 times")
}

// ends starts the daemon with a configuration that cannot be right, which is not tried again; and uninstalls it.
func (u *userSession) ends(unit, config, good string) {
	u.t.Helper()
	u.put(config, good+"prot = 1\n")
	u.want(1, "systemctl --user restart "+unit)
	u.becomes(unit, "ActiveState", "^failed$")
	if got := u.property(unit, "NRestarts"); got != "0" {
		u.t.Errorf("a daemon whose configuration is wrong was started %s times again", got)
	}
	u.want(5, "resonate service status -name my-notes", `: failed \(failed\), enabled, failed last by exit-code`,
		`the last said: failed: .*toml:\d+: prot: there is no such key`, "resonate service logs -name my-notes")
	u.want(0, "resonate service uninstall -dir my+notes", unit+" is ended and disabled", "removed .*/resonate@.service$",
		"my-notes.toml stays: it is not as install wrote it", "my[+]notes stays")
	u.want(1, "resonate service uninstall -dir my+notes -name my-notes", "there is no such service")

	// As install wrote it, the configuration goes with the service.
	u.put(config, good)
	u.want(0, "resonate service install -dir my+notes", "wrote .*resonate@.service", "is enabled and active")
	u.want(0, "resonate service uninstall -dir my+notes", "removed .*my-notes.toml$")
	for _, name := range []string{config, ".config/systemd/user/resonate@.service", ".config/systemd/user/default.target.wants/" + unit} {
		if _, err := os.Lstat(filepath.Join(u.home(), name)); !errors.Is(err, os.ErrNotExist) {
			u.t.Errorf("%s is left: %v", name, err)
		}
	}
	if u.get("my+notes/a") != "a" {
		u.t.Error("the folder was touched")
	}
}
