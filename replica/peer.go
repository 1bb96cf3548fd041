package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"resonate/control"
	"resonate/members"
	"resonate/merkle"
	"resonate/reconcile"
	"resonate/syncproto"
)

// A Link is an open session with another node: one control stream, and as many block streams as either side opens for
// its own fetching. *sshconn.Session is one; tests use pipes.
type Link interface {
	Peer() merkle.NodeID
	Key() members.Key // the peer's
	Addr() string
	Control() io.ReadWriteCloser
	OpenBlocks(ctx context.Context) (io.ReadWriteCloser, error)
	AcceptBlocks(ctx context.Context) (io.ReadWriteCloser, error)
	RTT() time.Duration
	Room() int // bytes that may go over Control now without going beyond a limit of what is sent
	Keepalives() (sent, received uint64)
}

// peering is the loop's state of all sessions.
type peering struct {
	peers      map[merkle.NodeID]*peer
	adopting   *peer // the one with which a folder ID is being agreed
	fetchLocal *jobQueue

	receivedBytes, sentBytes atomic.Int64 // of blocks; not the loop's alone
	past                     traffic      // of sessions that have ended
}

type traffic struct {
	syncproto.Counts
	keepSent, keepReceived uint64
}

func (p *peering) init() {
	p.peers = make(map[merkle.NodeID]*peer)
	p.fetchLocal = newJobQueue()
}

// A peer is another node with which a session is open. All but the queues is the loop's.
type peer struct {
	id     merkle.NodeID
	name   string
	link   Link
	conn   *syncproto.Conn
	jobs   *jobQueue
	cancel context.CancelCauseFunc
	since  time.Time
	open   func() (io.ReadWriteCloser, error) // a block stream
	far    bool                               // it is asked over many of them

	announcing
	clear  time.Time              // when all that was to be announced had last been dealt with
	acks   []uint64               // to be sent
	theirs map[string]merkle.Hash // versions that the peer has told since the roots were last equal

	root     merkle.Hash   // the peer's, as last told
	seen     merkle.Vector // by the peer, when it told root: all of it is in that tree
	equal    bool          // the roots were equal once in this session
	met      bool          // all that it had when the session began is here, or was asked for: what it has got since, it tells
	told     rootKey       // what was last told
	prefetch *fetchJob     // of what the peer offers; nil: nothing
	diff     *syncproto.Diff
	diffed   [2]merkle.Hash // the roots between which a diff was last made

	oneWay
}

// errRetry ends a session that is to be tried again at once.
var errRetry = errors.New("folder is just being shared with another node: try again")

// Serve keeps the folder in step with the node at the other end of link until the session ends or ctx does. It returns
// why the peer must be refused, or nil where the session simply ended.
func (r *Replica) Serve(ctx context.Context, link Link) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() { link.Control().Close() })
	defer stop()
	p := &peer{
		id: link.Peer(), link: link, conn: syncproto.NewConn(link.Control()), jobs: newJobQueue(), cancel: cancel,
		since: time.Now(), announcing: newAnnouncing(), theirs: make(map[string]merkle.Hash),
	}
	defer p.conn.Close()
	hello, err := r.shakeHands(ctx, p)
	if err != nil {
		p.conn.Send(&syncproto.Bye{Reason: err.Error()})
		return err
	}
	return r.serve(ctx, p, hello)
}

// serve runs an accepted session: one reader of messages, some fetchers, some servers of blocks.
func (r *Replica) serve(ctx context.Context, p *peer, hello *syncproto.Hello) error {
	p.open = func() (io.ReadWriteCloser, error) { return p.link.OpenBlocks(ctx) }
	if err := r.do(ctx, func() { r.join(p, hello) }); err != nil {
		return nil
	}
	for range nearStreams {
		r.workers.Go(func() { r.fetchFrom(p.jobs, p.open) })
	}
	r.workers.Go(func() { r.serveBlocks(ctx, p) })
	if r.o.Met != nil {
		r.workers.Go(func() { r.o.Met(ctx, p.link) })
	}
	r.workers.Go(func() { r.announceFrom(ctx, p) })
	stop := make(chan struct{})
	r.workers.Go(func() { // the queue to the peer has room again
		for {
			select {
			case <-p.conn.Drained():
				r.post(func() { r.pump(p) })
			case <-stop:
				return
			}
		}
	})
	err := r.receive(ctx, p)
	close(stop)
	left := p.jobs.close()
	r.post(func() { r.part(p, left, err) })
	var lied *protocolError
	if errors.As(err, &lied) {
		p.conn.Send(&syncproto.Bye{Reason: err.Error()})
		return err
	}
	var forgotten *ForgottenError
	if cause := context.Cause(ctx); errors.Is(cause, errRetry) || errors.As(cause, &forgotten) || errors.As(cause, new(*pausedError)) {
		return cause
	}
	return nil
}

// A protocolError tells what a peer did that no honest one does.
type protocolError struct {
	peer string
	err  error
}

func (e *protocolError) Error() string {
	return fmt.Sprintf("peer %s breaks the protocol: %v", e.peer, e.err)
}
func (e *protocolError) Unwrap() error { return e.err }

// receive hands each message to the loop, and waits until it is taken in: a peer cannot fill the memory.
func (r *Replica) receive(ctx context.Context, p *peer) error {
	for {
		m, err := p.conn.Receive()
		if err != nil {
			if malformed(err) {
				err = &protocolError{p.id.Short(), err}
			}
			return err
		}
		if err := r.do(ctx, func() { err = r.handle(p, m) }); err != nil {
			return err
		}
		if err != nil {
			return err
		}
	}
}

func (r *Replica) serveBlocks(ctx context.Context, p *peer) {
	for {
		stream, err := p.link.AcceptBlocks(ctx)
		if err != nil {
			return
		}
		r.workers.Go(func() {
			stop := context.AfterFunc(ctx, func() { stream.Close() })
			defer stop()
			defer stream.Close()
			if err := syncproto.Serve(countingStream{stream, &r.sentBytes}, blockSource{r}); err != nil && ctx.Err() == nil {
				r.log.Debug("block stream ended", "peer", p.id.Short(), "cause", err)
			}
		})
	}
}

// A countingStream counts the bytes written to a block stream.
type countingStream struct {
	io.ReadWriter
	sent *atomic.Int64
}

func (c countingStream) Write(b []byte) (int, error) {
	n, err := c.ReadWriter.Write(b)
	c.sent.Add(int64(n))
	return n, err
}

// handshakeTime bounds the exchange of hellos.
const handshakeTime = 10 * time.Second

// shakeHands exchanges hellos, checks them, and agrees on the folder ID.
func (r *Replica) shakeHands(ctx context.Context, p *peer) (_ *syncproto.Hello, err error) {
	timer := time.AfterFunc(handshakeTime, func() { p.conn.Close() })
	defer func() {
		if !timer.Stop() && err != nil {
			err = fmt.Errorf("peer %s does not greet within %v: %w", p.id.Short(), handshakeTime, err)
		}
	}()
	var mine *syncproto.Hello
	doErr := r.do(ctx, func() {
		if mine = r.hello(p); r.paused != nil {
			err = r.whyPaused()
		}
	})
	if err = errors.Join(doErr, err); err != nil {
		return nil, err
	}
	if err := p.conn.Send(mine); err != nil {
		return nil, err
	}
	m, err := p.conn.Receive()
	if err != nil {
		return nil, p.greeted(err)
	}
	theirs, ok := m.(*syncproto.Hello)
	if !ok {
		return nil, p.greeted(sayBye(m, "hello"))
	}
	if err := r.checkHello(p, theirs); err != nil {
		return nil, err
	}
	return theirs, r.agreeOnFolder(ctx, p, mine, theirs)
}

// greeted tells what went wrong before the session was one.
func (p *peer) greeted(err error) error {
	if malformed(err) {
		return &protocolError{p.id.Short(), err}
	}
	return err
}

// malformed tells whether an error of a stream means that the peer sent what no honest one does.
func malformed(err error) bool {
	var long *syncproto.TooLong
	return errors.Is(err, merkle.ErrFormat) || errors.As(err, &long)
}

// A ByeError is what a peer said when it left.
type ByeError struct{ Reason string }

func (e *ByeError) Error() string { return "peer says: " + e.Reason }

func sayBye(m syncproto.Message, wanted string) error {
	if bye, ok := m.(*syncproto.Bye); ok {
		return &ByeError{bye.Reason}
	}
	return fmt.Errorf("%T instead of %s: %w", m, wanted, merkle.ErrFormat)
}

func (r *Replica) hello(p *peer) *syncproto.Hello {
	name := r.ownName()
	m := r.place.marker.folder
	h := &syncproto.Hello{
		Protocol: syncproto.Protocol, Node: r.self, Instance: r.boot, Name: name[:min(len(name), syncproto.MaxText)], Software: "resonate " + r.o.Version,
		Folder: syncproto.FolderID(m.ID), Shared: m.Shared, Highest: r.highest[p.id],
		Members: r.known(), Horizon: r.horizon, Root: r.tree.Root().State, SendsOnly: r.o.Mode == Send,
	}
	if m.Shared {
		h.SharedAt = m.Since.Unix()
	}
	return h
}

func (r *Replica) checkHello(p *peer, h *syncproto.Hello) error {
	switch {
	case h.Protocol != syncproto.Protocol:
		return fmt.Errorf("peer %s speaks protocol %d, this node %d: bring both to the same version of resonate", p.id.Short(), h.Protocol, syncproto.Protocol)
	case h.Node != p.id:
		return &protocolError{p.id.Short(), errors.New("hello of another node than its key's")}
	case h.Node == r.self && h.Instance == r.boot:
		return errors.New("peer is this node itself: remove that -peer")
	case h.Node == r.self:
		return errors.New("another running instance has this node's key: a node's state was copied; start one of them with -fresh")
	}
	p.name = h.Name
	return r.forgotten(p.id)
}

// agreeOnFolder settles under which ID the two folders are one. An ID is taken over only when both sides have said so,
// and with one peer at a time, so that nodes that all meet at once end with one ID.
func (r *Replica) agreeOnFolder(ctx context.Context, p *peer, mine, theirs *syncproto.Hello) error {
	var id reconcile.FolderID
	var err error
	doErr := r.do(ctx, func() { id, err = r.proposeFolder(p, mine, theirs) })
	if err = errors.Join(doErr, err); err != nil {
		return err
	}
	defer r.post(func() {
		if r.adopting == p {
			r.adopting = nil
		}
	})
	if err := p.conn.Send(&syncproto.Accept{Folder: syncproto.FolderID(id)}); err != nil {
		return err
	}
	m, err := p.conn.Receive()
	if err != nil {
		return p.greeted(err)
	}
	accept, ok := m.(*syncproto.Accept)
	if !ok {
		return p.greeted(sayBye(m, "accept"))
	}
	if reconcile.FolderID(accept.Folder) != id {
		return errRetry
	}
	doErr = r.do(ctx, func() { err = r.adoptFolder(id) })
	return errors.Join(doErr, err)
}

func (r *Replica) proposeFolder(p *peer, mine, theirs *syncproto.Hello) (reconcile.FolderID, error) {
	now := time.Now()
	f := r.place.marker.folder
	other := reconcile.Folder{ID: reconcile.FolderID(theirs.Folder), Shared: theirs.Shared, Since: time.Unix(theirs.SharedAt, 0)}
	id, ok := reconcile.JoinFolders(f, other, now)
	switch {
	case syncproto.FolderID(f.ID) != mine.Folder || f.Shared != mine.Shared:
		return id, errRetry // it changed since the hello
	case !ok:
		return id, fmt.Errorf("peer %s shares another folder (ID %.8x, here %.8x): two folders that were each shared before are never mixed; "+
			"name the right -peer, or start one of the two with -fresh in an empty directory", p.id.Short(), other.ID, f.ID)
	case f.Shared && f.ID == id:
		return id, nil
	case r.adopting != nil:
		return id, errRetry
	}
	r.adopting = p
	return id, nil
}

// adoptFolder makes an ID final. Peers that know this folder by another ID are met anew.
func (r *Replica) adoptFolder(id reconcile.FolderID) error {
	f := &r.place.marker.folder
	if f.Shared && f.ID == id {
		return nil
	}
	before, changed := *f, f.ID != id
	if changed && f.Shared {
		r.log.Warn("this folder was shared under another ID only just now: it becomes one with the peer's", "before", fmt.Sprintf("%x", f.ID), "now", fmt.Sprintf("%x", id))
	}
	f.ID, f.Shared, f.Since = id, true, time.Now()
	if err := r.place.writeMarker(); err != nil {
		*f = before
		r.problem(markerPath, "cannot be written: "+err.Error(), remedyFor(err))
		return fmt.Errorf("write marker: %w", err)
	}
	r.problem(markerPath, "", "")
	if changed {
		for _, other := range r.peers {
			other.cancel(errRetry)
		}
	}
	return nil
}

// join begins a session in the loop.
func (r *Replica) join(p *peer, h *syncproto.Hello) {
	if r.paused != nil { // since the hellos
		p.cancel(r.whyPaused())
		return
	}
	old := r.peers[p.id]
	if old != nil {
		old.cancel(errors.New("replaced by a newer session"))
	}
	r.peers[p.id] = p
	p.deaf = h.SendsOnly
	if h.Highest > r.stamps.last {
		r.noteBehind(p, h.Highest)
	}
	r.stamps.above(h.Highest)
	if old == nil {
		r.tellEvent(control.Event{Kind: control.EventPeerUp, Peer: r.nodeName(p.id)})
	}
	r.log.Info("connected", "peer", p.id.Short(), "name", h.Name, "address", p.link.Addr())
	p.tells(h.Root, h.Members)
	r.admit(p)
	r.tellMembers(p)
	r.membersChanged()
	r.learn(h.Members, h.Horizon, p)
	if p.root != r.tree.Root().State {
		r.startDiff(p)
	}
	r.retryAll()
}

// part ends a session in the loop.
func (r *Replica) part(p *peer, left []*fetchJob, err error) {
	for _, j := range left {
		j.in.fetching = false
		j.in.after = time.Time{}
		r.resume(j.in.path)
	}
	if p.prefetch != nil {
		r.endPrefetch(p.prefetch)
	}
	r.past.add(p)
	if r.peers[p.id] != p {
		return
	}
	r.parted(p)
	if r.ctx.Err() == nil {
		cause := "it has left"
		if err != nil && !errors.Is(err, io.EOF) {
			cause = err.Error()
		}
		r.log.Info("disconnected", "peer", p.id.Short(), "name", p.name, "cause", cause)
		r.tellEvent(control.Event{Kind: control.EventPeerDown, Peer: r.nodeName(p.id), Cause: cause})
	}
}

// parted forgets a peer: what it has announced is not waited for any more.
func (r *Replica) parted(p *peer) {
	delete(r.peers, p.id)
	for path, queue := range r.incoming {
		for _, in := range queue {
			in.acks = dropAcks(in.acks, p)
		}
		r.resume(path)
	}
}

func dropAcks(acks []ack, p *peer) []ack {
	kept := acks[:0]
	for _, a := range acks {
		if a.to != p {
			kept = append(kept, a)
		}
	}
	return kept
}

// retryAll has everything tried again that waits for its time: somebody may have what is missing now.
func (r *Replica) retryAll() {
	for path, queue := range r.incoming {
		for _, in := range queue {
			in.after = time.Time{}
		}
		r.resume(path)
	}
}

// endPeers ends all sessions when Run does.
func (r *Replica) endPeers() {
	for _, p := range r.peers {
		p.cancel(ErrStopped)
		if p.prefetch != nil {
			r.endPrefetch(p.prefetch)
		}
	}
	r.fetchLocal.close()
}

func (t *traffic) add(p *peer) {
	c := p.conn.Counts()
	t.MessagesSent += c.MessagesSent
	t.MessagesReceived += c.MessagesReceived
	t.BytesSent += c.BytesSent
	t.BytesReceived += c.BytesReceived
	sent, received := p.link.Keepalives()
	t.keepSent += sent
	t.keepReceived += received
}
