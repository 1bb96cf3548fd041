package control

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// MaxCached is how often Cached does it at most.
const MaxCached = 10_000

const routeCached = "/v1/locks/cached"

// readCached reads the form of Cached.
func readCached(form url.Values) (path string, times int, err error) {
	path = form.Get("path")
	if err := (Resource{Path: path}).Check(); err != nil {
		return "", 0, err
	}
	times, err = strconv.Atoi(form.Get("times"))
	if err != nil || times < 1 || times > MaxCached {
		return "", 0, fmt.Errorf("times %q: want 1 to %d: %w", form.Get("times"), MaxCached, ErrBadArgument)
	}
	return path, times, nil
}

// Cached implements [Locker].
func (c *Client) Cached(ctx context.Context, path string, times int) (took []time.Duration, err error) {
	err = c.call(ctx, http.MethodPost, routeCached, url.Values{"path": {path}, "times": {strconv.Itoa(times)}}, &took)
	return took, err
}
