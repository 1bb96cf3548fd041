// Command far measures resonate over a long line: two daemons on two hosts, each a network namespace of its own, with a link between
// them that this program forwards, packet by packet, with a delay, a rate, a queue, and losses if that is asked for. Plain TCP
// streams go over the same link in the same run, as many as resonate has connections, and what they reach is what there was to reach.
//
//	go run ./bench/far -rtt 100ms -rate 200
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
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(0)
	case err != nil:
		fmt.Fprintln(os.Stderr, "far:", err)
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	work, resonate string
	rtt            time.Duration
	rate           int64 // bits a second
	queue          time.Duration
	loss           float64
	control        string
	size           int64
	files, edits   int
	runs           int
	cases          []string
}

const allCases = "bulk,tree,edits"

func parse(args []string, errors io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("far", flag.ContinueOnError)
	flags.SetOutput(errors)
	flags.StringVar(&o.work, "work", os.TempDir(), "make all folders below `DIR`; a tmpfs leaves the disk out")
	flags.StringVar(&o.resonate, "resonate", "", "measure this `BINARY`; default: built from the sources")
	flags.DurationVar(&o.rtt, "rtt", 100*time.Millisecond, "the `TIME` that a packet takes there and back")
	rate := flags.Int64("rate", 200, "`MBIT` a second in each direction; 0: as many as come")
	flags.DurationVar(&o.queue, "queue", 100*time.Millisecond, "the `TIME` that a packet may wait for the line at most")
	flags.Float64Var(&o.loss, "loss", 0, "the `SHARE` of packets that get lost, such as 0.001")
	flags.StringVar(&o.control, "tcp", "", "the congestion control of TCP on both hosts, by its `NAME`; default: the system's")
	size := flags.Int64("size", 256, "`MIB` of the file")
	flags.IntVar(&o.files, "files", 5000, "the `NUMBER` of files in the tree, of 4 KiB on average")
	flags.IntVar(&o.edits, "edits", 40, "the `NUMBER` of edits of each kind")
	flags.IntVar(&o.runs, "runs", 1, "move everything so many times, and print medians")
	cases := flags.String("cases", allCases, "the `CASES`, with commas between")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.rate, o.size, o.cases = *rate*1e6, *size<<20, strings.Split(*cases, ",")
	for _, c := range o.cases {
		if !slices.Contains(strings.Split(allCases, ","), c) {
			return o, fmt.Errorf("case %q is unknown: there are %s", c, allCases)
		}
	}
	if flags.NArg() > 0 || o.size < 1 || o.files < 1 || o.edits < 1 || o.runs < 1 || o.rtt < 0 || o.rate < 0 {
		return o, fmt.Errorf("want flags alone, and numbers above 0")
	}
	return o, nil
}

func run(ctx context.Context, args []string, out, notes io.Writer) error {
	o, err := parse(args, notes)
	if err != nil {
		return err
	}
	if o.work, err = os.MkdirTemp(o.work, "resonate-far-"); err != nil {
		return fmt.Errorf("make a folder to work in: %w", err)
	}
	defer os.RemoveAll(o.work)
	if o.resonate == "" {
		o.resonate = filepath.Join(o.work, "resonate")
		if text, err := exec.CommandContext(ctx, "go", "build", "-o", o.resonate, "resonate/cmd/resonate").CombinedOutput(); err != nil {
			return fmt.Errorf("build resonate: %w: %s (run this in a clone, or name a binary with -resonate)", err, text)
		}
	}
	hosts, stop, err := makeLink(&o)
	if err != nil {
		return err
	}
	defer stop()
	nodes, err := startNodes(o.resonate, o.work, hosts)
	if err == nil {
		m := &measurement{o: o, hosts: hosts, nodes: nodes, out: out}
		err = m.all(ctx)
	}
	return errors.Join(err, nodes[0].stop(), nodes[1].stop())
}

// makeLink makes two hosts and the link between them.
func makeLink(o *options) (hosts [2]*host, stop func(), err error) {
	for i := range hosts {
		if hosts[i], err = newHost([4]byte{10, 77, 77, byte(i + 1)}); err != nil {
			return hosts, nil, err
		}
		if o.control, err = hosts[i].congestionControl(o.control); err != nil {
			return hosts, nil, err
		}
	}
	done := make(chan error, 2)
	for i := range hosts {
		l := &line{delay: o.rtt / 2, rate: o.rate, queue: int64(o.queue.Seconds() * float64(o.rate) / 8), loss: o.loss}
		go func() { done <- l.carry(hosts[i].device, hosts[1-i].device) }()
	}
	return hosts, func() {
		hosts[0].device.Close()
		hosts[1].device.Close()
		for range hosts {
			if err := <-done; err != nil {
				fmt.Fprintln(os.Stderr, "far:", err)
			}
		}
	}, nil
}

// streams are how many plain TCP streams are set against resonate: as many as it has connections with a near peer, and with a far one.
var streams = []int{2, 5}

// A measurement is what goes on between two daemons.
type measurement struct {
	o     options
	hosts [2]*host
	nodes [2]*node
	out   io.Writer
}

func (m *measurement) all(ctx context.Context) error {
	if err := prepareEdits(m.nodes[0].folder); err != nil {
		return err
	}
	for _, name := range []string{"small", "middle", "longer", "long", "large"} {
		there := filepath.Join(m.nodes[1].folder, name)
		if err := await(ctx, m.nodes, there, func() bool { _, err := os.Lstat(there); return err == nil }); err != nil {
			return err
		}
	}
	m.describe()
	for _, c := range m.o.cases {
		var err error
		switch c {
		case "bulk":
			err = m.bulk(ctx, fmt.Sprintf("file of %d MiB", m.o.size>>20), func(outside string, seed uint64) (int64, error) {
				return m.o.size, writeNoise(outside, seed, m.o.size)
			})
		case "tree":
			err = m.bulk(ctx, fmt.Sprintf("tree of %d files", m.o.files), func(outside string, seed uint64) (int64, error) {
				return makeTree(outside, seed, m.o.files, 4<<10)
			})
		case "edits":
			err = m.edits(ctx)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *measurement) describe() {
	rate := "as fast as packets come"
	if m.o.rate > 0 {
		rate = fmt.Sprintf("%d Mbit/s, queue of %v", m.o.rate/1e6, m.o.queue)
	}
	fmt.Fprintf(m.out, "Round trip %v, %s, loss %g, %s, %d CPUs, %s.\n\n", m.o.rtt, rate, m.o.loss, m.o.control, runtime.NumCPU(), runtime.Version())
}

// bulk has much appear in one folder, and sets the time that it takes against that of plain streams for as many bytes.
func (m *measurement) bulk(ctx context.Context, title string, produce func(outside string, seed uint64) (int64, error)) error {
	var ours []float64                        // MiB a second
	plains := make([][]float64, len(streams)) // the same, for each number of streams
	for i := range m.o.runs {
		outside := filepath.Join(m.o.work, "outside")
		size, err := produce(outside, uint64(i)+1000)
		if err != nil {
			return fmt.Errorf("make %s: %w", title, err)
		}
		for k, n := range streams {
			took, err := plain(ctx, m.hosts[0], m.hosts[1], n, size)
			if err != nil {
				return err
			}
			plains[k] = append(plains[k], float64(size)/(1<<20)/took.Seconds())
			m.rest(ctx)
		}
		name := fmt.Sprintf("%s %d", strings.Fields(title)[0], i)
		took, err := bring(ctx, m.nodes, outside, name)
		if err != nil {
			return fmt.Errorf("%s: %w", title, err)
		}
		ours = append(ours, float64(size)/(1<<20)/took.Seconds())
		m.rest(ctx)
	}
	fmt.Fprintf(m.out, "%-30s resonate %6.2f MiB/s", title, middle(ours))
	for k, n := range streams {
		fmt.Fprintf(m.out, "; %d plain streams %6.2f MiB/s: %3.0f %% of that", n, middle(plains[k]), 100*middle(ours)/middle(plains[k]))
	}
	fmt.Fprintln(m.out)
	return nil
}

// edits times small edits.
func (m *measurement) edits(ctx context.Context) error {
	for _, e := range edits {
		var took []time.Duration
		for i := range m.o.edits {
			m.rest(ctx)
			d, err := timeEdit(ctx, m.nodes, e, i)
			if err != nil {
				return fmt.Errorf("%s: %w", e.title, err)
			}
			took = append(took, d)
		}
		slices.Sort(took)
		p50, p95 := took[len(took)/2], took[(len(took)*95+99)/100-1]
		fmt.Fprintf(m.out, "%-30s visible after p50 %6.1f ms = %.2f round trips, p95 %6.1f ms = %.2f\n", e.title,
			p50.Seconds()*1e3, p50.Seconds()/m.o.rtt.Seconds(), p95.Seconds()*1e3, p95.Seconds()/m.o.rtt.Seconds())
	}
	return nil
}

// rest waits until what came before has been answered, and is nobody's next step.
func (m *measurement) rest(ctx context.Context) {
	select {
	case <-time.After(5*m.o.rtt + 200*time.Millisecond):
	case <-ctx.Done():
	}
}

func middle(figures []float64) float64 {
	s := slices.Sorted(slices.Values(figures))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}
