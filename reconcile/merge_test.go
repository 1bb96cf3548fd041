package reconcile

import (
	"maps"
	"slices"
	"testing"

	"resonate/merkle"
)

func TestMergeByVersion(t *testing.T) {
	tests := []struct{ name, mine, theirs, stands, beside string }{
		{"never heard of here", "-", "b B1", "b B1", ""},
		{"never heard of there", "b A1", "-", "b A1", ""},
		{"a deletion never heard of", "-", "gone B2 O1", "gone B2 O1", ""},

		{"theirs has seen ours", "b A1", "a B2 A1", "a B2 A1", ""},
		{"ours has seen theirs", "a B2 A1", "b A1", "a B2 A1", ""},
		{"the same version", "b A1", "b A1", "b A1", ""},
		{"a deletion that has seen ours", "b A1", "gone B2 A1", "gone B2 A1", ""},
		{"a deletion that ours has seen", "b A3 B2", "gone B2", "b A3 B2", ""},
		{"a deletion that has not seen ours", "b A1 O1", "gone B2 O1", "b A1 B2 O1", ""},
		{"two deletions", "gone A1", "gone B2", "gone B2 A1", ""},
		{"what lost, once more", "c A1 B2", "b B2", "c A1 B2", ""},
		{"settled elsewhere already", "b A1", "c B2 A1", "c B2 A1", ""},
		{"settled on both sides with different third ones", "c A1 B2", "c A1 C3", "c A1 B2 C3", ""},

		{"greater token first, whatever the mtime", "b A1 #2", "c B2 #1", "b A1 B2", "c B2"},
		{"a token before none", "c A1", "b B2 #1", "b B2 A1", "c A1"},
		{"then the mtime, whatever the stamp", "c A1", "b B2", "c A1 B2", "b B2"},
		{"then the author's stamp", "b A3 @5", "c B2 @5", "b A3 B2", "c B2"},
		{"then the node", "c A2 @5", "b B2 @5", "b B2 A2", "c A2"},
		{"a change before a deletion, whatever the token", "b A1", "gone B2 #1", "b A1 B2", ""},
		{"a directory before a file, whatever the token", "dir A1", "b B2 #1", "dir A1 B2", "b B2"},

		{"equal vectors, unequal content", "b A1 B2", "c B2 A1", "c B2 A1", "b A1 B2"},
		{"equal vectors, a change and a deletion", "b A1 B2", "gone B2 A1", "b A1 B2", ""},
		{"equal vectors, equal content, other authors", "b A1 B2", "b B2 A1", "b B2 A1", ""},

		// A wrote b, which B joined with C's a. A did not know, and went on writing: C's content is beside b already.
		{"edited on while settled elsewhere", "b A1 C3", "c A2", "c A2 C3", ""},
		{"edited on with an older mtime while settled elsewhere", "b A1 C3", "a A2", "a A2 C3", ""},
		{"deleted while settled elsewhere", "b A1 C3", "gone A2", "gone A2 C3", ""},
		{"conflict copy deleted while settled once more", "b A1 B2 C3", "gone D4 A1 B2", "gone D4 A1 B2 C3", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			mine, theirs := entry(t, tt.mine), entry(t, tt.theirs)
			var out Plan
			if mine == nil || theirs == nil {
				if out = Merge(path, mine, theirs); out.Entry == nil {
					out.Entry = mine
				}
			} else {
				out = meet(t, mine, theirs)
			}
			if got := word(out.Entry) + " " + version(out.Entry); got != tt.stands {
				t.Errorf("stands at the path: got %s, want %s", got, tt.stands)
			}
			beside := ""
			if out.Copy != nil {
				beside = word(out.Copy) + " " + version(out.Copy)
			}
			if beside != tt.beside {
				t.Errorf("kept beside it: got %q, want %q", beside, tt.beside)
			}
		})
	}
}

// One stamp with two outcomes is the work of a clone or of a liar: which of them stands does not matter, as long as it
// is the same everywhere and the other one's content is not lost.
func TestOneStampTwoOutcomes(t *testing.T) {
	for _, tt := range []struct {
		name, mine, theirs string
		copy               bool
	}{
		{"content", "b A1 @5", "c A1 @5", true},
		{"content, and more seen on one side", "b A1 @5 B2", "c A1 @5 C3", true},
		{"mode", "b A1", "b! A1", false},
		{"kind", "b A1", "dir A1", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if out := meet(t, entry(t, tt.mine), entry(t, tt.theirs)); (out.Copy != nil) != tt.copy {
				t.Errorf("copy: got %s, want one: %v", word(out.Copy), tt.copy)
			}
		})
	}
}

// A newer resonate may put into an entry what this one does not know. It decides nothing, but must not stay different.
func TestUnknownFieldsAlone(t *testing.T) {
	plain := entry(t, "b A1")
	bytes := merkle.AppendUint(plain.Append(nil), 99, 1)
	richer, err := merkle.DecodeEntry(bytes)
	if err != nil {
		t.Fatal(err)
	}
	if plain.Hash() == richer.Hash() {
		t.Fatal("the unknown field is not in the hash: nothing is tested")
	}
	if out := meet(t, plain, richer); out.Copy != nil {
		t.Errorf("copy: got %s, want none", word(out.Copy))
	}
}

// Three nodes that know nothing of each other settle it in any order: the same one stands, the same ones are kept.
func TestThreeNodesInAnyOrder(t *testing.T) {
	for _, tt := range []struct {
		name     string
		versions []string
		stands   string
		beside   []string // by their first authors' nodes
	}{
		{"three contents", []string{"b A10 O1", "c B20 O1", "d C30 O1"}, "d C30 A10 B20 O1", []string{"b", "c"}},
		{"lock order", []string{"b A10 #3", "c B20 #2", "d C30"}, "b A10 B20 C30", []string{"c", "d"}},
		{"two changes and a deletion", []string{"b A10", "gone B20", "d C30"}, "d C30 A10 B20", []string{"b"}},
		{"a change and two deletions", []string{"gone A10", "b B20", "gone C30"}, "b B20 A10 C30", nil},
		{"three deletions", []string{"gone A10", "gone B20", "gone C30"}, "gone C30 A10 B20", nil},
		{"three kinds", []string{"b A10", "dir B20", "->d C30"}, "dir B20 A10 C30", []string{"->d", "b"}},
		{"equal content twice, winning", []string{"d A10", "b B20", "d C30"}, "d C30 A10 B20", []string{"b"}},
		{"one content, three modes and mtimes", []string{"b A10", "b! B20", "b+ C30"}, "b+ C30 A10 B20", nil},
		{"three directories", []string{"dir A10", "dir! B20", "dir C30"}, "dir C30 A10 B20", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, order := range [][3]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
				var node, relayed replica
				for _, i := range order {
					node.take(path, entry(t, tt.versions[i]))
				}
				relayed.take(path, entry(t, tt.versions[order[1]]))
				relayed.take(path, entry(t, tt.versions[order[2]]))
				relay := relayed
				relayed = replica{}
				relayed.take(path, entry(t, tt.versions[order[0]]))
				relayed.takeAll(&relay)
				for how, got := range map[string]*replica{"one by one": &node, "two settled before": &relayed} {
					if e := got.at[path]; word(e)+" "+version(e) != tt.stands {
						t.Errorf("order %v, %s: got %s %s, want %s", order, how, word(e), version(e), tt.stands)
					}
					var beside []string
					for _, p := range slices.Sorted(maps.Keys(got.at)) {
						if p != path {
							beside = append(beside, word(got.at[p]))
						}
					}
					if slices.Sort(beside); !slices.Equal(beside, tt.beside) {
						t.Errorf("order %v, %s: beside it %q, want %q", order, how, beside, tt.beside)
					}
				}
			}
		})
	}
}

func TestMakeWay(t *testing.T) {
	for _, obstacle := range []string{"b O1", "->b O1", "b O1 A5"} {
		t.Run(obstacle, func(t *testing.T) {
			e := entry(t, obstacle)
			dir := &merkle.Attributes{Kind: merkle.Dir, Mode: 0o755}
			here := MakeWay(path, e, dir, Author{Node: node('A'), Stamp: 10})
			there := MakeWay(path, e, dir, Author{Node: node('B'), Stamp: 20})
			for _, p := range []Plan{here, there} {
				if got := word(p.Entry); got != "dir" {
					t.Errorf("stands at the path: got %s, want dir", got)
				}
				if p.Copy != e {
					t.Errorf("kept beside it: got %s, want %s", word(p.Copy), obstacle)
				}
				checkCopy(t, p)
				if order := p.Entry.Version.Vector.Compare(e.Version.Vector); order != merkle.After {
					t.Errorf("the directory has not seen what it replaces: order %d", order)
				}
			}
			if out := meet(t, here.Entry, there.Entry); word(out.Entry) != "dir" || out.Copy != nil {
				t.Errorf("two nodes at once: got %s and %s beside it, want one directory", word(out.Entry), word(out.Copy))
			}
			if here.CopyPath != there.CopyPath {
				t.Errorf("two nodes at once make two copies, %q and %q", here.CopyPath, there.CopyPath)
			}
		})
	}
}

// A directory is deleted here while the peer puts a file into it: the deletion stands, until the file makes the
// directory known again, on both sides alike.
func TestDirectoryDeletedAgainstNewFileInside(t *testing.T) {
	agreed, dir := entry(t, "dir O1"), attributes(t, "dir")
	deleted := Publish(agreed, nil, Author{Node: node('A'), Stamp: 10})
	if out := meet(t, deleted, agreed); word(out.Entry) != "gone" {
		t.Fatalf("stands at the directory's path: got %s, want gone", word(out.Entry))
	}
	here := Publish(deleted, dir, Author{Node: node('A'), Stamp: 11})
	there := Publish(deleted, dir, Author{Node: node('B'), Stamp: 20})
	if here == nil || there == nil {
		t.Fatal("a directory that lives on is no change: got nil")
	}
	for _, again := range []*merkle.Entry{here, there} {
		if out := meet(t, deleted, again); word(out.Entry) != "dir" || out.Copy != nil {
			t.Errorf("made known again: got %s, want dir", word(out.Entry))
		}
	}
	if out := meet(t, here, there); word(out.Entry) != "dir" || out.Copy != nil {
		t.Errorf("made known again on both sides: got %s and %s beside it, want one dir", word(out.Entry), word(out.Copy))
	}
}

func TestPublishVersion(t *testing.T) {
	by := Author{Node: node('A'), Stamp: 10, Token: merkle.Token{Generation: 1, Index: 2}}
	for _, tt := range []struct{ name, agreed, have, want string }{
		{"new", "-", "b", "b A10"},
		{"on top of what was agreed", "b B3 O1", "c", "c A10 B3 O1"},
		{"on top of one's own", "b A9 O1", "c", "c A10 O1"},
		{"a deletion", "b B3 O1", "-", "gone A10 B3 O1"},
		{"again after a deletion", "gone B3 O1", "b", "b A10 B3 O1"},
		{"no change", "b B3 O1", "b", "- "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := Publish(entry(t, tt.agreed), attributes(t, tt.have), by)
			if got := word(e) + " " + version(e); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if e != nil && e.Version.Token != by.Token {
				t.Errorf("token: got %v, want %v", e.Version.Token, by.Token)
			}
		})
	}
}

func TestForgotten(t *testing.T) {
	for _, tt := range []struct {
		name, entry, seen, horizon string
		want                       bool
	}{
		{"no horizon yet", "b A1", "b A2 B1", "-", false},
		{"below the horizon", "b A1", "b A2 B1", "b A2 B1", true},
		{"at the horizon", "b A2 B1", "b A2 B1", "b A2 B1", true},
		{"above it", "b A3", "b A5", "b A2 B1", false},
		{"above it in part", "b A1 B2", "b A5 B5", "b A2 B1", false},
		{"of a node that the horizon does not know", "b C1", "b C1", "b A2 B1", false},
		{"a new node has seen nothing", "b A1", "-", "b A2 B1", false},
		{"a restored node has seen less", "b A2", "b A1 B9", "b A2 B1", false},
		{"a node that has seen other things", "b A1 B1", "b A1 C9", "b A2 B1", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			vector := func(text string) merkle.Vector {
				if e := entry(t, text); e != nil {
					return e.Version.Vector
				}
				return nil
			}
			e := entry(t, tt.entry)
			if got := Forgotten(path, e, vector(tt.seen), vector(tt.horizon)); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			if Forgotten(ConflictPath(path, e), e, vector(tt.seen), vector(tt.horizon)) {
				t.Error("a conflict copy: got true, want false")
			}
		})
	}
}
