package control

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
)

// maxConnections is how many scripts are connected at a time over a loopback address, waiting ones included.
const maxConnections = 512

// CheckLoopback tells why scripts cannot be served at an address, HOST:PORT; nil if they can. Only this machine may reach it: HOST is
// localhost, which means 127.0.0.1, or an address of the loopback interface. No name is looked up.
func CheckLoopback(address string) error {
	_, err := loopback(address)
	return err
}

// loopback returns the address that the listener is made with.
func loopback(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", errors.New("want HOST:PORT, such as localhost:7380")
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if ip, err := netip.ParseAddr(host); err != nil || !ip.IsLoopback() {
		return "", errors.New("only this machine may reach it: want localhost:PORT, 127.0.0.1:PORT or [::1]:PORT")
	}
	return net.JoinHostPort(host, port), nil
}

// ListenLoopback listens for scripts at an address that CheckLoopback accepts. More than some hundred connections at a time are closed.
func ListenLoopback(address string) (net.Listener, error) {
	at, err := loopback(address)
	if err != nil {
		return nil, fmt.Errorf("listen for scripts at %s: %w", address, err)
	}
	ln, err := net.Listen("tcp", at)
	if err != nil {
		return nil, fmt.Errorf("listen for scripts: %w", err)
	}
	return &bounded{Listener: ln, most: maxConnections}, nil
}

// ServeREST answers scripts that know the token on ln until ctx ends, as Serve does on the socket for everyone who can open it.
func ServeREST(ctx context.Context, ln net.Listener, token string, d Daemon, l Locker, f Files, log *slog.Logger) error {
	if l == nil {
		l = noLocks{}
	}
	s := &rest{d: d, l: l, f: f, log: log}
	mux := http.NewServeMux()
	restRoutes(s, mux)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		f, _ := restFailureOf(fmt.Errorf("%s %s: there is no such call: %w", r.Method, r.URL.Path, ErrBadArgument))
		s.write(w, r, http.StatusNotFound, f)
	})
	guarded := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := admit(r, token); err != nil {
			if errors.Is(err, errNoToken) {
				w.Header().Set("WWW-Authenticate", "Bearer")
			}
			w.Header().Set("Connection", "close") // its body is not read
			f, status := restFailureOf(err)
			s.write(w, r, status, f)
			return
		}
		mux.ServeHTTP(w, r)
	})
	if err := serve(ctx, ln, guarded, log); err != nil {
		return fmt.Errorf("serve scripts: %w", err)
	}
	return nil
}

// admit tells why a request over TCP is refused. A web page that a browser of this machine shows can send requests to loopback addresses,
// also under a name of its own that leads here; a browser then says so in Host, Origin or Sec-Fetch-Site.
func admit(r *http.Request, token string) error {
	if !ownHost(r.Host) {
		return fmt.Errorf("host %.100q is not this machine's loopback: %w", r.Host, errForeign)
	}
	for _, header := range []string{"Origin", "Sec-Fetch-Site"} {
		if r.Header.Get(header) != "" {
			return fmt.Errorf("header %s: web pages are not served: %w", header, errForeign)
		}
	}
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || subtle.ConstantTimeCompare([]byte(given), []byte(token)) != 1 {
		return fmt.Errorf("no header Authorization: Bearer TOKEN with the token of this node: %w", errNoToken)
	}
	return nil
}

// ownHost tells whether a Host header names a loopback address. The port does not matter: a tunnel may have another.
func ownHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || err == nil && ip.IsLoopback()
}

const (
	tokenBytes = 32 // of a secret that cannot be guessed
	tokenMode  = 0o600
)

// RESTToken returns the secret that scripts have to know, and makes the file that keeps it where there is none. A file that others can
// read is refused.
func RESTToken(file string) (string, error) {
	st, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return makeToken(file)
	case err != nil:
		return "", fmt.Errorf("read the token for scripts: %w", err)
	case !st.Mode().IsRegular() || st.Mode().Perm()&0o077 != 0:
		return "", fmt.Errorf("read the token for scripts: %s has mode %v, so that others may know it: remove it, and a new one is made", file, st.Mode())
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read the token for scripts: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if b, err := base64.RawURLEncoding.DecodeString(token); err != nil || len(b) != tokenBytes {
		return "", fmt.Errorf("read the token for scripts: %s does not hold one: remove it, and a new one is made", file)
	}
	return token, nil
}

// makeToken writes a new secret beside its place and renames it there: whoever sees the file sees all of it.
func makeToken(file string) (string, error) {
	secret := make([]byte, tokenBytes)
	rand.Read(secret) // never fails (crypto/rand)
	token := base64.RawURLEncoding.EncodeToString(secret)
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*") // mode 0600
	if err != nil {
		return "", fmt.Errorf("make the token for scripts: %w", err)
	}
	_, err = f.WriteString(token + "\n")
	if err := errors.Join(err, f.Chmod(tokenMode), f.Close()); err != nil {
		os.Remove(f.Name())
		return "", fmt.Errorf("make the token for scripts: %w", err)
	}
	if err := os.Rename(f.Name(), file); err != nil {
		os.Remove(f.Name())
		return "", fmt.Errorf("make the token for scripts: %w", err)
	}
	return token, nil
}

// bounded closes connections beyond a number.
type bounded struct {
	net.Listener
	most int32
	open atomic.Int32
}

func (b *bounded) Accept() (net.Conn, error) {
	for {
		conn, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if b.open.Add(1) <= b.most {
			return &boundedConn{Conn: conn, open: &b.open}, nil
		}
		b.open.Add(-1)
		conn.Close()
	}
}

// boundedConn counts until it is closed.
type boundedConn struct {
	net.Conn
	open   *atomic.Int32
	closed atomic.Bool
}

func (c *boundedConn) Close() error {
	if !c.closed.Swap(true) {
		c.open.Add(-1)
	}
	return c.Conn.Close()
}
