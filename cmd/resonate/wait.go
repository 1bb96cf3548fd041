package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"resonate/control"
)

func waitCommand() command {
	return command{
		name:     "wait",
		operands: "[PATH] [-timeout T]",
		short:    "wait until all connected peers have everything, or PATH",
		long: `Returns when all connected peers have what is in the folder now, or what is at and below PATH. Where peers are
named, one of them must be connected. After the time given, it says what is missing and exits with 3; at once on a
node that is paused.`,
		define: func(set *flag.FlagSet, c console) action {
			dir := dirFlag(set)
			timeout := duration(time.Minute)
			set.Var(&timeout, "timeout", "give up after this `time`")
			return func(ctx context.Context, operands []string) error {
				if len(operands) > 1 {
					return usageError{command: "wait", cause: "one path at most"}
				}
				return withDaemon(ctx, *dir, func(folder string, client *control.Client) error {
					path, err := optionalPath(folder, operands)
					if err != nil {
						return err
					}
					ctx, cancel := context.WithTimeout(ctx, time.Duration(timeout))
					defer cancel()
					err = client.Wait(ctx, path)
					switch {
					case errors.Is(err, control.ErrTimeout):
						return stateError{"wait for the peers", timedOut(err, timeout), "see what is missing: resonate status"}
					case errors.Is(err, control.ErrPaused):
						return stateError{"wait for the peers", err, "resonate resume"}
					}
					return err
				})
			}
		},
	}
}

// timedOut puts an error of the daemon's, its reasons line by line and then that the time is over, into one sentence.
func timedOut(err error, timeout duration) error {
	whole := fmt.Errorf("%w after %s", control.ErrTimeout, formatDuration(time.Duration(timeout)))
	reasons := strings.TrimRight(strings.TrimSuffix(err.Error(), control.ErrTimeout.Error()), "\n: ")
	if reasons == "" {
		return whole
	}
	return fmt.Errorf("%w: %s", whole, strings.ReplaceAll(reasons, "\n", "; "))
}

// optionalPath is the one operand, as a path in the folder, or "" for the whole of it.
func optionalPath(folder string, operands []string) (string, error) {
	if len(operands) == 0 {
		return "", nil
	}
	return inFolder(folder, operands[0])
}
