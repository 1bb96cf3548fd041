// Command resonate keeps one folder the same on two or more machines, live and in both directions. This
// package is the command line and nothing more: flags, one file for each command, exit codes, and the wiring
// of the packages that do the work.
package main

import (
	"context"
	"flag"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup(1) means what it says
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, restore := signal.NotifyContext(context.Background(), signals...)
	context.AfterFunc(ctx, restore) // a second signal kills
	os.Exit(run(ctx, os.Args[1:], console{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Env: os.Getenv}))
}

// console is what a command has of the world besides the file system. Env returns "" for what is not set.
type console struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
	Env func(name string) string
}

// run carries out one command line (without the program's name) and returns the exit code. When ctx ends, the
// command ends.
func run(ctx context.Context, args []string, c console) int {
	err := dispatch(ctx, args, c)
	if err == nil {
		return exitDone
	}
	if err.Error() != "" { // not the end of a command that has told itself
		printError(c.Err, err)
	}
	return exitCode(err)
}

// dispatch finds the command that args name and runs it. Without one, there is help for nothing at all, and
// the daemon for anything else.
func dispatch(ctx context.Context, args []string, c console) error {
	if len(args) == 0 {
		return printOverview(c.Out)
	}
	table := commands()
	name, rest := splitCommand(args, table)
	if name == "" {
		switch {
		case asksForHelp(rest):
			return printOverview(c.Out)
		case len(rest) == 1 && (rest[0] == "-version" || rest[0] == "--version"):
			name, rest = "version", nil
		default:
			name = daemonName
		}
	}
	cmd, ok := find(table, name)
	if !ok {
		if unknown := unknownFlag(args, table); unknown != "" { // its value was taken for the command
			return usageError{command: daemonName, cause: "unknown flag " + shown(unknown)}
		}
		return unknownCommand(name)
	}
	set, action := cmd.prepare(c)
	if asksForHelp(rest) {
		return printCommand(c.Out, cmd)
	}
	if cmd.runs {
		return dispatchRun(ctx, cmd, set, action, rest, c)
	}
	operands, err := parse(set, rest, c.Env)
	if err != nil {
		return usageError{command: cmd.name, cause: err.Error()}
	}
	return action(ctx, operands)
}

// dispatchRun runs a command that runs another one, if one is named; then exit codes of its own are those that no other should have.
func dispatchRun(ctx context.Context, cmd command, set *flag.FlagSet, do action, args []string, c console) error {
	operands, tail, err := parseRun(set, args, c.Env)
	if err != nil {
		err = usageError{command: cmd.name, cause: err.Error()}
	} else {
		err = do(ctx, operands)
	}
	if tail != nil {
		return endWith(err)
	}
	return err
}

// unknownCommand is the error for a first word that is no command; a folder there is an easy mistake.
func unknownCommand(name string) error {
	if st, err := os.Stat(name); err == nil && st.IsDir() {
		return usageError{cause: "unknown command " + shown(name), remedy: "to keep that folder in step: resonate -dir " + shellWord(name)}
	}
	return usageError{cause: "unknown command " + shown(name)}
}
