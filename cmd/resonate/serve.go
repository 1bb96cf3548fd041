package main

import (
	"context"
	"errors"
	"flag"
	"os"

	"resonate/control"
	"resonate/node"
	"resonate/service"
)

func serveCommand() command {
	return command{
		name:     "serve",
		operands: "-stdio -dir DIR",
		short:    "be the far end of -peer ssh://USER@HOST/PATH; ssh starts it",
		long: `What is read and written is a connection to the daemon of DIR. Where none runs, this is one for as long as the connection lasts. The
login stands for an invitation: the other side's node is made a member.`,
		define: func(set *flag.FlagSet, c console) action {
			dir := dirFlag(set)
			stdio := set.Bool("stdio", false, "serve standard input and output; needed")
			return func(ctx context.Context, operands []string) error {
				if err := noOperands("serve", operands); err != nil {
					return err
				}
				if !*stdio {
					return usageError{command: "serve", cause: "want -stdio: there is no other way to serve"}
				}
				return serveStdio(ctx, *dir, c)
			}
		},
	}
}

func serveStdio(ctx context.Context, dir string, c console) error {
	folder, err := findFolder(dir)
	if err != nil {
		return err
	}
	client, err := dialFolder(ctx, folder)
	if err == nil {
		defer client.Close()
		st, err := client.Status(ctx)
		if err != nil {
			return err
		}
		return node.ProxyStdio(ctx, client, st.Listen, c.In, c.Out)
	}
	if !errors.Is(err, control.ErrNoDaemon) {
		return err
	}
	s := newSettings()
	s.dir, s.port, s.listen = folder, 0, "127.0.0.1"
	if err := s.check(nil); err != nil {
		return err
	}
	h, err := findHomes(c.Env)
	if err != nil {
		return err
	}
	in, isFile := c.In.(*os.File)
	out, alsoFile := c.Out.(*os.File)
	if !isFile || !alsoFile {
		return errors.New("serve: standard input and output are no files")
	}
	return runDaemon(ctx, s, h, service.FromEnvironment(), c, func(ctx context.Context, n *node.Node) error {
		if err := n.ServeStdio(ctx, in, out); err != nil {
			return err
		}
		return errEnough
	})
}
