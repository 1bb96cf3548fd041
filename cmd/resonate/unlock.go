package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"resonate/control"
)

func unlockCommand() command {
	return command{
		name:     "unlock",
		operands: "PATH|-name NAME [-force] [-why TEXT] [-json]",
		short:    "let go of a lock of yours, or end somebody's by force",
		long: `Without -force it lets go of what you have locked on this machine. With -force it ends every lock that overlaps PATH,
or holds NAME, whoever has it. The former holder is told; what is changed there under the old lock from then on does not
replace what others make meanwhile, but is kept beside it.`,
		define: func(set *flag.FlagSet, c console) action {
			dir, asJSON := dirFlag(set), jsonFlag(set)
			u := &unlockCall{console: c}
			set.StringVar(&u.name, "name", "", "unlock this `name` instead of a path")
			force := set.Bool("force", false, "end the lock of somebody else, too")
			set.StringVar(&u.why, "why", "", "with -force: tell this `text` its holder")
			return func(ctx context.Context, operands []string) error {
				if err := checkResource("unlock", u.name, operands); err != nil {
					return err
				}
				u.asJSON = *asJSON
				return withDaemon(ctx, *dir, func(folder string, client *control.Client) error {
					on := control.Resource{Name: u.name}
					if u.name == "" {
						rel, err := inFolder(folder, operands[0])
						if err != nil {
							return err
						}
						on = control.Resource{Path: rel, Below: true} // whichever of the two was locked
					}
					if *force {
						return u.force(ctx, client, on)
					}
					return u.unlock(ctx, client, on)
				})
			}
		},
	}
}

// unlockCall is one call of unlock.
type unlockCall struct {
	console
	asJSON    bool
	name, why string
}

// unlock lets go of what this user has locked here.
func (u *unlockCall) unlock(ctx context.Context, locker control.Locker, on control.Resource) error {
	all, err := locker.Locks(ctx, on)
	if err != nil {
		return err
	}
	var mine, others []control.Lock
	owner := userName(u.Env)
	for _, l := range all {
		switch {
		case l.State != "held" || l.Delegated || l.Resource.Name != on.Name || l.Resource.Path != on.Path:
		case l.Mine && l.Owner == owner:
			mine = append(mine, l)
		default:
			others = append(others, l)
		}
	}
	on.Below = false // a path and its tree are one word for people
	what := "unlock " + resourceWords(on)
	switch {
	case len(mine) == 0 && len(others) > 0:
		held := &control.HeldError{Resource: others[0].Resource, Holders: others}
		return stateError{what, worded{heldWords(held, time.Now()), held}, "end it by force: resonate unlock -force " + resourceOperand(on)}
	case len(mine) == 0:
		return stateError{what, errors.New("it is not locked"), "see what is: resonate locks"}
	}
	for _, l := range mine {
		// Over by itself meanwhile: that is what was wanted.
		if err := locker.Unlock(ctx, l.ID); err != nil && !errors.Is(err, control.ErrNotHeld) && !errors.Is(err, control.ErrNotFound) {
			return stateError{what, err, ""}
		}
	}
	if u.asJSON {
		return printJSON(u.Out, mine)
	}
	for _, l := range mine {
		if _, err := fmt.Fprintf(u.Out, "unlocked %s\n", resourceWords(l.Resource)); err != nil {
			return err
		}
	}
	return nil
}

// force ends all locks that overlap on.
func (u *unlockCall) force(ctx context.Context, locker control.Locker, on control.Resource) error {
	why := u.why
	if why == "" {
		why = "unlocked by " + userName(u.Env)
	}
	list, err := locker.Force(ctx, on, why)
	on.Below = false
	switch {
	case err != nil:
		return lockFailed(on, err, time.Now())
	case len(list) == 0:
		return stateError{"unlock " + resourceWords(on), errors.New("it is not locked"), "see what is: resonate locks"}
	}
	now := time.Now()
	if u.asJSON {
		return printJSON(u.Out, list)
	}
	for _, l := range list {
		if _, err := fmt.Fprintf(u.Out, "unlocked %s, which was locked by %s\n", resourceWords(l.Resource), holderWords(l, now, time.Local)); err != nil {
			return err
		}
	}
	return nil
}
