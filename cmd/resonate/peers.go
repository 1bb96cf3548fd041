package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"resonate/control"
)

func peersCommand() command {
	return command{
		name:     "peers",
		operands: "[list|forget NODE|rename NODE NAME|id|trust KEYFILE] [-json]",
		verbs:    []string{"list", "forget", "rename", "id", "trust"},
		short:    "list the members, forget one, name one",
		long: `Lists all nodes that belong together: name, ID, addresses, whether connected or since when not, and what each still lacks. NODE is
a name, an ID, or four letters or more of its beginning.
"forget" takes a node out for good: its connections end, its key is refused by every member that hears of it, and deletions no longer
wait for it. It keeps its files, and what is changed there stays there. To come back, it joins anew, started with -fresh.
"rename" gives a node a name on all nodes. "id" prints this node's key in OpenSSH's form; "trust" makes the owners of the keys in
such a file members ("-" is standard input), for those who distribute keys themselves: do so on both sides, and name a -peer on one.`,
		define: func(set *flag.FlagSet, c console) action {
			dir, asJSON := dirFlag(set), jsonFlag(set)
			return func(ctx context.Context, operands []string) error {
				p := &peersCall{console: c, asJSON: *asJSON}
				do, err := p.verb(operands)
				if err != nil {
					return err
				}
				return withDaemon(ctx, *dir, func(_ string, client *control.Client) error { return do(ctx, client) })
			}
		},
	}
}

// peersCall is one call of peers.
type peersCall struct {
	console
	asJSON bool
}

// verb returns what the operands ask for.
func (p *peersCall) verb(operands []string) (func(context.Context, control.Cluster) error, error) {
	verb, rest := "list", []string(nil)
	if len(operands) > 0 {
		verb, rest = operands[0], operands[1:]
	}
	want := map[string]int{"list": 0, "forget": 1, "rename": 2, "id": 0, "trust": 1}
	n, known := want[verb]
	switch {
	case !known:
		return nil, usageError{command: "peers", cause: "want list, forget, rename, id or trust, not " + shown(verb)}
	case len(rest) != n:
		return nil, usageError{command: "peers", cause: fmt.Sprintf("%s takes %s", verb, formatCount(n, "operand", "operands"))}
	}
	return func(ctx context.Context, cluster control.Cluster) error {
		switch verb {
		case "forget":
			m, err := cluster.Forget(ctx, rest[0])
			return p.done(m, "forgotten: %s\n", err)
		case "rename":
			m, err := cluster.Rename(ctx, rest[0], rest[1])
			return p.done(m, "renamed: %s\n", err)
		case "trust":
			return p.trust(ctx, cluster, rest[0])
		case "id":
			return p.id(ctx, cluster)
		}
		return p.list(ctx, cluster)
	}, nil
}

// done tells what became of a member.
func (p *peersCall) done(m control.Member, format string, err error) error {
	switch {
	case errors.Is(err, control.ErrNotFound):
		return stateError{"", err, "see who there is: resonate peers"}
	case err != nil:
		return err
	case p.asJSON:
		return printJSON(p.Out, m)
	}
	_, err = fmt.Fprintf(p.Out, format, memberName(m))
	return err
}

func (p *peersCall) trust(ctx context.Context, cluster control.Cluster, file string) error {
	var text []byte
	var err error
	if file == "-" {
		text, err = io.ReadAll(io.LimitReader(p.In, maxKeyFile))
	} else {
		text, err = os.ReadFile(file)
	}
	if err != nil {
		return stateError{"read keys", err, "name a file with lines as resonate peers id prints them"}
	}
	list, err := cluster.Trust(ctx, string(text))
	if err != nil {
		return err
	}
	if p.asJSON {
		return printJSON(p.Out, list)
	}
	for _, m := range list {
		fmt.Fprintf(p.Out, "trusted: %s\n", memberName(m))
	}
	return nil
}

// maxKeyFile bounds the keys that are read from standard input.
const maxKeyFile = 1 << 20

func (p *peersCall) id(ctx context.Context, cluster control.Cluster) error {
	list, err := cluster.Members(ctx)
	if err != nil {
		return err
	}
	for _, m := range list {
		if !m.Self {
			continue
		}
		if p.asJSON {
			return printJSON(p.Out, m)
		}
		_, err := fmt.Fprintf(p.Out, "%s %s\n", m.Key, harmless(m.Name))
		return err
	}
	return errors.New("this node is not among its members: please report that")
}

func (p *peersCall) list(ctx context.Context, cluster control.Cluster) error {
	list, err := cluster.Members(ctx)
	if err != nil {
		return err
	}
	if p.asJSON {
		return printJSON(p.Out, list)
	}
	_, err = io.WriteString(p.Out, renderMembers(list, time.Now()))
	return err
}

// memberName is what a member is called for people.
func memberName(m control.Member) string {
	if m.Name == "" {
		return m.Short
	}
	return harmless(m.Name) + " (" + m.Short + ")"
}

// renderMembers writes members for people, as of now.
func renderMembers(list []control.Member, now time.Time) string {
	var b strings.Builder
	for _, m := range list {
		state := memberState(m, now)
		if m.Witness {
			state = "witness, " + state
		}
		fmt.Fprintf(&b, "%-32s  %s\n", memberName(m), state)
		if len(m.Addresses) > 0 {
			fmt.Fprintf(&b, "    at %s\n", harmless(strings.Join(m.Addresses, ", ")))
		}
		fmt.Fprintf(&b, "    id %s", m.ID)
		if m.Admitted != nil {
			fmt.Fprintf(&b, ", since %s by %s", m.Admitted.Local().Format(time.DateTime), harmless(m.AdmittedBy))
		}
		b.WriteByte('\n')
		if m.Error != "" {
			fmt.Fprintf(&b, "    %s\n", harmless(m.Error))
		}
	}
	return b.String()
}

func memberState(m control.Member, now time.Time) string {
	switch {
	case m.Forgotten != nil:
		return fmt.Sprintf("forgotten since %s by %s", m.Forgotten.Local().Format(time.DateTime), harmless(m.ForgottenBy))
	case m.State == "":
		return "not connected since this daemon started"
	case m.State == "connected":
		state := "connected for " + formatSpan(now.Sub(*m.Since))
		switch {
		case m.Lacks.Files > 0:
			return fmt.Sprintf("%s, lacks %s, %s", state, formatCount(m.Lacks.Files, "change", "changes"), formatBytes(m.Lacks.Bytes))
		case m.InSync:
			return state + ", in sync"
		}
		return state
	case m.Since == nil || m.Self:
		return m.State
	}
	return fmt.Sprintf("%s for %s", harmless(m.State), formatSpan(now.Sub(*m.Since)))
}
