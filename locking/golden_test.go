package locking

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

const goldenFile = "testdata/formats.golden"

var update = flag.Bool("update", false, "rewrite the golden file: a change of a format that others rely on")

// Logs and snapshots outlive the program that wrote them, and nodes of different versions talk to each other: their bytes stay as they
// are.
func TestFormatsAreWhatTheyWere(t *testing.T) {
	var b strings.Builder
	for _, c := range commands() {
		if raw := encode(t, c); len(raw) < 4096 {
			fmt.Fprintf(&b, "command %T %x\n", c, raw)
		}
	}
	for _, m := range messages() {
		fmt.Fprintf(&b, "message %T %x\n", m, EncodeMessage(m))
	}
	g := newRig(t)
	a, o := g.session(1), g.session(2)
	for _, c := range []Command{
		delegate(1, a, onePath("x")), lock(2, o, onePath("docs/y")), try(3, o, onePath("z")),
		&Narrow{Request: id(1), Session: a, Except: []Scope{tree("docs")}, Left: []Left{leftAt(tree("docs"), "v")}, Seen: 9},
		lock(2, o, onePath("docs/y")), share(4, o, onePath("x")), &Close{a, Expired},
	} {
		g.index++
		fmt.Fprintf(&b, "result %x\n", g.table.Apply(g.index, encode(t, c)))
	}
	fmt.Fprintf(&b, "snapshot %x\n", g.table.Snapshot())
	if *update {
		if err := os.WriteFile(goldenFile, []byte(b.String()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("the bytes are others than in %s:\n%s", goldenFile, b.String())
	}
}
