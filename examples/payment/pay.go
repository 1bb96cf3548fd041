package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// payment is one that several clients are told to make, and one of them makes.
type payment struct {
	ID     string
	Client string
	Amount int
	Nodes  []*node
	Bank   string // URL
	TTL    time.Duration
	Wait   time.Duration
	Out    io.Writer
}

// make makes the payment, unless it was made.
func (p *payment) make(ctx context.Context) error {
	l, err := p.lock(ctx)
	if err != nil {
		return err
	}
	err = p.payUnderLock(ctx, l.Token)
	// Not with ctx: the next one need not wait until our time is over.
	done, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if e := p.unlock(done, l.ID); e != nil && err == nil {
		fmt.Fprintf(p.Out, "%s could not unlock, which does no harm: %v\n", p.Client, e)
	}
	return err
}

// payUnderLock looks whether the payment was made, and makes it otherwise. Between the two anything may happen to us: the bank judges by
// the token whether we still are the one whose turn it is.
func (p *payment) payUnderLock(ctx context.Context, token string) error {
	at := p.Bank + "/payments/" + url.PathEscape(p.ID)
	who := url.Values{"client": {p.Client}, "token": {token}}
	var made []entry
	if err := call(ctx, http.DefaultClient, http.MethodGet, at+"?"+who.Encode(), "", nil, &made); err != nil {
		return fmt.Errorf("look at payment %s: %w", p.ID, err)
	}
	if len(made) > 0 {
		fmt.Fprintf(p.Out, "%s: payment %s was made by %s\n", p.Client, p.ID, made[0].Client)
		return nil
	}
	if err := call(ctx, http.DefaultClient, http.MethodPost, at, "", entry{Client: p.Client, Amount: p.Amount, Token: token}, nil); err != nil {
		return fmt.Errorf("make payment %s: %w", p.ID, err)
	}
	fmt.Fprintf(p.Out, "%s: made payment %s\n", p.Client, p.ID)
	return nil
}

// onAny does something with the first node that can be reached.
func (p *payment) onAny(do func(*node) error) error {
	var problems []error
	for _, n := range p.Nodes {
		err := do(n)
		var answered *statusError
		if err == nil || errors.As(err, &answered) {
			return err
		}
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}
