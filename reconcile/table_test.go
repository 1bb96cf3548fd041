package reconcile

import (
	"testing"

	"resonate/merkle"
)

// The table says what follows from what was agreed at a path, what is found there here, and what a peer has found or
// made of it meanwhile without knowing of it. Its rows can be read from both ends: the peer comes to the same outcome.
//
// It holds, as its heart, the two tables of the first design:
//
//	deleted  | not deleted -> delete           absent  -> present  = created
//	deleted  | deleted     -> nothing          present -> absent   = deleted
//	no change| no change   -> nothing          present -> modified = modified
//	modified | no change   -> use the modified one
//	modified | modified    -> merge: one is kept beside, where they differ
//
// and its three cases of a first meeting: only on one side, on both and identical, on both and different.
var table = []struct {
	name   string
	agreed string // what was agreed before
	have   string // what is found here
	peer   string // what the peer has found there

	stands  string // what stands at the path afterwards, on both sides
	beside  string // what is kept beside it, and whose it was
	publish bool   // whether what is found here is a change, and let out
}{
	// name                                     agreed  have    peer      stands  beside    publish
	{"nothing anywhere", "-", "-", "-", "-", "", false},
	{"no change, no change", "a", "a", "a", "a", "", false},
	{"no change of a symlink", "->a", "->a", "->a", "->a", "", false},
	{"no change of a directory", "dir", "dir", "dir", "dir", "", false},
	{"deleted long ago", "gone", "-", "-", "gone", "", false},

	{"created here: only here", "-", "a", "-", "a", "", true},
	{"created by the peer: only there", "-", "-", "a", "a", "", false},
	{"created on both, identical", "-", "a", "a", "a", "", true},
	{"created on both, different, the peer's later", "-", "a", "b", "b", "a here", true},
	{"created on both, different, ours later", "-", "b", "a", "b", "a peer", true},
	{"created on both, another mode", "-", "a", "a!", "a!", "", true},
	{"created on both, another mtime, ours later", "-", "a+", "a", "a+", "", true},
	{"created on both, another mtime, the peer's later", "-", "a", "a+", "a+", "", true},
	{"directory made on both", "-", "dir", "dir", "dir", "", true},
	{"directory made on both, another mode", "-", "dir!", "dir", "dir", "", true},
	{"symlink made on both, identical", "-", "->a", "->a", "->a", "", true},
	{"symlink made on both, different", "-", "->a", "->b", "->b", "->a here", true},
	{"created again here", "gone", "a", "-", "a", "", true},
	{"created again by the peer", "gone", "-", "a", "a", "", false},
	{"created again on both, identical", "gone", "a", "a", "a", "", true},
	{"created again on both, different", "gone", "b", "a", "b", "a peer", true},

	{"modified here, no change there", "a", "b", "a", "b", "", true},
	{"no change here, modified there", "a", "a", "b", "b", "", false},
	{"modified on both, identical", "a", "b", "b", "b", "", true},
	{"modified on both, the peer's later", "a", "b", "c", "c", "b here", true},
	{"modified on both, ours later", "a", "c", "b", "c", "b peer", true},
	{"restored to something older here", "b", "a", "b", "a", "", true},
	{"symlink modified here", "->a", "->b", "->a", "->b", "", true},
	{"symlink modified on both", "->a", "->c", "->b", "->c", "->b peer", true},

	{"mode changed here", "a", "a!", "a", "a!", "", true},
	{"mode changed there", "a", "a", "a!", "a!", "", false},
	{"mode changed on both alike", "a", "a!", "a!", "a!", "", true},
	{"mode changed here, touched there", "a", "a!", "a+", "a+", "", true},
	{"mode of a directory changed here", "dir", "dir!", "dir", "dir!", "", true},
	{"mode of a directory changed there", "dir", "dir", "dir!", "dir!", "", false},
	{"mode changed here, modified there", "a", "a!", "b", "b", "", true},
	{"modified here, touched there", "a", "b", "a+", "b", "", true},

	{"deleted here, not deleted there", "a", "-", "a", "gone", "", true},
	{"not deleted here, deleted there", "a", "a", "-", "gone", "", false},
	{"deleted on both", "a", "-", "-", "gone", "", true},
	{"deleted here, modified there", "a", "-", "b", "b", "", true},
	{"modified here, deleted there", "a", "b", "-", "b", "", true},
	{"deleted here, mode changed there", "a", "-", "a!", "a!", "", true},
	{"touched here, deleted there", "a", "a+", "-", "a+", "", true},
	{"directory deleted here", "dir", "-", "dir", "gone", "", true},
	{"directory deleted there", "dir", "dir", "-", "gone", "", false},
	{"directory deleted here, its mode changed there", "dir", "-", "dir!", "dir!", "", true},
	{"symlink deleted here, modified there", "->a", "-", "->b", "->b", "", true},

	{"file made a directory here", "a", "dir", "a", "dir", "", true},
	{"file made a directory there", "a", "a", "dir", "dir", "", false},
	{"file made a directory on both", "a", "dir", "dir", "dir", "", true},
	{"file made a directory here, modified there", "a", "dir", "b", "dir", "b peer", true},
	{"file modified here, made a directory there", "a", "b", "dir", "dir", "b here", true},
	{"file made a directory here, deleted there", "a", "dir", "-", "dir", "", true},
	{"file made a directory here, a symlink there", "a", "dir", "->b", "dir", "->b peer", true},
	{"file made a symlink here", "a", "->b", "a", "->b", "", true},
	{"file made a symlink here, modified later there", "a", "->b", "c", "c", "->b here", true},
	{"file made a symlink here, modified before there", "a", "->c", "b", "->c", "b peer", true},
	{"file made a symlink here, deleted there", "a", "->b", "-", "->b", "", true},
	{"directory made a file here", "dir", "a", "dir", "a", "", true},
	{"directory made a file there", "dir", "dir", "a", "a", "", false},
	{"directory made a file here, its mode changed there", "dir", "a", "dir!", "dir!", "a here", true},
	{"directory made a file here, a symlink there", "dir", "c", "->b", "c", "->b peer", true},
	{"directory deleted here, made a file there", "dir", "-", "b", "b", "", true},
	{"symlink made a directory here, modified there", "->a", "dir", "->b", "dir", "->b peer", true},
	{"created on both, a file and a directory", "-", "a", "dir", "dir", "a here", true},
	{"created on both, a file and a symlink", "-", "a", "->b", "->b", "a here", true},
}

func TestTable(t *testing.T) {
	for _, row := range table {
		t.Run(row.name, func(t *testing.T) {
			var agreed *merkle.Entry
			if row.agreed != "-" {
				agreed = entry(t, row.agreed+" O1")
			}
			mine, change := publish(agreed, attributes(t, row.have), Author{Node: node('A'), Stamp: 10})
			theirs, _ := publish(agreed, attributes(t, row.peer), Author{Node: node('B'), Stamp: 20})
			if change != row.publish {
				t.Errorf("published: got %v, want %v", change, row.publish)
			}
			out := meet(t, mine, theirs)
			if got := word(out.Entry); got != row.stands {
				t.Errorf("stands at the path: got %s, want %s", got, row.stands)
			}
			beside := ""
			switch out.Copy {
			case nil:
			case mine:
				beside = word(out.Copy) + " here"
			case theirs:
				beside = word(out.Copy) + " peer"
			}
			if beside != row.beside {
				t.Errorf("kept beside it: got %q, want %q", beside, row.beside)
			}
		})
	}
}

// publish returns what is agreed at a path once what was found there is let out, and whether that is a change.
func publish(agreed *merkle.Entry, have *merkle.Attributes, by Author) (*merkle.Entry, bool) {
	if e := Publish(agreed, have, by); e != nil {
		return e, true
	}
	return agreed, false
}

// meet merges theirs into mine, as this node does, and mine into theirs, as the peer does. Both must come to the same
// entry and the same copy, which it returns, and to nothing more when they meet again.
func meet(t *testing.T, mine, theirs *merkle.Entry) Plan {
	t.Helper()
	here, there := Merge(path, mine, theirs), Merge(path, theirs, mine)
	if here.Entry == nil {
		here.Entry = mine
	}
	if there.Entry == nil {
		there.Entry = theirs
	}
	if here.Entry.Hash() != there.Entry.Hash() {
		t.Errorf("stands at the path: here %s %s, at the peer %s %s",
			word(here.Entry), version(here.Entry), word(there.Entry), version(there.Entry))
	}
	if here.Copy != there.Copy || here.CopyPath != there.CopyPath {
		t.Errorf("kept beside it: here %s %s as %q, at the peer %s %s as %q", word(here.Copy), version(here.Copy),
			here.CopyPath, word(there.Copy), version(there.Copy), there.CopyPath)
	}
	if again := Merge(path, here.Entry, there.Entry); again != (Plan{}) {
		t.Errorf("meeting again changes %+v", again)
	}
	checkCopy(t, here)
	return here
}

// checkCopy checks that a copy is kept under its own name.
func checkCopy(t *testing.T, p Plan) {
	t.Helper()
	want := ""
	if p.Copy != nil {
		want = ConflictPath(path, p.Copy)
	}
	if p.CopyPath != want {
		t.Errorf("the copy of %s is called %q, want %q", word(p.Copy), p.CopyPath, want)
	}
}

// A change of attributes alone is a change, and leaves the origin of the content as it was.
func TestPublishAttributes(t *testing.T) {
	base := merkle.Attributes{Kind: merkle.File, Mode: 0o644, Size: 1, Content: merkle.HashBlock([]byte("x"))}
	by := func(stamp merkle.Stamp) Author { return Author{Node: merkle.NodeID{1}, Stamp: stamp} }
	agreed := Publish(nil, &base, by(1))
	for name, change := range map[string]func(a *merkle.Attributes){
		"extended attribute": func(a *merkle.Attributes) { a.Xattrs = []merkle.Xattr{{Name: "user.a", Value: []byte("1")}} },
		"owner":              func(a *merkle.Attributes) { a.Owner = "root:root" },
		"hard link":          func(a *merkle.Attributes) { a.Link = merkle.Hash{1} },
		"mode":               func(a *merkle.Attributes) { a.Mode = 0o600 },
	} {
		have := base
		change(&have)
		e := Publish(agreed, &have, by(2))
		if e == nil {
			t.Errorf("%s: no change, want one", name)
			continue
		}
		if got, want := e.Version.Origin(), agreed.Version.Origin(); got != want {
			t.Errorf("%s: origin of the content %v, want %v", name, got, want)
		}
		if again := Publish(e, &have, by(3)); again != nil {
			t.Errorf("%s: found as agreed, it is a change: %v", name, again)
		}
	}
}
