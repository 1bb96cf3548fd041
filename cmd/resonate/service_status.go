package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"resonate/control"
	"resonate/service"
)

// uninstall ends the service, and removes what install has made.
func (o serviceOptions) uninstall(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, serviceDeadline)
	defer cancel()
	v, err := o.find()
	if err != nil {
		return err
	}
	systemd, err := v.systemd(ctx)
	if err != nil {
		return err
	}
	st, err := systemd.State(ctx, v.unit())
	if err != nil {
		return err
	}
	if st.File == "" && st.Active == "inactive" {
		return stateError{v.unit(), errors.New("there is no such service"), "see which configurations there are: resonate config"}
	}
	if err := systemd.Stop(ctx, v.unit()); err != nil {
		return fmt.Errorf("end the service: %w", err)
	}
	fmt.Fprintf(o.Out, "%s is ended and disabled\n", v.unit())
	path, err := systemd.Withdraw(ctx, service.Folder)
	if err != nil {
		return err
	}
	if path != "" {
		fmt.Fprintf(o.Out, "removed %s\n", shown(path))
	}
	removed, err := v.config.removeUnchanged()
	switch _, missing := os.Lstat(v.config.path); {
	case err != nil:
		return err
	case removed:
		fmt.Fprintf(o.Out, "removed %s\n", shown(v.config.path))
	case missing == nil:
		fmt.Fprintf(o.Out, "%s stays: it is not as install wrote it\n", shown(v.config.path))
	}
	_, err = fmt.Fprintf(o.Out, "%s stays, with its history and its state\n", shown(v.folder))
	return err
}

// serviceStatus is what "resonate service status -json" prints.
type serviceStatus struct {
	Unit    string          `json:"unit"`
	Config  string          `json:"config"`
	Folder  string          `json:"folder"`
	System  service.State   `json:"systemd"`
	Lingers bool            `json:"lingers"`
	Daemon  *control.Status `json:"daemon,omitempty"` // nil: none answers
}

// status prints what systemd says of the service, and the daemon of itself.
func (o serviceOptions) status(ctx context.Context) error {
	v, err := o.find()
	if err != nil {
		return err
	}
	systemd, err := v.systemd(ctx)
	if err != nil {
		return err
	}
	st := serviceStatus{Unit: v.unit(), Config: v.config.path, Folder: v.folder, Lingers: service.Lingers()}
	if st.System, err = systemd.State(ctx, v.unit()); err != nil {
		return err
	}
	if st.Daemon, err = v.askDaemon(ctx); err != nil {
		return err
	}
	if o.asJSON {
		err = printJSON(o.Out, st)
	} else {
		_, err = io.WriteString(o.Out, renderService(st))
	}
	if err == nil && st.Daemon == nil {
		err = stateError{v.unit(), fmt.Errorf("%w on %s", control.ErrNoDaemon, shown(v.folder)), st.remedy(v)}
	}
	return err
}

// askDaemon returns what the daemon on the folder says; nil if none runs.
func (v served) askDaemon(ctx context.Context) (*control.Status, error) {
	client, err := dialFolder(ctx, v.folder)
	if errors.Is(err, control.ErrNoDaemon) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer client.Close()
	st, err := client.Status(ctx)
	return &st, err
}

// remedy says how a daemon is got to run.
func (s serviceStatus) remedy(v served) string {
	if s.System.File == "" {
		return "make it a service with: resonate service install -dir " + shellWord(v.folder)
	}
	return fmt.Sprintf("see: resonate service logs -name %s; start it with: systemctl --user start %s", v.config.name, v.unit())
}

// renderService writes a status for people.
func renderService(s serviceStatus) string {
	var b strings.Builder
	line := func(label, format string, args ...any) {
		fmt.Fprintf(&b, "%-10s %s\n", label, harmless(fmt.Sprintf(format, args...)))
	}
	parts := []string{"not installed"}
	if y := s.System; y.File != "" {
		parts = []string{fmt.Sprintf("%s (%s)", y.Active, y.Sub), "not enabled"}
		if y.Enabled {
			parts[1] = "enabled"
		}
		if y.Result != "success" {
			parts = append(parts, "failed last by "+y.Result)
		}
		if y.Restarts > 0 {
			parts = append(parts, "restarted "+formatCount(y.Restarts, "time", "times"))
		}
	}
	line("service", "%s: %s", s.Unit, strings.Join(parts, ", "))
	line("config", "%s", shown(s.Config))
	line("folder", "%s", shown(s.Folder))
	switch d := s.Daemon; {
	case d == nil && s.System.Said != "":
		line("daemon", "none; the last said: %s", s.System.Said)
	case d == nil:
		line("daemon", "none")
	case d.PID != s.System.PID:
		line("daemon", "%s; it is not the service's: pid %d", stateWords(*d), d.PID)
	default:
		line("daemon", "%s", stateWords(*d))
	}
	if s.System.Enabled && !s.Lingers {
		line("logout", "ends it; loginctl enable-linger has it go on")
	}
	return b.String()
}
