package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// editPause lies between two edits, so that each is measured on its own and its line can be read.
	editPause = 200 * time.Millisecond
	// editPoll is how often the other folders are looked at: the resolution of what is measured.
	editPoll = 300 * time.Microsecond
	// editPatience is when an edit counts as lost.
	editPatience = 10 * time.Second
)

// edit is one change to a file, made as an editor or a program would.
type edit struct {
	node   *demoNode
	path   string
	rename bool // written beside and renamed over, else appended in place
}

func (e edit) how() string {
	if e.rename {
		return "by rename"
	}
	return "in place"
}

// editFor edits files on random nodes for the given time, prints how long each edit took to be everywhere, and
// in the end the median.
func (d *demo) editFor(ctx context.Context, length time.Duration) error {
	d.say("edits: the node and how it was made, the file, and how long until the others had it")
	end := time.Now().Add(length)
	pause := time.NewTicker(editPause)
	defer pause.Stop()
	var took []time.Duration
	for i := 0; time.Now().Before(end); i++ {
		e := edit{node: d.nodes[rand.IntN(len(d.nodes))], path: d.tree.editable[rand.IntN(len(d.tree.editable))], rename: i%2 == 0}
		slowest, err := d.measure(ctx, e)
		switch {
		case err == nil:
			took = append(took, slowest)
		case !errors.Is(err, fs.ErrNotExist): // such a one was deleted by somebody who plays already
			return d.explain(err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-pause.C:
		}
	}
	if len(took) == 0 {
		return errors.New("not one edit could be made")
	}
	slices.Sort(took)
	d.say("%s; everywhere after p50 %s, slowest %s", formatCount(len(took), "edit", "edits"),
		formatMillis(took[len(took)/2]), formatMillis(took[len(took)-1]))
	return nil
}

// measure makes an edit, prints when each of the others had it, and returns the time until the last one did.
func (d *demo) measure(ctx context.Context, e edit) (time.Duration, error) {
	content, began, err := d.apply(e)
	if err != nil {
		return 0, fmt.Errorf("edit %s on node %s: %w", shown(e.path), e.node.name, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, editPatience,
		fmt.Errorf("an edit of %s on node %s was not everywhere in %v", shown(e.path), e.node.name, editPatience))
	defer cancel()
	missing := slices.DeleteFunc(slices.Clone(d.nodes), func(n *demoNode) bool { return n == e.node })
	var seen []string
	var last time.Duration
	tick := time.NewTicker(editPoll)
	defer tick.Stop()
	for len(missing) > 0 {
		missing = slices.DeleteFunc(missing, func(n *demoNode) bool {
			if !holds(filepath.Join(n.dir, e.path), content) {
				return false
			}
			last = time.Since(began)
			seen = append(seen, fmt.Sprintf("%s %8s", n.name, formatMillis(last)))
			return true
		})
		select {
		case <-ctx.Done():
			return 0, errors.Join(context.Cause(ctx), d.firstDead())
		case <-tick.C:
		}
	}
	slices.Sort(seen)
	d.say("%s %-9s  %-40s %s", e.node.name, e.how(), cut(shown(e.path), 40), strings.Join(seen, "  "))
	return last, nil
}

// apply makes the edit and returns the file's new content, and the moment just before it could be seen.
func (d *demo) apply(e edit) (content []byte, began time.Time, err error) {
	path := filepath.Join(e.node.dir, e.path)
	old, err := os.ReadFile(path)
	if err != nil {
		return nil, began, err
	}
	line := fmt.Appendf(nil, "// edited on %s at %s\n", e.node.name, time.Now().Format(time.RFC3339Nano))
	content = append(old, line...)
	if e.rename {
		info, err := os.Stat(path)
		if err != nil {
			return nil, began, err
		}
		// Outside of the folder, so that there is one change to see and not two.
		draft := filepath.Join(d.root, "state", "edits", "draft")
		if err := os.WriteFile(draft, content, 0o600); err != nil {
			return nil, began, err
		}
		if err := os.Chmod(draft, info.Mode().Perm()); err != nil {
			return nil, began, err
		}
		began = time.Now()
		return content, began, os.Rename(draft, path)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return nil, began, err
	}
	began = time.Now()
	_, err = f.Write(line)
	return content, began, errors.Join(err, f.Close())
}

// holds tells whether the file at path has exactly this content.
func holds(path string, content []byte) bool {
	st, err := os.Stat(path)
	if err != nil || st.Size() != int64(len(content)) {
		return false
	}
	got, err := os.ReadFile(path)
	return err == nil && bytes.Equal(got, content)
}

// firstDead returns the error of a node that has ended, or nil.
func (d *demo) firstDead() error {
	for _, n := range d.nodes {
		select {
		case <-n.ended:
			return n.dead()
		default:
		}
	}
	return nil
}

func formatMillis(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}
