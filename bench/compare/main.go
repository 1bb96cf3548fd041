// Command compare runs the same work under resonate and under other tools that keep two folders the same, and prints a table
// of what each took.
//
// Each workload does something in one folder and looks at the other, as a user would, until all of it is seen there; then
// both are compared byte by byte, outside of the time. So no tool needs to be asked when it has finished, and none is believed. What
// a tool does for a living (watch, connect, poll) it does as installed; a tool that is not installed is left out, and said
// to be. All of it runs on one machine, in a network of its own where the user is root, so that the bytes on the loopback
// interface are the tool's.
//
//	go run ./bench/compare -work /dev/shm -runs 3
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// stage is the variable that hands the folder of a run to the process in the private network.
const stage = "RESONATE_COMPARE_STAGE"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	var child *exec.ExitError
	switch {
	case errors.As(err, &child) && child.Exited(): // it has told why
		os.Exit(child.ExitCode())
	case errors.Is(err, flag.ErrHelp):
		os.Exit(0)
	case err != nil:
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	work, resonate   string
	tools, workloads []string
	runs             int
	files            []int
	quick            bool
}

func parse(args []string, errors io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("compare", flag.ContinueOnError)
	flags.SetOutput(errors)
	flags.StringVar(&o.work, "work", os.TempDir(), "make all folders below `DIR`; a tmpfs shows the tool rather than the disk")
	flags.StringVar(&o.resonate, "resonate", "", "measure this `BINARY`; default: built from the sources")
	flags.IntVar(&o.runs, "runs", 1, "run everything so many times, and print medians")
	flags.BoolVar(&o.quick, "quick", false, "a fraction of every size, to see that all of it works")
	tools := flags.String("tools", strings.Join(titles(toolbox), ","), "the `TOOLS`, with commas between")
	cases := flags.String("cases", strings.Join(titles(workloads), ","), "the `WORKLOADS`, with commas between")
	files := flags.String("files", "100000", "the `NUMBERS` of files of the workloads small and flat, with commas between")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unknown operand %q: there are only flags", flags.Arg(0))
	}
	o.tools, o.workloads = strings.Split(*tools, ","), strings.Split(*cases, ",")
	for f := range strings.SplitSeq(*files, ",") {
		n, err := strconv.Atoi(f)
		if err != nil || n < filesPerDirectory {
			return o, fmt.Errorf("-files %q: want numbers of at least %d", f, filesPerDirectory)
		}
		o.files = append(o.files, n)
	}
	return o, nil
}

func run(ctx context.Context, args []string, out, notes io.Writer) error {
	o, err := parse(args, notes)
	if err != nil {
		return err
	}
	if dir := os.Getenv(stage); dir != "" {
		if err := raiseLoopback(); err != nil {
			return err
		}
		o.work = dir
		return measure(ctx, o, privateTraffic, out, notes)
	}
	if o.work, err = os.MkdirTemp(o.work, "resonate-compare-"); err != nil {
		return fmt.Errorf("make a folder to work in: %w", err)
	}
	defer os.RemoveAll(o.work)
	if o.resonate == "" { // built before the network is gone, which the build may need
		binary := filepath.Join(o.work, "resonate")
		if text, err := exec.CommandContext(ctx, "go", "build", "-o", binary, "resonate/cmd/resonate").CombinedOutput(); err != nil {
			return fmt.Errorf("build resonate: %w: %s (run this in a clone, or name a binary with -resonate)", err, text)
		}
	}
	again := inPrivateNetwork(ctx, args)
	if again == nil {
		fmt.Fprintln(notes, "bytes on the wire are not measured: that needs Linux and root")
		return measure(ctx, o, noTraffic, out, notes)
	}
	again.Env = append(os.Environ(), stage+"="+o.work)
	again.Stdout, again.Stderr = out, notes
	return again.Run()
}

// measure runs what o asks for and prints the table.
func measure(ctx context.Context, o options, traffic meter, out, notes io.Writer) error {
	tools, err := pick(toolbox, o.tools)
	if err != nil {
		return err
	}
	cases, err := pick(workloads, o.workloads)
	if err != nil {
		return err
	}
	if o.resonate == "" {
		o.resonate = filepath.Join(o.work, "resonate")
	}
	s := &series{o: o, traffic: traffic, notes: notes, size: fullSize, report: newReport()}
	if o.quick {
		s.size = quickSize
	}
	begin := machineBusy()
	for range o.runs {
		for _, c := range cases {
			for _, t := range tools {
				if err := s.runAll(ctx, c, t); err != nil {
					return err
				}
			}
		}
	}
	fmt.Fprintf(out, "%s\n\n", describeMachine(o.work, begin))
	return s.report.write(out)
}

// pick gives those of all that are wanted by name, in the order of all.
func pick[T interface{ title() string }](all []T, wanted []string) ([]T, error) {
	var out []T
	for _, t := range all {
		if slices.Contains(wanted, t.title()) {
			out = append(out, t)
		}
	}
	known := titles(all)
	for _, w := range wanted {
		if !slices.Contains(known, w) {
			return nil, fmt.Errorf("%q is unknown: there are %s", w, strings.Join(known, ", "))
		}
	}
	return out, nil
}

func titles[T interface{ title() string }](all []T) []string {
	var out []string
	for _, t := range all {
		out = append(out, t.title())
	}
	return out
}
