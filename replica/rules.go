package replica

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"resonate/beneath"
	"resonate/ignore"
	"resonate/members"
	"resonate/merkle"
)

// ownRules is the file in the node's state directory that holds the machine's own ignore patterns, which are never synced.
const ownRules = "ignore"

// errTooLong tells that a rule file is longer than is read.
var errTooLong = errors.New("longer than 1 MiB")

// rules are the ignore rules in effect. A directory's rule file is read when a path in it is first asked about, so that
// they are known before anything in it is looked at, whoever asks: the watcher and the scans walk by the same rules as
// the loop decides. From then on the loop alone has it read again (refresh), and acts upon what changed. Safe for
// concurrent use.
type rules struct {
	root *beneath.Root
	path string // of the machine's own

	mu      sync.Mutex
	matcher *ignore.Matcher
	files   map[string]*ignore.File // by directory, where there is one
	own     []string                // lines
}

// newRules reads the machine's own patterns.
func newRules(root *beneath.Root, state string) (*rules, error) {
	s := &rules{root: root, path: filepath.Join(state, ownRules), files: make(map[string]*ignore.File)}
	text, err := os.ReadFile(s.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read this machine's ignore patterns: %w", err)
	}
	for line := range bytes.Lines(text) {
		s.own = append(s.own, string(bytes.TrimSuffix(line, []byte("\n"))))
	}
	s.matcher = ignore.New(ignore.Parse(s.path, text), s.load)
	return s, nil
}

// ignored tells whether a path is ignored.
func (s *rules) ignored(path string, isDir bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.matcher.Ignored(path, isDir)
}

// match is ignored with the rule that decides.
func (s *rules) match(path string, isDir bool) (ignore.Rule, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.matcher.Match(path, isDir)
}

// load reads the rules of a directory for the matcher. What is wrong with them is told by refresh.
func (s *rules) load(dir string) *ignore.File {
	file, err := s.read(dir)
	if err == nil && file != nil {
		s.files[dir] = file
	}
	return s.files[dir]
}

// read parses a directory's rule file; nil if there is none. A symbolic link is none.
func (s *rules) read(dir string) (*ignore.File, error) {
	path := merkle.Join(dir, ignore.Name)
	f, err := s.root.OpenFile(path)
	if absent(err) || errors.Is(err, beneath.ErrNotRegular) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, ignore.MaxSize+1))
	if err != nil {
		return nil, err
	}
	if len(text) > ignore.MaxSize {
		return nil, errTooLong
	}
	return ignore.Parse(path, text), nil
}

// refresh reads a directory's rule file again, and tells whether other rules count from now on. After an error those that
// were known still count.
func (s *rules) refresh(dir string) (changed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if dir != "" && s.matcher.Ignored(dir, true) {
		return false, nil
	}
	s.matcher.Ignored(merkle.Join(dir, ignore.Name), false) // sees to it that the directory is known
	file, err := s.read(dir)
	if err != nil {
		return false, err
	}
	if s.files[dir].Equal(file) {
		return false, nil
	}
	if file == nil {
		delete(s.files, dir)
	} else {
		s.files[dir] = file
	}
	s.matcher.Forget(dir)
	return true, nil
}

// forget drops what is known of a directory that is gone, and of all below.
func (s *rules) forget(dir string) {
	covers := below(dir)
	s.mu.Lock()
	defer s.mu.Unlock()
	for d := range s.files {
		if covers(d) {
			delete(s.files, d)
		}
	}
	s.matcher.Forget(dir)
}

// ownPatterns returns the machine's own patterns, less comments and empty lines.
func (s *rules) ownPatterns() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, line := range s.own {
		if line = strings.TrimSuffix(line, "\r"); line != "" && line[0] != '#' {
			out = append(out, line)
		}
	}
	return out
}

// addOwn adds patterns to the machine's own that are not among them yet, and tells how many those were.
func (s *rules) addOwn(patterns []string) (int, error) {
	return s.changeOwn(func(lines []string) []string {
		for _, p := range patterns {
			if !slices.Contains(lines, p) {
				lines = append(lines, p)
			}
		}
		return lines
	})
}

// removeOwn takes patterns out of the machine's own, and tells how many were there.
func (s *rules) removeOwn(patterns []string) (int, error) {
	return s.changeOwn(func(lines []string) []string {
		return slices.DeleteFunc(lines, func(line string) bool { return slices.Contains(patterns, strings.TrimSuffix(line, "\r")) })
	})
}

// changeOwn writes the machine's own patterns anew, as a whole, and then has them count. It returns by how many lines they
// differ.
func (s *rules) changeOwn(change func(lines []string) []string) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := change(slices.Clone(s.own))
	n := max(len(lines)-len(s.own), len(s.own)-len(lines))
	if n == 0 {
		return 0, nil
	}
	text := []byte(strings.Join(append(slices.Clone(lines), ""), "\n"))
	if len(text) > ignore.MaxSize {
		return 0, fmt.Errorf("%s would be %w", s.path, errTooLong)
	}
	if err := members.ReplaceFile(s.path, text); err != nil {
		return 0, fmt.Errorf("write this machine's ignore patterns: %w", err)
	}
	s.own = lines
	s.matcher.SetOwn(ignore.Parse(s.path, text))
	return n, nil
}
