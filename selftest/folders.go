package selftest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"resonate/control"
)

const (
	// rootsPatience is how long a moment is waited for in which a peer's tree and this node's are equal.
	rootsPatience = 15 * time.Second
	// rootsStill is how long this node's tree must not have changed for a difference to count.
	rootsStill = 5 * time.Second
	rootsPoll  = 20 * time.Millisecond
)

// A FolderOutcome tells what became of the comparison of the folders.
type FolderOutcome struct {
	Files int `json:"files"` // of the tester, that were compared
	// Equal is how many peers had the same tree as this node at some moment after the last edit. Where others change the folder all
	// the time, there may be no such moment.
	Equal int `json:"equal_trees"`
	Peers int `json:"peers"` // that are connected and take changes
}

// compare tells whether the peers have what is here, in three ways: they say so of each file; their trees as a whole are equal to
// this node's; and what is here is what was written, and nothing else.
func (t *Tester) compare(ctx context.Context) (o FolderOutcome, err error) {
	for i := range editedFiles {
		o.Files++
		if err := t.compareFile(ctx, fileName(i)); err != nil {
			return o, err
		}
	}
	if err := t.compareNames(ctx); err != nil {
		return o, err
	}
	o.Equal, o.Peers, err = t.compareRoots(ctx)
	return o, err
}

// compareFile holds a file on disk to what was written, and asks whether the peers have it.
func (t *Tester) compareFile(ctx context.Context, name string) error {
	got, err := os.ReadFile(t.onDisk(name))
	if err != nil {
		t.found(OtherFiles, "%s: %v", t.path(name), err)
		return nil
	}
	if want := content(name, t.made[name]); !bytes.Equal(got, want) {
		t.found(OtherFiles, "%s holds %d bytes, not the %d that were written there", t.path(name), len(got), len(want))
		return nil
	}
	_, err = t.arrives(ctx, name)
	return err
}

// compareNames sees that nothing is agreed of the directory but the files.
func (t *Tester) compareNames(ctx context.Context) error {
	page, err := t.c.Daemon.Tree(ctx, control.TreeQuery{Path: t.name})
	if err != nil {
		return err
	}
	want := []string{t.name}
	for i := range editedFiles {
		want = append(want, t.path(fileName(i)))
	}
	var got []string
	for _, e := range page.Entries {
		got = append(got, e.Path)
	}
	if !slices.Equal(got, want) {
		t.found(OtherFiles, "the directory has the entries %q, want %q", got, want)
	}
	return nil
}

// compareRoots waits until each peer's tree was equal to this node's at some moment, and tells of how many that is so, and how many there
// are. One that is never equal though nothing changes here is noted.
func (t *Tester) compareRoots(ctx context.Context) (equal, peers int, err error) {
	seen := make(map[string]bool)
	begun := time.Now()
	still, root := begun, ""
	for {
		st, err := t.c.Daemon.Status(ctx)
		if err != nil {
			return 0, 0, err
		}
		now := time.Now()
		if st.Roots.State != root {
			root, still = st.Roots.State, now
		}
		equal, peers = 0, 0
		var different []string
		for _, p := range st.Peers {
			if p.State != "connected" || p.SendsOnly {
				continue
			}
			peers++
			if p.ToSend != (control.Work{}) || p.ToReceive != (control.Work{}) {
				still = now // there is something on its way
			}
			if seen[p.ID] = seen[p.ID] || p.InSync; seen[p.ID] {
				equal++
			} else {
				different = append(different, fmt.Sprintf("%s (%.7s)", p.Name, p.ID))
			}
		}
		switch {
		case len(different) == 0:
			return equal, peers, nil
		case now.Sub(still) >= rootsStill:
			t.found(TreesDiffer, "the trees of %q are not equal to this node's, %v after the last change", different, rootsStill)
			return equal, peers, nil
		case now.Sub(begun) >= rootsPatience:
			return equal, peers, nil
		}
		if err := pause(ctx, rootsPoll); err != nil {
			return 0, 0, err
		}
	}
}
