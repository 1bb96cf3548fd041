package main

import (
	"errors"
	"flag"
	"fmt"
	"strings"
)

// parse reads args into set and returns the operands. Flags may stand before, between and after operands; "--"
// ends them. A flag that args do not set takes the value of its RESONATE_ variable, if there is one. Afterwards set's
// Visit goes through the flags that args set, and through no others.
func parse(set *flag.FlagSet, args []string, env func(string) string) ([]string, error) {
	flags, operands, tail := partition(args, func(name string) bool { return takesValue(set, name) })
	return append(operands, tail...), setFlags(set, flags, env)
}

// endOfFlags ends the flags, and begins the command line of another command.
const endOfFlags = "--"

// parseRun is parse for a command that runs another one: where args have a "--", it stands among the operands, and tail is what follows.
func parseRun(set *flag.FlagSet, args []string, env func(string) string) (operands, tail []string, err error) {
	flags, operands, tail := partition(args, func(name string) bool { return takesValue(set, name) })
	if tail != nil {
		operands = append(append(operands, endOfFlags), tail...)
	}
	return operands, tail, setFlags(set, flags, env)
}

// setFlags sets the flags from args, which are nothing else, and from the environment.
func setFlags(set *flag.FlagSet, flags []string, env func(string) string) error {
	if err := set.Parse(flags); err != nil {
		return err
	}
	given := map[string]bool{}
	set.Visit(func(f *flag.Flag) { given[f.Name] = true })
	var problems []error
	set.VisitAll(func(f *flag.Flag) {
		value := env(variable(f.Name))
		if given[f.Name] || value == "" {
			return
		}
		if err := f.Value.Set(value); err != nil {
			problems = append(problems, fmt.Errorf("invalid value %q for %s: %w", value, variable(f.Name), err))
		}
	})
	return errors.Join(problems...)
}

// variable is the environment variable that stands in for a flag.
func variable(name string) string {
	return "RESONATE_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// partition splits args into flags (with their values), operands, and what follows "--", each in order. tail is not nil where there is
// a "--".
func partition(args []string, takesValue func(name string) bool) (flags, operands, tail []string) {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		name, isFlag := flagName(arg)
		switch {
		case arg == endOfFlags:
			return flags, operands, append([]string{}, args[i+1:]...)
		case !isFlag:
			operands = append(operands, arg)
		case !strings.Contains(arg, "=") && takesValue(name) && i+1 < len(args):
			flags = append(flags, arg, args[i+1])
			i++
		default:
			flags = append(flags, arg)
		}
	}
	return flags, operands, nil
}

// flagName returns the name in -name, --name and -name=value. A lone "-" is an operand.
func flagName(arg string) (string, bool) {
	if len(arg) < 2 || arg[0] != '-' {
		return "", false
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(arg[1:], "-"), "=")
	return name, true
}

// takesValue tells whether the next argument belongs to the flag. For an unknown one it does not.
func takesValue(set *flag.FlagSet, name string) bool {
	f := set.Lookup(name)
	return f != nil && !isSwitch(f)
}

// isSwitch tells whether a flag stands alone.
func isSwitch(f *flag.Flag) bool {
	b, ok := f.Value.(interface{ IsBoolFlag() bool })
	return ok && b.IsBoolFlag()
}

// splitCommand takes the command's name, the first operand, out of args. Which flags take a value is the same
// for all commands (a test sees to it), so that it can be known before the command is.
func splitCommand(args []string, table []command) (name string, rest []string) {
	valued := flagsOf(table)
	for i := 0; i < len(args) && args[i] != endOfFlags; i++ {
		flag, isFlag := flagName(args[i])
		if !isFlag {
			return args[i], append(append(rest, args[:i]...), args[i+1:]...)
		}
		if valued[flag] && !strings.Contains(args[i], "=") {
			i++
		}
	}
	return "", args
}

// flagsOf returns the flags of all commands, and whether each takes a value.
func flagsOf(table []command) map[string]bool {
	valued := map[string]bool{"h": false, "help": false, "version": false}
	for _, cmd := range table {
		cmd.flags().VisitAll(func(f *flag.Flag) { valued[f.Name] = !isSwitch(f) })
	}
	return valued
}

// unknownFlag returns the first flag in args, up to the command, that no command has; "" if there is none.
func unknownFlag(args []string, table []command) string {
	known := flagsOf(table)
	for i := 0; i < len(args) && args[i] != endOfFlags; i++ {
		name, isFlag := flagName(args[i])
		if !isFlag {
			return ""
		}
		valued, ok := known[name]
		if !ok {
			return args[i]
		}
		if valued && !strings.Contains(args[i], "=") {
			i++
		}
	}
	return ""
}

// asksForHelp tells whether -h or -help is among the flags.
func asksForHelp(args []string) bool {
	for _, arg := range args {
		if arg == endOfFlags {
			return false
		}
		if name, isFlag := flagName(arg); isFlag && (name == "h" || name == "help") {
			return true
		}
	}
	return false
}
