package reconcile

import (
	"strings"
	"testing"

	"resonate/merkle"
)

// entries reads several words with their versions, parted by commas.
func entries(t *testing.T, text string) (out []*merkle.Entry) {
	t.Helper()
	for one := range strings.SplitSeq(text, ",") {
		if one = strings.TrimSpace(one); one != "" {
			out = append(out, entry(t, one))
		}
	}
	return out
}

// written is the reverse of entries.
func written(list ...*merkle.Entry) string {
	var words []string
	for _, e := range list {
		words = append(words, strings.TrimSpace(word(e)+" "+version(e)))
	}
	return strings.Join(words, ", ")
}

func TestBase(t *testing.T) {
	for _, tt := range []struct{ name, before, theirs, want string }{
		{"theirs was made on top of what is agreed", "a O1", "c B2 O1", "a O1"},
		{"on top of an earlier one", "a O1, b A2 O1, c A3 O1", "d B2 O1", "a O1"},
		{"on top of a later one", "a O1, b A2 O1, c A3 O1", "d B2 A2 O1", "b A2 O1"},
		{"of none", "a A1", "c B2", "-"},
		{"of a deletion", "gone O1", "c B2 O1", "-"},
		{"of a symlink", "->a O1", "c B2 O1", "-"},
		{"nothing is known", "", "c B2 O1", "-"},
	} {
		if got := written(Base(entries(t, tt.before), entry(t, tt.theirs))); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestBefore(t *testing.T) {
	for _, tt := range []struct{ name, before, changed, horizon, want string }{
		{"the first", "", "a O1", "", "a O1"},
		{"one more", "a O1", "b A2 O1", "", "a O1, b A2 O1"},
		{"too many: the oldest and the newest stay", "a O1, b A2 O1, c A3 O1", "d A4 O1", "", "a O1, c A3 O1, d A4 O1"},
		{"all have seen it", "a O1, b A2 O1", "c A3 O1", "c A3 O1", "c A3 O1"},
		{"all have seen an earlier one", "a O1, b A2 O1", "c A3 O1", "b A2 O1", "b A2 O1, c A3 O1"},
	} {
		var horizon merkle.Vector
		if tt.horizon != "" {
			horizon = entry(t, tt.horizon).Version.Vector
		}
		before := entries(t, tt.before)
		given := written(before...)
		if got := written(Before(before, entry(t, tt.changed), horizon, 3)...); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
		if now := written(before...); now != given {
			t.Errorf("%s: what was handed in is now %s", tt.name, now)
		}
	}
}

// TestRebase has two concurrent versions made one: it is newer than both for everybody, in whichever order they come.
func TestRebase(t *testing.T) {
	mine, theirs := entry(t, "b A2 O1"), entry(t, "c B3 O1")
	by := Author{Node: node('A'), Stamp: 9, Token: merkle.Token{Index: 5}}
	for _, have := range []string{"b", "c", "d"} {
		e := Rebase(mine, theirs, attributes(t, have), by)
		if got, want := written(e), have+" A9 B3 O1"; got != want || e.Version.Token != by.Token {
			t.Errorf("got %s under %v, want %s", got, e.Version.Token, want)
		}
		for _, other := range []*merkle.Entry{mine, theirs, join(mine, theirs), join(theirs, mine)} {
			if p := Merge(path, other, e); p.Entry != e || p.Copy != nil {
				t.Errorf("%s meets %s: %s stands, beside it %s", written(other), written(e), written(p.Entry), written(p.Copy))
			}
		}
		switch origin := e.Version.Origin(); {
		case have == "b" && origin != mine.Version.Origin(), have == "c" && origin != theirs.Version.Origin(), have == "d" && origin.Stamp != 9:
			t.Errorf("%s is said to have been made by %v", have, origin)
		}
	}
}

func TestRelated(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"b A2 O1", "c B3 O1", true}, {"b A2", "c B3", false}, {"b A2", "c B3 A1", true},
	} {
		if got := Related(entry(t, tt.a), entry(t, tt.b)); got != tt.want {
			t.Errorf("%s, %s: got %v", tt.a, tt.b, got)
		}
	}
}

func TestMergeMetadata(t *testing.T) {
	file := func(mode uint32, owner, tag string) *merkle.Attributes {
		return &merkle.Attributes{Kind: merkle.File, Mode: mode, Owner: owner, Xattrs: []merkle.Xattr{{Name: "user.tag", Value: []byte(tag)}}}
	}
	base := file(0o644, "root:root", "x")
	for _, tt := range []struct{ mine, theirs, want *merkle.Attributes }{
		{base, base, base},
		{file(0o600, "root:root", "x"), base, file(0o600, "root:root", "x")},
		{base, file(0o600, "anna:anna", "y"), file(0o600, "anna:anna", "y")},
		{file(0o600, "root:root", "x"), file(0o644, "root:root", "y"), file(0o600, "root:root", "y")},
		{file(0o600, "bob:bob", "x"), file(0o755, "anna:anna", "y"), file(0o600, "bob:bob", "y")},
	} {
		if got := MergeMetadata(base, tt.mine, tt.theirs); !SameMetadata(&got, tt.want) {
			t.Errorf("%+v and %+v: got %+v, want %+v", tt.mine, tt.theirs, got, tt.want)
		}
	}
}
