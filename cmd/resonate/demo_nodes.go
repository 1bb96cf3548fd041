package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"resonate/control"
)

const (
	// nodeStart bounds the time from starting a daemon to its first answer.
	nodeStart = 20 * time.Second
	// nodeEnd is what a daemon gets between SIGTERM and SIGKILL.
	nodeEnd = 3 * time.Second
)

// demo is three nodes and the tree they share.
type demo struct {
	root  string
	out   io.Writer
	nodes []*demoNode
	tree  planted // set by fill

	mu sync.Mutex // one line at a time
}

// demoNode is one daemon, a child of this process.
type demoNode struct {
	name, dir, log string

	cmd    *exec.Cmd
	ended  chan struct{} // closed when the child has ended
	client *control.Client
	listen string
}

// say prints a line.
func (d *demo) say(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	fmt.Fprintf(d.out, format+"\n", args...)
}

// start runs the nodes, each with the earlier ones as its peers, so that everyone is connected with everyone.
func (d *demo) start(ctx context.Context) error {
	var peers []string
	for _, n := range d.nodes {
		if err := n.start(peers, d.environment()); err != nil {
			return err
		}
		if err := n.answer(ctx); err != nil {
			return d.explain(err)
		}
		peers = append(peers, n.listen)
		d.say("%s: %s, listening on %s", n.name, shown(n.dir), n.listen)
	}
	return nil
}

// start runs the daemon of a node on a free port. Its log goes to a file.
func (n *demoNode) start(peers, environment []string) error {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the program: %w", err)
	}
	log, err := os.Create(n.log)
	if err != nil {
		return fmt.Errorf("make the log of node %s: %w", n.name, err)
	}
	defer log.Close() // the child has its own
	n.cmd = exec.Command(exe, "-dir", n.dir, "-port", "0")
	n.cmd.Args[0] = os.Args[0] // a binary of several programs goes by it
	for _, p := range peers {
		n.cmd.Args = append(n.cmd.Args, "-peer", p)
	}
	n.cmd.Env = environment
	n.cmd.Stdout, n.cmd.Stderr = log, log
	n.cmd.SysProcAttr = detached()
	if err := n.cmd.Start(); err != nil {
		return fmt.Errorf("start node %s: %w", n.name, err)
	}
	n.ended = make(chan struct{})
	go func() { // ends with the child; stop waits for it
		_ = n.cmd.Wait()
		close(n.ended)
	}()
	return nil
}

// environment is that of this process, but with state and keys in the demo's own directory, and without the
// RESONATE_ variables, which are meant for the user's daemons.
func (d *demo) environment() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "RESONATE_") {
			env = append(env, e)
		}
	}
	state := filepath.Join(d.root, "state")
	return append(env, "XDG_STATE_HOME="+filepath.Join(state, "state"), "XDG_CONFIG_HOME="+filepath.Join(state, "config"),
		"XDG_RUNTIME_DIR="+filepath.Join(state, "run"))
}

// answer waits until the daemon answers, and notes where it listens.
func (n *demoNode) answer(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, nodeStart, fmt.Errorf("node %s did not answer in %v", n.name, nodeStart))
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-n.ended:
			return n.dead()
		case <-tick.C:
		}
		client, err := dialFolder(ctx, n.dir)
		if err != nil {
			continue
		}
		st, err := client.Status(ctx)
		if err == nil && st.Listen != "" {
			n.client, n.listen = client, st.Listen
			return nil
		}
		client.Close()
	}
}

// deadNode is a daemon of the demo that ended before its time.
type deadNode struct{ node *demoNode }

func (e deadNode) Error() string { return fmt.Sprintf("node %s has ended unasked", e.node.name) }

func (n *demoNode) dead() error { return deadNode{n} }

// explain adds the last lines of a dead node's log.
func (d *demo) explain(err error) error {
	var dead deadNode
	if !errors.As(err, &dead) {
		return err
	}
	log, readErr := os.ReadFile(dead.node.log)
	if readErr != nil {
		return err
	}
	lines := bytes.Split(bytes.TrimSpace(log), []byte("\n"))
	last := bytes.Join(lines[max(0, len(lines)-5):], []byte("\n    "))
	return fmt.Errorf("%w; the end of its log, %s:\n    %s", err, shown(dead.node.log), last)
}

// statuses asks all nodes.
func (d *demo) statuses(ctx context.Context) ([]control.Status, error) {
	all := make([]control.Status, len(d.nodes))
	for i, n := range d.nodes {
		var err error
		if all[i], err = n.client.Status(ctx); err == nil {
			continue
		}
		select {
		case <-n.ended:
			return nil, n.dead()
		default:
			return nil, fmt.Errorf("ask node %s: %w", n.name, err)
		}
	}
	return all, nil
}

// agree tells whether there is nothing left to exchange between the nodes.
func agree(all []control.Status) bool {
	for _, s := range all {
		if s.Roots != all[0].Roots {
			return false
		}
	}
	return true
}

// flowLine tells what each node has.
func flowLine(nodes []*demoNode, all []control.Status) string {
	parts := make([]string, len(all))
	for i, s := range all {
		parts[i] = fmt.Sprintf("%s %s %s", nodes[i].name, formatCount(s.Files, "file", "files"), formatBytes(s.Bytes))
	}
	return strings.Join(parts, " | ")
}

// converge waits until every node's changes are with its peers and all agree.
func (d *demo) converge(ctx context.Context) error {
	for _, n := range d.nodes {
		if err := n.client.Wait(ctx, ""); err != nil {
			return fmt.Errorf("wait for node %s: %w", n.name, err)
		}
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		all, err := d.statuses(ctx)
		if err != nil || agree(all) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %s", context.Cause(ctx), flowLine(d.nodes, all))
		case <-tick.C:
		}
	}
}

// stop ends the nodes that run: asked first, killed when they do not listen.
func (d *demo) stop() {
	for _, n := range d.nodes {
		if n.client != nil {
			n.client.Close()
		}
		if n.ended != nil {
			_ = n.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
		}
	}
	late := time.After(nodeEnd)
	for _, n := range d.nodes {
		if n.ended == nil {
			continue
		}
		select {
		case <-n.ended:
			continue
		case <-late:
			late = time.After(0) // the time is the same for all
		}
		d.say("node %s did not end in %v: killed; its log is %s", n.name, nodeEnd, shown(n.log))
		_ = n.cmd.Process.Kill()
		<-n.ended
	}
}
