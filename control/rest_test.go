package control_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"resonate/control"
	"resonate/control/locktest"
)

const secret = "the token of this test"

// A script speaks to a node as curl does.
type script struct {
	*testing.T
	base   string
	header http.Header
	client *http.Client
}

// scriptTo serves l over TCP until the test ends.
func scriptTo(t *testing.T, l control.Locker) *script {
	t.Helper()
	ln, err := control.ListenLoopback("localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- control.ServeREST(ctx, ln, secret, folder{}, l, nil, quiet()) }()
	s := &script{
		T: t, base: "http://" + ln.Addr().String(), client: &http.Client{Transport: &http.Transport{}},
		header: http.Header{"Authorization": {"Bearer " + secret}},
	}
	t.Cleanup(func() {
		s.client.CloseIdleConnections()
		cancel()
		if err := <-served; err != nil {
			t.Errorf("ServeREST after its context ended: got %v, want nil", err)
		}
	})
	return s
}

// answer is all that an answer may hold.
type answer struct {
	LockID   string     `json:"lock_id"`
	Token    string     `json:"token"`
	Expires  *time.Time `json:"expires"`
	Resource string     `json:"resource"`
	Mode     string     `json:"mode"`
	Released bool       `json:"released"`
	Locks    any        `json:"locks"`
	Total    int        `json:"total"`
	More     bool       `json:"has_more"`
	Health   string     `json:"health"`
	State    string     `json:"state"`

	Error   string   `json:"error"`
	Code    int      `json:"code"`
	Message string   `json:"message"`
	Holders []answer `json:"holders"`
	Owner   string   `json:"owner"`
	Waiting int      `json:"waiting"`
}

// send sends a request, and demands a status.
func (s *script) send(method, path, body string, status int) answer {
	s.Helper()
	req, err := http.NewRequest(method, s.base+path, strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	for name, values := range s.header {
		req.Header[name] = values
	}
	if host := s.header.Get("Host"); host != "" {
		req.Host = host
	}
	resp, err := s.client.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.Fatal(err)
	}
	if resp.StatusCode != status {
		s.Fatalf("%s %s %s: got %s: %s; want %d", method, path, body, resp.Status, text, status)
	}
	if got := resp.Header.Get("Content-Type"); got != "application/json" {
		s.Errorf("%s %s: got content of type %q", method, path, got)
	}
	var a answer
	if err := json.Unmarshal(text, &a); err != nil {
		s.Fatalf("%s %s: %v in %s", method, path, err, text)
	}
	return a
}

// fails sends a request, and demands a failure.
func (s *script) fails(method, path, body string, status int, name string, code int) answer {
	s.Helper()
	a := s.send(method, path, body, status)
	if a.Error != name || a.Code != code || a.Message == "" {
		s.Errorf("%s %s %.60s: got %s %d %q, want %s %d", method, path, body, a.Error, a.Code, a.Message, name, code)
	}
	return a
}

// restCalls goes through all calls as docs/rest.md has them.
func restCalls(s *script) {
	l := s.send("POST", "/lock", `{"resource":"payment-42","ttl":"30s","owner":"a","why":"to pay"}`, 200)
	if l.LockID == "" || l.Token == "" || l.Resource != "payment-42" || l.Mode != "exclusive" || l.Expires == nil || time.Until(*l.Expires) > 30*time.Second {
		s.Errorf("lock: got %+v", l)
	}
	held := s.fails("POST", "/lock", `{"resource":"payment-42","wait":0.05}`, 409, "LOCK_HELD", 101)
	if len(held.Holders) != 1 || held.Holders[0].LockID != l.LockID || held.Holders[0].Owner != "a" || !strings.Contains(held.Message, "held by a") {
		s.Errorf("held: got %+v", held)
	}
	if again := s.send("POST", "/renew", `{"lock_id":"`+l.LockID+`","ttl":3600}`, 200); time.Until(*again.Expires) < 50*time.Minute || again.Token != l.Token {
		s.Errorf("renew: got %+v", again)
	}
	if one := s.send("GET", "/locks/payment-42", "", 200); one.Total != 1 {
		s.Errorf("locks of payment-42: got %+v", one)
	}
	for range 2 { // once more does no harm
		if gone := s.send("POST", "/unlock", `{"lock_id":"`+l.LockID+`"}`, 200); !gone.Released {
			s.Errorf("unlock: got %+v", gone)
		}
	}
	s.fails("POST", "/renew", `{"lock_id":"`+l.LockID+`"}`, 409, "LOCK_NOT_HELD", 102)
	s.fails("POST", "/unlock", `{"lock_id":"never was"}`, 404, "LOCK_NOT_FOUND", 105)

	ask := `{"resource":"tree:docs","request_id":"0123456789abcdef"}`
	tree, same := s.send("POST", "/lock", ask, 200), s.send("POST", "/lock", ask, 200)
	if tree.LockID != same.LockID || tree.Token != same.Token || tree.Token <= l.Token {
		s.Errorf("the same request again: got %+v, want %+v", same, tree)
	}
	s.fails("POST", "/lock", `{"resource":"path:docs/a.txt"}`, 409, "LOCK_HELD", 101)
	if some := s.send("GET", "/locks/path:docs/a%20b.txt", "", 200); some.Total != 1 {
		s.Errorf("locks that overlap path:docs/a b.txt: got %+v", some)
	}
	for range 3 {
		s.send("POST", "/lock", `{"resource":"pool","permits":3}`, 200)
	}
	s.fails("POST", "/lock", `{"resource":"pool","permits":3}`, 409, "LOCK_HELD", 101)
	page := s.send("GET", "/locks?limit=3&offset=1", "", 200)
	if list, _ := page.Locks.([]any); len(list) != 3 || page.Total != 4 || page.More {
		s.Errorf("a page: got %+v", page)
	}
	if page := s.send("GET", "/locks?limit=1", "", 200); !page.More {
		s.Errorf("a page: got %+v, want more", page)
	}
	if page := s.send("GET", "/locks?offset=9", "", 200); page.Total != 4 || page.More {
		s.Errorf("a page behind the last: got %+v", page)
	}
	if h := s.send("GET", "/health", "", 200); h.Health != "ok" {
		s.Errorf("health: got %+v", h)
	}
	if st := s.send("GET", "/status", "", 200); st.State != "in sync" {
		s.Errorf("status: got %+v", st)
	}
}

func TestREST(t *testing.T) {
	t.Run("loopback", func(t *testing.T) { restCalls(scriptTo(t, locktest.New("nas"))) })
	t.Run("socket", func(t *testing.T) {
		_, socket := socketClient(t, locktest.New("nas"))
		s := &script{T: t, base: "http://localhost", client: &http.Client{Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, "unix", socket)
			},
		}}}
		defer s.client.CloseIdleConnections()
		restCalls(s)
	})
}

// What is wrong with a request is told, and changes nothing.
func TestRESTRefuses(t *testing.T) {
	table := locktest.New("nas")
	s := scriptTo(t, table)
	for _, row := range []struct {
		method, path, body string
		status             int
		name               string
		code               int
	}{
		{"POST", "/lock", ``, 400, "INVALID_ARGUMENT", 305},
		{"POST", "/lock", `{}`, 400, "INVALID_ARGUMENT", 305},
		{"POST", "/lock", `[]`, 400, "INVALID_ARGUMENT", 305},
		{"POST", "/lock", `{"resource":"x"} {}`, 400, "INVALID_ARGUMENT", 305},
		{"POST", "/lock", `{"resource":"x","tll":"1h"}`, 400, "INVALID_ARGUMENT", 305},
		{"POST", "/lock", `{"resource":"path:../x"}`, 400, "INVALID_ARGUMENT", 305},
		{"POST", "/lock", "{\"resource\":\"\xff\"}", 400, "INVALID_ARGUMENT", 305},
		{"POST", "/lock", `{"resource":"x","ttl":"soon"}`, 400, "INVALID_ARGUMENT", 305},
		{"POST", "/lock", `{"resource":"x","ttl":-1}`, 400, "INVALID_ARGUMENT", 305},
		{"POST", "/lock", `{"resource":"x","ttl":0}`, 400, "INVALID_TTL", 106},
		{"POST", "/lock", `{"resource":"x","ttl":"25h"}`, 400, "INVALID_TTL", 106},
		{"POST", "/lock", `{"resource":"x","wait":"11m"}`, 400, "INVALID_ARGUMENT", 305},
		{"POST", "/lock", `{"resource":"x","wait":1e300}`, 400, "INVALID_ARGUMENT", 305},
		{"POST", "/lock", `{"resource":"x","permits":-1}`, 400, "INVALID_ARGUMENT", 305},
		{"POST", "/lock", `{"resource":"x","request_id":"1"}`, 400, "INVALID_ARGUMENT", 305},
		{"POST", "/lock", `{"resource":"` + strings.Repeat("x", 20000) + `"}`, 400, "INVALID_ARGUMENT", 305},
		{"POST", "/unlock", `{"lock_id":""}`, 400, "INVALID_ARGUMENT", 305},
		{"POST", "/renew", `{"lock_id":"x","ttl":"0s"}`, 400, "INVALID_TTL", 106},
		{"POST", "/renew", `{"ttl":"1s"}`, 400, "INVALID_ARGUMENT", 305},
		{"GET", "/locks?limit=x", "", 400, "INVALID_ARGUMENT", 305},
		{"GET", "/locks/path:.%2F..", "", 400, "INVALID_ARGUMENT", 305},
		{"GET", "/lock", "", 405, "INVALID_ARGUMENT", 305},
		{"DELETE", "/locks/x", "", 405, "INVALID_ARGUMENT", 305},
		{"GET", "/nothing", "", 404, "INVALID_ARGUMENT", 305},
		{"GET", "/v1/status", "", 404, "INVALID_ARGUMENT", 305},
	} {
		s.fails(row.method, row.path, row.body, row.status, row.name, row.code)
	}
	if list, err := table.Locks(t.Context(), control.Resource{}); err != nil || len(list) != 0 {
		t.Errorf("afterwards: got %+v, %v; want no locks", list, err)
	}
	table.SetMajority(false)
	s.fails("POST", "/lock", `{"resource":"x"}`, 503, "NO_LEADER", 202)
	s.fails("GET", "/health", "", 503, "NO_LEADER", 202)
	s.send("GET", "/status", "", 200)
}

// Each failure of a Locker has its name, number and status.
func TestRESTCodes(t *testing.T) {
	f := &told{}
	s := scriptTo(t, f)
	for _, row := range []struct {
		err    error
		status int
		name   string
		code   int
	}{
		{&control.HeldError{}, 409, "LOCK_HELD", 101},
		{control.ErrNotHeld, 409, "LOCK_NOT_HELD", 102},
		{control.ErrNotFound, 404, "LOCK_NOT_FOUND", 105},
		{control.ErrQueueFull, 429, "WAIT_QUEUE_FULL", 107},
		{control.ErrNoMajority, 503, "NO_LEADER", 202},
		{control.ErrTimeout, 504, "TIMEOUT", 301},
		{context.DeadlineExceeded, 504, "TIMEOUT", 301},
		{context.Canceled, 503, "UNAVAILABLE", 303},
		{control.ErrNoLocks, 503, "UNAVAILABLE", 303},
		{errors.New("disk on fire"), 500, "INTERNAL_ERROR", 304},
		{control.ErrBadArgument, 400, "INVALID_ARGUMENT", 305},
	} {
		f.err = fmt.Errorf("in front: %w", row.err)
		s.fails("POST", "/lock", `{"resource":"x"}`, row.status, row.name, row.code)
	}
}

// Nobody gets in without the token, and no web page with it.
func TestRESTAdmits(t *testing.T) {
	s := scriptTo(t, locktest.New("nas"))
	right := "Bearer " + secret
	for _, row := range []struct {
		header http.Header
		status int
	}{
		{http.Header{"Authorization": {right}}, 200},
		{http.Header{"Authorization": {right}, "Host": {"localhost:1"}}, 200},
		{http.Header{"Authorization": {right}, "Host": {"[::1]"}}, 200},
		{http.Header{"Authorization": {right}, "Host": {"127.0.0.9:80"}}, 200},
		{nil, 401},
		{http.Header{"Authorization": {"Bearer "}}, 401},
		{http.Header{"Authorization": {right + "x"}}, 401},
		{http.Header{"Authorization": {secret}}, 401},
		{http.Header{"Authorization": {right}, "Host": {"evil.example"}}, 403},
		{http.Header{"Authorization": {right}, "Host": {"localhost.evil.example:7380"}}, 403},
		{http.Header{"Authorization": {right}, "Host": {"192.0.2.1"}}, 403},
		{http.Header{"Authorization": {right}, "Origin": {"null"}}, 403},
		{http.Header{"Authorization": {right}, "Origin": {"http://localhost"}}, 403},
		{http.Header{"Authorization": {right}, "Sec-Fetch-Site": {"none"}}, 403},
	} {
		s.header = row.header
		for _, path := range []string{"/locks", "/health"} {
			if a := s.send("GET", path, "", row.status); row.status != 200 && a.Error != "PERMISSION_DENIED" {
				t.Errorf("%v: got %+v, want PERMISSION_DENIED", row.header, a)
			}
		}
	}
}

func TestLoopbackOnly(t *testing.T) {
	for _, address := range []string{"localhost:0", "127.0.0.1:7380", "127.1.2.3:1", "[::1]:7380"} {
		if err := control.CheckLoopback(address); err != nil {
			t.Errorf("%s: got %v, want nil", address, err)
		}
	}
	for _, address := range []string{"", ":7380", "0.0.0.0:7380", "[::]:7380", "192.0.2.1:7380", "example.com:7380", "localhost", "127.0.0.1"} {
		if err := control.CheckLoopback(address); err == nil {
			t.Errorf("%s: got no error, want one", address)
		}
		if ln, err := control.ListenLoopback(address); err == nil {
			ln.Close()
			t.Errorf("%s: it listens there", address)
		}
	}
}

func TestRESTToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rest-token")
	one, err := control.RESTToken(file)
	if err != nil || len(one) != 43 {
		t.Fatalf("got %q, %v; want 43 characters", one, err)
	}
	if st, err := os.Stat(file); err != nil || st.Mode() != 0o600 {
		t.Errorf("got %v, %v; want mode 0600", st.Mode(), err)
	}
	if two, err := control.RESTToken(file); err != nil || two != one {
		t.Errorf("again: got %q, %v; want %q", two, err, one)
	}
	if list, err := os.ReadDir(filepath.Dir(file)); err != nil || len(list) != 1 {
		t.Errorf("beside it: got %v, %v; want nothing", list, err)
	}
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := control.RESTToken(file); err == nil || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("readable by others: got %v, want an error with the remedy", err)
	}
	if err := errors.Join(os.Chmod(file, 0o600), os.WriteFile(file, []byte("guess me\n"), 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := control.RESTToken(file); err == nil {
		t.Error("a file without a token: got no error, want one")
	}
}

// Of too many connections the last is closed; when one ends, another is let in.
func TestConnectionsAreBounded(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln := control.Bounded(tcp, 2)
	defer ln.Close()
	accepted := make(chan net.Conn, 8)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", tcp.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	dial()
	dial()
	first, second := <-accepted, <-accepted
	third := dial()
	if err := third.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := third.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the third: got %v, want it closed", err)
	}
	first.Close()
	first.Close() // counts once
	dial()
	(<-accepted).Close()
	second.Close()
	ln.Close()
	<-ended
	if n := len(accepted); n != 0 {
		t.Errorf("%d more were let in", n)
	}
}

// Whatever is in a body, the answer is JSON, and never that of a bug.
func FuzzRESTBody(f *testing.F) {
	for _, seed := range []string{
		`{"resource":"x"}`, `{"resource":"tree:","ttl":"1h","wait":1e3,"permits":3}`, `{"resource":"path:a","shared":true,"request_id":"0123456789abcdef"}`,
		`{"lock_id":"x","ttl":0.5}`, `{"ttl":null}`, `{"ttl":"9999999999h"}`, "\xff", `{"resource":"\u0000"}`, `[[[[`,
	} {
		f.Add([]byte(seed))
	}
	handler := control.RESTHandler(folder{}, &told{}, nil, quiet())
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, path := range []string{"/lock", "/unlock", "/renew"} {
			w := &recorder{header: http.Header{}}
			req, err := http.NewRequest("POST", path, bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			handler.ServeHTTP(w, req)
			if w.status != 200 && w.status != 400 || !json.Valid(w.body.Bytes()) {
				t.Errorf("%s %q: got %d, %s", path, body, w.status, w.body.Bytes())
			}
		}
	})
}

type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header             { return r.header }
func (r *recorder) WriteHeader(status int)          { r.status = status }
func (r *recorder) Write(b []byte) (n int, _ error) { return r.body.Write(b) }
