package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"resonate/control"
	"resonate/service"
)

// A supervisor does what systemd does with a unit that has Type=notify, WatchdogSec and Restart=on-failure: it listens to
// what the daemon tells, kills one that was not heard of for too long, and starts one anew that has failed.
type supervisor struct {
	d        *daemon
	socket   string
	watchdog time.Duration
	told     chan string // what comes in
	all      []string    // of the running daemon
	heard    time.Time   // READY=1 or WATCHDOG=1; zero: not ready yet
	aborted  time.Time   // when the watchdog struck
	strikes  int         // of the watchdog
	starts   int
	env      []string // for the next start
}

// supervise starts a daemon.
func supervise(d *daemon, watchdog time.Duration, env ...string) *supervisor {
	t := d.c.t
	t.Helper()
	s := &supervisor{d: d, socket: filepath.Join(d.c.root, d.name+".notify"), watchdog: watchdog, told: make(chan string, 1000), env: env}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: s.socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for buffer := make([]byte, 4096); ; {
			n, err := conn.Read(buffer)
			if err != nil {
				return
			}
			s.told <- string(buffer[:n])
		}
	}()
	t.Cleanup(func() {
		d.kill()
		conn.Close()
		<-ended
	})
	s.start()
	return s
}

func (s *supervisor) start() {
	s.d.c.t.Helper()
	env := append(s.env, "NOTIFY_SOCKET="+s.socket, fmt.Sprint("WATCHDOG_USEC=", s.watchdog.Microseconds()), "GOTRACEBACK=crash")
	s.all, s.heard, s.aborted, s.env = nil, time.Time{}, time.Time{}, nil
	s.starts++
	s.d.launch(env...)
}

// turn looks at what has happened.
func (s *supervisor) turn() {
	s.d.c.t.Helper()
	if s.d.cmd != nil && isClosed(s.d.ended) {
		code := s.d.cmd.ProcessState.ExitCode()
		s.d.kill() // its remains
		if code != exitDone && code != exitUsage {
			s.start()
		}
	}
	for more := true; more; {
		select {
		case text := <-s.told:
			s.all = append(s.all, text)
			if strings.Contains(text, "READY=1") || strings.Contains(text, "WATCHDOG=1") && !s.heard.IsZero() {
				s.heard = time.Now()
			}
		default:
			more = false
		}
	}
	switch {
	case s.d.cmd == nil:
	case !s.aborted.IsZero() && time.Since(s.aborted) > time.Second:
		_ = s.d.cmd.Process.Kill() // it did not take the abort
	case s.aborted.IsZero() && !s.heard.IsZero() && time.Since(s.heard) > s.watchdog:
		s.strikes++
		s.aborted = time.Now()
		_ = s.d.cmd.Process.Signal(syscall.SIGABRT)
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// until supervises until a condition holds.
func (s *supervisor) until(condition func() error) {
	s.d.c.t.Helper()
	err := eventually(60*time.Second, func() error {
		s.turn()
		return condition()
	})
	if err != nil {
		s.d.c.t.Fatalf("not after a minute: %v; told: %q\n%s", err, s.all, s.d.lastLines(20))
	}
}

// tells waits until the daemon has told something that has the text in it.
func (s *supervisor) tells(text string) {
	s.d.c.t.Helper()
	s.until(func() error {
		if s.has(text) {
			return nil
		}
		return fmt.Errorf("%s does not tell %q", s.d.name, text)
	})
}

func (s *supervisor) has(text string) bool {
	for _, told := range s.all {
		if strings.Contains(told, text) {
			return true
		}
	}
	return false
}

// answersNow asks the only daemon of a cluster, once.
func (c *cluster) answersNow(within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	sockets, err := filepath.Glob(filepath.Join(c.root, "run", "resonate", "*.sock"))
	if err != nil || len(sockets) != 1 {
		return fmt.Errorf("got sockets %v, %v, want one", sockets, err)
	}
	client, err := control.Dial(ctx, sockets[0])
	if err != nil {
		return err
	}
	defer client.Close()
	_, err = client.Status(ctx)
	return err
}

const (
	patience = time.Minute     // the watchdog of daemons that are to be left alone by it
	strict   = 5 * time.Second // of those that are not; longer than a machine with much to do lets a daemon wait
)

func TestReadyWhenItAnswers(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.add("a")
	a.write("f", "f")
	s := supervise(a, patience)
	s.tells("READY=1\nSTATUS=")
	if err := c.answersNow(10 * time.Second); err != nil {
		t.Errorf("it has told that it is ready, and does not answer: %v", err)
	}
	s.tells("STATUS=alone, 1 file, 1 B")
	a.write("g", "g")
	s.tells("STATUS=alone, 2 files, 2 B")
	if err := a.connect(); err != nil {
		t.Fatal(err)
	}
	a.stop()
	s.tells("STOPPING=1")
}

// TestNotReadyBeforeItAnswers has the replica hang when all else of the daemon is up.
func TestNotReadyBeforeItAnswers(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.add("a")
	a.write("f", "f")
	s := supervise(a, patience, envFault+"=place.move:2:hang")
	a.logs("Listening on")
	s.turn()
	if err := c.answersNow(time.Second); !errors.Is(err, control.ErrTimeout) && !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("asked for a second: got %v, want no answer: the test does not hold it", err)
	}
	s.turn()
	if len(s.all) > 0 {
		t.Errorf("it does not answer, and tells %q", s.all)
	}
}

// TestWatchdog has a daemon stop as a whole, and its loop alone. Either is killed and started anew; then it goes on.
func TestWatchdog(t *testing.T) {
	for _, row := range []struct{ name, env string }{{"stopped", ""}, {"stuck", envFault + "=apply.new:1:hang"}} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			a := c.add("a")
			a.start()
			b := c.add("b", a)
			s := supervise(b, strict, row.env)
			s.tells("WATCHDOG=1")
			s.tells("in sync, 0 files")
			first := b.cmd.Process.Pid
			if row.env == "" {
				if err := b.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
					t.Fatal(err)
				}
			}
			a.write("f", "f")
			s.until(func() error {
				if s.strikes == 0 {
					return errors.New("the watchdog does not strike")
				}
				return nil
			})
			stuck := s.has("STATUS=no answer for more than 1.25s")
			s.tells("in sync, 1 file")
			b.holds("f", "f")
			if s.starts != 2 || b.cmd.Process.Pid == first {
				t.Errorf("started %d times, pid %d and then %d, want 2 times", s.starts, first, b.cmd.Process.Pid)
			}
			log, err := os.ReadFile(b.log)
			if err != nil {
				t.Fatal(err)
			}
			if row.env != "" && (!stuck || !strings.Contains(string(log), "SIGABRT") || !strings.Contains(string(log), "resonate/replica.")) {
				t.Errorf("told that it does not answer: %v; want that, and its goroutines in the log:\n%s", stuck, b.lastLines(20))
			}
		})
	}
}

// TestWorkingDaemonIsLeftAlone has a daemon scan and work for several times the watchdog's time.
func TestWorkingDaemonIsLeftAlone(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.add("a")
	s := supervise(a, strict)
	s.tells("READY=1")
	end := time.Now().Add(5 * strict / 2)
	s.until(func() error {
		a.write("f", time.Now().String())
		if time.Now().Before(end) {
			return errors.New("its time is not over")
		}
		return nil
	})
	if s.strikes > 0 || s.starts != 1 {
		t.Errorf("the watchdog has struck %d times", s.strikes)
	}
}

// A daemon that cannot start says why, and is not tried again where that is of no use.
func TestFailureIsTold(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.add("a")
	a.bare, a.args = true, []string{"-dir", a.dir, "-config", filepath.Join(c.root, "none.toml")}
	s := supervise(a, patience)
	s.tells("STATUS=failed: ")
	s.tells("none.toml: it does not exist")
	s.until(func() error {
		if a.cmd != nil {
			return errors.New("it runs")
		}
		return nil
	})
	if s.starts != 1 {
		t.Errorf("started %d times, want once", s.starts)
	}
}

// TestReloadRightAfterReady asks for a reload in the instant in which the manager is told that the daemon is ready, again and again.
func TestReloadRightAfterReady(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	manager := service.FromEnvironment()
	wants := func(text string) {
		t.Helper()
		buffer := make([]byte, 4096)
		if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(buffer); err != nil || !strings.HasPrefix(string(buffer[:n]), text) {
			t.Fatalf("the manager is told %q, %v; want %s", buffer[:n], err, text)
		}
	}
	for range 200 {
		daemon := &told{manager: manager, log: slog.New(slog.DiscardHandler)}
		var answered sync.WaitGroup
		answered.Go(func() { daemon.heard(answer{}, time.Second) })
		wants("READY=1")
		done := daemon.reloading()
		answered.Wait()
		wants("RELOADING=1")
		done(nil)
		wants("READY=1")
	}
}
