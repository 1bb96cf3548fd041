package control

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestInspectRoundTrip(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	by := StampOf{Node: "n1", Name: "nas", Stamp: 7, Time: at}
	f := &fake{
		page: TreePage{More: true, Entries: []TreeEntry{
			{Path: "a\xff", Kind: "file", Mode: "0644", Size: 3, MTime: &at, Hash: "aa"},
			{Path: "d", Kind: "directory", Below: &Roots{State: "s", Content: "c"}},
		}},
		why: Why{
			Path: "b\xfe", Known: true, State: "held", Cause: "c", Remedy: "r", Ignored: "*.o",
			Agreed:   &Agreed{Kind: "file", Mode: "0644", Size: 1, MTime: &at, Hash: "aa", Entry: "ee", Author: by, Content: by, Token: "0", Vector: []StampOf{by}},
			Recorded: &Seen{Kind: "file", Mode: "0644", Size: 1, MTime: at, Inode: 5, Suspect: true}, Found: &Seen{Kind: "symlink", Target: "t"},
			Incoming: []Pending{{Kind: "file", Author: by, From: []string{"p"}, Since: at, Waits: "w"}},
			Held:     &Held{"b\xfe", "suspect", "c", "r", at}, Problem: &Problem{"b\xfe", "c", "r", at},
			Peers: []PeerHas{{ID: "p", Name: "nas", Connected: true, Has: "yes", Cause: "equal"}}, Kept: 2,
		},
		reports: []CheckReport{
			{Progress: &Progress{What: "check", Files: 1, FilesTotal: 2, SecondsLeft: -1}},
			{Difference: &Difference{Path: "c\xfd", What: "content", Expected: "e", Found: "f", Repair: "r", Mended: true}},
			{Summary: &CheckSummary{Files: 2, Directories: 1, Symlinks: 3, BytesRead: 4, Differences: 1, Mended: 1}},
		},
	}
	c := start(t, socketName(t), f)
	q := TreeQuery{Path: "d\xff", After: "d\xff/x&y", Depth: 2, Deleted: true, Limit: 9}
	if got, err := c.Tree(t.Context(), q); err != nil || !reflect.DeepEqual(got, f.page) {
		t.Errorf("Tree: got %+v, %v\nwant %+v", got, err, f.page)
	}
	if got, err := c.Why(t.Context(), "b\xfe"); err != nil || !reflect.DeepEqual(got, f.why) {
		t.Errorf("Why: got %+v, %v\nwant %+v", got, err, f.why)
	}
	var got []CheckReport
	o := CheckOptions{Read: true, Repair: true}
	if err := c.Check(t.Context(), o, func(r CheckReport) error { got = append(got, r); return nil }); err != nil {
		t.Errorf("Check: %v", err)
	}
	if !reflect.DeepEqual(got, f.reports) {
		t.Errorf("Check: got %+v\nwant %+v", got, f.reports)
	}
	want := []string{fmt.Sprintf("tree %+v", q), `why "b\xfe"`, fmt.Sprintf("check %+v", o)}
	if !reflect.DeepEqual(f.asked, want) {
		t.Errorf("the daemon was asked\n%q\nwant\n%q", f.asked, want)
	}
}

// TestCheckEndsEarly has a check end otherwise than with its summary: each way is an error.
func TestCheckEndsEarly(t *testing.T) {
	f := &fake{reports: []CheckReport{{Difference: &Difference{Path: "a"}}}}
	c := start(t, socketName(t), f)
	every := func(CheckReport) error { return nil }
	if err := c.Check(t.Context(), CheckOptions{}, every); err == nil || !strings.Contains(err.Error(), "ended before") {
		t.Errorf("check without a summary: got %v", err)
	}
	f.err = fmt.Errorf("disk: %w", ErrNotFound)
	if err := c.Check(t.Context(), CheckOptions{}, every); !errors.Is(err, ErrNotFound) || err.Error() != f.err.Error() {
		t.Errorf("check that fails: got %v, want %v", err, f.err)
	}
	enough := errors.New("enough")
	if err := c.Check(t.Context(), CheckOptions{}, func(CheckReport) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("check whose caller has enough: got %v, want %v", err, enough)
	}
}

func TestTreeRefusesNumbers(t *testing.T) {
	c := start(t, socketName(t), &fake{})
	if _, err := c.Tree(t.Context(), TreeQuery{Depth: -1}); !errors.Is(err, ErrBadArgument) {
		t.Errorf("depth -1: got %v, want %v", err, ErrBadArgument)
	}
}
