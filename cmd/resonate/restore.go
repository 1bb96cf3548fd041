package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"resonate/control"
)

func restoreCommand() command {
	return command{
		name:     "restore",
		operands: "PATH [-at TIME] [-json]",
		short:    "bring back an earlier version of PATH",
		long: `Brings back the newest version that is kept of PATH, or with -at the one that was there at that time. What
it replaces is kept in turn, so that a restore can be undone by another. A directory comes back with all that
was deleted in it. It restores from this folder's own history: see "resonate help history".`,
		define: func(set *flag.FlagSet, c console) action {
			dir, asJSON := dirFlag(set), jsonFlag(set)
			at := set.String("at", "", "the `time`: 2026-01-02T15:04:05Z, \"2026-01-02 15:04\" in local time, or 2h for two hours ago")
			return func(ctx context.Context, operands []string) error {
				if len(operands) != 1 {
					return usageError{command: "restore", cause: "want one path"}
				}
				when, err := parseTime(*at, time.Now())
				if err != nil {
					return usageError{command: "restore", cause: fmt.Sprintf("invalid value %q for -at: %v", *at, err)}
				}
				return withDaemon(ctx, *dir, func(folder string, client *control.Client) error {
					path, err := inFolder(folder, operands[0])
					if err != nil {
						return err
					}
					kept, err := client.Restore(ctx, path, when)
					if errors.Is(err, control.ErrNotFound) {
						return nothingKept(operands[0], *at)
					}
					if err != nil {
						return err
					}
					if *asJSON {
						return printJSON(c.Out, kept)
					}
					_, err = fmt.Fprintf(c.Out, "restored %s: %s, last changed %s\n", shown(kept.Path), formatBytes(kept.Size),
						kept.MTime.Local().Format(time.DateTime))
					return err
				})
			}
		},
	}
}

// nothingKept is the error for a path, or a time, of which the history here has nothing.
func nothingKept(operand, at string) error {
	cause := errors.New("no earlier version of it is kept here")
	if at != "" {
		cause = fmt.Errorf("no version of that time (-at %s) is kept here", at)
	}
	return stateError{shown(operand), cause,
		"see what is kept: resonate history; what you changed in this folder yourself is kept by the peers"}
}

// parseTime reads a point in time as a user writes it: RFC 3339, a date and time in now's zone, or a duration
// before now. An empty string is the zero time.
func parseTime(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t, nil
	}
	for _, layout := range []string{time.DateTime, "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return t, nil
		}
	}
	if d, err := parseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, errors.New("want a time such as 2026-01-02T15:04:05Z, \"2026-01-02 15:04\", or 2h for two hours ago")
}
