package control

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	routeLock     = "/v1/locks/lock"
	routeRenew    = "/v1/locks/renew"
	routeUnlock   = "/v1/locks/unlock"
	routeForce    = "/v1/locks/force"
	routeWatch    = "/v1/locks/watch"
	routeLocks    = "/v1/locks"
	routeQuorum   = "/v1/quorum"
	routeTakeOver = "/v1/quorum/take-over"
)

// lockRoutes adds the calls of a Locker.
func lockRoutes(s *server, mux *http.ServeMux, l Locker) {
	mux.HandleFunc("POST "+routeLock, s.answer(func(r *http.Request) (any, error) {
		q, err := readLockRequest(r.Form)
		if err != nil {
			return nil, err
		}
		return orError(grant(r.Context(), l, q))
	}))
	mux.HandleFunc("POST "+routeRenew, s.answer(func(r *http.Request) (any, error) {
		ttl, err := formDuration(r.Form, "ttl")
		if err == nil {
			err = checkTTL(ttl)
		}
		if err != nil {
			return nil, err
		}
		return orError(l.Renew(r.Context(), r.Form.Get("id"), ttl))
	}))
	mux.HandleFunc("POST "+routeUnlock, s.answer(func(r *http.Request) (any, error) {
		return struct{}{}, l.Unlock(r.Context(), r.Form.Get("id"))
	}))
	mux.HandleFunc("POST "+routeForce, s.answer(func(r *http.Request) (any, error) {
		on, err := ParseResource(r.Form.Get("resource"))
		if err != nil {
			return nil, err
		}
		list, err := l.Force(r.Context(), on, r.Form.Get("why"))
		return notNil(list), err
	}))
	mux.HandleFunc("POST "+routeWatch, s.answer(func(r *http.Request) (any, error) {
		return struct{}{}, l.Watch(r.Context(), r.Form.Get("id"))
	}))
	mux.HandleFunc("GET "+routeLocks, s.answer(func(r *http.Request) (any, error) {
		var on Resource
		if err := on.UnmarshalText([]byte(r.Form.Get("resource"))); err != nil {
			return nil, err
		}
		list, err := l.Locks(r.Context(), on)
		return notNil(list), err
	}))
	mux.HandleFunc("POST "+routeCached, s.answer(func(r *http.Request) (any, error) {
		path, times, err := readCached(r.Form)
		if err != nil {
			return nil, err
		}
		took, err := l.Cached(r.Context(), path, times)
		return notNil(took), err
	}))
	mux.HandleFunc("GET "+routeQuorum, s.answer(func(r *http.Request) (any, error) {
		return orError(l.Quorum(r.Context()))
	}))
	mux.HandleFunc("POST "+routeTakeOver, s.answer(func(r *http.Request) (any, error) {
		return orError(l.TakeOver(r.Context()))
	}))
}

// form writes a request as readLockRequest reads it.
func (q LockRequest) form() url.Values {
	return url.Values{
		"request": {q.RequestID}, "resource": {q.Resource.String()}, "shared": {strconv.FormatBool(q.Shared)},
		"permits": {strconv.Itoa(q.Permits)}, "ttl": {q.TTL.String()}, "wait": {q.Wait.String()},
		"session": {strconv.FormatBool(q.Session)}, "batch": {strconv.FormatBool(q.Batch)}, "owner": {q.Owner}, "why": {q.Why},
	}
}

func readLockRequest(form url.Values) (LockRequest, error) {
	q := LockRequest{
		RequestID: form.Get("request"), Shared: form.Get("shared") == "true", Session: form.Get("session") == "true", Batch: form.Get("batch") == "true",
		Owner: form.Get("owner"), Why: form.Get("why"),
	}
	var err error
	if q.Resource, err = ParseResource(form.Get("resource")); err != nil {
		return q, err
	}
	if q.Permits, err = strconv.Atoi(form.Get("permits")); err != nil {
		return q, fmt.Errorf("read permits %q: want a number: %w", form.Get("permits"), ErrBadArgument)
	}
	if q.TTL, err = formDuration(form, "ttl"); err != nil {
		return q, err
	}
	q.Wait, err = formDuration(form, "wait")
	return q, err
}

func formDuration(form url.Values, name string) (time.Duration, error) {
	d, err := time.ParseDuration(form.Get(name))
	if err != nil {
		return 0, fmt.Errorf("read %s %q: want a time: %w", name, form.Get(name), ErrBadArgument)
	}
	return d, nil
}

var _ Locker = (*Client)(nil)

// Lock implements [Locker].
func (c *Client) Lock(ctx context.Context, q LockRequest) (l Lock, err error) {
	err = c.call(ctx, http.MethodPost, routeLock, q.form(), &l)
	return l, err
}

// Renew implements [Locker].
func (c *Client) Renew(ctx context.Context, id string, ttl time.Duration) (l Lock, err error) {
	err = c.call(ctx, http.MethodPost, routeRenew, url.Values{"id": {id}, "ttl": {ttl.String()}}, &l)
	return l, err
}

// Unlock implements [Locker].
func (c *Client) Unlock(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodPost, routeUnlock, url.Values{"id": {id}}, nil)
}

// Force implements [Locker].
func (c *Client) Force(ctx context.Context, r Resource, why string) (list []Lock, err error) {
	err = c.call(ctx, http.MethodPost, routeForce, url.Values{"resource": {r.String()}, "why": {why}}, &list)
	return list, err
}

// Watch implements [Locker].
func (c *Client) Watch(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodPost, routeWatch, url.Values{"id": {id}}, nil)
}

// Locks implements [Locker].
func (c *Client) Locks(ctx context.Context, r Resource) (list []Lock, err error) {
	err = c.call(ctx, http.MethodGet, routeLocks, url.Values{"resource": {r.String()}}, &list)
	return list, err
}

// Quorum implements [Locker].
func (c *Client) Quorum(ctx context.Context) (q Quorum, err error) {
	err = c.call(ctx, http.MethodGet, routeQuorum, nil, &q)
	return q, err
}

// TakeOver implements [Locker].
func (c *Client) TakeOver(ctx context.Context) (q Quorum, err error) {
	err = c.call(ctx, http.MethodPost, routeTakeOver, nil, &q)
	return q, err
}
