package textmerge

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestUnified(t *testing.T) {
	for _, row := range []struct{ name, from, to, want string }{
		{"equal", "a\nb\n", "a\nb\n", ""},
		{"a line in the middle", "1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4\nfive\n6\n7\n8\n9\n",
			"@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n"},
		{"of nothing", "", "a\n", "@@ -0,0 +1 @@\n+a\n"},
		{"to nothing", "a\nb\n", "", "@@ -1,2 +0,0 @@\n-a\n-b\n"},
		{"the end of the last line", "a\nb\n", "a\nb", "@@ -1,2 +1,2 @@\n a\n-b\n+b\n\\ No newline at end of file\n"},
		{"around a last line without end", "x\nb", "y\nb", "@@ -1,2 +1,2 @@\n-x\n+y\n b\n\\ No newline at end of file\n"},
		{"far apart", "1\n2\n3\n4\n5\n6\n7\n8\n9\n", "one\n2\n3\n4\n5\n6\n7\n8\nnine\n",
			"@@ -1,4 +1,4 @@\n-1\n+one\n 2\n 3\n 4\n@@ -6,4 +6,4 @@\n 6\n 7\n 8\n-9\n+nine\n"},
		{"near", "1\n2\n3\n4\n5\n6\n7\n8\n", "one\n2\n3\n4\n5\n6\n7\neight\n",
			"@@ -1,8 +1,8 @@\n-1\n+one\n 2\n 3\n 4\n 5\n 6\n 7\n-8\n+eight\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			want := row.want
			if want != "" {
				want = "--- old\n+++ new\n" + want
			}
			got, err := Unified("old", []byte(row.from), "new", []byte(row.to))
			if err != nil || string(got) != want {
				t.Errorf("got\n%s%v\nwant\n%s", got, err, want)
			}
		})
	}
	if _, err := Unified("a", []byte("a\x00"), "b", []byte("b")); !errors.Is(err, ErrBinary) || !strings.Contains(err.Error(), "compare a: ") {
		t.Errorf("a NUL byte: got %v, want ErrBinary and the name", err)
	}
	if got, err := Unified("a", []byte("a\x00"), "b", []byte("a\x00")); err != nil || len(got) > 0 {
		t.Errorf("equal, with a NUL byte: got %q, %v", got, err)
	}
}

func TestHeadName(t *testing.T) {
	for name, want := range map[string]string{
		"a/b.txt": "a/b.txt", "with space": "with space\t", "t\tab": `"t\011ab"`, `q"u\o`: `"q\"u\\o"`, "line\nend": `"line\012end"`,
		"caf\xe9 é": "caf\xe9 é\t",
	} {
		if got := headName(name); got != want {
			t.Errorf("%q: got %s, want %s", name, got, want)
		}
	}
}

// TestPatchApplies has patch(1) and "git apply" make the one text of the other.
func TestPatchApplies(t *testing.T) {
	need(t, "patch")
	need(t, "git")
	r := rand.New(rand.NewPCG(*seed, 2))
	dir := t.TempDir()
	write := func(name string, content []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		c := randomThree(r)
		from, to := c[1], c[2]
		diff, err := Unified("odd \"name\"", from, "odd \"name\"", to)
		if err != nil {
			t.Fatal(err)
		}
		if len(diff) == 0 || len(from) == 0 || len(to) == 0 { // for git, such a file is to be made or removed
			continue
		}
		for _, args := range [][]string{{"patch", "-s", "--binary", "-p0", "-i", "diff"}, {"git", "apply", "-p0", "--whitespace=nowarn", "diff"}} {
			write("odd \"name\"", from)
			write("diff", diff)
			cmd := exec.Command(args[0], args[1:]...)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s%.3000s", args[0], err, out, diff)
			}
			if got, err := os.ReadFile(filepath.Join(dir, "odd \"name\"")); err != nil || !bytes.Equal(got, to) {
				t.Fatalf("%s: got %.2000q, %v, want %.2000q; from %.2000q by\n%.3000s", args[0], got, err, to, from, diff)
			}
		}
	}
}
