package node

import (
	"fmt"
	"testing"

	"resonate/audit"
	"resonate/locking"
	"resonate/merkle"
	"resonate/replica"
)

func TestLockRecord(t *testing.T) {
	one := func(p string) locking.Scope { return locking.Scope{Kind: locking.OnePath, Path: p} }
	tree := func(p string) locking.Scope { return locking.Scope{Kind: locking.Tree, Path: p} }
	rows := []struct {
		scopes []locking.Scope
		want   audit.Record
	}{
		{nil, audit.Record{}},
		{[]locking.Scope{{Kind: locking.Name, Path: "cron"}}, audit.Record{Name: "cron"}},
		{[]locking.Scope{one("a/b")}, audit.Record{Path: "a/b"}},
		{[]locking.Scope{tree("a")}, audit.Record{Path: "a", What: merkle.Dir}},
		{[]locking.Scope{tree("")}, audit.Record{What: merkle.Dir}},
		{[]locking.Scope{one("a/b/c"), one("a/b/d/e"), tree("a/b/f")}, audit.Record{Path: "a/b", Count: 3}},
		{[]locking.Scope{one("a/b/c"), one("a/bb/c")}, audit.Record{Path: "a", Count: 2}},
		{[]locking.Scope{one("a/b"), one("c")}, audit.Record{Count: 2}},
	}
	for _, row := range rows {
		want := row.want
		want.Mode, want.Token = 1, merkle.Token{Generation: 2, Index: 3}
		if got := lockRecord(row.scopes, locking.Shared, locking.Token{Generation: 2, Index: 3}); got != want {
			t.Errorf("%v: got %+v, want %+v", row.scopes, got, want)
		}
	}
}

func TestLockReason(t *testing.T) {
	for want, in := range map[string][2]string{"anna: figures": {"m2x4 anna", "figures"}, "anna": {"m2x4 anna", ""}, "figures": {"m2x4 ", "figures"}, "": {}} {
		if got := lockReason(in[0], in[1]); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// What cannot be handed on in time is counted, and told in its place.
func TestLockNotesAreBounded(t *testing.T) {
	q := lockNotes{more: make(chan struct{}, 1)}
	for i := range maxLockNotes + 3 {
		q.add(replica.LockNote{Record: audit.Record{Kind: audit.Granted, Name: fmt.Sprint(i)}})
	}
	got := q.take()
	last := got[len(got)-1]
	if len(got) != maxLockNotes+1 || last.Kind != audit.Lost || last.Count != 3 || got[7].Name != "7" {
		t.Errorf("got %d, the last of them %+v; want %d, and that 3 were lost", len(got), last, maxLockNotes+1)
	}
	if got := q.take(); len(got) != 0 {
		t.Errorf("got %+v again", got)
	}
}
