package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"resonate/service"
)

// serviceDeadline bounds what systemd is asked to do, the start of a daemon included.
const serviceDeadline = 11 * time.Minute

// install makes the daemon of a folder a service. What can be wrong is looked at before anything is written.
func (o serviceOptions) install(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, serviceDeadline)
	defer cancel()
	if o.settings.fresh {
		return usageError{command: "service", cause: "-fresh would begin anew at every start: run resonate -dir DIR -fresh once by hand, then install the service"}
	}
	v, err := o.find()
	if err != nil {
		return err
	}
	program, err := installable()
	if err != nil {
		return err
	}
	systemd, err := v.systemd(ctx)
	if err != nil {
		return err
	}
	text, err := o.configText(v)
	if err != nil {
		return err
	}
	if err := v.checkNobodyRuns(ctx, systemd); err != nil {
		return err
	}
	if text != "" {
		if err := v.config.create(text); err != nil {
			return err
		}
		fmt.Fprintf(o.Out, "wrote %s\n", shown(v.config.path))
	}
	path, err := systemd.Provide(ctx, service.Folder, v.config.name, program)
	if err != nil {
		return err
	}
	if path != "" {
		fmt.Fprintf(o.Out, "wrote %s\n", shown(path))
	}
	return o.start(ctx, v, systemd)
}

// start starts the unit, and tells what became of it and what else there is to know.
func (o serviceOptions) start(ctx context.Context, v served, systemd *service.Systemd) error {
	err := systemd.Start(ctx, v.unit())
	st, stateErr := systemd.State(ctx, v.unit())
	if err == nil {
		err = stateErr
	}
	if err != nil {
		if st.Said != "" {
			err = errors.New(harmless(st.Said))
		}
		return stateError{"start " + v.unit(), err, "see: resonate service logs -name " + v.config.name + "; then try again, or resonate service uninstall"}
	}
	fmt.Fprintf(o.Out, "%s is enabled and %s: %s\n", v.unit(), st.Active, harmless(st.Said))
	fmt.Fprintf(o.Out, "    how it is:    resonate service status -name %s\n", v.config.name)
	fmt.Fprintf(o.Out, "    its log:      resonate service logs -name %s\n", v.config.name)
	fmt.Fprintf(o.Out, "    its settings: %s; then systemctl --user reload %s\n", shown(v.config.path), v.unit())
	if !service.Lingers() {
		fmt.Fprintf(o.Out, "It ends when you log out of your last session, and starts when you log in. To have it run from boot on and after\n"+
			"logout: loginctl enable-linger\n")
	}
	return nil
}

// installable returns the path of this program, unless it will not be there for long.
func installable() (string, error) {
	program, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find the program: %w", err)
	}
	if strings.Contains(program, "/go-build") && filepath.Base(filepath.Dir(program)) == "exe" {
		return "", stateError{"install a service", errors.New("go run removes this program when it ends"), "install it first: go install ./cmd/resonate"}
	}
	return program, nil
}

// configText returns the text of the configuration that is to be written; "" if it is there. One that is there must be
// right, and be of this folder, and say what the flags say.
func (o serviceOptions) configText(v served) (string, error) {
	given := o.settings
	given.dir = v.folder
	given.noteOrigins(o.Env)
	there := newSettings()
	switch _, err := os.Lstat(v.config.path); {
	case err == nil:
		if err := configError(there.fill(v.config, o.Env("HOME"))); err != nil {
			return "", err
		}
		return "", there.sameAs(given)
	case !errors.Is(err, os.ErrNotExist):
		return "", fmt.Errorf("look for the configuration: %w", err)
	}
	text, err := given.configText()
	if err != nil {
		return "", err
	}
	if err := configError(there.parseConfig(v.config.path, text, o.Env("HOME"))); err != nil {
		return "", err
	}
	there.config = v.config
	if err := there.check(nil); err != nil {
		return "", err
	}
	return text, v.clash(there, o.Env("HOME"))
}

// clash tells whether another configuration has the same port.
func (v served) clash(mine *settings, home string) error {
	files, err := v.homes.configs()
	if err != nil {
		return err
	}
	for _, f := range files {
		s := newSettings()
		if len(s.fill(f, home)) > 0 {
			continue // its daemon does not start
		}
		for _, p := range mine.clashes([]*settings{s}) {
			remedy := "choose another with -port"
			if p.key == "dir" {
				remedy = "its service is installed with: resonate service install -name " + f.name
			}
			return stateError{"install a service for " + shown(v.folder), errors.New(p.key + ": " + p.cause), remedy}
		}
	}
	return nil
}

// sameAs tells whether these settings, of a file, are what was given on a command line.
func (s *settings) sameAs(given *settings) error {
	if resolved(s.dir) != resolved(given.dir) {
		return stateError{shown(s.config.path), fmt.Errorf("it is the configuration of %s, not of %s", shown(s.dir), shown(given.dir)),
			"choose another name with -name"}
	}
	var differ []string
	given.set.VisitAll(func(f *flag.Flag) {
		mine := s.set.Lookup(f.Name)
		if given.from[f.Name].from != "" && mine != nil && f.Name != "dir" && mine.Value.String() != f.Value.String() {
			differ = append(differ, fmt.Sprintf("%s = %s", given.named(f.Name), shown(f.Value.String())))
		}
	})
	if len(differ) > 0 {
		return stateError{shown(s.config.path), fmt.Errorf("it is there, and says something else than %s", strings.Join(differ, ", ")),
			"change the file, or leave that out"}
	}
	return s.check(nil)
}

// checkNobodyRuns tells of a daemon on the folder that is not the service's.
func (v served) checkNobodyRuns(ctx context.Context, systemd *service.Systemd) error {
	running, err := v.askDaemon(ctx)
	if err != nil || running == nil {
		return err
	}
	st, err := systemd.State(ctx, v.unit())
	if err != nil || st.PID == running.PID {
		return err
	}
	return stateError{shown(v.folder), fmt.Errorf("a daemon runs on it already, with pid %d", running.PID),
		fmt.Sprintf("end it, with Ctrl-C in its terminal or with kill %d, and try again", running.PID)}
}
