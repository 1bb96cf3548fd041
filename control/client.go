package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// waitGrace is how much longer than the daemon the client waits, so that the daemon's own words about what
// was missing arrive.
const waitGrace = time.Second

// maxIdle is how many connections are kept for the next call: as many as a client with many calls at once needs, or each would dial anew.
const maxIdle = 64

// Client is a daemon reached through its socket. It may be used by several goroutines at once.
type Client struct {
	socket string
	http   http.Client
}

var _ Daemon = (*Client)(nil)

// Dial returns a client of the daemon that answers at the socket, or ErrNoDaemon. Close it after use.
func Dial(ctx context.Context, socket string) (*Client, error) {
	conn, err := dial(ctx, socket)
	if err != nil {
		return nil, err
	}
	conn.Close()
	c := &Client{socket: socket}
	c.http.Transport = &http.Transport{
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, socket) },
		MaxIdleConnsPerHost: maxIdle,
	}
	return c, nil
}

// Close gives back the client's connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status implements [Daemon].
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	err := c.call(ctx, http.MethodGet, routeStatus, nil, &s)
	return s, err
}

// Wait implements [Daemon].
func (c *Client) Wait(ctx context.Context, path string) error {
	form := url.Values{"path": {path}}
	deadline, ok := ctx.Deadline()
	if !ok {
		return c.call(ctx, http.MethodPost, routeWait, form, nil)
	}
	form.Set("timeout", time.Until(deadline).String())
	later, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline.Add(waitGrace))
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.Canceled) {
			cancel()
		}
	})
	defer stop()
	return c.call(later, http.MethodPost, routeWait, form, nil)
}

// History implements [Daemon].
func (c *Client) History(ctx context.Context, path string) ([]Kept, error) {
	var kept []Kept
	err := c.call(ctx, http.MethodGet, routeHistory, url.Values{"path": {path}}, &kept)
	return kept, err
}

// Restore implements [Daemon].
func (c *Client) Restore(ctx context.Context, path string, at time.Time) (Kept, error) {
	form := url.Values{"path": {path}}
	if !at.IsZero() {
		form.Set("at", at.Format(time.RFC3339Nano))
	}
	var kept Kept
	err := c.call(ctx, http.MethodPost, routeRestore, form, &kept)
	return kept, err
}

// Held implements [Daemon].
func (c *Client) Held(ctx context.Context) ([]Held, error) {
	var held []Held
	err := c.call(ctx, http.MethodGet, routeHeld, nil, &held)
	return held, err
}

// Approve implements [Daemon].
func (c *Client) Approve(ctx context.Context, paths []string) (int, error) {
	var n counted
	err := c.call(ctx, http.MethodPost, routeApprove, url.Values{"path": paths}, &n)
	return n.Paths, err
}

// Revert implements [Daemon].
func (c *Client) Revert(ctx context.Context, paths []string) (int, error) {
	var n counted
	err := c.call(ctx, http.MethodPost, routeRevert, url.Values{"path": paths}, &n)
	return n.Paths, err
}

// Pause implements [Daemon].
func (c *Client) Pause(ctx context.Context, length time.Duration) (Paused, error) {
	var p Paused
	err := c.call(ctx, http.MethodPost, routePause, url.Values{"for": {length.String()}}, &p)
	return p, err
}

// Resume implements [Daemon].
func (c *Client) Resume(ctx context.Context) (bool, error) {
	var was resumed
	err := c.call(ctx, http.MethodPost, routeResume, nil, &was)
	return was.Paused, err
}

// Ignored implements [Daemon].
func (c *Client) Ignored(ctx context.Context) ([]Pattern, error) {
	var patterns []Pattern
	err := c.call(ctx, http.MethodGet, routeIgnored, nil, &patterns)
	return patterns, err
}

// Ignore implements [Daemon].
func (c *Client) Ignore(ctx context.Context, patterns []string) (int, error) {
	var n counted
	err := c.call(ctx, http.MethodPost, routeIgnore, url.Values{"pattern": patterns}, &n)
	return n.Paths, err
}

// Unignore implements [Daemon].
func (c *Client) Unignore(ctx context.Context, patterns []string) (int, error) {
	var n counted
	err := c.call(ctx, http.MethodPost, routeUnignore, url.Values{"pattern": patterns}, &n)
	return n.Paths, err
}

// call sends one request and reads its answer into out, which may be nil.
func (c *Client) call(ctx context.Context, method, route string, form url.Values, out any) error {
	resp, err := c.send(ctx, method, route, form)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return c.transportError(err)
	}
	return nil
}

// send sends one request. The body of the answer, which is no failure, is to be closed.
func (c *Client) send(ctx context.Context, method, route string, form url.Values) (*http.Response, error) {
	target, body := route, ""
	if method == http.MethodGet {
		target += "?" + form.Encode()
	} else {
		body = form.Encode()
	}
	return c.do(ctx, method, target, "application/x-www-form-urlencoded", strings.NewReader(body))
}

// do sends one request with a body of the given type, and returns its answer, which is no failure.
func (c *Client) do(ctx context.Context, method, target, contentType string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://resonate"+target, body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.transportError(err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	var f failure
	if err := json.NewDecoder(resp.Body).Decode(&f); err != nil {
		return nil, fmt.Errorf("ask the daemon: unexpected answer %s to %s", resp.Status, req.URL.Path)
	}
	return nil, decodeError(f)
}

// transportError names what went wrong between the two ends.
func (c *Client) transportError(err error) error {
	var ue *url.Error // its text repeats the made-up URL
	if errors.As(err, &ue) {
		err = ue.Err
	}
	switch {
	case errors.Is(err, ErrNoDaemon):
		return err
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("ask the daemon: %w", ErrTimeout)
	}
	return fmt.Errorf("ask the daemon at %s: %w", c.socket, err)
}

// dial opens one connection to the socket.
func dial(ctx context.Context, socket string) (net.Conn, error) {
	near, release, err := reach(socket)
	if err != nil {
		return nil, absent(socket, err)
	}
	defer release()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", near)
	if err != nil {
		return nil, absent(socket, err)
	}
	return conn, nil
}

// absent makes ErrNoDaemon of the errors that say so.
func absent(socket string, err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%w at %s", ErrNoDaemon, socket)
	}
	return fmt.Errorf("reach the daemon at %s: %w", socket, err)
}
