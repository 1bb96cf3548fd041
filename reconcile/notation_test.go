package reconcile

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"resonate/merkle"
)

// The tests write what stands at a path as a word:
//
//	-      nothing, and never heard of
//	gone   a deletion
//	b      a file with the content b; the later the letter, the later it was written
//	b!     the same with another mode
//	b+     the same, written again later
//	->b    a symlink to b
//	dir    a directory; dir! one with another mode
//
// and its version after it: "b A2 O1 @7 #3" was made by node A as its operation 2, has seen operation 1 of node O, has
// the mtime 7 instead of its letter's, and was made under the lock with token 3.

const path = "docs/report.txt"

// node returns the ID of a node that is called by one letter.
func node(letter byte) (n merkle.NodeID) {
	for i := range n {
		n[i] = letter
	}
	return n
}

func attributes(t *testing.T, word string) *merkle.Attributes {
	t.Helper()
	name, mode, later := word, uint32(0o644), int64(0)
	if s, ok := strings.CutSuffix(word, "!"); ok {
		name, mode = s, 0o600
	}
	if s, ok := strings.CutSuffix(word, "+"); ok {
		name, later = s, 100
	}
	target, link := strings.CutPrefix(name, "->")
	switch {
	case word == "-", word == "gone":
		return nil
	case name == "dir":
		return &merkle.Attributes{Kind: merkle.Dir, Mode: mode | mode>>2&0o111}
	case link:
		return &merkle.Attributes{Kind: merkle.Symlink, Target: target, MTime: int64(target[0])}
	case len(name) != 1:
		t.Fatalf("%q is no word for what stands at a path", word)
	}
	content := merkle.HashBlock([]byte(name))
	return &merkle.Attributes{Kind: merkle.File, Mode: mode, Size: 1, MTime: int64(name[0]) + later, Content: content}
}

// entry reads a word with its version; nil for "-".
func entry(t *testing.T, text string) *merkle.Entry {
	t.Helper()
	words := strings.Fields(text)
	if words[0] == "-" {
		return nil
	}
	e := &merkle.Entry{Attributes: merkle.Attributes{Kind: merkle.Tombstone}}
	if a := attributes(t, words[0]); a != nil {
		e.Attributes = *a
	}
	for _, w := range words[1:] {
		number, err := strconv.ParseUint(w[1:], 10, 64)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		switch w[0] {
		case '@':
			e.MTime = int64(number)
		case '#':
			e.Version.Token.Index = number
		default:
			if e.Version.Stamp == 0 {
				e.Version.Author, e.Version.Stamp = node(w[0]), merkle.Stamp(number)
			}
			e.Version.Vector = e.Version.Vector.With(node(w[0]), merkle.Stamp(number))
		}
	}
	return e
}

// word is the reverse of attributes.
func word(e *merkle.Entry) string {
	switch {
	case e == nil:
		return "-"
	case e.Kind == merkle.Tombstone:
		return "gone"
	case e.Kind == merkle.Dir && e.Mode == 0o700:
		return "dir!"
	case e.Kind == merkle.Dir:
		return "dir"
	case e.Kind == merkle.Symlink:
		return "->" + e.Target
	}
	for c := byte('a'); c <= 'z'; c++ {
		switch name := string(c); {
		case e.Content != merkle.HashBlock([]byte(name)):
		case e.Mode == 0o600:
			return name + "!"
		case e.MTime == int64(c)+100:
			return name + "+"
		default:
			return name
		}
	}
	return "unknown content"
}

// version writes what an entry has seen, its author's stamp first.
func version(e *merkle.Entry) string {
	if e == nil {
		return ""
	}
	author := merkle.Component{Node: e.Version.Author, Stamp: e.Version.Stamp}
	seen := slices.Clone(e.Version.Vector)
	slices.SortStableFunc(seen, func(a, b merkle.Component) int {
		return cmp.Or(compareBool(b == author, a == author), strings.Compare(a.Node.String(), b.Node.String()))
	})
	var words []string
	for _, c := range seen {
		words = append(words, fmt.Sprintf("%c%d", c.Node[0], c.Stamp))
	}
	return strings.Join(words, " ")
}
