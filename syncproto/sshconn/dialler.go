package sshconn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// dialler keeps one peer connected: whatever node is behind a configured
// address, or a member, wherever it is.
type dialler struct {
	name   string // the configured address, or the member's ID
	member bool
	wake   chan struct{}
	pause  backoff // of keepDialling alone

	// Guarded by the mesh's mutex.
	cancel context.CancelFunc // nil until it is launched
	addrs  []Address          // in the order in which they are tried
	id     NodeID
	known  bool
	state  PeerState // while there is no session
}

func newDialler(name string, addrs ...Address) *dialler {
	return &dialler{name: name, addrs: addrs, wake: make(chan struct{}, 1), state: PeerState{State: Connecting, Since: time.Now()}}
}

// stop ends the dialler; its session, if it has one, goes on. The caller holds
// the mesh's mutex.
func (d *dialler) stop() {
	if d.cancel != nil {
		d.cancel()
	}
}

// hurry cuts the current pause short.
func (d *dialler) hurry() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// errNoAddress: a member told nobody where it is.
var errNoAddress = errors.New("no address of it is known: it has to dial")

// keepDialling dials whenever there is no session with the peer, whoever dialled
// it.
func (m *Mesh) keepDialling(ctx context.Context, d *dialler) {
	for ctx.Err() == nil {
		err := m.connect(ctx, d)
		if errors.Is(err, errSelf) {
			m.endpoint.log.Warn("not dialling this address any more: remove it from the peers (-peer)", "addr", d.name, "err", err)
			m.note(d, PeerState{State: Self, ID: m.endpoint.identity.id, Err: err})
			return
		}
		if ctx.Err() != nil {
			return
		}
		m.rest(ctx, d, err)
	}
}

// connect has one session with the peer, or waits for the end of the one there
// is. It returns nil after a session that lasted.
func (m *Mesh) connect(ctx context.Context, d *dialler) error {
	c := m.standing(d)
	if c == nil {
		m.note(d, PeerState{State: Connecting})
		var err error
		if c, err = m.dialSession(ctx, d); err != nil {
			m.tell(ctx, d, err)
			return err
		}
		m.wg.Go(func() { m.hold(c) }) // not here: the session outlives a dialler that is stopped
	}
	select {
	case <-c.gone:
	case <-ctx.Done():
		return ctx.Err()
	}
	if c.lasted >= m.endpoint.timing.settled && stateAfter(c.err) != Refused {
		d.pause.reset()
		return nil
	}
	if c.err == nil {
		return errDuplicate // a connection that never became a session
	}
	return c.err
}

// tell logs why a dial failed, unless that is well known.
func (m *Mesh) tell(ctx context.Context, d *dialler, err error) {
	if ctx.Err() != nil || errors.Is(err, errDuplicate) || errors.Is(err, errSelf) || errors.Is(err, errNoAddress) {
		return
	}
	if m.endpoint.notices.due(d.notice(), kindOf(err), time.Now()) {
		level := slog.LevelInfo // it may just not be there yet
		if stateAfter(err) == Refused {
			level = slog.LevelWarn
		}
		m.endpoint.log.Log(ctx, level, "cannot connect to peer; trying again", d.attr(), "err", err)
	}
}

// notice names the dialler for notices: how dialling a member goes is another
// matter than how its sessions end.
func (d *dialler) notice() string { return "dial " + d.name }

// attr names the dialler in a log.
func (d *dialler) attr() slog.Attr {
	if d.member {
		return slog.String("peer", d.name)
	}
	return slog.String("addr", d.name)
}

// rest waits until the peer is to be dialled again.
func (m *Mesh) rest(ctx context.Context, d *dialler, err error) {
	if err == nil || errors.Is(err, errDuplicate) && m.standing(d) != nil {
		return
	}
	t := m.endpoint.timing
	within, state := t.redial, stateAfter(err)
	switch {
	case state == Refused:
		within = t.refused
	case errors.Is(err, errDuplicate):
		state, err = Connecting, nil // the peer is at it
	}
	var over <-chan time.Time
	p := PeerState{State: state, Err: err}
	if !errors.Is(err, errNoAddress) {
		wait := d.pause.next(within)
		p.NextTry = time.Now().Add(wait)
		timer := time.NewTimer(wait)
		defer timer.Stop()
		over = timer.C
	}
	m.note(d, p)
	select {
	case <-over:
	case <-d.wake:
		d.pause.reset()
	case <-ctx.Done():
	}
}

// note records the state of a peer without a session.
func (m *Mesh) note(d *dialler, p PeerState) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p.Since = time.Now()
	if p.State == d.state.State {
		p.Since = d.state.Since
	}
	if p.State == Connecting || p.State == Refused && saysWhy(d.state.Err) && !saysWhy(p.Err) {
		p.Err = d.state.Err // until it is known better: what a stranger is told says less than what a peer has said
	}
	d.state = p
}

// saysWhy tells whether an error is what a peer said, in a session, of why it wants none.
func saysWhy(err error) bool {
	var theirs *FarewellError
	return errors.As(err, &theirs) && theirs.refused
}

// standing gives the claim for the dialler's node, nil if there is none.
func (m *Mesh) standing(d *dialler) *claim {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !d.known {
		return nil
	}
	return m.claims[d.id]
}

// dialSession makes both connections, to the first of the addresses that leads to
// the peer; the session is not started.
func (m *Mesh) dialSession(ctx context.Context, d *dialler) (*claim, error) {
	m.mu.Lock()
	addrs := slices.Clone(d.addrs)
	m.mu.Unlock()
	failed := attempts{errNoAddress}
	for i, addr := range addrs {
		c, err := m.dialAt(ctx, d, addr)
		switch {
		case err == nil:
			m.prefer(d, addr)
			return c, nil
		case ctx.Err() != nil, errors.Is(err, errDuplicate), errors.Is(err, ErrRefused):
			return nil, err // the peer itself has answered
		}
		failed = append(failed[:i], err)
		if m.standing(d) != nil {
			return nil, errDuplicate
		}
	}
	if len(failed) == 1 {
		return nil, failed[0]
	}
	return nil, failed
}

// attempts is why each of several addresses did not do.
type attempts []error

func (a attempts) Error() string {
	text := make([]string, len(a))
	for i, err := range a {
		text[i] = err.Error()
	}
	return strings.Join(text, "; ")
}

func (a attempts) Unwrap() []error { return a }

// prefer lets the address that led to the peer be the first to be tried.
func (m *Mesh) prefer(d *dialler, addr Address) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := slices.IndexFunc(d.addrs, func(a Address) bool { return a.Name == addr.Name }); i > 0 {
		d.addrs = slices.Insert(slices.Delete(slices.Clone(d.addrs), i, i+1), 0, addr)
	}
}

// dialAt makes both connections to one address.
func (m *Mesh) dialAt(ctx context.Context, d *dialler, addr Address) (*claim, error) {
	limit := m.endpoint.timing.handshake
	if addr.Dial != nil {
		limit = m.endpoint.timing.command
	}
	soon, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var want *NodeID
	if d.member {
		want = &d.id // never changes
	}
	l, err := m.endpoint.dial(soon, addr, want)
	if err != nil {
		return nil, err
	}
	l.start(nil)
	c := newClaim(l, true)
	c.token = newToken()
	m.mu.Lock()
	d.id, d.known = l.peer, true
	delete(m.departed, l.peer)
	err = m.take(c)
	m.mu.Unlock()
	if err != nil {
		l.shut()
		return nil, err
	}
	if err = m.endpoint.permit(l.key); err == nil { // still: see Drop
		err = m.pair(soon, c, addr)
	}
	if err != nil {
		l.shut()
		m.release(c)
		return nil, err
	}
	m.endpoint.notices.forget(d.notice())
	return c, nil
}

// pair asks for the session and adds the second connection, until soon ends, and
// further ones where the peer is far.
func (m *Mesh) pair(soon context.Context, c *claim, addr Address) error {
	greeting := hello{token: c.token, instance: m.endpoint.instance}
	began := time.Now()
	channel, err := c.control.open(soon, controlChannel, greeting.bytes())
	if err != nil {
		return m.whyRefused(c, err)
	}
	c.stream = &stream{Channel: channel}
	if addr.Dial == nil { // the very machine that answered: a name may lead to several
		addr = TCP(c.control.conn.RemoteAddr().String())
	}
	var more *further
	if addr.Dial == nil && time.Since(began) >= m.endpoint.timing.far {
		more = m.dialFurther(soon, c.id, addr)
	}
	err = m.pairBlocks(soon, c, addr)
	switch {
	case more == nil:
	case err != nil:
		more.close()
	default:
		more.join(c.session, c.token, time.Since(began)) // as long again
	}
	return err
}

// pairBlocks adds the second connection, which completes the session.
func (m *Mesh) pairBlocks(soon context.Context, c *claim, addr Address) error {
	blocks, err := m.endpoint.dial(soon, addr, &c.id)
	if err != nil {
		return err
	}
	// The session comes before the request, as the peer may open block channels
	// as soon as it has answered.
	s := m.newSession(m.ctx, c, blocks)
	blocks.start(nil)
	stop := context.AfterFunc(soon, blocks.close)
	ok, answer, err := blocks.conn.SendRequest(blocksRequest, true, c.token[:])
	stop()
	if err == nil && !ok {
		err = errors.New("peer does not pair the second connection")
	}
	if err == nil {
		err = m.complete(c, s, answer)
	}
	if err != nil {
		s.end(err)
		blocks.shut()
		return m.whyRefused(c, err)
	}
	return nil
}

// complete makes the pair the session of its claim, unless another connection
// has replaced it meanwhile.
func (m *Mesh) complete(c *claim, s *Session, answer []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.claims[c.id] != c {
		return errDuplicate
	}
	copy(c.instance[:], answer)
	c.session, c.since = s, time.Now()
	return nil
}

// whyRefused finds the reason for which a half-made session failed.
func (m *Mesh) whyRefused(c *claim, err error) error {
	m.mu.Lock()
	replaced := m.claims[c.id] != c
	m.mu.Unlock()
	var rejected *ssh.OpenChannelError
	switch {
	case replaced:
		return errDuplicate
	case errors.As(err, &rejected) && rejected.Reason == rejectDuplicate:
		return errDuplicate
	case errors.As(err, &rejected):
		return fmt.Errorf("%w: %s", ErrRefused, printable(rejected.Message, maxReasonSize))
	}
	return fmt.Errorf("set up session: %w", err)
}
