package locking

import (
	"slices"
	"strings"
	"testing"
)

// universe is every path of up to three names out of two, and a sibling whose name begins as theirs does.
var universe = []string{
	"a", "a/a", "a/a/a", "a/a/b", "a/b", "a/b/a", "a/b/b", "a-b", "b", "b/a", "b/a/a", "b/a/b", "b/b", "b/b/a", "b/b/b",
}

func allScopes() []Scope {
	out := []Scope{tree(""), named("a"), named("a/b")}
	for _, p := range universe {
		out = append(out, onePath(p), tree(p))
	}
	return out
}

// members returns the points that s is made of: paths, and the ends of trees that no path of the universe stands for.
func members(s Scope) map[string]bool {
	out := map[string]bool{}
	switch s.Kind {
	case Name:
		out["name:"+s.Path] = true
	case OnePath:
		out[s.Path] = true
	case Tree:
		for _, p := range universe {
			if s.Path == "" || p == s.Path || strings.HasPrefix(p, s.Path+"/") {
				out[p], out[p+"/*"] = true, true
			}
		}
		if s.Path == "" {
			out["*"] = true
		}
	}
	return out
}

func TestScopesOverlapAndCoverAsTheirPathsDo(t *testing.T) {
	for _, a := range allScopes() {
		for _, b := range allScopes() {
			overlap, cover := false, true
			in := members(a)
			for p := range members(b) {
				overlap = overlap || in[p]
				cover = cover && in[p]
			}
			if got := a.Overlaps(b); got != overlap {
				t.Errorf("%v overlaps %v: got %v, want %v", a, b, got, overlap)
			}
			if got := a.Covers(b); got != cover {
				t.Errorf("%v covers %v: got %v, want %v", a, b, got, cover)
			}
		}
	}
}

func TestScopesAreOrderedByPlace(t *testing.T) {
	want := []Scope{
		tree(""), onePath("a"), tree("a"), onePath("a/a"), onePath("a/b"), tree("a/b"), onePath("a/b/c"), onePath("a-b"), onePath("b"),
		named("a"), named("b"),
	}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, Scope.Compare)
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestScopesThatCannotBe(t *testing.T) {
	for _, s := range []Scope{
		{}, onePath(""), onePath("/a"), onePath("a/"), onePath("a//b"), onePath("."), onePath("a/../b"), onePath("a\x00b"), tree("a/."),
		named(""), named(strings.Repeat("n", MaxName+1)), onePath(strings.Repeat("p", MaxPath+1)), {Kind: 4, Path: "a"},
	} {
		if s.check() == nil {
			t.Errorf("%d %.20q passes", s.Kind, s.Path)
		}
	}
	for _, s := range []Scope{tree(""), onePath("..a/.b/c."), named("a//.."), onePath(strings.Repeat("p", MaxPath))} {
		if err := s.check(); err != nil {
			t.Errorf("%v: %v", s, err)
		}
	}
}

func TestBatchesAreSplitWhereTheyAreTooLong(t *testing.T) {
	var scopes []Scope
	for i := range 3000 {
		scopes = append(scopes, onePath(strings.Repeat("d/", 200)+string(rune('a'+i/1000))+string(rune('a'+i/100%10))+string(rune('a'+i/10%10))+string(rune('a'+i%10))))
	}
	parts := SplitScopes(scopes)
	if len(parts) < 2 || !slices.Equal(slices.Concat(parts...), scopes) {
		t.Errorf("%d parts, which are together not what was split", len(parts))
	}
	for _, p := range parts {
		if _, err := Encode(lock(1, Session{nodeID(1), 1}, p...)); err != nil {
			t.Error(err)
		}
	}
}
