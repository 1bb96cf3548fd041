package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"resonate/control"
)

func heldCommand() command {
	return command{
		name:     "held",
		operands: "[list|approve|revert] [PATH...] [-json]",
		verbs:    []string{"list", "approve", "revert"},
		short:    "list the changes that are held, let them go, or undo them",
		long: `A burst that deletes or rewrites a large part of the folder (-hold of the daemon), and what a crash left in
doubt, is not passed on before somebody has looked at it. "approve" lets it go, "revert" brings back what was
there, which takes a peer that has it: "resonate wait" returns when it is done. Without paths both mean everything
that is held. On a node that only receives, what is changed in its folder is held, too: "revert" undoes it, and
moves what is new to the history; nothing is approved there.`,
		define: func(set *flag.FlagSet, c console) action {
			dir, asJSON := dirFlag(set), jsonFlag(set)
			return func(ctx context.Context, operands []string) error {
				verb := "list"
				if len(operands) > 0 {
					verb, operands = operands[0], operands[1:]
				}
				if verb != "list" && verb != "approve" && verb != "revert" {
					return usageError{command: "held", cause: "want list, approve or revert, not " + shown(verb)}
				}
				return withDaemon(ctx, *dir, func(folder string, client *control.Client) error {
					paths, err := allInFolder(folder, operands)
					if err != nil {
						return err
					}
					switch verb {
					case "approve":
						n, err := client.Approve(ctx, paths)
						return settled(c, *asJSON, "approved", operands, n, err)
					case "revert":
						n, err := client.Revert(ctx, paths)
						return settled(c, *asJSON, "reverting", operands, n, err)
					}
					return listHeld(ctx, c, client, paths, *asJSON)
				})
			}
		},
	}
}

func allInFolder(folder string, operands []string) ([]string, error) {
	var paths []string
	for _, operand := range operands {
		path, err := inFolder(folder, operand)
		if err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// settled tells how many changes are approved, or being reverted. Operands that name nothing held are a mistake.
func settled(c console, asJSON bool, done string, operands []string, n int, err error) error {
	if err != nil {
		return err
	}
	if n == 0 && len(operands) > 0 {
		return stateError{shown(strings.Join(operands, " ")), errors.New("nothing is held there"), "see what is held: resonate held"}
	}
	if asJSON {
		return printJSON(c.Out, map[string]int{done: n})
	}
	_, err = fmt.Fprintf(c.Out, "%s %s\n", done, formatCount(n, "change", "changes"))
	return err
}

// listHeld prints what is held at and below the given paths, or everything.
func listHeld(ctx context.Context, c console, client *control.Client, paths []string, asJSON bool) error {
	all, err := client.Held(ctx)
	if err != nil {
		return err
	}
	held := heldBelow(all, paths)
	if asJSON {
		return printJSON(c.Out, held)
	}
	_, err = io.WriteString(c.Out, renderHeldList(held, time.Local))
	return err
}

// heldBelow returns those of held that are at or below one of paths; all of them with no path.
func heldBelow(held []control.Held, paths []string) []control.Held {
	if len(paths) == 0 {
		return held
	}
	some := []control.Held{}
	for _, h := range held {
		for _, p := range paths {
			if p == "" || h.Path == p || strings.HasPrefix(h.Path, p+"/") {
				some = append(some, h)
				break
			}
		}
	}
	return some
}

// renderHeldList writes held changes for people, with times in the given zone: each cause once, and below it what it holds.
func renderHeldList(held []control.Held, zone *time.Location) string {
	if len(held) == 0 {
		return "nothing is held\n"
	}
	var b strings.Builder
	for _, group := range byCause(held) {
		fmt.Fprintf(&b, "%s; %s\n", harmless(group[0].Cause), harmless(group[0].Remedy))
		for _, h := range group {
			fmt.Fprintf(&b, "    %s  %-9s  %s\n", h.Since.In(zone).Format(time.DateTime), h.Kind, shown(h.Path))
		}
	}
	return b.String()
}

// byCause puts together what has the same cause and remedy, in the order in which they first appear.
func byCause(held []control.Held) [][]control.Held {
	type why struct{ cause, remedy string }
	place := map[why]int{}
	var groups [][]control.Held
	for _, h := range held {
		w := why{h.Cause, h.Remedy}
		i, known := place[w]
		if !known {
			i = len(groups)
			place[w] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], h)
	}
	return groups
}
