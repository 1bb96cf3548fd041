package control_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"resonate/control"
)

// memory has files in memory, and fails with err where it is set.
type memory struct {
	mu    sync.Mutex
	files map[string]memoryFile
	count uint64
	err   error
	last  control.FilePut
}

type memoryFile struct {
	control.FileVersion
	content []byte
}

func (m *memory) Put(_ context.Context, q control.FilePut, content io.Reader) (v control.FileVersion, created bool, err error) {
	b, err := io.ReadAll(content)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = q
	if err = errors.Join(err, m.err); err != nil {
		return v, false, err
	}
	var now *control.FileVersion
	if f, there := m.files[q.Path]; there {
		now = &f.FileVersion
	}
	if !q.Wants(now) {
		return v, false, &control.ChangedError{Path: q.Path, Current: now}
	}
	m.count++
	at := time.Unix(1e9, 0).UTC()
	v = control.FileVersion{
		Kind: "file", Hash: fmt.Sprintf("%064x", m.count), Size: int64(len(b)), MTime: &at, Node: "SHA256:abc", Name: "nas", Stamp: m.count, Time: at,
		Token: &control.Token{Generation: 1, Index: m.count},
	}
	m.files[q.Path] = memoryFile{v, b}
	return v, now == nil, nil
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

func (m *memory) Open(_ context.Context, path string) (*control.OpenFile, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f, there := m.files[path]
	switch {
	case m.err != nil:
		return nil, m.err
	case !there:
		return nil, fmt.Errorf("%s: %w", path, control.ErrNoFile)
	}
	return &control.OpenFile{FileVersion: f.FileVersion, Content: readCloser{bytes.NewReader(f.content)}}, nil
}

// asks sends one request, whose headers stand in pairs, and demands a status.
func asks(t *testing.T, h http.Handler, method, path, body string, status int, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	if w.Code != status {
		t.Fatalf("%s %s %q: got %d: %s; want %d", method, path, headers, w.Code, w.Body, status)
	}
	return w
}

// failure reads the answer that tells of one.
func failure(t *testing.T, w *httptest.ResponseRecorder) (f struct {
	Error   string
	Code    int
	Message string
	Current *control.FileVersion
}) {
	t.Helper()
	if err := json.Unmarshal(w.Body.Bytes(), &f); err != nil || f.Message == "" || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("got %s, %v", w.Body, err)
	}
	return f
}

// TestFiles goes through the calls about files as docs/rest.md has them.
func TestFiles(t *testing.T) {
	m := &memory{files: make(map[string]memoryFile)}
	h := control.RESTHandler(folder{}, &told{}, m, quiet())
	w := asks(t, h, "PUT", "/files/docs/a%20b.txt?wait=5", "one", 201, "If-None-Match", "*")
	var v control.FileVersion
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil || v.Hash == "" || v.Size != 3 {
		t.Errorf("created: got %s, %v", w.Body, err)
	}
	first := w.Header().Get("ETag")
	if first != `"`+v.Hash+`"` || w.Header().Get("Resonate-Token") != "0000000000000001.0000000000000001" {
		t.Errorf("created: got %v", w.Header())
	}
	if m.last.Path != "docs/a b.txt" || m.last.Wait != 5*time.Second {
		t.Errorf("it was asked for %+v", m.last)
	}
	f := failure(t, asks(t, h, "PUT", "/files/docs/a%20b.txt", "two", 412, "If-None-Match", "*"))
	if f.Error != "VERSION_MISMATCH" || f.Code != 104 || f.Current == nil || f.Current.Hash != v.Hash || f.Current.Name != "nas" || f.Current.Stamp != 1 {
		t.Errorf("created again: got %+v", f)
	}
	for _, match := range []string{first, v.Hash, `"other", ` + v.Hash, "*"} {
		w = asks(t, h, "PUT", "/files/docs/a%20b.txt", "two", 204, "If-Match", match)
		if w.Body.Len() != 0 || w.Header().Get("ETag") == first {
			t.Errorf("replaced: got %q, %v", w.Body, w.Header())
		}
		m.files["docs/a b.txt"] = memoryFile{v, []byte("one")}
	}
	asks(t, h, "PUT", "/files/docs/a%20b.txt", "two", 412, "If-Match", `"other"`)
	if f := failure(t, asks(t, h, "PUT", "/files/none", "two", 412, "If-Match", "*")); f.Current != nil {
		t.Errorf("over nothing: got %+v", f)
	}
	asks(t, h, "PUT", "/files/docs/a%20b.txt", "0123456789", 204)

	w = asks(t, h, "GET", "/files/docs/a%20b.txt", "", 200)
	etag := w.Header().Get("ETag")
	if w.Body.String() != "0123456789" || etag == first || w.Header().Get("Last-Modified") != "Sun, 09 Sep 2001 01:46:40 GMT" ||
		w.Header().Get("Content-Type") != "application/octet-stream" {
		t.Errorf("got %q, %v", w.Body, w.Header())
	}
	if w = asks(t, h, "GET", "/files/docs/a%20b.txt", "", 206, "Range", "bytes=2-4"); w.Body.String() != "234" {
		t.Errorf("a part: got %q", w.Body)
	}
	asks(t, h, "GET", "/files/docs/a%20b.txt", "", 304, "If-None-Match", etag)
	asks(t, h, "GET", "/files/docs/a%20b.txt", "", 200, "If-None-Match", first)
	if w = asks(t, h, "HEAD", "/files/docs/a%20b.txt", "", 200); w.Header().Get("Content-Length") != "10" || w.Body.Len() != 0 {
		t.Errorf("head: got %q, %v", w.Body, w.Header())
	}
	if f := failure(t, asks(t, h, "GET", "/files/none", "", 404)); f.Error != "FILE_NOT_FOUND" {
		t.Errorf("nothing: got %+v", f)
	}
}

// What is wrong with a request is told before anything is done.
func TestFilesRefuses(t *testing.T) {
	m := &memory{files: make(map[string]memoryFile)}
	h := control.RESTHandler(folder{}, &told{}, m, quiet())
	for _, row := range []struct {
		method, path string
		status       int
		headers      []string
	}{
		{"PUT", "/files/", 400, nil},
		{"GET", "/files/", 400, nil},
		{"PUT", "/files/..%2Fx", 400, nil},
		{"PUT", "/files/%2Fx", 400, nil},
		{"PUT", "/files/a%00b", 400, nil},
		{"PUT", "/files/" + strings.Repeat("x", 5000), 400, nil},
		{"PUT", "/files/x", 400, []string{"If-None-Match", `"abc"`}},
		{"PUT", "/files/x", 400, []string{"If-None-Match", "*", "If-None-Match", "*"}},
		{"PUT", "/files/x", 400, []string{"If-None-Match", "*", "If-Match", "*"}},
		{"PUT", "/files/x", 400, []string{"If-Match", ""}},
		{"PUT", "/files/x", 400, []string{"If-Match", `W/"abc"`}},
		{"PUT", "/files/x", 400, []string{"If-Match", "a,,b"}},
		{"PUT", "/files/x", 400, []string{"Content-Range", "bytes 0-1/2"}},
		{"PUT", "/files/x?wait=0", 400, nil},
		{"PUT", "/files/x?wait=11m", 400, nil},
		{"PUT", "/files/x?wait=soon", 400, nil},
		{"POST", "/files/x", 405, nil},
		{"DELETE", "/files/x", 405, nil},
	} {
		if f := failure(t, asks(t, h, row.method, row.path, "x", row.status, row.headers...)); f.Error != "INVALID_ARGUMENT" {
			t.Errorf("%s %.60s %q: got %+v", row.method, row.path, row.headers, f)
		}
	}
	req := httptest.NewRequest("PUT", "/files/x", http.NoBody)
	req.ContentLength = control.MaxFile + 1
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	if f := failure(t, w); w.Code != 413 || f.Error != "FILE_TOO_LARGE" {
		t.Errorf("too large: got %d, %+v", w.Code, f)
	}
	if len(m.files) != 0 || m.last.Path != "" {
		t.Errorf("there is %v, %+v was asked for", m.files, m.last)
	}
	for _, row := range []struct {
		err    error
		status int
		name   string
		code   int
	}{
		{control.ErrNotAFile, 409, "NOT_A_FILE", 602},
		{control.ErrNotSynced, 409, "NOT_SYNCED", 603},
		{control.ErrPaused, 409, "PAUSED", 604},
		{control.ErrTooLarge, 413, "FILE_TOO_LARGE", 605},
		{control.ErrNoSpace, 507, "NO_SPACE", 606},
		{control.ErrNoMajority, 503, "NO_LEADER", 202},
		{&control.HeldError{}, 409, "LOCK_HELD", 101},
		{control.ErrTimeout, 504, "TIMEOUT", 301},
	} {
		m.err = fmt.Errorf("in front: %w", row.err)
		for _, method := range []string{"PUT", "GET"} {
			if f := failure(t, asks(t, h, method, "/files/x", "x", row.status)); f.Error != row.name || f.Code != row.code {
				t.Errorf("%s, %v: got %+v", method, row.err, f)
			}
		}
	}
}

// A body that is cut off is not put.
func TestFilesOverTCP(t *testing.T) {
	m := &memory{files: make(map[string]memoryFile)}
	srv := httptest.NewServer(control.RESTHandler(folder{}, &told{}, m, quiet()))
	defer srv.Close()
	body, feed := io.Pipe()
	req, err := http.NewRequest("PUT", srv.URL+"/files/x", body)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = feed.Write([]byte("the first half"))
		feed.CloseWithError(errors.New("gone"))
	}()
	if resp, err := srv.Client().Do(req); err == nil {
		resp.Body.Close()
		t.Errorf("cut off: got %s", resp.Status)
	}
	large := strings.Repeat("0123456789abcdef", 1<<18)
	if req, err = http.NewRequest("PUT", srv.URL+"/files/large", strings.NewReader(large)); err != nil {
		t.Fatal(err)
	}
	resp, err := srv.Client().Do(req)
	if err != nil || resp.StatusCode != 201 {
		t.Fatalf("large: got %v, %v", resp, err)
	}
	resp.Body.Close()
	if resp, err = srv.Client().Get(srv.URL + "/files/large"); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || string(got) != large {
		t.Errorf("large: got %d bytes, %v", len(got), err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, there := m.files["x"]; there {
		t.Error("what was cut off was put")
	}
}

// Whatever a condition is, it is understood or refused: never left out.
func FuzzFileCondition(f *testing.F) {
	for _, seed := range []string{"*", `"abc"`, "abc", `"a", "b"`, `W/"a"`, "", ",", `"`, "\xff"} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, value string, none bool) {
		m := &memory{files: map[string]memoryFile{"x": {FileVersion: control.FileVersion{Kind: "file", Hash: "0123"}}}}
		req := httptest.NewRequest("PUT", "/files/x", strings.NewReader("x"))
		name := "If-Match"
		if none {
			name = "If-None-Match"
		}
		req.Header[name] = []string{value}
		w := httptest.NewRecorder()
		control.RESTHandler(folder{}, &told{}, m, quiet()).ServeHTTP(w, req)
		has := strings.Contains(value, "0123") || strings.Contains(value, "*")
		if w.Code != 400 && w.Code != 412 && (w.Code != 204 || none || !has) {
			t.Errorf("%s: %q: got %d", name, value, w.Code)
		}
	})
}
