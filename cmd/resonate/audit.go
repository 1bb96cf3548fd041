package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"time"

	"resonate/control"
	"resonate/replica"
)

func auditCommand() command {
	return command{
		name:     "audit",
		operands: "[list] [PATH] [-since T] [-json] | verify",
		verbs:    []string{"list", "verify"},
		short:    "list what has changed and who said so, or prove that list",
		long: `Each node keeps a record of its own: what was changed here, what came from which peer, and who made that, as the
peer said. Versions are not signed: a peer can name any member, and the record does not claim more. "list" prints
it, the newest last, of all or of what is about PATH. "verify" walks along the chain of hashes that holds it
together, and tells the first place at which something was changed or taken out. Both work without a daemon.
A file that is itself called list or verify is "resonate audit list verify".`,
		define: func(set *flag.FlagSet, c console) action {
			dir, asJSON := dirFlag(set), jsonFlag(set)
			since := set.String("since", "", "list what is newer than this `time`: 2026-01-02T15:04:05Z, \"2026-01-02 15:04\" in local time, or 2h for two hours ago")
			return func(ctx context.Context, operands []string) error {
				a := auditCall{console: c, asJSON: *asJSON}
				verb := "list"
				if len(operands) > 0 && (operands[0] == "list" || operands[0] == "verify") {
					verb, operands = operands[0], operands[1:]
				}
				var err error
				if a.query.Since, err = parseTime(*since, time.Now()); err != nil {
					return usageError{command: "audit", cause: fmt.Sprintf("invalid value %q for -since: %v", *since, err)}
				}
				switch {
				case verb == "verify" && (len(operands) > 0 || *since != ""):
					return usageError{command: "audit", cause: "verify proves all of it: it takes no path and no -since"}
				case len(operands) > 1:
					return usageError{command: "audit", cause: "one path at most"}
				}
				folder, err := findFolder(*dir)
				if err != nil {
					return err
				}
				if a.query.Path, err = optionalPath(folder, operands); err != nil {
					return err
				}
				if a.state, err = a.findState(ctx, folder); err != nil {
					return err
				}
				if verb == "verify" {
					return a.verify()
				}
				return a.list()
			}
		},
	}
}

// auditCall is one call of audit.
type auditCall struct {
	console
	asJSON bool
	query  replica.AuditQuery
	state  string // the node's state directory
}

// findState returns the state directory of the folder's node: from its daemon, which writes down what it has not yet, or else from where
// it would be.
func (a *auditCall) findState(ctx context.Context, folder string) (string, error) {
	client, err := dialFolder(ctx, folder)
	if errors.Is(err, control.ErrNoDaemon) && hasMarker(folder) {
		h, err := findHomes(a.Env)
		if err != nil {
			return "", err
		}
		return replica.StateOf(folder, h.state)
	}
	if err != nil {
		return "", err
	}
	defer client.Close()
	p, err := client.Audit(ctx)
	if err == nil && p.Unwritten > 0 {
		fmt.Fprintf(a.Err, "resonate: %s could not be written yet: %s\n", formatCount(p.Unwritten, "record", "records"), harmless(p.Cause))
	}
	return p.State, err
}

// list prints records. That the chain is broken somewhere is an error, after all of them.
func (a *auditCall) list() error {
	out := bufio.NewWriter(a.Out)
	list := jsonList{w: out}
	count, self := 0, filepath.Base(a.state)
	v, err := replica.ReadAudit(a.state, a.query, func(rec control.Audited) error {
		count++
		if a.asJSON {
			return list.add(rec)
		}
		_, err := out.WriteString(renderAudited(rec, self, time.Local))
		return err
	})
	switch {
	case errors.Is(err, control.ErrNotFound):
		return stateError{"", err, ""}
	case err != nil:
		return errors.Join(out.Flush(), err)
	case a.asJSON:
		err = list.end()
	case count == 0:
		_, err = out.WriteString("nothing is recorded\n")
	}
	if err = errors.Join(err, out.Flush()); err != nil {
		return err
	}
	return brokenError(a.state, v)
}

// verdict is what "resonate audit verify -json" prints.
type verdict struct {
	First  uint64      `json:"first"`
	Last   uint64      `json:"last"`
	Head   string      `json:"head"`
	Torn   int64       `json:"torn_bytes"`
	Broken *brokenLink `json:"broken,omitempty"`
}

type brokenLink struct {
	File   string `json:"file"`
	Record uint64 `json:"record"`
	Cause  string `json:"cause"`
}

func (a *auditCall) verify() error {
	v, err := replica.ReadAudit(a.state, replica.AuditQuery{}, func(control.Audited) error { return nil })
	if errors.Is(err, control.ErrNotFound) {
		return stateError{"", err, ""}
	}
	if err != nil {
		return err
	}
	if a.asJSON {
		j := verdict{First: v.First, Last: v.Last, Head: v.Head.String(), Torn: v.Torn}
		if b := v.Broken; b != nil {
			j.Broken = &brokenLink{b.File, b.Record, b.Cause}
		}
		if err := printJSON(a.Out, j); err != nil {
			return err
		}
		return brokenError(a.state, v)
	}
	if v.Broken == nil {
		if _, err := fmt.Fprint(a.Out, renderVerdict(v)); err != nil {
			return err
		}
	}
	return brokenError(a.state, v)
}

// renderVerdict writes for people that all is as it was written.
func renderVerdict(v replica.AuditVerdict) string {
	text := "nothing is recorded\n"
	if v.Last > 0 {
		text = fmt.Sprintf("records %s to %s are as they were written\nhead %s\n", thousands(v.First), thousands(v.Last), v.Head)
	}
	if v.Torn > 0 {
		text += fmt.Sprintf("the last %s are no whole record: being written just now, or torn by a crash\n", formatBytes(v.Torn))
	}
	return text
}

// brokenError is the error of an audit whose chain is broken, nil of any other.
func brokenError(state string, v replica.AuditVerdict) error {
	if v.Broken == nil {
		return nil
	}
	return stateError{"audit", v.Broken, "what it tells from there on proves nothing: keep a copy of " + shellWord(filepath.Join(state, "audit")) +
		" for whoever looks into it, and compare with the audits of other members"}
}
