package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"resonate/control"
)

// How long elect waits for its turn in one request, and at least and at most between two that failed.
const (
	electWait     = 10 * time.Minute
	electPause    = 200 * time.Millisecond
	electMaxPause = 10 * time.Second
)

func electCommand() command {
	return command{
		name:     "elect",
		operands: "NAME [-ttl T] [-why TEXT] -- CMD...",
		short:    "run a command on one of the machines that ask for it; when that dies, on another",
		long: `Waits until this machine is the one that holds NAME, and then runs CMD for as long as it is. When that is lost, because
the machine was cut off or somebody has unlocked NAME by force, CMD is sent SIGTERM, and SIGKILL after a third of -ttl;
then it waits for its turn again. When CMD ends by itself, elect ends with its exit code, and another machine has its turn.
Before another one begins, CMD has been ended here: but a machine that is suspended meanwhile notices only when it wakes
up, so what CMD works on should check the number in RESONATE_LOCK_TOKEN, which only grows.`,
		runs: true,
		define: func(set *flag.FlagSet, c console) action {
			dir := dirFlag(set)
			ttl := duration(commandTTL)
			set.Var(&ttl, "ttl", "let another machine have its turn when this one was not heard of for this `time`")
			why := set.String("why", "", "tell this `text` in resonate locks")
			return func(ctx context.Context, operands []string) error {
				name, argv, err := nameAndCommand("elect", operands)
				if err != nil {
					return err
				}
				return withDaemon(ctx, *dir, func(_ string, client *control.Client) error {
					g, err := newGuard(c, client, argv)
					if err != nil {
						return err
					}
					defer g.close()
					q := control.LockRequest{
						Resource: control.Resource{Name: name}, TTL: time.Duration(ttl), Wait: electWait, Owner: userName(c.Env), Why: *why,
					}
					if q.Why == "" {
						q.Why = "elected to run " + commandWords(argv)
					}
					if err := q.Check(); err != nil {
						return err
					}
					return elect(ctx, g, q)
				})
			}
		},
	}
}

// nameAndCommand reads the operands NAME -- CMD.
func nameAndCommand(command string, operands []string) (name string, argv []string, err error) {
	operands, argv, err = splitRun(command, operands)
	switch {
	case err != nil:
		return "", nil, err
	case len(operands) != 1 || argv == nil:
		return "", nil, usageError{command: command, cause: "want NAME -- CMD"}
	}
	r := control.Resource{Name: operands[0]}
	return operands[0], argv, r.Check()
}

// elect runs the command whenever it is this machine's turn, until it ends by itself.
func elect(ctx context.Context, g *guard, q control.LockRequest) error {
	for {
		held, err := turn(ctx, g, q)
		if err != nil {
			return lockFailed(q.Resource, err, time.Now())
		}
		end, err := g.run(ctx, held)
		if err != nil {
			return errors.Join(err, g.letGo(held))
		}
		if end.lost == nil {
			if err := g.letGo(held); err != nil {
				g.tell("%v", err) // it has run, and ended: that it was not alone to the last moment changes nothing
			}
			return end.error(q.Resource)
		}
		g.tell("%v", end.why(q.Resource))
		if ctx.Err() != nil {
			return end.error(q.Resource)
		}
	}
}

// turn waits until this machine holds the name. What may pass is told once, and waited out; what is wrong from the beginning is not.
func turn(ctx context.Context, g *guard, q control.LockRequest) (held holding, err error) {
	told := ""
	for pause := electPause; ; pause = min(2*pause, electMaxPause) {
		begin := time.Now()
		held, err = g.acquire(ctx, q)
		switch {
		case err == nil || ctx.Err() != nil:
			return held, err
		case errors.Is(err, control.ErrHeldElsewhere) && time.Since(begin) >= electWait:
			pause = electPause / 2 // we have waited
			continue
		case errors.Is(err, control.ErrHeldElsewhere), errors.Is(err, control.ErrNoMajority), errors.Is(err, control.ErrQueueFull),
			errors.Is(err, control.ErrTimeout), errors.Is(err, control.ErrNoDaemon):
		default:
			return held, err
		}
		if text := err.Error(); text != told {
			told = text
			g.tell("%s: waiting: %v", resourceWords(q.Resource), err)
		}
		if err := pauseFor(ctx, pause); err != nil {
			return held, err
		}
	}
}

// pauseFor returns after a time, or with the error of ctx when that ends.
func pauseFor(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// tell writes a line to stderr.
func (g *guard) tell(format string, args ...any) {
	fmt.Fprintf(g.Err, "resonate: "+format+"\n", args...)
}
