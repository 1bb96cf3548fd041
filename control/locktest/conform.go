package locktest

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"resonate/control"
)

// patience is how long the suite waits for what must come about.
const patience = 20 * time.Second

// Test holds a Locker to the contract of control.Locker. open returns one for each part, which may be the same; each part has names and
// paths of its own. With several Lockers of one cluster, open may return another each time.
func Test(t *testing.T, open func(t *testing.T) control.Locker) {
	for _, part := range []struct {
		name string
		run  func(*check)
	}{
		{"who holds it is told", (*check).holder},
		{"modes", (*check).modes},
		{"paths overlap", (*check).paths},
		{"first come, first served", (*check).order},
		{"asked again", (*check).again},
		{"given up", (*check).withdrawn},
		{"its time is over", (*check).expiry},
		{"renewed", (*check).renewed},
		{"let go", (*check).unlocked},
		{"ended by force", (*check).forced},
		{"waited for in vain", (*check).inVain},
	} {
		t.Run(part.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			part.run(&check{T: t, ctx: ctx, l: open(t), name: strings.ToLower(rand.Text()[:10])})
		})
	}
}

// check is one part of the suite.
type check struct {
	*testing.T
	ctx  context.Context
	l    control.Locker
	name string // nobody else's
}

// ask returns a request for the part's name.
func (c *check) ask() control.LockRequest {
	return control.LockRequest{Resource: control.Resource{Name: c.name}, TTL: time.Minute, Owner: "anna", Why: "a test"}
}

func (c *check) lock(q control.LockRequest) control.Lock {
	c.Helper()
	l, err := c.l.Lock(c.ctx, q)
	if err != nil {
		c.Fatalf("lock %s: %v", q.Resource, err)
	}
	return l
}

func (c *check) refused(q control.LockRequest) *control.HeldError {
	c.Helper()
	_, err := c.l.Lock(c.ctx, q)
	held := (*control.HeldError)(nil)
	if !errors.As(err, &held) || !errors.Is(err, control.ErrHeldElsewhere) {
		c.Fatalf("lock %s: got %v, want a HeldError", q.Resource, err)
	}
	return held
}

func (c *check) fails(what string, err, want error) {
	c.Helper()
	if !errors.Is(err, want) {
		c.Errorf("%s: got %v, want %v", what, err, want)
	}
}

// waiting waits until so many wait for the part's name, and returns them.
func (c *check) waiting(n int) []control.Lock {
	c.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		all, err := c.l.Locks(c.ctx, control.Resource{Name: c.name})
		if err != nil {
			c.Fatalf("list locks: %v", err)
		}
		var list []control.Lock
		for _, l := range all {
			if l.State == "waiting" {
				list = append(list, l)
			}
		}
		if len(list) == n {
			return list
		}
		select {
		case <-c.ctx.Done():
			c.Fatalf("%d wait for %s, want %d", len(list), c.name, n)
		case <-tick.C:
		}
	}
}

func (c *check) holder() {
	q := c.ask()
	l := c.lock(q)
	switch {
	case l.ID == "" || l.Token == (control.Token{}) || l.Resource != q.Resource || l.Mode != "exclusive" || l.State != "held" || !l.Mine:
		c.Errorf("got %+v", l)
	case l.Owner != q.Owner || l.Why != q.Why || l.Host == "" || l.Node == "" || l.Since.IsZero():
		c.Errorf("got %+v, want owner, why, host, node and since", l)
	case l.Expires == nil || time.Until(*l.Expires) > q.TTL || time.Until(*l.Expires) < q.TTL-patience:
		c.Errorf("expires: got %v, want in %v", l.Expires, q.TTL)
	}
	held := c.refused(c.ask())
	if len(held.Holders) != 1 || held.Holders[0].ID != l.ID || held.Holders[0].Owner != "anna" || held.Resource != q.Resource {
		c.Errorf("who holds it: got %+v, want %+v", held, l)
	}
	list, err := c.l.Locks(c.ctx, q.Resource)
	if err != nil || len(list) != 1 || list[0].ID != l.ID || list[0].State != "held" {
		c.Errorf("listed: got %+v, %v; want the lock alone", list, err)
	}
	if err := c.l.Unlock(c.ctx, l.ID); err != nil {
		c.Errorf("unlock: %v", err)
	}
	if next := c.lock(c.ask()); next.Token.Compare(l.Token) <= 0 {
		c.Errorf("token of the next: got %v, want one above %v", next.Token, l.Token)
	}
}

func (c *check) modes() {
	shared := c.ask()
	shared.Shared = true
	a, b := c.lock(shared), c.lock(shared)
	if a.Mode != "shared" || a.ID == b.ID || a.Token == b.Token {
		c.Errorf("shared: got %+v and %+v", a, b)
	}
	c.refused(c.ask())
	for _, l := range []control.Lock{a, b} {
		if err := c.l.Unlock(c.ctx, l.ID); err != nil {
			c.Errorf("unlock: %v", err)
		}
	}
	three := c.ask()
	three.Permits = 3
	for range 3 {
		if l := c.lock(three); l.Mode != "permit" || l.Permits != 3 {
			c.Errorf("permit: got %+v", l)
		}
	}
	c.refused(three)
	four := three
	four.Permits = 4
	c.refused(four)
	c.refused(shared)
}

func (c *check) paths() {
	at := func(form string) control.LockRequest {
		r, err := control.ParseResource(form)
		if err != nil {
			c.Fatal(err)
		}
		q := c.ask()
		q.Resource = r
		return q
	}
	top := c.name
	c.lock(at("tree:" + top + "/docs"))
	for _, form := range []string{"path:" + top + "/docs", "path:" + top + "/docs/a/b", "tree:" + top + "/docs/a", "tree:" + top, "tree:"} {
		c.refused(at(form))
	}
	c.lock(at("path:" + top + "/docs2"))
	c.lock(at("path:" + top)) // the directory itself, and nothing in it
	c.lock(at("name:path:" + top + "/docs"))
	c.lock(at("path:" + top + "/a\xffb"))
	list, err := c.l.Locks(c.ctx, at("tree:"+top).Resource)
	if err != nil || len(list) != 4 {
		c.Errorf("below %s: got %+v, %v; want the 4 paths", top, list, err)
	}
	found := false
	for _, l := range list {
		found = found || l.Resource.Path == top+"/a\xffb"
	}
	if !found {
		c.Errorf("below %s: got %+v, want the path that is not UTF-8", top, list)
	}
}

func (c *check) order() {
	first := c.lock(c.ask())
	type grant struct {
		lock control.Lock
		err  error
	}
	var grants [3]chan grant
	for i := range grants {
		grants[i] = make(chan grant, 1)
		go func() {
			q := c.ask()
			q.Wait = patience
			l, err := c.l.Lock(c.ctx, q)
			grants[i] <- grant{l, err}
		}()
		if list := c.waiting(i + 1); list[i].Position != i+1 || !list[i].Mine {
			c.Errorf("the last who waits: got %+v, want position %d", list[i], i+1)
		}
	}
	if held := c.refused(c.ask()); held.Waiting != len(grants) {
		c.Errorf("who wait: got %d, want %d", held.Waiting, len(grants))
	}
	before := first
	for i := range grants {
		if err := c.l.Unlock(c.ctx, before.ID); err != nil {
			c.Errorf("unlock: %v", err)
		}
		g := <-grants[i]
		if g.err != nil || g.lock.Token.Compare(before.Token) <= 0 {
			c.Fatalf("waiter %d: got %+v, %v; want it, with a token above %v", i, g.lock, g.err, before.Token)
		}
		before = g.lock
	}
}

func (c *check) again() {
	q := c.ask()
	q.RequestID = rand.Text()
	one, two := c.lock(q), c.lock(q)
	if one.ID != two.ID || one.Token != two.Token {
		c.Errorf("the same request again: got %+v, want %+v", two, one)
	}
	q.Resource.Name += "2"
	_, err := c.l.Lock(c.ctx, q)
	c.fails("another request of the same ID", err, control.ErrBadArgument)

	if err := c.l.Unlock(c.ctx, one.ID); err != nil {
		c.Errorf("unlock: %v", err)
	}
	q.Resource.Name = c.name
	_, err = c.l.Lock(c.ctx, q)
	c.fails("the same request after its lock is over", err, control.ErrNotHeld)
	c.lock(c.ask())
}

func (c *check) withdrawn() {
	first := c.lock(c.ask())
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		q := c.ask()
		q.Wait = patience
		_, err := c.l.Lock(ctx, q)
		done <- err
	}()
	c.waiting(1)
	cancel()
	if err := <-done; err == nil {
		c.Error("given up: got a lock, want an error")
	}
	c.waiting(0)
	if err := c.l.Unlock(c.ctx, first.ID); err != nil {
		c.Errorf("unlock: %v", err)
	}
	c.lock(c.ask()) // and not the one that was given up
}

func (c *check) expiry() {
	q := c.ask()
	q.TTL = control.MinTTL
	l := c.lock(q)
	begin := time.Now()
	waits := c.ask()
	waits.Wait = patience
	c.lock(waits)
	if took := time.Since(begin); took < q.TTL-100*time.Millisecond {
		c.Errorf("somebody else had it after %v, want not before %v", took, q.TTL)
	}
	c.fails("watch", c.l.Watch(c.ctx, l.ID), control.ErrNotHeld)
	_, err := c.l.Renew(c.ctx, l.ID, time.Minute)
	c.fails("renew", err, control.ErrNotHeld)
	c.fails("unlock", c.l.Unlock(c.ctx, l.ID), control.ErrNotHeld)
}

func (c *check) renewed() {
	q := c.ask()
	q.TTL = control.MinTTL
	l := c.lock(q)
	again, err := c.l.Renew(c.ctx, l.ID, time.Minute)
	if err != nil || again.ID != l.ID || again.Token != l.Token || again.Expires == nil || time.Until(*again.Expires) < time.Minute-patience {
		c.Fatalf("renew: got %+v, %v; want %+v for a minute", again, err, l)
	}
	late := c.ask()
	late.Wait = q.TTL + 500*time.Millisecond
	c.refused(late)
}

func (c *check) unlocked() {
	l := c.lock(c.ask())
	watched := make(chan error, 1)
	go func() { watched <- c.l.Watch(c.ctx, l.ID) }()
	for range 2 {
		if err := c.l.Unlock(c.ctx, l.ID); err != nil {
			c.Errorf("unlock: %v", err)
		}
	}
	c.fails("watch", <-watched, control.ErrNotHeld)
	unknown := rand.Text()
	c.fails("unlock what never was", c.l.Unlock(c.ctx, unknown), control.ErrNotFound)
	c.fails("watch what never was", c.l.Watch(c.ctx, unknown), control.ErrNotFound)
	_, err := c.l.Renew(c.ctx, unknown, time.Minute)
	c.fails("renew what never was", err, control.ErrNotFound)
}

func (c *check) forced() {
	l := c.lock(c.ask())
	watched := make(chan error, 1)
	go func() { watched <- c.l.Watch(c.ctx, l.ID) }()
	list, err := c.l.Force(c.ctx, l.Resource, "anna is on holiday")
	if err != nil || len(list) != 1 || list[0].ID != l.ID {
		c.Errorf("force: got %+v, %v; want %+v", list, err, l)
	}
	err = <-watched
	c.fails("watch", err, control.ErrNotHeld)
	if err == nil || !strings.Contains(err.Error(), "anna is on holiday") {
		c.Errorf("watch: got %v, want the reason in it", err)
	}
	c.fails("unlock", c.l.Unlock(c.ctx, l.ID), control.ErrNotHeld)
	if next := c.lock(c.ask()); next.Token.Compare(l.Token) <= 0 {
		c.Errorf("token of the next: got %v, want one above %v", next.Token, l.Token)
	}
	if list, err := c.l.Force(c.ctx, control.Resource{Name: c.name + "2"}, "nobody has it"); err != nil || len(list) != 0 {
		c.Errorf("force what is free: got %+v, %v; want nothing", list, err)
	}
}

func (c *check) inVain() {
	c.lock(c.ask())
	q := c.ask()
	q.Wait = 100 * time.Millisecond
	begin := time.Now()
	c.refused(q)
	if took := time.Since(begin); took < q.Wait {
		c.Errorf("it was refused after %v, want not before %v", took, q.Wait)
	}
	c.waiting(0)
}
