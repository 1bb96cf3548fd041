package desk

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"resonate/locking"
	"resonate/locking/quorum"
)

// A Kind says what a stream between two members is for.
type Kind uint8

// The kinds of streams.
const (
	Locks Kind = iota // what is asked of the leader, and told by it
	Log               // of the voters
)

// Opener opens a stream to a member. Closing the stream ends what reads or writes it, and so does the end of the session.
type Opener func(ctx context.Context, kind Kind) (io.ReadWriteCloser, error)

// A line leads to one member: what is sent goes over a stream that this node has opened, what comes over one that the other has.
type line struct {
	id    locking.NodeID
	open  Opener
	out   chan []byte // frames
	place standing    // what the other tells of itself; of the desk's mutex
}

// standing is what a node tells of itself.
type standing struct {
	quorum.Standing
	leads   bool // it leads the table
	mobile  bool // it goes away
	witness bool // it is there to vote
}

// Frames: length (4 bytes, big-endian) of what follows, kind (1 byte), content. Kinds that are not known are skipped.
const (
	frameStanding byte = 1 // flags (1 byte), then the standing
	frameMessage  byte = 2
	frameAsk      byte = 3 // number (8 bytes), kind of a scope (1 byte), its path; or 0 and the ID of a request
	frameClaims   byte = 4 // number (8 bytes), fate of the request (1 byte), then claims
	frameCarry    byte = 5 // a message for the leader, from a node that has no line to it
	frameCarried  byte = 6 // its node (16 bytes), the message: from who carries it
	frameReturn   byte = 7 // the node that it is for (16 bytes), a message of the leader's: to who carries it

	flagLeads   = 1
	flagMobile  = 2
	flagWitness = 4

	maxFrame = locking.MaxMessage + 1 + uint32(len(locking.NodeID{}))
	maxOut   = 256 // frames that wait to be sent: what is beyond is lost, and said again
)

// send queues a frame, or loses it.
func (l *line) send(kind byte, content []byte) {
	f := make([]byte, 0, 5+len(content))
	f = binary.BigEndian.AppendUint32(f, uint32(1+len(content)))
	f = append(append(f, kind), content...)
	select {
	case l.out <- f:
	default:
	}
}

// retryLine is how long to wait before a stream is opened again.
const retryLine = time.Second

// Meet keeps up a line to a member while a session with it lasts, which ctx tells.
func (d *Desk) Meet(ctx context.Context, id locking.NodeID, open Opener) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.ctx, cancel)()
	l := &line{id: id, open: open, out: make(chan []byte, maxOut)}
	d.mu.Lock()
	l.place = d.early[id]
	delete(d.early, id)
	d.lines[id] = l
	d.mu.Unlock()
	defer d.part(l)
	for ctx.Err() == nil {
		if err := d.speak(ctx, l); err != nil && ctx.Err() == nil {
			d.log.Debug("nothing can be said to a member about locks", "peer", nameOf(id), "cause", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryLine):
		}
	}
}

// part forgets a line, unless another has taken its place.
func (d *Desk) part(l *line) {
	d.mu.Lock()
	if d.lines[l.id] == l {
		delete(d.lines, l.id)
	}
	delete(d.early, l.id)
	d.mu.Unlock()
	d.standsOtherwise()
}

// speak writes frames to a stream of its own until that ends.
func (d *Desk) speak(ctx context.Context, l *line) error {
	s, err := l.open(ctx, Locks)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { s.Close() })()
	defer s.Close()
	d.tellStanding(l)
	d.wake()
	for {
		select {
		case <-ctx.Done():
			return nil
		case f := <-l.out:
			if _, err := s.Write(f); err != nil {
				return err
			}
		}
	}
}

// Accept takes in a stream that a member has opened, and returns when it has ended; one of the log it hands on.
func (d *Desk) Accept(ctx context.Context, id locking.NodeID, kind Kind, s io.ReadWriteCloser) error {
	if kind == Log {
		if err := d.quorum.Accept(nameOf(id), s); err != nil {
			s.Close()
			return err
		}
		return nil
	}
	defer s.Close()
	defer context.AfterFunc(ctx, func() { s.Close() })()
	defer context.AfterFunc(d.ctx, func() { s.Close() })()
	return d.listen(id, s)
}

// listen takes in the frames of a member.
func (d *Desk) listen(id locking.NodeID, s io.Reader) error {
	r := bufio.NewReader(s)
	var head [5]byte
	for {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return ended(err)
		}
		n := binary.BigEndian.Uint32(head[:])
		if n == 0 || n > maxFrame {
			return fmt.Errorf("peer %s: lock frame of %d bytes: %w", nameOf(id), n, locking.ErrFormat)
		}
		content := make([]byte, n-1)
		if _, err := io.ReadFull(r, content); err != nil {
			return ended(err)
		}
		if err := d.frame(id, head[4], content); err != nil {
			return fmt.Errorf("peer %s: %w", nameOf(id), err)
		}
	}
}

// ended tells why no frame came; nothing, where the stream has ended.
func ended(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// frame takes in one frame.
func (d *Desk) frame(id locking.NodeID, kind byte, content []byte) error {
	switch kind {
	case frameStanding:
		return d.standingOf(id, content)
	case frameMessage:
		m, err := locking.DecodeMessage(content)
		if err != nil {
			return err
		}
		d.message(id, m)
	case frameAsk:
		return d.askedFor(id, content)
	case frameClaims:
		return d.claimsCame(id, content)
	case frameCarry:
		return d.carry(id, content)
	case frameCarried:
		return d.carried(id, content)
	case frameReturn:
		return d.returned(id, content)
	}
	return nil
}

// message takes in what a member's holder says, where this node leads, or what the leader says.
func (d *Desk) message(id locking.NodeID, m locking.Message) {
	now := d.now()
	d.mu.Lock()
	defer d.mu.Unlock()
	defer d.wake()
	switch {
	case d.keeper != nil:
		d.said(now, id, m)
	case d.speaksFor(id):
		d.holder.Receive(now, m)
	} // else it is of one that thinks that this node leads, or that it does itself
}

// said takes in what a node's holder says, where this node leads. The caller holds the mutex.
func (d *Desk) said(now time.Duration, id locking.NodeID, m locking.Message) {
	if !d.shared { // it is said again, and by then this table is nobody's lone one any more
		d.share()
		return
	}
	d.keeper.Receive(now, id, m)
}

// share notes that others use the table. The caller holds the mutex.
func (d *Desk) share() {
	if d.sharing || d.closed {
		return
	}
	d.sharing = true
	d.wg.Go(func() {
		err := d.quorum.Share()
		d.mu.Lock()
		d.sharing, d.shared = false, err == nil
		d.mu.Unlock()
		if err != nil {
			d.log.Warn("no other node is granted a lock: it cannot be written down", "cause", err)
		}
	})
}

// leader returns the line to the member that leads this node's table; nil: none is known. The caller holds the mutex.
func (d *Desk) leader() *line {
	if d.status.Role == quorum.Voter { // the log knows better than what was told last
		return d.lines[nodeOf(d.status.Leader)]
	}
	for _, l := range d.lines {
		if l.place.leads && l.place.Table == d.status.Table && l.place.Table != (quorum.TableID{}) {
			return l
		}
	}
	return nil
}

// ErrEnded: this node's locks have been ended.
var ErrEnded = errors.New("this node is ending")
