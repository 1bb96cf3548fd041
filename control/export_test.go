package control

import (
	"log/slog"
	"net"
	"net/http"
)

// RESTHandler answers scripts without a network.
func RESTHandler(d Daemon, l Locker, f Files, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	restRoutes(&rest{d: d, l: l, f: f, log: log}, mux)
	return mux
}

// Bounded lets in so many connections at a time.
func Bounded(ln net.Listener, most int32) net.Listener { return &bounded{Listener: ln, most: most} }
