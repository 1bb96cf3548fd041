package control

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// Resolver is what a daemon offers to end conflicts: of such a path there are versions whose authors had not seen each
// other's. One has the name, the others are its conflict copies. The path that a method takes is that of any of them. Where
// there is no conflict, the error is ErrNotFound; where one copy is wanted, and the path is that of several, ErrBadArgument.
type Resolver interface {
	// Conflicts lists those of which a version is at or below path.
	Conflicts(ctx context.Context, path string) ([]Conflict, error)
	// Conflict tells all of one, which takes reading its versions.
	Conflict(ctx context.Context, path string) (Conflict, error)
	// ConflictDiff writes what makes the copy of what has the name to w, as "diff -u" does; of several copies one after the
	// other.
	ConflictDiff(ctx context.Context, path string, w io.Writer) error
	// ConflictText writes the content of the file at path, which must be a version, to w.
	ConflictText(ctx context.Context, path string, w io.Writer) error
	// ConflictBase writes the content that both a conflict copy, at path, and what has the name were made of to w. The error wraps
	// ErrNotFound where it is not known.
	ConflictBase(ctx context.Context, path string, w io.Writer) error
	// Resolve ends a conflict in one of the three ways. What is not kept is in the history afterwards.
	Resolve(ctx context.Context, path string, keep Keep) (Resolved, error)
	// ResolveMerged ends a conflict with one copy: what r has, which was made of the versions that c tells of, is put at
	// the name. Both of these are in the history afterwards. It fails if they are others by now.
	ResolveMerged(ctx context.Context, c Conflict, r io.Reader) (Resolved, error)
}

// Keep is a way to end a conflict.
type Keep string

// The ways. Mine and Both are about all copies, where the path is that of what has the name.
const (
	KeepMine   Keep = "mine"   // what has the name keeps it
	KeepTheirs Keep = "theirs" // the copy gets the name
	KeepBoth   Keep = "both"   // the copy becomes a file like any other, with a plain name
)

// A Conflict is a path and its versions.
type Conflict struct {
	Path   string            `json:"path"`
	Mine   *ConflictVersion  `json:"mine"`   // what has the name; null: nothing does
	Copies []ConflictVersion `json:"copies"` // the earliest first
}

// A ConflictVersion is one of the versions of a path. Node and Time tell who made it, and when, as that node's clock was.
type ConflictVersion struct {
	Path   string     `json:"path"` // where it stands
	Node   string     `json:"node"` // short ID
	Name   string     `json:"name"` // of the node; "": not known here
	Time   time.Time  `json:"time"`
	Kind   string     `json:"kind"`
	Size   int64      `json:"size"`
	MTime  *time.Time `json:"mtime,omitempty"`
	Hash   string     `json:"hash,omitempty"`   // of a file's content
	Target string     `json:"target,omitempty"` // of a symlink
	Text   string     `json:"text,omitempty"`   // of a file, once it was read: "yes", or why it cannot be compared
}

// Resolved is how a conflict ended.
type Resolved struct {
	Path   string         `json:"path"`
	Keep   string         `json:"keep"` // a Keep, or "merged"
	Copies []ResolvedCopy `json:"copies"`
}

// A ResolvedCopy is what became of a conflict copy.
type ResolvedCopy struct {
	Path string `json:"path"`
	Now  string `json:"now,omitempty"` // its new name; "": it is in the history
}

const (
	routeConflicts     = "/v1/conflicts"
	routeConflict      = "/v1/conflicts/show"
	routeConflictDiff  = "/v1/conflicts/diff"
	routeConflictText  = "/v1/conflicts/text"
	routeConflictBase  = "/v1/conflicts/base"
	routeResolve       = "/v1/conflicts/resolve"
	routeResolveMerged = "/v1/conflicts/merged"
)

// ConflictDiff implements [Resolver].
func (c *Client) ConflictDiff(ctx context.Context, path string, w io.Writer) error {
	return c.copyFrom(ctx, routeConflictDiff, path, w)
}

// ConflictText implements [Resolver].
func (c *Client) ConflictText(ctx context.Context, path string, w io.Writer) error {
	return c.copyFrom(ctx, routeConflictText, path, w)
}

// ConflictBase implements [Resolver].
func (c *Client) ConflictBase(ctx context.Context, path string, w io.Writer) error {
	return c.copyFrom(ctx, routeConflictBase, path, w)
}

// copyFrom writes the bytes that a call answers with to w.
func (c *Client) copyFrom(ctx context.Context, route, path string, w io.Writer) error {
	resp, err := c.send(ctx, http.MethodGet, route, url.Values{"path": {path}})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, resp.Body); err != nil {
		return c.transportError(err)
	}
	return nil
}

// ResolveMerged implements [Resolver].
func (c *Client) ResolveMerged(ctx context.Context, of Conflict, r io.Reader) (done Resolved, err error) {
	if of.Mine == nil || len(of.Copies) != 1 {
		return done, fmt.Errorf("merge %s: want what has the name, and one copy: %w", of.Path, ErrBadArgument)
	}
	theirs := of.Copies[0]
	q := url.Values{"path": {of.Path}, "mine": {of.Mine.Hash}, "copy": {theirs.Path}, "theirs": {theirs.Hash}}
	resp, err := c.do(ctx, http.MethodPost, routeResolveMerged+"?"+q.Encode(), "application/octet-stream", r)
	if err != nil {
		return done, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&done); err != nil {
		return done, c.transportError(err)
	}
	return done, nil
}

// Conflicts implements [Resolver].
func (c *Client) Conflicts(ctx context.Context, path string) (list []Conflict, err error) {
	err = c.call(ctx, http.MethodGet, routeConflicts, url.Values{"path": {path}}, &list)
	return list, err
}

// Conflict implements [Resolver].
func (c *Client) Conflict(ctx context.Context, path string) (one Conflict, err error) {
	err = c.call(ctx, http.MethodGet, routeConflict, url.Values{"path": {path}}, &one)
	return one, err
}

// Resolve implements [Resolver].
func (c *Client) Resolve(ctx context.Context, path string, keep Keep) (done Resolved, err error) {
	err = c.call(ctx, http.MethodPost, routeResolve, url.Values{"path": {path}, "keep": {string(keep)}}, &done)
	return done, err
}

// resolverRoutes adds the calls of a Resolver.
func resolverRoutes(s *server, mux *http.ServeMux, d Resolver) {
	mux.HandleFunc("GET "+routeConflicts, s.answer(func(r *http.Request) (any, error) {
		list, err := d.Conflicts(r.Context(), r.Form.Get("path"))
		return notNil(list), err
	}))
	mux.HandleFunc("GET "+routeConflict, s.answer(func(r *http.Request) (any, error) {
		return orError(d.Conflict(r.Context(), r.Form.Get("path")))
	}))
	mux.HandleFunc("POST "+routeResolve, s.answer(func(r *http.Request) (any, error) {
		switch keep := Keep(r.Form.Get("keep")); keep {
		case KeepMine, KeepTheirs, KeepBoth:
			return orError(d.Resolve(r.Context(), r.Form.Get("path"), keep))
		default:
			return nil, fmt.Errorf("read keep %q: want mine, theirs or both: %w", keep, ErrBadArgument)
		}
	}))
	mux.HandleFunc("GET "+routeConflictDiff, s.bytes(d.ConflictDiff))
	mux.HandleFunc("GET "+routeConflictText, s.bytes(d.ConflictText))
	mux.HandleFunc("GET "+routeConflictBase, s.bytes(d.ConflictBase))
	mux.HandleFunc("POST "+routeResolveMerged, func(w http.ResponseWriter, r *http.Request) {
		body := r.Body // before answer bounds it: it goes to the disk, not into memory
		s.answer(func(r *http.Request) (any, error) {
			of := Conflict{Path: r.Form.Get("path"), Mine: &ConflictVersion{Path: r.Form.Get("path"), Hash: r.Form.Get("mine")}}
			of.Copies = []ConflictVersion{{Path: r.Form.Get("copy"), Hash: r.Form.Get("theirs")}}
			return orError(d.ResolveMerged(r.Context(), of, body))
		})(w, r)
	})
}

// bytes makes a handler of a call that takes "path" and answers with bytes. After the first of them no error can be told any
// more: the answer then ends too early.
func (s *server) bytes(do func(ctx context.Context, path string, w io.Writer) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		begun := &answerWriter{w: w}
		err := do(r.Context(), r.URL.Query().Get("path"), begun)
		switch {
		case err == nil:
		case begun.written:
			panic(http.ErrAbortHandler) // what the server has for it
		default:
			s.answer(func(*http.Request) (any, error) { return nil, err })(w, r)
		}
	}
}

// An answerWriter knows whether an answer has begun.
type answerWriter struct {
	w       http.ResponseWriter
	written bool
}

func (a *answerWriter) Write(p []byte) (int, error) {
	if !a.written {
		a.w.Header().Set("Content-Type", "application/octet-stream")
		a.written = true
	}
	return a.w.Write(p)
}
