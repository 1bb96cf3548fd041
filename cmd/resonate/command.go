package main

import (
	"context"
	"flag"
	"io"
)

// daemonName is the command that runs when none is named.
const daemonName = "daemon"

// command is one line of the command table, from which dispatch, help and completion are made.
type command struct {
	name     string
	operands string   // as help shows them
	verbs    []string // what the first operand may be, for completion
	short    string   // one line
	long     string   // what help adds
	settings bool     // it takes the daemon's flags, too, which help does not list again
	runs     bool     // it runs a command that stands after "--", which stays among its operands
	// define adds the command's flags to the set and returns what it does once they are parsed.
	define func(set *flag.FlagSet, c console) action
}

// action carries a command out.
type action func(ctx context.Context, operands []string) error

// prepare returns the command's flags, not yet parsed, and its action.
func (cmd command) prepare(c console) (*flag.FlagSet, action) {
	set := flag.NewFlagSet(cmd.name, flag.ContinueOnError)
	set.SetOutput(io.Discard) // errors are printed in one place, and so is help
	return set, cmd.define(set, c)
}

// flags returns the command's flags, to be listed.
func (cmd command) flags() *flag.FlagSet {
	set, _ := cmd.prepare(console{Env: func(string) string { return "" }})
	return set
}

// ownFlags returns the flags that help and docs/commands.md list of the command: all, but for those that are the daemon's.
func (cmd command) ownFlags() []*flag.Flag {
	var own []*flag.Flag
	daemons := newSettings().set
	cmd.flags().VisitAll(func(f *flag.Flag) {
		if !cmd.settings || f.Name == "dir" || daemons.Lookup(f.Name) == nil {
			own = append(own, f)
		}
	})
	return own
}

// commands is the table, in the order in which help lists it.
func commands() []command {
	return []command{
		daemonCommand(),
		statusCommand(),
		waitCommand(),
		historyCommand(),
		restoreCommand(),
		heldCommand(),
		conflictsCommand(),
		pauseCommand(),
		resumeCommand(),
		ignoreCommand(),
		treeCommand(),
		whyCommand(),
		checkCommand(),
		auditCommand(),
		eventsCommand(),
		inviteCommand(),
		joinCommand(),
		peersCommand(),
		leaveCommand(),
		lockCommand(),
		unlockCommand(),
		locksCommand(),
		electCommand(),
		runOnceCommand(),
		clusterCommand(),
		selftestCommand(),
		witnessCommand(),
		serveCommand(),
		serviceCommand(),
		configCommand(),
		demoCommand(),
		versionCommand(),
		completionCommand(),
		helpCommand(),
	}
}

func find(table []command, name string) (command, bool) {
	for _, cmd := range table {
		if cmd.name == name {
			return cmd, true
		}
	}
	return command{}, false
}

// dirFlag adds -dir, the folder that a command speaks of.
func dirFlag(set *flag.FlagSet) *string {
	return set.String("dir", "", "the synchronised `folder`; by default the one around the working directory")
}

// jsonFlag adds -json.
func jsonFlag(set *flag.FlagSet) *bool {
	return set.Bool("json", false, "print JSON")
}
