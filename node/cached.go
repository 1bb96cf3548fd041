package node

import (
	"context"
	"time"

	"resonate/control"
)

// Cached takes the lock of a path under a delegation: see control.Locker.
func (l *Locker) Cached(ctx context.Context, path string, times int) ([]time.Duration, error) {
	r := control.Resource{Path: path}
	if err := r.Check(); err != nil {
		return nil, err
	}
	s := scopeOf(r)
	var took []time.Duration
	for range min(times, control.MaxCached) {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		begun := time.Now()
		_, held := l.desk.Use(s)
		took = append(took, time.Since(begun))
		if !held {
			return took[:len(took)-1], nil
		}
		l.desk.EndUse(s)
	}
	return took, nil
}
