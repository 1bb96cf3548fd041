package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"resonate/control"
)

func clusterCommand() command {
	return command{
		name:     "cluster",
		operands: "[status|take-over] [-yes] [-json]",
		verbs:    []string{"status", "take-over"},
		short:    "tell whether locks are granted and by whom, or let this machine carry on alone",
		long: `"status" tells who keeps the cluster's locks, who of them is connected, and whether there are enough of them.
"take-over" is for when those are lost for good: this machine alone keeps the locks from then on, with a new generation of
numbers. All locks are free. If one of the others comes back, it joins as a node among others, and what was changed there
under an old lock does not replace what was made meanwhile. Never do that while the others are only out of sight: they would
go on to grant locks on their side. You are asked, unless -yes is given.`,
		define: func(set *flag.FlagSet, c console) action {
			dir, asJSON := dirFlag(set), jsonFlag(set)
			yes := set.Bool("yes", false, "take over without asking")
			return func(ctx context.Context, operands []string) error {
				verb := "status"
				if len(operands) > 0 {
					verb = operands[0]
				}
				if len(operands) > 1 || verb != "status" && verb != "take-over" {
					return usageError{command: "cluster", cause: "want status or take-over"}
				}
				return withDaemon(ctx, *dir, func(_ string, client *control.Client) error {
					q, err := client.Quorum(ctx)
					if err == nil && verb == "take-over" {
						q, err = takeOver(ctx, c, client, q, *yes)
					}
					if err != nil {
						return err
					}
					if *asJSON {
						return printJSON(c.Out, q)
					}
					_, err = io.WriteString(c.Out, renderQuorum(q))
					return err
				})
			}
		},
	}
}

// takeOver makes this node the only voter, when its user has seen whom that leaves out.
func takeOver(ctx context.Context, c console, locker control.Locker, q control.Quorum, yes bool) (control.Quorum, error) {
	if q.Majority {
		return q, stateError{"take over", errors.New("a majority is connected, and grants locks"), "there is nothing to take over: resonate cluster"}
	}
	if !yes {
		if _, err := io.WriteString(c.Out, renderQuorum(q)); err != nil {
			return q, err
		}
		ok, err := confirm(c, "Are those that are not connected lost for good, or never to be reached again? [y/N] ")
		if errors.Is(err, errNobody) {
			return q, stateError{"take over", err, "look at the above, and then give -yes"}
		}
		if err != nil {
			return q, err
		}
		if !ok {
			return q, stateError{"take over", errors.New("not confirmed"), "nothing has changed"}
		}
	}
	return locker.TakeOver(ctx)
}

// renderQuorum writes for people how it stands with those that keep the locks.
func renderQuorum(q control.Quorum) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", harmless(q.Line))
	for _, v := range q.Voters {
		name, state := harmless(v.Name), "not connected"
		if name == "" {
			name = harmless(v.ID)
		}
		switch {
		case v.Self:
			state = "this machine"
		case v.Connected:
			state = "connected"
		}
		if v.Leader {
			state += ", leads"
		}
		if v.Witness {
			state += ", witness"
		}
		fmt.Fprintf(&b, "    %-24s  %s\n", name, state)
	}
	fmt.Fprintf(&b, "    generation %d; %s held, %d waiting\n", q.Generation, formatCount(q.Held, "lock", "locks"), q.Waiting)
	return b.String()
}
