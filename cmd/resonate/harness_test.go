package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"resonate/beneath"
	"resonate/control"
	"resonate/replica"
)

// What a test tells a daemon through its environment.
const (
	envFault  = "RESONATE_TEST_FAULT"  // LABEL:N:kill, :hang, :EIO or :ENOSPC: at the N-th time that LABEL is reached
	envLabels = "RESONATE_TEST_LABELS" // a file to which each label is appended once
	envBoot   = "RESONATE_TEST_BOOT"   // the boot ID
)

// instrumentFromEnv makes a daemon fail, or die, where the test that started it wants it to.
func instrumentFromEnv(o *replica.Options) error {
	o.BootID = os.Getenv(envBoot)
	spec, list := os.Getenv(envFault), os.Getenv(envLabels)
	if spec == "" && list == "" {
		return nil
	}
	f := fault{seen: make(map[beneath.Label]int), list: list}
	if spec != "" {
		label, rest, _ := strings.Cut(spec, ":")
		count, how, _ := strings.Cut(rest, ":")
		n, err := strconv.Atoi(count)
		if err != nil {
			return fmt.Errorf("read %s=%s: %w", envFault, spec, err)
		}
		errs := map[string]error{"kill": nil, "hang": errHang, "EIO": syscall.EIO, "ENOSPC": syscall.ENOSPC}
		var ok bool
		if f.err, ok = errs[how]; !ok {
			return fmt.Errorf("read %s=%s: %q is no way to fail", envFault, spec, how)
		}
		f.label, f.n = beneath.Label(label), n
	}
	o.Fault = f.at
	return nil
}

// A fault counts the labels that are reached, and acts at one of them.
type fault struct {
	mu    sync.Mutex
	seen  map[beneath.Label]int
	list  string
	label beneath.Label
	n     int
	err   error // nil: the process ends, as by kill -9; errHang: what has reached the label hangs
}

func (f *fault) at(l beneath.Label) error {
	err := f.reached(l)
	if errors.Is(err, errHang) {
		select {} // what has come here, and nothing else
	}
	return err
}

var errHang = errors.New("hang here")

func (f *fault) reached(l beneath.Label) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen[l]++
	if f.seen[l] == 1 && f.list != "" {
		if err := appendLine(f.list, string(l)); err != nil {
			return err
		}
	}
	if l != f.label || f.seen[l] != f.n {
		return nil
	}
	if f.err == nil {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // the signal is on its way: nothing more may happen
	}
	return fmt.Errorf("fault asked for at %s: %w", l, f.err)
}

func appendLine(name, line string) error {
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(line + "\n")
	return errors.Join(err, f.Close())
}

// scratch returns a directory that is removed at the end: in memory where there is such a place, because tests make and
// delete many files and a path to a socket must be short.
func scratch(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "resonate-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// A cluster is some daemons of one user.
type cluster struct {
	t       testing.TB
	root    string
	daemons []*daemon
	revive  func() // called while waiting: starts what is meant to die; nil: nothing is
}

func newCluster(t testing.TB) *cluster { return &cluster{t: t, root: scratch(t)} }

// A daemon is a folder and, while it runs, the process that keeps it: this test binary, executed again.
type daemon struct {
	c     *cluster
	name  string
	dir   string
	log   string
	port  int // 0 until it has run
	peers []*daemon
	args  []string
	env   []string // for the next start only
	bare  bool     // its settings are args alone
	in    string   // the network namespace of its machine; "": that of the test
	host  string   // its address for others; "": loopback

	mu     sync.Mutex // guards what follows: a test may kill a daemon while another goroutine asks it
	cmd    *exec.Cmd
	ended  chan struct{} // closed when the process has
	client *control.Client
}

// add makes a folder whose daemon will have the given peers, which must have run by the time that it starts.
func (c *cluster) add(name string, peers ...*daemon) *daemon {
	c.t.Helper()
	d := &daemon{c: c, name: name, dir: filepath.Join(c.root, name), log: filepath.Join(c.root, name+".log"), peers: peers}
	if err := os.Mkdir(d.dir, 0o755); err != nil {
		c.t.Fatal(err)
	}
	c.daemons = append(c.daemons, d)
	c.t.Cleanup(d.cleanup)
	return d
}

// environment is that of all daemons of the cluster: what this process has, but with homes and keys of their own.
func (d *daemon) environment() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "RESONATE_") {
			env = append(env, e)
		}
	}
	env = append(env, "HOME="+d.c.root, "XDG_STATE_HOME="+d.c.root+"/state", "XDG_CONFIG_HOME="+d.c.root+"/config",
		"XDG_RUNTIME_DIR="+d.c.root+"/run", "GORACE=atexit_sleep_ms=0")
	return append(env, d.env...)
}

// launch starts the daemon, and does not wait for it to answer. env is added to its environment.
func (d *daemon) launch(env ...string) {
	d.c.t.Helper()
	d.env = env
	exe, err := os.Executable()
	if err != nil {
		d.c.t.Fatal(err)
	}
	log, err := os.OpenFile(d.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		d.c.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(exe, "-dir", d.dir, "-port", strconv.Itoa(d.lastPort()), "-hold", "off", "-log-level", "debug")
	if d.bare {
		cmd.Args = cmd.Args[:1]
	}
	cmd.Args[0] = "resonate" // by this name the test binary is the program
	for _, p := range d.peers {
		cmd.Args = append(cmd.Args, "-peer", fmt.Sprintf("%s:%d", cmp.Or(p.host, "127.0.0.1"), p.lastPort()))
	}
	cmd.Args = append(cmd.Args, d.args...)
	if d.in != "" {
		cmd = exec.Command("ip", append([]string{"netns", "exec", d.in, d.c.program(exe)}, cmd.Args[1:]...)...)
	}
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = d.environment(), log, log, detached()
	if err := cmd.Start(); err != nil {
		d.c.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cmd, d.ended = cmd, ended
}

// lastPort returns the port that the daemon had last.
func (d *daemon) lastPort() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.port
}

// program returns a path by which the test binary is the program, wherever it is executed.
func (c *cluster) program(exe string) string {
	link := filepath.Join(c.root, "resonate")
	if err := os.Symlink(exe, link); err != nil && !errors.Is(err, fs.ErrExist) {
		c.t.Fatal(err)
	}
	return link
}

// start starts the daemon and waits until it answers.
func (d *daemon) start(env ...string) {
	d.c.t.Helper()
	for try := 0; ; try++ {
		d.launch(env...)
		if d.answers() {
			return
		}
		// While it was down, its port may have served for somebody's connection.
		if try == maxStarts || !strings.Contains(d.lastLines(3), "is in use") {
			d.c.t.Fatalf("%s ended instead of answering:\n%s", d.name, d.lastLines(20))
		}
	}
}

// maxStarts is how often a daemon is started anew whose port is in use.
const maxStarts = 50

// answers waits until the daemon answers. It returns false if the daemon ends before.
func (d *daemon) answers() bool {
	d.c.t.Helper()
	up := false
	d.c.until(time.Minute, func() error {
		select {
		case <-d.ended:
			return nil
		default:
		}
		err := d.connect()
		up = err == nil
		return err
	})
	return up
}

// connect makes the client of a daemon that is up.
func (d *daemon) connect() error {
	socket, err := replica.ControlSocket(d.dir)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	client, err := control.Dial(ctx, socket)
	if err != nil {
		return err
	}
	s, err := client.Status(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil && (s.PID != d.cmd.Process.Pid || s.Listen == "") {
		err = errors.New("not up yet")
	}
	if err != nil {
		client.Close()
		return err
	}
	if _, port, ok := strings.Cut(s.Listen, ":"); ok {
		d.port, _ = strconv.Atoi(port)
	}
	d.client = client
	return nil
}

// kill ends the daemon as kill -9 does.
func (d *daemon) kill() {
	d.mu.Lock()
	cmd, ended := d.cmd, d.ended
	d.mu.Unlock()
	if cmd != nil {
		_ = cmd.Process.Kill() // it may have ended by itself
		<-ended
		d.disconnect()
	}
}

func (d *daemon) disconnect() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.client != nil {
		d.client.Close()
	}
	d.client, d.cmd = nil, nil
}

// stop ends the daemon as a user does, and checks that it ends in time and well.
func (d *daemon) stop() {
	d.c.t.Helper()
	begun := time.Now()
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.ended:
	case <-time.After(5 * time.Second):
		_ = d.cmd.Process.Signal(syscall.SIGQUIT) // its goroutines go to its log
		<-d.ended
	}
	if took := time.Since(begun); took > 2*time.Second {
		d.c.t.Errorf("%s ended %v after SIGTERM, want within a second", d.name, took)
	}
	if code := d.cmd.ProcessState.ExitCode(); code != exitDone {
		d.c.t.Errorf("%s ended with code %d, want %d:\n%s", d.name, code, exitDone, d.lastLines(20))
	}
	d.disconnect()
}

// status asks the daemon. A test that kills it meanwhile gets an error.
func (d *daemon) status() (control.Status, error) {
	d.mu.Lock()
	client := d.client
	d.mu.Unlock()
	if client == nil {
		return control.Status{}, control.ErrNoDaemon
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return client.Status(ctx)
}

// wait is resonate wait, with a bound.
func (d *daemon) wait(most time.Duration) error {
	d.mu.Lock()
	client := d.client
	d.mu.Unlock()
	if client == nil {
		return control.ErrNoDaemon
	}
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	return client.Wait(ctx, "")
}

// cleanup ends the daemon at the end of the test, and looks for what must never stand in a log.
func (d *daemon) cleanup() {
	if d.cmd != nil {
		d.kill()
	}
	log, err := os.ReadFile(d.log)
	if err != nil {
		return // it never ran
	}
	for _, bad := range []string{"DATA RACE", "panic:", "fatal error:"} {
		if i := bytes.Index(log, []byte(bad)); i >= 0 {
			d.c.t.Errorf("%s in the log of %s:\n%s", bad, d.name, log[i:min(len(log), i+6000)])
		}
	}
	if keep := os.Getenv("RESONATE_TEST_KEEP_LOGS"); keep != "" && d.c.t.Failed() {
		name := strings.ReplaceAll(d.c.t.Name(), "/", "_") + "-" + d.name + ".log"
		if err := os.WriteFile(filepath.Join(keep, name), log, 0o600); err != nil {
			d.c.t.Error(err)
		}
	}
}

// lastLines returns the end of the daemon's log.
func (d *daemon) lastLines(n int) string {
	log, err := os.ReadFile(d.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// until waits for a condition: a function that returns nil. It fails the test with the last error after most.
func (c *cluster) until(most time.Duration, condition func() error) {
	c.t.Helper()
	if err := eventually(most, condition); err != nil {
		c.t.Fatalf("not after %v: %v", most, err)
	}
}

// eventually waits for a condition, and returns its last error if that takes longer than most.
func eventually(most time.Duration, condition func() error) error {
	deadline := time.After(most)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := condition()
		if err == nil {
			return nil
		}
		select {
		case <-deadline:
			return err
		case <-tick.C:
		}
	}
}

// inSync returns nil when all daemons have nothing left to exchange and know it.
func (c *cluster) inSync() error {
	var first string
	for i, d := range c.daemons {
		s, err := d.status()
		if err != nil {
			return fmt.Errorf("ask %s: %w", d.name, err)
		}
		if i == 0 {
			first = s.Roots.State
		}
		if s.Roots.State != first || s.State != "in sync" {
			return fmt.Errorf("%s is %q with root %.8s, the first has %.8s", d.name, s.State, s.Roots.State, first)
		}
	}
	return nil
}

// converge waits until every daemon has seen all that its user did, and all agree.
func (c *cluster) converge(most time.Duration) error {
	turn := 5 * time.Second
	if c.revive != nil {
		turn = 200 * time.Millisecond // what dies while another one waits for it is started soon
	}
	return eventually(most, func() error {
		if c.revive != nil {
			c.revive()
		}
		for _, d := range c.daemons {
			if err := d.wait(turn); err != nil {
				return fmt.Errorf("wait for %s: %w", d.name, err)
			}
		}
		return c.inSync()
	})
}

// dirs are the folders of all daemons.
func (c *cluster) dirs() []string {
	var dirs []string
	for _, d := range c.daemons {
		dirs = append(dirs, d.dir)
	}
	return dirs
}

// mustAgree fails the test unless all daemons come to agree within a minute, and their folders are equal then, with
// nothing left over in them.
func (c *cluster) mustAgree() {
	c.t.Helper()
	if err := c.converge(agreeWithin); err != nil {
		c.t.Errorf("no agreement: %v", err)
		c.explain()
		c.t.FailNow()
	}
	_, differences, err := compareFolders(context.Background(), c.dirs())
	if err != nil {
		c.t.Fatal(err)
	}
	if len(differences) > 0 {
		c.t.Errorf("in sync, but folders differ:\n%s", strings.Join(differences, "\n"))
		c.explain()
		c.t.FailNow()
	}
	for _, d := range c.daemons {
		c.until(time.Minute, func() error {
			left, err := os.ReadDir(filepath.Join(d.dir, ".resonate", "tmp"))
			if len(left) > 0 {
				return fmt.Errorf("%s has temporary files left: %v", d.name, left)
			}
			return err
		})
	}
}

// mustStandStill fails the test unless no daemon sends a message for the given time. What members know of each other
// may take a moment to get around.
func (c *cluster) mustStandStill(still time.Duration) {
	c.t.Helper()
	var last []uint64
	since := time.Now()
	c.until(still+15*time.Second, func() error {
		if c.revive != nil {
			c.revive()
		}
		var sent []uint64
		for _, d := range c.daemons {
			s, err := d.status()
			if err != nil {
				return err
			}
			sent = append(sent, s.MessagesSent)
		}
		if !slices.Equal(sent, last) {
			last, since = sent, time.Now()
		}
		if quiet := time.Since(since); quiet < still {
			return fmt.Errorf("messages were sent %v ago: %v in all", quiet, sent)
		}
		return nil
	})
}

// explain tells how the daemons and their folders differ.
func (c *cluster) explain(paths ...string) {
	c.t.Helper()
	for _, d := range c.daemons {
		s, err := d.status()
		if err != nil {
			c.t.Logf("%s: %v\n%s", d.name, err, d.lastLines(10))
			continue
		}
		c.t.Logf("%s %s: %q, roots %.8s %.8s, %d files, held %v, problems %v", d.name, s.Node, s.State, s.Roots.State, s.Roots.Content,
			s.Files, s.Held, s.Problems)
		for _, p := range s.Peers {
			c.t.Logf("    peer %.8s %s: in sync %v, to send %v, to receive %v", p.ID, p.State, p.InSync, p.ToSend, p.ToReceive)
		}
	}
	_, differences, err := compareFolders(context.Background(), c.dirs())
	c.t.Logf("folders differ in (%v):\n%s", err, strings.Join(differences, "\n"))
	for _, difference := range differences {
		path, _, _ := strings.Cut(difference, ": in ")
		paths = append(paths, strings.Trim(path, `"`))
	}
	for _, path := range paths[:min(len(paths), 5)] {
		for _, d := range c.daemons {
			c.t.Logf("%s tells of %s: %s\n%s", d.name, path, d.why(path), d.linesOf(path, 30))
		}
	}
}

// why is resonate why -json.
func (d *daemon) why(path string) string {
	d.mu.Lock()
	client := d.client
	d.mu.Unlock()
	if client == nil {
		return "it does not run"
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	why, err := client.Why(ctx, path)
	if err != nil {
		return err.Error()
	}
	text, err := json.Marshal(why)
	return fmt.Sprintf("%s %v", text, err)
}

// linesOf returns the last lines of the daemon's log that tell of a path.
func (d *daemon) linesOf(path string, n int) string {
	log, err := os.ReadFile(d.log)
	if err != nil {
		return err.Error()
	}
	var told []string
	for line := range strings.Lines(string(log)) {
		if strings.Contains(line, path) {
			told = append(told, line)
		}
	}
	return strings.Join(told[max(0, len(told)-n):], "")
}

// agreeWithin bounds how long daemons may take to agree, however much there is to do.
const agreeWithin = time.Minute
