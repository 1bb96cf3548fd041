package textmerge

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var (
	cases  = flag.Int("cases", 250, "how many random merges are compared with those of git")
	seed   = flag.Uint64("seed", 1, "of these")
	update = flag.Bool("update", false, "write down anew what git makes of the recorded merges")
)

// need skips a test where a program is not there.
func need(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err == nil {
		return
	}
	if os.Getenv("RESONATE_CI") == "1" {
		t.Fatalf("%s is not installed", program)
	}
	t.Skipf("%s is not installed", program)
}

func TestMerge(t *testing.T) {
	lines := func(s string) string { return strings.ReplaceAll(s, " ", "\n") }
	for _, row := range []struct{ name, base, mine, theirs, want string }{ // want "!": a conflict
		{"nothing at all", "", "", "", ""},
		{"only mine", "a b c ", "a B c ", "a b c ", "a B c "},
		{"only theirs", "a b c ", "a b c ", "a b C ", "a b C "},
		{"both the same", "a b c ", "a X c ", "a X c ", "a X c "},
		{"apart", "a b c d e ", "A b c d e ", "a b c d E ", "A b c d E "},
		{"the same and another", "a b c d e f ", "A b c d E f ", "a b c d E F ", "!"},
		{"the same, and another further on", "a b c d e f g ", "A b c d E f g ", "a b c d E f G ", "A b c d E f G "},
		{"different", "a b c ", "a X c ", "a Y c ", "!"},
		{"touching", "a b c d ", "a X c d ", "a b Y d ", "!"},
		{"a line between", "a b c d e ", "a X c d e ", "a b c Y e ", "a X c Y e "},
		{"deleted and changed", "a b c ", "a c ", "a X c ", "!"},
		{"both deleted", "a b c d ", "a d ", "a d ", "a d "},
		{"deleted here, deleted there", "a b c d e ", "a c d e ", "a b c e ", "a c e "},
		{"both insert the same", "a b ", "a X b ", "a X b ", "a X b "},
		{"both insert", "a b ", "a X b ", "a Y b ", "!"},
		{"both insert at an end", "a b c ", "X a b c ", "a b c Y ", "X a b c Y "},
		{"both add to nothing", "", "a ", "b ", "!"},
		{"both add the same to nothing", "", "a ", "a ", "a "},
		{"emptied and changed", "a b ", "", "a c ", "!"},
		{"emptied and the same", "a b ", "", "a b ", ""},
		{"an end of line is taken away", "a b c ", "a b c", "X b c ", "X b c"},
		{"an end of line is added", "a b c", "a b c ", "X b c", "X b c "},
		{"no end of line, changed at both ends", "a b c", "A b c", "a b C", "A b C"},
		{"no end of line, and one more", "a b c", "a b c d", "a b C", "!"},
		{"one of many", "x x x x x ", "x x x x x x ", "x x x x ", "!"},
		{"CRLF", "a\r b\r c\r d\r ", "A\r b\r c\r d\r ", "a\r b\r c\r D\r ", "A\r b\r c\r D\r "},
		{"CRLF against LF", "a b c ", "a\r b\r c\r ", "a b c d ", "!"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := Merge([]byte(lines(row.base)), []byte(lines(row.mine)), []byte(lines(row.theirs)))
			switch {
			case row.want == "!" && !errors.Is(err, ErrConflict):
				t.Errorf("got %q, %v, want a conflict", got, err)
			case row.want != "!" && (err != nil || string(got) != lines(row.want)):
				t.Errorf("got %q, %v, want %q", got, err, lines(row.want))
			}
		})
	}
}

func TestMergeRefuses(t *testing.T) {
	small := []byte("a\n")
	for _, row := range []struct {
		name string
		text []byte
		want error
	}{
		{"a NUL byte", []byte("a\x00\n"), ErrBinary},
		{"a NUL byte far behind", append(bytes.Repeat([]byte("line\n"), 5000), 0), ErrBinary},
		{"too many bytes", bytes.Repeat([]byte("x"), MaxBytes+1), ErrTooLarge},
		{"too many lines", bytes.Repeat([]byte("\n"), MaxLines), ErrTooLarge},
		{"as many bytes as may be", bytes.Repeat([]byte("x"), MaxBytes), nil},
		{"as many lines as may be", bytes.Repeat([]byte("\n"), MaxLines-1), nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			for i := range 3 {
				texts := [3][]byte{small, small, small}
				texts[i] = row.text
				if _, err := Merge(texts[0], texts[1], texts[2]); !errors.Is(err, row.want) {
					t.Errorf("as the text %d: got %v, want %v", i, err, row.want)
				}
			}
		})
	}
}

// A three is a base with two texts made of it.
type three [3][]byte

// TestMergeIsThatOfGit compares random merges with those of "git merge-file -p": the text where they are clean, and the verdict.
func TestMergeIsThatOfGit(t *testing.T) {
	need(t, "git")
	need(t, "sh")
	all := randomThrees(*seed, *cases)
	clean := 0
	for i, want := range mergedByGit(t, all) {
		got := merged(t, all[i])
		if got.conflict != want.conflict || !bytes.Equal(got.text, want.text) {
			t.Errorf("case %d: got %v\ngit has %v%v", i, got, want, all[i])
		}
		if !got.conflict {
			clean++
		}
	}
	if clean < *cases/5 || clean > *cases*4/5 {
		t.Errorf("%d of %d merges are clean: the random texts say little", clean, *cases)
	}
}

// Of thousands of random merges, what git 2.39.5 makes of them is written down: a process for each takes too long.
const (
	recorded      = 5000
	recordedSeed  = 2026
	recordedMerge = "testdata/git-merge-file.txt"
)

// TestMergeIsAsRecorded compares with what git made of the same texts. Each line has a hash of the three, and one of what came
// out or the word conflict. -update asks git anew.
func TestMergeIsAsRecorded(t *testing.T) {
	all := randomThrees(recordedSeed, recorded)
	if *update {
		var out strings.Builder
		for i, v := range mergedByGit(t, all) {
			fmt.Fprintf(&out, "%s %s\n", all[i].hash(), v.hash())
		}
		if err := os.WriteFile(recordedMerge, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(recordedMerge)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) != len(all) {
		t.Fatalf("%d merges are recorded, want %d: run with -update", len(lines), len(all))
	}
	for i, line := range lines {
		of, want, _ := strings.Cut(line, " ")
		if of != all[i].hash() {
			t.Fatalf("case %d: other texts than those recorded: was their making changed? run with -update", i)
		}
		if got := merged(t, all[i]); got.hash() != want {
			t.Errorf("case %d: got %v, git has %s%v", i, got, want, all[i])
		}
	}
}

// merged is what Merge makes of three texts.
func merged(t *testing.T, c three) verdict {
	t.Helper()
	text, err := Merge(c[0], c[1], c[2])
	if err != nil && !errors.Is(err, ErrConflict) {
		t.Fatal(err)
	}
	return verdict{text, err != nil}
}

func (c three) hash() string {
	h := fnv.New32a()
	for _, text := range c {
		fmt.Fprintf(h, "%d:%s", len(text), text)
	}
	return fmt.Sprintf("%08x", h.Sum32())
}

func (c three) String() string {
	return fmt.Sprintf("\nbase   %.2000q\nmine   %.2000q\ntheirs %.2000q", c[0], c[1], c[2])
}

// A verdict is what becomes of three texts.
type verdict struct {
	text     []byte // nil: a conflict
	conflict bool
}

func (v verdict) hash() string {
	if v.conflict {
		return "conflict"
	}
	h := fnv.New32a()
	h.Write(v.text)
	return fmt.Sprintf("%08x", h.Sum32())
}

func (v verdict) String() string {
	if v.conflict {
		return "a conflict"
	}
	return fmt.Sprintf("%.2000q", v.text)
}

// mergedByGit runs git on all, from one shell, which is faster than from here.
func mergedByGit(t *testing.T, all []three) []verdict {
	t.Helper()
	dir := t.TempDir()
	for i, c := range all {
		for j, name := range []string{"b", "m", "t"} {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(name, i)), c[j], 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	script := `i=0; while [ $i -lt ` + fmt.Sprint(len(all)) + ` ]; do git merge-file -p -q m$i b$i t$i >r$i; echo $?; i=$((i+1)); done`
	cmd := exec.Command("sh", "-c", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_DIR="+dir+"/none")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	codes := strings.Fields(string(out))
	verdicts := make([]verdict, len(all))
	for i := range all {
		text, err := os.ReadFile(filepath.Join(dir, fmt.Sprint("r", i)))
		if err != nil {
			t.Fatal(err)
		}
		if codes[i] > "127" && len(codes[i]) == 3 {
			t.Fatalf("git merge-file: exit code %s", codes[i])
		}
		if verdicts[i].conflict = codes[i] != "0"; !verdicts[i].conflict {
			verdicts[i].text = text
		}
	}
	return verdicts
}

func randomThrees(seed uint64, count int) []three {
	r := rand.New(rand.NewPCG(seed, 0))
	all := make([]three, count)
	for i := range all {
		all[i] = randomThree(r)
	}
	return all
}

// randomThree makes a base of few or many lines, of few or many kinds, and edits it twice.
func randomThree(r *rand.Rand) (c three) {
	size := []int{0, 1, 3, 10, 30, 100, 300}[r.IntN(7)]
	kinds := []int{1, 2, 3, 6, 20, 10000}[r.IntN(6)]
	end := []string{"\n", "\n", "\n", "\r\n"}[r.IntN(4)]
	if r.IntN(100) == 0 {
		size, kinds = 3000, 3000
	}
	word := func() string {
		return []string{"", "\t", "}", "{", "end", "return nil"}[r.IntN(6)] + fmt.Sprint(r.IntN(kinds)) + end
	}
	if kinds <= 6 {
		word = func() string { return fmt.Sprint(r.IntN(kinds)) + end }
	}
	base := make([]string, r.IntN(size+1))
	for i := range base {
		base[i] = word()
	}
	shared := edited(r, base, word, r.IntN(2))
	mine, theirs := edited(r, shared, word, r.IntN(4)), edited(r, shared, word, r.IntN(4))
	for i, lines := range [][]string{base, mine, theirs} {
		c[i] = []byte(strings.Join(lines, ""))
		if r.IntN(6) == 0 {
			c[i] = bytes.TrimSuffix(c[i], []byte(end))
		}
	}
	return c
}

// edited makes some edits: a run of lines goes, comes, is replaced, or is another copy of one.
func edited(r *rand.Rand, lines []string, word func() string, edits int) []string {
	lines = append([]string{}, lines...)
	for range edits {
		at := r.IntN(len(lines) + 1)
		end := min(len(lines), at+r.IntN([]int{2, 5, 40}[r.IntN(3)]))
		var in []string
		switch r.IntN(4) {
		case 0: // goes
		case 1:
			in = append(in, lines[at:end]...)
			in = append(in, lines[at:end]...)
		case 2:
			from := r.IntN(len(lines) + 1)
			in = append(in, lines[from:min(len(lines), from+r.IntN(5))]...)
		default:
			for range r.IntN(6) {
				in = append(in, word())
			}
		}
		lines = append(lines[:at:at], append(in, lines[end:]...)...)
	}
	return lines
}

// TestDiffIsThatOfGit compares what is found in texts that differ in thousands of lines, where the search gives up looking
// for the smallest difference.
func TestDiffIsThatOfGit(t *testing.T) {
	need(t, "git")
	r := rand.New(rand.NewPCG(*seed, 1))
	dir := t.TempDir()
	for i := range 20 {
		size, kinds := 500+r.IntN(4000), []int{3, 10, 40, 300, 3000}[r.IntN(5)]
		if i%10 == 2 { // only then does it go on for long enough to look for what is promising
			size, kinds = 45000, 3000
		}
		fresh := 0
		word := func() string { return fmt.Sprint(r.IntN(kinds), "\n") }
		if i%5 == 3 { // most lines are there once, and some very often
			word = func() string {
				if r.IntN(4) == 0 {
					return []string{"\n", "}\n"}[r.IntN(2)]
				}
				fresh++
				return fmt.Sprint("line ", fresh, "\n")
			}
		}
		var a, b []string
		for range size {
			a = append(a, word())
		}
		switch i % 5 {
		case 0: // nothing of the one was made of the other
			for range size {
				b = append(b, word())
			}
		case 1: // each third line is another
			for _, line := range a {
				if r.IntN(3) == 0 {
					line = word()
				}
				b = append(b, line)
			}
		case 2, 3: // long runs are
			other, runs := false, []int{20, 8}[i%5-2]
			for _, line := range a {
				if r.IntN(runs) == 0 {
					other = r.IntN(4) == 0
				}
				if other {
					line = word()
				}
				b = append(b, line)
			}
		default: // pieces are elsewhere
			b = edited(r, a, word, 300)
		}
		texts := [2][]byte{[]byte(strings.Join(a, "")), []byte(strings.Join(b, ""))}
		n := make(numbering)
		got := n.diff(n.split(texts[0]), n.split(texts[1]))
		if want := diffByGit(t, dir, texts); !slices.Equal(got, want) {
			t.Errorf("case %d, %d lines of %d kinds: got %d edits, git has %d others", i, size, kinds, len(got), len(want))
		}
	}
}

// diffByGit returns the edits that git finds.
func diffByGit(t *testing.T, dir string, texts [2][]byte) (edits []edit) {
	t.Helper()
	for i, name := range []string{"a", "b"} {
		if err := os.WriteFile(filepath.Join(dir, name), texts[i], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// Without lines around, it would compare only what is before the common end.
	cmd := exec.Command("git", "diff", "--no-index", "--no-color", "--diff-algorithm=myers", "--no-indent-heuristic", "-U1", "a", "b")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_DIR="+dir+"/none")
	out, err := cmd.Output()
	if code := cmd.ProcessState.ExitCode(); code != 0 && code != 1 {
		t.Fatalf("git diff: %v", err)
	}
	var x, y int
	open := false
	for _, line := range strings.Split(string(out), "\n") {
		var e edit
		var a, b string
		if n, _ := fmt.Sscanf(line, "@@ -%s +%s @@", &a, &b); n == 2 {
			fmt.Sscanf(a, "%d", &x)
			fmt.Sscanf(b, "%d", &y)
			x, y, open = x-1, y-1, false
			continue
		}
		if y == 0 && x == 0 && len(edits) == 0 && (strings.HasPrefix(line, "---") || strings.HasPrefix(line, "+++")) || line == "" {
			continue
		}
		switch line[0] {
		case '-', '+':
			if !open {
				e = edit{span{x, x}, span{y, y}}
				edits = append(edits, e)
				open = true
			}
			if line[0] == '-' {
				x++
			} else {
				y++
			}
			edits[len(edits)-1].base.end, edits[len(edits)-1].text.end = x, y
		case ' ':
			x, y, open = x+1, y+1, false
		}
	}
	return edits
}
