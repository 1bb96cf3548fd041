package selftest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"resonate/control"
)

const (
	// editedFiles is how many files are edited, in turn.
	editedFiles = 4
	// editPause lies between two edits, so that each is measured by itself, and so that there are not as many within some seconds as a node
	// holds back, which in a small folder are 100.
	editPause = 200 * time.Millisecond
	// editPoll is how often it is asked who has an edit: the resolution of what is measured.
	editPoll = 500 * time.Microsecond
	// editPatience is when an edit counts as not arrived.
	editPatience = 10 * time.Second
	// draftName is where a file is written that is to replace another.
	draftName = "draft"
)

// fileName is the name of one of the edited files.
func fileName(i int) string { return fmt.Sprintf("file%d.txt", i) }

// path is where a file of the run lies in the folder, with slashes.
func (t *Tester) path(name string) string { return t.name + "/" + name }

// onDisk is where it lies on disk.
func (t *Tester) onDisk(name string) string { return filepath.Join(t.c.Folder, t.name, name) }

// content is that of a file that was edited so many times: each edit adds a line, so that it has another size.
func content(name string, edits int) []byte {
	var b bytes.Buffer
	for i := range edits + 1 {
		fmt.Fprintf(&b, "%s of a selftest of resonate, edit %d\n", name, i)
	}
	return b.Bytes()
}

// makeFiles makes the directory and the files that will be edited, and waits until the peers have them.
func (t *Tester) makeFiles(ctx context.Context) error {
	if err := os.Mkdir(t.onDisk(""), 0o755); err != nil {
		return fmt.Errorf("make the directory to test in: %w", err)
	}
	for i := range editedFiles {
		name := fileName(i)
		if err := os.WriteFile(t.onDisk(name), content(name, 0), 0o644); err != nil {
			return fmt.Errorf("make a file to test with: %w", err)
		}
	}
	if err := t.ignored(ctx); err != nil {
		return err
	}
	for i := range editedFiles {
		if arrived, err := t.arrives(ctx, fileName(i)); err != nil || !arrived {
			return err // that it has not arrived is noted
		}
	}
	return nil
}

// ignored fails if a rule keeps the directory from being synchronised.
func (t *Tester) ignored(ctx context.Context) error {
	w, err := t.c.Daemon.Why(ctx, t.name)
	if err == nil && w.State == "ignored" {
		err = fmt.Errorf("%s, in which is tested, is ignored by the rule %s: add the rule !%s*/", t.name, w.Ignored, DirPrefix)
	}
	return err
}

// edits edits the files in turn until the end, and tells how long that took to be visible: until this node knows that every connected peer has
// the edit in its folder, the way of that word back included.
func (t *Tester) edits(ctx context.Context, end time.Time) (Latency, error) {
	var took []time.Duration
	for i := 0; i == 0 || time.Now().Before(end); i++ {
		name := fileName(i % editedFiles)
		began, err := t.edit(name, i/editedFiles%2 == 0)
		if err != nil {
			return Latency{}, fmt.Errorf("edit a file to test with: %w", err)
		}
		arrived, err := t.arrives(ctx, name)
		switch {
		case err != nil:
			return Latency{}, err
		case !arrived:
			return latencyOf(took), nil // one is enough to know that something is wrong
		}
		took = append(took, time.Since(began))
		if err := pause(ctx, editPause); err != nil {
			return Latency{}, err
		}
	}
	return latencyOf(took), nil
}

// edit edits a file, by writing another and renaming it over the first, as editors do, or in place; and returns the moment just before it could be
// seen.
func (t *Tester) edit(name string, rename bool) (began time.Time, err error) {
	before := content(name, t.made[name])
	t.made[name]++
	after := content(name, t.made[name])
	if rename {
		if err := os.WriteFile(t.onDisk(draftName), after, 0o644); err != nil {
			return began, err
		}
		began = time.Now()
		return began, os.Rename(t.onDisk(draftName), t.onDisk(name))
	}
	f, err := os.OpenFile(t.onDisk(name), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return began, err
	}
	began = time.Now()
	_, err = f.Write(after[len(before):])
	return began, errors.Join(err, f.Close())
}

// arrives waits until every connected peer has the last edit of a file. That it does not come about in time is noted, and no error.
func (t *Tester) arrives(ctx context.Context, name string) (bool, error) {
	size := int64(len(content(name, t.made[name])))
	late := time.Now().Add(editPatience)
	tick := time.NewTicker(editPoll)
	defer tick.Stop()
	for {
		w, err := t.c.Daemon.Why(ctx, t.path(name))
		if err != nil {
			return false, err
		}
		lacking := t.lacking(w, size)
		if lacking == "" {
			return true, nil
		}
		if time.Now().After(late) {
			t.found(NotArrived, "an edit of %s was not everywhere in %v: %s", t.path(name), editPatience, lacking)
			return false, nil
		}
		select {
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// lacking tells why not every connected peer has the version of a file that has this size; "": every one has.
func (t *Tester) lacking(w control.Why, size int64) string {
	if w.Agreed == nil || w.Agreed.Kind != "file" || w.Agreed.Size != size {
		return strings.TrimSpace("it is not let out here: " + w.Cause)
	}
	count := 0
	for _, p := range w.Peers {
		switch {
		case !p.Connected || t.deaf[p.ID]:
		case p.Has != "yes":
			return fmt.Sprintf("peer %s (%.7s): %s", p.Name, p.ID, p.Cause)
		default:
			count++
		}
	}
	if count == 0 {
		return ErrNoPeer.Error()
	}
	return ""
}
