package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"time"

	"resonate/replica"
)

// defaultPort is the port a daemon listens on without -port.
const defaultPort = 7373

// settings are the daemon's flags: each is a flag, a variable, and a key of a configuration file.
type settings struct {
	set  *flag.FlagSet     // whose values they are
	from map[string]origin // of the flags that are not at their defaults

	config configFile // that has filled them; without a path: none
	before *settings  // what they were before that

	dir         string
	port        tcpPort
	listen      hostAddress
	peers       addresses
	hold        burst
	historyAge  duration
	historySize size
	maxSend     size
	maxRecv     size
	discover    bool
	session     sessionLength
	mode        replica.Mode
	partition   replica.Partition
	conflict    replica.Policy
	markLocked  bool
	keepOwner   bool
	fresh       bool
	http        scriptAddress
	witness     bool // dir is made up: no flag
	logLevel    slog.Level
	logJSON     bool
}

// defineSettings adds the daemon's flags to set.
func defineSettings(set *flag.FlagSet) *settings {
	s := &settings{
		set: set, from: map[string]origin{}, port: defaultPort, listen: listenAuto,
		hold: burst{files: 100, share: 0.5}, historyAge: duration(30 * day), historySize: 10 << 30,
		session: sessionLength(30 * time.Second),
	}
	set.StringVar(&s.dir, "dir", "", "the `folder` to keep in step; needed")
	set.Var(&s.port, "port", "listen on this TCP `port`; 0 takes a free one and says which")
	set.Var(&s.listen, "listen", "listen on this `address`; auto: on loopback and, once another machine was invited or joined, on all of this one")
	set.Var(&s.peers, "peer", "connect to this `host:port`, or through ssh to ssh://USER@HOST/PATH; may be given any number of times")
	set.Var(&s.hold, "hold", "hold a burst that deletes or rewrites more files than this, and more than this share of the folder: `files/share%`; off: never")
	set.Var(&s.historyAge, "history-age", "keep what was replaced or deleted for this `time`")
	set.Var(&s.historySize, "history-size", "keep at most this `size` of it")
	set.Var(&s.maxSend, "max-send", "send at most this `size` a second to all peers together; 0: any")
	set.Var(&s.maxRecv, "max-recv", "receive at most this `size` a second from all peers together; 0: any")
	set.BoolVar(&s.discover, "discover", false, "look for members on the local network by multicast DNS, and let them find this node")
	set.Var(&s.session, "session", "lose the cluster's locks when the others have not heard of this node for this `time`, 5s to 10m")
	set.TextVar(&s.mode, "mode", replica.Both, "which `way` changes go: both, send (nothing of the peers' is taken) or receive (what is changed here is held)")
	set.TextVar(&s.partition, "partition", replica.Writable, "`what` to do with changes made while no majority can be reached: writable (they go out, and are reconciled later) or readonly (they wait)")
	set.TextVar(&s.conflict, "conflict", replica.Merge, "what is done about changes of one file that have not seen each other: merge (texts; others as copy), copy (both are kept) or latest (what is let out last has the name): a `policy`")
	set.BoolVar(&s.markLocked, "mark-locked", false, "show what others hold by a lock as read-only in the folder")
	set.BoolVar(&s.keepOwner, "keep-owner", false, "keep owner and group, by name, setuid and setgid bits, and capabilities; needs root")
	set.BoolVar(&s.fresh, "fresh", false, "treat the folder as a new one: what was agreed before is forgotten, nothing is deleted")
	set.Var(&s.http, "http", "serve scripts over HTTP at this `host:port` of the loopback interface, too, with a token")
	set.TextVar(&s.logLevel, "log-level", slog.LevelInfo, "log from this `level` on: debug, info, warn or error")
	set.BoolVar(&s.logJSON, "log-json", false, "log as JSON lines")
	return s
}

// newSettings returns settings at their defaults, with a flag set of their own.
func newSettings() *settings {
	set := flag.NewFlagSet(daemonName, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	return defineSettings(set)
}

// copy returns settings of the same values, with a flag set of their own.
func (s *settings) copy() *settings {
	c := newSettings()
	set := c.set
	*c = *s
	c.set, c.from = set, maps.Clone(s.from)
	return c
}

// check tells what is wrong with the settings as a whole, then what is wrong with the folder.
func (s *settings) check(operands []string) error {
	if len(operands) > 0 {
		return usageError{command: daemonName, cause: "unexpected operand " + shown(operands[0])}
	}
	if s.dir == "" {
		remedy := "name it with -dir: resonate -dir DIR"
		if s.config.path != "" {
			remedy = `add a line such as dir = "~/shared"`
		}
		return usageError{cause: "no folder is named", remedy: remedy}
	}
	if err := s.checkOwner(os.Geteuid()); err != nil {
		return err
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
		command: daemonName, cause: s.named("keep-owner") + " needs root: nobody else may give files away",
		remedy: "run resonate as root, or leave it out",
	}
}

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
