package node

import (
	"reflect"
	"testing"

	"resonate/control"
)

// pages cuts a tree into pages of two entries.
func pages(tree ...control.TreeEntry) func() (control.TreePage, error) {
	return func() (control.TreePage, error) {
		n := min(2, len(tree))
		page := control.TreePage{Entries: tree[:n], More: len(tree) > n}
		tree = tree[n:]
		return page, nil
	}
}

func TestCompareTrees(t *testing.T) {
	file := func(path, hash string) control.TreeEntry {
		return control.TreeEntry{Path: path, Kind: "file", Hash: hash}
	}
	dir := func(path string) control.TreeEntry { return control.TreeEntry{Path: path, Kind: "directory"} }
	link := func(path, to string) control.TreeEntry {
		return control.TreeEntry{Path: path, Kind: "symlink", Target: to}
	}
	here := pages(dir(""), dir("a"), file("a/x", "1"), file("a-b", "1"), link("l", "to"), link("m", "to"), file("z", "1"))
	there := pages(dir(""), dir("a"), file("a/w", "1"), file("a/x", "2"), file("a-b", "1"), file("k", "1"), link("l", "to"), link("m", "elsewhere"))
	got, err := compareTrees(here, there)
	want := Comparison{
		Same:      2,
		OnlyHere:  Paths{1, []string{"z"}},
		OnlyThere: Paths{2, []string{"a/w", "k"}},
		Differing: Paths{2, []string{"a/x", "m"}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
}

func TestExamplesAreFew(t *testing.T) {
	var p Paths
	for range 3 * maxExamples {
		p.add("x")
	}
	if p.Count != 3*maxExamples || len(p.Examples) != maxExamples {
		t.Errorf("got %d paths and %d examples, want %d and %d", p.Count, len(p.Examples), 3*maxExamples, maxExamples)
	}
}
