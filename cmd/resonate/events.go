package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"

	"resonate/control"
)

func eventsCommand() command {
	return command{
		name:     "events",
		operands: "",
		short:    "print what happens, as it happens, a line of JSON each",
		long: `Prints a line for each change that is published here or applied from a peer, for conflicts, for peers that come
and go, for locks, for what is held, and when the node is paused; from the first line, "listening", until a signal ends it
(exit code 0) or the daemon does (5). Who reads too slowly loses events, and is told how many. docs/events.md lists
the kinds and their fields.`,
		define: func(set *flag.FlagSet, c console) action {
			dir := dirFlag(set)
			return func(ctx context.Context, operands []string) error {
				if err := noOperands("events", operands); err != nil {
					return err
				}
				return withDaemon(ctx, *dir, func(_ string, client *control.Client) error {
					out := json.NewEncoder(c.Out)
					out.SetEscapeHTML(false)
					err := client.Events(ctx, func(e control.Event) error {
						if err := out.Encode(e); err != nil {
							return fmt.Errorf("print events: %w", err)
						}
						return nil
					})
					if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
						return nil
					}
					return err
				})
			}
		},
	}
}
