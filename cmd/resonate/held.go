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

func heldCommand() command {
	return command{
		name:     "held",
		operands: "[list|approve|revert] [PATH...] [-json]",
		verbs:    []string{"list", "approve", "revert"},
		short:    "list the changes that are held, let them go, or undo them",
		long: `A burst that deletes or rewrites a large part of the folder (-hold of the daemon), and what a crash left in
doubt, is not passed on before somebody has looked at it. "approve" lets it go, "revert" brings back what was
there. Without paths both mean everything that is held.`,
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
						return settled(c, *asJSON, "approved", n, err)
					case "revert":
						n, err := client.Revert(ctx, paths)
						return settled(c, *asJSON, "reverted", n, err)
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

// settled tells what came of approve or revert.
func settled(c console, asJSON bool, done string, n int, err error) error {
	if err != nil {
		return err
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

// renderHeldList writes held changes for people, with times in the given zone.
func renderHeldList(held []control.Held, zone *time.Location) string {
	if len(held) == 0 {
		return "nothing is held\n"
	}
	var b strings.Builder
	for _, h := range held {
		fmt.Fprintf(&b, "%s  %-9s  %s\n    %s; %s\n", h.Since.In(zone).Format(time.DateTime), h.Kind, shown(h.Path),
			harmless(h.Cause), harmless(h.Remedy))
	}
	return b.String()
}
