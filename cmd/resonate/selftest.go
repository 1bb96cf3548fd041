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
	"resonate/selftest"
)

// minSelftest is the least time in which something can be measured.
const minSelftest = time.Second

func selftestCommand() command {
	return command{
		name:     "selftest",
		operands: "[-for TIME] [-json]",
		short:    "test the running cluster: edits, locks, and whether the folders are equal",
		long: `Measures, beside the daemons as they run, how long an edit of this folder takes until every connected peer has it, and how
long locks take; has 14 workers contend for 10 locks and sees that none of them ever has two holders; and compares the folders. It
works in a directory of its own, ` + selftest.DirPrefix + `..., and on lock names of its own, and removes both, also when it is interrupted. The
peers' histories keep the versions of its files, as of any others. It may run on several nodes at once.
error_flags=0x000000 tells that all is well. The low byte is about what locks promise, the middle one about the tester, the high one about
the folders: docs/commands.md lists the bits. If any is set, the exit code is 1.`,
		define: func(set *flag.FlagSet, c console) action {
			dir, asJSON := dirFlag(set), jsonFlag(set)
			length := duration(20 * time.Second)
			set.Var(&length, "for", "test for this `time`, and a little longer to make and to compare the files")
			return func(ctx context.Context, operands []string) error {
				if err := noOperands("selftest", operands); err != nil {
					return err
				}
				if time.Duration(length) < minSelftest {
					return usageError{command: "selftest", cause: fmt.Sprintf("-for wants %s or more", formatDuration(minSelftest))}
				}
				return withDaemon(ctx, *dir, func(folder string, client *control.Client) error {
					return runSelftest(ctx, c, folder, client, time.Duration(length), *asJSON)
				})
			}
		},
	}
}

// runSelftest tests, and prints what was found.
func runSelftest(ctx context.Context, c console, folder string, client *control.Client, length time.Duration, asJSON bool) error {
	t, err := selftest.Open(ctx, selftest.Config{Folder: folder, Daemon: client, Locker: client, Owner: userName(c.Env), Length: length})
	if err != nil {
		return selftestFailed(err)
	}
	if !asJSON {
		_, err := fmt.Fprintf(c.Out, "selftest of %s with %s, for %s\n", shown(folder), formatCount(t.Peers, "peer", "peers"), formatDuration(length))
		if err != nil {
			return err
		}
	}
	r, err := t.Run(ctx)
	if err != nil {
		if r.Flags != 0 {
			err = fmt.Errorf("%w\n%s", err, harmless(strings.Join(r.Findings, "; ")))
		}
		return selftestFailed(err)
	}
	if asJSON {
		err = printJSON(c.Out, r)
	} else {
		_, err = io.WriteString(c.Out, renderSelftest(r))
	}
	if err == nil && r.Flags != 0 {
		err = stateError{"selftest", fmt.Errorf("not all is as it should be: error_flags=%v", r.Flags), "what was found is told above"}
	}
	return err
}

// selftestFailed tells why the test could not be made, and what to do about it.
func selftestFailed(err error) error {
	remedy := ""
	switch {
	case errors.Is(err, context.Canceled):
		return stateError{"selftest", worded{strings.TrimSuffix(err.Error(), ": "+context.Canceled.Error()), err}, ""}
	case errors.Is(err, selftest.ErrNoPeer):
		remedy = "see who is missing: resonate status"
	case errors.Is(err, control.ErrNoMajority):
		remedy = "see who is missing: resonate cluster"
	case errors.Is(err, control.ErrPaused):
		remedy = "resonate resume"
	}
	return stateError{"selftest", err, remedy}
}

// renderSelftest writes a report for people, after its first line.
func renderSelftest(r selftest.Report) string {
	var b strings.Builder
	line := func(label, format string, args ...any) {
		fmt.Fprintf(&b, "%-16s  %s\n", label, fmt.Sprintf(format, args...))
	}
	latency := func(label string, l selftest.Latency, one, many string) {
		if l.Count == 0 {
			line(label, "not measured")
			return
		}
		unit, scale := "ms", 1.0
		if l.P99 < 0.1 {
			unit, scale = "us", 1000
		}
		figure := func(millis float64) string { return fmt.Sprintf("%8.2f %s", scale*millis, unit) }
		line(label, "p50 %s   p95 %s   p99 %s   %s", figure(l.P50), figure(l.P95), figure(l.P99), formatCount(l.Count, one, many))
	}
	latency("edit to visible", r.Edit, "edit", "edits")
	latency("lock, cached", r.Cached, "lock", "locks")
	latency("lock, uncached", r.Uncached, "lock", "locks")
	latency("lock, contended", r.HandOver, "hand-over", "hand-overs")
	line("exclusion", "%d workers on %d names: %s", r.Contest.Workers, r.Contest.Names, formatCount(r.Contest.Locks, "lock", "locks"))
	line("throughput", "%s locks per second: %d clients with a name each", thousands(int(r.Rate.PerSecond)), r.Rate.Clients)
	line("folders", "%s; the tree is equal to that of %d of %s", formatCount(r.Folders.Files, "file", "files"), r.Folders.Equal,
		formatCount(r.Folders.Peers, "peer", "peers"))
	for _, f := range r.Findings {
		line("wrong", "%s", harmless(f))
	}
	fmt.Fprintf(&b, "error_flags=%v\n", r.Flags)
	return b.String()
}
