package control

import (
	"context"
	"errors"
	"net/http"
)

// The calls of the API.
const (
	routeStatus  = "/v1/status"
	routeWait    = "/v1/wait"
	routeHistory = "/v1/history"
	routeRestore = "/v1/restore"
	routeHeld    = "/v1/held"
	routeApprove = "/v1/held/approve"
	routeRevert  = "/v1/held/revert"
	routePause   = "/v1/pause"
	routeResume  = "/v1/resume"
	routeTree    = "/v1/tree"
	routeWhy     = "/v1/why"
	routeCheck   = "/v1/check"

	routeIgnored  = "/v1/ignore"
	routeIgnore   = "/v1/ignore/add"
	routeUnignore = "/v1/ignore/remove"
)

// counted is the answer to approve, revert, ignore and unignore.
type counted struct {
	Paths int `json:"paths"`
}

// resumed is the answer to resume.
type resumed struct {
	Paused bool `json:"was_paused"`
}

// failure is the body of every answer that is not 200.
type failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`

	// Of a HeldError.
	Resource *Resource `json:"resource,omitempty"`
	Holders  []Lock    `json:"holders,omitempty"`
	Waiting  int       `json:"waiting,omitempty"`
}

const codeHeld = "held"

// codes pairs each error that survives the socket with its name there and its HTTP status.
var codes = []struct {
	err    error
	code   string
	status int
}{
	{ErrNotFound, "not_found", http.StatusNotFound},
	{ErrTimeout, "timeout", http.StatusGatewayTimeout},
	{context.DeadlineExceeded, "timeout", http.StatusGatewayTimeout},
	{ErrPaused, "paused", http.StatusConflict},
	{ErrBusy, "busy", http.StatusServiceUnavailable},
	{ErrBadArgument, "bad_argument", http.StatusBadRequest},
	{ErrHeldElsewhere, codeHeld, http.StatusConflict},
	{ErrNotHeld, "not_held", http.StatusConflict},
	{ErrNoMajority, "no_majority", http.StatusServiceUnavailable},
	{ErrQueueFull, "queue_full", http.StatusTooManyRequests},
	{ErrNoLocks, "no_locks", http.StatusServiceUnavailable},
}

// encodeError turns an error of the daemon into its form on the wire.
func encodeError(err error) (failure, int) {
	f, status := failure{Code: "failed", Message: err.Error()}, http.StatusInternalServerError
	for _, c := range codes {
		if errors.Is(err, c.err) {
			f.Code, status = c.code, c.status
			break
		}
	}
	if held := (*HeldError)(nil); errors.As(err, &held) {
		f.Resource, f.Holders, f.Waiting = &held.Resource, held.Holders, held.Waiting
	}
	return f, status
}

// remoteError is an error of the daemon on the client's side: the daemon's words, and the identity it had.
type remoteError struct {
	message string
	kind    error // one of the package's sentinels, or nil
}

func (e *remoteError) Error() string { return e.message }
func (e *remoteError) Unwrap() error { return e.kind }

// decodeError is the reverse of encodeError.
func decodeError(f failure) error {
	if f.Code == codeHeld && f.Resource != nil {
		return &HeldError{*f.Resource, f.Holders, f.Waiting}
	}
	for _, c := range codes {
		if f.Code == c.code {
			return &remoteError{f.Message, c.err}
		}
	}
	return &remoteError{f.Message, nil}
}
