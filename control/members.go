package control

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Cluster is what one running node offers its user of the nodes that it belongs with. A node is named by its ID, by what its ID
// begins with, or by its name; one that cannot be told is ErrNotFound or, of several, ErrBadArgument.
type Cluster interface {
	// Members lists the members, this node first, and the forgotten ones last.
	Members(ctx context.Context) ([]Member, error)
	// Invite makes a code by which one other machine may join within ttl. An earlier code serves no more.
	Invite(ctx context.Context, ttl time.Duration) (Invitation, error)
	// CancelInvitation ends the open invitation, and tells whether there was one.
	CancelInvitation(ctx context.Context) (bool, error)
	// Forget makes a node no member any more, for good, and returns what it was.
	Forget(ctx context.Context, node string) (Member, error)
	// Rename gives a member a name, on all nodes.
	Rename(ctx context.Context, node, name string) (Member, error)
	// Trust makes the owners of keys, as lines of authorized_keys(5), members.
	Trust(ctx context.Context, keys string) ([]Member, error)
	// Leave makes this node no member any more, and tells the others.
	Leave(ctx context.Context) error
}

// Member is a node that belongs to the cluster, or did.
type Member struct {
	ID        string     `json:"id"`
	Short     string     `json:"short"`
	Name      string     `json:"name"`
	Key       string     `json:"key"`               // as a line of authorized_keys(5)
	Self      bool       `json:"self"`              // this node
	Witness   bool       `json:"witness,omitempty"` // it has no folder, and is there to vote on locks
	Addresses []string   `json:"addresses"`         // HOST:PORT, as the node itself tells
	State     string     `json:"state"`             // as Peer.State; "this node", "forgotten", or "" where it was never reached
	Since     *time.Time `json:"since,omitempty"`   // of State
	Lacks     Work       `json:"lacks"`             // what is still to be sent to it
	Gives     Work       `json:"gives"`             // what is still to be received from it
	InSync    bool       `json:"in_sync"`
	Error     string     `json:"error,omitempty"` // why it is not connected

	AdmittedBy  string     `json:"admitted_by,omitempty"` // name
	Admitted    *time.Time `json:"admitted,omitempty"`
	ForgottenBy string     `json:"forgotten_by,omitempty"` // name
	Forgotten   *time.Time `json:"forgotten,omitempty"`
}

// Invitation is a code that serves once.
type Invitation struct {
	Code      string    `json:"code"`
	Until     time.Time `json:"until"`
	Addresses []string  `json:"addresses"` // HOST:PORT of this node, the likeliest first
}

const (
	routeMembers = "/v1/members"
	routeForget  = "/v1/members/forget"
	routeRename  = "/v1/members/rename"
	routeTrust   = "/v1/members/trust"
	routeLeave   = "/v1/leave"
	routeInvite  = "/v1/invite"
	routeCancel  = "/v1/invite/cancel"
)

// cancelled is the answer to cancel.
type cancelled struct {
	Cancelled bool `json:"cancelled"`
}

// clusterRoutes adds the calls of a Cluster.
func clusterRoutes(s *server, mux *http.ServeMux, c Cluster) {
	mux.HandleFunc("GET "+routeMembers, s.answer(func(r *http.Request) (any, error) {
		list, err := c.Members(r.Context())
		return notNil(list), err
	}))
	mux.HandleFunc("POST "+routeInvite, s.answer(func(r *http.Request) (any, error) {
		ttl, err := time.ParseDuration(r.Form.Get("ttl"))
		if err != nil || ttl <= 0 {
			return nil, fmt.Errorf("read ttl %q: want a time above 0: %w", r.Form.Get("ttl"), ErrBadArgument)
		}
		return orError(c.Invite(r.Context(), ttl))
	}))
	mux.HandleFunc("POST "+routeCancel, s.answer(func(r *http.Request) (any, error) {
		there, err := c.CancelInvitation(r.Context())
		return cancelled{there}, err
	}))
	mux.HandleFunc("POST "+routeForget, s.answer(func(r *http.Request) (any, error) {
		return orError(c.Forget(r.Context(), r.Form.Get("node")))
	}))
	mux.HandleFunc("POST "+routeRename, s.answer(func(r *http.Request) (any, error) {
		return orError(c.Rename(r.Context(), r.Form.Get("node"), r.Form.Get("name")))
	}))
	mux.HandleFunc("POST "+routeTrust, s.answer(func(r *http.Request) (any, error) {
		list, err := c.Trust(r.Context(), r.Form.Get("keys"))
		return notNil(list), err
	}))
	mux.HandleFunc("POST "+routeLeave, s.answer(func(r *http.Request) (any, error) {
		return struct{}{}, c.Leave(r.Context())
	}))
}

var _ Cluster = (*Client)(nil)

// Members implements [Cluster].
func (c *Client) Members(ctx context.Context) (list []Member, err error) {
	err = c.call(ctx, http.MethodGet, routeMembers, nil, &list)
	return list, err
}

// Invite implements [Cluster].
func (c *Client) Invite(ctx context.Context, ttl time.Duration) (i Invitation, err error) {
	err = c.call(ctx, http.MethodPost, routeInvite, url.Values{"ttl": {ttl.String()}}, &i)
	return i, err
}

// CancelInvitation implements [Cluster].
func (c *Client) CancelInvitation(ctx context.Context) (bool, error) {
	var a cancelled
	err := c.call(ctx, http.MethodPost, routeCancel, nil, &a)
	return a.Cancelled, err
}

// Forget implements [Cluster].
func (c *Client) Forget(ctx context.Context, node string) (m Member, err error) {
	err = c.call(ctx, http.MethodPost, routeForget, url.Values{"node": {node}}, &m)
	return m, err
}

// Rename implements [Cluster].
func (c *Client) Rename(ctx context.Context, node, name string) (m Member, err error) {
	err = c.call(ctx, http.MethodPost, routeRename, url.Values{"node": {node}, "name": {name}}, &m)
	return m, err
}

// Trust implements [Cluster].
func (c *Client) Trust(ctx context.Context, keys string) (list []Member, err error) {
	err = c.call(ctx, http.MethodPost, routeTrust, url.Values{"keys": {keys}}, &list)
	return list, err
}

// Leave implements [Cluster].
func (c *Client) Leave(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, routeLeave, nil, nil)
}
