//go:build linux

package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The repository that TestGitRepository makes.
const (
	gitBranches = 20
	gitSwitches = 12
)

// TestGitRepository switches a repository from branch to branch on one side: after each wait, it is whole and clean on the
// other.
func TestGitRepository(t *testing.T) {
	if testing.Short() {
		t.Skip("makes a repository of some thousand files")
	}
	t.Parallel()
	if _, err := exec.LookPath("git"); err != nil {
		skip(t, "git")
	}
	c := newCluster(t)
	a := c.add("a")
	b := c.add("b", a)
	random := rand.New(rand.NewPCG(1, 2))
	makeRepository(t, filepath.Join(a.dir, "repo"), random)
	a.start()
	b.start()
	c.mustAgree()
	for i := range gitSwitches {
		branch := fmt.Sprint("branch", random.IntN(gitBranches))
		git(t, nil, a, "checkout", "-q", "--force", branch)
		if err := a.wait(time.Minute); err != nil {
			c.explain()
			t.Fatalf("switch %d, to %s: %v", i, branch, err)
		}
		if out := git(t, nil, b, "status", "--porcelain", "--branch"); strings.TrimSpace(out) != "## "+branch {
			t.Fatalf("switch %d: git status at b: got %q, want nothing but branch %s", i, out, branch)
		}
		if i%4 == 0 {
			git(t, nil, b, "fsck", "--full", "--strict")
		}
	}
	git(t, nil, b, "fsck", "--full", "--strict")
}

// git runs git in the repository of d, without locks: to look must not change.
func git(t *testing.T, stdin []byte, d *daemon, args ...string) string {
	t.Helper()
	return gitIn(t, stdin, filepath.Join(d.dir, "repo"), args...)
}

func gitIn(t *testing.T, stdin []byte, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", append([]string{"--no-optional-locks", "-c", "gc.auto=0", "-c", "safe.directory=*"}, args...)...)
	cmd.Dir = dir
	cmd.Stdin = bytes.NewReader(stdin)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "HOME="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s in %s: %v\n%s", strings.Join(args, " "), dir, err, out)
	}
	return string(out)
}

// makeRepository makes a repository of which every branch has some hundred files of its own making: changed, added, removed.
func makeRepository(t *testing.T, dir string, random *rand.Rand) {
	t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	gitIn(t, nil, dir, "init", "-q", "-b", "main")
	name := func(i int) string { return fmt.Sprintf("dir%d/sub%d/file%d.txt", i%50, i%7, i) }
	var s bytes.Buffer
	commit := func(ref, from string) {
		fmt.Fprintf(&s, "commit refs/heads/%s\ncommitter nobody <nobody@example.com> 1000000000 +0000\ndata 0\n%s", ref, from)
	}
	file := func(i int) {
		text := strings.Repeat(fmt.Sprintf("line %d of file %d\n", random.IntN(1e9), i), 1+i%40)
		fmt.Fprintf(&s, "M 100644 inline %s\ndata %d\n%s\n", name(i), len(text), text)
	}
	commit("main", "")
	for i := range gitFiles {
		file(i)
	}
	for b := range gitBranches {
		commit(fmt.Sprint("branch", b), "from refs/heads/main\n")
		for range 200 {
			file(random.IntN(gitFiles))
		}
		for i := range 50 {
			file(gitFiles + b*1000 + i)
			fmt.Fprintf(&s, "D %s\n", name(random.IntN(gitFiles)))
		}
		fmt.Fprintf(&s, "D dir%d/sub1\n", b) // a directory that is not on this branch
	}
	gitIn(t, s.Bytes(), dir, "fast-import", "--quiet")
	gitIn(t, nil, dir, "checkout", "-q", "--force", "main")
}
