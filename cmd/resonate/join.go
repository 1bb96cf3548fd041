package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"resonate/members"
	"resonate/node"
	"resonate/service"
)

func joinCommand() command {
	return command{
		name:     "join",
		operands: "HOST:PORT CODE -dir DIR [-yes] [-no-daemon]",
		settings: true,
		short:    "join the folder of another machine with the code of its resonate invite",
		long: `The code holds the fingerprint of the node that made it: any other is refused before anything is sent to it. A folder
that does not exist is made. One that is not empty is compared first, and you are asked: the folders become their union, nothing is
deleted, and files that differ are kept both. Then this is the daemon of the folder, as with resonate -dir DIR and the same
flags; with -no-daemon it ends when it has joined. Who has joined knows all members and is known by all.`,
		define: func(set *flag.FlagSet, c console) action {
			s := defineSettings(set)
			yes := set.Bool("yes", false, "join without asking")
			once := set.Bool("no-daemon", false, "end when joined")
			return func(ctx context.Context, operands []string) error {
				if len(operands) != 2 {
					return usageError{command: "join", cause: "want an address and a code, as resonate invite prints them"}
				}
				if err := checkAddress(operands[0]); err != nil {
					return usageError{command: "join", cause: fmt.Sprintf("address %s: %v", shown(operands[0]), err)}
				}
				code, err := members.ParseCode(operands[1])
				if err != nil {
					return usageError{command: "join", cause: err.Error(), remedy: "read it again where it was made, or make another: resonate invite"}
				}
				j := &joining{console: c, address: operands[0], code: code, yes: *yes, once: *once}
				return j.run(ctx, s)
			}
		},
	}
}

// joining is one call of join.
type joining struct {
	console
	address   string
	code      members.Code
	yes, once bool
}

func (j *joining) run(ctx context.Context, s *settings) error {
	if err := makeMissing(s.dir); err != nil {
		return err
	}
	if err := s.check(nil); err != nil {
		return err
	}
	if client, err := dialFolder(ctx, s.dir); err == nil {
		client.Close()
		return stateError{"join with folder " + shown(s.dir), errors.New("a daemon runs on it"), "end it first, and start it again when this has joined"}
	}
	h, err := findHomes(j.Env)
	if err != nil {
		return err
	}
	return runDaemon(ctx, s, h, service.FromEnvironment(), j.console, j.join)
}

// makeMissing makes a folder that does not exist.
func makeMissing(dir string) error {
	if dir == "" {
		return usageError{command: "join", cause: "no folder is named", remedy: "name it with -dir: it may exist, or not"}
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return stateError{"make folder " + shown(dir), err, "make the directory above it first, or name another with -dir"}
	}
	return nil
}

func (j *joining) join(ctx context.Context, n *node.Node) error {
	name, err := n.Join(ctx, j.address, j.code, j.decide)
	if errors.Is(err, node.ErrDeclined) {
		return stateError{"", node.ErrDeclined, "the code still serves, for as long as it would have"}
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(j.Out, "joined %s\n", harmless(name))
	if j.once {
		return errEnough
	}
	return nil
}

// decide shows what joining would come to, and asks.
func (j *joining) decide(p node.Preview) (bool, error) {
	if _, err := io.WriteString(j.Out, renderPreview(p)); err != nil || j.yes {
		return err == nil, err
	}
	ok, err := confirm(j.console, "Join? [y/N] ")
	if errors.Is(err, errNobody) {
		return false, stateError{"", fmt.Errorf("the folder is not empty, and %w", err), "look at the above, and then join with -yes"}
	}
	return ok, err
}

func renderPreview(p node.Preview) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s has %s, %s. This folder is not empty:\n", harmless(p.Inviter), formatCount(p.Files, "file", "files"), formatBytes(p.Bytes))
	for _, part := range []struct {
		paths node.Paths
		what  string
	}{
		{p.Compared.OnlyHere, "only here: they go to the others"},
		{p.Compared.OnlyThere, "only there: they come here"},
		{p.Compared.Differing, "differing: both are kept, one of them as a conflict copy"},
	} {
		fmt.Fprintf(&b, "  %6d %s\n", part.paths.Count, part.what)
		for _, path := range part.paths.Examples {
			fmt.Fprintf(&b, "           %s\n", shown(path))
		}
		if more := part.paths.Count - len(part.paths.Examples); more > 0 && len(part.paths.Examples) > 0 {
			fmt.Fprintf(&b, "           and %d more\n", more)
		}
	}
	fmt.Fprintf(&b, "  %6d the same\nNothing is deleted.\n", p.Compared.Same)
	return b.String()
}
