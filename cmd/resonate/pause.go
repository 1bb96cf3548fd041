package main

import (
	"context"
	"flag"
	"fmt"
	"time"

	"resonate/control"
)

func pauseCommand() command {
	return command{
		name:     "pause",
		operands: "[-for T] [-json]",
		short:    "stop all exchange with peers, until resume or for a time",
		long: `Ends the connections of this folder's daemon with its peers, and refuses new ones. What is done in the folder is
seen all the same, and what was done here and there is merged when it is resumed. A pause outlives a restart of the
daemon.`,
		define: func(set *flag.FlagSet, c console) action {
			dir, asJSON := dirFlag(set), jsonFlag(set)
			var length duration
			set.Var(&length, "for", "resume by itself after this `time`; 0: not before resume")
			return func(ctx context.Context, operands []string) error {
				if err := noOperands("pause", operands); err != nil {
					return err
				}
				return withDaemon(ctx, *dir, func(_ string, client *control.Client) error {
					p, err := client.Pause(ctx, time.Duration(length))
					if err != nil {
						return err
					}
					if *asJSON {
						return printJSON(c.Out, p)
					}
					_, err = fmt.Fprintf(c.Out, "paused%s\n", untilWords(p, time.Local))
					return err
				})
			}
		},
	}
}

// untilWords tells when a pause ends.
func untilWords(p control.Paused, zone *time.Location) string {
	if p.Until == nil {
		return ", until: resonate resume"
	}
	return " until " + p.Until.In(zone).Format(time.DateTime) + ", or: resonate resume"
}

func resumeCommand() command {
	return command{
		name:     "resume",
		operands: "[-json]",
		short:    "end a pause",
		long:     `Lets peers in again. They are back within half a minute, and what was done meanwhile, here and there, is merged.`,
		define: func(set *flag.FlagSet, c console) action {
			dir, asJSON := dirFlag(set), jsonFlag(set)
			return func(ctx context.Context, operands []string) error {
				if err := noOperands("resume", operands); err != nil {
					return err
				}
				return withDaemon(ctx, *dir, func(_ string, client *control.Client) error {
					was, err := client.Resume(ctx)
					if err != nil {
						return err
					}
					if *asJSON {
						return printJSON(c.Out, map[string]bool{"was_paused": was})
					}
					text := "resumed"
					if !was {
						text = "it was not paused"
					}
					_, err = fmt.Fprintln(c.Out, text)
					return err
				})
			}
		},
	}
}
