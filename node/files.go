package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"resonate/control"
	"resonate/locking"
	"resonate/locking/desk"
	"resonate/replica"
)

// Files are the folder's files as scripts see them. It is safe for concurrent use.
type Files struct {
	locks *Locker
	files *replica.Replica
}

var _ control.Files = (*Files)(nil)

// Files returns what this node offers of the folder's files to scripts.
func (n *Node) Files() *Files { return &Files{n.locks, n.replica} }

// Put makes a content the newest version at a path: see control.Files. The content is received before anything is locked, so that who sends slowly, or
// goes away half-way, is in nobody's way.
func (f *Files) Put(ctx context.Context, q control.FilePut, content io.Reader) (v control.FileVersion, created bool, err error) {
	if err := replica.ScriptPath(q.Path); err != nil {
		return v, false, err
	}
	got, err := f.files.Receive(ctx, content)
	if err != nil {
		return v, false, ended(err)
	}
	defer got.Discard()
	for end := time.Now().Add(q.Wait); ; {
		token, done, err := f.hold(ctx, q.Path, time.Until(end))
		if err != nil {
			return v, false, err
		}
		v, created, err = f.files.PutReceived(ctx, got, q, token)
		done()
		if errors.Is(err, replica.ErrLockLost) && !errors.Is(err, control.ErrTimeout) {
			if time.Now().Before(end) {
				continue // nothing was done yet
			}
			err = fmt.Errorf("%w: %w", control.ErrNoMajority, err)
		}
		return v, created, ended(err)
	}
}

// Open returns what is agreed at a path: see control.Files.
func (f *Files) Open(ctx context.Context, path string) (*control.OpenFile, error) {
	file, err := f.files.OpenAgreed(ctx, path)
	return file, ended(err)
}

// ended has a node that ends fail as others that do.
func ended(err error) error {
	if errors.Is(err, replica.ErrStopped) {
		return fmt.Errorf("%w: %w", context.Canceled, err)
	}
	return err
}

const (
	surePatience = 5 * time.Second // how long it is waited that locks are to be had at all
	sureStep     = 100 * time.Millisecond
)

// hold has the lock of a path until done is called: under a delegation of this node, or one that is asked for. So a put is like what somebody changes in the
// folder: another node's explicit lock keeps it off, and this node's does not.
func (f *Files) hold(ctx context.Context, path string, wait time.Duration) (token locking.Token, done func(), err error) {
	d, scope := f.locks.desk, locking.Scope{Kind: locking.OnePath, Path: path}
	done = func() { d.EndUse(scope) }
	for end := time.Now().Add(wait); ; {
		if token, ok := d.Use(scope); ok {
			return token, done, nil
		}
		a := f.ask(ctx, scope, max(time.Until(end), control.MinFileWait))
		if a.Err == nil {
			return a.Grant.Token, done, nil
		}
		var refused *desk.RefusedError
		if errors.As(a.Err, &refused) && refused.Reason == locking.NoSession && time.Now().Before(end) {
			if err := pauseFor(ctx, sureStep); err != nil {
				return token, nil, err
			}
			continue // the table has changed hands
		}
		q := control.LockRequest{Resource: control.Resource{Path: path}}
		return token, nil, f.locks.explain(ctx, q, a.Err)
	}
}

// ask asks for a delegation that covers scope, and waits for it.
func (f *Files) ask(ctx context.Context, scope locking.Scope, wait time.Duration) desk.Asked {
	d := f.locks.desk
	told := make(chan desk.Asked, 1)
	id, err := d.Ask([]locking.Scope{scope}, min(wait, locking.MaxWait), func(a desk.Asked) {
		if a.Over() {
			told <- a
		}
	})
	if err != nil {
		return desk.Asked{Err: err}
	}
	tick := time.NewTicker(sureStep)
	defer tick.Stop()
	sure, end := time.Now(), time.Now().Add(wait+surePatience)
	for err == nil {
		select {
		case a := <-told:
			return a
		case <-ctx.Done():
			err = context.Cause(ctx)
		case now := <-tick.C:
			if d.Sure() {
				sure = now
			}
			if now.Sub(sure) > surePatience || now.After(end) {
				err = desk.ErrNoLeader
			}
		}
	}
	if !d.Cancel(id) {
		if a := <-told; a.Grant != nil {
			d.EndUse(scope)
		}
	}
	return desk.Asked{Err: err}
}

func pauseFor(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
