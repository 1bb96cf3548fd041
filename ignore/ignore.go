// Package ignore decides which paths of a folder are left out of it, by patterns in the syntax of gitignore(5). Rule
// files in any directory hold them, and one more list of the machine's own stands behind all of these.
//
// It agrees with git to the letter, quirks included: the tests compare it with git check-ignore, both the verdict and
// the line that it comes from. A pattern is compiled once, to a list of small steps that is followed from left to right;
// no pattern takes more than time in proportion to its length and the path's together, multiplied. The package is pure: who
// calls it reads the files.
package ignore

import (
	"bytes"
	"strings"
)

// Name is what a file that holds rules is called, in whatever directory it lies.
const Name = ".resonateignore"

// MaxSize is the size in bytes above which a rule file is not to be read.
const MaxSize = 1 << 20

// A Rule is one line of a rule file.
type Rule struct {
	Source  string // the file, as it was named to Parse
	Line    int    // from 1
	Pattern string // as it stands there, without spaces at its end
	Negated bool   // it begins with "!": what it matches is not ignored
}

// A File is a parsed list of rules. It is never changed, and may be used by several goroutines at once.
type File struct {
	rules []rule
}

// A rule is a Rule made ready to be matched.
type rule struct {
	Rule
	dirOnly bool
	base    bool   // without a slash: it is compared with the last name of a path alone
	prefix  string // what the text begins with, compared as it is; the whole where exact
	exact   bool
	suffix  string // of "*suffix", where that is all
	glob    *glob  // what follows the prefix; nil where exact, and for a suffix
}

// Parse reads the rules of a file, whose name is kept as their Source. Nothing in it is an error: what git cannot
// understand matches nothing. A mark of byte order at the start is skipped; lines end with a newline, or with a carriage
// return before it.
func Parse(source string, data []byte) *File {
	f := &File{}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	for number := 1; len(data) > 0; number++ {
		var line []byte
		line, data, _ = bytes.Cut(data, []byte("\n"))
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		text, _, _ := strings.Cut(strings.TrimSuffix(string(line), "\r"), "\x00") // git's lines are strings of C
		text = trimSpaces(text)
		if r, ok := parseRule(text); ok {
			r.Source, r.Line = source, number
			f.rules = append(f.rules, r)
		}
	}
	return f
}

// Len returns the number of rules.
func (f *File) Len() int {
	if f == nil {
		return 0
	}
	return len(f.rules)
}

// Equal tells whether two files hold the same rules at the same lines. Nil holds none.
func (f *File) Equal(g *File) bool {
	if f.Len() != g.Len() {
		return false
	}
	for i := range f.Len() {
		if f.rules[i].Rule != g.rules[i].Rule {
			return false
		}
	}
	return true
}

// trimSpaces removes the spaces at the end of a line, but for one that is escaped and what stands before it.
func trimSpaces(line string) string {
	end := len(line)
	for end > 0 && line[end-1] == ' ' {
		end--
	}
	backslashes := 0
	for end-backslashes > 0 && line[end-backslashes-1] == '\\' {
		backslashes++
	}
	if end < len(line) && backslashes%2 == 1 {
		end++
	}
	return line[:end]
}

// parseRule makes a rule of a line; false where it can match nothing.
func parseRule(line string) (rule, bool) {
	r := rule{Rule: Rule{Pattern: line}}
	text, negated := strings.CutPrefix(line, "!")
	r.Negated = negated
	text, r.dirOnly = strings.CutSuffix(text, "/")
	r.base = !strings.Contains(text, "/")
	text = strings.TrimPrefix(text, "/")
	if text == "" {
		return r, false
	}
	special := strings.IndexAny(text, `*?[\`)
	switch {
	case special < 0:
		r.prefix, r.exact = text, true
		return r, true
	case r.base && special == 0 && text[0] == '*' && !strings.ContainsAny(text[1:], `*?[\`):
		r.suffix = text[1:]
		return r, true
	case !r.base: // git compares what comes before the first special character by itself
		r.prefix, text = text[:special], text[special:]
	}
	var ok bool
	r.glob, ok = compile(text, !r.base)
	return r, ok
}

// matches tells whether the rule is about a path: rel is the path from the rule file's directory, name its last element.
func (r *rule) matches(rel, name string, isDir bool) bool {
	if r.dirOnly && !isDir {
		return false
	}
	text := rel
	if r.base {
		text = name
	}
	switch {
	case r.exact:
		return text == r.prefix
	case r.glob == nil:
		return strings.HasSuffix(text, r.suffix)
	}
	return strings.HasPrefix(text, r.prefix) && r.glob.match(text[len(r.prefix):])
}

// find returns the last rule that is about a path, nil if none is.
func (f *File) find(rel, name string, isDir bool) *rule {
	for i := len(f.rules) - 1; i >= 0; i-- {
		if r := &f.rules[i]; r.matches(rel, name, isDir) {
			return r
		}
	}
	return nil
}
