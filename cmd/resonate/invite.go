package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"resonate/control"
	"resonate/members"
	"resonate/node"
	"resonate/service"
)

func inviteCommand() command {
	return command{
		name:     "invite",
		operands: "[-ttl T] [-cancel] [-json]",
		settings: true,
		short:    "make a code by which one other machine may join",
		long: `Prints what to enter on the other machine. The code serves once, and soon ends: -ttl says when. It holds the
fingerprint of this node, so that the other machine knows that it has reached the right one, and a secret. A new code replaces an
earlier one; -cancel ends it. From the first invitation on the daemon listens on all addresses of this machine, unless -listen says where.
Without a daemon on the folder, one is started in the foreground, with the daemon's flags.`,
		define: func(set *flag.FlagSet, c console) action {
			s := defineSettings(set)
			asJSON := jsonFlag(set)
			ttl := duration(members.DefaultTTL)
			set.Var(&ttl, "ttl", "the code serves for this `time`")
			cancel := set.Bool("cancel", false, "end the open invitation")
			return func(ctx context.Context, operands []string) error {
				if err := noOperands("invite", operands); err != nil {
					return err
				}
				if ttl <= 0 {
					return usageError{command: "invite", cause: "-ttl must be above 0"}
				}
				folder, err := findFolder(s.dir)
				if err != nil {
					return err
				}
				i := &inviting{console: c, asJSON: *asJSON, ttl: time.Duration(ttl), folder: folder}
				client, err := dialFolder(ctx, folder)
				switch {
				case errors.Is(err, control.ErrNoDaemon) && !*cancel:
					return i.withOwnDaemon(ctx, s)
				case err != nil:
					return err
				}
				defer client.Close()
				if *cancel {
					return i.cancel(ctx, client)
				}
				return i.invite(ctx, client)
			}
		},
	}
}

// inviting is one call of invite.
type inviting struct {
	console
	asJSON bool
	ttl    time.Duration
	folder string
}

func (i *inviting) withOwnDaemon(ctx context.Context, s *settings) error {
	s.dir = i.folder
	if err := s.check(nil); err != nil {
		return err
	}
	h, err := findHomes(i.Env)
	if err != nil {
		return err
	}
	return runDaemon(ctx, s, h, service.FromEnvironment(), i.console, func(ctx context.Context, n *node.Node) error { return i.invite(ctx, n) })
}

func (i *inviting) invite(ctx context.Context, cluster control.Cluster) error {
	made, err := cluster.Invite(ctx, i.ttl)
	if err != nil {
		return err
	}
	if i.asJSON {
		return printJSON(i.Out, made)
	}
	fmt.Fprintf(i.Out, "On the other machine, within %s:\n", formatDuration(i.ttl))
	for at, addr := range made.Addresses {
		if at == 1 {
			fmt.Fprintf(i.Out, "or, if it cannot be reached there, with another address of this machine:\n")
		}
		if at == 0 {
			fmt.Fprintf(i.Out, "\n  resonate join %s %s -dir %s\n\n", addr, made.Code, fromHome(i.folder, i.Env("HOME")))
		} else {
			fmt.Fprintf(i.Out, "  %s\n", addr)
		}
	}
	return nil
}

// fromHome writes a folder as it may be on another machine, too: from the home directory, if it is there.
func fromHome(folder, home string) string {
	if rel, ok := below(home, folder); ok && home != "" && rel != "" {
		return "~/" + shellWord(rel)
	}
	return shellWord(folder)
}

func (i *inviting) cancel(ctx context.Context, cluster control.Cluster) error {
	there, err := cluster.CancelInvitation(ctx)
	switch {
	case err != nil:
		return err
	case i.asJSON:
		return printJSON(i.Out, map[string]bool{"cancelled": there})
	case !there:
		_, err = fmt.Fprintln(i.Out, "there was no open invitation")
	default:
		_, err = fmt.Fprintln(i.Out, "cancelled: the code does not serve any more")
	}
	return err
}
