package replica

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"time"

	"resonate/control"
	"resonate/members"
	"resonate/merkle"
	"resonate/watcher"
)

var _ control.Daemon = (*Replica)(nil)

// maxListed is how many held changes and problems a status lists.
const maxListed = 1000

// Status implements control.Daemon.
func (r *Replica) Status(ctx context.Context) (s control.Status, err error) {
	var network []control.Peer
	if r.o.Network != nil {
		s.Listen, network = r.o.Network()
	}
	err = r.do(ctx, func() { r.status(&s, network) })
	return s, err
}

func (r *Replica) status(s *control.Status, network []control.Peer) {
	root := r.tree.Root()
	folder := r.place.marker.folder
	s.Version, s.Node, s.NodeID, s.Started, s.PID = r.o.Version, r.self.Short(), r.self.String(), r.started, os.Getpid()
	s.Folder = control.Folder{Path: r.root.Name(), ID: fmt.Sprintf("%x", folder.ID), Shared: folder.Shared}
	s.Roots = control.Roots{State: root.State.String(), Content: root.Content.String()}
	s.Files, s.Directories, s.Symlinks, s.Bytes = root.Files, root.Dirs, root.Symlinks, root.Bytes
	s.Peers = r.peerList(network, root.State)
	r.traffic(s)
	if s.Mode = r.o.Mode.String(); r.o.Witness {
		s.Mode = "witness"
	}
	s.Locks = r.lockWords()
	if r.paused != nil {
		s.Paused = r.paused.forUser()
	}
	s.Held, s.HeldMore = cutTo(r.heldList(), maxListed)
	s.Untaken, s.UntakenMore = r.untakenList()
	problems := make([]control.Problem, 0, len(r.problems)+len(r.refused))
	for _, path := range slices.Sorted(maps.Keys(r.problems)) {
		problems = append(problems, *r.problems[path])
	}
	for _, path := range slices.Sorted(maps.Keys(r.refused)) {
		problems = append(problems, *r.refused[path])
	}
	s.Problems, s.ProblemsMore = cutTo(problems, maxListed)
	s.Watch = r.watchStatus()
	s.Progress = r.progress()
	s.State = r.stateOf(s)
}

func cutTo[T any](list []T, most int) ([]T, int) {
	if len(list) <= most {
		return list, 0
	}
	return list[:most], len(list) - most
}

// stateOf sums up a status in a word.
func (r *Replica) stateOf(s *control.Status) string {
	connected, away := 0, 0
	inSync := true
	for _, p := range s.Peers {
		if p.State == "self" {
			continue
		}
		if p.State == "connected" {
			connected++
			inSync = inSync && p.InSync
		} else {
			away++
		}
	}
	switch {
	case r.paused != nil:
		return "paused"
	case !r.scanned:
		return "scanning"
	case r.cluster.Forgotten(members.ID(r.self)):
		return "forgotten"
	case r.awaitsWord(below("")):
		return "held"
	case connected == 0 && away == 0:
		return "alone"
	case connected == 0:
		return "no peer connected"
	case !inSync || !r.quiet():
		return "syncing"
	}
	return "in sync"
}

// peerList joins what the network knows of peers with what the sessions do.
func (r *Replica) peerList(network []control.Peer, state merkle.Hash) []control.Peer {
	out := make([]control.Peer, 0, len(network))
	listed := make(map[string]bool)
	for _, n := range network {
		if n.ID != "" && listed[n.ID] {
			continue // two addresses of one node
		}
		listed[n.ID] = true
		out = append(out, n)
	}
	for _, id := range sortedNodes(r.peers) {
		p := r.peers[id]
		at := slices.IndexFunc(out, func(c control.Peer) bool { return c.ID == id.String() })
		if at < 0 {
			out = append(out, control.Peer{ID: id.String(), Address: p.link.Addr(), Since: p.since})
			at = len(out) - 1
		}
		c := &out[at]
		c.State, c.Name, c.Error = "connected", p.name, ""
		c.RTTMillis = float64(p.link.RTT().Microseconds()) / 1000
		c.ToSend, c.ToReceive = r.workFor(p)
		c.SendsOnly, c.Witness = p.deaf, r.isWitness(p.id)
		equal := p.root == state || (p.deaf && p.caught == p.root) || (r.o.Mode == Send && p.equal)
		c.InSync = equal && c.ToSend.Files == 0 && c.ToReceive.Files == 0
	}
	return out
}

// workFor counts what is still to be sent to and received from a peer.
func (r *Replica) workFor(p *peer) (send, receive control.Work) {
	count := func(path string) {
		send.Files++
		if e := r.tree.Get(path); e != nil {
			send.Bytes += e.Size
		}
	}
	for _, o := range p.out {
		count(o.path)
	}
	for _, u := range p.unacked {
		count(u.path)
	}
	for _, queue := range r.incoming {
		for _, in := range queue {
			if slices.Contains(in.from, p) {
				receive.Files++
				receive.Bytes += in.theirs.Size
			}
		}
	}
	return send, receive
}

func (r *Replica) traffic(s *control.Status) {
	t := r.past
	for _, p := range r.peers {
		t.add(p)
	}
	s.MessagesSent, s.MessagesReceived, s.BytesSent, s.BytesReceived = t.MessagesSent, t.MessagesReceived, t.BytesSent, t.BytesReceived
	s.BytesReceived += uint64(r.receivedBytes.Load())
	s.BytesSent += uint64(r.sentBytes.Load())
	s.KeepalivesSent, s.KeepalivesReceived = t.keepSent, t.keepReceived
}

func (r *Replica) watchStatus() control.Watch {
	w := r.watcher.Status()
	out := control.Watch{
		Mode: events(), Directories: w.Watched, Uncovered: w.Uncovered, Overflows: w.Overflows, Cause: w.Cause, Remedy: w.Remedy,
	}
	if len(w.Uncovered) > 0 {
		out.Mode = "mixed"
	}
	if slices.Contains(w.Uncovered, ".") {
		out.Mode = "polling"
	}
	return out
}

// Work of fewer files and bytes is over before a person could read of it.
const (
	longFiles = 200
	longBytes = 32 << 20
)

// events names what the kernel tells of changes by.
func events() string {
	if runtime.GOOS == "linux" {
		return "inotify"
	}
	return "kqueue"
}

// progress tells of long work, nil where there is none.
func (r *Replica) progress() *control.Progress {
	switch {
	case !r.scanned || len(r.hashing) >= longFiles:
		root := r.tree.Root()
		return &control.Progress{
			What: "scan", Files: root.Files, FilesTotal: root.Files + len(r.hashing), Bytes: root.Bytes, SecondsLeft: -1,
		}
	case r.received.total < longFiles && r.received.sum < longBytes:
		return nil
	}
	p := &control.Progress{
		What: "receive", Files: r.received.files, FilesTotal: r.received.total, Bytes: r.received.bytes,
		BytesTotal: r.received.sum, SecondsLeft: -1,
	}
	if took := time.Since(r.received.since).Seconds(); took > 0.5 && p.Bytes > 0 {
		p.BytesPerSecond = float64(p.Bytes) / took
		p.SecondsLeft = float64(p.BytesTotal-p.Bytes) / p.BytesPerSecond
	}
	return p
}

// A waiter waits for all connected peers to have something.
type waiter struct {
	path  string
	since time.Time // when all that it waits for had been published here; zero: not yet
	done  chan error
}

// Wait implements control.Daemon.
func (r *Replica) Wait(ctx context.Context, path string) error {
	var watched *watcher.Watcher
	if err := r.do(ctx, func() { watched = r.watcher }); err != nil { // it is there once the loop runs
		return waitEnded(ctx, err)
	}
	if err := watched.Flush(ctx); err != nil {
		return waitEnded(ctx, err)
	}
	w := &waiter{path: path, done: make(chan error, 1)}
	if err := r.do(ctx, func() { r.waiters = append(r.waiters, w) }); err != nil {
		return waitEnded(ctx, err)
	}
	select {
	case err := <-w.done:
		return err
	case <-r.ended:
		return ErrStopped
	case <-ctx.Done():
		var why error
		r.do(context.WithoutCancel(ctx), func() {
			r.waiters = slices.DeleteFunc(r.waiters, func(o *waiter) bool { return o == w })
			why = r.missingFor(w)
		})
		return errors.Join(why, waitEnded(ctx, context.Cause(ctx)))
	}
}

func waitEnded(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return control.ErrTimeout
	}
	return err
}

// answerWaiters lets those go whose wait is over.
func (r *Replica) answerWaiters() {
	if r.paused != nil {
		r.endWaits()
	}
	r.waiters = slices.DeleteFunc(r.waiters, func(w *waiter) bool {
		if r.missingFor(w) != nil {
			r.wakeIn(20 * time.Millisecond)
			return false
		}
		w.done <- nil
		return true
	})
}

// missingFor tells what a waiter still waits for; nil: nothing.
func (r *Replica) missingFor(w *waiter) error {
	covers := below(w.path)
	switch {
	case !r.scanned:
		return errors.New("the folder is still being scanned")
	case !w.since.IsZero():
	case anyKey(r.hashing, covers) || anyKey(r.changes, covers) || anyKey(r.linger, covers):
		return errors.New("changes here are still being read")
	case r.awaitsWord(covers):
		return errors.New("changes are held: resonate held approve, or resonate held revert")
	default:
		w.since = time.Now()
		for _, p := range r.peers {
			r.pump(p)
		}
	}
	switch {
	case len(r.peers) == 0 && (len(r.members) > 0 || r.expectsPeers()):
		return errors.New("no peer is connected")
	case len(r.peers) > 0 && !r.anyTakes():
		return errors.New("no connected peer takes what is changed here: they only send")
	}
	for _, id := range sortedNodes(r.peers) {
		if p := r.peers[id]; !p.deaf && !r.has(p, w, covers) {
			return fmt.Errorf("peer %s (%s) does not have everything yet", p.name, id.Short())
		}
	}
	return nil
}

// awaitsWord tells whether something is held that covers is true of, and waits for the user's word, or for a peer to undo it.
func (r *Replica) awaitsWord(covers func(string) bool) bool {
	for path, h := range r.held {
		if !h.rests() && covers(path) {
			return true
		}
	}
	return false
}

// has tells whether a peer has what a waiter waits for.
func (r *Replica) has(p *peer, w *waiter, covers func(string) bool) bool {
	if p.root == r.tree.Root().State {
		return true
	}
	if !p.equal {
		return false // what it lacks is not known yet
	}
	if w.path == "" {
		return p.clear.After(w.since)
	}
	return !p.owed(covers)
}

// owed tells whether the peer is still to be told, or to deal with, something of what covers is true of.
func (p *peer) owed(covers func(string) bool) bool {
	for _, u := range p.unacked {
		if u.covers(covers) {
			return true
		}
	}
	return slices.ContainsFunc(p.out, func(o outgoing) bool { return o.covers(covers) })
}

func anyKey[V any](m map[string]V, covers func(string) bool) bool {
	for path := range m {
		if covers(path) {
			return true
		}
	}
	return false
}

// expectsPeers tells whether the user has named any.
func (r *Replica) expectsPeers() bool {
	if r.o.Network == nil {
		return false
	}
	_, peers := r.o.Network()
	return len(peers) > 0
}

// Held implements control.Daemon.
func (r *Replica) Held(ctx context.Context) (out []control.Held, err error) {
	err = r.do(ctx, func() { out = r.heldList() })
	return out, err
}

// Approve implements control.Daemon.
func (r *Replica) Approve(ctx context.Context, paths []string) (n int, err error) {
	doErr := r.do(ctx, func() { n, err = r.approve(paths) })
	return n, errors.Join(doErr, err)
}

// Revert implements control.Daemon.
func (r *Replica) Revert(ctx context.Context, paths []string) (n int, err error) {
	err = r.do(ctx, func() { n = r.revert(paths) })
	return n, err
}
