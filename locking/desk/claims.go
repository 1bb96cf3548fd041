package desk

import (
	"context"
	"encoding/binary"
	"fmt"

	"resonate/locking"
)

// maxListed bounds how many claims are told at a time.
const maxListed = 1000

// Claims returns what is held and waited for in s, as the leader knows it, and all names for the name "": at most maxListed. It is ErrNoLeader where
// no majority can be asked.
func (d *Desk) Claims(ctx context.Context, s locking.Scope) ([]locking.Claim, error) {
	d.mu.Lock()
	leads, l := d.keeper != nil, d.leader()
	d.mu.Unlock()
	switch {
	case leads:
		return d.ownClaims(ctx, s)
	case l == nil:
		return nil, ErrNoLeader
	}
	return d.claimsOf(ctx, l, s)
}

// ownClaims returns those of the own table, when it is known that this node leads.
func (d *Desk) ownClaims(ctx context.Context, s locking.Scope) ([]locking.Claim, error) {
	if err := d.quorum.Verify(ctx); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoLeader, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	claims := d.table.Claims(s)
	return claims[:min(len(claims), maxListed)], nil
}

// claimsOf asks the leader.
func (d *Desk) claimsOf(ctx context.Context, l *line, s locking.Scope) ([]locking.Claim, error) {
	answer := make(chan []locking.Claim, 1)
	d.mu.Lock()
	d.asked++
	number := d.asked
	d.queries[number] = answer
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		delete(d.queries, number)
		d.mu.Unlock()
	}()
	ctx, cancel := context.WithTimeout(ctx, maxProposing)
	defer cancel()
	l.send(frameAsk, append(append(binary.BigEndian.AppendUint64(nil, number), byte(s.Kind)), s.Path...))
	select {
	case claims := <-answer:
		return claims, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: the leader does not answer", ErrNoLeader)
	case <-d.ctx.Done():
		return nil, ErrEnded
	}
}

// numbered splits what frameAsk and frameClaims hold.
func numbered(content []byte) (number uint64, rest []byte, err error) {
	if len(content) < 8 {
		return 0, nil, fmt.Errorf("question of %d bytes: %w", len(content), locking.ErrFormat)
	}
	return binary.BigEndian.Uint64(content), content[8:], nil
}

// askedFor answers a member that asks what is held. While that is done, its stream is not read: so one question at a time.
func (d *Desk) askedFor(id locking.NodeID, content []byte) error {
	number, rest, err := numbered(content)
	if err == nil && (len(rest) == 0 || len(rest) > 1+locking.MaxPath || rest[0] < byte(locking.OnePath) || rest[0] > byte(locking.Name)) {
		err = fmt.Errorf("scope of %d bytes: %w", len(rest), locking.ErrFormat)
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(d.ctx, maxProposing)
	defer cancel()
	claims, err := d.ownClaims(ctx, locking.Scope{Kind: locking.ScopeKind(rest[0]), Path: string(rest[1:])})
	if err != nil {
		return nil // who asks gives up, or asks another leader
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if l := d.lines[id]; l != nil {
		l.send(frameClaims, append(binary.BigEndian.AppendUint64(nil, number), locking.EncodeClaims(claims)...))
	}
	return nil
}

// claimsCame hands an answer to who has asked.
func (d *Desk) claimsCame(id locking.NodeID, content []byte) error {
	number, rest, err := numbered(content)
	if err != nil {
		return err
	}
	claims, err := locking.DecodeClaims(rest)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if l := d.leader(); l == nil || l.id != id {
		return nil
	}
	if answer := d.queries[number]; answer != nil {
		select {
		case answer <- claims:
		default:
		}
	}
	return nil
}
