package main

import (
	"context"
	"errors"
	"flag"
	"fmt"

	"resonate/control"
)

func leaveCommand() command {
	return command{
		name:  "leave",
		short: "have this node forgotten by all others",
		long: `The folder stays as it is; what is changed in it from now on stays here. To take part again, end the daemon, start it with
-fresh, and join anew. Members that are not connected hear of it from the others; if nobody is connected, nobody hears: then
forget this node on another one.`,
		define: func(set *flag.FlagSet, c console) action {
			dir := dirFlag(set)
			return func(ctx context.Context, operands []string) error {
				if err := noOperands("leave", operands); err != nil {
					return err
				}
				return withDaemon(ctx, *dir, func(_ string, client *control.Client) error {
					err := client.Leave(ctx)
					if errors.Is(err, control.ErrTimeout) {
						return stateError{"leave", errors.New("this node has left, but not all connected members have answered"),
							"see on another node whether it knows: resonate peers"}
					}
					if err == nil {
						_, err = fmt.Fprintln(c.Out, "left: the folder stays, and is nobody else's any more")
					}
					return err
				})
			}
		},
	}
}
