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

// endTime is what a process gets between SIGTERM and SIGKILL.
const endTime = 15 * time.Second

// A crew is the processes that a tool runs as, on both sides. It is used by one goroutine.
type crew struct {
	env     []string
	log     *os.File // what they print
	running []*process
	past    time.Duration // CPU time of processes that have ended
}

type process struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has
}

// spawn starts a process that stays.
func (c *crew) spawn(program string, args ...string) error {
	p := &process{exec.Command(program, args...), make(chan struct{})}
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = c.env, c.log, c.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for this program, which ends the others in order
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", program, err)
	}
	go func() { // ends with the process; stop waits for it
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	c.running = append(c.running, p)
	return nil
}

// call runs a process to its end.
func (c *crew) call(ctx context.Context, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = c.env, c.log, c.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = endTime
	err := cmd.Run()
	if cmd.ProcessState != nil {
		c.past += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	if err != nil {
		return fmt.Errorf("run %s: %w; %s", filepath.Base(program), err, c.lastWords())
	}
	return nil
}

// alive returns an error that names a process that should run and does not.
func (c *crew) alive() error {
	for _, p := range c.running {
		select {
		case <-p.ended:
			return fmt.Errorf("%s has ended unasked: %v; %s", filepath.Base(p.cmd.Path), p.cmd.ProcessState, c.lastWords())
		default:
		}
	}
	return nil
}

// lastWords gives the end of the log.
func (c *crew) lastWords() string {
	text, err := os.ReadFile(c.log.Name())
	if err != nil {
		return "its log is lost"
	}
	return "its log ends: " + strings.TrimSpace(string(text[max(0, len(text)-500):]))
}

// stop ends all processes, those that they have started included: asked first, killed when they do not listen.
func (c *crew) stop() error {
	family := c.family()
	for _, p := range c.running {
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	}
	var errs []error
	deadline := time.After(endTime)
	for _, p := range c.running {
		select {
		case <-p.ended:
			continue
		case <-deadline:
			deadline = time.After(0) // the time is the same for all
		}
		errs = append(errs, fmt.Errorf("%s did not end in %v: killed", filepath.Base(p.cmd.Path), endTime))
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.ended
	}
	for _, orphan := range family { // such as sshd's, which are of no group of ours; the start time tells a pid used again
		if s, ok := readStat(orphan.pid); ok && s.started == orphan.started {
			_ = syscall.Kill(orphan.pid, syscall.SIGKILL)
		}
	}
	for _, p := range c.running {
		c.past += p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
	}
	c.running = nil
	return errors.Join(errs...)
}

// family gives the running processes and all that descend from them.
func (c *crew) family() []procStat {
	var roots []int
	for _, p := range c.running {
		roots = append(roots, p.cmd.Process.Pid)
	}
	return descendants(allStats(), roots)
}

// cpu gives the CPU time that the running processes have used so far.
func (c *crew) cpu() time.Duration {
	var sum time.Duration
	for _, s := range c.family() {
		sum += s.cpu
	}
	return sum
}

// memory gives the proportional set size of all running processes, in bytes. ok is false where the system does not tell.
func (c *crew) memory() (sum int64, ok bool) {
	for _, s := range c.family() {
		n, err := readPSS(s.pid)
		if err != nil {
			return 0, false
		}
		sum += n
	}
	return sum, sum > 0
}
