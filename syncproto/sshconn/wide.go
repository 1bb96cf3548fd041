package sshconn

import (
	"context"
	"slices"
	"sync"
	"time"
)

// A TCP connection has no more under way than its window, some megabytes on most
// systems: that fills no fast line over which an answer takes long. So with a far
// peer blocks go over several connections, which the dialling side adds to the pair.
// A peer that knows nothing of this refuses them, and serves with the pair.
const (
	farRTT     = 30 * time.Millisecond
	wideBlocks = 4 // connections for blocks with a far peer, with that of the pair
)

// further is the connections for blocks beyond the pair, while they are being
// dialled.
type further struct {
	cancel   context.CancelFunc
	dialling sync.WaitGroup
	links    [wideBlocks - 1]*link // nil: could not be made; to be read when dialling is over
}

// dialFurther begins to dial further connections, until ctx ends. They must be joined
// or dropped.
func (m *Mesh) dialFurther(ctx context.Context, id NodeID, addr Address) *further {
	f := &further{}
	ctx, f.cancel = context.WithCancel(ctx)
	for i := range f.links {
		f.dialling.Go(func() { f.links[i], _ = m.endpoint.dial(ctx, addr, &id) }) // without it, there is one fewer
	}
	return f
}

// join makes what was dialled part of the session, before it starts, and waits no
// longer for that than the limit.
func (f *further) join(s *Session, t token, limit time.Duration) {
	late := time.AfterFunc(limit, f.cancel)
	defer late.Stop()
	f.dialling.Wait()
	var joining sync.WaitGroup
	for _, l := range f.links {
		if l != nil {
			joining.Go(func() { s.widen(l, t, limit) })
		}
	}
	joining.Wait()
	f.cancel()
}

// close ends what was dialled, and waits for that.
func (f *further) close() {
	f.cancel()
	f.dialling.Wait()
	for _, l := range f.links {
		if l != nil {
			l.start(nil)
			l.shut()
		}
	}
}

// widen asks the peer to have a connection that was dialled to it as one more for
// blocks. The peer may open channels on it as soon as it has answered.
func (s *Session) widen(l *link, t token, limit time.Duration) {
	l.session.Store(s)
	l.start(nil)
	late := time.AfterFunc(limit, l.close)
	ok, _, err := l.conn.SendRequest(blocksRequest, true, t[:])
	if !late.Stop() || err != nil || !ok || !s.add(l) {
		l.shut()
	}
}

// add makes a link one more for blocks; false: there are enough, or the session ends.
func (s *Session) add(l *link) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil || len(s.blocks) >= wideBlocks {
		return false
	}
	l.session.Store(s)
	l.wire.bulk.Store(true)
	s.blocks = append(s.blocks, l)
	s.tend(l)
	return true
}

// narrow does without a link from now on; false: it is one of the pair. Its goroutines
// end with the link, and the session waits for them.
func (s *Session) narrow(l *link) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l == s.control || l == s.blocks[0] {
		return false
	}
	if i := slices.Index(s.blocks, l); i > 0 && s.ctx.Err() == nil {
		s.blocks = slices.Delete(s.blocks, i, i+1)
		s.wg.Go(l.shut)
	}
	return true
}

// links gives all connections, that for messages first.
func (s *Session) links() []*link {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*link{s.control}, s.blocks...)
}

// leastUsed gives the connection for blocks that has the fewest channels of this
// side, and counts one more.
func (s *Session) leastUsed() *link {
	s.mu.Lock()
	defer s.mu.Unlock()
	least := s.blocks[0]
	for _, l := range s.blocks {
		if l.opened.Load() < least.opened.Load() {
			least = l
		}
	}
	least.opened.Add(1)
	return least
}
