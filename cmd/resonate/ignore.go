package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"

	"resonate/control"
)

func ignoreCommand() command {
	return command{
		name:     "ignore",
		operands: "[PATTERN...] [-remove] [-json]",
		short:    "list, add or remove patterns of what this machine alone leaves out",
		long: `What a pattern matches is left alone on this machine: it is not sent, and what peers have of it is not put here.
Nothing is deleted anywhere. The patterns have the syntax of gitignore, take effect at once, and are not synced; for
patterns that count on all machines, write them to files named .resonateignore. Quote them, so that the shell leaves
them as they are. One that begins with a dash stands after --.`,
		define: func(set *flag.FlagSet, c console) action {
			dir, asJSON := dirFlag(set), jsonFlag(set)
			remove := set.Bool("remove", false, "remove the patterns named")
			return func(ctx context.Context, patterns []string) error {
				if *remove && len(patterns) == 0 {
					return usageError{command: "ignore", cause: "name the pattern to be removed"}
				}
				return withDaemon(ctx, *dir, func(_ string, client *control.Client) error {
					switch {
					case *remove:
						n, err := client.Unignore(ctx, patterns)
						return changedPatterns(c, *asJSON, "removed", n, err)
					case len(patterns) > 0:
						n, err := client.Ignore(ctx, patterns)
						return changedPatterns(c, *asJSON, "added", n, err)
					}
					return listPatterns(ctx, c, client, *asJSON)
				})
			}
		},
	}
}

// changedPatterns tells how many patterns were added or removed.
func changedPatterns(c console, asJSON bool, done string, n int, err error) error {
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(c.Out, map[string]int{done: n})
	}
	_, err = fmt.Fprintf(c.Out, "%s %s\n", done, formatCount(n, "pattern", "patterns"))
	return err
}

func listPatterns(ctx context.Context, c console, client *control.Client, asJSON bool) error {
	patterns, err := client.Ignored(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(c.Out, patterns)
	}
	var b strings.Builder
	for _, p := range patterns {
		fmt.Fprintln(&b, shown(p.Pattern))
	}
	if len(patterns) == 0 {
		b.WriteString("this machine has no ignore patterns of its own\n")
	}
	_, err = io.WriteString(c.Out, b.String())
	return err
}
