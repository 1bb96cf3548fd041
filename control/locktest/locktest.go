// Package locktest is for tests: a lock table in memory that keeps the contract of control.Locker on one machine, and the conformance
// suite that holds any Locker to it. There are no nodes, no log and no sessions in it.
package locktest

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"resonate/control"
)

// maxWaiting is how many wait for one resource.
const maxWaiting = 100

// A Table is a control.Locker. It may be used by several goroutines at once.
type Table struct {
	host string

	mu      sync.Mutex
	lost    bool              // there is no majority
	claims  []*claim          // held or waiting, in the order in which they came
	ended   map[string]string // by ID: how it ended
	gave    map[string]bool   // by ID: it was let go by its holder
	index   uint64
	term    uint64
	changed chan struct{} // closed at the next change
}

var _ control.Locker = (*Table)(nil)

type claim struct {
	control.Lock
	q     control.LockRequest
	until time.Time // when it is over: its TTL, or its wait
}

// New returns an empty table, of a machine of that name.
func New(host string) *Table {
	return &Table{host: host, ended: map[string]string{}, gave: map[string]bool{}, term: 1, changed: make(chan struct{})}
}

// SetMajority says whether anything is granted from now on.
func (t *Table) SetMajority(there bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lost = !there
	t.change()
}

// overlap tells whether anything lies in both.
func overlap(a, b control.Resource) bool {
	if a == (control.Resource{}) || b == (control.Resource{}) {
		return true
	}
	if a.Name != "" || b.Name != "" {
		return a == b
	}
	in := func(tree, r control.Resource) bool {
		return tree.Below && (tree.Path == "" || strings.HasPrefix(r.Path, tree.Path+"/"))
	}
	return a.Path == b.Path || in(a, b) || in(b, a)
}

// conflict tells whether c cannot be held beside those of others that came first, among whom are so many of its permits.
func conflict(c *claim, others []*claim) bool {
	same := 0
	for _, o := range others {
		switch {
		case !overlap(c.Resource, o.Resource), c.q.Shared && o.q.Shared:
		case c.q.Permits > 0 && c.q.Permits == o.q.Permits && c.Resource == o.Resource:
			same++
		default:
			return true
		}
	}
	return c.q.Permits > 0 && same >= c.q.Permits
}

// change wakes whoever waits.
func (t *Table) change() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// settle ends what is over and grants what is free, and returns when that is next to be looked at.
func (t *Table) settle() (next time.Time) {
	now := time.Now()
	var kept []*claim
	for _, c := range t.claims {
		switch {
		case !c.until.After(now) && c.State == "held":
			t.end(c, "its time was over")
		case !c.until.After(now):
			t.end(c, "it was not had within its wait")
		default:
			kept = append(kept, c)
		}
	}
	t.claims = kept
	for i, c := range t.claims {
		if c.State == "waiting" && !t.lost && !conflict(c, t.claims[:i]) {
			t.index++
			c.State, c.Position, c.Since, c.until = "held", 0, now, now.Add(c.q.TTL)
			c.Token = control.Token{Generation: t.term, Index: t.index}
			t.change()
		}
		if next.IsZero() || c.until.Before(next) {
			next = c.until
		}
		until := c.until
		c.Expires = &until
	}
	return next
}

func (t *Table) end(c *claim, how string) {
	t.ended[c.ID] = how
	t.change()
}

// drop ends c, which stands in the table.
func (t *Table) drop(c *claim, how string) {
	t.claims = slices.DeleteFunc(t.claims, func(o *claim) bool { return o == c })
	t.end(c, how)
	t.settle()
}

func (t *Table) find(id string) *claim {
	for _, c := range t.claims {
		if c.ID == id {
			return c
		}
	}
	return nil
}

// over is the error for an ID that is not in the table.
func (t *Table) over(id string) error {
	if how, known := t.ended[id]; known {
		return fmt.Errorf("lock %.12s: %w: %s", id, control.ErrNotHeld, how)
	}
	return fmt.Errorf("lock %.12s: %w", id, control.ErrNotFound)
}

// Lock implements control.Locker.
func (t *Table) Lock(ctx context.Context, q control.LockRequest) (control.Lock, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c, err := t.claim(q)
	if err != nil {
		return control.Lock{}, err
	}
	for {
		next := t.settle()
		if c.State == "held" {
			return c.Lock, nil
		}
		_, over := t.ended[c.ID]
		if q.Wait == 0 || over {
			err := t.heldBy(q.Resource, c)
			if !over {
				t.drop(c, "it was held")
			}
			return control.Lock{}, err
		}
		changed := t.changed
		t.mu.Unlock()
		err := sleep(ctx, changed, next)
		t.mu.Lock()
		if err != nil {
			if q.RequestID == "" {
				t.drop(c, "it was given up")
			}
			return control.Lock{}, err
		}
	}
}

// claim returns what q asked for before, or a new claim at the end of the queue.
func (t *Table) claim(q control.LockRequest) (*claim, error) {
	id := q.RequestID
	if id == "" {
		id = rand.Text()
	}
	c := t.find(id)
	if _, over := t.ended[id]; over {
		return nil, t.over(id)
	}
	waiting := 0
	for _, o := range t.claims {
		if o.State == "waiting" && overlap(o.Resource, q.Resource) {
			waiting++
		}
	}
	switch {
	case c != nil && (c.Resource != q.Resource || c.q.Permits != q.Permits || c.q.Shared != q.Shared):
		return nil, fmt.Errorf("request ID %s was that of another request: %w", id, control.ErrBadArgument)
	case c != nil:
		return c, nil
	case t.lost:
		return nil, control.ErrNoMajority
	case waiting >= maxWaiting:
		return nil, fmt.Errorf("%s: %w", q.Resource, control.ErrQueueFull)
	}
	mode := "exclusive"
	if q.Shared {
		mode = "shared"
	} else if q.Permits > 0 {
		mode = "permit"
	}
	now := time.Now()
	c = &claim{q: q, until: now.Add(q.Wait), Lock: control.Lock{
		ID: id, Resource: q.Resource, Mode: mode, Permits: q.Permits, Node: t.host, Host: t.host, Mine: true, Owner: q.Owner, Why: q.Why,
		Since: now, Session: q.Session, State: "waiting", Position: waiting + 1,
	}}
	if q.Wait == 0 {
		c.until = now.Add(time.Hour) // it is looked at once
	}
	t.claims = append(t.claims, c)
	return c, nil
}

func (t *Table) heldBy(r control.Resource, but *claim) error {
	e := &control.HeldError{Resource: r}
	for _, c := range t.claims {
		switch {
		case c == but || !overlap(c.Resource, r):
		case c.State == "held":
			e.Holders = append(e.Holders, c.Lock)
		default:
			e.Waiting++
		}
	}
	return e
}

// sleep waits for a change, for a time, or for ctx to end.
func sleep(ctx context.Context, changed <-chan struct{}, until time.Time) error {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-changed:
	case <-timer.C:
	}
	return nil
}

// Renew implements control.Locker.
func (t *Table) Renew(_ context.Context, id string, ttl time.Duration) (control.Lock, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.settle()
	c := t.find(id)
	switch {
	case t.lost:
		return control.Lock{}, control.ErrNoMajority
	case c == nil || c.State != "held":
		return control.Lock{}, t.over(id)
	}
	c.q.TTL, c.until = ttl, time.Now().Add(ttl)
	t.change()
	t.settle()
	return c.Lock, nil
}

// Unlock implements control.Locker.
func (t *Table) Unlock(_ context.Context, id string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.settle()
	c := t.find(id)
	switch {
	case t.lost:
		return control.ErrNoMajority
	case c == nil && t.gave[id]:
		return nil
	case c == nil:
		return t.over(id)
	}
	t.gave[id] = true
	t.drop(c, "it was let go")
	return nil
}

// Force implements control.Locker.
func (t *Table) Force(_ context.Context, r control.Resource, why string) ([]control.Lock, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.settle()
	if t.lost {
		return nil, control.ErrNoMajority
	}
	var forced []control.Lock
	for _, c := range slices.Clone(t.claims) {
		if c.State == "held" && overlap(c.Resource, r) {
			forced = append(forced, c.Lock)
		}
	}
	for _, l := range forced {
		if c := t.find(l.ID); c != nil {
			t.drop(c, "it was ended by force: "+why)
		}
	}
	return forced, nil
}

// Watch implements control.Locker.
func (t *Table) Watch(ctx context.Context, id string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		next := t.settle()
		if t.find(id) == nil {
			return t.over(id)
		}
		changed := t.changed
		t.mu.Unlock()
		err := sleep(ctx, changed, next)
		t.mu.Lock()
		if err != nil {
			return err
		}
	}
}

// Locks implements control.Locker.
func (t *Table) Locks(_ context.Context, r control.Resource) ([]control.Lock, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.settle()
	var list []control.Lock
	position := map[control.Resource]int{}
	for _, c := range t.claims {
		l := c.Lock
		if l.State == "waiting" {
			position[l.Resource]++
			l.Position = position[l.Resource]
		}
		if overlap(l.Resource, r) {
			list = append(list, l)
		}
	}
	slices.SortStableFunc(list, func(a, b control.Lock) int {
		return cmp.Or(cmp.Compare(a.Resource.String(), b.Resource.String()), cmp.Compare(a.Position, b.Position))
	})
	return list, nil
}

// Cached implements control.Locker. Nothing is kept after use.
func (t *Table) Cached(context.Context, string, int) ([]time.Duration, error) { return nil, nil }

// Quorum implements control.Locker.
func (t *Table) Quorum(context.Context) (control.Quorum, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.settle()
	q := control.Quorum{
		Line: "locks are granted; " + t.host + " leads", Majority: !t.lost, Leader: t.host, Generation: t.term,
		Voters: []control.Voter{{ID: t.host, Name: t.host, Self: true, Leader: true, Connected: true}},
	}
	if t.lost {
		q.Line, q.Leader, q.Voters[0].Leader = "no locks are granted: 1 of 2 voters is connected", "", false
	}
	for _, c := range t.claims {
		if c.State == "held" {
			q.Held++
		} else {
			q.Waiting++
		}
	}
	return q, nil
}

// TakeOver implements control.Locker.
func (t *Table) TakeOver(ctx context.Context) (control.Quorum, error) {
	t.mu.Lock()
	t.term, t.lost = t.term+1, false
	t.change()
	t.mu.Unlock()
	return t.Quorum(ctx)
}
