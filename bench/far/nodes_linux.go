package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A node is a daemon on a host.
type node struct {
	folder string
	cmd    *exec.Cmd
	ended  chan struct{}
	log    string
}

// endTime is what a daemon gets between SIGTERM and SIGKILL.
const endTime = 15 * time.Second

const port = "7373"

// startNodes starts a daemon on either host, in an empty folder below work. Both are of one user, which is why they trust each other.
func startNodes(resonate, work string, hosts [2]*host) (nodes [2]*node, err error) {
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + work, "LANG=C.UTF-8"}
	for _, kind := range []string{"STATE_HOME", "CONFIG_HOME", "RUNTIME_DIR"} {
		dir := filepath.Join(work, strings.ToLower(kind))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nodes, err
		}
		env = append(env, "XDG_"+kind+"="+dir)
	}
	for i := range nodes {
		n := &node{folder: filepath.Join(work, "folder"+fmt.Sprint(i)), log: filepath.Join(work, "log"+fmt.Sprint(i)), ended: make(chan struct{})}
		if err := os.MkdirAll(n.folder, 0o755); err != nil {
			return nodes, err
		}
		n.cmd = exec.Command(resonate, "-dir", n.folder, "-port", port, "-listen", hosts[i].address, "-peer", hosts[1-i].address+":"+port)
		n.cmd.Env = env
		n.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for this program, which ends the others in order
		if err := hosts[i].in(n.start); err != nil {
			return nodes, err
		}
		nodes[i] = n
	}
	return nodes, nil
}

// start starts the daemon; it runs in the network of the thread that this is called on.
func (n *node) start() error {
	log, err := os.Create(n.log)
	if err != nil {
		return err
	}
	defer log.Close()
	n.cmd.Stdout, n.cmd.Stderr = log, log
	if err := n.cmd.Start(); err != nil {
		return fmt.Errorf("start resonate: %w", err)
	}
	go func() { // ends with the process, which stop waits for
		_ = n.cmd.Wait()
		close(n.ended)
	}()
	return nil
}

// stop ends a daemon; nil: there is none.
func (n *node) stop() error {
	if n == nil {
		return nil
	}
	_ = n.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case <-n.ended:
		return nil
	case <-time.After(endTime):
	}
	_ = n.cmd.Process.Kill()
	<-n.ended
	return fmt.Errorf("resonate did not end in %v: killed", endTime)
}

const (
	lookOften = 300 * time.Microsecond // how often a folder is looked at
	longest   = 5 * time.Minute        // bounds every wait
)

// await waits until something holds, and fails when one of the daemons has ended, or it takes too long.
func await(ctx context.Context, nodes [2]*node, what string, holds func() bool) error {
	look := time.NewTicker(lookOften)
	defer look.Stop()
	over := time.After(longest)
	for !holds() {
		select {
		case <-look.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-nodes[0].ended:
			return nodes[0].lastWords("resonate has ended unasked")
		case <-nodes[1].ended:
			return nodes[1].lastWords("resonate has ended unasked")
		case <-over:
			return nodes[1].lastWords(fmt.Sprintf("%s: not there after %v", what, longest))
		}
	}
	return nil
}

// lastWords gives an error with the end of the daemon's log.
func (n *node) lastWords(what string) error {
	text, err := os.ReadFile(n.log)
	if err != nil {
		return errors.New(what)
	}
	return fmt.Errorf("%s; its log ends: %s", what, strings.TrimSpace(string(text[max(0, len(text)-500):])))
}
