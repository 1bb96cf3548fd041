package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"time"
	"unicode/utf8"
)

// bodyKey is where the body of a request is kept once it was read.
type bodyKey struct{}

func bodyOf(r *http.Request) []byte {
	body, _ := r.Context().Value(bodyKey{}).([]byte)
	return body
}

// decodeBody reads one JSON object into out. What out does not know is refused: a misspelt "ttl" must not pass for the default.
func decodeBody(body []byte, out any) error {
	bad := func(cause string) error { return fmt.Errorf("read the body: %s: %w", cause, ErrBadArgument) }
	if !utf8.Valid(body) {
		return bad("want JSON in UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(out); err != nil {
		return bad(err.Error())
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return bad("something follows the object")
	}
	return nil
}

// seconds is a length of time in JSON: a number of seconds, or text such as "90s" or "2h30m".
type seconds time.Duration

func (s *seconds) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil {
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 {
			return fmt.Errorf(`time %.40q: want seconds, or text such as "90s"`, text)
		}
		*s = seconds(d)
		return nil
	}
	var n float64
	if err := json.Unmarshal(data, &n); err != nil || !(n >= 0) || n >= math.MaxInt64/float64(time.Second) {
		return fmt.Errorf(`time %.40s: want seconds, or text such as "90s"`, data)
	}
	*s = seconds(n * float64(time.Second))
	return nil
}

// maxLockID bounds what is looked up as the ID of a lock.
const maxLockID = 128

func checkLockID(id string) error {
	if id == "" || len(id) > maxLockID {
		return fmt.Errorf("lock_id of %d bytes: want the one that the lock came with: %w", len(id), ErrBadArgument)
	}
	return nil
}

// restLock is a lock as scripts see it.
type restLock struct {
	LockID    string     `json:"lock_id"`
	Resource  string     `json:"resource"`
	Bytes     []byte     `json:"resource_base64,omitempty"` // what JSON cannot carry of it
	Mode      string     `json:"mode"`
	Permits   int        `json:"permits,omitempty"`
	Token     Token      `json:"token"`
	Expires   *time.Time `json:"expires,omitempty"`
	State     string     `json:"state"`
	Position  int        `json:"queue_position,omitempty"`
	Since     time.Time  `json:"since"`
	Owner     string     `json:"owner,omitempty"`
	Why       string     `json:"why,omitempty"`
	Node      string     `json:"node"`
	Host      string     `json:"host"`
	Delegated bool       `json:"delegated,omitempty"`
}

func restLockOf(l Lock) restLock {
	name := l.Resource.String()
	return restLock{
		LockID: l.ID, Resource: name, Bytes: trueBytes(name), Mode: l.Mode, Permits: l.Permits, Token: l.Token, Expires: l.Expires,
		State: l.State, Position: l.Position, Since: l.Since, Owner: l.Owner, Why: l.Why, Node: l.Node, Host: l.Host, Delegated: l.Delegated,
	}
}

// restFailure is the body of every answer to a script that is not 200.
type restFailure struct {
	Error   string     `json:"error"`
	Code    int        `json:"code"`
	Message string     `json:"message"`
	Holders []restLock `json:"holders,omitempty"` // of a lock that is held
	Waiting int        `json:"waiting,omitempty"` // how many wait for it

	Current *FileVersion `json:"current,omitempty"` // of a put that wants something else: what is there
}

// What only scripts can meet.
var (
	errNoToken = errors.New("permission denied")
	errForeign = errors.New("refused")
)

// restCodes says how each failure is told: its name and number (those of RaftLock's API, which scripts may know), and the status. The
// first that fits counts.
var restCodes = []struct {
	err    error
	name   string
	code   int
	status int
}{
	{ErrHeldElsewhere, "LOCK_HELD", 101, http.StatusConflict},
	{ErrNotHeld, "LOCK_NOT_HELD", 102, http.StatusConflict},
	{errChanged, "VERSION_MISMATCH", 104, http.StatusPreconditionFailed},
	{ErrNotFound, "LOCK_NOT_FOUND", 105, http.StatusNotFound},
	{errTTL, "INVALID_TTL", 106, http.StatusBadRequest},
	{ErrQueueFull, "WAIT_QUEUE_FULL", 107, http.StatusTooManyRequests},
	{ErrNoMajority, "NO_LEADER", 202, http.StatusServiceUnavailable},
	{ErrTimeout, "TIMEOUT", 301, http.StatusGatewayTimeout},
	{context.DeadlineExceeded, "TIMEOUT", 301, http.StatusGatewayTimeout},
	{ErrNoLocks, "UNAVAILABLE", 303, http.StatusServiceUnavailable},
	{context.Canceled, "UNAVAILABLE", 303, http.StatusServiceUnavailable}, // the daemon ends
	{ErrNoFile, "FILE_NOT_FOUND", 601, http.StatusNotFound},
	{ErrNotAFile, "NOT_A_FILE", 602, http.StatusConflict},
	{ErrNotSynced, "NOT_SYNCED", 603, http.StatusConflict},
	{ErrPaused, "PAUSED", 604, http.StatusConflict},
	{ErrTooLarge, "FILE_TOO_LARGE", 605, http.StatusRequestEntityTooLarge},
	{ErrNoSpace, "NO_SPACE", 606, http.StatusInsufficientStorage},
	{ErrBadArgument, "INVALID_ARGUMENT", 305, http.StatusBadRequest},
	{errNoToken, "PERMISSION_DENIED", 306, http.StatusUnauthorized},
	{errForeign, "PERMISSION_DENIED", 306, http.StatusForbidden},
}

// restFailureOf tells a script what went wrong.
func restFailureOf(err error) (restFailure, int) {
	f, status := restFailure{Error: "INTERNAL_ERROR", Code: 304, Message: err.Error()}, http.StatusInternalServerError
	for _, c := range restCodes {
		if errors.Is(err, c.err) {
			f.Error, f.Code, status = c.name, c.code, c.status
			break
		}
	}
	if held := (*HeldError)(nil); errors.As(err, &held) {
		for _, l := range held.Holders {
			f.Holders = append(f.Holders, restLockOf(l))
		}
		f.Waiting = held.Waiting
	}
	if changed := (*ChangedError)(nil); errors.As(err, &changed) {
		f.Current = changed.Current
	}
	return f, status
}
