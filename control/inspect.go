package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// MaxTreePage is the most entries that one page of a tree holds.
const MaxTreePage = 1024

// A TreeQuery asks for a page of a tree: names in ascending order, a directory before what lies in it.
type TreeQuery struct {
	Path    string
	After   string // the last path of the page before; "": from the beginning, which is Path itself
	Depth   int    // levels below Path; 0: all
	Deleted bool   // list tombstones too
	Limit   int    // entries; 0 or more than MaxTreePage: MaxTreePage
}

// A TreePage is a page of a tree. Between two pages the tree may change.
type TreePage struct {
	Entries []TreeEntry `json:"entries"`
	More    bool        `json:"more"` // there may be another page
}

// A TreeEntry is what is agreed of one path.
type TreeEntry struct {
	Path   string     `json:"path"` // "": the folder itself
	Kind   string     `json:"kind"` // "file", "directory", "symlink", "deleted"
	Mode   string     `json:"mode,omitempty"`
	Size   int64      `json:"size"` // of a file; of a directory that of all files below
	MTime  *time.Time `json:"mtime,omitempty"`
	Hash   string     `json:"hash,omitempty"`   // of a file's content
	Target string     `json:"target,omitempty"` // of a symlink
	Below  *Roots     `json:"below,omitempty"`  // of a directory: the hashes over what lies below it
}

// Why is all that is known of a path.
type Why struct {
	Path  string `json:"path"`
	Known bool   `json:"known"` // something is agreed, or on its way to be
	// State is one of "agreed", "deleted", "changed", "incoming", "held", "not synced", "not here", "ignored", "own",
	// "unknown".
	State   string `json:"state"`
	Cause   string `json:"cause"` // in a sentence
	Remedy  string `json:"remedy,omitempty"`
	Ignored string `json:"ignored,omitempty"` // the rule by which the path is ignored, and where it stands

	Agreed    *Agreed   `json:"agreed,omitempty"`
	Recorded  *Seen     `json:"recorded,omitempty"` // as the path was left or last read
	Found     *Seen     `json:"found,omitempty"`    // as it is now
	FoundFail string    `json:"found_error,omitempty"`
	Incoming  []Pending `json:"incoming"`
	Held      *Held     `json:"held,omitempty"`
	Problem   *Problem  `json:"problem,omitempty"`
	Peers     []PeerHas `json:"peers"`
	Kept      int       `json:"kept"` // earlier versions in the history
}

// Agreed is an entry with its version.
type Agreed struct {
	Kind    string     `json:"kind"`
	Mode    string     `json:"mode,omitempty"`
	Size    int64      `json:"size"`
	MTime   *time.Time `json:"mtime,omitempty"`
	Hash    string     `json:"hash,omitempty"` // of a file's content
	Target  string     `json:"target,omitempty"`
	Below   *Roots     `json:"below,omitempty"`  // of a directory
	Xattrs  []string   `json:"xattrs,omitempty"` // their names
	Owner   string     `json:"owner,omitempty"`
	Link    string     `json:"link,omitempty"` // of a file with several names: what its names share
	Entry   string     `json:"entry"`          // hash over all of the entry: equal on all nodes that have this version
	Author  StampOf    `json:"author"`
	Content StampOf    `json:"content"`                   // the operation that made the content: another than Author where that changed metadata alone
	Token   string     `json:"token"`                     // GENERATION.INDEX of the lock it was made under; "0": none
	Vector  []StampOf  `json:"vector"`                    // for each node, the newest operation that this version has seen
	Hint    *time.Time `json:"directory_mtime,omitempty"` // as it was announced; no part of the version
}

// StampOf is an operation of a node.
type StampOf struct {
	Node  string    `json:"node"`           // full ID
	Name  string    `json:"name,omitempty"` // "": not known here
	Stamp uint64    `json:"stamp"`
	Time  time.Time `json:"time"` // the stamp as a time: that of the operation, or later
}

// Seen is something on disk.
type Seen struct {
	Kind    string    `json:"kind"`
	Mode    string    `json:"mode"`
	Size    int64     `json:"size"`
	MTime   time.Time `json:"mtime"`
	Inode   uint64    `json:"inode"`
	Target  string    `json:"target,omitempty"`
	Suspect bool      `json:"suspect,omitempty"` // recorded: to be read again before it counts
}

// Pending is a version that a peer has announced and that is not in place yet.
type Pending struct {
	Kind   string    `json:"kind"`
	Size   int64     `json:"size"`
	Hash   string    `json:"hash,omitempty"`
	Author StampOf   `json:"author"`
	From   []string  `json:"from"` // peers
	Since  time.Time `json:"since"`
	Waits  string    `json:"waits"` // for what
}

// PeerHas tells whether a peer has exactly the version that is agreed here.
type PeerHas struct {
	ID        string `json:"id"`
	Name      string `json:"name,omitempty"`
	Connected bool   `json:"connected"`
	Has       string `json:"has"` // "yes", "no", "not known"
	Cause     string `json:"cause"`
}

// CheckOptions say how deep a check goes, and whether it mends.
type CheckOptions struct {
	Read   bool // read every file, and compare its content
	Repair bool // put right what differs
}

// A CheckReport is one of the three.
type CheckReport struct {
	Difference *Difference   `json:"difference,omitempty"`
	Progress   *Progress     `json:"progress,omitempty"`
	Summary    *CheckSummary `json:"summary,omitempty"`
}

// A Difference is something that is not as it is recorded.
type Difference struct {
	Path     string `json:"path"` // "": the index as a whole
	What     string `json:"what"` // "index", "record", "blocks", "missing", "unknown", "changed", "content", "unreadable"
	Expected string `json:"expected"`
	Found    string `json:"found"`
	Repair   string `json:"repair,omitempty"` // what was done about it; without Repair: what can be
	Mended   bool   `json:"mended"`           // nothing more has to be done
}

// A CheckSummary ends a check.
type CheckSummary struct {
	Files       int   `json:"files"`
	Directories int   `json:"directories"`
	Symlinks    int   `json:"symlinks"`
	BytesRead   int64 `json:"bytes_read"`
	Differences int   `json:"differences"`
	Mended      int   `json:"mended"`
}

// Tree implements [Daemon].
func (c *Client) Tree(ctx context.Context, q TreeQuery) (TreePage, error) {
	form := url.Values{"path": {q.Path}, "after": {q.After}, "depth": {strconv.Itoa(q.Depth)}, "limit": {strconv.Itoa(q.Limit)},
		"deleted": {strconv.FormatBool(q.Deleted)}}
	var page TreePage
	err := c.call(ctx, http.MethodGet, routeTree, form, &page)
	return page, err
}

// Why implements [Daemon].
func (c *Client) Why(ctx context.Context, path string) (Why, error) {
	var w Why
	err := c.call(ctx, http.MethodGet, routeWhy, url.Values{"path": {path}}, &w)
	return w, err
}

// checkLine is a line of the answer to check: a report, or why there are no more.
type checkLine struct {
	CheckReport
	Failure *failure `json:"failure,omitempty"`
}

// Check implements [Daemon].
func (c *Client) Check(ctx context.Context, o CheckOptions, report func(CheckReport) error) error {
	form := url.Values{"read": {strconv.FormatBool(o.Read)}, "repair": {strconv.FormatBool(o.Repair)}}
	resp, err := c.send(ctx, http.MethodPost, routeCheck, form)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for lines := json.NewDecoder(resp.Body); ; {
		var line checkLine
		if err := lines.Decode(&line); err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("it ended before the check did")
			}
			return c.transportError(err)
		}
		if line.Failure != nil {
			return decodeError(*line.Failure)
		}
		if err := report(line.CheckReport); err != nil {
			return err
		}
		if line.Summary != nil {
			return nil
		}
	}
}

// tree takes "path", "after", "depth", "limit" and "deleted".
func (s *server) tree(r *http.Request) (any, error) {
	q := TreeQuery{Path: r.Form.Get("path"), After: r.Form.Get("after"), Deleted: r.Form.Get("deleted") == "true"}
	for name, into := range map[string]*int{"depth": &q.Depth, "limit": &q.Limit} {
		text := r.Form.Get(name)
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("read %s %q: want a number: %w", name, text, ErrBadArgument)
		}
		*into = n
	}
	page, err := s.d.Tree(r.Context(), q)
	page.Entries = notNil(page.Entries)
	return page, err
}

func (s *server) why(r *http.Request) (any, error) {
	w, err := s.d.Why(r.Context(), r.Form.Get("path"))
	w.Incoming, w.Peers = notNil(w.Incoming), notNil(w.Peers)
	return w, err
}

// check takes "read" and "repair", and answers with a line for each report: a check may take long, and find much.
func (s *server) check(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBodyBytes)
	if err := r.ParseForm(); err != nil {
		s.answer(func(*http.Request) (any, error) { return nil, err })(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	lines, flusher := json.NewEncoder(w), http.NewResponseController(w)
	tell := func(line checkLine) error { return errors.Join(lines.Encode(line), flusher.Flush()) }
	o := CheckOptions{Read: r.Form.Get("read") == "true", Repair: r.Form.Get("repair") == "true"}
	err := s.d.Check(r.Context(), o, func(report CheckReport) error { return tell(checkLine{CheckReport: report}) })
	if err == nil {
		return
	}
	f, _ := encodeError(err)
	if err := tell(checkLine{Failure: &f}); err != nil && r.Context().Err() == nil {
		s.log.Warn("could not answer a control call", "call", r.URL.Path, "err", err)
	}
}
