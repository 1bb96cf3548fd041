package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
)

// program is a command that is run for the user.
type program struct {
	name string // as it was given
	path string
	args []string
}

// findProgram looks a command up, as a shell does.
func findProgram(argv []string) (program, error) {
	path, err := exec.LookPath(argv[0])
	p := program{name: argv[0], path: path, args: argv[1:]}
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return p, endError{exitNoSuch, fmt.Errorf("run %s: there is no such command", shown(argv[0]))}
	case err != nil:
		return p, endError{exitCannotRun, fmt.Errorf("run %s: %w", shown(argv[0]), err)}
	}
	return p, nil
}

// process is a program that runs.
type process struct {
	cmd   *exec.Cmd
	group bool       // it leads a process group of its own
	ended chan int   // its exit code, when it has ended
	began chan error // nil: it runs
}

// start starts the program with our streams and environment, and what is added to that. On a terminal it stays in our process group, for
// that is how a terminal stops and resumes both; elsewhere it leads one of its own, and what it has started is ended with it.
func (p program) start(c console, env ...string) (*process, error) {
	r := &process{cmd: exec.Command(p.path, p.args...), group: !onTerminal(c.In), ended: make(chan int, 1), began: make(chan error, 1)}
	r.cmd.Args[0] = p.name
	r.cmd.Env = append(os.Environ(), env...)
	r.cmd.Stdin, r.cmd.Stdout, r.cmd.Stderr = c.In, c.Out, c.Err
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: r.group}
	dieWithUs(r.cmd.SysProcAttr)
	go r.wait()
	if err := <-r.began; err != nil {
		code := exitCannotRun
		if errors.Is(err, fs.ErrNotExist) {
			code = exitNoSuch
		}
		return nil, endError{code, fmt.Errorf("run %s: %w", shown(p.name), err)}
	}
	return r, nil
}

// wait runs the process to its end. A process that is to die with us dies with the thread that started it (prctl(2), PR_SET_PDEATHSIG), so
// that thread stays.
func (r *process) wait() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := r.cmd.Start()
	r.began <- err
	if err != nil {
		return
	}
	_ = r.cmd.Wait() // the state says all
	status, ok := r.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		r.ended <- exitSignalBase + int(status.Signal())
		return
	}
	r.ended <- r.cmd.ProcessState.ExitCode()
}

// signal passes a signal on. That the process has just ended is no error.
func (r *process) signal(s os.Signal) {
	number, ok := s.(syscall.Signal)
	if r.group && ok {
		_ = syscall.Kill(-r.cmd.Process.Pid, number)
		return
	}
	_ = r.cmd.Process.Signal(s)
}

// terminate asks the process to end; one that is stopped is made to hear it.
func (r *process) terminate() {
	r.signal(syscall.SIGTERM)
	r.signal(syscall.SIGCONT)
}

func (r *process) kill() { r.signal(syscall.SIGKILL) }

// signals are those that are meant for the command we run.
type signals struct {
	ch   chan os.Signal // to be passed on
	keys chan os.Signal // those that the command has from the terminal, as we do: nobody reads them, and they do not end us
}

// takeSignals takes them until restore. On a terminal those that a key sends reach the command by themselves.
func takeSignals(in io.Reader) *signals {
	list := []os.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGINT, syscall.SIGQUIT}
	s := &signals{ch: make(chan os.Signal, 8), keys: make(chan os.Signal, 1)}
	for _, one := range list {
		ch := s.ch
		if onTerminal(in) && (one == syscall.SIGINT || one == syscall.SIGQUIT) {
			ch = s.keys
		}
		if !signal.Ignored(one) {
			signal.Notify(ch, one)
		}
	}
	return s
}

func (s *signals) restore() {
	signal.Stop(s.ch)
	signal.Stop(s.keys)
}
