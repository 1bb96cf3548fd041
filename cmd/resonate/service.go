package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os/exec"
	"strings"
	"syscall"

	"resonate/service"
)

func serviceCommand() command {
	return command{
		name:     "service",
		operands: "install|uninstall|status|logs [-dir DIR] [-name NAME]",
		verbs:    []string{"install", "uninstall", "status", "logs"},
		short:    "have systemd keep the daemon of a folder running",
		long: `"install" makes the daemon of a folder a service of this user: it writes NAME.toml, if the folder has no
configuration, with what flags and variables say; a unit for systemd --user; and starts it, now and with every session.
"uninstall" ends it and takes away what install made, and nothing else: the folder stays, and so does its state.
"status" is what systemd and the daemon say, "logs" is journalctl. NAME is by default that of the folder's configuration,
or else the folder's own name.`,
		settings: true,
		define: func(set *flag.FlagSet, c console) action {
			o := serviceOptions{settings: defineSettings(set), console: c}
			set.Lookup("dir").Usage = "the `folder`; by default the one around the working directory"
			set.StringVar(&o.name, "name", "", "`name` of the service and of its configuration")
			set.BoolVar(&o.follow, "follow", false, "with logs: go on printing")
			set.BoolVar(&o.asJSON, "json", false, "with status: print JSON")
			return func(ctx context.Context, operands []string) error {
				verbs := map[string]func(context.Context) error{
					"install": o.install, "uninstall": o.uninstall, "status": o.status, "logs": o.logs,
				}
				if len(operands) != 1 || verbs[operands[0]] == nil {
					return usageError{command: "service", cause: "want one of install, uninstall, status and logs"}
				}
				return verbs[operands[0]](ctx)
			}
		},
	}
}

// serviceOptions are the flags of the service command.
type serviceOptions struct {
	console
	settings *settings
	name     string
	follow   bool
	asJSON   bool
}

// A served is a folder with its configuration and its unit.
type served struct {
	folder string
	config configFile
	homes  homes
}

func (v served) unit() string { return service.Folder.Unit(v.config.name) }

// find tells which folder and which configuration are meant: -dir, or the folder one is in, with the configuration that
// has it; or -name with the folder that it has.
func (o serviceOptions) find() (served, error) {
	h, err := findHomes(o.Env)
	if err != nil {
		return served{}, err
	}
	if o.name != "" {
		if err := service.CheckName(o.name); err != nil {
			return served{}, usageError{command: "service", cause: fmt.Sprintf("invalid value %q for -name: %v", o.name, err)}
		}
		v := served{homes: h, config: configFile{o.name, h.configPath(o.name)}}
		if v.folder = v.config.folder(o.Env("HOME")); v.folder == "" || o.settings.dir != "" {
			v.folder, err = findFolder(o.settings.dir)
		}
		return v, err
	}
	folder, err := findFolder(o.settings.dir)
	if err != nil {
		return served{}, err
	}
	files, err := h.configs()
	if err != nil {
		return served{}, err
	}
	for _, f := range files {
		if dir := f.folder(o.Env("HOME")); dir != "" && resolved(dir) == resolved(folder) && service.CheckName(f.name) == nil {
			return served{folder, f, h}, nil
		}
	}
	name := service.FitName(folder)
	return served{folder, configFile{name, h.configPath(name)}, h}, nil
}

// folder returns the folder that a configuration names, whatever else is wrong with it; "" if it names none.
func (f configFile) folder(home string) string {
	s := newSettings()
	s.fill(f, home)
	return s.dir
}

// systemd returns the user's systemd, if its services would find what this shell finds.
func (v served) systemd(ctx context.Context) (*service.Systemd, error) {
	s, err := service.Find(ctx, v.homes.config)
	if err != nil {
		return nil, err
	}
	env, err := s.Environment(ctx)
	if err != nil {
		return nil, err
	}
	theirs, err := findHomes(func(name string) string { return env[name] })
	if err != nil {
		return nil, fmt.Errorf("in the environment of services: %w", err)
	}
	for _, row := range []struct{ name, mine, theirs string }{
		{"XDG_CONFIG_HOME", v.homes.config, theirs.config}, {"XDG_STATE_HOME", v.homes.state, theirs.state},
	} {
		if row.mine != row.theirs {
			return nil, stateError{"", fmt.Errorf("%s leads to %s here, and to %s for services", row.name, shown(row.mine), shown(row.theirs)),
				"unset it, or set it for services, too: in ~/.config/environment.d/resonate.conf, and log in anew"}
		}
	}
	return s, nil
}

// logs becomes journalctl.
func (o serviceOptions) logs(context.Context) error {
	v, err := o.find()
	if err != nil {
		return err
	}
	args := service.Journal(v.unit(), o.follow)
	path, err := exec.LookPath(args[0])
	if errors.Is(err, exec.ErrNotFound) {
		return stateError{"show the log", errors.New("there is no journal of systemd here: journalctl is not in PATH"), "look where your service manager keeps logs"}
	}
	if err != nil {
		return fmt.Errorf("show the log: %w", err)
	}
	return fmt.Errorf("run %s: %w", strings.Join(args, " "), syscall.Exec(path, args, syscall.Environ()))
}
