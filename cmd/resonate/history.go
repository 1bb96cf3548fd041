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

func historyCommand() command {
	return command{
		name:     "history",
		operands: "[list] [PATH] [-json]",
		verbs:    []string{"list"},
		short:    "list the earlier versions that are kept, of everything or of PATH",
		long: `Whatever resonate replaced or deleted in this folder is kept below .resonate in it, as plain files, for as long
as -history-age and -history-size of the daemon allow. What you changed in this folder yourself, the peers keep:
ask there. "resonate restore" brings a version back; -at with the time of a line brings back that one.
A file that is itself called list is "resonate history list list".`,
		define: func(set *flag.FlagSet, c console) action {
			dir, asJSON := dirFlag(set), jsonFlag(set)
			return func(ctx context.Context, operands []string) error {
				if len(operands) > 0 && operands[0] == "list" {
					operands = operands[1:]
				}
				if len(operands) > 1 {
					return usageError{command: "history", cause: "one path at most"}
				}
				return withDaemon(ctx, *dir, func(folder string, client *control.Client) error {
					path, err := optionalPath(folder, operands)
					if err != nil {
						return err
					}
					kept, err := client.History(ctx, path)
					if err != nil {
						return err
					}
					if *asJSON {
						return printJSON(c.Out, kept)
					}
					_, err = io.WriteString(c.Out, renderHistory(kept, time.Local))
					return err
				})
			}
		},
	}
}

// keptTime is how a list shows when a version was displaced: in the form that -at of restore takes, and rounded down, so
// that it names this version and not the one displaced next.
const keptTime = "2006-01-02 15:04:05.000"

// renderHistory writes kept versions for people, one a line, with times in the given zone.
func renderHistory(kept []control.Kept, zone *time.Location) string {
	if len(kept) == 0 {
		return "nothing is kept\n"
	}
	var b strings.Builder
	for _, k := range kept {
		fmt.Fprintf(&b, "%s  %-10s %10s  %s", k.Time.In(zone).Format(keptTime), k.Kind, formatBytes(k.Size), shown(k.Path))
		b.WriteByte('\n')
	}
	return b.String()
}
