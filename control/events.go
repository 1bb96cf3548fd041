package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

const (
	routeEvents = "/v1/events"
	routeAudit  = "/v1/audit"
)

// The kinds of events that no record of the audit tells; the others have its names (docs/events.md).
const (
	EventListening = "listening" // the first one: from here on events are told
	EventLost      = "lost"      // so many were not told: who reads is too slow
	EventPeerUp    = "peer-up"
	EventPeerDown  = "peer-down"
	EventHeld      = "held"
	EventPaused    = "paused"
	EventResumed   = "resumed"
)

// An Event is something that happened: on this node as it happens, or in its audit. Which fields are there depends on its kind.
type Event struct {
	Time  time.Time `json:"time"`
	Kind  string    `json:"kind"`
	Path  string    `json:"path,omitempty"`
	What  string    `json:"what,omitempty"`  // what stands there: "file", "directory", "symlink", "deleted"
	Hash  string    `json:"hash,omitempty"`  // how the hash of a file's content begins
	From  string    `json:"from,omitempty"`  // of a move: the path before
	Copy  string    `json:"copy,omitempty"`  // of a conflict: where the other version is kept
	Count uint64    `json:"count,omitempty"` // how many entries an operation on a whole directory covers; of what was held, lost, dropped; of paths that were locked as one

	Peer   *NodeName `json:"peer,omitempty"`   // who handed it on; or who came or went
	Author *NodeName `json:"author,omitempty"` // who made it: with a peer, as that one says
	Stamp  uint64    `json:"stamp,omitempty"`  // the author's
	Claim  string    `json:"claim,omitempty"`  // where it is said to be this node's own: "not known" to it, or "never made"
	Token  string    `json:"token,omitempty"`  // GENERATION.INDEX of the lock it was made under

	Name      string     `json:"name,omitempty"`      // of a lock on a name
	Mode      string     `json:"mode,omitempty"`      // of a lock
	Delegated bool       `json:"delegated,omitempty"` // of a lock: kept after use, and given up when somebody asks
	Cause     string     `json:"cause,omitempty"`     // in words
	Until     *time.Time `json:"until,omitempty"`     // of a pause that has an end
}

// A NodeName is a node, as a person would call it.
type NodeName struct {
	ID   string `json:"id"`
	Name string `json:"name,omitempty"` // "": not known here
}

// An Audited is a record of the audit.
type Audited struct {
	Event
	Number uint64 // from 1
	Chain  string // its hash, which stands for all before it, too
	Broken bool   // it is not as it was written
}

// An AuditPlace is where a node's audit lies.
type AuditPlace struct {
	State     string `json:"state"`           // the node's state directory
	Unwritten int    `json:"unwritten"`       // records that could not be written yet
	Cause     string `json:"cause,omitempty"` // why not
}

// Audit implements [Daemon].
func (c *Client) Audit(ctx context.Context) (p AuditPlace, err error) {
	err = c.call(ctx, http.MethodPost, routeAudit, nil, &p)
	return p, err
}

// Events implements [Daemon]. When the daemon ends, it returns ErrNoDaemon.
func (c *Client) Events(ctx context.Context, report func(Event) error) error {
	resp, err := c.send(ctx, http.MethodGet, routeEvents, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for lines := json.NewDecoder(resp.Body); ; {
		var e Event
		err := lines.Decode(&e)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return fmt.Errorf("%w any more: it has ended", ErrNoDaemon)
		case err != nil:
			return c.transportError(err)
		}
		if err := report(e); err != nil {
			return err
		}
	}
}

// events answers with a line of JSON for each event; or as server-sent events (HTML Living Standard, 9.2), where these are asked for.
func (s *server) events(w http.ResponseWriter, r *http.Request) {
	lines, flusher := json.NewEncoder(w), http.NewResponseController(w)
	lines.SetEscapeHTML(false)
	before, after, kind := "", "", "application/x-ndjson"
	if strings.Contains(r.Header.Get("Accept"), "text/event-stream") {
		before, after, kind = "data: ", "\n", "text/event-stream"
	}
	begun := false
	err := s.d.Events(r.Context(), func(e Event) error {
		if !begun {
			begun = true
			w.Header().Set("Content-Type", kind)
			w.Header().Set("Cache-Control", "no-store")
		}
		prefix := before
		if prefix != "" {
			prefix = "event: " + e.Kind + "\n" + prefix
		}
		_, err := io.WriteString(w, prefix)
		if err == nil {
			err = lines.Encode(e)
		}
		if err == nil {
			_, err = io.WriteString(w, after)
		}
		return errors.Join(err, flusher.Flush())
	})
	switch {
	case r.Context().Err() != nil: // either side has ended
	case !begun:
		s.answer(func(*http.Request) (any, error) { return nil, err })(w, r)
	default:
		s.log.Warn("could not answer a control call", "call", r.URL.Path, "err", err)
	}
}
