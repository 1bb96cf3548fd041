package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"resonate/control"
)

func locksCommand() command {
	return command{
		name:     "locks",
		operands: "[list] [PATH] [-json]",
		verbs:    []string{"list"},
		short:    "list what is locked, by whom, since when and why, and who waits for it",
		long: `Lists the locks of the whole cluster: all of them, or those that PATH is subject to and those below it. What a node keeps
after use and gives up when somebody asks is only counted; -json lists that, too, with "delegated".`,
		define: func(set *flag.FlagSet, c console) action {
			dir, asJSON := dirFlag(set), jsonFlag(set)
			return func(ctx context.Context, operands []string) error {
				if len(operands) > 0 && operands[0] == "list" {
					operands = operands[1:]
				}
				if len(operands) > 1 {
					return usageError{command: "locks", cause: "one path at most"}
				}
				return withDaemon(ctx, *dir, func(folder string, client *control.Client) error {
					var on control.Resource
					if len(operands) == 1 {
						rel, err := inFolder(folder, operands[0])
						if err != nil {
							return err
						}
						on = control.Resource{Path: rel, Below: true}
					}
					list, err := client.Locks(ctx, on)
					if err != nil {
						return err
					}
					if *asJSON {
						return printJSON(c.Out, list)
					}
					_, err = io.WriteString(c.Out, renderLocks(list, time.Now(), time.Local))
					return err
				})
			}
		},
	}
}

// renderLocks writes locks for people, as of now: each resource once, who holds it, and below who waits.
func renderLocks(list []control.Lock, now time.Time, zone *time.Location) string {
	var b strings.Builder
	delegated, nodes := 0, map[string]bool{}
	for _, l := range list {
		switch {
		case l.Delegated:
			delegated++
			nodes[l.Node] = true
		case l.State == "held":
			fmt.Fprintf(&b, "%-32s  %s\n", resourceWords(l.Resource), holderWords(l, now, zone))
		default:
			fmt.Fprintf(&b, "    %s waits for %s, %s\n", whose(l), resourceWords(l.Resource), sinceWords(l, now, zone))
		}
	}
	if b.Len() == 0 {
		b.WriteString("nothing is locked\n")
	}
	if delegated > 0 {
		fmt.Fprintf(&b, "%s %s ready, given up when somebody asks\n", formatCount(len(nodes), "node keeps", "nodes keep"), formatCount(delegated, "scope", "scopes"))
	}
	return b.String()
}

// resourceWords is what a resource is called for people.
func resourceWords(r control.Resource) string {
	switch {
	case r.Name != "":
		return "name " + shown(r.Name)
	case r.Path == "":
		return "the whole folder"
	case r.Below:
		return shown(r.Path) + "/"
	}
	return shown(r.Path)
}

// resourceOperand is a resource as a command line names it.
func resourceOperand(r control.Resource) string {
	switch {
	case r.Name != "":
		return "-name " + shellWord(r.Name)
	case r.Path == "":
		return "."
	}
	return shellWord(r.Path)
}

// whose tells who holds a lock, or waits, and where.
func whose(l control.Lock) string {
	who, host := harmless(l.Owner), harmless(l.Host)
	switch {
	case who == "" && l.Mine:
		return "this machine"
	case who == "":
		return host
	case l.Mine:
		return who + " on this machine"
	}
	return who + " on " + host
}

// holderWords tells all that matters of a lock to whoever is kept from it.
func holderWords(l control.Lock, now time.Time, zone *time.Location) string {
	text := whose(l)
	switch l.Mode {
	case "shared":
		text += " (shared)"
	case "permit":
		text += fmt.Sprintf(" (one of %d)", l.Permits)
	}
	text += ", " + sinceWords(l, now, zone) + untilLocked(l, zone)
	if l.Why != "" {
		text += ": " + harmless(l.Why)
	}
	return text
}

func sinceWords(l control.Lock, now time.Time, zone *time.Location) string {
	return fmt.Sprintf("since %s (%s)", l.Since.In(zone).Format(time.DateTime), formatSpan(now.Sub(l.Since)))
}
