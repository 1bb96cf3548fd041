package ignore

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// A gitCase is a folder with rule files, and the paths in it to ask about.
type gitCase struct {
	own   string
	rules map[string]string // by directory
	paths []string          // with a slash at the end: a directory
}

// write puts the case into a repository: its directories, and the rule files under git's name for them. Git does not ask for
// files to be there. What cannot be (a directory at the name of a file, a name that the file system refuses) is left out.
func (c *gitCase) write(t *testing.T, repo string) {
	t.Helper()
	git(t, repo, nil, "init", "-q", ".")
	own := filepath.Join(repo, ".git", "own")
	if err := os.WriteFile(own, []byte(c.own), 0o600); err != nil {
		t.Fatal(err)
	}
	git(t, repo, nil, "config", "core.excludesFile", own)
	files := make(map[string]bool)
	made := c.paths[:0]
	for _, p := range c.paths {
		name, isDir := strings.CutSuffix(p, "/")
		above := filepath.Dir(name)
		if isDir {
			above = name
		}
		if beside(files, above) || os.MkdirAll(filepath.Join(repo, above), 0o755) != nil {
			continue
		}
		if !isDir {
			if _, err := os.Lstat(filepath.Join(repo, name)); err == nil {
				continue
			}
			files[name] = true
		}
		made = append(made, p)
	}
	c.paths = made
	for dir, text := range c.rules {
		err := os.WriteFile(filepath.Join(repo, dir, ".gitignore"), []byte(text), 0o600)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			delete(c.rules, dir)
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// beside tells whether a path, or one above it, is a file.
func beside(files map[string]bool, p string) bool {
	for ; p != "."; p = filepath.Dir(p) {
		if files[p] {
			return true
		}
	}
	return false
}

func git(t *testing.T, repo string, input []byte, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = repo
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "LC_ALL=C")
	cmd.Stdin = bytes.NewReader(input)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && (args[0] != "check-ignore" || !errors.As(err, &exit) || exit.ExitCode() != 1) { // 1: none is ignored
		t.Fatalf("git %s: %v: %s", args, err, &stderr)
	}
	return out
}

// compare asks git and the Matcher about all paths of the case, and returns how many are ignored.
func (c *gitCase) compare(t *testing.T, repo string) (ignored int) {
	t.Helper()
	c.write(t, repo)
	var input []byte
	for _, p := range c.paths {
		input = append(append(input, strings.TrimSuffix(p, "/")...), 0)
	}
	out := strings.Split(string(git(t, repo, input, "check-ignore", "--no-index", "-v", "-n", "-z", "--stdin")), "\x00")
	if len(out) != 4*len(c.paths)+1 {
		t.Fatalf("git answers with %d fields to %d paths", len(out), len(c.paths))
	}
	files := map[string]string{"own": c.own}
	for dir, text := range c.rules {
		files["/"+dir] = text
	}
	m := matcherOf(files)
	for i, p := range c.paths {
		name, isDir := strings.CutSuffix(p, "/")
		source, line, pattern := out[4*i], out[4*i+1], out[4*i+2]
		source = strings.Replace(source, ".gitignore", Name, 1)
		if strings.HasSuffix(source, "/.git/own") {
			source = "own"
		}
		want := fmt.Sprintf("%s:%s:%s", source, line, pattern)
		r, got := m.Match(name, isDir)
		by := "::"
		if r.Line > 0 {
			by = fmt.Sprintf("%s:%d:%s", r.Source, r.Line, r.Pattern)
		}
		if by != want || got != (source != "" && !strings.HasPrefix(pattern, "!")) {
			t.Errorf("%q: got %v by %q, git says %q\nrules %q own %q", p, got, by, want, c.rules, c.own)
		}
		if got {
			ignored++
		}
	}
	return ignored
}

func needGit(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		if os.Getenv("RESONATE_CI") == "1" {
			t.Fatal("git is not there to be compared with")
		}
		t.Skip("git is not there to be compared with")
	}
}

// randomCase makes up a folder of few names, so that patterns meet them often. Each top directory is a case of its own.
func randomCase(rnd *rand.Rand, groups int) *gitCase {
	c := &gitCase{own: randomRules(rnd), rules: map[string]string{"": randomRules(rnd)}}
	for g := range groups {
		top := fmt.Sprintf("%c%d", 'a'+g%3, g)
		dirs := []string{"", top}
		c.paths = append(c.paths, top+"/")
		for range 12 {
			dir := dirs[rnd.IntN(len(dirs))]
			p := filepath.Join(dir, randomName(rnd))
			if rnd.IntN(2) == 0 {
				dirs = append(dirs, p)
				p += "/"
			}
			if !slices.Contains(c.paths, p) && !slices.Contains(c.paths, strings.TrimSuffix(p, "/")) {
				c.paths = append(c.paths, p)
			}
		}
		for range 4 {
			dir := dirs[rnd.IntN(len(dirs))]
			c.rules[dir] = randomRules(rnd) + bent(rnd, c.paths[rnd.IntN(len(c.paths))], dir)
		}
	}
	return c
}

func pick(rnd *rand.Rand, from ...string) string { return from[rnd.IntN(len(from))] }

func randomName(rnd *rand.Rand) string {
	return pick(rnd, "a", "b", "ab", "a.b", "aab", "abc", "foo", "#x", "!a", "a b", "b ", "a\\b", "[a]", "a-", "*", "é", "\xff", "x\r", ".c", "A", "bar", "]")
}

func randomRules(rnd *rand.Rand) string {
	var b strings.Builder
	b.WriteString(pick(rnd, "", "", "", "", "\xef\xbb\xbf"))
	for range rnd.IntN(5) {
		b.WriteString(pick(rnd, "", "", "", "!", "/", "#", "!/", "**/", "*/"))
		for range 1 + rnd.IntN(4) {
			b.WriteString(randomPiece(rnd))
		}
		b.WriteString(pick(rnd, "", "", "", "/", "/**", "/*", " ", "  ", "\\ ", "\\", "\t"))
		b.WriteString(pick(rnd, "\n", "\n", "\n", "\n", "\r\n", "\n\n", "\n#\n", ""))
	}
	return b.String()
}

// bent is a line with a path, relative to dir if it is below, of which parts have become wildcards.
func bent(rnd *rand.Rand, p, dir string) string {
	p = strings.TrimPrefix(p, dir+"/")
	if rnd.IntN(2) == 0 {
		p = filepath.Base(p)
	}
	var b strings.Builder
	b.WriteString(pick(rnd, "", "", "!", "/", "**/", "*"))
	for i := range len(p) {
		switch rnd.IntN(12) {
		case 0:
			b.WriteString(pick(rnd, "?", "*", "**", "**/", "*/", "/**/", "\\"))
		case 1:
			b.WriteString("[" + p[i:i+1] + pick(rnd, "]", "-z]", "[:digit:]]", "!]", ""))
		default:
			b.WriteByte(p[i])
		}
	}
	return b.String() + pick(rnd, "", "", "/", "/**", "*", " ") + "\n"
}

func randomPiece(rnd *rand.Rand) string {
	switch rnd.IntN(4) {
	case 0:
		return randomName(rnd)
	case 1:
		return pick(rnd, "*", "?", "**", "***", "/", "/**/", "\\*", "\\a", "\\/", "\\\\", "/*/", "**a", "a**")
	case 2:
		return pick(rnd, "[a]", "[!a]", "[^ab]", "[a-c]", "[]a]", "[!]]", "[a-]", "[-a]", "[\\a]", "[a\\]]", "[[:alpha:]]", "[[:punct:]b]",
			"[[:nope:]]", "[[:alpha]", "[[:]", "[[:]]", "[", "[a", "[!", "[a-\\c]", "[[:digit:]-z]", "[c-a]", "[*-/]", "[[a]", "[a-[:alpha:]]")
	}
	return pick(rnd, "a", "b", "c", "ab", ".", "/", "foo")
}

// TestAgreesWithGit compares some thousand random paths with git check-ignore: the verdict, and the rule that git names.
func TestAgreesWithGit(t *testing.T) {
	needGit(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	asked, ignored := 0, 0
	for range 12 {
		c := randomCase(rnd, 40)
		ignored += c.compare(t, t.TempDir())
		asked += len(c.paths)
		if t.Failed() {
			return
		}
	}
	if asked < 3000 || ignored < asked/40 {
		t.Errorf("%d of %d paths are ignored: this shows little", ignored, asked)
	}
}

// TestClassesAgreeWithGit asks about every byte that a name may hold, for every class.
func TestClassesAgreeWithGit(t *testing.T) {
	needGit(t)
	c := &gitCase{rules: map[string]string{}}
	names := []string{"[!-~]", "[\x01-\xff]", "[^a-z]", "?", "[!\x80-\xff]"}
	for class := range named {
		names = append(names, "[[:"+class+":]]", "[^[:"+class+":]_]")
	}
	slices.Sort(names)
	for i, class := range names {
		dir := fmt.Sprintf("d%02d", i)
		c.rules[dir] = "x" + class + "\n"
		for b := 1; b < 256; b++ {
			if b != '/' {
				c.paths = append(c.paths, dir+"/x"+string([]byte{byte(b)}))
			}
		}
	}
	c.compare(t, t.TempDir())
}
