package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// A configFile is the configuration of one daemon, in TOML: its keys are the daemon's flags.
type configFile struct {
	name string // by which -config knows it; "" if it lies elsewhere
	path string
}

const (
	configExt     = ".toml"
	maxConfigSize = 1 << 20
)

// notInFile are flags that are no keys, and why.
var notInFile = map[string]string{"fresh": "it would begin anew at every start: give it as a flag, once"}

// configFolder is where the configurations of a user's daemons are.
func (h homes) configFolder() string { return filepath.Join(h.config, "resonate") }

// configNamed returns the file that -config means: NAME, or a path with a slash or with .toml at its end.
func (h homes) configNamed(name string) (configFile, error) {
	if strings.ContainsRune(name, filepath.Separator) || strings.HasSuffix(name, configExt) {
		abs, err := filepath.Abs(name)
		if err != nil {
			return configFile{}, fmt.Errorf("find configuration %s: %w", shown(name), err)
		}
		f := configFile{path: abs}
		if filepath.Dir(abs) == h.configFolder() {
			f.name = strings.TrimSuffix(filepath.Base(abs), configExt)
		}
		return f, nil
	}
	return configFile{name: name, path: h.configPath(name)}, nil
}

func (h homes) configPath(name string) string { return filepath.Join(h.configFolder(), name+configExt) }

// configs returns all configurations of the user, by name.
func (h homes) configs() ([]configFile, error) {
	entries, err := os.ReadDir(h.configFolder())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list configurations: %w", err)
	}
	var files []configFile
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), configExt); ok && !e.IsDir() {
			files = append(files, configFile{name: name, path: filepath.Join(h.configFolder(), e.Name())})
		}
	}
	return files, nil
}

// A problem is something wrong with a configuration file.
type problem struct {
	file  string
	line  int    // 0: the file as a whole
	key   string // "": none
	cause string // with what to do about it
}

func (p problem) Error() string {
	text := place(p.file, p.line) + ": "
	if p.key != "" {
		text += shown(p.key) + ": "
	}
	return text + p.cause
}

// configError is the error for a file with problems: wrong usage, for no second try makes it better.
func configError(problems []problem) error {
	if len(problems) == 0 {
		return nil
	}
	var lines []string
	for _, p := range problems {
		lines = append(lines, p.Error())
	}
	return usageError{cause: strings.Join(lines, "\n"), remedy: "look again with: resonate config check"}
}

// read returns the text of the file. One that somebody else can write is refused: it says what becomes of a folder.
func (f configFile) read() (string, []problem) {
	wrong := func(format string, args ...any) []problem {
		return []problem{{file: f.path, cause: fmt.Sprintf(format, args...)}}
	}
	st, err := os.Stat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", wrong("it does not exist: make it with resonate service install, or by hand (docs/service.md)")
	case err != nil:
		return "", wrong("%v", errors.Unwrap(err))
	case !st.Mode().IsRegular():
		return "", wrong("it is not a file: put one in its place")
	case st.Mode().Perm()&0o022 != 0:
		return "", wrong("mode %04o lets others write it: look through it, then run chmod go-w %s", st.Mode().Perm(), shellWord(f.path))
	case !ownerTrusted(st):
		return "", wrong("it belongs to another user, who can write it: look through it, then take it over with chown")
	}
	file, err := os.Open(f.path)
	if err != nil {
		return "", wrong("%v: give yourself access with chmod u+r %s", errors.Unwrap(err), shellWord(f.path))
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxConfigSize+1))
	switch {
	case err != nil:
		return "", wrong("%v", err)
	case len(text) > maxConfigSize:
		return "", wrong("over %s: shorten it", formatBytes(maxConfigSize))
	}
	return string(text), nil
}

// load completes the settings, as args and variables have made them, with the file that -config names, if it does.
func (s *settings) load(config string, env func(string) string) error {
	s.noteOrigins(env)
	if config == "" {
		return nil
	}
	h, err := findHomes(env)
	if err != nil {
		return err
	}
	file, err := h.configNamed(config)
	if err != nil {
		return err
	}
	s.before = s.copy()
	return configError(s.fill(file, env("HOME")))
}

// reread returns the settings as load would make them now, with the same flags and variables.
func (s *settings) reread(env func(string) string) (*settings, error) {
	next := s.before.copy()
	next.before = s.before
	if err := configError(next.fill(s.config, env("HOME"))); err != nil {
		return nil, err
	}
	return next, next.check(nil)
}

// fill reads the file into the settings that neither a flag nor a variable has set. It tells all that is wrong; then
// some of the settings may be filled and others not. home is what ~ stands for.
func (s *settings) fill(f configFile, home string) []problem {
	s.config = f
	text, problems := f.read()
	if problems != nil {
		return problems
	}
	return s.parseConfig(f.path, text, home)
}

// parseConfig is fill for a text that was read.
func (s *settings) parseConfig(path, text, home string) []problem {
	var values map[string]toml.Primitive
	meta, err := toml.Decode(text, &values)
	if err != nil {
		return []problem{syntaxProblem(path, err)}
	}
	scratch := newSettings() // so that a value is looked at even if a flag wins over it
	var problems []problem
	seen := map[string]bool{}
	for _, key := range meta.Keys() {
		if seen[key[0]] {
			continue // in a table, which is refused as a whole
		}
		seen[key[0]] = true
		k := &configKey{set: scratch.set, name: key[0], home: home}
		line := lineOf(&meta, values, key, k)
		err := k.problem
		switch _, given := s.from[k.name]; {
		case err != nil:
			problems = append(problems, problem{path, line, k.name, err.Error()})
		case !given:
			s.from[k.name] = origin{from: fromFile, file: path, line: line}
			if err := k.into(s.set); err != nil { // never: scratch has taken it
				problems = append(problems, problem{path, line, k.name, err.Error()})
			}
		}
	}
	slices.SortStableFunc(problems, func(a, b problem) int { return a.line - b.line })
	return problems
}

// lineOf hands the value of key[0] to k, and returns the line on which key stands; 0 if the library does not tell.
func lineOf(meta *toml.MetaData, table map[string]toml.Primitive, key toml.Key, k *configKey) int {
	var at toml.ParseError
	if errors.As(meta.PrimitiveDecode(table[key[0]], k), &at) && at.Position.Line > 0 || len(key) == 1 {
		return at.Position.Line
	}
	var below map[string]toml.Primitive // key[0] has no line of its own, as in a.b = 1
	if err := meta.PrimitiveDecode(table[key[0]], &below); err != nil {
		return 0
	}
	return lineOf(meta, below, key[1:], &configKey{set: k.set})
}

// syntaxProblem is what is wrong with a file that is no TOML.
func syntaxProblem(path string, err error) problem {
	var at toml.ParseError
	if errors.As(err, &at) {
		cause := strings.TrimSuffix(harmless(at.Message), ".")
		return problem{path, at.Position.Line, at.LastKey, cause + `; put the line right: lines are such as port = 7373 or dir = "~/shared"`}
	}
	return problem{file: path, cause: harmless(err.Error())}
}

// A configKey takes the value of one key. It gives an error in any case, because the library tells the line of a key with
// an error alone.
type configKey struct {
	set     *flag.FlagSet
	name    string
	home    string
	texts   []string // what the flag is given
	problem error
}

var errLine = errors.New("only for its line")

// UnmarshalTOML implements toml.Unmarshaler.
func (k *configKey) UnmarshalTOML(v any) error {
	k.problem = k.take(v)
	return errLine
}

func (k *configKey) take(v any) error {
	f := k.set.Lookup(k.name)
	if f == nil {
		return fmt.Errorf("there is no such key: want one of %s", strings.Join(keysOf(k.set), ", "))
	}
	if why := notInFile[k.name]; why != "" {
		return errors.New(why)
	}
	texts, err := flagTexts(f, v)
	if err != nil {
		return err
	}
	if argument, _ := flag.UnquoteUsage(f); argument == "folder" {
		if texts, err = expandHome(texts, k.home); err != nil {
			return err
		}
	}
	k.texts = texts
	return k.into(k.set)
}

// into gives the texts to the flag of a set.
func (k *configKey) into(set *flag.FlagSet) error {
	f := set.Lookup(k.name)
	for _, text := range k.texts {
		if err := f.Value.Set(text); err != nil {
			return fmt.Errorf("invalid value %q: %w", text, err)
		}
	}
	return nil
}

// keysOf lists what a file may set.
func keysOf(set *flag.FlagSet) []string {
	var keys []string
	set.VisitAll(func(f *flag.Flag) {
		if notInFile[f.Name] == "" {
			keys = append(keys, f.Name)
		}
	})
	return keys
}

// expandHome puts the home directory in for ~. A path from somewhere else than the root means nothing in a file.
func expandHome(paths []string, home string) ([]string, error) {
	var out []string
	for _, p := range paths {
		if p == "~" || strings.HasPrefix(p, "~/") {
			if home == "" {
				return nil, errors.New("HOME is not set: write the path from the root")
			}
			p = filepath.Join(home, p[1:])
		}
		if !filepath.IsAbs(p) {
			return nil, fmt.Errorf("invalid value %q: want a path from the root, or from ~/", p)
		}
		out = append(out, p)
	}
	return out, nil
}
