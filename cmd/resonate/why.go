package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"resonate/control"
)

func whyCommand() command {
	return command{
		name:     "why",
		operands: "PATH [-json]",
		short:    "explain why a path is as it is, or why it is not synced",
		long: `Tells all that is known of a path: what is agreed of it and by whose operation, what was recorded of the disk and
what is there now, what is on its way in and what it waits for, whether it is held, and which peers have exactly this
version. Of a path that is not synced it says why; it exits with 1 if nothing was ever heard of it.`,
		define: func(set *flag.FlagSet, c console) action {
			dir, asJSON := dirFlag(set), jsonFlag(set)
			return func(ctx context.Context, operands []string) error {
				if len(operands) != 1 {
					return usageError{command: "why", cause: "want one path"}
				}
				return withDaemon(ctx, *dir, func(folder string, client *control.Client) error {
					path, err := inFolder(folder, operands[0])
					if err != nil {
						return err
					}
					if path == "" {
						return usageError{command: "why", cause: "want a path in the folder", remedy: "of the folder as a whole: resonate status"}
					}
					w, err := client.Why(ctx, path)
					if err != nil {
						return err
					}
					return printWhy(c.Out, w, *asJSON)
				})
			}
		},
	}
}

// printWhy prints what is known. Of a path that is neither known nor ignored by a rule that is an error in itself.
func printWhy(out io.Writer, w control.Why, asJSON bool) error {
	unknown := !w.Known && w.Ignored == ""
	var err error
	switch {
	case asJSON:
		err = printJSON(out, w)
	case !unknown:
		_, err = io.WriteString(out, renderWhy(w, time.Local))
	}
	if err == nil && unknown {
		err = stateError{shown(w.Path), errors.New("it is not synced: " + harmless(w.Cause)), harmless(w.Remedy)}
	}
	return err
}

// renderWhy writes what is known of a path for people, with times in the given zone.
func renderWhy(w control.Why, zone *time.Location) string {
	var b strings.Builder
	line := func(label, format string, args ...any) {
		fmt.Fprintf(&b, "%-10s %s\n", label, harmless(fmt.Sprintf(format, args...)))
	}
	line("path", "%s", shown(w.Path))
	line("state", "%s: %s", w.State, w.Cause)
	if w.Remedy != "" {
		line("", "%s", w.Remedy)
	}
	if w.Agreed != nil {
		renderAgreed(line, *w.Agreed, zone)
	}
	if w.Recorded != nil {
		line("recorded", "%s", describeSeen(*w.Recorded, zone))
	}
	switch {
	case w.FoundFail != "":
		line("on disk", "%s", w.FoundFail)
	case w.Found == nil:
		line("on disk", "nothing")
	default:
		line("on disk", "%s", describeSeen(*w.Found, zone))
	}
	for _, p := range w.Incoming {
		line("incoming", "%s, %s, by %s, from %s: %s", p.Kind, formatBytes(p.Size), describeStamp(p.Author, zone), strings.Join(p.From, " "), p.Waits)
	}
	if w.Held != nil {
		line("held", "%s since %s: %s", w.Held.Kind, w.Held.Since.In(zone).Format(time.DateTime), w.Held.Cause)
	}
	if w.Problem != nil {
		line("problem", "since %s: %s; %s", w.Problem.Since.In(zone).Format(time.DateTime), w.Problem.Cause, w.Problem.Remedy)
	}
	for _, p := range w.Peers {
		line("peer", "%s: %s (%s)", strings.TrimSpace(p.ID+" "+p.Name), has(p.Has), p.Cause)
	}
	if w.Kept > 0 {
		line("history", "%s kept (see: resonate history %s)", formatCount(w.Kept, "earlier version", "earlier versions"), shellWord(w.Path))
	}
	return b.String()
}

func has(word string) string {
	switch word {
	case "yes":
		return "has this version"
	case "no":
		return "does not have this version"
	}
	return "not known whether it has this version"
}

// renderAgreed writes what is agreed of a path, and its version.
func renderAgreed(line func(label, format string, args ...any), a control.Agreed, zone *time.Location) {
	parts := []string{a.Kind}
	if a.Mode != "" {
		parts = append(parts, "mode "+a.Mode)
	}
	if a.Hash != "" || a.Below != nil {
		parts = append(parts, formatBytes(a.Size))
	}
	if a.MTime != nil {
		parts = append(parts, "changed "+a.MTime.In(zone).Format(time.DateTime))
	}
	if a.Target != "" {
		parts = append(parts, "to "+shown(a.Target))
	}
	if a.Owner != "" {
		parts = append(parts, "owner "+a.Owner)
	}
	if len(a.Xattrs) > 0 {
		parts = append(parts, "attributes "+strings.Join(a.Xattrs, " "))
	}
	line("agreed", "%s", strings.Join(parts, ", "))
	if a.Hash != "" {
		line("", "content %s", a.Hash)
	}
	if a.Below != nil {
		line("", "below it: content %s, state %s", brief(a.Below.Content), brief(a.Below.State))
	}
	line("", "entry %s", a.Entry)
	line("author", "%s", describeStamp(a.Author, zone))
	if a.Content != a.Author {
		line("", "of the content: %s", describeStamp(a.Content, zone))
	}
	token := a.Token
	if token == "0" {
		token = "none: made without a lock"
	}
	line("token", "%s", token)
	label := "version"
	for _, s := range a.Vector {
		line(label, "%s", describeStamp(s, zone))
		label = ""
	}
}

func describeStamp(s control.StampOf, zone *time.Location) string {
	return fmt.Sprintf("%s at %s (stamp %d)", strings.TrimSpace(s.Node+" "+s.Name), s.Time.In(zone).Format(time.DateTime), s.Stamp)
}

func describeSeen(s control.Seen, zone *time.Location) string {
	parts := []string{s.Kind, "mode " + s.Mode, formatBytes(s.Size), "changed " + s.MTime.In(zone).Format("2006-01-02 15:04:05.000000000")}
	if s.Target != "" {
		parts = append(parts, "to "+shown(s.Target))
	}
	if s.Inode != 0 {
		parts = append(parts, fmt.Sprintf("inode %d", s.Inode))
	}
	if s.Suspect {
		parts = append(parts, "in doubt")
	}
	return strings.Join(parts, ", ")
}
