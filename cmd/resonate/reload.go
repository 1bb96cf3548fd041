package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/term"

	"resonate/node"
)

// A reloader reads the configuration of a running daemon again.
type reloader struct {
	settings *settings
	env      func(string) string
	log      *slog.Logger
	told     *told
	counts   map[string]string                // the value of each flag that is in effect
	ways     map[string]func(*settings) error // how one is changed, by flag
}

// newReloader is the one place that says what can change while a daemon runs, and how; what has no way here waits for a
// restart. The settings that a way is given were checked.
func newReloader(s *settings, env func(string) string, log *slog.Logger, level *slog.LevelVar, t *told, n *node.Node) *reloader {
	r := &reloader{settings: s, env: env, log: log, told: t, counts: map[string]string{}}
	s.set.VisitAll(func(f *flag.Flag) { r.counts[f.Name] = f.Value.String() })
	r.ways = map[string]func(*settings) error{
		"log-level": func(s *settings) error { level.Set(s.logLevel); return nil },
		"peer":      func(s *settings) error { return n.SetPeers(s.peers) },
		"max-send":  func(s *settings) error { n.SetRates(int64(s.maxSend), int64(s.maxRecv)); return nil },
		"max-recv":  func(s *settings) error { n.SetRates(int64(s.maxSend), int64(s.maxRecv)); return nil },
	}
	return r
}

// run reads the configuration at each hangup until ctx ends. It ends with the terminal that the daemon was started on:
// its hangup is no call to read a file.
func (r *reloader) run(ctx context.Context, hangups <-chan os.Signal, s *screen) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hangups:
		}
		if s != nil {
			if _, _, err := term.GetSize(s.fd); err != nil {
				return nil
			}
		}
		done := r.told.reloading()
		done(r.reload())
	}
}

// reload reads the file, and puts into effect what it can. Where the file is wrong all stays as it is.
func (r *reloader) reload() error {
	path := r.settings.config.path
	next, err := r.settings.reread(r.env)
	if err != nil {
		r.log.Error("the configuration is wrong; what was counts on", "file", path, "err", err)
		return err
	}
	applied, later, err := r.apply(next)
	if err != nil {
		r.log.Error("not all of the configuration could be put into effect", "file", path, "err", err)
	}
	r.log.Info("configuration read", "file", path, "changed", strings.Join(applied, " "))
	if len(later) > 0 {
		r.log.Warn("settings have changed that need a restart of the daemon", "file", path, "settings", strings.Join(later, " "))
	}
	return err
}

// apply puts the settings into effect that are not what counts now, and can be. It returns which those are, and which
// wait for a restart.
func (r *reloader) apply(next *settings) (applied, later []string, err error) {
	var problems []error
	next.set.VisitAll(func(f *flag.Flag) {
		value := f.Value.String()
		if value == r.counts[f.Name] {
			return
		}
		way := r.ways[f.Name]
		if way == nil {
			later = append(later, f.Name)
			return
		}
		if err := way(next); err != nil {
			problems = append(problems, fmt.Errorf("set %s to %s: %w", f.Name, shown(value), err))
			return
		}
		r.counts[f.Name] = value
		applied = append(applied, f.Name)
	})
	return applied, later, errors.Join(problems...)
}

// takeHangups returns a channel on which SIGHUP arrives from now on, instead of ending the program, until restore is
// called. Where the signal is ignored (nohup(1)), nothing arrives.
func takeHangups() (hangups <-chan os.Signal, restore func()) {
	if signal.Ignored(syscall.SIGHUP) {
		return nil, func() {}
	}
	signal.Ignore(syscall.SIGHUP) // which takes it from whom it ended
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, syscall.SIGHUP)
	return ch, func() { signal.Stop(ch) }
}
