package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"
)

// What scripts are bound by. A body has a path and a few words; a page of locks as many as a person would read.
const (
	maxRESTBody     = 16 << 10
	restBodyTimeout = 10 * time.Second
	answerTimeout   = 30 * time.Second // for an answer to be taken
	restMaxTTL      = 24 * time.Hour
	restMaxWait     = 10 * time.Minute
	restTTL         = 30 * time.Second // where none is asked for
	restPage        = 100
	restMaxPage     = 1000
)

// rest answers scripts: plain JSON over HTTP, as docs/rest.md has it.
type rest struct {
	d   Daemon
	l   Locker
	f   Files // nil: none
	log *slog.Logger
}

// restRoutes adds the calls of scripts.
func restRoutes(s *rest, mux *http.ServeMux) {
	s.handle(mux, http.MethodPost, "/lock", s.lock)
	s.handle(mux, http.MethodPost, "/unlock", s.unlock)
	s.handle(mux, http.MethodPost, "/renew", s.renew)
	s.handle(mux, http.MethodGet, "/locks", s.locks)
	s.handle(mux, http.MethodGet, "/locks/{resource...}", s.locks)
	s.handle(mux, http.MethodGet, "/status", s.status)
	s.handle(mux, http.MethodGet, "/health", s.health)
	if s.f != nil {
		fileRoutes(s, mux)
	}
}

// handle has answer answer a method of a path, and refuses the others in the form of all failures.
func (s *rest) handle(mux *http.ServeMux, method, path string, answer func(*http.Request) (any, error)) {
	mux.HandleFunc(method+" "+path, func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxRESTBody)
		// Not the server's ReadTimeout and WriteTimeout: those would go on to end a long wait.
		rc := http.NewResponseController(w)
		_ = rc.SetReadDeadline(time.Now().Add(restBodyTimeout))
		body, err := io.ReadAll(r.Body) // to its end, or nobody would see the client go
		_ = rc.SetReadDeadline(time.Time{})
		var v any
		if err != nil {
			err = fmt.Errorf("read the body, of at most %d bytes: %w: %w", maxRESTBody, err, ErrBadArgument)
		} else {
			v, err = answer(r.WithContext(context.WithValue(r.Context(), bodyKey{}, body)))
		}
		status := http.StatusOK
		if err != nil {
			v, status = restFailureOf(err)
		}
		s.write(w, r, status, v)
	})
	mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", method)
		f, _ := restFailureOf(fmt.Errorf("%s %s: want %s: %w", r.Method, path, method, ErrBadArgument))
		s.write(w, r, http.StatusMethodNotAllowed, f)
	})
}

// write sends an answer, within a time.
func (s *rest) write(w http.ResponseWriter, r *http.Request, status int, v any) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTimeout))
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil && r.Context().Err() == nil {
		s.log.Warn("could not answer a script", "call", r.URL.Path, "err", err)
	}
}

// lockBody asks for a lock.
type lockBody struct {
	Resource  string   `json:"resource"`
	TTL       *seconds `json:"ttl"`
	Wait      seconds  `json:"wait"`
	RequestID string   `json:"request_id"`
	Shared    bool     `json:"shared"`
	Permits   int      `json:"permits"`
	Owner     string   `json:"owner"`
	Why       string   `json:"why"`
}

// request is the LockRequest that it means. A lock of a script is bound to no node: it can be renewed and let go through any.
func (b lockBody) request() (LockRequest, error) {
	on, err := ParseResource(b.Resource)
	if err != nil {
		return LockRequest{}, err
	}
	q := LockRequest{
		RequestID: b.RequestID, Resource: on, Shared: b.Shared, Permits: b.Permits, TTL: restTTL, Wait: time.Duration(b.Wait),
		Owner: b.Owner, Why: b.Why,
	}
	if b.TTL != nil {
		q.TTL = time.Duration(*b.TTL)
	}
	switch {
	case q.TTL > restMaxTTL:
		return q, fmt.Errorf("ttl of %v: at most %v: %w", q.TTL, restMaxTTL, errTTL)
	case q.Wait > restMaxWait:
		return q, fmt.Errorf("wait of %v: want at most %v: %w", q.Wait, restMaxWait, ErrBadArgument)
	}
	return q, q.Check()
}

func (s *rest) lock(r *http.Request) (any, error) {
	var b lockBody
	if err := decodeBody(bodyOf(r), &b); err != nil {
		return nil, err
	}
	q, err := b.request()
	if err != nil {
		return nil, err
	}
	lock, err := grant(r.Context(), s.l, q)
	return restLockOf(lock), err
}

// renewBody asks for more time.
type renewBody struct {
	LockID string   `json:"lock_id"`
	TTL    *seconds `json:"ttl"`
}

func (s *rest) renew(r *http.Request) (any, error) {
	var b renewBody
	if err := decodeBody(bodyOf(r), &b); err != nil {
		return nil, err
	}
	ttl := restTTL
	if b.TTL != nil {
		ttl = time.Duration(*b.TTL)
	}
	if ttl > restMaxTTL {
		return nil, fmt.Errorf("ttl of %v: at most %v: %w", ttl, restMaxTTL, errTTL)
	}
	if err := errors.Join(checkTTL(ttl), checkLockID(b.LockID)); err != nil {
		return nil, err
	}
	lock, err := s.l.Renew(r.Context(), b.LockID, ttl)
	return restLockOf(lock), err
}

// unlockBody lets a lock go.
type unlockBody struct {
	LockID string `json:"lock_id"`
}

func (s *rest) unlock(r *http.Request) (any, error) {
	var b unlockBody
	if err := decodeBody(bodyOf(r), &b); err != nil {
		return nil, err
	}
	if err := checkLockID(b.LockID); err != nil {
		return nil, err
	}
	return map[string]bool{"released": true}, s.l.Unlock(r.Context(), b.LockID)
}

// restLocks is a page of what is held and waited for.
type restLocks struct {
	Locks []restLock `json:"locks"`
	Total int        `json:"total"`
	More  bool       `json:"has_more"`
}

// locks lists what overlaps the resource in the path, or everything.
func (s *rest) locks(r *http.Request) (any, error) {
	var on Resource
	if err := on.UnmarshalText([]byte(r.PathValue("resource"))); err != nil {
		return nil, err
	}
	limit, err := queryNumber(r, "limit", restPage)
	if err != nil {
		return nil, err
	}
	offset, err := queryNumber(r, "offset", 0)
	if err != nil {
		return nil, err
	}
	list, err := s.l.Locks(r.Context(), on)
	if err != nil {
		return nil, err
	}
	page := restLocks{Locks: []restLock{}, Total: len(list)}
	first := min(offset, len(list))
	last := first + min(limit, restMaxPage, len(list)-first)
	for _, l := range list[first:last] {
		page.Locks = append(page.Locks, restLockOf(l))
	}
	page.More = last < len(list)
	return page, nil
}

func queryNumber(r *http.Request, name string, otherwise int) (int, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("read %s %q: want a number: %w", name, text, ErrBadArgument)
	}
	return n, nil
}

// restStatus is how it stands with this node and with the locks.
type restStatus struct {
	Node    string `json:"node"`
	Version string `json:"version"`
	State   string `json:"state"` // of the folder, as resonate status has it
	Locks   Quorum `json:"locks"`
}

func (s *rest) status(r *http.Request) (any, error) {
	st, err := s.d.Status(r.Context())
	if err != nil {
		return nil, err
	}
	q, err := s.l.Quorum(r.Context())
	q.Voters = notNil(q.Voters)
	return restStatus{st.Node, st.Version, st.State, q}, err
}

// health succeeds when locks are granted.
func (s *rest) health(r *http.Request) (any, error) {
	q, err := s.l.Quorum(r.Context())
	if err == nil && !q.Majority {
		err = ErrNoMajority
		if q.Line != "" {
			err = fmt.Errorf("%w: %s", ErrNoMajority, q.Line)
		}
	}
	return map[string]string{"health": "ok"}, err
}
