package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	account "os/user" // user is a word of the tests
	"path/filepath"
	"time"

	"resonate/control"
)

// commandTTL is how long a lock that a command runs under outlives this program, where it is killed.
const commandTTL = 30 * time.Second

func lockCommand() command {
	return command{
		name:     "lock",
		operands: "PATH|-name NAME [-ttl T] [-wait T] [-shared] [-permits N] [-offline T] [-why TEXT] [-json] [-- CMD...]",
		short:    "lock a path or a name, in the whole cluster, for a time or while a command runs",
		long: `Nobody else in the cluster can lock PATH until it is unlocked, its time is over, or somebody ends the lock by force. What
they change there all the same is not let out. A directory is locked with all that is below it. -name locks a name instead, which has nothing
to do with files: scripts agree on it. Who holds it already is told, with exit code 4.
With CMD the lock is held while CMD runs, and renewed; what is changed there meanwhile is let out when CMD has ended, all of it as one operation. CMD finds the lock's number in RESONATE_LOCK_TOKEN. When the lock is lost, CMD is sent SIGTERM, and 10 seconds
later SIGKILL. Exit codes are then CMD's, 124 (the lock was not had), 125 (the lock was lost, or we failed), 126 (CMD
cannot be run) and 127 (there is no CMD).`,
		runs: true,
		define: func(set *flag.FlagSet, c console) action {
			dir, asJSON := dirFlag(set), jsonFlag(set)
			l := &lockCall{console: c, ttl: duration(time.Hour)}
			l.resourceFlags(set)
			set.Var(&l.ttl, "ttl", "hold it for this `time`; with CMD: renew it by so much at a time, 30s at most")
			set.Var(&l.wait, "wait", "wait for it for this `time`; 0: not at all")
			set.Var(&l.offline, "offline", "check it out for this `time`, in which this machine may be off or away; 0: no")
			return func(ctx context.Context, operands []string) error {
				operands, argv, err := splitRun("lock", operands)
				if err != nil {
					return err
				}
				l.asJSON = *asJSON
				if err := l.check(operands, argv); err != nil {
					return err
				}
				return withDaemon(ctx, *dir, func(folder string, client *control.Client) error {
					on, err := l.resource(folder, operands)
					if err != nil {
						return err
					}
					if argv != nil {
						return l.run(ctx, client, on, argv)
					}
					return l.lock(ctx, client, on)
				})
			}
		},
	}
}

// splitRun splits operands at "--". argv is nil where there is none.
func splitRun(name string, operands []string) (before, argv []string, err error) {
	for i, o := range operands {
		if o != endOfFlags {
			continue
		}
		if i+1 == len(operands) {
			return nil, nil, usageError{command: name, cause: "no command follows --"}
		}
		return operands[:i], operands[i+1:], nil
	}
	return operands, nil, nil
}

// lockCall is one call of lock.
type lockCall struct {
	console
	asJSON  bool
	name    string
	ttl     duration
	wait    duration
	offline duration
	shared  bool
	permits int
	why     string
}

// resourceFlags adds the flags that say what is locked, and how.
func (l *lockCall) resourceFlags(set *flag.FlagSet) {
	set.StringVar(&l.name, "name", "", "lock this `name` instead of a path")
	set.BoolVar(&l.shared, "shared", false, "hold it together with others that share it")
	set.IntVar(&l.permits, "permits", 0, "hold one of `n` permits, which so many may hold at a time; 0: hold it alone")
	set.StringVar(&l.why, "why", "", "tell this `text` whoever is kept from it")
}

// check tells what is wrong with the command line.
func (l *lockCall) check(operands, argv []string) error {
	if err := checkResource("lock", l.name, operands); err != nil {
		return err
	}
	switch {
	case argv != nil && l.offline != 0:
		return usageError{command: "lock", cause: "-offline is for a lock that is held while no command runs"}
	case l.offline != 0 && time.Duration(l.offline) < time.Minute:
		return usageError{command: "lock", cause: "-offline wants a minute or more"}
	}
	return nil
}

// checkResource tells whether one path or a name is given.
func checkResource(command, name string, operands []string) error {
	switch {
	case name == "" && len(operands) != 1:
		return usageError{command: command, cause: "want one path, or -name NAME"}
	case name != "" && len(operands) > 0:
		return usageError{command: command, cause: "want a path or -name, and not both"}
	}
	return nil
}

// resource is what is to be locked: a name, a path, or a directory with all below it.
func (l *lockCall) resource(folder string, operands []string) (control.Resource, error) {
	if l.name != "" {
		r := control.Resource{Name: l.name}
		return r, r.Check()
	}
	rel, err := inFolder(folder, operands[0])
	if err != nil {
		return control.Resource{}, err
	}
	st, err := os.Lstat(filepath.Join(folder, filepath.FromSlash(rel)))
	return control.Resource{Path: rel, Below: err == nil && st.IsDir()}, nil
}

// request is what the flags ask for.
func (l *lockCall) request(on control.Resource) control.LockRequest {
	q := control.LockRequest{
		Resource: on, Shared: l.shared, Permits: l.permits, TTL: time.Duration(l.ttl), Wait: time.Duration(l.wait), Session: true,
		Owner: userName(l.Env), Why: l.why,
	}
	if l.offline != 0 {
		q.TTL, q.Session = time.Duration(l.offline), false
	}
	return q
}

// command is what the flags ask for a command to run under.
func (l *lockCall) command(on control.Resource) control.LockRequest {
	q := l.request(on)
	q.Batch = on.Name == "" && !q.Shared && q.Permits == 0
	return q
}

// userName is who runs this program.
func userName(env func(string) string) string {
	if u, err := account.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return env("USER")
}

// lock takes a lock that outlives this program.
func (l *lockCall) lock(ctx context.Context, locker control.Locker, on control.Resource) error {
	got, err := locker.Lock(ctx, l.request(on))
	if err != nil {
		return lockFailed(on, err, time.Now())
	}
	if l.asJSON {
		return printJSON(l.Out, got)
	}
	_, err = fmt.Fprintf(l.Out, "locked %s%s\n", resourceWords(on), untilLocked(got, time.Local))
	return err
}

// untilLocked tells when a lock is over.
func untilLocked(l control.Lock, zone *time.Location) string {
	if l.Expires == nil {
		return ""
	}
	return " until " + l.Expires.In(zone).Format(time.DateTime)
}

// run runs a command under the lock.
func (l *lockCall) run(ctx context.Context, locker control.Locker, on control.Resource, argv []string) error {
	q := l.command(on)
	q.TTL, q.Session = min(q.TTL, commandTTL), false
	if q.Why == "" {
		q.Why = "runs " + commandWords(argv)
	}
	g, err := newGuard(l.console, locker, argv)
	if err != nil {
		return err
	}
	defer g.close()
	held, err := g.acquire(ctx, q)
	if err != nil {
		return lockFailed(on, err, time.Now())
	}
	end, err := g.run(ctx, held)
	if err != nil {
		return errors.Join(err, g.letGo(held))
	}
	if end.lost == nil {
		end.lost = g.letGo(held)
	}
	return end.error(on)
}

// worded is an error in other words, for people.
type worded struct {
	text string
	err  error
}

func (e worded) Error() string { return e.text }
func (e worded) Unwrap() error { return e.err }

// lockFailed tells why a resource could not be locked, and what to do about it.
func lockFailed(on control.Resource, err error, now time.Time) error {
	what := "lock " + resourceWords(on)
	held := (*control.HeldError)(nil)
	switch {
	case errors.As(err, &held):
		return stateError{what, worded{heldWords(held, now), err},
			"wait for it with -wait 10m; see more with: resonate locks; end it by force with: resonate unlock -force " + resourceOperand(on)}
	case errors.Is(err, control.ErrNoMajority):
		return stateError{what, err, "see who is missing: resonate cluster"}
	case errors.Is(err, control.ErrQueueFull):
		return stateError{what, err, "see who waits: resonate locks"}
	case errors.Is(err, control.ErrNoLocks):
		return stateError{what, err, ""}
	case errors.Is(err, context.Canceled):
		return stateError{what, worded{"interrupted", err}, ""}
	}
	return err
}

// heldWords tells who holds something.
func heldWords(e *control.HeldError, now time.Time) string {
	text := "it is locked"
	for i, h := range e.Holders {
		if i == maxHolders {
			text += fmt.Sprintf(" and %d more", len(e.Holders)-i)
			break
		}
		if i > 0 {
			text += ", and"
		}
		if h.Resource != e.Resource {
			text += " with " + resourceWords(h.Resource)
		}
		text += " by " + holderWords(h, now, time.Local)
	}
	if e.Waiting > 0 {
		text += fmt.Sprintf("; %d wait for it", e.Waiting)
	}
	return text
}

// maxHolders is how many holders an error names.
const maxHolders = 3
