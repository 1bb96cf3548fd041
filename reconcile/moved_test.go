package reconcile

import (
	"testing"

	"resonate/merkle"
)

// TestMoved derives the entry of a moved path on two nodes that know the same, and sees it win where it must.
func TestMoved(t *testing.T) {
	old := Publish(nil, attributes(t, "b"), Author{Node: node('A'), Stamp: 2})
	stood := Publish(Publish(nil, attributes(t, "c"), Author{Node: node('O'), Stamp: 5}), nil, Author{Node: node('O'), Stamp: 6})
	by := Author{Node: node('A'), Stamp: 9, Token: merkle.Token{Generation: 1, Index: 3}}
	e := Moved(old, stood, by)
	if again := Moved(old, stood, by); e.Hash() != again.Hash() {
		t.Errorf("derived twice: got %v and %v", e, again)
	}
	if e.ContentHash() != old.ContentHash() {
		t.Errorf("attributes: got %+v, want %+v", e.Attributes, old.Attributes)
	}
	for _, row := range []struct {
		name string
		over *merkle.Entry
	}{{"what was deleted at the new path", stood}, {"what was agreed at the old one", old}} {
		if got := e.Version.Vector.Compare(row.over.Version.Vector); got != merkle.After {
			t.Errorf("version against %s: got %v, want after", row.name, got)
		}
	}
	if got, want := e.Version.Origin(), old.Version.Origin(); got != want {
		t.Errorf("origin of the content: got %v, want %v", got, want)
	}
	if e.Version.Author != by.Node || e.Version.Stamp != by.Stamp || e.Version.Token != by.Token {
		t.Errorf("author: got %+v, want %+v", e.Version, by)
	}
	if got := Moved(old, nil, by).Version.Vector; !got.Equal(old.Version.Vector.With(by.Node, by.Stamp)) {
		t.Errorf("vector where nothing stood: got %v", got)
	}
}
