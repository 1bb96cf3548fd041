package merkle

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// inOrder compares paths name by name, as a listing does.
func inOrder(a, b string) int { return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/")) }

// TestListInPages lists trees in pages of every size, and compares with all paths sorted.
func TestListInPages(t *testing.T) {
	var tr Tree
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 400 {
		kind := File
		if i%7 == 0 {
			kind = Tombstone
		}
		p := fmt.Sprintf("d%d/e%d/f%d", random.IntN(2), random.IntN(3), random.IntN(300))
		tr.Put(p, &Entry{Attributes: Attributes{Kind: kind}})
	}
	tr.Put("d0", &Entry{Attributes: Attributes{Kind: Dir}})
	tr.Put("d0.txt", &Entry{Attributes: Attributes{Kind: File}})
	tr.Put("gone/x", &Entry{Attributes: Attributes{Kind: Tombstone}})

	for _, row := range []struct {
		name string
		l    Listing
	}{
		{"all", Listing{}},
		{"with tombstones", Listing{Deleted: true}},
		{"one level", Listing{Depth: 1}},
		{"two levels, with tombstones", Listing{Depth: 2, Deleted: true}},
		{"below a directory", Listing{Path: "d1/e1"}},
		{"one level below a directory", Listing{Path: "d1", Depth: 1}},
		{"below nothing", Listing{Path: "none"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			want := wantListed(&tr, row.l)
			for _, size := range []int{1, 2, 7, 1000} {
				var got []string
				for l := row.l; ; {
					n := 0
					for p := range tr.List(l) {
						if n++; n > size {
							break
						}
						got = append(got, p)
					}
					if n <= size {
						break
					}
					l.After = got[len(got)-1]
				}
				if !slices.Equal(got, want) {
					t.Fatalf("pages of %d: got %d paths %.300q, want %d %.300q", size, len(got), got, len(want), want)
				}
			}
		})
	}
}

// wantListed computes a listing the slow way.
func wantListed(tr *Tree, l Listing) []string {
	at := make(map[string]bool)
	for p, e := range tr.All(l.Path) {
		if e.Kind == Tombstone && !l.Deleted {
			continue
		}
		at[p] = true
		for dir, _ := SplitPath(p); dir != l.Path; dir, _ = SplitPath(dir) {
			at[dir] = at[dir] || tr.Get(dir) == nil || tr.Get(dir).Live() || l.Deleted
		}
	}
	var want []string
	for p, listed := range at {
		rel := strings.TrimPrefix(strings.TrimPrefix(p, l.Path), "/")
		if listed && (l.Depth == 0 || strings.Count(rel, "/") < l.Depth) {
			want = append(want, p)
		}
	}
	slices.SortFunc(want, inOrder)
	return want
}

func TestListIsOrderedInATrie(t *testing.T) {
	var tr Tree
	for i := range 5000 {
		tr.Put(fmt.Sprintf("%d", i), &Entry{Attributes: Attributes{Kind: File}})
	}
	last := ""
	n := 0
	for p := range tr.List(Listing{After: "25"}) {
		if p <= "25" || p <= last {
			t.Fatalf("got %q after %q", p, last)
		}
		last = p
		n++
	}
	want := 0
	for i := range 5000 {
		if fmt.Sprintf("%d", i) > "25" {
			want++
		}
	}
	if n != want {
		t.Errorf("got %d names after 25, want %d", n, want)
	}
}
