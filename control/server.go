package control

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

const (
	maxHeaderBytes = 16 << 10
	maxBodyBytes   = 4 << 20 // some ten thousand paths to approve
	headerTimeout  = 5 * time.Second
	bodyTimeout    = 30 * time.Second
	idleTimeout    = 2 * time.Minute
	// endTimeout is what calls in progress get to send their answer when the daemon ends.
	endTimeout = 300 * time.Millisecond
)

// Serve answers calls on ln, those of scripts too, for d and, unless they are nil, c, l and f until ctx ends, and closes ln. Calls in progress
// see ctx end. It returns nil after ctx ended, else why it could not go on.
func Serve(ctx context.Context, ln net.Listener, d Daemon, c Cluster, l Locker, f Files, log *slog.Logger) error {
	if l == nil {
		l = noLocks{}
	}
	s := &server{d: d, c: c, log: log}
	mux := s.routes()
	lockRoutes(s, mux, l)
	restRoutes(&rest{d: d, l: l, f: f, log: log}, mux)
	if err := serve(ctx, ln, mux, log); err != nil {
		return fmt.Errorf("serve the control socket: %w", err)
	}
	return nil
}

// serve answers with h on ln until ctx ends (nil), or until it cannot go on.
func serve(ctx context.Context, ln net.Listener, h http.Handler, log *slog.Logger) error {
	hs := &http.Server{
		Handler:           h,
		MaxHeaderBytes:    maxHeaderBytes,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
		defer cancel()
		if hs.Shutdown(grace) != nil {
			hs.Close()
		}
	})
	err := hs.Serve(ln)
	if stop() {
		hs.Close()
		return err
	}
	<-ended
	return nil
}

type server struct {
	d   Daemon
	c   Cluster // nil: none
	log *slog.Logger
}

// call is one call of the API: it reads its parameters from r.Form and returns what to answer.
type call func(r *http.Request) (any, error)

func (s *server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+routeStatus, s.answer(s.status))
	mux.HandleFunc("POST "+routeWait, s.answer(s.wait))
	mux.HandleFunc("GET "+routeHistory, s.answer(s.history))
	mux.HandleFunc("POST "+routeRestore, s.answer(s.restore))
	mux.HandleFunc("GET "+routeHeld, s.answer(s.held))
	mux.HandleFunc("POST "+routeApprove, s.answer(s.onPaths(s.d.Approve)))
	mux.HandleFunc("POST "+routeRevert, s.answer(s.onPaths(s.d.Revert)))
	mux.HandleFunc("POST "+routePause, s.answer(s.pause))
	mux.HandleFunc("POST "+routeResume, s.answer(s.resume))
	mux.HandleFunc("GET "+routeTree, s.answer(s.tree))
	mux.HandleFunc("GET "+routeWhy, s.answer(s.why))
	mux.HandleFunc("POST "+routeCheck, s.check)
	mux.HandleFunc("GET "+routeEvents, s.events)
	mux.HandleFunc("POST "+routeAudit, s.answer(func(r *http.Request) (any, error) { return orError(s.d.Audit(r.Context())) }))
	mux.HandleFunc("GET "+routeIgnored, s.answer(s.ignored))
	mux.HandleFunc("POST "+routeIgnore, s.answer(onPatterns(s.d.Ignore)))
	mux.HandleFunc("POST "+routeUnignore, s.answer(onPatterns(s.d.Unignore)))
	resolverRoutes(s, mux, s.d)
	if s.c != nil {
		clusterRoutes(s, mux, s.c)
	}
	return mux
}

// answer makes a handler of a call: it bounds and parses the request, and writes the result or the error.
func (s *server) answer(c call) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBodyBytes)
		// Not the server's ReadTimeout: that one would go on to end a long wait.
		rc := http.NewResponseController(w)
		_ = rc.SetReadDeadline(time.Now().Add(bodyTimeout))
		var v any
		err := r.ParseForm()
		_ = rc.SetReadDeadline(time.Time{})
		if err != nil {
			err = fmt.Errorf("read request: %w: %w", err, ErrBadArgument)
		} else {
			v, err = c(r)
		}
		status := http.StatusOK
		if err != nil {
			v, status = encodeError(err)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		if err := json.NewEncoder(w).Encode(v); err != nil && r.Context().Err() == nil {
			s.log.Warn("could not answer a control call", "call", r.URL.Path, "err", err)
		}
	}
}

func (s *server) status(r *http.Request) (any, error) {
	st, err := s.d.Status(r.Context())
	// Scripts iterate over these: an empty list is [], never null.
	st.Peers, st.Held, st.Problems, st.Untaken = notNil(st.Peers), notNil(st.Held), notNil(st.Problems), notNil(st.Untaken)
	return st, err
}

// wait takes "path" and "timeout" (a Go duration). The daemon keeps the time, not the caller, so that the
// answer can say what was missing.
func (s *server) wait(r *http.Request) (any, error) {
	ctx := r.Context()
	if t := r.Form.Get("timeout"); t != "" {
		d, err := time.ParseDuration(t)
		if err != nil {
			return nil, fmt.Errorf("read timeout %q: %w: %w", t, err, ErrBadArgument)
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d)
		defer cancel()
	}
	return struct{}{}, s.d.Wait(ctx, r.Form.Get("path"))
}

func (s *server) history(r *http.Request) (any, error) {
	kept, err := s.d.History(r.Context(), r.Form.Get("path"))
	return notNil(kept), err
}

// restore takes "path" and "at" (RFC 3339, or absent).
func (s *server) restore(r *http.Request) (any, error) {
	path := r.Form.Get("path")
	if path == "" {
		return nil, fmt.Errorf("restore needs a path: %w", ErrBadArgument)
	}
	var at time.Time
	if t := r.Form.Get("at"); t != "" {
		var err error
		if at, err = time.Parse(time.RFC3339Nano, t); err != nil {
			return nil, fmt.Errorf("read time: %w: %w", err, ErrBadArgument)
		}
	}
	return orError(s.d.Restore(r.Context(), path, at))
}

func (s *server) held(r *http.Request) (any, error) {
	held, err := s.d.Held(r.Context())
	return notNil(held), err
}

// onPaths makes a call of Approve or Revert, whose paths come as any number of "path" values.
func (s *server) onPaths(do func(context.Context, []string) (int, error)) call {
	return func(r *http.Request) (any, error) {
		n, err := do(r.Context(), r.Form["path"])
		return counted{n}, err
	}
}

// pause takes "for" (a Go duration; "0s" has no end).
func (s *server) pause(r *http.Request) (any, error) {
	length, err := time.ParseDuration(r.Form.Get("for"))
	if err != nil {
		return nil, fmt.Errorf("read for %q: %w: %w", r.Form.Get("for"), err, ErrBadArgument)
	}
	return orError(s.d.Pause(r.Context(), length))
}

func (s *server) resume(r *http.Request) (any, error) {
	was, err := s.d.Resume(r.Context())
	return resumed{was}, err
}

func (s *server) ignored(r *http.Request) (any, error) {
	patterns, err := s.d.Ignored(r.Context())
	return notNil(patterns), err
}

// onPatterns makes a call of Ignore or Unignore, whose patterns come as any number of "pattern" values.
func onPatterns(do func(context.Context, []string) (int, error)) call {
	return func(r *http.Request) (any, error) {
		n, err := do(r.Context(), r.Form["pattern"])
		return counted{n}, err
	}
}

func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func orError[T any](v T, err error) (any, error) { return v, err }
