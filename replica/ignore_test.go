package replica

import (
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"resonate/control"
	"resonate/ignore"
	"resonate/merkle"
)

// agreed returns the paths that a node takes for agreed and live.
func (n *node) agreed() (out []string) {
	n.t.Helper()
	n.inLoop(func(r *Replica) {
		for path, e := range r.tree.All("") {
			if e.Live() {
				out = append(out, path)
			}
		}
	})
	slices.Sort(out)
	return out
}

// settledAs waits until all nodes are quiet with equal trees, in which exactly the given paths live, and each folder is as wanted.
func settledAs(t testing.TB, live []string, want map[*node]tree) {
	t.Helper()
	nodes := slices.Collect(maps.Keys(want))
	eventually(t, "equal trees and the wanted folders", func() string {
		var root merkle.Hash
		for i, n := range nodes {
			var quiet bool
			var state merkle.Hash
			n.inLoop(func(r *Replica) { quiet, state = r.quiet(), r.tree.Root().State })
			switch {
			case !quiet:
				return n.name + " is busy"
			case i > 0 && state != root:
				return "roots differ"
			}
			root = state
			if d := n.tree().diff(want[n]); d != "" {
				return n.name + ": " + d
			}
			if got := n.agreed(); !slices.Equal(got, live) {
				return n.name + " has agreed on " + strings.Join(got, " ")
			}
		}
		return ""
	})
}

// marked waits until a node knows by its record that a path is ignored, or no longer.
func (n *node) marked(path string, want bool) {
	n.t.Helper()
	until(n.t, n.name+" has judged "+path, func() (is bool) {
		n.inLoop(func(r *Replica) { is = r.records[path] != nil && r.records[path].ignored == want })
		return is
	})
}

func (n *node) problemAt(path string) (cause string) {
	for _, p := range n.status().Problems {
		if p.Path == path {
			cause = p.Cause
		}
	}
	return cause
}

const rule = ignore.Name

func TestRulesCountFromTheFirstScan(t *testing.T) {
	t.Parallel()
	a := newNode(t, "a", tree{
		rule: "*.log\nnode_modules/\n", "x.log": "x", "f": "f", "d/y.log": "y", "node_modules/m/i.js": "m",
		"d/" + rule: "!y.log\n", "node_modules/" + rule: "!*\n", "e/node_modules": "a file of that name",
	})
	a.start()
	b := startNode(t, "b", tree{"y.log": "of b"})
	until(t, "b has scanned", func() bool { return slices.Contains(b.agreed(), "y.log") })
	connect(a, b)
	synced := tree{rule: "*.log\nnode_modules/\n", "f": "f", "d/y.log": "y", "d/" + rule: "!y.log\n", "e/node_modules": "a file of that name"}
	atA, atB := maps.Clone(synced), maps.Clone(synced)
	maps.Copy(atA, tree{"x.log": "x", "node_modules/m/i.js": "m", "node_modules/" + rule: "!*\n"})
	atB["y.log"] = "of b" // b had no rules when it was found
	settledAs(t, []string{rule, "d", "d/" + rule, "d/y.log", "e", "e/node_modules", "f", "y.log"}, map[*node]tree{a: atA, b: atB})
	if w := a.replica().watcher.Status(); w.Watched != 3 {
		t.Errorf("%d directories are watched, want the folder, d and e alone", w.Watched)
	}
}

// What is made below or beside rules that came a moment before is ignored, wherever they came from.
func TestRulesArrive(t *testing.T) {
	t.Parallel()
	a, b := startNode(t, "a", tree{"f": "f"}), startNode(t, "b", nil)
	connect(a, b)
	holds(t, tree{"f": "f"}, a, b)
	a.write("build/"+rule, "/out/\n")
	holds(t, tree{"f": "f", "build/" + rule: "/out/\n"}, a, b)
	b.write("build/out/o", "o")
	b.write("build/src", "s")
	a.write("build/out", "a file, and so not ignored")
	eventually(t, "a problem", func() string {
		if b.problemAt("build/out") == "" {
			return "b tells nothing of build/out"
		}
		return ""
	})
	a.remove("build/out")
	synced := tree{"f": "f", "build/" + rule: "/out/\n", "build/src": "s"}
	atB := maps.Clone(synced)
	atB["build/out/o"] = "o"
	settledAs(t, []string{"build", "build/" + rule, "build/src", "f"}, map[*node]tree{a: synced, b: atB})
	if cause := b.problemAt("build/out"); cause != "" {
		t.Errorf("b still tells of build/out: %s", cause)
	}
}

// What was synced stays everywhere once a rule is about it, and each folder goes its own way with it.
func TestRuleAboutWhatIsSynced(t *testing.T) {
	t.Parallel()
	base := tree{"f": "f", "a.log": "1", "b.log": "1", "c.log": "1", "d.log": "1"}
	a, b := startNode(t, "a", base), startNode(t, "b", nil)
	connect(a, b)
	holds(t, base, a, b)
	a.write(rule, "*.log\n")
	for _, n := range []*node{a, b} {
		for _, p := range []string{"a.log", "b.log", "c.log", "d.log"} {
			n.marked(p, true)
		}
	}
	a.write("a.log", "2 of a")
	a.remove("b.log")
	b.write("c.log", "2 of b")
	b.remove("d.log")
	a.write("f", "2")
	live := []string{rule, "a.log", "b.log", "c.log", "d.log", "f"}
	atA := tree{rule: "*.log\n", "f": "2", "a.log": "2 of a", "c.log": "1", "d.log": "1"}
	atB := tree{rule: "*.log\n", "f": "2", "a.log": "1", "b.log": "1", "c.log": "2 of b"}
	settledAs(t, live, map[*node]tree{a: atA, b: atB})
	a.wantCheck(control.CheckOptions{})
	b.wantCheck(control.CheckOptions{})

	// Across a restart nothing is taken for a change either, even if the rule goes meanwhile.
	a.committed()
	if err := a.end(); err != nil {
		t.Fatal(err)
	}
	a.remove(rule)
	before := b.entry("b.log")
	a.start()
	want := tree{"f": "2", "a.log": "2 of a", "b.log": "1", "c.log": "2 of b", "d.log": "1"}
	holds(t, want, a, b)
	if after := b.entry("b.log"); after.Hash() != before.Hash() {
		t.Errorf("b.log, which nobody changed but while it was ignored, has another version: %+v, want %+v", after.Version, before.Version)
	}
}

// A file that is synced and a directory of its name that is not are two matters.
func TestIgnoredDirectoryInPlaceOfAFile(t *testing.T) {
	t.Parallel()
	base := tree{rule: "build/\n", "build": "a file", "f": "f"}
	a, b := startNode(t, "a", base), startNode(t, "b", nil)
	connect(a, b)
	holds(t, base, a, b)
	a.remove("build")
	a.write("build/x", "x")
	settledAs(t, []string{rule, "f"}, map[*node]tree{a: {rule: "build/\n", "f": "f", "build/x": "x"}, b: {rule: "build/\n", "f": "f"}})
	if got := b.history()["build"]; !slices.Equal(got, []string{"a file"}) {
		t.Errorf("history of build at b: %q, want the file", got)
	}
}

// A machine's own rule has peers' changes recorded alone; once it goes, what is missing comes, and what differs meets.
func TestOwnRules(t *testing.T) {
	t.Parallel()
	a, b := startNode(t, "a", tree{"big/x": "x", "big/y": "y", "f": "f"}), startNode(t, "b", nil)
	if n, err := b.replica().Ignore(t.Context(), []string{"/big/", "*.tmp"}); err != nil || n != 2 {
		t.Fatalf("Ignore: got %d, %v, want 2", n, err)
	}
	connect(a, b)
	live := []string{"big", "big/x", "big/y", "f"}
	settledAs(t, live, map[*node]tree{a: {"big/x": "x", "big/y": "y", "f": "f"}, b: {"f": "f"}})

	b.write("big/x", "of b") // without knowledge of the other
	b.write("t.tmp", "t")
	a.write("big/y", "y2")
	a.write("big/z", "z")
	live = []string{"big", "big/x", "big/y", "big/z", "f"}
	atB := tree{"f": "f", "big/x": "of b", "t.tmp": "t"}
	settledAs(t, live, map[*node]tree{a: {"big/x": "x", "big/y": "y2", "big/z": "z", "f": "f"}, b: atB})

	b.committed()
	if err := b.end(); err != nil {
		t.Fatal(err)
	}
	b.start()
	got, err := b.replica().Ignored(t.Context())
	if want := []control.Pattern{{Pattern: "/big/"}, {Pattern: "*.tmp"}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("Ignored after a restart: got %q, %v, want %q", got, err, want)
	}
	settledAs(t, live, map[*node]tree{a: {"big/x": "x", "big/y": "y2", "big/z": "z", "f": "f"}, b: atB})
	if n, err := b.replica().Unignore(t.Context(), []string{"/big/", "nothing"}); err != nil || n != 1 {
		t.Fatalf("Unignore: got %d, %v, want 1", n, err)
	}
	eventually(t, "both versions of big/x, everywhere", func() string {
		for _, n := range []*node{a, b} {
			tr := n.tree()
			copies := tr.copies()
			if tr["big/y"] != "y2" || tr["big/z"] != "z" || len(copies) != 1 {
				return n.name + " has not all yet"
			}
			if both := []string{tr["big/x"], tr[copies[0]]}; !slices.Contains(both, "x") || !slices.Contains(both, "of b") {
				return n.name + " has other versions: " + strings.Join(both, " ")
			}
		}
		return ""
	})
	if got := slices.Contains(a.agreed(), "t.tmp"); got {
		t.Error("t.tmp, which is still ignored, was published")
	}
}

// A peer's deletion of a directory leaves what is ignored in it, tells so, and is not undone.
func TestDeletionElsewhereLeavesWhatIsIgnored(t *testing.T) {
	for _, row := range []struct{ name, ruleAt string }{{"rules above", rule}, {"rules in it", "d/" + rule}} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			base := tree{row.ruleAt: "*.log\nnode_modules/\n", "d/f": "f", "d/s/g": "g", "d/old.txt": "o", "f": "f"}
			a, b := startNode(t, "a", base), startNode(t, "b", nil)
			connect(a, b)
			holds(t, base, a, b)
			b.write("d/s/x.log", "x")
			b.write("d/node_modules/m", "m")
			b.flushed()
			a.remove("d")
			left := tree{"f": "f", "d/s/x.log": "x", "d/node_modules/m": "m"}
			live := []string{"f"}
			atA := tree{"f": "f"}
			left[row.ruleAt] = base[row.ruleAt] // it stays in either place, here for what it has ignored
			if row.ruleAt == rule {
				atA[rule], live = base[rule], []string{rule, "f"}
			}
			settledAs(t, live, map[*node]tree{a: atA, b: left})
			told := func() string {
				if b.problemAt("d") != toldLeft || b.problemAt("d/s") != toldLeft {
					return "not told: " + b.problemAt("d")
				}
				return ""
			}
			eventually(t, "being told", told)
			b.wantCheck(control.CheckOptions{}) // what stays is no difference
			// Neither a scan nor a restart brings anything back.
			b.inLoop(func(r *Replica) { r.startScan("", false) })
			settledAs(t, live, map[*node]tree{a: atA, b: left})
			b.committed()
			if err := b.end(); err != nil {
				t.Fatal(err)
			}
			b.start()
			settledAs(t, live, map[*node]tree{a: atA, b: left})
			eventually(t, "being told again", told)
			// When it is not needed any more, the directory goes.
			b.remove("d/s/x.log")
			b.remove("d/node_modules")
			settledAs(t, live, map[*node]tree{a: atA, b: atA})
			if p := b.status().Problems; len(p) > 0 {
				t.Errorf("still told: %+v", p)
			}
		})
	}
}

// A directory that was deleted elsewhere and has stayed is one like any other once it is there again.
func TestLeftDirectoryComesBack(t *testing.T) {
	t.Parallel()
	base := tree{"d/" + rule: "*.log\n", "d/f": "f"}
	a, b := startNode(t, "a", base), startNode(t, "b", nil)
	connect(a, b)
	holds(t, base, a, b)
	b.write("d/x.log", "x")
	b.flushed()
	a.remove("d")
	settledAs(t, nil, map[*node]tree{a: {}, b: {"d/" + rule: "*.log\n", "d/x.log": "x"}})
	a.write("d/g", "g")
	settledAs(t, []string{"d", "d/" + rule, "d/g"}, map[*node]tree{
		a: {"d/" + rule: "*.log\n", "d/g": "g"}, b: {"d/" + rule: "*.log\n", "d/g": "g", "d/x.log": "x"},
	})
	if cause := b.problemAt("d"); cause != "" {
		t.Errorf("still told of d: %s", cause)
	}
}

// What is ignored and was agreed goes with its directory where somebody removes that, and stays elsewhere.
func TestDeletedDirectoryOfAgreedAndIgnored(t *testing.T) {
	t.Parallel()
	base := tree{"d/f": "f", "d/x.log": "x"}
	a, b := startNode(t, "a", base), startNode(t, "b", nil)
	connect(a, b)
	holds(t, base, a, b)
	a.write(rule, "*.log\n")
	b.marked("d/x.log", true)
	a.marked("d/x.log", true)
	a.remove("d")
	settledAs(t, []string{rule, "d/x.log"}, map[*node]tree{a: {rule: "*.log\n"}, b: {rule: "*.log\n", "d/x.log": "x"}})
}

func TestIgnoredMakesNoMessage(t *testing.T) {
	t.Parallel()
	base := tree{rule: "*.log\nout/\n", "f": "f", "d/g": "g"}
	a, b := startNode(t, "a", base), startNode(t, "b", nil)
	connect(a, b)
	holds(t, base, a, b)
	sent := func() uint64 { return a.status().MessagesSent + b.status().MessagesSent }
	until(t, "silence", func() bool {
		before := sent()
		a.flushed()
		b.flushed()
		return a.status().State == "in sync" && sent() == before
	})
	before := sent()
	a.write("x.log", "x")
	a.write("d/y.log", "y")
	a.write("out/deep/z", "z")
	a.write("x.log", "x again")
	a.remove("d/y.log")
	a.flushed()
	if root := a.replica(); root.watcher.Status().Watched != 2 {
		t.Errorf("%d directories are watched, want 2", root.watcher.Status().Watched)
	}
	if after := sent(); after != before {
		t.Errorf("%d messages were sent about what is ignored", after-before)
	}
}

func TestIgnoredByNamesTheRule(t *testing.T) {
	t.Parallel()
	a := startNode(t, "a", tree{"d/" + rule: "# logs\n*.log\n!keep.log\n"})
	if _, err := a.replica().Ignore(t.Context(), []string{"*.tmp"}); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		path    string
		by      ignore.Rule
		ignored bool
	}{
		{"d/x.log", ignore.Rule{Source: "d/" + rule, Line: 2, Pattern: "*.log"}, true},
		{"d/keep.log", ignore.Rule{Source: "d/" + rule, Line: 3, Pattern: "!keep.log", Negated: true}, false},
		{"x.log", ignore.Rule{}, false},
		{"d/x.tmp", ignore.Rule{Source: a.replica().rules.path, Line: 1, Pattern: "*.tmp"}, true},
	} {
		a.inLoop(func(r *Replica) {
			if by, ignored := r.ignoredBy(row.path, false); by != row.by || ignored != row.ignored {
				t.Errorf("%s: got %+v, %v, want %+v, %v", row.path, by, ignored, row.by, row.ignored)
			}
		})
	}
}

func TestPatternsThatAreNone(t *testing.T) {
	t.Parallel()
	a := startNode(t, "a", nil)
	for _, p := range []string{"", "# x", "a\nb", "/", "[a", "   "} {
		if n, err := a.replica().Ignore(t.Context(), []string{"ok", p}); n != 0 || !errors.Is(err, control.ErrBadArgument) {
			t.Errorf("Ignore %q: got %d, %v, want ErrBadArgument", p, n, err)
		}
	}
	if got, _ := a.replica().Ignored(t.Context()); len(got) != 0 {
		t.Errorf("patterns were added: %q", got)
	}
}

func TestRuleFileThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	a := startNode(t, "a", tree{rule: "*.log\n", "f": "f"})
	a.flushed()
	a.write(rule, strings.Repeat("# long\n", ignore.MaxSize/7+1))
	eventually(t, "a problem", func() string {
		if cause := a.problemAt(rule); !strings.Contains(cause, "1 MiB") {
			return "told: " + cause
		}
		return ""
	})
	a.write("x.log", "x")
	a.flushed()
	if slices.Contains(a.agreed(), "x.log") {
		t.Error("x.log was published: the rules that were known do not count any more")
	}
	if err := os.Remove(a.path(rule)); err != nil {
		t.Fatal(err)
	}
	until(t, "x.log is published, and the problem gone", func() bool {
		return slices.Contains(a.agreed(), "x.log") && a.problemAt(rule) == ""
	})
}

// A moved directory takes along what is ignored in it, and a rule about where it goes counts there.
func TestMovedDirectoryWithIgnored(t *testing.T) {
	t.Parallel()
	base := tree{rule: "*.log\n/new/out/\n", "old/f": "f", "old/s/g": "g", "old/out/o": "o", "p/f": "f", "p/" + rule: "/mine\n"}
	a, b := startNode(t, "a", base), startNode(t, "b", nil)
	connect(a, b)
	holds(t, base, a, b)
	b.write("old/s/x.log", "x")
	b.write("p/mine", "m")
	b.flushed()
	for from, to := range map[string]string{"old": "new", "p": "q"} {
		if err := os.Rename(a.path(from), a.path(to)); err != nil {
			t.Fatal(err)
		}
	}
	live := []string{rule, "new", "new/f", "new/s", "new/s/g", "q", "q/" + rule, "q/f"}
	eventually(t, "the move to be agreed", func() string {
		for _, n := range []*node{a, b} {
			if got := n.agreed(); !slices.Equal(got, live) {
				return n.name + " has agreed on " + strings.Join(got, " ")
			}
		}
		return ""
	})
	if tr := b.tree(); tr["q/mine"] != "m" || !b.keeps("x") || !b.keeps("o") {
		t.Errorf("b has lost what is ignored: %q, %q", tr, b.history())
	}
}
