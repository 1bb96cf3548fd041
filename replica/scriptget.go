package replica

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"time"

	"resonate/beneath"
	"resonate/control"
	"resonate/merkle"
)

// openTime bounds how long a script waits for a content to be here.
const openTime = 30 * time.Second

// errNowhere tells that a content is not on this disk.
var errNowhere = errors.New("it is not on this disk")

// OpenAgreed opens what is agreed at a path: see control.Files. A program that writes the file in place is seen doing so.
func (r *Replica) OpenAgreed(ctx context.Context, path string) (*control.OpenFile, error) {
	if err := ScriptPath(path); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	for asked := false; ; {
		e, f, err := r.tryOpen(ctx, path)
		var later laterError
		switch {
		case err == nil:
			return &control.OpenFile{FileVersion: *r.versionOutside(ctx, e), Content: f}, nil
		case errors.Is(err, control.ErrNoFile) && !asked:
			asked = true // it may be new
			if _, err := r.askPeers(ctx); err != nil {
				return nil, err
			}
			continue
		case !errors.As(err, &later):
			return nil, err
		}
		select {
		case <-time.After(awaitStep):
		case <-ctx.Done():
			return nil, fmt.Errorf("%s: %w: %w: %w", path, later, control.ErrTimeout, context.Cause(ctx))
		}
	}
}

// versionOutside is versionOf, for who is not the loop.
func (r *Replica) versionOutside(ctx context.Context, e *merkle.Entry) *control.FileVersion {
	v := new(control.FileVersion)
	if r.do(ctx, func() { *v = *r.versionOf(e) }) != nil { // the replica ends, and the names of its peers with it
		*v = control.FileVersion{Kind: e.Kind.String(), Hash: e.Content.String(), Size: e.Size, MTime: timeOf(e.MTime)}
	}
	return v
}

// tryOpen opens what is agreed at path by now, and returns it.
func (r *Replica) tryOpen(ctx context.Context, path string) (e *merkle.Entry, f *os.File, err error) {
	doErr := r.do(ctx, func() {
		if e, err = r.agreedFile(path); err == nil {
			f, err = r.openHere(path, e)
		}
	})
	switch {
	case doErr != nil:
		return nil, nil, doErr
	case errors.Is(err, errNowhere):
		f, err = r.fetchAside(ctx, path, e)
	}
	return e, f, err
}

// agreedFile returns the file that is agreed at path.
func (r *Replica) agreedFile(path string) (*merkle.Entry, error) {
	if h := r.held[path]; h == nil {
		if err := r.unsettled(path); err != nil {
			return nil, err
		}
	}
	e := r.tree.Get(path)
	switch {
	case e.IsDir() || r.tree.HasLive(path):
		return nil, fmt.Errorf("%s is a directory: %w", path, control.ErrNotAFile)
	case !e.Live() && r.ignores(path, false):
		return nil, fmt.Errorf("%s: nothing is agreed there, and it is ignored here by the rule %s: %w", path, r.ignoreRule(path), control.ErrNoFile)
	case !e.Live():
		return nil, fmt.Errorf("%s: %w", path, control.ErrNoFile)
	case e.Kind != merkle.File:
		return nil, fmt.Errorf("%s is a %s: %w", path, e.Kind, control.ErrNotAFile)
	}
	return e, nil
}

// openHere opens the content of e, which is agreed at path, where it is on this disk.
func (r *Replica) openHere(path string, e *merkle.Entry) (*os.File, error) {
	if r.isShelved(path) && r.onShelf[e.Content] {
		return r.root.OpenFile(onShelf(e.Content))
	}
	disk := r.diskAt(path)
	if disk.Kind != merkle.File || r.held[path] != nil {
		return nil, errNowhere
	}
	f, err := r.root.OpenFile(path)
	if err == nil {
		info, statErr := beneath.Fstat(f)
		if statErr == nil && sameDisk(disk, info) {
			return f, nil
		}
		f.Close()
	}
	if r.ignores(path, false) {
		return nil, errNowhere // what somebody has made of it is told to nobody
	}
	r.look(path, false)
	return nil, laterError{"it has just changed here"}
}

// asideAgain is how long after a peer had no answer another is asked.
const asideAgain = 200 * time.Millisecond

// fetchAside has the content of e, which is agreed at path and not on this disk, fetched into a file that has no name.
func (r *Replica) fetchAside(ctx context.Context, path string, e *merkle.Entry) (*os.File, error) {
	select {
	case r.receiving <- struct{}{}:
		defer func() { <-r.receiving }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	type result struct {
		file *os.File
		err  error
	}
	got := make(chan result, 1)
	in := &incoming{path: path, theirs: e, came: time.Now(), tries: rand.IntN(math.MaxInt16)} // whichever peer
	in.aside = func(temp string, err error) {
		r.landed(in)
		var f *os.File
		if err == nil {
			f, err = r.takeAside(temp)
		}
		got <- result{f, err}
	}
	var err error
	if doErr := r.do(ctx, func() { err = r.fetch(in) }); doErr != nil {
		return nil, doErr
	}
	var wait waitError
	switch {
	case errors.As(err, &wait):
		return nil, laterError{"it is being fetched for " + wait.for_}
	case errors.Is(err, errNoSource):
		return nil, fmt.Errorf("%s is not on this disk: %w: %w", path, err, control.ErrNotSynced)
	case err != nil:
		return nil, err
	}
	select {
	case res := <-got:
		if res.err == nil {
			return res.file, nil
		}
		select {
		case <-time.After(asideAgain):
		case <-ctx.Done():
		}
		return nil, laterError{"it is not on this disk, and a peer did not send it: " + res.err.Error()}
	case <-ctx.Done():
	case <-r.ended:
	}
	_ = r.do(context.WithoutCancel(ctx), func() { // when the loop has ended, nothing more comes
		in.aside = func(temp string, err error) {
			r.landed(in)
			if err == nil {
				r.removeOrLeave("get.remove", temp)
			}
		}
	})
	select {
	case res := <-got: // in this instant
		if res.err == nil {
			res.file.Close()
		}
	default:
	}
	return nil, fmt.Errorf("%s is not on this disk, and is being fetched: %w: %w", path, control.ErrTimeout, cmp.Or(context.Cause(ctx), ErrStopped))
}

// takeAside opens a temporary file, and takes its name from it.
func (r *Replica) takeAside(temp string) (*os.File, error) {
	f, err := r.root.OpenFile(temp)
	r.removeOrLeave("get.remove", temp)
	return f, err
}
