package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// What scripts are bound by with files. A content may take as long as it likes, if only some of it goes on.
const (
	restFileWait  = time.Minute // for the lock: longer than a session, so that whose node has died is outlived
	stallTimeout  = 30 * time.Second
	headerToken   = "Resonate-Token"
	filesPath     = "/files/{path...}"
	methodsOfFile = "GET, HEAD, PUT"
)

// fileRoutes adds the calls about files.
func fileRoutes(s *rest, mux *http.ServeMux) {
	mux.HandleFunc("PUT "+filesPath, s.putFile)
	mux.HandleFunc("GET "+filesPath, s.getFile)
	mux.HandleFunc(filesPath, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", methodsOfFile)
		f, _ := restFailureOf(fmt.Errorf("%s of a file: want one of %s: %w", r.Method, methodsOfFile, ErrBadArgument))
		s.write(w, r, http.StatusMethodNotAllowed, f)
	})
}

// putFile answers 201 where nothing was, 204 where something was.
func (s *rest) putFile(w http.ResponseWriter, r *http.Request) {
	q, err := readPut(r)
	var v FileVersion
	created := false
	if err == nil {
		v, created, err = s.f.Put(r.Context(), q, &patientBody{http.MaxBytesReader(w, r.Body, MaxFile), http.NewResponseController(w)})
	}
	switch {
	case err != nil:
		f, status := restFailureOf(err)
		s.write(w, r, status, f)
	case created:
		v.header(w.Header())
		s.write(w, r, http.StatusCreated, v)
	default:
		v.header(w.Header())
		w.WriteHeader(http.StatusNoContent)
	}
}

// getFile answers with a content, or what a script has asked for of it.
func (s *rest) getFile(w http.ResponseWriter, r *http.Request) {
	path, err := filePath(r)
	var f *OpenFile
	if err == nil {
		f, err = s.f.Open(r.Context(), path)
	}
	if err != nil {
		f, status := restFailureOf(err)
		s.write(w, r, status, f)
		return
	}
	defer f.Content.Close()
	f.header(w.Header())
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream") // and no guess
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-cache")
	var changed time.Time
	if f.MTime != nil {
		changed = *f.MTime
	}
	http.ServeContent(patientWriter{w, http.NewResponseController(w)}, r, "", changed, f.Content)
}

// header tells a version in the head of an answer.
func (v *FileVersion) header(h http.Header) {
	h.Set("ETag", strconv.Quote(v.Hash))
	if v.Token != nil {
		h.Set(headerToken, v.Token.String())
	}
}

// readPut reads all of a PUT but the body.
func readPut(r *http.Request) (q FilePut, err error) {
	if q.Path, err = filePath(r); err != nil {
		return q, err
	}
	none, some := r.Header.Values("If-None-Match"), r.Header.Values("If-Match")
	switch {
	case len(none)+len(some) > 1:
		return q, fmt.Errorf("want one of If-None-Match and If-Match, once: %w", ErrBadArgument)
	case len(none) == 1 && none[0] != "*":
		return q, fmt.Errorf("If-None-Match %.100q: a PUT wants *: %w", none[0], ErrBadArgument)
	case len(none) == 1:
		q.Absent = true
	case len(some) == 1:
		if q.Match, err = parseMatch(some[0]); err != nil {
			return q, err
		}
	}
	if r.Header.Get("Content-Range") != "" {
		return q, fmt.Errorf("Content-Range: a content is put as a whole: %w", ErrBadArgument)
	}
	if q.Wait, err = queryTime(r, "wait", restFileWait); err != nil {
		return q, err
	}
	if q.Wait < MinFileWait || q.Wait > restMaxWait {
		return q, fmt.Errorf("wait of %v: want %v to %v: %w", q.Wait, MinFileWait, restMaxWait, ErrBadArgument)
	}
	if r.ContentLength > MaxFile {
		return q, fmt.Errorf("content of %d bytes: %w", r.ContentLength, ErrTooLarge)
	}
	return q, nil
}

// filePath is the path that a call is about. It is checked further by the node.
func filePath(r *http.Request) (string, error) {
	path := r.PathValue("path")
	if err := (Resource{Path: path}).Check(); err != nil {
		return "", fmt.Errorf("file %.200q: want a path relative to the folder, such as docs/a.txt: %w", path, ErrBadArgument)
	}
	return path, nil
}

// queryTime reads a time as bodies have it: 30, or 30s.
func queryTime(r *http.Request, name string, otherwise time.Duration) (time.Duration, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return otherwise, nil
	}
	var t seconds
	if t.UnmarshalJSON([]byte(text)) == nil {
		return time.Duration(t), nil
	}
	quoted, _ := json.Marshal(text) // a string always has a form
	if err := t.UnmarshalJSON(quoted); err != nil {
		return 0, fmt.Errorf("read %s: %w: %w", name, err, ErrBadArgument)
	}
	return time.Duration(t), nil
}

// patientBody is a body of which each part may take a time, and no longer.
type patientBody struct {
	io.Reader
	rc *http.ResponseController
}

func (b *patientBody) Read(p []byte) (int, error) {
	_ = b.rc.SetReadDeadline(time.Now().Add(stallTimeout))
	n, err := b.Reader.Read(p)
	if err != nil {
		_ = b.rc.SetReadDeadline(time.Time{}) // from now on somebody looks whether the client goes, for as long as it takes
	}
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		err = ErrTooLarge
	case err != nil && err != io.EOF:
		err = fmt.Errorf("read the body: %w: %w", err, ErrBadArgument)
	}
	return n, err
}

// patientWriter is an answer of which each part may take a time, and no longer.
type patientWriter struct {
	http.ResponseWriter
	rc *http.ResponseController
}

func (w patientWriter) Write(p []byte) (int, error) {
	_ = w.rc.SetWriteDeadline(time.Now().Add(stallTimeout))
	return w.ResponseWriter.Write(p)
}
