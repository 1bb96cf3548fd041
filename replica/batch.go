package replica

import (
	"context"

	"resonate/locking"
)

// What is changed in a scope while a command runs under its lock gathers, and is let out as one operation when the command has ended: no peer
// sees half of an installation that went well. Nothing of this is written down: after a restart, what is found is let out as it is found.

// HoldBatch has changes in a scope gather from now on, for the lock id.
func (r *Replica) HoldBatch(id locking.RequestID, s locking.Scope) {
	r.post(func() {
		if r.batches == nil {
			r.batches = make(map[locking.RequestID]locking.Scope)
		}
		r.batches[id] = s
	})
}

// EndBatch has all that was changed under the lock id so far let out as one. It returns when that is seen and read; AwaitPublished, when it is
// out.
func (r *Replica) EndBatch(ctx context.Context, id locking.RequestID) error {
	var s locking.Scope
	var held bool
	if err := r.do(ctx, func() { s, held = r.batches[id] }); err != nil || !held {
		return err
	}
	err := r.watcher.Flush(ctx)
	if err == nil {
		err = r.await(ctx, func() bool {
			return !anyKey(r.hashing, func(path string) bool { return s.Covers(onePath(path)) })
		})
	}
	r.DropBatch(id)
	return err
}

// DropBatch has changes gather no more.
func (r *Replica) DropBatch(id locking.RequestID) {
	r.post(func() { delete(r.batches, id) })
}

// inBatch tells whether the change of path gathers with others.
func (r *Replica) inBatch(path string) bool {
	for _, s := range r.batches {
		if s.Covers(onePath(path)) {
			return true
		}
	}
	return false
}
