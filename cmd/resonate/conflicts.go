package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"resonate/control"
)

func conflictsCommand() command {
	verbs := []string{"list", "show", "diff", "resolve"}
	return command{
		name:     "conflicts",
		operands: "[list|show|diff|resolve] [PATH] [-keep mine|theirs|both] [-merge-cmd CMD] [-json]",
		verbs:    verbs,
		short:    "list files that were changed in two places at once, and resolve them",
		long: `Where two nodes changed a file and neither had seen the other's change, one version has the name and the other is
kept beside it: NAME.conflict-NODE-TIME.EXT, by whom and when it was made. PATH is either of the two.
"list" tells of all, or of those at and below PATH; "show" tells all of one; "diff" prints what makes the copy of
what has the name. "resolve" ends it, on all nodes:
    -keep mine     what has the name now keeps it; the copy goes to the history
    -keep theirs   the copy gets the name; what had it goes to the history
    -keep both     both stay; the copy gets a plain name, such as NAME-NODE.EXT
    -merge-cmd CMD the shell runs CMD, which finds copies of the two at $MINE and $THEIRS, and an empty file at
                   $BASE; if it ends with 0, what it leaves at $MERGED gets the name, and both go to the history
"resonate restore" brings back what went to the history. With several copies, "theirs" and CMD want the copy's path.`,
		define: func(set *flag.FlagSet, c console) action {
			dir, asJSON := dirFlag(set), jsonFlag(set)
			keep := set.String("keep", "", "`which` to keep: mine (what has the name now), theirs (the copy), or both")
			tool := set.String("merge-cmd", "", "a `command` that merges the two, for the shell")
			return func(ctx context.Context, operands []string) error {
				verb := "list"
				if len(operands) > 0 && slices.Contains(verbs, operands[0]) {
					verb, operands = operands[0], operands[1:]
				}
				if err := checkConflictFlags(verb, operands, givenFlags(set), *keep, *tool); err != nil {
					return err
				}
				return withDaemon(ctx, *dir, func(folder string, client *control.Client) error {
					path, err := optionalPath(folder, operands)
					if err != nil {
						return err
					}
					q := conflictCall{c, client, *asJSON, path}
					switch {
					case verb == "list":
						return q.list(ctx)
					case verb == "show":
						err = q.show(ctx)
					case verb == "diff":
						err = client.ConflictDiff(ctx, path, c.Out)
					case *keep != "":
						err = q.resolve(ctx, control.Keep(*keep))
					default:
						err = q.merge(ctx, folder, *tool)
					}
					if errors.Is(err, control.ErrNotFound) {
						return stateError{shown(operands[0]), errors.New("no conflict copy is known of it"), "see which are: resonate conflicts"}
					}
					return err
				})
			}
		},
	}
}

// givenFlags are the flags that were set on the command line.
func givenFlags(set *flag.FlagSet) map[string]bool {
	given := map[string]bool{}
	set.Visit(func(f *flag.Flag) { given[f.Name] = true })
	return given
}

// checkConflictFlags tells what cannot be right about a command line. A flag that comes from a variable is no mistake where
// it means nothing.
func checkConflictFlags(verb string, operands []string, given map[string]bool, keep, tool string) error {
	wrong := func(cause string) error { return usageError{command: "conflicts", cause: cause} }
	switch {
	case verb == "list" && len(operands) > 1:
		return wrong("one path at most")
	case verb != "list" && len(operands) != 1:
		return wrong(verb + " wants one path")
	case verb != "resolve" && (given["keep"] || given["merge-cmd"]):
		return wrong("-keep and -merge-cmd go with resolve")
	case verb == "diff" && given["json"]:
		return wrong("diff prints no JSON")
	case verb != "resolve":
	case keep == "" && tool == "":
		return wrong("resolve wants -keep mine, theirs or both, or -merge-cmd")
	case given["keep"] && given["merge-cmd"]:
		return wrong("want either -keep or -merge-cmd")
	case !slices.Contains([]string{"", "mine", "theirs", "both"}, keep):
		return wrong(fmt.Sprintf("invalid value %q for -keep: want mine, theirs or both", keep))
	}
	return nil
}

// A conflictCall is what the verbs have in common.
type conflictCall struct {
	c      console
	client *control.Client
	json   bool
	path   string
}

func (q conflictCall) list(ctx context.Context) error {
	list, err := q.client.Conflicts(ctx, q.path)
	if err != nil {
		return err
	}
	if q.json {
		return printJSON(q.c.Out, list)
	}
	_, err = io.WriteString(q.c.Out, renderConflicts(list, time.Local))
	return err
}

func (q conflictCall) show(ctx context.Context) error {
	one, err := q.client.Conflict(ctx, q.path)
	if err != nil {
		return err
	}
	if q.json {
		return printJSON(q.c.Out, one)
	}
	_, err = io.WriteString(q.c.Out, renderConflict(one, time.Local))
	return err
}

func (q conflictCall) resolve(ctx context.Context, keep control.Keep) error {
	done, err := q.client.Resolve(ctx, q.path, keep)
	if err != nil {
		return err
	}
	return q.resolved(done)
}

// resolved tells how a conflict ended.
func (q conflictCall) resolved(done control.Resolved) error {
	if q.json {
		return printJSON(q.c.Out, done)
	}
	_, err := io.WriteString(q.c.Out, renderResolved(done))
	return err
}

// renderConflicts writes conflicts for people, with times in the given zone: each path, and below it its versions.
func renderConflicts(list []control.Conflict, zone *time.Location) string {
	if len(list) == 0 {
		return "no conflicts\n"
	}
	var b strings.Builder
	line := func(label string, v control.ConflictVersion, path string) {
		text := fmt.Sprintf("    %-5s %s %10s  by %s", label, v.Time.In(zone).Format(time.DateTime), formatBytes(v.Size), by(v))
		if path != "" {
			text += "  " + shown(path)
		}
		b.WriteString(text + "\n")
	}
	for _, c := range list {
		fmt.Fprintf(&b, "%s\n", shown(c.Path))
		if c.Mine != nil {
			line("mine", *c.Mine, "")
		} else {
			b.WriteString("    mine  nothing: deleted or moved since\n")
		}
		for _, v := range c.Copies {
			line("copy", v, v.Path)
		}
	}
	return b.String()
}

// by names who made a version.
func by(v control.ConflictVersion) string { return harmless(cmp.Or(v.Name, v.Node)) }

// renderConflict writes all that is known of one conflict.
func renderConflict(c control.Conflict, zone *time.Location) string {
	var b strings.Builder
	line := func(label, text string) { fmt.Fprintf(&b, "%-6s %s\n", label, text) }
	version := func(label string, v control.ConflictVersion) {
		line(label, shown(v.Path))
		line("", harmless(fmt.Sprintf("made by %s at %s", strings.TrimSpace(v.Node+" "+v.Name), v.Time.In(zone).Format(keptTime))))
		facts := v.Kind + ", " + formatBytes(v.Size)
		if v.MTime != nil {
			facts += ", changed " + v.MTime.In(zone).Format(keptTime)
		}
		switch v.Text {
		case "":
		case "yes":
			facts += ", text"
		default:
			facts += ", " + v.Text
		}
		if v.Target != "" {
			facts += ", to " + shown(v.Target)
		}
		line("", harmless(facts))
		if v.Hash != "" {
			line("", "content "+v.Hash)
		}
	}
	if c.Mine != nil {
		version("mine", *c.Mine)
	} else {
		line("mine", "nothing stands at "+shown(c.Path)+" now")
	}
	for _, v := range c.Copies {
		version("copy", v)
	}
	return b.String()
}

// renderResolved tells people how a conflict ended.
func renderResolved(done control.Resolved) string {
	var b strings.Builder
	path := shown(done.Path)
	if done.Keep == "merged" {
		fmt.Fprintf(&b, "merged %s: both versions are in the history\n", path)
		return b.String()
	}
	for _, c := range done.Copies {
		switch control.Keep(done.Keep) {
		case control.KeepMine:
			fmt.Fprintf(&b, "kept %s: %s is in the history\n", path, shown(c.Path))
		case control.KeepTheirs:
			fmt.Fprintf(&b, "kept %s as %s: what was there is in the history\n", shown(c.Path), path)
		default:
			fmt.Fprintf(&b, "kept both: %s is now %s\n", shown(c.Path), shown(c.Now))
		}
	}
	return b.String()
}
