package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/term"

	"resonate/control"
	"resonate/node"
	"resonate/service"
)

// redraw is how often the line of state is looked at.
const redraw = 200 * time.Millisecond

func daemonCommand() command {
	return command{
		name:     daemonName,
		operands: "-dir DIR [-port N] [-peer HOST:PORT]...",
		short:    "keep a folder in step with its peers, in the foreground, until a signal ends it",
		long: `DIR may be empty or filled, here and at the peers: at the first meeting the folders become their union, nothing
is deleted, and files that differ are kept both. A peer that is away is tried again; nothing is lost meanwhile.
Daemons of one user on one machine trust each other with nothing set up; everyone else is refused.
SIGINT and SIGTERM end the daemon cleanly; a second one kills it.`,
		define: func(set *flag.FlagSet, c console) action {
			s := defineSettings(set)
			config := set.String("config", "", "read what flags and variables leave open from this `file`: NAME in the folder of configurations, or a path")
			return func(ctx context.Context, operands []string) error {
				manager := service.FromEnvironment()
				err := startDaemon(ctx, s, *config, operands, manager, c)
				if err != nil {
					_ = manager.Status("failed: " + err.Error()) // the error itself goes to the log
				}
				return err
			}
		},
	}
}

// startDaemon completes and checks the settings, and runs the daemon with them.
func startDaemon(ctx context.Context, s *settings, config string, operands []string, manager *service.Manager, c console) error {
	if err := s.load(config, c.Env); err != nil {
		return err
	}
	if err := s.check(operands); err != nil {
		return err
	}
	h, err := findHomes(c.Env)
	if err != nil {
		return err
	}
	return runDaemon(ctx, s, h, manager, c, nil)
}

// errEnough is what a beginning returns that wants the daemon to end, as it has done what it was started for.
var errEnough = errors.New("done")

// runDaemon keeps the folder in step until ctx ends, which is no error. Once commands can reach it, begin is run, unless it is nil; its
// error ends the daemon.
func runDaemon(ctx context.Context, s *settings, h homes, manager *service.Manager, c console, begin func(context.Context, *node.Node) error) error {
	out, screen := logOutput(c.Err)
	level := new(slog.LevelVar)
	level.Set(s.logLevel)
	log := newLogger(out, level, s.logJSON, screen != nil)
	info, _ := debug.ReadBuildInfo()
	n, err := openNode(s, h, describeBuild(info).Version, log)
	if err != nil {
		return err
	}
	r := n.Replica()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ln, err := listenControl(r.SocketPath())
	if err != nil {
		return errors.Join(err, n.Close())
	}
	scripts, token, err := listenScripts(s, r.State(), log)
	if err != nil {
		return errors.Join(err, ln.Close(), n.Close())
	}
	// Who reads this line may go on to ask the daemon: its socket is there.
	log.Info(fmt.Sprintf("Listening on %s", n.Addr()), "dir", s.dir)

	told := &told{manager: manager, log: log}
	var hangups <-chan os.Signal
	if s.config.path != "" { // from before anybody is told that the daemon is ready
		var restore func()
		hangups, restore = takeHangups()
		defer restore()
	}

	// Whoever ends first ends the others: a replica that must not go on takes its socket along.
	var parts errgroup.Group
	part := func(f func() error) {
		parts.Go(func() error {
			defer cancel()
			return f()
		})
	}
	part(func() error { return n.Run(ctx) })
	locker := lockerOf(n)
	part(func() error { return control.Serve(ctx, ln, r, n, locker, n.Files(), log) })
	if scripts != nil {
		part(func() error { return control.ServeREST(ctx, scripts, token, r, locker, n.Files(), log) })
	}
	part(func() error {
		if begin != nil { // before the line of state: it may ask something
			if err := begin(ctx, n); err != nil {
				return err
			}
		}
		if screen == nil {
			<-ctx.Done()
			return nil
		}
		return showState(ctx, screen, r)
	})
	if manager != nil {
		part(func() error { return told.run(ctx, r) })
	}
	if hangups != nil {
		reload := newReloader(s, c.Env, log, level, told, n)
		part(func() error { return reload.run(ctx, hangups, screen) })
	}
	err = parts.Wait()
	if errors.Is(err, errEnough) {
		err = nil
	}
	if err == nil {
		log.Info("stopped")
	}
	return err
}

// listenControl makes the socket for the user's commands.
func listenControl(socket string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(socket), 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of the control socket: %w", err)
	}
	return control.Listen(socket)
}

// restTokenFile is where the token for scripts is, in the node's state.
const restTokenFile = "rest-token"

// listenScripts listens for scripts where -http says; nil: nowhere.
func listenScripts(s *settings, state string, log *slog.Logger) (net.Listener, string, error) {
	if s.http == "" {
		return nil, "", nil
	}
	file := filepath.Join(state, restTokenFile)
	token, err := control.RESTToken(file)
	if err != nil {
		return nil, "", err
	}
	ln, err := control.ListenLoopback(string(s.http))
	if err != nil {
		return nil, "", stateError{"", err, "choose another port with -http"}
	}
	log.Info(fmt.Sprintf("Scripts are served on http://%s", ln.Addr()), "token", file)
	return ln, token, nil
}

// screen is the terminal that a daemon runs on.
type screen struct {
	footer
	fd int
}

// logOutput returns where log lines go, and the terminal behind it, nil if there is none.
func logOutput(stderr io.Writer) (io.Writer, *screen) {
	f, ok := stderr.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return stderr, nil
	}
	s := &screen{footer: footer{out: f}, fd: int(f.Fd())}
	return s, s
}

func newLogger(w io.Writer, level slog.Leveler, asJSON, terminal bool) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	switch {
	case asJSON:
		return slog.New(slog.NewJSONHandler(w, o))
	case terminal:
		return slog.New(newPlainHandler(w, level))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// showState keeps the line of state on the terminal until ctx ends, and then takes it away.
func showState(ctx context.Context, s *screen, d control.Daemon) error {
	defer s.Draw("")
	tick := time.NewTicker(redraw)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		width, _, err := term.GetSize(s.fd)
		if err != nil || width <= 0 {
			width = 80
		}
		if st, err := d.Status(ctx); err == nil {
			s.Draw(statusLine(st, width))
		}
	}
}
