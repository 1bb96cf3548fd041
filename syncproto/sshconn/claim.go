package sshconn

import (
	"bytes"
	"errors"
	"time"
)

// errDuplicate: another connection with the same peer is kept.
var errDuplicate = errors.New("already connected, or about to be")

const tokenSize = 16

// token ties the second connection of a pair to the first.
type token [tokenSize]byte

// claim is the right to be the one session with a peer. It is taken when the
// control connection is up, by the side that dials before it asks, by the side
// that accepts when it is asked. Invariant: a node holds at most one claim for a
// peer, and dials a peer only without one.
//
// When both dial at once, the node with the smaller ID decides, since it alone
// sees both: it refuses the other's connection while its own is under way, and
// drops its own when it has accepted the other's. So the other node may always
// give way to it: if the smaller one asks, it holds nothing else. No connection
// that serves is ever given up for an equal one; but who asks twice knows nothing
// of the first any more, so that is made to prove that it lives.
type claim struct {
	id       NodeID
	dialled  bool
	instance instance // of the peer; zero until known
	token    token
	control  *link
	stream   Stream
	ready    chan struct{} // of an accepted claim: closed when stream is there
	session  *Session      // nil while only half of the pair is up
	since    time.Time
	before   *claim // what it replaced, to be gone before this one serves
	dropped  bool   // by Drop; guarded by the mesh's mutex

	// Set before gone is closed.
	lasted time.Duration
	err    error
	gone   chan struct{} // closed when nothing of it is left
}

func newClaim(l *link, dialled bool) *claim {
	return &claim{id: l.peer, dialled: dialled, control: l, since: time.Now(), ready: make(chan struct{}), gone: make(chan struct{})}
}

// ended tells whether the claim is on its way out.
func (c *claim) ended() bool {
	if c.session != nil {
		return c.session.ctx.Err() != nil
	}
	select {
	case <-c.control.gone:
		return true
	default:
		return false
	}
}

// abort ends what a claim stands for, without waiting. The caller holds the mutex.
func (m *Mesh) abort(c *claim, cause error) {
	if c.session != nil {
		c.session.end(cause)
		return
	}
	m.wg.Go(c.control.close) // somebody serves the claim, so Run has not returned
}

// standing is what matters of a claim when another one comes.
type standing struct {
	ended    bool
	pending  bool // no session yet
	dialled  bool
	mute     bool // gives no sign of life, though it was asked for one
	instance instance
}

// muteAfter is how long a connection that still stands here, and of which the
// peer does not know any more, may take to prove that it lives. It must be above
// the round trip of any line.
const muteAfter = 2 * time.Second

// mute tells whether the claim gives no sign of life; half a pair ought to do so
// unasked.
func (c *claim) mute() bool {
	if c.session == nil {
		return !c.dialled && c.control.wire.silence() >= muteAfter
	}
	return c.session.unanswered() >= muteAfter
}

// givesWay tells whether a node lets a connection that its peer dialled replace
// the claim that stands.
func givesWay(own, peer NodeID, have standing, peerInstance instance) bool {
	switch {
	case have.ended, have.mute, peer.compare(own) < 0:
		return true
	case have.pending && have.dialled:
		return false
	}
	return have.instance != peerInstance // the peer has started again
}

// take makes c the claim for its peer, or fails with errDuplicate. The caller
// holds the mesh's mutex.
func (m *Mesh) take(c *claim) error {
	have := m.claims[c.id]
	if have != nil {
		s := standing{
			ended: have.ended(), pending: have.session == nil, dialled: have.dialled,
			mute: have.mute(), instance: have.instance,
		}
		if c.dialled || !givesWay(m.endpoint.identity.id, c.id, s, c.instance) {
			if have.session != nil {
				have.session.probe()
			}
			return errDuplicate
		}
		m.abort(have, errReplaced)
		c.before = have
	}
	m.claims[c.id] = c
	return nil
}

// release ends a claim of which nothing is left.
func (m *Mesh) release(c *claim) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.claims[c.id] == c {
		delete(m.claims, c.id)
	}
	close(c.gone)
	m.eachDialler(func(d *dialler) {
		if d.known && d.id == c.id && c.lasted >= m.endpoint.timing.settled {
			d.hurry()
		}
	})
}

// hello is the extra data of the control channel: token and instance; what a
// later version appends is ignored.
type hello struct {
	token    token
	instance instance
}

func (h hello) bytes() []byte { return append(bytes.Clone(h.token[:]), h.instance[:]...) }

func parseHello(data []byte) (hello, bool) {
	var h hello
	if len(data) < tokenSize+instanceSize {
		return h, false
	}
	copy(h.token[:], data)
	copy(h.instance[:], data[tokenSize:])
	return h, true
}
