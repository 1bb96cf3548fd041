package node

import (
	"context"
	"time"

	"resonate/locking"
)

// bringNewest has the newest version of what was locked come in. What cannot come is met later, as versions meet.
func (l *Locker) bringNewest(ctx context.Context, scopes []locking.Scope, g *locking.Grant) {
	if l.files == nil || scopes[0].Kind == locking.Name {
		return
	}
	if err := l.files.AwaitNewest(ctx, scopes, g); err != nil {
		l.log.Debug("a lock may not have brought the newest version", "scope", scopes[0].String(), "cause", err)
	}
}

// publishTime bounds how long letting a lock go waits for what was changed under it to be let out.
const publishTime = 5 * time.Second

// letOut has what was changed under a lock let out before it is let go.
func (l *Locker) letOut(ctx context.Context, id locking.RequestID, s locking.Scope) {
	if l.files == nil || s.Kind == locking.Name {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, publishTime)
	defer cancel()
	if err := l.files.EndBatch(ctx, id); err != nil {
		l.log.Debug("not all that was changed under a lock is let out as one", "scope", s.String(), "cause", err)
	}
	if err := l.files.AwaitPublished(ctx, []locking.Scope{s}); err != nil {
		l.log.Debug("a lock goes before all that was changed under it is let out", "scope", s.String(), "cause", err)
	}
}
