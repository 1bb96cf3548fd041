package desk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"resonate/locking"
)

// maxListed bounds how many claims are told at a time.
const maxListed = 1000

// Claims returns what is held and waited for in s, as the leader knows it, and all names for the name "": at most maxListed. It is ErrNoLeader where
// no majority can be asked.
func (d *Desk) Claims(ctx context.Context, s locking.Scope) ([]locking.Claim, error) {
	a, err := d.ask(ctx, append([]byte{byte(s.Kind)}, s.Path...))
	return a.claims, err
}

// Claim returns what a request has made, whichever node it was made through; nil: nothing, or that is over, and then it tells how, as far as
// that is known. It is ErrNoLeader where no majority can be asked.
func (d *Desk) Claim(ctx context.Context, id locking.RequestID) (*locking.Claim, locking.Reason, error) {
	a, err := d.ask(ctx, append([]byte{askRequest}, id[:]...))
	if err != nil || len(a.claims) == 0 {
		return nil, a.fate, err
	}
	return &a.claims[0], locking.NoReason, nil
}

// An answer is what the leader says to a question.
type answer struct {
	claims []locking.Claim
	fate   locking.Reason // of a request without a claim
}

// askRequest stands in a question where the kind of a scope does: what follows is the ID of a request.
const askRequest byte = 0

// ask has the leader answer a question: a scope, or the ID of a request. While there is none, as when one has died, it is waited for.
func (d *Desk) ask(ctx context.Context, question []byte) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		a, err := d.askOnce(ctx, question)
		if !errors.Is(err, ErrNoLeader) || !d.pause(ctx) {
			return a, err
		}
	}
}

func (d *Desk) askOnce(ctx context.Context, question []byte) (answer, error) {
	d.mu.Lock()
	leads, l := d.keeper != nil, d.towardsLeader()
	d.mu.Unlock()
	switch {
	case leads:
		return d.ownClaims(ctx, question)
	case l == nil:
		return answer{}, ErrNoLeader
	}
	return d.claimsOf(ctx, l, question)
}

// ownClaims answers from the own table, when it is known that this node leads.
func (d *Desk) ownClaims(ctx context.Context, question []byte) (answer, error) {
	if err := d.quorum.Verify(ctx); err != nil {
		return answer{}, fmt.Errorf("%w: %w", ErrNoLeader, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if question[0] == askRequest {
		id := locking.RequestID(question[1:])
		if c, ok := d.table.Claim(id); ok {
			return answer{claims: []locking.Claim{c}}, nil
		}
		return answer{fate: d.table.Fate(id)}, nil
	}
	claims := d.table.Claims(locking.Scope{Kind: locking.ScopeKind(question[0]), Path: string(question[1:])})
	return answer{claims: claims[:min(len(claims), maxListed)]}, nil
}

// claimsOf asks the leader.
func (d *Desk) claimsOf(ctx context.Context, l *line, question []byte) (answer, error) {
	came := make(chan answer, 1)
	d.mu.Lock()
	d.asked++
	number := d.asked
	d.queries[number] = came
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		delete(d.queries, number)
		d.mu.Unlock()
	}()
	question = append(binary.BigEndian.AppendUint64(nil, number), question...)
	look := time.NewTicker(lookInterval)
	defer look.Stop()
	for n := 0; ; n++ {
		if n%looksToAskAgain == 0 {
			l.send(frameAsk, question)
		}
		select {
		case a := <-came:
			return a, nil
		case <-look.C:
			d.mu.Lock()
			leads := d.towardsLeader() == l
			d.mu.Unlock()
			if !leads {
				return answer{}, fmt.Errorf("%w: the leader has gone", ErrNoLeader)
			}
		case <-ctx.Done():
			return answer{}, fmt.Errorf("%w: the leader does not answer", ErrNoLeader)
		case <-d.ctx.Done():
			return answer{}, ErrEnded
		}
	}
}

// How often who waits for an answer looks whether the leader is the same, and after how many of these looks it asks again.
const (
	lookInterval    = 100 * time.Millisecond
	looksToAskAgain = 20
)

// numbered splits what frameAsk and frameClaims hold.
func numbered(content []byte) (number uint64, rest []byte, err error) {
	if len(content) < 8 {
		return 0, nil, fmt.Errorf("question of %d bytes: %w", len(content), locking.ErrFormat)
	}
	return binary.BigEndian.Uint64(content), content[8:], nil
}

func isQuestion(b []byte) bool {
	switch {
	case len(b) == 0 || len(b) > 1+locking.MaxPath || b[0] > byte(locking.Name):
		return false
	case b[0] == askRequest:
		return len(b) == 1+len(locking.RequestID{})
	}
	return true
}

// askedFor answers a member that asks what is held. While that is done, its stream is not read: so one question at a time.
func (d *Desk) askedFor(id locking.NodeID, content []byte) error {
	number, rest, err := numbered(content)
	if err == nil && !isQuestion(rest) {
		err = fmt.Errorf("question of %d bytes: %w", len(rest), locking.ErrFormat)
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(d.ctx, maxProposing)
	defer cancel()
	if d.carriesQuestion(id, number, rest) {
		return nil
	}
	if a, err := d.ownClaims(ctx, rest); err == nil { // else who asks gives up, or asks another leader
		d.answerTo(id, number, a)
	}
	return nil
}

// answerTo sends an answer.
func (d *Desk) answerTo(id locking.NodeID, number uint64, a answer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l := d.lines[id]; l != nil {
		head := append(binary.BigEndian.AppendUint64(nil, number), byte(a.fate))
		l.send(frameClaims, append(head, locking.EncodeClaims(a.claims)...))
	}
}

// claimsCame hands an answer to who has asked.
func (d *Desk) claimsCame(id locking.NodeID, content []byte) error {
	number, rest, err := numbered(content)
	if err == nil && len(rest) == 0 {
		err = fmt.Errorf("answer of %d bytes: %w", len(content), locking.ErrFormat)
	}
	if err != nil {
		return err
	}
	claims, err := locking.DecodeClaims(rest[1:])
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.speaksFor(id) {
		return nil
	}
	if came := d.queries[number]; came != nil {
		select {
		case came <- answer{claims, locking.Reason(rest[0])}:
		default:
		}
	}
	return nil
}
