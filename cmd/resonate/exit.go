package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"resonate/control"
)

// The exit codes, as help lists them.
const (
	exitDone     = 0
	exitFailed   = 1
	exitUsage    = 2
	exitTimeout  = 3
	exitHeld     = 4
	exitNoDaemon = 5
)

// The exit codes of a command that runs another one, besides that one's own, as env(1) and timeout(1) have them.
const (
	exitNotHad     = 124 // the lock was not had, so the other did not run
	exitOurs       = 125 // we failed, or lost the lock while it ran
	exitCannotRun  = 126
	exitNoSuch     = 127
	exitSignalBase = 128 // and the number of the signal that ended it
)

// endError is the end of a command that runs another one.
type endError struct {
	code int
	err  error // nil: what the other one did is all there is to tell
}

func (e endError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}
func (e endError) Unwrap() error { return e.err }

// endWith gives an error of a command that runs another one its exit code.
func endWith(err error) error {
	var end endError
	if err == nil || errors.As(err, &end) {
		return err
	}
	for _, notHad := range []error{control.ErrHeldElsewhere, control.ErrNoMajority, control.ErrQueueFull, control.ErrTimeout, context.Canceled} {
		if errors.Is(err, notHad) {
			return endError{exitNotHad, err}
		}
	}
	return endError{exitOurs, err}
}

// usageError is a command line that cannot be right, whatever the state of the machine.
type usageError struct {
	command string // whose help to point at; "" for the overview
	cause   string
	remedy  string // "": read the help
}

func (e usageError) Error() string { return e.cause }

func (e usageError) advice() string {
	switch {
	case e.remedy != "":
		return e.remedy
	case e.command != "":
		return fmt.Sprintf("see: resonate help %s", e.command)
	}
	return "see: resonate help"
}

// stateError is something about the machine that the user can put right.
type stateError struct {
	what   string // the path or peer, and what was tried with it
	cause  error
	remedy string
}

func (e stateError) Error() string {
	if e.what == "" {
		return e.cause.Error()
	}
	return e.what + ": " + e.cause.Error()
}
func (e stateError) Unwrap() error  { return e.cause }
func (e stateError) advice() string { return e.remedy }

// exitCode maps what went wrong to what scripts see.
func exitCode(err error) int {
	var usage usageError
	var end endError
	switch {
	case errors.As(err, &end):
		return end.code
	case errors.As(err, &usage), errors.Is(err, control.ErrBadArgument):
		return exitUsage
	case errors.Is(err, control.ErrTimeout), errors.Is(err, control.ErrPaused):
		return exitTimeout
	case errors.Is(err, control.ErrHeldElsewhere):
		return exitHeld
	case errors.Is(err, control.ErrNoDaemon):
		return exitNoDaemon
	}
	return exitFailed
}

// printError writes what went wrong and, on a line of its own, what to do about it.
func printError(w io.Writer, err error) {
	fmt.Fprintf(w, "resonate: %s\n", strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "\n  "))
	var a interface{ advice() string }
	if errors.As(err, &a) && a.advice() != "" {
		fmt.Fprintf(w, "  %s\n", a.advice())
	}
}
