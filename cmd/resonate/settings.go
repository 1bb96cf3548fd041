package main

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"resonate/replica"
)

// defaultPort is the port a daemon listens on without -port.
const defaultPort = 7373

// settings are the daemon's flags.
type settings struct {
	dir         string
	port        int
	listen      string
	peers       addresses
	hold        burst
	historyAge  duration
	historySize size
	mode        replica.Mode
	keepOwner   bool
	fresh       bool
	logLevel    slog.Level
	logJSON     bool
}

// defineSettings adds the daemon's flags to set.
func defineSettings(set *flag.FlagSet) *settings {
	s := &settings{hold: burst{files: 100, share: 0.5}, historyAge: duration(30 * day), historySize: 10 << 30}
	set.StringVar(&s.dir, "dir", "", "the `folder` to keep in step; needed")
	set.IntVar(&s.port, "port", defaultPort, "listen on this TCP `port`; 0 takes a free one and says which")
	set.StringVar(&s.listen, "listen", "127.0.0.1", "listen on this `address`")
	set.Var(&s.peers, "peer", "connect to this `host:port`; may be given any number of times")
	set.Var(&s.hold, "hold", "hold a burst that deletes or rewrites more files than this, and more than this share of the folder: `files/share%`; off: never")
	set.Var(&s.historyAge, "history-age", "keep what was replaced or deleted for this `time`")
	set.Var(&s.historySize, "history-size", "keep at most this `size` of it")
	set.TextVar(&s.mode, "mode", replica.Both, "which `way` changes go: both, send (nothing of the peers' is taken) or receive (what is changed here is held)")
	set.BoolVar(&s.keepOwner, "keep-owner", false, "keep owner and group, by name, and setuid and setgid bits; needs root")
	set.BoolVar(&s.fresh, "fresh", false, "treat the folder as a new one: what was agreed before is forgotten, nothing is deleted")
	set.TextVar(&s.logLevel, "log-level", slog.LevelInfo, "log from this `level` on: debug, info, warn or error")
	set.BoolVar(&s.logJSON, "log-json", false, "log as JSON lines")
	return s
}

// check tells what is wrong with the command line, then what is wrong with the folder.
func (s *settings) check(operands []string) error {
	wrong := func(format string, args ...any) error {
		return usageError{command: daemonName, cause: fmt.Sprintf(format, args...)}
	}
	switch {
	case len(operands) > 0:
		return wrong("unexpected operand %s", shown(operands[0]))
	case s.dir == "":
		return usageError{cause: "no folder is named", remedy: "name it with -dir: resonate -dir DIR"}
	case s.port < 0 || s.port > 65535:
		return wrong("invalid value %d for -port: want a number from 0 to 65535", s.port)
	}
	if err := s.checkOwner(os.Geteuid()); err != nil {
		return err
	}
	if err := s.checkListen(); err != nil {
		return wrong("invalid value %q for -listen: %v", s.listen, err)
	}
	abs, err := filepath.Abs(s.dir)
	if err != nil {
		return fmt.Errorf("find folder %s: %w", shown(s.dir), err)
	}
	s.dir = abs
	return checkDirectory(abs)
}

func (s *settings) checkOwner(user int) error {
	if !s.keepOwner || user == 0 {
		return nil
	}
	return usageError{
		command: daemonName, cause: "-keep-owner needs root: nobody else may give files away",
		remedy: "run resonate as root, or leave -keep-owner out",
	}
}

func (s *settings) checkListen() error {
	s.listen = strings.TrimSuffix(strings.TrimPrefix(s.listen, "["), "]")
	if s.listen == "" {
		return errors.New("want an address, such as 127.0.0.1, or 0.0.0.0 for all")
	}
	if host, port, err := net.SplitHostPort(s.listen); err == nil && net.ParseIP(s.listen) == nil {
		return fmt.Errorf("the port has a flag of its own; want -listen %s -port %s", host, port)
	}
	if strings.ContainsAny(s.listen, "/ \t") {
		return errors.New("want an address, such as 127.0.0.1, or 0.0.0.0 for all")
	}
	return nil
}

// address is where to listen, as HOST:PORT.
func (s *settings) address() string { return net.JoinHostPort(s.listen, strconv.Itoa(s.port)) }

// homes are the base directories for what belongs to the user and not to the folder (XDG Base Directory
// Specification 0.8).
type homes struct {
	state, config string
	runtime       string // "" if the system offers none
}

// findHomes reads them from the environment. A relative path counts as unset, as the specification says.
func findHomes(env func(string) string) (homes, error) {
	home := env("HOME")
	pick := func(name, fallback string) string {
		if v := env(name); filepath.IsAbs(v) {
			return v
		}
		if home == "" {
			return ""
		}
		return filepath.Join(home, fallback)
	}
	h := homes{state: pick("XDG_STATE_HOME", ".local/state"), config: pick("XDG_CONFIG_HOME", ".config")}
	if v := env("XDG_RUNTIME_DIR"); filepath.IsAbs(v) {
		h.runtime = v
	}
	if h.state == "" || h.config == "" {
		return homes{}, stateError{"find where to keep the state", errors.New("HOME is not set"),
			"set HOME, or both XDG_STATE_HOME and XDG_CONFIG_HOME"}
	}
	return h, nil
}
