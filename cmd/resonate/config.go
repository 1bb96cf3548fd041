package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"
)

func configCommand() command {
	return command{
		name:     "config",
		operands: "[show|check] [NAME...] [-json]",
		verbs:    []string{"show", "check"},
		short:    "print or check the configuration files of daemons",
		long: `A daemon that is started with -config NAME takes what flags and variables leave open from NAME.toml, which lies
below the folder of configurations, ~/.config/resonate. "show" prints all settings as a daemon would have them that is
started here and now, and where each comes from; "check" tells all that is wrong, and exits with 2 if there is
anything. Both take all files, or those named, which may be paths, too.`,
		settings: true,
		define: func(set *flag.FlagSet, c console) action {
			s, asJSON := defineSettings(set), jsonFlag(set)
			set.Lookup("dir").Usage = "the `folder`, instead of the one in the file"
			return func(_ context.Context, operands []string) error {
				verb := "show"
				if len(operands) > 0 && (operands[0] == "show" || operands[0] == "check") {
					verb, operands = operands[0], operands[1:]
				}
				h, err := findHomes(c.Env)
				if err != nil {
					return err
				}
				files, err := h.chosen(operands)
				if err != nil {
					return err
				}
				s.noteOrigins(c.Env)
				if verb == "check" {
					return checkConfigs(c, s, files, *asJSON)
				}
				return showConfigs(c, s, h, files, *asJSON)
			}
		},
	}
}

// chosen returns the configurations of the given names or paths, all of the user with none given.
func (h homes) chosen(names []string) ([]configFile, error) {
	if len(names) == 0 {
		return h.configs()
	}
	var files []configFile
	for _, name := range names {
		f, err := h.configNamed(name)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

// shownSetting is one setting, as "resonate config -json" prints it.
type shownSetting struct {
	Key     string `json:"key"`
	Value   string `json:"value"` // as the flag takes it
	From    string `json:"from"`  // "flag", "variable", "file" or "default"
	Line    int    `json:"line,omitempty"`
	literal string // as the file has it
}

// shownConfig is one file.
type shownConfig struct {
	Name     string         `json:"name,omitempty"` // for -config
	File     string         `json:"file"`
	Settings []shownSetting `json:"settings"`
}

// describe lists what a configuration file can say, as it is in these settings.
func (s *settings) describe() []shownSetting {
	var all []shownSetting
	s.set.VisitAll(func(f *flag.Flag) {
		if notInFile[f.Name] != "" {
			return
		}
		o := s.from[f.Name]
		text, err := literal(f)
		if err != nil {
			text = shown(f.Value.String()) // a folder that a file cannot name
		}
		one := shownSetting{Key: f.Name, Value: f.Value.String(), From: o.from, Line: o.line, literal: text}
		if one.From == "" {
			one.From = fromDefault
		}
		all = append(all, one)
	})
	return all
}

// showConfigs prints what daemons of these files would have for settings, given the flags and variables in s.
func showConfigs(c console, s *settings, h homes, files []configFile, asJSON bool) error {
	list := []shownConfig{}
	for _, f := range files {
		one := s.copy()
		if err := configError(one.fill(f, c.Env("HOME"))); err != nil {
			return err
		}
		list = append(list, shownConfig{f.name, f.path, one.describe()})
	}
	if asJSON {
		return printJSON(c.Out, list)
	}
	var b strings.Builder
	for i, one := range list {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(renderConfig(one))
	}
	if len(list) == 0 {
		fmt.Fprintf(&b, "there is no configuration in %s\n", shown(h.configFolder()))
	}
	_, err := io.WriteString(c.Out, b.String())
	return err
}

// renderConfig writes settings as a file would have them, and in comments where they come from.
func renderConfig(one shownConfig) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n", shown(one.File))
	lines := make([]string, len(one.Settings))
	width := 0
	for i, s := range one.Settings {
		lines[i] = fmt.Sprintf("%s = %s", s.Key, s.literal)
		if s.literal == `""` {
			lines[i] = "# " + s.Key + " is not set" // and may not be set to nothing
		}
		width = max(width, min(len(lines[i]), 40))
	}
	for i, s := range one.Settings {
		from := s.From
		if s.Line > 0 {
			from = fmt.Sprintf("%s, line %d", from, s.Line)
		}
		fmt.Fprintf(&b, "%-*s # %s\n", width, lines[i], from)
	}
	return b.String()
}

// checkedConfig is the verdict on a file, as "resonate config check -json" prints it.
type checkedConfig struct {
	Name     string   `json:"name,omitempty"`
	File     string   `json:"file"`
	Problems []string `json:"problems"`
}

// checkConfigs tells what is wrong with these files, each for itself and with one another.
func checkConfigs(c console, s *settings, files []configFile, asJSON bool) error {
	var all []*settings
	var problems []problem
	list := []checkedConfig{}
	for _, f := range files {
		one := s.copy()
		found := one.fill(f, c.Env("HOME"))
		if len(found) == 0 {
			found = append(one.wrongAsWhole(), one.clashes(all)...)
			all = append(all, one)
		}
		verdict := checkedConfig{Name: f.name, File: f.path, Problems: []string{}}
		for _, p := range found {
			verdict.Problems = append(verdict.Problems, p.Error())
		}
		problems, list = append(problems, found...), append(list, verdict)
		if len(found) == 0 && !asJSON {
			if _, err := fmt.Fprintf(c.Out, "%s: ok\n", shown(f.path)); err != nil {
				return err
			}
		}
	}
	if asJSON {
		if err := printJSON(c.Out, list); err != nil {
			return err
		}
	}
	return configError(problems)
}

// wrongAsWhole is what check finds, as a problem of the file.
func (s *settings) wrongAsWhole() []problem {
	err := s.check(nil)
	if err == nil {
		return nil
	}
	p := problem{file: s.config.path, cause: err.Error()}
	if a, ok := err.(interface{ advice() string }); ok && a.advice() != "" {
		p.cause += ": " + a.advice()
	}
	return []problem{p}
}

// clashes tells why daemons of these settings and of the others cannot run at the same time.
func (s *settings) clashes(others []*settings) []problem {
	var problems []problem
	for _, o := range others {
		if resolved(s.dir) == resolved(o.dir) {
			problems = append(problems, problem{s.config.path, s.from["dir"].line, "dir", "it is the folder of " + shown(o.config.path) + ": take one of the two away"})
		}
		if s.port == o.port && s.port != 0 && s.listen == o.listen {
			problems = append(problems, problem{s.config.path, s.from["port"].line, "port",
				fmt.Sprintf("%d is the port of %s: choose another", s.port, shown(o.config.path))})
		}
	}
	return problems
}
