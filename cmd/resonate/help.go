package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"
)

const overview = `resonate keeps a folder the same on several machines, live and in both directions.

    mkdir test1; resonate -dir test1 -port 1234 -peer localhost:4321
    mkdir test2; resonate -dir test2 -port 4321 -peer localhost:1234

Usage:
    resonate -dir DIR [flags]            run the daemon ("resonate help daemon" lists the flags)
    resonate COMMAND [flags] [operands]  speak to the daemon of the folder one is in

Commands:
`

const conventions = `
Flags take one dash or two, before or after operands; "--" ends them. Each has a variable (-history-age:
RESONATE_HISTORY_AGE), over which the flag wins. Durations are written as 90s, 2h30m or 7d.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not in sync or timed out, 4 held elsewhere, 5 no daemon.
`

func helpCommand() command {
	return command{
		name:     "help",
		operands: "[COMMAND]",
		short:    "explain a command",
		define: func(set *flag.FlagSet, c console) action {
			return func(_ context.Context, operands []string) error {
				if len(operands) == 0 {
					return printOverview(c.Out)
				}
				cmd, ok := find(commands(), operands[0])
				if !ok || len(operands) > 1 {
					return unknownCommand(strings.Join(operands, " "))
				}
				return printCommand(c.Out, cmd)
			}
		},
	}
}

// printOverview writes the help for resonate as a whole.
func printOverview(w io.Writer) error {
	var b strings.Builder
	b.WriteString(overview)
	for _, cmd := range commands() {
		fmt.Fprintf(&b, "    %-12s %s\n", cmd.name, cmd.short)
	}
	b.WriteString(conventions)
	_, err := io.WriteString(w, b.String())
	return err
}

// printCommand writes the help for one command.
func printCommand(w io.Writer, cmd command) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: %s\n\n%s\n", usageOf(cmd), sentence(cmd.short))
	if cmd.long != "" {
		fmt.Fprintf(&b, "\n%s\n", strings.TrimSpace(cmd.long))
	}
	heading := "\nFlags:\n"
	for _, f := range cmd.ownFlags() {
		b.WriteString(heading)
		heading = ""
		writeFlag(&b, f)
	}
	if cmd.settings {
		b.WriteString("    and the daemon's flags (see: resonate help daemon)\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// usageOf is the command line that a command wants. The daemon's name may be left out, and is.
func usageOf(cmd command) string {
	usage := "resonate " + cmd.name
	if cmd.name == daemonName {
		usage = "resonate"
	}
	return strings.TrimSpace(usage + " " + cmd.operands)
}

// writeFlag writes a flag's name with its argument, and below it what it means.
func writeFlag(b *strings.Builder, f *flag.Flag) {
	argument, text := flag.UnquoteUsage(f)
	if isSwitch(f) {
		argument = ""
	}
	fmt.Fprintf(b, "    %s\n        %s", strings.TrimSpace("-"+f.Name+" "+strings.ToUpper(argument)), text)
	if f.DefValue != "" && !isSwitch(f) {
		fmt.Fprintf(b, " (default %s)", f.DefValue)
	}
	b.WriteByte('\n')
}

func sentence(s string) string { return strings.ToUpper(s[:1]) + s[1:] + "." }
