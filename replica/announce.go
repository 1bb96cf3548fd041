package replica

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"resonate/merkle"
	"resonate/syncproto"
)

// Bounds of what is under way with one peer.
const (
	maxUnacked   = 4096    // announcements that the peer has not dealt with yet
	maxBatch     = 512     // announcements encoded at a time
	maxQueued    = 1 << 20 // bytes in the queue to the peer above which no announcement is added
	announceSize = 256 << 10
)

// alongNear and alongFar are how many bytes of small files may be on their way in announcements, to a peer nearer than
// nearRTT and to others. What is beyond it the peer fetches over its block streams, so that on a slow line no message waits
// behind much more than this.
const (
	alongNear = 8 << 20
	alongFar  = 256 << 10
	nearRTT   = 2 * time.Millisecond
)

// announcing is what the loop knows of the announcements to one peer.
type announcing struct {
	out     []outgoing      // to be told, oldest first
	queued  map[string]bool // those in out; true: the bytes of a small file may go along
	seq     uint64
	unacked map[uint64]unacked
	along   int                           // bytes in unacked
	dealt   time.Time                     // when the peer last dealt with something
	loads   chan []syncproto.Announcement // batches of which files are to be read first
	loading int                           // batches that announceFrom has not sent yet
	deaf    bool                          // the peer only sends: it is told nothing
	asks    int                           // how many of its barriers are in out
}

// outgoing is something to be told to a peer: what is agreed of a path, an operation as a whole, or that all before it has been told.
type outgoing struct {
	path   string
	op     *operation
	passed *syncproto.Barrier
}

// single tells whether o is a message of its own.
func (o outgoing) single() bool { return o.op != nil || o.passed != nil }

// covers tells whether it is about a path that covers is true of.
func (o outgoing) covers(covers func(string) bool) bool {
	if o.op != nil {
		return covers(o.op.from) || covers(o.op.to)
	}
	return covers(o.path)
}

// An unacked announcement is one that the peer has not dealt with yet.
type unacked struct {
	outgoing
	along int // bytes that went with it
}

// maxLoading is how many batches are being read or wait for it.
const maxLoading = 2

func newAnnouncing() announcing {
	return announcing{
		queued: make(map[string]bool), unacked: make(map[uint64]unacked),
		loads: make(chan []syncproto.Announcement, maxLoading),
	}
}

// tell has path announced; along tells that the peer has no use for anything but all of it.
func (a *announcing) tell(path string, along bool) {
	if a.deaf {
		return
	}
	if before, ok := a.queued[path]; ok {
		a.queued[path] = before || along
		return
	}
	a.queued[path] = along
	a.out = append(a.out, outgoing{path: path})
}

// tellOperation has an operation announced as a whole.
func (a *announcing) tellOperation(op *operation) {
	if !a.deaf {
		a.out = append(a.out, outgoing{op: op})
	}
}

// tellPassed answers a barrier of the peer when all that is to be told by now has been.
func (a *announcing) tellPassed(id uint64) error {
	if a.asks++; a.asks > maxBarriers {
		return fmt.Errorf("more than %d barriers at a time", maxBarriers)
	}
	a.out = append(a.out, outgoing{passed: &syncproto.Barrier{ID: id, Passed: true}})
	return nil
}

func (a *announcing) acked(seq uint64) {
	a.along -= a.unacked[seq].along
	delete(a.unacked, seq)
	a.dealt = time.Now()
}

// dealtTime is how long a near peer may have dealt with nothing and still is one that keeps up.
const dealtTime = 200 * time.Millisecond

// full tells whether a near peer has so many bytes of small files to deal with that it is better waited for than made to fetch: as
// long as it does deal with them.
func (p *peer) full() bool {
	return p.along >= alongNear && p.mostAlong() == alongNear && time.Since(p.dealt) < dealtTime
}

// mostAlong returns how many bytes of small files may be on their way to p.
func (p *peer) mostAlong() int {
	if rtt := p.link.RTT(); rtt > 0 && rtt < nearRTT {
		return alongNear
	}
	return alongFar
}

// room returns how many bytes of small files may be added to announcements, where what is sent is limited. The messages themselves
// never wait: so these bytes go along only as far as the limit has room for them, and what is beyond it the peer fetches over its
// block streams, which wait.
func (p *peer) room() int { return max(0, p.link.Room()-p.conn.Queued()-p.along) }

// pump announces what waits to be announced, in order, as long as the peer keeps up.
func (r *Replica) pump(p *peer) {
	for len(p.out) > 0 && len(p.unacked) < maxUnacked && p.loading < maxLoading && p.conn.Queued() < maxQueued {
		if p.full() {
			r.wakeIn(dealtTime)
			return
		}
		o := p.out[0]
		switch {
		case !o.single():
			r.pumpPaths(p)
			continue
		case p.loading > 0:
			return // what came before it is still to be sent
		case o.op != nil:
			p.seq++
			p.unacked[p.seq] = unacked{outgoing: o}
			r.send(p, o.op.message(p.seq))
		default:
			p.asks--
			r.send(p, o.passed)
		}
		p.out = p.out[1:]
	}
	if len(p.out) == 0 {
		p.out = nil
		if len(p.unacked) == 0 {
			p.clear = time.Now()
		}
	}
}

// pumpPaths announces the next paths, up to an operation.
func (r *Replica) pumpPaths(p *peer) {
	n := min(len(p.out), maxBatch)
	if i := slices.IndexFunc(p.out[:n], outgoing.single); i >= 0 {
		n = i
	}
	list := make([]syncproto.Announcement, 0, n)
	load, most, room := false, p.mostAlong(), p.room()
	for _, o := range p.out[:n] {
		along := p.queued[o.path]
		delete(p.queued, o.path)
		e := r.tree.Get(o.path)
		if e == nil || p.theirs[o.path] == e.Hash() {
			continue
		}
		p.seq++
		a := syncproto.Announcement{Seq: p.seq, Path: o.path, Entry: e}
		if data := r.inline[o.path]; len(data) <= room {
			a.Data = data
			room -= len(data)
		}
		u := unacked{outgoing: o}
		if rec := r.records[o.path]; rec != nil {
			r.describe(&a, e, rec)
			if along && len(a.Data) == 0 && p.along < most && goesAlong(e) && e.Size <= int64(room) && r.diskAt(o.path).Kind == merkle.File {
				a.Data, load = toLoad, true
				u.along = int(e.Size)
				room -= u.along
			}
		}
		p.along += u.along
		p.unacked[p.seq] = u
		list = append(list, a)
	}
	p.out = p.out[n:]
	if load || p.loading > 0 { // in order
		p.loading++
		p.loads <- list
		return
	}
	for m := range syncproto.SplitAnnouncements(list, announceSize) {
		r.send(p, m)
	}
}

// goesAlong tells whether a file is small enough for its bytes to go with its announcement.
func goesAlong(e *merkle.Entry) bool {
	return e.Kind == merkle.File && e.Size > 0 && e.Size <= syncproto.MaxInline
}

// toLoad stands for the bytes of a file that are still to be read.
var toLoad = make([]byte, 0, 1)

// announceFrom reads the small files that are to go with their announcements, and sends these.
func (r *Replica) announceFrom(ctx context.Context, p *peer) {
	for {
		select {
		case <-ctx.Done():
			return
		case list := <-p.loads:
			for i := range list {
				if a := &list[i]; a.Data != nil && len(a.Data) == 0 {
					a.Data = r.readAlong(a.Path, a.Entry.Size)
				}
			}
			for m := range syncproto.SplitAnnouncements(list, announceSize) {
				r.send(p, m)
			}
			r.post(func() {
				p.loading--
				r.pump(p)
			})
		}
	}
}

// readAlong reads a small file; nil if it is not what it was any more: the peer then asks for it. Whether it is at all what was
// announced, the peer sees by the hash.
func (r *Replica) readAlong(path string, size int64) []byte {
	f, err := r.root.OpenFile(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	data := make([]byte, size+1)
	n, err := io.ReadFull(f, data)
	if err != io.ErrUnexpectedEOF || int64(n) != size {
		return nil
	}
	return data[:n]
}

// describe adds to an announcement what spares the peer a round trip.
func (r *Replica) describe(a *syncproto.Announcement, e *merkle.Entry, rec *record) {
	switch e.Kind {
	case merkle.Dir:
		below := r.tree.Below(a.Path)
		a.Below = uint64(below.Files + below.Dirs + below.Symlinks)
		if info, err := r.root.Lstat(a.Path); err == nil {
			a.Hint = info.MTime
		}
	case merkle.File:
		list := rec.blocks()
		if list == nil {
			if known, err := r.index.Blocks(a.Path); err == nil && known.Root() == e.Content {
				list = known
			}
		}
		if a.SetBlocks(list); len(a.Blocks) < len(list) {
			if old := r.oldLists.of(a.Path); old != nil {
				a.SetDifference(old.content, old.list, list)
			}
		}
	}
}
