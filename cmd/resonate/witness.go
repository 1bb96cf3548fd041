package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"resonate/members"
	"resonate/node"
	"resonate/service"
)

func witnessCommand() command {
	return command{
		name:     "witness",
		operands: "[HOST:PORT CODE] [-port N] [-peer HOST:PORT]...",
		short:    "vote on the cluster's locks, without a folder, until a signal ends it",
		long: `Two machines and a witness grant locks while any one of the three is away. It keeps no files; what it needs lies in the user's
state. On a machine of its own, join it once with the address and the code that resonate invite prints elsewhere; later it needs neither.`,
		define: func(set *flag.FlagSet, c console) action {
			s := newSettings()
			for _, name := range []string{"port", "listen", "peer", "discover", "session", "fresh", "log-level", "log-json"} {
				f := s.set.Lookup(name)
				set.Var(f.Value, f.Name, f.Usage)
			}
			set.Lookup("fresh").Usage = "be a new node: for one that has served another cluster"
			return func(ctx context.Context, operands []string) error {
				return runWitness(ctx, s, operands, c)
			}
		},
	}
}

func runWitness(ctx context.Context, s *settings, operands []string, c console) error {
	begin, err := witnessBegin(operands, c)
	if err != nil {
		return err
	}
	h, err := findHomes(c.Env)
	if err != nil {
		return err
	}
	s.witness, s.dir = true, filepath.Join(h.state, "resonate", "witness", s.port.String())
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("make the witness's state: %w", err)
	}
	if err := s.check(nil); err != nil {
		return err
	}
	return runDaemon(ctx, s, h, service.FromEnvironment(), c, begin)
}

// witnessBegin returns what has the witness join a cluster; nil where it has no code.
func witnessBegin(operands []string, c console) (func(context.Context, *node.Node) error, error) {
	switch len(operands) {
	case 0:
		return nil, nil
	case 2:
	default:
		return nil, usageError{command: "witness", cause: "want an address and a code, as resonate invite prints them, or neither"}
	}
	if err := checkAddress(operands[0]); err != nil {
		return nil, usageError{command: "witness", cause: fmt.Sprintf("address %s: %v", shown(operands[0]), err)}
	}
	code, err := members.ParseCode(operands[1])
	if err != nil {
		return nil, usageError{command: "witness", cause: err.Error(), remedy: "read it again where it was made, or make another: resonate invite"}
	}
	j := &joining{console: c, address: operands[0], code: code, yes: true}
	return j.join, nil
}
