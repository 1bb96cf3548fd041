package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// node is a node of resonate that answers scripts: see docs/rest.md.
type node struct {
	client http.Client
	base   string
	auth   string // a header; "": none is needed
}

// newNode returns the node at http://HOST:PORT, or that of a folder on this machine.
func newNode(where, tokenFile string) (*node, error) {
	if strings.HasPrefix(where, "http://") {
		token, err := os.ReadFile(tokenFile)
		if err != nil {
			return nil, fmt.Errorf("read the token for %s: %w", where, err)
		}
		return &node{base: strings.TrimSuffix(where, "/"), auth: "Bearer " + strings.TrimSpace(string(token))}, nil
	}
	socket, err := os.ReadFile(filepath.Join(where, ".resonate", "control"))
	if err != nil {
		return nil, fmt.Errorf("find the daemon of %s: %w", where, err)
	}
	n := &node{base: "http://localhost"}
	n.client.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", strings.TrimSpace(string(socket)))
	}}
	return n, nil
}

// lock is what is needed of one.
type lock struct {
	ID    string `json:"lock_id"`
	Token string `json:"token"`
}

// lock waits for the payment's lock. A node that goes away in between is asked no more; the request ID has the next one go on with the same
// request.
func (p *payment) lock(ctx context.Context) (l lock, err error) {
	body := map[string]any{
		"resource": "payment-" + p.ID, "ttl": p.TTL.Seconds(), "wait": p.Wait.Seconds(), "owner": p.Client, "request_id": rand.Text(),
	}
	err = p.onAny(func(n *node) error { return call(ctx, &n.client, http.MethodPost, n.base+"/lock", n.auth, body, &l) })
	if err != nil {
		return l, fmt.Errorf("lock payment %s: %w", p.ID, err)
	}
	return l, nil
}

func (p *payment) unlock(ctx context.Context, id string) error {
	body := map[string]string{"lock_id": id}
	return p.onAny(func(n *node) error { return call(ctx, &n.client, http.MethodPost, n.base+"/unlock", n.auth, body, nil) })
}

// statusError is an answer that says no.
type statusError struct {
	status string
	text   string
}

func (e *statusError) Error() string { return e.status + ": " + e.text }

// maxAnswer bounds what is read of an answer.
const maxAnswer = 1 << 20

// call sends in, unless it is nil, as JSON, and reads the answer into out, unless that is nil.
func call(ctx context.Context, client *http.Client, method, at, auth string, in, out any) error {
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, at, &body)
	if err != nil {
		return err
	}
	if auth != "" {
		req.Header.Set("Authorization", auth)
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return &statusError{resp.Status, strings.TrimSpace(string(text))}
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}
