package replica

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"resonate/bases"
	"resonate/merkle"
)

// keptText returns what n has kept of a content, and whether it has.
func (n *node) keptText(content string) bool {
	n.t.Helper()
	list, _, err := merkle.Split(strings.NewReader(content), nil)
	if err != nil {
		n.t.Fatal(err)
	}
	text, err := n.replica().bases.Get(list.Root())
	if err != nil && !errors.Is(err, bases.ErrAbsent) {
		n.t.Fatal(err)
	}
	return err == nil && string(text) == content
}

// TestTextsAreKeptWhenIdle has nodes keep what small texts they have, and what these were before; nothing else, and nothing when alone.
func TestTextsAreKeptWhenIdle(t *testing.T) {
	large := strings.Repeat("a line of text\n", bases.MaxText/15+1)
	files := tree{"f": "first\n", "no text": "first\x00", "large": large, "empty": ""}
	for i := range 3 * keepFiles {
		files[fmt.Sprintf("many/%d", i)] = fmt.Sprintf("number %d\n", i)
	}
	a, b := startNode(t, "a", files), startNode(t, "b", nil)
	until(t, "a has seen its folder", func() bool { return a.status().State == "alone" })
	if a.replica().bases.Opened() {
		t.Error("a node alone keeps texts")
	}
	connect(a, b)
	holds(t, files, a, b)
	for _, n := range []*node{a, b} {
		for path, content := range files {
			if path == "no text" || path == "large" || content == "" {
				continue
			}
			until(t, n.name+" has kept "+path, func() bool { return n.keptText(content) })
		}
		if n.keptText(large) || n.keptText("first\x00") {
			t.Errorf("%s has kept what is too large, or no text", n.name)
		}
	}
	a.write("f", "second\n")
	until(t, "what it is now is kept", func() bool { return a.keptText("second\n") && b.keptText("second\n") })
	if !a.keptText("first\n") || !b.keptText("first\n") {
		t.Error("what it was before is not kept any more")
	}
	until(t, "there is nothing more to do", func() bool {
		done := false
		b.inLoop(func(r *Replica) { done = r.listing && !r.reading && len(r.fresh)+len(r.unkept)+len(r.listed) == 0 })
		return done
	})
}

// TestEarlierVersionsAreRemembered has a node change a file while it is apart, and start again: it knows what others may have changed, until
// all have seen what it has.
func TestEarlierVersionsAreRemembered(t *testing.T) {
	a, b := startNode(t, "a", tree{"f": "base\n"}), startNode(t, "b", nil)
	w := connect(a, b)
	holds(t, tree{"f": "base\n"}, a, b)
	converged(t, a, b)
	w.cut()
	base := a.entry("f")
	for i := range 7 {
		content := fmt.Sprintf("%d\n", i)
		a.write("f", content)
		until(t, "it is published", func() bool { e := a.entry("f"); return e.Size == int64(len(content)) && e.Content == blockOf(content) })
	}
	known := func() (before []*merkle.Entry) {
		a.inLoop(func(r *Replica) { before = r.record("f").before() })
		return before
	}
	check := func(when string) {
		t.Helper()
		before := known()
		if len(before) != 4 || before[0].Hash() != base.Hash() || before[3].Content != blockOf("5\n") {
			t.Errorf("%s: %d versions are remembered, the first %v, the last %v", when, len(before), before[0], before[len(before)-1])
		}
	}
	check("apart")
	a.end()
	a.start()
	check("after a start")
	w.restore()
	holds(t, tree{"f": "6\n"}, a, b)
	until(t, "they are forgotten", func() bool { return len(known()) == 0 })
}

// blockOf returns the hash of a small content, as an entry has it.
func blockOf(content string) merkle.Hash {
	return merkle.BlockList{{Hash: merkle.HashBlock([]byte(content)), Size: uint32(len(content))}}.Root()
}
