package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"golang.org/x/term"

	"resonate/control"
	"resonate/replica"
)

func checkCommand() command {
	return command{
		name:     "check",
		operands: "[-read] [-repair] [-json]",
		short:    "prove the index against the folder, and with -repair put right what differs",
		long: `Compares all that is recorded with the folder, and the index with itself. A running daemon does it beside its
work: what is on its way in or out is no difference. Without a daemon the folder is checked as it lies; no daemon can
start on it meanwhile. It changes nothing without -repair, and exits with 1 if something is not as recorded.`,
		define: func(set *flag.FlagSet, c console) action {
			dir, asJSON := dirFlag(set), jsonFlag(set)
			var o control.CheckOptions
			set.BoolVar(&o.Read, "read", false, "read every file, and compare its content with what was agreed")
			set.BoolVar(&o.Repair, "repair", false, "put right what differs; nothing that a user wrote is lost by it")
			return func(ctx context.Context, operands []string) error {
				if err := noOperands("check", operands); err != nil {
					return err
				}
				folder, err := findFolder(*dir)
				if err != nil {
					return err
				}
				return checkFolder(ctx, c, folder, o, *asJSON)
			}
		},
	}
}

// checkFolder has the daemon check the folder, or checks it here where none runs.
func checkFolder(ctx context.Context, c console, folder string, o control.CheckOptions, asJSON bool) error {
	p := newCheckPrinter(c, asJSON)
	client, err := dialFolder(ctx, folder)
	switch {
	case err == nil:
		defer client.Close()
		err = client.Check(ctx, o, p.report)
	case errors.Is(err, control.ErrNoDaemon) && hasMarker(folder):
		err = checkAlone(ctx, c, folder, o, p)
	}
	p.clear()
	if err != nil {
		return err
	}
	return p.end(o)
}

func checkAlone(ctx context.Context, c console, folder string, o control.CheckOptions, p *checkPrinter) error {
	h, err := findHomes(c.Env)
	if err != nil {
		return err
	}
	log := slog.New(newPlainHandler(c.Err, slog.LevelWarn))
	return replica.CheckAlone(ctx, replica.Options{Dir: folder, StateHome: h.state, Log: log}, o, p.report)
}

// A checkPrinter prints differences as they are found, and on a terminal how far the check is.
type checkPrinter struct {
	out    io.Writer
	screen *screen   // nil: no terminal
	list   *jsonList // nil: for people
	sum    control.CheckSummary
}

func newCheckPrinter(c console, asJSON bool) *checkPrinter {
	p := &checkPrinter{out: c.Out}
	_, p.screen = logOutput(c.Err)
	if asJSON {
		p.list = &jsonList{w: c.Out, prefix: "  ", before: "{\n  \"differences\": "}
	}
	return p
}

func (p *checkPrinter) report(r control.CheckReport) error {
	switch {
	case r.Progress != nil && p.screen != nil:
		width, _, err := term.GetSize(p.screen.fd)
		if err != nil || width <= 0 {
			width = 80
		}
		p.screen.Draw(statusLine(control.Status{Progress: r.Progress}, width))
	case r.Summary != nil:
		p.sum = *r.Summary
	case r.Difference != nil:
		p.clear()
		if p.list != nil {
			return p.list.add(*r.Difference)
		}
		_, err := io.WriteString(p.out, renderDifference(*r.Difference))
		return err
	}
	return nil
}

// clear takes the progress away.
func (p *checkPrinter) clear() {
	if p.screen != nil {
		p.screen.Draw("")
	}
}

// end prints the summary. What differs and is not mended is an error.
func (p *checkPrinter) end(o control.CheckOptions) error {
	if err := p.printSummary(); err != nil {
		return err
	}
	left := p.sum.Differences - p.sum.Mended
	if left == 0 {
		return nil
	}
	remedy := "put it right with: resonate check -repair"
	if o.Read {
		remedy += " -read"
	}
	if o.Repair {
		remedy = "what could not be put right is told above; check again when that is done"
	}
	return stateError{"check", errors.New(formatCount(left, "thing is", "things are") + " not as recorded"), remedy}
}

func (p *checkPrinter) printSummary() error {
	if p.list != nil {
		return p.endJSON()
	}
	s := p.sum
	text := fmt.Sprintf("checked %s, %s, %s", formatCount(s.Files, "file", "files"), formatCount(s.Directories, "directory", "directories"),
		formatCount(s.Symlinks, "symlink", "symlinks"))
	if s.BytesRead > 0 {
		text += ", read " + formatBytes(s.BytesRead)
	}
	switch {
	case s.Differences == 0:
		text += ": all is as recorded"
	default:
		text += ": " + formatCount(s.Differences, "difference", "differences")
	}
	if s.Mended > 0 {
		text += fmt.Sprintf(", %s mended", thousands(s.Mended))
	}
	_, err := fmt.Fprintln(p.out, text)
	return err
}

// endJSON ends the list of differences, and the object that it is in.
func (p *checkPrinter) endJSON() error {
	if err := p.list.end(); err != nil {
		return err
	}
	sum, err := json.MarshalIndent(p.sum, "  ", "  ")
	if err == nil {
		_, err = fmt.Fprintf(p.out, ",\n  \"summary\": %s\n}\n", sum)
	}
	return err
}

// renderDifference writes a difference for people.
func renderDifference(d control.Difference) string {
	var b strings.Builder
	name := "index"
	if d.Path != "" {
		name = shown(d.Path)
	}
	fmt.Fprintf(&b, "%s: %s\n    expected: %s\n    found:    %s\n", name, d.What, harmless(d.Expected), harmless(d.Found))
	if d.Repair != "" {
		fmt.Fprintf(&b, "    repair:   %s\n", harmless(d.Repair))
	}
	return b.String()
}
