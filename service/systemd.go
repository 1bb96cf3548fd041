package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
)

// Systemd is the instance of systemd that runs this user's services, spoken to with its command systemctl.
type Systemd struct {
	units string // the folder of units that belong to this user
}

// wants is where an enabled unit is linked, below the folder of units.
const wants = "default.target.wants"

// Find returns the user's systemd, once it has answered. config is the user's $XDG_CONFIG_HOME. The error says what is
// missing: systemd, or the session that it belongs to.
func Find(ctx context.Context, config string) (*Systemd, error) {
	if _, err := exec.LookPath("systemctl"); err != nil {
		return nil, errors.New("there is no systemd here: systemctl is not in PATH: have your own service manager run resonate -config NAME")
	}
	runtime := os.Getenv("XDG_RUNTIME_DIR")
	again := fmt.Sprintf("log in as this user (sudo and su do not), or run: export XDG_RUNTIME_DIR=/run/user/%d", os.Getuid())
	if runtime == "" {
		return nil, fmt.Errorf("this shell does not belong to a session of systemd: XDG_RUNTIME_DIR is not set: %s", again)
	}
	if st, err := os.Stat(runtime); err != nil || !st.IsDir() {
		return nil, fmt.Errorf("this shell does not belong to a session of systemd: XDG_RUNTIME_DIR is %s, which is no folder: %s", runtime, again)
	}
	s := &Systemd{units: filepath.Join(config, "systemd", "user")}
	if _, err := s.Environment(ctx); err != nil {
		return nil, fmt.Errorf("the systemd of this user does not answer: %w: %s", err, again)
	}
	return s, nil
}

// run runs systemctl --user, and returns what it printed. An error has what it said.
func (s *Systemd) run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "systemctl", append([]string{"--user", "--no-pager"}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		said := strings.Join(strings.Fields(stderr.String()), " ")
		if said == "" {
			said = err.Error()
		}
		return stdout.String(), fmt.Errorf("systemctl --user %s: %s", args[0], said)
	}
	return stdout.String(), nil
}

// Environment returns the environment that services get.
func (s *Systemd) Environment(ctx context.Context) (map[string]string, error) {
	text, err := s.run(ctx, "show-environment")
	env := make(map[string]string)
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		env[name] = value
	}
	return env, err
}

// Provide has systemd know the template. One that a package has installed serves, unless it is hidden by one of ours in
// the user's own folder, which is kept up to date. The path returned is "" if nothing was written.
func (s *Systemd) Provide(ctx context.Context, t Template, name, program string) (string, error) {
	text, err := t.Text(program)
	if err != nil {
		return "", err
	}
	state, err := s.State(ctx, t.Unit(name))
	if err != nil {
		return "", err
	}
	if state.File != "" && filepath.Dir(state.File) != s.units {
		return "", nil
	}
	path, changed, err := t.write(s.units, text)
	if err != nil || !changed {
		return "", err
	}
	_, err = s.run(ctx, "daemon-reload")
	return path, err
}

// Start enables a unit and starts it; it returns when the daemon has said that it is ready, or has failed.
func (s *Systemd) Start(ctx context.Context, unit string) error {
	_, _ = s.run(ctx, "reset-failed", unit) // only if it has failed before
	_, err := s.run(ctx, "enable", "--now", unit)
	return err
}

// Stop ends a unit and disables it. It returns when the daemon has ended.
func (s *Systemd) Stop(ctx context.Context, unit string) error {
	_, err := s.run(ctx, "disable", "--now", unit)
	_, _ = s.run(ctx, "reset-failed", unit) // only if it has failed
	return err
}

// Withdraw removes the template from the user's folder of units, if it is ours and no other unit of it is enabled. The
// path returned is "" if nothing was removed.
func (s *Systemd) Withdraw(ctx context.Context, t Template) (string, error) {
	path := filepath.Join(s.units, t.File())
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) || err == nil && !t.ours(text) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read unit: %w", err)
	}
	links, err := os.ReadDir(filepath.Join(s.units, wants))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("list enabled units: %w", err)
	}
	for _, l := range links {
		if strings.HasPrefix(l.Name(), string(t)+"@") {
			return "", nil
		}
	}
	if err := os.Remove(path); err != nil {
		return "", fmt.Errorf("remove unit: %w", err)
	}
	_, err = s.run(ctx, "daemon-reload")
	return path, err
}

// State is what systemd knows of a unit.
type State struct {
	File     string `json:"file,omitempty"` // its text; "" if there is none
	Enabled  bool   `json:"enabled"`        // it is started with the user's session
	Active   string `json:"active"`         // "active", "inactive", "failed", "activating", "reloading", ...
	Sub      string `json:"sub"`            // more precisely
	PID      int    `json:"pid,omitempty"`  // of the daemon
	Restarts int    `json:"restarts"`       // by systemd, since it was started by hand
	Result   string `json:"result"`         // "success", or how it failed last: "exit-code", "watchdog", "signal", ...
	Said     string `json:"said"`           // the last status that the daemon has told
}

// State asks for it. A unit that systemd does not know is no error.
func (s *Systemd) State(ctx context.Context, unit string) (State, error) {
	text, err := s.run(ctx, "show", unit,
		"--property=FragmentPath,UnitFileState,ActiveState,SubState,MainPID,NRestarts,Result,StatusText")
	if err != nil {
		return State{}, err
	}
	values := make(map[string]string)
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		values[name] = value
	}
	st := State{
		File: values["FragmentPath"], Enabled: strings.HasPrefix(values["UnitFileState"], "enabled"), Active: values["ActiveState"],
		Sub: values["SubState"], Result: values["Result"], Said: values["StatusText"],
	}
	st.PID, _ = strconv.Atoi(values["MainPID"]) // 0: none
	st.Restarts, _ = strconv.Atoi(values["NRestarts"])
	return st, nil
}

// Lingers tells whether the services of this user go on when the user logs out.
func Lingers() bool {
	me, err := user.Current()
	if err != nil {
		return false
	}
	_, err = os.Stat(filepath.Join("/var/lib/systemd/linger", me.Username))
	return err == nil
}

// Journal is the command line that shows the log of a unit: as it grows, if follow is set. It looks for the messages of
// the user's unit in all journals that the user may read, because without a persistent journal there is none per user.
func Journal(unit string, follow bool) []string {
	args := []string{"journalctl", "--user-unit=" + unit}
	if follow {
		args = append(args, "--follow")
	}
	return args
}
