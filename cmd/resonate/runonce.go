package main

import (
	"context"
	"errors"
	"flag"
	"time"

	"resonate/control"
)

// runOnceFor is how long after its start a run counts: more than the clocks of machines differ that are set by NTP, and less than the
// shortest period of cron(8), a minute.
const runOnceFor = 50 * time.Second

func runOnceCommand() command {
	return command{
		name:     "run-once",
		operands: "NAME [-for T] [-wait T] [-why TEXT] -- CMD...",
		short:    "run a command on one of the machines that are told to at about the same time",
		long: `For cron on several machines: the first one to ask runs CMD, the others do nothing and exit with 0. A run counts for
all for -for after its start, or until its end where that is later: choose more than the machines' clocks differ, and less
than the time between two runs. When CMD fails, or its machine dies, the run does not count: who is told to the next time
runs it, or, with -wait, who stands by for so long. The exit code of the one that has run CMD is that of CMD.`,
		runs: true,
		define: func(set *flag.FlagSet, c console) action {
			dir := dirFlag(set)
			length, wait := duration(runOnceFor), duration(0)
			set.Var(&length, "for", "a run that succeeds counts for this `time` from its start")
			set.Var(&wait, "wait", "stand by for this `time`, should the run elsewhere fail; less than -for; 0: not at all")
			why := set.String("why", "", "tell this `text` in resonate locks")
			return func(ctx context.Context, operands []string) error {
				name, argv, err := nameAndCommand("run-once", operands)
				if err != nil {
					return err
				}
				if wait > 0 && wait >= length { // it would run a second time, when the first run does not count any more
					return usageError{command: "run-once", cause: "-wait has to be less than -for"}
				}
				return withDaemon(ctx, *dir, func(_ string, client *control.Client) error {
					g, err := newGuard(c, client, argv)
					if err != nil {
						return err
					}
					defer g.close()
					q := control.LockRequest{
						Resource: control.Resource{Name: name}, TTL: commandTTL, Wait: time.Duration(wait), Owner: userName(c.Env), Why: *why,
					}
					if q.Why == "" {
						q.Why = "runs once " + commandWords(argv)
					}
					return runOnce(ctx, g, q, time.Duration(length))
				})
			}
		},
	}
}

// runOnce runs the command unless somebody else does or did. After success the lock is kept for what is left of length since the start.
func runOnce(ctx context.Context, g *guard, q control.LockRequest, length time.Duration) error {
	held, err := g.acquire(ctx, q)
	if errors.Is(err, control.ErrHeldElsewhere) {
		return nil
	}
	if err != nil {
		return lockFailed(q.Resource, err, time.Now())
	}
	start := time.Now()
	end, err := g.run(ctx, held)
	switch left := length - elapsed(start, time.Now()); {
	case err != nil:
		return errors.Join(err, g.letGo(held))
	case end.lost != nil:
	case end.code == exitDone && left >= control.MinTTL:
		end.lost = g.keepFor(held, left)
	default:
		end.lost = g.letGo(held)
	}
	return end.error(q.Resource)
}
